//! Who is on the deny list gets nowhere, and what they had ends.

use super::*;
use chaperone_core::denial::{Denial, Denied, DeniedKind};
use chaperone_core::identity::IdentityFacts;
use chaperone_core::name::DenialId;

fn denied(kind: DeniedKind, id: &str) -> Denied {
    Denied::new(kind, "t", id).unwrap()
}

async fn deny(grants: &Grants, denied: Denied, now: Timestamp) -> Denial {
    grants.deny(&human("oz", "ops"), denied, "incident 7", None, now).await.unwrap()
}

fn is_denied(end: Option<PermitEnd>, entry: &Denial) -> bool {
    matches!(end, Some(PermitEnd::Denied { by }) if by == *entry)
}

#[tokio::test]
async fn a_denied_caller_is_cut_and_gets_nowhere_until_the_entry_is_lifted() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        let (permit, other) =
            (permit_on_db(gateway, &agent("a1")).await, permit_on_db(gateway, &agent("a2")).await);
        // Written otherwise, it is the same object.
        let entry = deny(grants, Denied::new(DeniedKind::Object, "T", "A1").unwrap(), at(5)).await;
        assert!(is_denied(Some(soon(permit.ended()).await), &entry));
        assert_eq!(
            permit.end().unwrap().refusal().to_string(),
            format!(
                "An operator has denied you access. The entry is {}. Ask an operator to lift it.",
                entry.id
            )
        );
        assert_eq!(other.end(), None);
        for (name, outcome) in [
            ("login", grants.permit(&agent("a1"), &target("db"), at(5)).await.map(|_| ())),
            ("API", grants.admit(&agent("a1"), at(5))),
            // Before anything is said about targets or tokens.
            ("unknown target", grants.permit(&agent("a1"), &target("nowhere"), at(5)).await.map(|_| ())),
        ] {
            assert_eq!(outcome.unwrap_err().code, RefusalCode::Denied, "{name}");
        }
        assert_eq!(grants.admit(&agent("a2"), at(5)), Ok(()));
        assert_eq!(grants.denials(&human("oz", "ops"), at(5)).await.unwrap(), std::slice::from_ref(&entry));

        grants.lift(&human("oz", "ops"), entry.id, at(6)).await.unwrap();
        assert!(matches!(grants.lift(&human("oz", "ops"), entry.id, at(6)).await, Err(AskError::NotFound)));
        // The window was never ended; the cut session stays cut.
        assert_eq!(grants.permit(&agent("a1"), &target("db"), at(6)).await.unwrap().end(), None);
        assert!(is_denied(permit.end(), &entry));
    }
}

#[tokio::test]
async fn an_entry_counts_for_the_tenant_and_not_for_a_providers_name() {
    for gateway in &gateways().await {
        let other_provider = |object: &str| {
            let mut facts = person(object, CallerKind::Human, &[]);
            facts.provider = ProviderName::new("twin").unwrap();
            Identity::for_test(facts)
        };
        let other_tenant = |object: &str| {
            Identity::for_test(IdentityFacts {
                tenant: "t2".into(),
                ..person(object, CallerKind::Agent, &[])
            })
        };
        deny(&gateway.grants, denied(DeniedKind::Object, "a1"), at(0)).await;
        assert!(gateway.grants.admit(&other_provider("a1"), at(0)).is_err());
        assert_eq!(gateway.grants.admit(&other_tenant("a1"), at(0)), Ok(()));
    }
}

