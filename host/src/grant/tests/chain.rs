//! On whose behalf, and through what: approvers see it, and what is opened is bound to it.

use super::*;

/// A person who comes through an agent.
fn through(actor: &str) -> Identity {
    let mut facts = person("ann", CallerKind::HumanThroughAgent, &["id-of-team"]);
    facts.actor = actor.into();
    facts.blueprint = Some("blueprint-7".into());
    facts.display_name = Some("Ann".into());
    Identity::for_test(facts)
}

/// The same person at a plain client.
fn plain(client: &str) -> Identity {
    let mut facts = person("ann", CallerKind::Human, &["id-of-team"]);
    facts.actor = client.into();
    Identity::for_test(facts)
}

async fn permit(gateway: &Gateway, identity: &Identity, name: &str) -> Result<(), RefusalCode> {
    let asked = gateway.grants.permit(identity, &target(name), gateway.clock.now()).await;
    asked.map(|_| ()).map_err(|refusal| refusal.code)
}

#[tokio::test]
async fn a_window_is_of_use_to_who_asked_for_it_and_through_nothing_else() {
    for gateway in &gateways().await {
        ask(gateway, &through("agent-a"), "db").await;
        let no_window = Err(RefusalCode::NoWindow);
        for (name, caller, expected) in [
            ("itself", through("agent-a"), Ok(())),
            ("in other letters", through("AGENT-A"), Ok(())),
            ("another agent of the same person", through("agent-b"), no_window),
            ("the person", plain("cli"), no_window),
            ("the agent for itself", agent("agent-a"), no_window),
        ] {
            assert_eq!(permit(gateway, &caller, "db").await, expected, "{name}");
        }
        // So they ask, and are not told that there is one already.
        for caller in [through("agent-b"), plain("cli")] {
            ask(gateway, &caller, "db").await;
            assert_eq!(permit(gateway, &caller, "db").await, Ok(()));
        }
        // A person is the same at every plain client.
        assert_eq!(permit(gateway, &plain("portal"), "db").await, Ok(()));
    }
}

#[tokio::test]
async fn approvers_see_the_chain_and_each_chain_is_a_request_of_its_own() {
    for gateway in &gateways().await {
        let (grants, now) = (&gateway.grants, at(0));
        let first = ask(gateway, &through("agent-a"), "vault").await;
        let second = ask(gateway, &through("agent-b"), "vault").await;
        assert_ne!(first, second);
        let shown = grants.approvals(&human("bea", "dba")).await.unwrap();
        let callers: Vec<_> = shown.into_iter().map(|stored| stored.caller.unwrap()).collect();
        assert_eq!(callers, [through("agent-a").facts().into(), through("agent-b").facts().into()]);
        assert_eq!(callers[0].blueprint.as_deref(), Some("blueprint-7"));

        // What is approved for the one opens for the one.
        for who in ["bea", "cid"] {
            grants.decide(&human(who, "dba"), first, Verdict::Approve, "", now).await.unwrap();
        }
        assert_eq!(permit(gateway, &through("agent-a"), "vault").await, Ok(()));
        let refusal = grants.permit(&through("agent-b"), &target("vault"), now).await.unwrap_err();
        // Theirs waits still, and it is theirs that they are told of.
        assert!(refusal.to_string().contains(&second.to_string()), "{refusal}");
        let refusal = grants.permit(&plain("cli"), &target("vault"), now).await.unwrap_err();
        assert!(!refusal.to_string().contains("req_"), "{refusal}");
    }
}

/// A key is the requester's own: through something else it is no way to another chain's window.
#[tokio::test]
async fn a_key_of_another_chain_is_refused() {
    for gateway in &gateways().await {
        let request = |identity: Identity| async move {
            let now = gateway.clock.now();
            gateway
                .grants
                .request(&identity, Wish { key: Some("key-1"), ..Wish::new(&target("db"), "x") }, now)
                .await
        };
        assert!(matches!(request(through("agent-a")).await, Ok(RequestOutcome::New(..))));
        assert!(matches!(request(through("agent-a")).await, Ok(RequestOutcome::Repeated(..))));
        assert!(matches!(request(through("agent-b")).await, Err(AskError::KeyReused)));
        assert!(matches!(request(plain("cli")).await, Err(AskError::KeyReused)));
    }
}

#[tokio::test]
async fn a_held_operation_says_whose_it_is() {
    for gateway in &gateways().await {
        let caller = through("agent-a");
        let permit = permit_on_db(gateway, &caller).await;
        let terms = HoldTerms {
            approvers: GroupAlias::new("dba").unwrap(),
            needed: 1,
            timeout_seconds: 60,
            reason: "it deletes".into(),
        };
        let operation = HeldOperation {
            summary: "DELETE".into(),
            digest: [3; 32],
            risk: 80,
            findings: vec![],
            terms: vec![terms],
        };
        let _hold = gateway.grants.hold(&permit, operation, at(0)).await.unwrap();
        let shown = gateway.grants.approvals(&human("bea", "dba")).await.unwrap();
        assert_eq!(shown[0].caller, Some(caller.facts().into()));
    }
}
