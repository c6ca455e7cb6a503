//! Sign-in against the local issuer, which checks what a provider checks; and everything that signs nobody in.

use super::*;
use crate::demo::issuer::{Account, Application, GroupsClaim, Issuer as LocalIssuer, Wrong};
use crate::identity::config::{Approvers, ProviderConfig};
use chaperone_core::identity::CallerKind;
use reqwest::Url;
use std::collections::BTreeMap;

const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const AGENTS: &str = "aaaaaaaa-2222-4333-8444-555555555555";
const APPROVERS: &str = "eeeeeeee-2222-4333-8444-555555555555";
const CLIENT: &str = "cccccccc-2222-4333-8444-555555555555";
const ANN: &str = "bbbbbbbb-2222-4333-8444-555555555555";
const REDIRECT: &str = "https://gateway.example/console/callback";

fn now() -> Timestamp {
    "2026-11-21T05:00:00Z".parse().unwrap()
}

struct Scene {
    issuer: LocalIssuer,
    identities: Identities,
    sign_in: SignIn,
}

async fn scene() -> Scene {
    with(|_| ()).await
}

async fn with(change: impl FnOnce(&mut SignInConfig)) -> Scene {
    let issuer = LocalIssuer::start(TENANT).await.unwrap();
    issuer.set_time(now());
    issuer.register(Application {
        client_id: CLIENT.into(),
        secret: Some("s3cret +&%:é".into()),
        redirects: vec![REDIRECT.into()],
        audience: APPROVERS.into(),
    });
    issuer.admit(Account {
        name: "Ann".into(),
        object_id: ANN.into(),
        groups: GroupsClaim::Listed(vec![]),
        kind: CallerKind::Human,
    });
    let name = ProviderName::new("corp").unwrap();
    let mut provider: ProviderConfig = issuer.provider(name.clone(), AGENTS);
    provider.approvers = Some(Approvers { audiences: vec![APPROVERS.into()], clients: vec![CLIENT.into()] });
    let mut config = SignInConfig {
        provider: name,
        client_id: CLIENT.into(),
        secret: Some(Box::new(|| Ok("s3cret +&%:é".to_owned().into()))),
        scope: "api://approvers/approve".into(),
        discovery_url: issuer.discovery_url(),
        redirect_uri: REDIRECT.into(),
        loopback_http: LoopbackHttp::Allowed,
    };
    change(&mut config);
    let identities = Identities::new(vec![provider]).unwrap();
    Scene { issuer, identities, sign_in: SignIn::new(config).unwrap() }
}

/// What the provider sends a browser back with.
type Back = BTreeMap<String, String>;

/// Chooses who to be, as a browser would on the provider's page.
async fn choose(url: &str, who: &str) -> (String, Back) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
    let mut url = Url::parse(url).unwrap();
    url.query_pairs_mut().append_pair("as", who);
    let answer = client.unwrap().get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let to = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    let back = to.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    (format!("{}{}", to.origin().ascii_serialization(), to.path()), back)
}

impl Scene {
    async fn finish(&self, started: Started, back: &Back) -> Result<Identity, SignInError> {
        let answer = Answer {
            code: back.get("code").map_or("", String::as_str),
            issuer: back.get("iss").map(String::as_str),
        };
        self.sign_in.finish(&self.identities, started, answer, now()).await
    }

    /// Signs Ann in.
    async fn sign_in(&self) -> Result<Identity, SignInError> {
        let begun = self.sign_in.begin(now()).await?;
        let (_, back) = choose(&begun.url, ANN).await;
        self.finish(begun.started, &back).await
    }
}

