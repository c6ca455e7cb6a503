//! Approvers with a registration of their own: which tokens are for it, and which are not.

use super::*;
use chaperone_core::identity::Audience;
use serde_json::json;

const APPROVERS: &str = "eeeeeeee-2222-4333-8444-555555555555";
const OTHER_CLIENT: &str = "ffffffff-2222-4333-8444-555555555555";

async fn scene() -> Scene {
    Scene::with(|config| config.approvers = Some(registration())).await
}

fn registration() -> Approvers {
    // In capitals, as a portal may show it.
    Approvers { audiences: vec![APPROVERS.into()], clients: vec![CLIENT.to_ascii_uppercase()] }
}

fn token(kind: CallerKind, audience: &str, client: &str) -> TokenSpec {
    TokenSpec::new(kind, OBJECT, audience, now()).client(client)
}

#[tokio::test]
async fn a_token_is_for_asking_or_for_approving() {
    let scene = scene().await;
    for (audience, client, expected) in [
        (AUDIENCE, CLIENT, Ok(Audience::Agents)),
        (AUDIENCE, OTHER_CLIENT, Ok(Audience::Agents)),
        (APPROVERS, CLIENT, Ok(Audience::Approvers)),
        (APPROVERS, OTHER_CLIENT, Err(TokenProblem::ApproversClient)),
        (OTHER_CLIENT, CLIENT, Err(TokenProblem::AudienceOther)),
    ] {
        let token = scene.token(&token(CallerKind::Human, audience, client));
        let found = scene.check(&token).await.map(|identity| identity.facts().audience);
        assert_eq!(found, expected, "{audience} {client}");
    }
}

#[tokio::test]
async fn an_agent_with_an_approvers_token_is_still_an_agent() {
    let scene = scene().await;
    for kind in CallerKind::ALL {
        let identity = scene.check(&scene.token(&token(kind, APPROVERS, CLIENT))).await.unwrap();
        assert_eq!((identity.facts().kind, identity.facts().audience), (kind, Audience::Approvers));
    }
}

#[tokio::test]
async fn without_a_registration_nothing_is_for_approving() {
    let scene = Scene::new().await;
    let refused = scene.check(&scene.token(&token(CallerKind::Human, APPROVERS, CLIENT))).await;
    assert_eq!(refused, Err(TokenProblem::AudienceOther));
}

/// RFC 7519 allows a list of audiences, and a provider may hand one out.
#[tokio::test]
async fn a_token_for_both_is_for_neither() {
    let issuer = LocalIssuer::start(TENANT).await.unwrap();
    let mut config = ProviderConfig::new(corp(), ProviderKind::Oidc, vec![AUDIENCE.to_owned()]);
    config.issuers = vec!["https://issuer.example".to_owned()];
    config.jwks_url = Some(issuer.jwks_url());
    config.loopback_http = LoopbackHttp::Allowed;
    config.approvers = Some(registration());
    config.approvers.as_mut().unwrap().clients = vec![CLIENT.to_owned()];
    issuer.set_key_issuer(&crate::demo::issuer::KeyIssuer::Absent);
    let identities = Identities::new(vec![config]).unwrap();
    for (audience, expected) in [
        (json!([AUDIENCE, APPROVERS]), Err(TokenProblem::AudienceBoth)),
        (json!([APPROVERS, AUDIENCE]), Err(TokenProblem::AudienceBoth)),
        (json!([APPROVERS, "x"]), Ok(Audience::Approvers)),
        (json!([AUDIENCE]), Ok(Audience::Agents)),
    ] {
        let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": issuer.newest_key_id() }).to_string();
        let (issued, expires) = (now().as_second(), now().as_second() + 3600);
        let claims = json!({
            "iss": "https://issuer.example", "sub": OBJECT, "client_id": CLIENT, "jti": "1",
            "aud": audience, "iat": issued, "exp": expires,
        });
        let token = issuer.sign_by(&issuer.newest_key_id(), &header, &claims.to_string()).unwrap();
        let found = identities.check(&Credential::bearer(token), now()).await;
        assert_eq!(found.map(|identity| identity.facts().audience), expected, "{audience}");
    }
}

#[test]
fn a_registration_that_is_not_of_its_own_is_refused() {
    type Change = fn(&mut Approvers);
    let changes: [(Change, &str); 5] = [
        (
            |own| own.audiences.push(AUDIENCE.into()),
            "the audience `aaaaaaaa-2222-4333-8444-555555555555` is listed for agents and for approvers: a token must be \
             for one of them",
        ),
        (|own| own.audiences.clear(), "list at least one audience"),
        (|own| own.clients.clear(), "list at least one client that approvers sign in with"),
        (|own| own.clients.push("web".into()), "the client `web` is not a GUID"),
        (
            |own| own.audiences.push("https://graph.microsoft.com".into()),
            "the audience `https://graph.microsoft.com` is Microsoft Graph's: tokens for it are not for this gateway",
        ),
    ];
    for (change, expected) in changes {
        let mut own = registration();
        change(&mut own);
        let kind = ProviderKind::Entra { cloud: Cloud::Public, tenants: vec![TENANT.to_owned()] };
        let mut config = ProviderConfig::new(corp(), kind, vec![AUDIENCE.to_owned()]);
        config.approvers = Some(own);
        let error = Identities::new(vec![config]).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(error, format!("provider `corp`: {expected}"));
    }
}
