//! Persons without a token, for whom the directory vouches.

use super::*;
use chaperone_core::identity::Audience;
use chaperone_core::name::Principal;

impl Scene {
    async fn vouched(&self, principal: &str, seconds: i64) -> Result<Identity, Refusal> {
        let principal = Principal::new(principal).unwrap();
        self.identities.vouched(&principal, &|_| groups([GROUP, OTHER_GROUP]), later(seconds)).await
    }
}

#[tokio::test]
async fn the_directory_vouches_for_an_enabled_member_with_its_groups() {
    let scene = Scene::new().await;
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Member, &[GROUP]));
    let principal = format!("corp/{TENANT}/{OBJECT}");
    let vouched = scene.vouched(&principal, 0).await.unwrap();
    let facts = vouched.facts();
    // As a token of the same person would say it, but for what only a token has.
    let token = spec(CallerKind::Human).groups(GroupsClaim::Overage).client(CLIENT);
    let by_token = scene.identify(&token).await;
    let by_token = scene.complete(&by_token, 0).await.unwrap();
    let expected = IdentityFacts {
        // It decides, and opens nothing.
        audience: Audience::Approvers,
        credential_id: VOUCHED.to_owned(),
        issued_at: later(0),
        expires_at: later(60),
        ..by_token.facts().clone()
    };
    assert_eq!(*facts, expected);
    assert!(facts.kind.may_approve() && facts.groups.contains(GROUP) && !facts.groups.contains(OTHER_GROUP));

    scene.graph.change(TENANT, OBJECT, |object| object.groups.clear());
    assert!(!scene.vouched(&principal, 60).await.unwrap().facts().groups.contains(GROUP));
}

#[tokio::test]
async fn nobody_else_is_vouched_for() {
    let scene = Scene::new().await;
    let member = || Object::new(AccountKind::Member, &[GROUP]);
    let of = |kind| Object::new(kind, &[GROUP]);
    let principal = format!("corp/{TENANT}/{OBJECT}");
    for (number, object) in [
        Object { enabled: false, ..member() },
        of(AccountKind::Guest),
        of(AccountKind::AgentUser),
        of(AccountKind::Agent),
        of(AccountKind::Application),
    ]
    .into_iter()
    .enumerate()
    {
        scene.graph.put(TENANT, OBJECT, object.clone());
        let refused = scene.vouched(&principal, 60 * i64::try_from(number).unwrap()).await.unwrap_err();
        assert_eq!(refused, nobody(), "{object:?}");
    }
    scene.graph.remove(TENANT, OBJECT);
    assert_eq!(scene.vouched(&principal, 1000).await.unwrap_err(), nobody());

    // Not as a token would spell it, of a tenant or a provider that is not asked.
    scene.graph.put(TENANT, OBJECT, member());
    scene.graph.put(OTHER_TENANT, OBJECT, member());
    let upper = OBJECT.to_uppercase();
    scene.graph.put(TENANT, &upper, member());
    let asked = scene.graph.asked().len();
    for principal in [
        format!("corp/{TENANT}/{upper}"),
        format!("corp/{TENANT}/{OBJECT}/x"),
        format!("corp/{TENANT}"),
        format!("corp/{TENANT}/ann"),
        format!("corp/{OTHER_TENANT}/{OBJECT}"),
    ] {
        assert_eq!(scene.vouched(&principal, 2000).await.unwrap_err(), nobody(), "{principal}");
    }
    let elsewhere = format!("other/{TENANT}/{OBJECT}");
    assert_eq!(scene.vouched(&elsewhere, 2000).await.unwrap_err(), no_directory());
    assert_eq!(scene.graph.asked().len(), asked, "nothing was asked about them");

    scene.graph.behave(GraphBehaviour::Fails(500, None));
    let refused = scene.vouched(&principal, 3000).await.unwrap_err();
    assert_eq!(refused.code, RefusalCode::ProviderUnavailable);
}
