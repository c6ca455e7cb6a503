//! A newer token for a live permit: whose, what for, and how long then.

use super::conditions::{hours, in_hours};
use super::*;
use chaperone_core::denial::{Denied, DeniedKind};
use chaperone_core::grant::Deny;
use chaperone_core::identity::{Audience, Groups, IdentityFacts};

/// A token of `a1`, issued and expiring in these seconds, changed.
fn token(issued: i64, expires: i64, change: impl FnOnce(&mut IdentityFacts)) -> Identity {
    let mut facts = person("a1", CallerKind::HumanThroughAgent, &["id-of-team"]);
    facts.credential_id = format!("uti-{issued}");
    (facts.issued_at, facts.expires_at) = (at(issued), at(expires));
    change(&mut facts);
    Identity::for_test(facts)
}

fn plain(issued: i64, expires: i64) -> Identity {
    token(issued, expires, |_| {})
}

/// A permit on `db`, in a window that is open already or is opened for it.
async fn begin(gateway: &Gateway, identity: &Identity) -> Permit {
    let (grants, now) = (&gateway.grants, gateway.clock.now());
    grants.request(identity, Wish::new(&DB, "x"), now).await.unwrap();
    grants.permit(identity, &DB, now).await.unwrap()
}

fn in_groups(aliases: &[&str]) -> Groups {
    Groups::Known(aliases.iter().map(|alias| format!("id-of-{alias}")).collect())
}

async fn deny(grants: &Grants, credential: &str) {
    let denied = Denied::new(DeniedKind::Credential, "t", credential).unwrap();
    let now = grants.clock().now();
    grants.deny(&human("oz", "ops"), denied, "leaked", None, now).await.unwrap();
}

#[tokio::test]
async fn a_newer_token_moves_the_end_and_never_past_the_windows() {
    for gateway in &gateways().await {
        let permit = begin(gateway, &plain(0, 300)).await;
        let waiting = tokio::spawn({
            let permit = permit.clone();
            async move { permit.ended().await }
        });
        let taken = |ends| Ok(Renewal { ends, token: NewToken::Taken });
        assert_eq!(permit.renew(&plain(200, 600)), taken(at(600)));
        assert_eq!(permit.ends_at(), at(600));
        gateway.clock.pass(Duration::from_secs(599));
        assert_eq!((permit.end(), waiting.is_finished()), (None, false));
        // The window is open until 900, whatever the token says.
        assert_eq!(permit.renew(&plain(500, 3600)), taken(at(900)));
        gateway.clock.pass(Duration::from_secs(301));
        assert_eq!(soon(waiting).await.unwrap(), PermitEnd::WindowClosed);
        assert_eq!(
            permit.renew(&plain(600, 7200)),
            Err(RenewError::Ended(Box::new(PermitEnd::WindowClosed)))
        );
        assert_eq!(permit.end(), Some(PermitEnd::WindowClosed));
        let ids: Vec<_> =
            permit.renewals(0).into_iter().map(|one| one.facts().credential_id.clone()).collect();
        assert_eq!(ids, ["uti-200", "uti-500"]);
    }
}

/// The newest token counts, also where it ends sooner than the one before; one that counts already changes nothing.
#[tokio::test]
async fn the_newest_token_counts() {
    for gateway in &gateways().await {
        let permit = begin(gateway, &plain(0, 600)).await;
        assert_eq!(permit.renew(&plain(60, 120)), Ok(Renewal { ends: at(120), token: NewToken::Taken }));
        assert_eq!(permit.renew(&plain(60, 120)), Ok(Renewal { ends: at(120), token: NewToken::Same }));
        assert_eq!(permit.renewals(0).len(), 1);
        assert_eq!(permit.renew(&plain(0, 600)), Err(RenewError::Older));
        gateway.clock.pass(Duration::from_secs(120));
        assert_eq!(soon(permit.ended()).await, PermitEnd::TokenExpired);
    }
}

