//! Hours, networks, tickets and rules that deny: when a grant does not open what it names.

use super::approvals::decide;
use super::*;
use chaperone_core::grant::{Deny, Hours, Occasion, Unmet};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// The first ten minutes of each day from the moment 0 on, which is a midnight.
fn ten_minutes() -> Hours {
    hours(0, 10)
}

pub(super) fn hours(from: u16, to: u16) -> Hours {
    let days = chaperone_core::grant::weekdays(Weekday::Monday, Weekday::Sunday);
    let midnight = TimeZone::fixed(jiff::tz::offset(-8));
    assert_eq!(midnight.to_datetime(at(0)).time(), jiff::civil::Time::midnight());
    Hours::new(midnight, &days, from, to).unwrap()
}

/// The policy, with conditions on the grant of `name`.
pub(super) fn only(name: &str, only: Conditions) -> Policy {
    let mut policy = policy();
    policy.grants.iter_mut().find(|grant| grant.target == target(name)).unwrap().only = only;
    policy
}

pub(super) fn in_hours(name: &str, hours: Hours) -> Policy {
    only(name, Conditions { hours: Some(hours), ..Conditions::default() })
}

pub(super) fn deny(name: &str, only: Conditions) -> Deny {
    let reason = "no changes today".into();
    Deny { target: target(name), to: vec![], kinds: None, only, reason, line: 9 }
}

fn lasting(object: &str) -> Identity {
    let mut facts = person(object, CallerKind::Agent, &["id-of-team"]);
    facts.expires_at = Timestamp::MAX;
    Identity::for_test(facts)
}

fn from(seconds: i64, address: &str) -> Occasion {
    Occasion { at: at(seconds), from: Some(address.parse().unwrap()) }
}

#[tokio::test]
async fn a_window_by_policy_closes_with_the_hours_and_none_opens_outside_of_them() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        grants.replace(in_hours("db", ten_minutes())).unwrap();
        gateway.clock.pass(Duration::from_secs(60));
        let permit = permit_on_db(gateway, &lasting("a1")).await;
        assert_eq!((permit.window().closes(), permit.ends_at()), (at(600), at(600)));
        let wish = |seconds| Wish { duration: Some(Duration::from_secs(seconds)), ..Wish::new(&DB, "x") };
        let longer = grants.request(&lasting("a2"), wish(541), at(60)).await.unwrap_err();
        assert_eq!(longer.to_string(), "The longest window that is granted to you on this target is 9m.");
        gateway.clock.pass(Duration::from_secs(540));
        assert_eq!(permit.end(), Some(PermitEnd::WindowClosed));
        let when = "Access to this target is granted to you, but not now or not from here. It is granted: mon-sun \
                    00:00-00:10 of an unnamed zone. Try again then, or from there; or ask an operator.";
        let late = grants.request(&lasting("a3"), Wish::new(&DB, "x"), at(600)).await.unwrap_err();
        assert_eq!(late.to_string(), when);
        let refusal = grants.permit(&lasting("a1"), &DB, at(600)).await.unwrap_err();
        assert_eq!((refusal.code, refusal.to_string().as_str()), (RefusalCode::NotGranted, when));
        // Half a second before the end there is no whole second to open.
        let last = at(599) + Duration::from_millis(500);
        let none = grants.request(&lasting("a4"), Wish::new(&DB, "x"), last).await.unwrap_err();
        assert!(none.to_string().contains("not now"), "{none}");
        // Who is meant by no grant is not told of hours.
        let stranger = Identity::for_test(person("s", CallerKind::Agent, &[]));
        assert_eq!(grants.permit(&stranger, &DB, at(600)).await.unwrap_err(), words::not_granted());
    }
}

/// A window that another policy opened does not reach past the hours of today's.
#[tokio::test]
async fn hours_of_a_new_policy_cut_what_would_outlast_them() {
    for gateway in &gateways().await {
        let (grants, caller) = (&gateway.grants, lasting("a1"));
        let permit = permit_on_db(gateway, &caller).await;
        assert_eq!(permit.ends_at(), at(900));
        grants.replace(in_hours("db", hours(0, 15))).unwrap();
        assert_eq!(permit.end(), None, "they end with the window");
        grants.replace(in_hours("db", ten_minutes())).unwrap();
        assert_eq!(permit.end(), Some(PermitEnd::PolicyChanged));
        // Let in again, it is until the hours end.
        let permit = grants.permit(&caller, &DB, at(0)).await.unwrap();
        assert_eq!((permit.window().closes(), permit.ends_at()), (at(900), at(600)));
        gateway.clock.pass(Duration::from_secs(600));
        assert_eq!(soon(permit.ended()).await, PermitEnd::HoursOver);
        let refusal = PermitEnd::HoursOver.refusal();
        assert_eq!(
            (refusal.code, refusal.to_string().as_str()),
            (
                RefusalCode::WindowClosed,
                "The hours in which you may use this target are over. Connect again when they have begun.",
            )
        );
    }
}

