//! What must not go wrong when Graph is slow, down, somebody else's, or asked by everybody at once.

use super::*;
use serde_json::json;

#[tokio::test]
async fn who_was_taken_out_of_a_group_is_out_when_the_answer_has_run_out() {
    let scene = Scene::new().await;
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
    let identity = scene.identify(&spec(CallerKind::Agent)).await;
    assert_eq!(scene.holds(&identity, 0).await, HOLDS);
    scene.graph.change(TENANT, OBJECT, |object| object.groups.clear());
    assert_eq!(scene.holds(&identity, 59).await, HOLDS, "so long an answer counts");
    assert_eq!(scene.holds(&identity, 60).await, HOLDS_NOT);

    // Nor does an old answer count because there is no new one.
    scene.graph.change(TENANT, OBJECT, |object| object.groups.extend(groups([GROUP])));
    assert_eq!(scene.holds(&identity, 120).await, HOLDS);
    scene.graph.behave(GraphBehaviour::Fails(500, None));
    assert_eq!(scene.holds(&identity, 179).await, HOLDS);
    assert_eq!(scene.holds(&identity, 180).await, OPEN);
}

#[tokio::test]
async fn a_group_that_the_policy_names_since_a_moment_ago_is_asked_for_at_once() {
    let scene = Scene::new().await;
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
    let identity = scene.identify(&spec(CallerKind::Agent)).await;
    let ask = |ids: BTreeSet<String>| {
        let (identity, identities) = (identity.clone(), scene.identities.clone());
        async move { identities.complete(identity, &|_| ids.clone(), later(0)).await.unwrap() }
    };
    assert!(!ask(groups([OTHER_GROUP])).await.facts().groups.contains(GROUP));
    assert!(ask(groups([GROUP, OTHER_GROUP])).await.facts().groups.contains(GROUP));
    assert_eq!(scene.graph.calls(OBJECT), 2);
    assert!(!ask(groups([OTHER_GROUP])).await.facts().groups.contains(OTHER_GROUP));
    assert_eq!(scene.graph.calls(OBJECT), 2, "less is known already");
}

#[tokio::test]
async fn each_tenant_answers_for_its_own_objects_alone() {
    let scene = Scene::with(|config| {
        let tenants = vec![TENANT.to_owned(), OTHER_TENANT.to_owned()];
        config.kind = ProviderKind::Entra { cloud: Cloud::Public, tenants };
        config.jwks_url = config
            .discovery_url
            .take()
            .map(|url| url.replace("v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"));
    })
    .await;
    // One object id in both; only the other tenant's is in the group.
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[]));
    scene.graph.put(OTHER_TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
    let theirs = spec(CallerKind::Agent)
        .claim("iss", Cloud::Public.issuer_v2(OTHER_TENANT))
        .claim("tid", OTHER_TENANT);
    scene.issuer.set_key_issuer(&crate::demo::issuer::KeyIssuer::Absent);
    let theirs = scene.identify(&theirs).await;
    let ours = scene.identify(&spec(CallerKind::Agent)).await;
    assert_eq!(scene.holds(&theirs, 0).await, HOLDS);
    assert_eq!(scene.holds(&ours, 0).await, HOLDS_NOT);
    let tokens: Vec<String> =
        scene.graph.asked().into_iter().filter(|asked| asked.ends_with("/token")).collect();
    assert_eq!(tokens, [OTHER_TENANT, TENANT].map(|tenant| format!("POST /{tenant}/oauth2/v2.0/token")));
}

#[tokio::test]
async fn an_answer_about_somebody_else_or_out_of_form_is_none() {
    let right = json!({ "id": OBJECT, "accountEnabled": true, "value": [GROUP] });
    let with = |name: &str, value: serde_json::Value| {
        let mut document = right.clone();
        document[name] = value;
        document
    };
    let without = |name: &str| {
        let mut document = right.clone();
        document.as_object_mut().unwrap().remove(name);
        document
    };
    for (document, expected) in [
        (right.clone(), HOLDS),
        (with("id", json!(OBJECT.to_uppercase())), HOLDS),
        (with("id", json!(CLIENT)), OPEN),
        (without("id"), OPEN),
        (with("accountEnabled", json!("true")), OPEN),
        (with("accountEnabled", json!(null)), OPEN),
        (without("accountEnabled"), OPEN),
        (with("value", json!([GROUP, "f0000000-2222-4333-8444-555555555555"])), OPEN),
        (with("value", json!([GROUP.to_uppercase()])), OPEN),
        (with("value", json!([1])), OPEN),
        (with("value", json!(GROUP)), OPEN),
        (without("value"), OPEN),
        (with("value", json!([])), HOLDS_NOT),
        (json!([right]), OPEN),
    ] {
        let scene = Scene::new().await;
        scene.graph.behave(GraphBehaviour::Says(document.clone()));
        let identity = scene.identify(&spec(CallerKind::Agent)).await;
        assert_eq!(scene.holds(&identity, 0).await, expected, "{document}");
    }
}