#[tokio::test]
async fn a_person_signs_in_and_the_token_is_for_approving() {
    let scene = scene().await;
    let begun = scene.sign_in.begin(now()).await.unwrap();
    let asked: Back = Url::parse(&begun.url).unwrap().query_pairs().into_owned().collect();
    assert_eq!(asked["scope"], "openid profile api://approvers/approve");
    assert_eq!((asked["redirect_uri"].as_str(), asked["code_challenge_method"].as_str()), (REDIRECT, "S256"));
    assert!([&asked["state"], &asked["nonce"], &asked["code_challenge"]].iter().all(|one| one.len() == 43));
    assert!(!begun.url.contains(begun.started.verifier.expose_secret()), "the verifier stays here");
    let (place, back) = choose(&begun.url, ANN).await;
    assert_eq!((place.as_str(), &back["state"]), (REDIRECT, &begun.state));
    let identity = scene.finish(begun.started, &back).await.unwrap();
    let facts = identity.facts();
    assert_eq!(
        (facts.object_id.as_str(), facts.audience, facts.kind),
        (ANN, Audience::Approvers, CallerKind::Human)
    );
    let another = scene.sign_in.begin(now()).await.unwrap();
    assert_ne!((&another.state, &another.started.nonce), (&begun.state, &asked["nonce"]));
}

#[tokio::test]
async fn what_the_provider_gets_wrong_signs_nobody_in() {
    let all = [
        (Wrong::Nonce, SignInError::IdToken),
        (Wrong::Audience, SignInError::IdToken),
        (Wrong::Audiences, SignInError::IdToken),
        (Wrong::Party, SignInError::IdToken),
        (Wrong::Type, SignInError::IdToken),
        (Wrong::Expired, SignInError::IdToken),
        (Wrong::AccessToken, SignInError::IdToken),
        (Wrong::NoIdToken, SignInError::Answer),
        (Wrong::Subject, SignInError::TwoSubjects),
        (Wrong::Issuer, SignInError::Issuer),
        (Wrong::NoIssuer, SignInError::Issuer),
    ];
    let mut wrongly = Vec::new();
    for (wrong, expected) in all {
        let scene = scene().await;
        scene.sign_in().await.unwrap();
        scene.issuer.set_wrong(wrong);
        let found = scene.sign_in().await;
        if found.as_ref().err() != Some(&expected) {
            wrongly.push(format!("{wrong:?}: {:?}", found.err()));
        }
    }
    assert!(wrongly.is_empty(), "{wrongly:#?}");
}

#[tokio::test]
async fn a_code_is_good_once_and_with_what_it_was_asked_with() {
    let scene = scene().await;
    let invalid = || Err(SignInError::Refused("invalid_grant".into()));
    // Twice.
    let begun = scene.sign_in.begin(now()).await.unwrap();
    let (_, back) = choose(&begun.url, ANN).await;
    let again = Started { nonce: begun.started.nonce.clone(), verifier: begun.started.verifier.clone() };
    scene.finish(begun.started, &back).await.unwrap();
    assert_eq!(scene.finish(again, &back).await, invalid());
    // The code of one sign-in with the rest of another: as if somebody had slipped it in.
    let (mine, other) =
        (scene.sign_in.begin(now()).await.unwrap(), scene.sign_in.begin(now()).await.unwrap());
    let (_, stolen) = choose(&other.url, ANN).await;
    assert_eq!(scene.finish(mine.started, &stolen).await, invalid());
    // No code, and what is none.
    for code in ["", "a b", "a\nb", &"x".repeat(MAX_CODE_BYTES + 1)] {
        let begun = scene.sign_in.begin(now()).await.unwrap();
        let back = Back::from([
            ("code".to_owned(), code.to_owned()),
            ("iss".to_owned(), crate::identity::Cloud::Public.issuer_v2(TENANT)),
        ]);
        assert_eq!(scene.finish(begun.started, &back).await, Err(SignInError::Code), "{}", code.len());
    }
}

/// With the right code and verifier, and another nonce kept here: PKCE alone would let it pass.
#[tokio::test]
async fn the_nonce_is_compared() {
    let scene = scene().await;
    let begun = scene.sign_in.begin(now()).await.unwrap();
    let (_, back) = choose(&begun.url, ANN).await;
    let started = Started { nonce: random().unwrap(), verifier: begun.started.verifier };
    assert_eq!(scene.finish(started, &back).await, Err(SignInError::IdToken));
}