#[tokio::test]
async fn a_token_that_would_not_have_let_this_caller_in_changes_nothing() {
    type Change = fn(&mut IdentityFacts);
    let refused = |change: Change| token(60, 3600, change);
    let twin = |facts: &mut IdentityFacts| {
        facts.provider = ProviderName::new("twin").unwrap();
        facts.principal = chaperone_core::name::Principal::of(&facts.provider, "t", "a1").unwrap();
    };
    let policy_changed = RenewError::Refused(Box::new(PermitEnd::PolicyChanged));
    for gateway in &gateways().await {
        deny(&gateway.grants, "uti-denied").await;
        let permit = begin(gateway, &plain(30, 600)).await;
        for (name, identity, expected) in [
            (
                "another principal",
                Identity::for_test(person("a2", CallerKind::HumanThroughAgent, &["id-of-team"])),
                RenewError::OtherCaller,
            ),
            ("the same object at another provider", refused(twin), RenewError::OtherCaller),
            (
                "the agent for itself",
                refused(|facts| facts.kind = CallerKind::Agent),
                RenewError::OtherCaller,
            ),
            ("the person", refused(|facts| facts.kind = CallerKind::Human), RenewError::OtherCaller),
            (
                "a token for approving",
                refused(|facts| facts.audience = Audience::Approvers),
                RenewError::OtherCaller,
            ),
            ("through another agent", refused(|facts| facts.actor = "other".into()), RenewError::OtherCaller),
            ("an older one", plain(29, 3600), RenewError::Older),
            ("one that has expired", plain(60, 0), RenewError::Expired),
            (
                "without the group",
                refused(|facts| facts.groups = in_groups(&["other"])),
                policy_changed.clone(),
            ),
            ("with unknown groups", refused(|facts| facts.groups = Groups::Unknown), policy_changed.clone()),
        ] {
            assert_eq!(permit.renew(&identity), Err(expected), "{name}");
        }
        let denied = permit.renew(&refused(|facts| facts.credential_id = "uti-denied".into()));
        let is_denied = |end: &PermitEnd| matches!(end, PermitEnd::Denied { .. });
        assert!(matches!(&denied, Err(RenewError::Refused(end)) if is_denied(end)), "{denied:?}");
        assert_eq!((permit.end(), permit.ends_at(), permit.renewals(0)), (None, at(600), vec![]));
    }
}

#[tokio::test]
async fn what_has_ended_is_not_renewed() {
    for gateway in &gateways().await {
        let (grants, clock) = (&gateway.grants, &gateway.clock);
        let start = clock.now();
        let ends = async |what: &str, permit: &Permit| match what {
            "its token expired" => clock.pass(Duration::from_secs(300)),
            "its window was ended" => {
                grants
                    .end_window(&human("oz", "ops"), permit.window().id(), "incident", start)
                    .await
                    .unwrap();
            }
            "its token is denied" => deny(grants, "uti-0").await,
            "the policy changed" => {
                let mut policy = policy();
                policy.grants[0].to = vec![group("other")];
                grants.replace(policy).unwrap();
            }
            other => panic!("{other}"),
        };
        // The clock last: it does not go back.
        for what in ["its window was ended", "the policy changed", "its token is denied", "its token expired"]
        {
            grants.replace(policy()).unwrap();
            let begun = if what == "its token expired" { 1 } else { 0 };
            let permit = begin(gateway, &plain(begun, 300)).await;
            assert_eq!(permit.end(), None, "{what}");
            ends(what, &permit).await;
            grants.replace(policy()).unwrap();
            let refused = permit.renew(&plain(60, 3600));
            assert!(matches!(refused, Err(RenewError::Ended(_))), "{what}: {refused:?}");
            assert!(permit.end().is_some() && permit.renewals(0).is_empty(), "{what}");
        }
    }
}

/// What is judged from now on is what the new token proves.
#[tokio::test]
async fn a_change_of_the_policy_judges_the_token_that_counts() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        for (old, new, lives) in [
            (["team", "other"].as_slice(), ["team"].as_slice(), false),
            (["team"].as_slice(), ["team", "other"].as_slice(), true),
        ] {
            grants.replace(policy()).unwrap();
            let permit = begin(gateway, &token(0, 300, |facts| facts.groups = in_groups(old))).await;
            permit.renew(&token(60, 600, |facts| facts.groups = in_groups(new))).unwrap();
            let mut changed = policy();
            changed.grants[0].to = vec![group("other")];
            grants.replace(changed).unwrap();
            assert_eq!(permit.end().is_none(), lives, "{old:?} {new:?}");
        }
    }
}