#[tokio::test]
async fn while_graph_is_down_an_identity_is_what_its_token_proves() {
    let trap = LocalGraph::start(CLIENT, "s3cret&=% ü").await.unwrap();
    for behaviour in [
        GraphBehaviour::Fails(500, None),
        GraphBehaviour::Fails(403, None),
        // Not Graph's words for "no such object".
        GraphBehaviour::Fails(404, None),
        GraphBehaviour::Babbles,
        GraphBehaviour::Floods,
        GraphBehaviour::Redirects(format!("{}/v1.0/users/{OBJECT}", trap.url())),
    ] {
        let scene = Scene::new().await;
        let object = Object::new(AccountKind::Agent, &[GROUP]);
        scene.graph.put(TENANT, OBJECT, object);
        let identity = scene.identify(&spec(CallerKind::Agent)).await;
        scene.graph.behave(behaviour.clone());
        let open = scene.complete(&identity, 0).await.unwrap();
        assert_eq!(
            (open.facts(), open.completeness()),
            (identity.facts(), Completeness::Open),
            "{behaviour:?}"
        );
        let calls = scene.graph.asked().len();
        assert_eq!(scene.holds(&identity, 1).await, OPEN, "{behaviour:?}");
        assert_eq!(scene.graph.asked().len(), calls, "a failure counts for a moment: {behaviour:?}");
        scene.graph.behave(GraphBehaviour::Works);
        assert_eq!(scene.holds(&identity, 2).await, HOLDS, "{behaviour:?}");
    }
    assert_eq!(trap.asked(), [""; 0], "no redirect is followed");
}

#[tokio::test]
async fn a_graph_that_is_overloaded_is_left_alone_as_long_as_it_asks() {
    for (status, retry, rest) in
        [(429, Some(20), 20), (503, Some(7), 7), (429, None, 10), (429, Some(9999), 300)]
    {
        let scene = Scene::new().await;
        scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
        scene.graph.put(TENANT, CLIENT, Object::new(AccountKind::Agent, &[GROUP]));
        let one = scene.identify(&spec(CallerKind::Agent)).await;
        let other = TokenSpec::new(CallerKind::Agent, CLIENT, AUDIENCE, later(0));
        let other = scene.identify(&other).await;
        scene.graph.behave(GraphBehaviour::Fails(status, retry));
        assert_eq!(scene.holds(&one, 0).await, OPEN);
        scene.graph.behave(GraphBehaviour::Works);
        let calls = scene.graph.asked().len();
        // Also about others, and whatever they have waited.
        assert_eq!(scene.holds(&other, rest - 1).await, OPEN, "{status} {retry:?}");
        assert_eq!(scene.graph.asked().len(), calls, "{status} {retry:?}");
        assert_eq!(scene.holds(&one, rest).await, HOLDS, "{status} {retry:?}");
    }
}