#[tokio::test]
async fn a_token_a_client_and_a_blueprint_are_denied_whoever_comes_with_them() {
    for gateway in &gateways().await {
        let caller = |change: &dyn Fn(&mut IdentityFacts)| {
            let mut facts = person("a1", CallerKind::HumanThroughAgent, &["id-of-team"]);
            change(&mut facts);
            Identity::for_test(facts)
        };
        for (kind, id, hit, spared) in [
            (
                DeniedKind::Credential,
                "uti-7",
                caller(&|facts| facts.credential_id = "uti-7".into()),
                // The same caller with a new token.
                caller(&|facts| facts.credential_id = "uti-8".into()),
            ),
            (
                DeniedKind::Client,
                "bot",
                // A person who comes through it.
                caller(&|facts| facts.actor = "bot".into()),
                caller(&|facts| facts.actor = "tool".into()),
            ),
            (
                DeniedKind::Blueprint,
                "print",
                caller(&|facts| facts.blueprint = Some("print".into())),
                caller(&|_| {}),
            ),
        ] {
            let login = async |caller| {
                let _window =
                    gateway.grants.request(caller, Wish::new(&target("db"), "x"), at(0)).await.unwrap();
                gateway.grants.permit(caller, &target("db"), at(0)).await.unwrap()
            };
            let (cut, lives) = (login(&hit).await, login(&spared).await);
            let entry = deny(&gateway.grants, denied(kind, id), at(0)).await;
            assert!(is_denied(cut.end(), &entry), "{kind}");
            assert_eq!(lives.end(), None, "{kind}");
            assert!(
                gateway.grants.admit(&hit, at(0)).is_err() && gateway.grants.admit(&spared, at(0)).is_ok()
            );
            gateway.grants.lift(&human("oz", "ops"), entry.id, at(0)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_entry_of_another_gateway_counts_here_and_after_a_restart() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        let start = || Grants::start(policy(), gateway.store.state.clone(), gateway.clock.clone());
        let elsewhere = start().await.unwrap();
        let entry = deny(&elsewhere, denied(DeniedKind::Object, "a1"), at(5)).await;
        assert!(is_denied(Some(soon(permit.ended()).await), &entry));
        assert!(gateway.grants.admit(&agent("a1"), at(5)).is_err());
        // From the first moment, not from the first look.
        assert!(start().await.unwrap().admit(&agent("a1"), at(5)).is_err());
        elsewhere.lift(&human("oz", "ops"), entry.id, at(6)).await.unwrap();
        soon(async {
            while gateway.grants.admit(&agent("a1"), at(6)).is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn only_operators_who_are_persons_deny_and_nobody_denies_themselves() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        let what = || denied(DeniedKind::Object, "a1");
        let agent_operator = Identity::for_test(person("bot", CallerKind::Agent, &["id-of-ops"]));
        for stranger in [agent("a1"), human("ann", "dba")] {
            let made = grants.deny(&stranger, what(), "why", None, at(0)).await;
            assert!(matches!(made, Err(AskError::NotFound)));
            assert!(matches!(grants.denials(&stranger, at(0)).await, Err(AskError::NotFound)));
            let lifted = grants.lift(&stranger, DenialId::new(uuid::Uuid::nil()), at(0)).await;
            assert!(matches!(lifted, Err(AskError::NotFound)));
        }
        let made = grants.deny(&agent_operator, what(), "why", None, at(0)).await;
        assert!(matches!(made, Err(AskError::Rule(ApprovalProblem::NotAPerson(CallerKind::Agent)))));
        let lifted = grants.lift(&agent_operator, DenialId::new(uuid::Uuid::nil()), at(0)).await;
        assert!(matches!(lifted, Err(AskError::Rule(ApprovalProblem::NotAPerson(CallerKind::Agent)))));

        let operator = human("oz", "ops");
        for (what, reason, length, expected) in [
            (what(), " ", None, AskError::Reason),
            (what(), "why\u{1b}", None, AskError::Reason),
            (what(), "why", Some(Duration::from_millis(999)), AskError::DenialLength),
            (what(), "why", Some(MAX_DENIAL + Duration::from_secs(1)), AskError::DenialLength),
            (denied(DeniedKind::Object, "OZ"), "why", None, AskError::DeniesItself),
            // Everybody comes through this one.
            (denied(DeniedKind::Client, "client"), "why", None, AskError::DeniesItself),
        ] {
            let made = grants.deny(&operator, what, reason, length, at(0)).await.unwrap_err();
            assert_eq!(made.to_string(), expected.to_string());
        }
        assert_eq!(grants.denials(&operator, at(0)).await.unwrap(), []);
    }
}

#[tokio::test]
async fn an_entry_for_some_time_ends_by_itself() {
    for gateway in &gateways().await {
        let (grants, operator) = (&gateway.grants, human("oz", "ops"));
        let length = Some(Duration::from_secs(10));
        let entry = grants.deny(&operator, denied(DeniedKind::Object, "a1"), "why", length, at(0)).await;
        assert_eq!(entry.unwrap().until, Some(at(10)));
        assert!(grants.admit(&agent("a1"), at(9)).is_err());
        assert_eq!(grants.admit(&agent("a1"), at(10)), Ok(()));
    }
}

/// A caller that was let in to wait is not answered any more.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_denied_while_waiting_for_an_answer_gets_none() {
    for gateway in &gateways().await {
        let ApprovalId::Request(id) = ask(gateway, &agent("a1"), "vault").await else { panic!() };
        let grants = gateway.grants.clone();
        let waiting = tokio::spawn(async move {
            grants.wait_for_request(&agent("a1"), id, Duration::from_secs(3600)).await
        });
        deny(&gateway.grants, denied(DeniedKind::Object, "a1"), at(1)).await;
        let answer = soon(waiting).await.unwrap();
        assert!(matches!(answer, Err(AskError::Failed(refusal)) if refusal.code == RefusalCode::Denied));
    }
}

/// Permits that are made while the entry is: each is refused, or ends.
#[tokio::test(flavor = "multi_thread")]
async fn no_permit_slips_past_an_entry_that_is_being_made() {
    for gateway in &gateways().await {
        ask(gateway, &agent("a1"), "db").await;
        let grants = &gateway.grants;
        let logins: Vec<_> = (0..40)
            .map(|_| {
                let grants = grants.clone();
                tokio::spawn(async move { grants.permit(&agent("a1"), &target("db"), at(1)).await })
            })
            .collect();
        let entry = deny(grants, denied(DeniedKind::Object, "a1"), at(1)).await;
        for login in logins {
            match login.await.unwrap() {
                Ok(permit) => assert!(is_denied(permit.end(), &entry)),
                Err(refusal) => assert_eq!(refusal.code, RefusalCode::Denied),
            }
        }
    }
}

#[tokio::test]
async fn a_slow_reading_of_the_list_does_not_replace_a_later_one() {
    let denials = deny::Denials::default();
    let entry = Denial {
        id: DenialId::new(uuid::Uuid::nil()),
        denied: denied(DeniedKind::Object, "a1"),
        reason: "why".into(),
        by: human("oz", "ops").facts().principal.clone(),
        made: at(0),
        until: None,
    };
    assert!(denials.replace(2, vec![entry.clone()]));
    assert!(!denials.replace(1, vec![]));
    assert!(denials.against(agent("a1").facts(), at(0)).is_some());
    assert!(!denials.replace(3, vec![entry]), "the same is no news");
    assert!(denials.replace(4, vec![]));
}
