//! Another policy in the place of today's: what it would not give again ends, and what it says of people counts at once.

use super::*;
use chaperone_core::grant::{GrantProblem, Requirement};
use chaperone_core::role::RoleName;

/// The policy with one grant changed.
fn with(name: &str, change: impl FnOnce(&mut Grant)) -> Policy {
    let mut policy = policy();
    change(policy.grants.iter_mut().find(|grant| grant.target == target(name)).unwrap());
    policy
}

fn role(name: &str) -> RoleName {
    RoleName::new(name).unwrap()
}

/// Somebody for each case.
fn object(name: &str) -> String {
    name.replace(' ', "-")
}

#[tokio::test]
async fn a_permit_ends_when_the_policy_would_not_give_it_again() {
    type Change = fn(&mut Grant);
    let ends: [(&str, Change); 6] = [
        ("another group", |grant| grant.to = vec![group("other")]),
        ("another target", |grant| grant.target = target("db2")),
        ("another kind", |grant| grant.kinds = Some([CallerKind::Human].into())),
        ("shorter than its window", |grant| grant.lifetime = Duration::from_secs(14 * 60)),
        ("with people who have to be asked", |grant| {
            let requirements = vec![needs("dba", 1)];
            grant.when = When::Approved { requirements, patience: Duration::from_secs(600) };
        }),
        ("without one of its roles", |grant| grant.roles = vec![role("reader")]),
    ];
    let stays: [(&str, Change); 4] = [
        ("unchanged", |_| {}),
        ("longer", |grant| grant.lifetime = Duration::from_secs(3600)),
        ("to more", |grant| grant.to.push(group("other"))),
        ("with one role more", |grant| grant.roles.push(role("extra"))),
    ];
    let before = || with("db", |grant| grant.roles = vec![role("reader"), role("writer")]);
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        for (name, change) in stays {
            grants.replace(before()).unwrap();
            let permit = permit_on_db(gateway, &agent(&object(name))).await;
            let mut policy = before();
            change(&mut policy.grants[0]);
            grants.replace(policy).unwrap();
            assert_eq!(permit.end(), None, "{name}");
        }
        for (name, change) in ends {
            grants.replace(before()).unwrap();
            let (permit, elsewhere) = (permit_on_db(gateway, &agent(&object(name))).await, agent("b1"));
            ask_for(gateway, &elsewhere, "bots").await;
            let other = grants.permit(&elsewhere, &target("bots"), at(0)).await.unwrap();
            let mut policy = before();
            change(&mut policy.grants[0]);
            grants.replace(policy).unwrap();
            assert_eq!(soon(permit.ended()).await, PermitEnd::PolicyChanged, "{name}");
            assert_eq!(other.end(), None, "{name}: another target's session");
            // What was cut stays cut.
            grants.replace(before()).unwrap();
            assert_eq!(permit.end(), Some(PermitEnd::PolicyChanged), "{name}");
            assert_eq!(
                grants.permit(&agent(&object(name)), &target("db"), at(0)).await.unwrap().end(),
                None,
                "{name}"
            );
        }
        let end = PermitEnd::PolicyChanged.refusal();
        assert_eq!(
            end.to_string(),
            "The policy that let you onto this target was changed. Connect again: you are told then what you may ask for."
        );
        assert_eq!(end.code, RefusalCode::Revoked);
    }
}

async fn ask_for(gateway: &Gateway, identity: &Identity, name: &str) -> RequestOutcome {
    gateway.grants.request(identity, Wish::new(&target(name), "x"), gateway.clock.now()).await.unwrap()
}

/// Who was let in unrecorded is cut when the policy wants a recording; who is recorded already goes on.
#[tokio::test]
async fn a_session_without_a_recording_does_not_outlive_a_policy_that_wants_one() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        let unrecorded = || with("db", |grant| grant.recorded = Recorded::No);
        let recorded = permit_on_db(gateway, &agent("a1")).await;
        grants.replace(unrecorded()).unwrap();
        assert_eq!((recorded.end(), recorded.recorded()), (None, Recorded::Yes));
        let dark = permit_on_db(gateway, &agent("a2")).await;
        assert_eq!(dark.recorded(), Recorded::No);
        grants.replace(policy()).unwrap();
        assert_eq!((recorded.end(), dark.end()), (None, Some(PermitEnd::PolicyChanged)));
        // Of two grants that back one window, the one that wants a recording counts, in whichever order.
        for swap in [false, true] {
            let mut both = unrecorded();
            both.grants.push(policy().grants.remove(0));
            if swap {
                both.grants.reverse();
            }
            grants.replace(both).unwrap();
            assert_eq!(permit_on_db(gateway, &agent(&format!("a3{swap}"))).await.recorded(), Recorded::Yes);
        }
    }
}

#[tokio::test]
async fn a_policy_with_a_mistake_changes_nothing() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        let mut wrong = with("db", |grant| grant.to = vec![group("other")]);
        wrong.grants[1].lifetime = Duration::ZERO;
        wrong.grants[2].to.clear();
        assert_eq!(
            gateway.grants.replace(wrong).unwrap_err(),
            [GrantProblem::Lifetime(target("vault")), GrantProblem::ToNobody(target("web"))]
        );
        assert_eq!(permit.end(), None);
        assert!(gateway.grants.permit(&agent("a1"), &target("db"), at(0)).await.is_ok());
    }
}