#[tokio::test]
async fn an_access_token_that_is_not_for_approving_signs_nobody_in() {
    let scene = scene().await;
    for (audience, expected) in [
        (AGENTS, SignInError::NotForApproving),
        (CLIENT, SignInError::AccessToken(TokenProblem::AudienceOther)),
    ] {
        // The first application of an id counts, so each has its own issuer.
        let issuer = LocalIssuer::start(TENANT).await.unwrap();
        issuer.set_time(now());
        issuer.register(Application {
            client_id: CLIENT.into(),
            secret: None,
            redirects: vec![REDIRECT.into()],
            audience: audience.into(),
        });
        issuer.admit(Account {
            name: "Ann".into(),
            object_id: ANN.into(),
            groups: GroupsClaim::Listed(vec![]),
            kind: CallerKind::Human,
        });
        let mut provider = issuer.provider(scene.sign_in.provider().clone(), AGENTS);
        provider.approvers =
            Some(Approvers { audiences: vec![APPROVERS.into()], clients: vec![CLIENT.into()] });
        let config = SignInConfig {
            provider: scene.sign_in.provider().clone(),
            client_id: CLIENT.into(),
            secret: None,
            scope: String::new(),
            discovery_url: issuer.discovery_url(),
            redirect_uri: REDIRECT.into(),
            loopback_http: LoopbackHttp::Allowed,
        };
        let other = Scene {
            issuer,
            identities: Identities::new(vec![provider]).unwrap(),
            sign_in: SignIn::new(config).unwrap(),
        };
        assert_eq!(other.sign_in().await, Err(expected), "{audience}");
    }
}

#[tokio::test]
async fn a_secret_that_is_wrong_or_cannot_be_read_signs_nobody_in() {
    let wrong = with(|config| config.secret = Some(Box::new(|| Ok("other".to_owned().into())))).await;
    assert_eq!(wrong.sign_in().await, Err(SignInError::Refused("invalid_client".into())));
    let unread = with(|config| config.secret = Some(Box::new(|| Err("file:/x: gone".to_owned())))).await;
    assert_eq!(unread.sign_in().await, Err(SignInError::Unavailable));
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_asked_once_in_a_while() {
    let scene = scene().await;
    scene.issuer.behave(crate::demo::issuer::Behaviour::Fails);
    for _ in 0..3 {
        assert_eq!(scene.sign_in.begin(now()).await.err(), Some(SignInError::Unavailable));
    }
    assert_eq!(scene.issuer.fetches(), 1);
    scene.issuer.behave(crate::demo::issuer::Behaviour::Works);
    let later = Timestamp::from_second(now().as_second() + FAILURE_LASTS_SECONDS).unwrap();
    assert!(scene.sign_in.begin(later).await.is_ok());
    assert!(scene.sign_in.begin(later).await.is_ok());
    assert_eq!(scene.issuer.fetches(), 2);
}

#[test]
fn addresses_are_on_the_documents_server_and_https() {
    let url = DocumentUrl::parse("https://login.example/d", LoopbackHttp::Refused).unwrap();
    let discovery = Discovery::new(url, LoopbackHttp::Refused);
    let document = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut document = serde_json::json!({
            "issuer": "https://login.example",
            "authorization_endpoint": "https://login.example/authorize",
            "token_endpoint": "https://login.example/token",
        });
        change(&mut document);
        discovery.read(document.to_string().as_bytes()).map(|endpoints| endpoints.says_who_answers)
    };
    assert_eq!(document(&|_| ()), Ok(false));
    let says = "authorization_response_iss_parameter_supported";
    assert_eq!(document(&|one| one[says] = true.into()), Ok(true));
    for change in [
        &|one: &mut serde_json::Value| one["token_endpoint"] = "https://evil.example/token".into(),
        &|one: &mut serde_json::Value| one["token_endpoint"] = "http://login.example/token".into(),
        &|one: &mut serde_json::Value| one["authorization_endpoint"] = "javascript:alert(1)".into(),
        &|one: &mut serde_json::Value| one["authorization_endpoint"] = 7.into(),
        &|one: &mut serde_json::Value| one["issuer"] = serde_json::Value::Null,
        &|one: &mut serde_json::Value| one["authorization_response_iss_parameter_supported"] = "true".into(),
    ] as [&dyn Fn(&mut serde_json::Value); 6]
    {
        assert!(document(change).is_err());
    }
}

#[test]
fn what_a_provider_says_is_short_and_plain() {
    assert_eq!(said("access_denied"), "access_denied");
    assert_eq!(said("\u{202e}\n\0"), "no reason given");
    assert_eq!(said(&"x".repeat(100)).len(), 64);
}