/// Plugins were told of the groups when the session began, and are not told anew.
#[tokio::test]
async fn a_token_that_proves_fewer_of_the_configured_groups_is_not_taken() {
    for gateway in &gateways().await {
        let of = |issued, aliases: &[&str]| token(issued, 600, |facts| facts.groups = in_groups(aliases));
        let permit = begin(gateway, &of(0, &["team", "dba", "else"])).await;
        assert_eq!(permit.groups(), ["dba"]);
        assert_eq!(permit.renew(&of(1, &["team", "else"])), Err(RenewError::FewerGroups));
        assert_eq!(permit.renew(&of(1, &["team", "security"])), Err(RenewError::FewerGroups));
        assert!(permit.renew(&of(1, &["team", "dba", "security"])).is_ok());
    }
}

/// Hours bound a session as its window does, however long its tokens are, and a policy with longer ones is for who connects again.
#[tokio::test]
async fn a_renewal_never_moves_a_session_past_the_hours_of_its_grant() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        let taken = |ends| Ok(Renewal { ends: at(ends), token: NewToken::Taken });
        // A window until 900, and then hours until 600.
        let permit = begin(gateway, &plain(0, 200)).await;
        grants.replace(in_hours("db", hours(0, 10))).unwrap();
        assert_eq!((permit.end(), permit.ends_at()), (None, at(200)));
        assert_eq!(permit.renew(&plain(1, 3600)), taken(600));
        grants.replace(policy()).unwrap();
        assert_eq!(permit.renew(&plain(2, 3600)), taken(600));
        assert_eq!((permit.ends_at(), permit.ends_at_latest()), (at(600), at(600)));
        // One that begins in these hours.
        grants.replace(in_hours("db", hours(0, 10))).unwrap();
        let other = grants.permit(&plain(0, 200), &DB, at(0)).await.unwrap();
        assert_eq!((other.ends_at(), other.ends_at_latest()), (at(200), at(600)));
        let coming = |permit: &Permit| permit.coming_end().map(|end| (end.at, end.with));
        assert_eq!(coming(&permit), Some((at(600), EndsWith::Hours)));
        assert_eq!(coming(&other), Some((at(200), EndsWith::Token)));
        // What ends in the hours of another policy stays, and is not renewed past them, nor later on.
        assert_eq!(permit.renew(&plain(3, 200)), taken(200));
        grants.replace(in_hours("db", hours(0, 5))).unwrap();
        assert_eq!((permit.end(), other.end()), (None, None));
        for (issued, minutes) in [(4, 5), (5, 10), (6, 15)] {
            grants.replace(in_hours("db", hours(0, minutes))).unwrap();
            assert_eq!(permit.renew(&plain(issued, 3600)), taken(300), "{minutes}");
            assert_eq!(permit.end(), None, "{minutes}");
        }
        assert_eq!(other.renew(&plain(1, 3600)), taken(600));
        gateway.clock.pass(Duration::from_secs(300));
        assert_eq!((soon(permit.ended()).await, other.end()), (PermitEnd::HoursOver, None));
        assert_eq!(permit.renew(&plain(7, 3600)), Err(RenewError::Ended(Box::new(PermitEnd::HoursOver))));
        gateway.clock.pass(Duration::from_secs(300));
        assert_eq!(soon(other.ended()).await, PermitEnd::HoursOver);
    }
}

/// Wherever the call with the token comes from, the session is where it was.
#[tokio::test]
async fn a_renewal_is_judged_by_where_the_session_came_from() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        let for_network = |network: &str| {
            let networks = vec![network.parse().unwrap()];
            conditions::only("db", Conditions { networks, ..Conditions::default() })
        };
        begin(gateway, &plain(0, 200)).await;
        grants.replace(for_network("10.1.0.0/16")).unwrap();
        let inside = Occasion { at: at(0), from: Some("10.1.2.3".parse().unwrap()) };
        let permit = grants.permit(&plain(0, 200), &DB, inside).await.unwrap();
        let taken = Ok(Renewal { ends: at(600), token: NewToken::Taken });
        assert_eq!(permit.renew(&plain(1, 600)), taken);
        grants.replace(for_network("10.2.0.0/16")).unwrap();
        assert_eq!(permit.end(), Some(PermitEnd::PolicyChanged));
    }
}

