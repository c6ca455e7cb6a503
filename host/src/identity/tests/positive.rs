//! What right tokens prove.

use super::*;
use crate::demo::issuer::{GroupsClaim, TokenForm};
use chaperone_core::identity::Groups;
use std::time::Duration;

#[tokio::test]
async fn every_kind_of_caller_in_both_versions() {
    let scene = Scene::new().await;
    use CallerKind::{Agent, AgentUser, Human, HumanThroughAgent, Unknown, Workload};
    for kind in [Human, HumanThroughAgent, Agent, AgentUser, Workload, Unknown] {
        for form in [TokenForm::V1, TokenForm::V2] {
            let spec = TokenSpec::new(kind, OBJECT, AUDIENCE, now()).client(CLIENT).form(form);
            let spec = spec.name("Someone").claim("xms_par_app_azp", GROUP).claim("uti", "uti-1");
            let identity = scene.check(&scene.token(&spec)).await.unwrap();
            let facts = identity.facts();
            assert_eq!(facts.kind, kind, "{form:?}");
            assert_eq!(facts.principal.as_str(), format!("corp/{TENANT}/{OBJECT}"));
            assert_eq!((facts.tenant.as_str(), facts.object_id.as_str()), (TENANT, OBJECT));
            assert_eq!(facts.actor, CLIENT);
            assert_eq!(facts.blueprint.as_deref(), Some(GROUP));
            assert_eq!(facts.display_name.as_deref(), Some("Someone"));
            assert_eq!(facts.credential_id, "uti-1");
            assert_eq!((facts.issued_at, facts.expires_at), (now(), later(3600)));
            assert_eq!(facts.groups, Groups::Unknown);
            assert_eq!(facts.kind.may_approve(), kind == Human);
        }
    }
}

#[tokio::test]
async fn groups_are_known_only_when_all_of_them_are_listed() {
    let scene = Scene::new().await;
    let listed = GroupsClaim::Listed(vec![GROUP.to_owned()]);
    let known = Groups::Known([GROUP.to_owned()].into());
    let overage = serde_json::json!({ "groups": "src1" });
    for (case, spec, expected) in [
        ("absent", agent(), Groups::Unknown),
        ("listed", agent().groups(listed.clone()), known.clone()),
        ("none", agent().groups(GroupsClaim::Listed(vec![])), Groups::Known([].into())),
        ("overage", agent().groups(GroupsClaim::Overage), Groups::Unknown),
        ("hasgroups", agent().claim("hasgroups", true), Groups::Unknown),
        ("listed and hasgroups", agent().groups(listed.clone()).claim("hasgroups", true), Groups::Unknown),
        (
            "listed and overage",
            agent().groups(listed.clone()).claim("_claim_names", overage),
            Groups::Unknown,
        ),
        (
            "another claim is elsewhere",
            agent().groups(listed).claim("_claim_names", serde_json::json!({})),
            known,
        ),
    ] {
        let identity = scene.check(&scene.token(&spec)).await.unwrap();
        assert_eq!(identity.facts().groups, expected, "{case}");
    }
}

#[tokio::test]
async fn roles_are_taken_as_they_are() {
    let scene = Scene::new().await;
    let identity = scene.check(&scene.token(&agent().roles(&["Reader", "Logs.Read"]))).await.unwrap();
    assert_eq!(identity.facts().roles, ["Logs.Read".to_owned(), "Reader".to_owned()].into());
}

#[tokio::test]
async fn names_decide_nothing() {
    let scene = Scene::new().await;
    let spec = agent().claim("upn", 5).claim("email", "boss@example.com").claim("preferred_username", false);
    let identity = scene.check(&scene.token(&spec)).await.unwrap();
    assert_eq!(identity.facts().display_name, None);
}

#[tokio::test]
async fn clocks_may_be_a_minute_apart_and_no_more() {
    let scene = Scene::new().await;
    let token = scene.token(&agent().lifetime(Duration::from_secs(600)));
    for (at, expected) in [
        (-61, Err(TokenProblem::IssuedInFuture)),
        (-60, Ok(())),
        (0, Ok(())),
        (659, Ok(())),
        (660, Err(TokenProblem::Expired)),
    ] {
        assert_eq!(scene.check_at(&token, later(at)).await.map(drop), expected, "{at} s");
    }
}