/// A permit is listed first and then asks the policy: whichever comes first, one of the two sees the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_permit_slips_past_while_the_policy_is_replaced() {
    for gateway in &gateways().await {
        let caller = agent("a1");
        permit_on_db(gateway, &caller).await;
        for round in 0..50 {
            gateway.grants.replace(policy()).unwrap();
            let asking: Vec<_> = (0..4)
                .map(|_| {
                    let (grants, caller) = (gateway.grants.clone(), caller.clone());
                    tokio::spawn(async move { grants.permit(&caller, &target("db"), at(0)).await })
                })
                .collect();
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            gateway.grants.replace(with("db", |grant| grant.to = vec![group("other")])).unwrap();
            for asked in asking {
                if let Ok(permit) = soon(asked).await.unwrap() {
                    assert_eq!(permit.end(), Some(PermitEnd::PolicyChanged));
                }
            }
        }
    }
}

/// The rows keep the members as they were when it was asked; today's count.
#[tokio::test]
async fn who_left_the_approvers_decides_no_more_and_who_joined_does() {
    for gateway in &gateways().await {
        let (grants, now) = (&gateway.grants, at(0));
        let asked = ask(gateway, &agent("a1"), "vault").await;
        let permit = permit_on_db(gateway, &agent("a2")).await;
        let operation = HeldOperation {
            summary: "DELETE".into(),
            digest: [3; 32],
            risk: 80,
            findings: vec![],
            terms: vec![HoldTerms {
                approvers: GroupAlias::new("dba").unwrap(),
                needed: 1,
                timeout_seconds: 60,
                reason: "it deletes".into(),
            }],
        };
        let mut hold = grants.hold(&permit, operation, now).await.unwrap();
        let held = ApprovalId::Hold(hold.id());

        let mut moved = policy();
        moved.groups.insert(GroupAlias::new("dba").unwrap(), group("new-dba"));
        if let When::Approved { requirements, .. } = &mut moved.grants[1].when {
            requirements[0].members = vec![group("new-dba")];
        }
        grants.replace(moved).unwrap();
        let (old, new) = (human("ann", "dba"), human("bob", "new-dba"));
        for id in [asked, held] {
            let refused = grants.decide(&old, id, Verdict::Approve, "", now).await;
            assert!(matches!(refused, Err(AskError::NotFound)), "{refused:?}");
            let refused = grants.decide(&old, id, Verdict::Reject, "", now).await;
            assert!(matches!(refused, Err(AskError::NotFound)), "{refused:?}");
        }
        assert_eq!(grants.approvals(&old).await.unwrap(), []);
        let ApprovalId::Request(request) = asked else { panic!() };
        assert!(matches!(grants.request_of(&old, request).await, Err(AskError::NotFound)));
        assert_eq!(grants.approvals(&new).await.unwrap().len(), 2);
        assert_eq!(grants.request_of(&new, request).await.unwrap().id, asked);
        grants.decide(&new, held, Verdict::Approve, "", now).await.unwrap();
        assert!(matches!(soon(hold.outcome()).await, HoldOutcome::Approved { .. }));

        // A group that is gone from the policy: nobody is meant by its name, and nobody can be asked.
        let mut gone = policy();
        gone.groups.clear();
        gone.grants.remove(1);
        grants.replace(gone).unwrap();
        for who in [&old, &new] {
            let refused = grants.decide(who, asked, Verdict::Approve, "", now).await;
            assert!(matches!(refused, Err(AskError::NotFound)), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn what_would_be_asked_of_others_today_is_not_approved_any_more() {
    type Change = fn(&mut Grant);
    let changes: [(&str, Change); 4] = [
        ("more people", |grant| set(grant, vec![needs("dba", 3)])),
        ("others as well", |grant| set(grant, vec![needs("dba", 2), needs("security", 1)])),
        ("a shorter window", |grant| grant.lifetime = Duration::from_secs(60)),
        ("no people", |grant| grant.when = When::Requested),
    ];
    fn set(grant: &mut Grant, asked: Vec<Requirement>) {
        grant.when = When::Approved { requirements: asked, patience: Duration::from_secs(600) };
    }
    for gateway in &gateways().await {
        let (grants, now, ann) = (&gateway.grants, at(0), human("ann", "dba"));
        for (name, change) in changes {
            grants.replace(policy()).unwrap();
            let id = ask(gateway, &agent(&object(name)), "vault").await;
            grants.decide(&human("bea", "dba"), id, Verdict::Approve, "", now).await.unwrap();
            grants.replace(with("vault", change)).unwrap();
            let refused = grants.decide(&ann, id, Verdict::Approve, "", now).await;
            assert!(matches!(refused, Err(AskError::PolicyChanged)), "{name}: {refused:?}");
            // To others it does not even exist, and it can still be rejected.
            let refused = grants.decide(&human("eve", "team"), id, Verdict::Approve, "", now).await;
            assert!(matches!(refused, Err(AskError::NotFound)), "{name}: {refused:?}");
            let rejected = grants.decide(&ann, id, Verdict::Reject, "", now).await.unwrap();
            assert_eq!(rejected.approval.state(now), Standing::Rejected, "{name}");
        }
        // A longer lifetime asks the same people for what was asked.
        grants.replace(policy()).unwrap();
        let id = ask(gateway, &agent("last"), "vault").await;
        grants.replace(with("vault", |grant| grant.lifetime = Duration::from_secs(7200))).unwrap();
        grants.decide(&ann, id, Verdict::Approve, "", now).await.unwrap();
    }
}
