//! Keys that come, go, flap and cannot be fetched.

use super::*;
use crate::demo::issuer::{Behaviour, KeyIssuer, Publication};
use crate::identity::keys::{FORCED_FETCH_INTERVAL_SECONDS, KEY_LIFETIME_SECONDS};

/// Discovery and keys.
const ONE_FETCH: usize = 2;

/// A token that is issued when it is presented.
fn fresh(scene: &Scene, at: Timestamp) -> String {
    scene.token(&TokenSpec::new(CallerKind::Agent, OBJECT, AUDIENCE, at))
}

async fn check_fresh(scene: &Scene, seconds: i64) -> Result<(), TokenProblem> {
    scene.check_at(&fresh(scene, later(seconds)), later(seconds)).await.map(drop)
}

#[tokio::test]
async fn a_rotated_key_is_found_and_the_old_one_goes_on() {
    let scene = Scene::new().await;
    let old = scene.token(&agent());
    assert!(scene.check(&old).await.is_ok());
    scene.issuer.rotate().unwrap();
    assert_eq!(check_fresh(&scene, 1).await, Err(TokenProblem::KeyUnknown), "too soon after the last fetch");
    assert_eq!(check_fresh(&scene, FORCED_FETCH_INTERVAL_SECONDS).await, Ok(()));
    assert!(scene.check_at(&old, later(400)).await.is_ok());
    assert_eq!(scene.issuer.fetches(), 2 * ONE_FETCH);
}

#[tokio::test]
async fn a_key_that_flaps_stays_usable_and_one_that_is_gone_for_a_day_does_not() {
    let scene = Scene::new().await;
    let first = scene.issuer.newest_key_id();
    let by_first = |at| {
        let spec = TokenSpec::new(CallerKind::Agent, OBJECT, AUDIENCE, later(at));
        (scene.issuer.token_by(&first, &spec).unwrap(), later(at))
    };
    let (token, at) = by_first(0);
    assert!(scene.check_at(&token, at).await.is_ok());

    // Another key takes its place in the document: the fetch succeeds, and must not throw the first one out.
    let second = scene.issuer.rotate().unwrap();
    scene.issuer.publish(&first, Publication::Hidden);
    assert_eq!(check_fresh(&scene, 600).await, Ok(()), "the second key was fetched");
    let (token, at) = by_first(KEY_LIFETIME_SECONDS - 1);
    assert!(scene.check_at(&token, at).await.is_ok(), "hidden for less than a day");

    let (token, at) = by_first(KEY_LIFETIME_SECONDS);
    assert_eq!(scene.check_at(&token, at).await, Err(TokenProblem::KeyUnknown), "stale");

    scene.issuer.publish(&first, Publication::Shown);
    scene.issuer.publish(&second, Publication::Hidden);
    let (token, at) = by_first(KEY_LIFETIME_SECONDS + 600);
    assert!(scene.check_at(&token, at).await.is_ok(), "back again");
}

#[tokio::test]
async fn made_up_keys_cause_one_fetch_per_interval_however_many_they_are() {
    let scene = Scene::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let token = scene.token(&agent().header("kid", format!("made-up-{number}")));
        let identities = Arc::clone(&scene.identities);
        tasks.spawn(async move { identities.check(&Credential::bearer(token), now()).await });
    }
    while let Some(result) = tasks.join_next().await {
        assert_eq!(result.unwrap(), Err(TokenProblem::KeyUnknown));
    }
    assert_eq!(scene.issuer.fetches(), ONE_FETCH);
    for second in 1..FORCED_FETCH_INTERVAL_SECONDS {
        let token = scene.token(&agent().header("kid", format!("later-{second}")));
        assert_eq!(scene.check_at(&token, later(second)).await, Err(TokenProblem::KeyUnknown));
    }
    assert_eq!(scene.issuer.fetches(), ONE_FETCH);
    assert!(scene.check_at(&scene.token(&agent()), later(299)).await.is_ok(), "the others are not affected");
    let token = scene.token(&agent().header("kid", "next"));
    let _ = scene.check_at(&token, later(FORCED_FETCH_INTERVAL_SECONDS)).await;
    assert_eq!(scene.issuer.fetches(), 2 * ONE_FETCH);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_take_the_fetch_along() {
    let scene = Scene::new().await;
    let token = scene.token(&agent());
    let credential = Credential::bearer(token.clone());
    {
        let mut attempt = Box::pin(scene.identities.check(&credential, now()));
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(attempt.as_mut().poll(context))).await;
        assert!(polled.is_pending(), "it waits for the fetch");
    }
    assert!(scene.check(&token).await.is_ok(), "the fetch went on without the caller");
    assert_eq!(scene.issuer.fetches(), ONE_FETCH);
}