#[tokio::test]
async fn a_renewal_never_moves_a_session_past_a_rule_that_denies_later() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        let taken = |ends| Ok(Renewal { ends: at(ends), token: NewToken::Taken });
        let rule = |to: Vec<Subject>, only: Conditions| Policy {
            denies: vec![Deny { to, ..conditions::deny("db", only) }],
            ..policy()
        };
        let freeze = || Conditions { hours: Some(hours(5, 10)), ..Conditions::default() };
        let suspect = |issued| token(issued, 3600, |facts| facts.groups = in_groups(&["team", "suspects"]));
        let [all, some] = [begin(gateway, &plain(0, 200)).await, begin(gateway, &plain(0, 200)).await];
        grants.replace(rule(vec![], freeze())).unwrap();
        // It ends before the freeze begins; by a longer token it ends as that begins.
        assert_eq!(all.end(), None);
        assert_eq!(all.renew(&plain(1, 3600)), taken(300));
        grants.replace(policy()).unwrap();
        assert_eq!(all.renew(&plain(2, 3600)), taken(300));
        // A rule that only the new token is hit by: now, and later.
        grants.replace(rule(vec![group("suspects")], Conditions::default())).unwrap();
        let refused = Err(RenewError::Refused(Box::new(PermitEnd::PolicyChanged)));
        assert_eq!((some.renew(&suspect(1)), some.ends_at()), (refused, at(200)));
        grants.replace(rule(vec![group("suspects")], freeze())).unwrap();
        assert_eq!((some.ends_at_latest(), some.renew(&suspect(1))), (at(900), taken(300)));
        assert_eq!(some.renew(&plain(2, 3600)), taken(300));
        gateway.clock.pass(Duration::from_secs(300));
        assert_eq!((all.end(), some.end()), (Some(PermitEnd::HoursOver), Some(PermitEnd::HoursOver)));
    }
}

#[tokio::test]
async fn an_entry_against_any_token_that_ever_counted_ends_it() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        for (base, denied) in [(0, 0), (10, 11), (20, 22)] {
            let permit = begin(gateway, &plain(base, 600)).await;
            permit.renew(&plain(base + 1, 600)).unwrap();
            permit.renew(&plain(base + 2, 600)).unwrap();
            assert_eq!(permit.end(), None);
            deny(grants, &format!("uti-{denied}")).await;
            assert!(matches!(permit.end(), Some(PermitEnd::Denied { .. })), "{denied}");
        }
    }
}