#[tokio::test]
async fn who_gives_tokens_is_left_alone_as_long_as_it_asks() {
    for (status, retry, rest) in
        [(429, Some(20), 20), (503, Some(7), 7), (429, None, 10), (429, Some(9999), 300)]
    {
        let scene = Scene::new().await;
        scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
        scene.graph.put(TENANT, CLIENT, Object::new(AccountKind::Agent, &[GROUP]));
        let one = scene.identify(&spec(CallerKind::Agent)).await;
        let other = TokenSpec::new(CallerKind::Agent, CLIENT, AUDIENCE, later(0));
        let other = scene.identify(&other).await;
        scene.graph.behave(GraphBehaviour::FailsTokens(status, retry));
        assert_eq!(scene.holds(&one, 0).await, OPEN);
        let token = [format!("POST /{TENANT}/oauth2/v2.0/token")];
        assert_eq!(scene.graph.asked(), token, "without a token nothing else is asked");
        scene.graph.behave(GraphBehaviour::Works);
        assert_eq!(scene.holds(&other, rest - 1).await, OPEN, "{status} {retry:?}");
        assert_eq!(scene.graph.asked(), token, "{status} {retry:?}");
        assert_eq!(scene.holds(&one, rest).await, HOLDS, "{status} {retry:?}");
        assert_eq!(scene.graph.calls("/token"), 2, "{status} {retry:?}");
    }
}

#[tokio::test]
async fn nobody_waits_longer_for_a_slow_graph_than_a_look_up_may_take() {
    let scene =
        Scene::with(|config| config.graph.as_mut().unwrap().patience = Duration::from_millis(50)).await;
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
    let identity = scene.identify(&spec(CallerKind::Agent)).await;
    scene.graph.behave(GraphBehaviour::Hangs);
    // It would never answer.
    let waiting = (0..20).map(|_| {
        let (identities, identity) = (scene.identities.clone(), identity.clone());
        tokio::spawn(async move { identities.complete(identity, &|_| groups([GROUP]), later(0)).await })
    });
    for task in waiting.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap().unwrap().completeness(), Completeness::Open);
    }
    assert_eq!(scene.graph.calls("/token"), 1, "they have waited for one look-up, and for no second");
}

#[tokio::test]
async fn a_group_that_graph_does_not_know_hides_no_other() {
    for unknown in [UnknownGroups::AreEmpty, UnknownGroups::AreNotFound] {
        let scene = Scene::new().await;
        scene.graph.unknown_groups(unknown);
        // Nobody was ever in the other group.
        scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
        let identity = scene.identify(&spec(CallerKind::Agent)).await;
        assert_eq!(scene.holds(&identity, 0).await, HOLDS, "{unknown:?}");
        let complete = scene.complete(&identity, 0).await.unwrap();
        assert!(!complete.facts().groups.contains(OTHER_GROUP), "{unknown:?}");
    }
}

#[tokio::test]
async fn no_address_in_a_token_is_called() {
    let scene = Scene::new().await;
    let trap = LocalGraph::start(CLIENT, "s3cret&=% ü").await.unwrap();
    trap.put(TENANT, OBJECT, Object::new(AccountKind::Member, &[GROUP]));
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Member, &[]));
    let endpoint = format!("{}/v1.0/users/{OBJECT}/getMemberObjects", trap.url());
    let pointing = spec(CallerKind::Human)
        .claim("_claim_names", json!({ "groups": "src1" }))
        .claim("_claim_sources", json!({ "src1": { "endpoint": endpoint } }));
    let identity = scene.identify(&pointing).await;
    assert_eq!(scene.holds(&identity, 0).await, HOLDS_NOT);
    assert_eq!(trap.asked(), [""; 0]);
    assert_eq!(scene.graph.calls("checkMemberGroups"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_at_once_are_one_look_up_each() {
    let scene = Scene::new().await;
    let objects: Vec<String> = (0..200).map(|n| format!("{n:08x}-2222-4333-8444-555555555555")).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, object) in objects.iter().enumerate() {
        let held: &[&str] = if number % 2 == 0 { &[GROUP] } else { &[] };
        scene.graph.put(TENANT, object, Object::new(AccountKind::Agent, held));
        let identity = scene.identify(&TokenSpec::new(CallerKind::Agent, object, AUDIENCE, later(0))).await;
        // Each of them on five connections.
        for _ in 0..5 {
            let (identities, identity) = (scene.identities.clone(), identity.clone());
            tasks.spawn(async move {
                let complete = identities.complete(identity, &|_| groups([GROUP]), later(0)).await.unwrap();
                assert_eq!(complete.completeness(), Completeness::Complete);
                assert_eq!(complete.facts().groups.contains(GROUP), number % 2 == 0);
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for object in &objects {
        assert_eq!(scene.graph.calls(object), 1, "{object}");
    }
    assert_eq!((scene.graph.calls("checkMemberGroups"), scene.graph.calls("/token")), (200, 1));
}