#[tokio::test]
async fn a_provider_that_is_down_gets_a_refusal_of_its_own_and_recovers() {
    let scene = Scene::new().await;
    for behaviour in [Behaviour::Fails, Behaviour::Babbles, Behaviour::Floods, Behaviour::Redirects] {
        scene.issuer.behave(behaviour);
        let identities = Identities::new(vec![scene.issuer.provider(corp(), AUDIENCE)]).unwrap();
        let refusal =
            identities.identify(&Credential::bearer(scene.token(&agent())), now()).await.unwrap_err();
        assert_eq!(refusal.code, chaperone_core::refusal::RefusalCode::ProviderUnavailable, "{behaviour:?}");
        assert_eq!(
            refusal.to_string(),
            "The identity provider's keys cannot be fetched now. Try again in a few minutes.",
            "{behaviour:?}"
        );
    }
    assert_eq!(check_fresh(&scene, 0).await, Err(TokenProblem::KeysUnavailable));
    scene.issuer.behave(Behaviour::Works);
    assert_eq!(check_fresh(&scene, 299).await, Err(TokenProblem::KeysUnavailable), "not before the interval");
    assert_eq!(check_fresh(&scene, 300).await, Ok(()));
}

#[tokio::test]
async fn known_keys_outlive_a_provider_that_is_down_for_a_day_and_no_longer() {
    let scene = Scene::new().await;
    assert_eq!(check_fresh(&scene, 0).await, Ok(()));
    scene.issuer.behave(Behaviour::Fails);
    let unknown = scene.token(&agent().header("kid", "unknown"));
    assert_eq!(scene.check_at(&unknown, later(600)).await, Err(TokenProblem::KeysUnavailable));
    assert_eq!(check_fresh(&scene, 601).await, Ok(()), "last known good");
    assert_eq!(check_fresh(&scene, KEY_LIFETIME_SECONDS - 1).await, Ok(()));
    assert_eq!(check_fresh(&scene, KEY_LIFETIME_SECONDS).await, Err(TokenProblem::KeysUnavailable));
}

#[tokio::test]
async fn a_key_signs_only_for_the_issuer_it_names() {
    let consumer = Cloud::Public.issuer_v2("9188040d-6c67-4c5b-b112-36a304b66dad");
    for (issuer, expected) in [
        (KeyIssuer::Absent, Ok(())),
        (KeyIssuer::Template, Ok(())),
        (KeyIssuer::Exact(Cloud::Public.issuer_v2(TENANT)), Ok(())),
        (KeyIssuer::Exact(consumer), Err(TokenProblem::KeyOfOtherIssuer)),
        (KeyIssuer::Exact(Cloud::Public.issuer_v2(OTHER_TENANT)), Err(TokenProblem::KeyOfOtherIssuer)),
        (KeyIssuer::Exact(String::new()), Err(TokenProblem::KeyOfOtherIssuer)),
    ] {
        let scene = Scene::new().await;
        scene.issuer.set_key_issuer(&issuer);
        for form in [crate::demo::issuer::TokenForm::V1, crate::demo::issuer::TokenForm::V2] {
            let result = scene.check(&scene.token(&agent().form(form))).await.map(drop);
            assert_eq!(result, expected, "{issuer:?} {form:?}");
        }
    }
}

#[tokio::test]
async fn one_provider_never_uses_the_keys_of_another() {
    let ours = LocalIssuer::start(TENANT).await.unwrap();
    let theirs = LocalIssuer::start(OTHER_TENANT).await.unwrap();
    let partner = ProviderName::new("partner").unwrap();
    let configs = vec![ours.provider(corp(), AUDIENCE), theirs.provider(partner, AUDIENCE)];
    let scene = Scene { identities: Arc::new(Identities::new(configs).unwrap()), issuer: ours };
    let from_theirs = theirs.token(&agent()).unwrap();
    let identity = scene.check(&from_theirs).await.unwrap();
    assert_eq!(identity.facts().principal.as_str(), format!("partner/{OTHER_TENANT}/{OBJECT}"));
    // The partner's key is in the partner's store by now, and signs a token that claims to be ours.
    let claims_ours = agent().claim("iss", Cloud::Public.issuer_v2(TENANT)).claim("tid", TENANT);
    let posing = theirs.token(&claims_ours).unwrap();
    assert_eq!(scene.check(&posing).await, Err(TokenProblem::KeyUnknown));
}

#[tokio::test]
async fn background_refresh_brings_keys_before_anyone_asks() {
    let scene = Scene::new().await;
    let stop = CancellationToken::new();
    scene.identities.spawn_refresh(&Handle::current(), &stop);
    while scene.issuer.fetches() < ONE_FETCH {
        tokio::task::yield_now().await;
    }
    // Joins the fetch under way, if it still is.
    let at = Timestamp::now();
    let token = scene.token(&TokenSpec::new(CallerKind::Agent, OBJECT, AUDIENCE, at));
    assert!(scene.check_at(&token, at).await.is_ok());
    assert_eq!(scene.issuer.fetches(), ONE_FETCH);
    stop.cancel();
}

#[tokio::test]
async fn discovery_must_be_the_providers_own() {
    // The document names the issuer of TENANT, the configuration trusts OTHER_TENANT.
    let scene = Scene::with(|config| {
        config.kind = ProviderKind::Entra { cloud: Cloud::Public, tenants: vec![OTHER_TENANT.to_owned()] };
    })
    .await;
    let spec = agent().claim("iss", Cloud::Public.issuer_v2(OTHER_TENANT)).claim("tid", OTHER_TENANT);
    assert_eq!(scene.check(&scene.token(&spec)).await, Err(TokenProblem::KeysUnavailable));
    assert_eq!(scene.issuer.fetches(), 1, "the keys of a foreign discovery document are not fetched");
}