#[tokio::test]
async fn the_tokens_of_a_permit_are_bounded() {
    for gateway in &gateways().await {
        let permit = begin(gateway, &plain(0, 600)).await;
        let bound = i64::try_from(MAX_RENEWALS).unwrap();
        for issued in 1..=bound {
            permit.renew(&plain(issued, 600)).unwrap();
        }
        assert_eq!(permit.renew(&plain(bound + 1, 800)), Err(RenewError::TooMany));
        // As before, and the one that counts may be sent again.
        assert_eq!((permit.end(), permit.ends_at()), (None, at(600)));
        assert_eq!(permit.renew(&plain(bound, 600)).map(|same| same.token), Ok(NewToken::Same));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_renewals_at_once_the_newest_counts() {
    for gateway in &gateways().await {
        let permit = begin(gateway, &plain(0, 300)).await;
        let all: Vec<_> = (1..=20)
            .map(|issued| {
                let permit = permit.clone();
                tokio::task::spawn_blocking(move || permit.renew(&plain(issued, 300 + issued)))
            })
            .collect();
        let mut taken = 0;
        for one in all {
            match one.await.unwrap() {
                Ok(_) => taken += 1,
                Err(error) => assert_eq!(error, RenewError::Older),
            }
        }
        assert_eq!(permit.ends_at(), at(320));
        let issued: Vec<_> = permit.renewals(0).iter().map(|one| one.facts().issued_at).collect();
        assert!(issued.is_sorted() && issued.len() == taken, "{issued:?}");
    }
}

/// Whoever has seen the end has seen the end: a renewal came before it, or does not come.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_meets_the_end_comes_before_it_or_not_at_all() {
    for gateway in &gateways().await {
        let mut now = 0;
        let policy = {
            let mut long = policy();
            long.grants[0].lifetime = Duration::from_secs(7200);
            long
        };
        gateway.grants.replace(policy).unwrap();
        ask(gateway, &plain(0, 300), "db").await;
        for _ in 0..200 {
            let first = plain(now, now + 1);
            let permit = gateway.grants.permit(&first, &DB, at(now)).await.unwrap();
            let next = plain(now, now + 5000);
            let renewing = tokio::task::spawn_blocking({
                let permit = permit.clone();
                move || permit.renew(&next)
            });
            let clock = gateway.clock.clone();
            let ending = tokio::task::spawn_blocking({
                let permit = permit.clone();
                move || {
                    clock.pass(Duration::from_secs(1));
                    permit.end()
                }
            });
            let (renewed, end) = (renewing.await.unwrap(), ending.await.unwrap());
            assert_eq!(renewed.is_ok(), end.is_none(), "{renewed:?} {end:?}");
            assert_eq!(permit.end(), end);
            now += 1;
        }
    }
}

/// A hold that waits ends with the token that it was asked under.
#[tokio::test]
async fn a_hold_keeps_the_end_that_it_was_asked_with() {
    for gateway in &gateways().await {
        let permit = begin(gateway, &plain(0, 300)).await;
        let hold = async |digest: u8| {
            let terms = HoldTerms {
                approvers: GroupAlias::new("dba").unwrap(),
                needed: 1,
                timeout_seconds: 3600,
                reason: "it deletes".into(),
            };
            let (summary, digest, terms) = ("DELETE".into(), [digest; 32], vec![terms]);
            let operation = HeldOperation { summary, digest, risk: 80, findings: vec![], terms };
            gateway.grants.hold(&permit, operation, at(0)).await.unwrap()
        };
        let before = hold(1).await;
        permit.renew(&plain(60, 600)).unwrap();
        assert_eq!((before.deadline(), hold(2).await.deadline()), (at(300), at(600)));
    }
}

/// Whether it is time to tell of an end other than that one.
async fn due(permit: &Permit, told: Option<Timestamp>) -> Option<ComingEnd> {
    tokio::time::timeout(Duration::ZERO, permit.ends_soon(told)).await.ok()
}

#[tokio::test]
async fn each_end_is_told_once_five_minutes_before_and_a_newer_one_again() {
    for gateway in &gateways().await {
        let permit = begin(gateway, &plain(0, 700)).await;
        let pass = |seconds| gateway.clock.pass(Duration::from_secs(seconds));
        let end = |seconds, with| Some(ComingEnd { at: at(seconds), with });
        pass(399);
        assert_eq!(due(&permit, None).await, None);
        pass(1);
        let token = end(700, EndsWith::Token);
        assert_eq!((due(&permit, None).await, permit.coming_end()), (token, token));
        pass(100);
        assert_eq!(due(&permit, Some(at(700))).await, None);
        // At 500 another token: the window's end comes next, in 400 seconds.
        permit.renew(&plain(60, 3600)).unwrap();
        pass(99);
        assert_eq!(due(&permit, Some(at(700))).await, None);
        pass(1);
        assert_eq!(due(&permit, Some(at(700))).await, end(900, EndsWith::Window));
        // A third moves nothing, so there is nothing to tell.
        permit.renew(&plain(70, 7200)).unwrap();
        pass(200);
        assert_eq!(due(&permit, Some(at(900))).await, None);
        assert_eq!(permit.end(), None);
    }
}

/// Who waits hears of a renewal at once, and waits for the new end.
#[tokio::test]
async fn who_waits_for_an_end_hears_of_the_next_one() {
    for gateway in &gateways().await {
        let permit = begin(gateway, &plain(0, 100)).await;
        let waiting = tokio::spawn({
            let permit = permit.clone();
            // Of this one it was told.
            async move { permit.ends_soon(Some(at(100))).await }
        });
        tokio::task::yield_now().await;
        gateway.clock.pass(Duration::from_secs(90));
        // Told in the last fifth of the four seconds that are left then.
        permit.renew(&plain(1, 94)).unwrap();
        assert_eq!(due(&permit, Some(at(100))).await, None);
        gateway.clock.pass(Duration::from_millis(3_500));
        assert_eq!(soon(waiting).await.unwrap(), ComingEnd { at: at(94), with: EndsWith::Token });
    }
}