#[tokio::test]
async fn people_approve_in_the_hours_and_the_window_closes_with_them() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        grants.replace(in_hours("vault", ten_minutes())).unwrap();
        let (early, late) = (lasting("a1"), lasting("a2"));
        let asked = [ask(gateway, &early, "vault").await, ask(gateway, &late, "vault").await];
        gateway.clock.pass(Duration::from_secs(300));
        for (who, standing) in [("ann", Standing::Pending), ("bob", Standing::Approved)] {
            assert_eq!(decide(gateway, &human(who, "dba"), asked[0], Verdict::Approve).await, Ok(standing));
        }
        let permit = grants.permit(&early, &target("vault"), at(300)).await.unwrap();
        assert_eq!((permit.window().opens(), permit.window().closes()), (at(300), at(600)));
        // The requests wait for ten minutes as well, so the hours are moved instead of the clock.
        grants.replace(in_hours("vault", hours(60, 70))).unwrap();
        let refused = decide(gateway, &human("ann", "dba"), asked[1], Verdict::Approve).await.unwrap_err();
        assert_eq!(
            refused,
            "The grant's hours are mon-sun 01:00-01:10 of an unnamed zone: it can be approved then. Your decision was \
             not kept."
        );
        let stranger = decide(gateway, &human("eve", "team"), asked[1], Verdict::Approve).await.unwrap_err();
        assert_eq!(stranger, AskError::NotFound.to_string(), "who is no approver does not learn of hours");
        let rejected = decide(gateway, &human("ann", "dba"), asked[1], Verdict::Reject).await;
        assert_eq!(rejected, Ok(Standing::Rejected));
    }
}

#[tokio::test]
async fn a_grant_for_a_network_is_for_nowhere_else() {
    for gateway in &gateways().await {
        let (grants, caller) = (&gateway.grants, lasting("a1"));
        let networks = vec!["10.1.0.0/16".parse().unwrap()];
        grants.replace(only("db", Conditions { networks, ..Conditions::default() })).unwrap();
        let wish = Wish::new(&DB, "x");
        for elsewhere in [from(0, "10.2.0.1"), from(0, "::1"), at(0).into()] {
            let refused = grants.request(&caller, wish, elsewhere).await.unwrap_err();
            assert_eq!(
                refused.to_string(),
                "Access to this target is granted to you, but not now or not from here. It is granted: from \
                 10.1.0.0/16. Try again then, or from there; or ask an operator."
            );
        }
        // Asked from inside, and then used from outside.
        grants.request(&caller, wish, from(0, "::ffff:10.1.2.3")).await.unwrap();
        let permit = grants.permit(&caller, &DB, from(1, "10.1.9.9")).await.unwrap();
        assert_eq!(
            grants.permit(&caller, &DB, from(1, "192.0.2.1")).await.unwrap_err().code,
            RefusalCode::NotGranted
        );
        // A policy for another network is not given to who is connected from this one.
        let networks = vec!["10.1.9.0/24".parse().unwrap()];
        grants.replace(only("db", Conditions { networks, ..Conditions::default() })).unwrap();
        assert_eq!(permit.end(), None);
        let networks = vec!["10.1.2.0/24".parse().unwrap()];
        grants.replace(only("db", Conditions { networks, ..Conditions::default() })).unwrap();
        assert_eq!(permit.end(), Some(PermitEnd::PolicyChanged));
        // Beside a grant for everywhere it takes nothing away.
        let mut both = policy();
        let networks = vec!["203.0.113.0/24".parse().unwrap()];
        both.grants.push(Grant {
            only: Conditions { networks, ..Conditions::default() },
            ..policy().grants.remove(0)
        });
        grants.replace(both).unwrap();
        assert!(grants.permit(&caller, &DB, from(1, "192.0.2.1")).await.is_ok());
    }
}

#[tokio::test]
async fn a_grant_that_wants_a_ticket_gets_one_in_its_own_place() {
    for gateway in &gateways().await {
        let (grants, caller) = (&gateway.grants, lasting("a1"));
        let mut policy = policy();
        policy.grants[0].ticket = Ticket::Required;
        grants.replace(policy).unwrap();
        let wish = |ticket| Wish { ticket, ..Wish::new(&DB, "for INC-7") };
        assert_eq!(
            grants.request(&caller, wish(None), at(0)).await.unwrap_err().to_string(),
            "This grant wants a ticket: name it, 1 to 100 characters without control characters."
        );
        let long = "7".repeat(101);
        for ticket in ["", " \n ", "\u{1b}[2J", "a\u{202e}b", &long] {
            assert_eq!(
                grants.request(&caller, wish(Some(ticket)), at(0)).await.unwrap_err().to_string(),
                "A ticket is named in 1 to 100 characters, without control characters."
            );
        }
        let keyed = |ticket| Wish { key: Some("k1"), ..wish(Some(ticket)) };
        assert!(matches!(
            grants.request(&caller, keyed("INC-7"), at(0)).await.unwrap(),
            RequestOutcome::New(stored, _) if serde_json::to_value(stored.approval.matter()).unwrap()["ticket"] == "INC-7"
        ));
        let other = grants.request(&caller, keyed("INC-8"), at(0)).await.unwrap_err();
        assert!(matches!(other, AskError::KeyReused), "{other}");
    }
}