#[tokio::test]
async fn a_full_token_of_two_hundred_groups_fits() {
    let scene = Scene::new().await;
    let groups = (0..200).map(|n| format!("{n:08x}-2222-4333-8444-555555555555")).collect();
    let token = scene.token(&agent().groups(GroupsClaim::Listed(groups)));
    assert!(token.len() > 10_000 && token.len() < MAX_TOKEN_BYTES, "{}", token.len());
    assert!(
        matches!(&scene.check(&token).await.unwrap().facts().groups, Groups::Known(ids) if ids.len() == 200)
    );
}

#[tokio::test]
async fn a_list_of_human_clients_narrows_people_down() {
    let clients = UnmarkedUsers::AreHumanThrough(vec![CLIENT.to_ascii_uppercase()]);
    let scene = Scene::with(|config| config.unmarked_users = clients).await;
    let user = TokenSpec::new(CallerKind::Human, OBJECT, AUDIENCE, now());
    let through = |client| scene.token(&user.clone().client(client));
    assert_eq!(scene.check(&through(CLIENT)).await.unwrap().facts().kind, CallerKind::Human);
    assert_eq!(scene.check(&through(GROUP)).await.unwrap().facts().kind, CallerKind::Unknown);
}

/// RFC 9068's own shape, for a provider that is not Entra.
fn profile(scene: &Scene, typ: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let kid = scene.issuer.newest_key_id();
    let header = serde_json::json!({ "alg": "RS256", "typ": typ, "kid": kid });
    let issued = now().as_second();
    let mut claims = serde_json::json!({
        "iss": "https://id.example.com", "aud": ["other", AUDIENCE], "sub": "svc", "client_id": "svc",
        "iat": issued, "exp": issued + 300, "jti": "j", "groups": ["ops"], "roles": ["r"],
    });
    change(&mut claims);
    scene.issuer.sign_by(&kid, &header.to_string(), &claims.to_string()).unwrap()
}

#[tokio::test]
async fn any_provider_of_access_tokens_by_rfc_9068() {
    let issuer = LocalIssuer::start(TENANT).await.unwrap();
    issuer.set_key_issuer(&crate::demo::issuer::KeyIssuer::Absent);
    let mut config = ProviderConfig::new(corp(), ProviderKind::Oidc, vec![AUDIENCE.to_owned()]);
    config.issuers = vec!["https://id.example.com".to_owned()];
    config.jwks_url = Some(issuer.jwks_url());
    config.loopback_http = LoopbackHttp::Allowed;
    let scene = Scene { identities: Arc::new(Identities::new(vec![config]).unwrap()), issuer };

    let identity = scene.check(&profile(&scene, "at+jwt", |_| ())).await.unwrap();
    let facts = identity.facts();
    assert_eq!(facts.principal.as_str(), "corp/-/svc");
    assert_eq!(facts.kind, CallerKind::Workload);
    assert!(facts.groups.contains("ops") && facts.roles.contains("r"));
    let person =
        scene.check(&profile(&scene, "application/at+jwt", |claims| claims["sub"] = "ann".into())).await;
    assert_eq!(person.unwrap().facts().kind, CallerKind::Unknown, "nothing proves a person");

    for (token, expected) in [
        (profile(&scene, "JWT", |_| ()), TokenProblem::Type),
        (
            profile(&scene, "at+jwt", |claims| claims["sub"] = "a/b".into()),
            TokenProblem::ClaimMalformed("sub"),
        ),
        (profile(&scene, "at+jwt", |claims| claims["aud"] = "x".into()), TokenProblem::AudienceOther),
        (profile(&scene, "at+jwt", |claims| claims["aud"][0] = 1.into()), TokenProblem::ClaimMistyped("aud")),
        (profile(&scene, "at+jwt", |claims| claims["jti"] = 1.into()), TokenProblem::ClaimMistyped("jti")),
        (
            profile(&scene, "at+jwt", |claims| claims["nbf"] = later(90).as_second().into()),
            TokenProblem::NotYetValid,
        ),
    ] {
        assert_eq!(scene.check(&token).await, Err(expected));
    }
}
