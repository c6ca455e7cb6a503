//! Callers who are in, looked at again.

use super::*;

impl Scene {
    /// What is lost of what these facts say, as the provider has it then; `None` while it does not answer.
    async fn lost(&self, facts: &IdentityFacts, seconds: i64) -> Option<Option<&'static str>> {
        let groups = |_: &ProviderName| groups([GROUP, OTHER_GROUP]);
        let standing = self.identities.standing(facts, &groups, later(seconds)).await;
        standing.map(|standing| standing.lost(facts))
    }
}

#[tokio::test]
async fn what_is_over_is_seen_however_young_an_answer_is() {
    let disabled = "your account is disabled";
    let out = "you are no longer in a group that you were in when you were let in";
    let signed_out = "your sign-ins were revoked after your token was issued";
    let another = "your account is of another kind than it was taken for when you were let in";
    let group = || GroupsClaim::Listed(vec![GROUP.to_owned()]);
    type Change = fn(&mut Object);
    let cases: [(TokenSpec, Change, Option<&str>); 10] = [
        (spec(CallerKind::Human).groups(group()), |_| {}, None),
        (spec(CallerKind::Human).groups(group()), |object| object.enabled = false, Some(disabled)),
        (spec(CallerKind::Human).groups(group()), |object| object.groups.clear(), Some(out)),
        (
            spec(CallerKind::Human).groups(group()),
            |object| object.sessions_from = Some(later(1).to_string()),
            Some(signed_out),
        ),
        (
            spec(CallerKind::Human).groups(group()),
            |object| object.sessions_from = Some(later(0).to_string()),
            None,
        ),
        (
            spec(CallerKind::Human).groups(group()),
            |object| object.kind = AccountKind::AgentUser,
            Some(another),
        ),
        // Known by Graph alone.
        (spec(CallerKind::HumanThroughAgent), |object| object.groups.clear(), Some(out)),
        (spec(CallerKind::HumanThroughAgent), |object| object.groups = groups([GROUP, OTHER_GROUP]), None),
        // In none of them from the beginning, and in a group that the policy does not name.
        (spec(CallerKind::Human).groups(GroupsClaim::Listed(vec![])), |object| object.groups.clear(), None),
        (
            spec(CallerKind::Human).groups(GroupsClaim::Listed(vec![CLIENT.to_owned()])),
            |object| object.groups.clear(),
            None,
        ),
    ];
    for (number, (token, change, expected)) in cases.into_iter().enumerate() {
        let scene = Scene::new().await;
        scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Member, &[GROUP]));
        let identity = scene.identify(&token).await;
        let identity = scene.complete(&identity, 0).await.unwrap();
        scene.graph.change(TENANT, OBJECT, change);
        assert_eq!(scene.lost(identity.facts(), 1).await, Some(expected), "case {number}");
    }
}

#[tokio::test]
async fn an_agent_whose_account_is_gone_has_lost_it_and_one_that_was_taken_for_a_workload_too() {
    let scene = Scene::new().await;
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
    let workload = scene.identify(&spec(CallerKind::Workload)).await;
    let agent = scene.complete(&workload, 0).await.unwrap();
    assert_eq!(scene.lost(agent.facts(), 1).await, Some(None));
    // Let in while Graph was down.
    let kind = "your account is of another kind than it was taken for when you were let in";
    assert_eq!(scene.lost(workload.facts(), 2).await, Some(Some(kind)));
    scene.graph.remove(TENANT, OBJECT);
    assert_eq!(scene.lost(agent.facts(), 3).await, Some(Some("your account is gone")));
}

#[tokio::test]
async fn a_look_at_who_is_in_counts_for_who_comes_and_a_silent_graph_takes_nothing() {
    let scene = Scene::new().await;
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
    let identity = scene.identify(&spec(CallerKind::Agent)).await;
    let complete = scene.complete(&identity, 0).await.unwrap();
    scene.graph.change(TENANT, OBJECT, |object| object.groups.clear());
    assert_eq!(scene.holds(&identity, 1).await, HOLDS, "the answer of a second ago");
    assert!(scene.lost(complete.facts(), 2).await.unwrap().is_some());
    assert_eq!(scene.holds(&identity, 3).await, HOLDS_NOT, "and there is a newer one");

    scene.graph.behave(GraphBehaviour::Fails(500, None));
    assert_eq!(scene.lost(complete.facts(), 10).await, None);
    assert_eq!(scene.holds(&identity, 10).await, HOLDS_NOT, "what is known stays known");
    scene.graph.behave(GraphBehaviour::Works);
    assert!(scene.lost(complete.facts(), 20).await.is_some());
}