#[tokio::test]
async fn a_rule_that_denies_wins_over_every_grant_and_is_told_of_to_nobody_else() {
    for gateway in &gateways().await {
        let (grants, caller) = (&gateway.grants, lasting("a1"));
        let permit = permit_on_db(gateway, &caller).await;
        let with = |rule: Deny| Policy { denies: vec![rule], ..policy() };
        // It is on another target, then it hits.
        grants.replace(with(deny("vault", Conditions::default()))).unwrap();
        assert_eq!(permit.end(), None);
        grants.replace(with(deny("db", Conditions::default()))).unwrap();
        assert_eq!(permit.end(), Some(PermitEnd::PolicyChanged));
        let denied = "A rule of the policy denies you this target. No changes today. Ask an operator; a grant does not \
                      help against it.";
        let refusal = grants.permit(&caller, &DB, at(0)).await.unwrap_err();
        assert_eq!((refusal.code, refusal.to_string().as_str()), (RefusalCode::Denied, denied));
        let asked = grants.request(&lasting("a2"), Wish::new(&DB, "x"), at(0)).await.unwrap_err();
        assert_eq!(asked.to_string(), denied);
        let stranger = Identity::for_test(person("s", CallerKind::Agent, &[]));
        assert_eq!(grants.permit(&stranger, &DB, at(0)).await.unwrap_err(), words::not_granted());
        // Whose groups are not known is let in by their role, and hit by a rule for a group that they may be in.
        let mut facts = person("w", CallerKind::Workload, &[]);
        facts.groups = chaperone_core::identity::Groups::Unknown;
        facts.roles.insert("Web.Run".into());
        let unknown = Identity::for_test(facts);
        ask(gateway, &unknown, "web").await;
        assert!(grants.permit(&unknown, &target("web"), at(0)).await.is_ok());
        grants
            .replace(with(Deny { to: vec![group("contractors")], ..deny("web", Conditions::default()) }))
            .unwrap();
        let refusal = grants.permit(&unknown, &target("web"), at(0)).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Denied);
    }
}

/// A freeze that begins while a session runs ends it then, although its window stays open.
#[tokio::test]
async fn a_rule_that_denies_later_ends_what_is_open_by_then() {
    for gateway in &gateways().await {
        let (grants, caller) = (&gateway.grants, lasting("a1"));
        let freeze = Conditions { hours: Some(hours(5, 10)), ..Conditions::default() };
        grants.replace(Policy { denies: vec![deny("db", freeze)], ..policy() }).unwrap();
        let permit = permit_on_db(gateway, &caller).await;
        assert_eq!((permit.window().closes(), permit.ends_at()), (at(900), at(300)));
        gateway.clock.pass(Duration::from_secs(300));
        assert_eq!(permit.end(), Some(PermitEnd::HoursOver));
        assert_eq!(grants.permit(&caller, &DB, at(300)).await.unwrap_err().code, RefusalCode::Denied);
        assert!(
            grants.permit(&caller, &DB, at(600)).await.is_ok(),
            "it is over, and the window is still open"
        );
    }
}

/// The more conditions, the less is open: whatever they are, and for whomever.
#[test]
fn no_condition_and_no_rule_that_denies_opens_anything() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    let condition = (0_u16..24, proptest::option::of(0_u8..4)).prop_map(|(hour, network)| Conditions {
        hours: (hour < 20).then(|| hours(hour * 60, (hour + 4) * 60)),
        networks: network.map(|n| format!("10.{n}.0.0/16").parse().unwrap()).into_iter().collect(),
    });
    let cases =
        (condition.clone(), condition, 0_i64..86_400, 0_u8..4, 0_usize..6, any::<bool>(), any::<bool>());
    let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
    let result = runner.run(&cases, |(grant_only, deny_only, second, network, kind, known, with_deny)| {
        let mut facts = person("a", CallerKind::ALL[kind], &["id-of-team"]);
        if !known {
            facts.groups = chaperone_core::identity::Groups::Unknown;
            facts.roles.insert("Web.Run".into());
        }
        let occasion = from(second, &format!("10.{network}.0.1"));
        let open = |policy: &Policy, name: &str| {
            matches!(policy.access(&facts, &target(name), &occasion), Access::Granted { .. })
        };
        for name in ["db", "web", "bots", "vault"] {
            let (plain, mut strict) = (policy(), only(name, grant_only.clone()));
            if with_deny {
                strict.denies.push(deny(name, deny_only.clone()));
            }
            prop_assert!(open(&plain, name) || !open(&strict, name), "{name}");
            let conditions_met = grant_only.allow(&occasion).is_ok()
                && !(with_deny && deny_only.deny(&occasion) == chaperone_core::grant::Denied::Now);
            prop_assert_eq!(open(&strict, name), open(&plain, name) && conditions_met, "{}", name);
        }
        Ok(())
    });
    result.unwrap();
    assert_eq!(Conditions::default().allow(&at(0).into()), Ok::<_, Unmet>(None));
}
