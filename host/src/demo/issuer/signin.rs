//! Signing in at the local issuer: by authorization code with PKCE (RFC 6749, RFC 7636) and by device code (RFC 8628).
//!
//! Applications and accounts are registered by whoever started the issuer. It checks what a provider checks (exact redirects,
//! one use of each code, the verifier), so that a gateway or a command line that does it wrong fails here, too. There are no
//! passwords: whoever opens the page chooses who to be. It can be told to answer wrongly in one way at a time.

use super::{GroupsClaim, IssuerError, Shared, TokenForm, TokenSpec};
use crate::identity::Cloud;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use reqwest::Url;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// An application that people sign in with.
#[derive(Debug, Clone)]
pub struct Application {
    /// Its id.
    pub client_id: String,
    /// Its secret, if it has one.
    pub secret: Option<String>,
    /// Where codes may be sent, exactly.
    pub redirects: Vec<String>,
    /// What its access tokens are for.
    pub audience: String,
}

/// Somebody who can sign in.
#[derive(Debug, Clone)]
pub struct Account {
    /// The name for display.
    pub name: String,
    /// The immutable id.
    pub object_id: String,
    /// What the tokens say of groups.
    pub groups: GroupsClaim,
    /// What kind of caller the tokens prove.
    pub kind: CallerKind,
}

/// What the issuer does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wrong {
    /// Nothing.
    #[default]
    Nothing,
    /// The ID token has another nonce.
    Nonce,
    /// The ID token is about somebody else.
    Subject,
    /// The ID token is for another application.
    Audience,
    /// The ID token is for this application and another one.
    Audiences,
    /// The ID token was asked for by another application.
    Party,
    /// The ID token is of the type of access tokens.
    Type,
    /// The ID token has expired.
    Expired,
    /// There is no ID token.
    NoIdToken,
    /// The access token stands in the ID token's place.
    AccessToken,
    /// The answer to the browser names another issuer (RFC 9207).
    Issuer,
    /// The answer to the browser names no issuer.
    NoIssuer,
}

#[derive(Default)]
pub(super) struct SignIns {
    applications: Vec<Application>,
    accounts: Vec<Account>,
    codes: HashMap<String, Code>,
    devices: HashMap<String, Device>,
    refresh: HashMap<String, Granted>,
    now: Option<Timestamp>,
    lifetime: Option<Duration>,
    wrong: Wrong,
}

/// Who signed in where.
#[derive(Clone)]
struct Granted {
    client_id: String,
    object_id: String,
}

struct Code {
    granted: Granted,
    redirect: String,
    challenge: String,
    nonce: String,
}

struct Device {
    client_id: String,
    user_code: String,
    by: Option<String>,
}

impl super::Issuer {
    /// Lets people sign in with an application.
    pub fn register(&self, application: Application) {
        self.shared.sign_ins().applications.push(application);
    }

    /// Lets somebody sign in.
    pub fn admit(&self, account: Account) {
        self.shared.sign_ins().accounts.push(account);
    }

    /// Tokens are issued at this moment from now on, and not at the machine's.
    pub fn set_time(&self, now: Timestamp) {
        self.shared.sign_ins().now = Some(now);
    }

    /// How long tokens of who signs in live from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.shared.sign_ins().lifetime = Some(lifetime);
    }

    /// Does one thing wrong from now on.
    pub fn set_wrong(&self, wrong: Wrong) {
        self.shared.sign_ins().wrong = wrong;
    }
}

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize))
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device_code))
        .route("/{tenant}/device", get(device_page))
}

/// The members that sign-in adds to the discovery document.
pub(super) fn discovered(base: &str) -> [(&'static str, Value); 4] {
    [
        ("authorization_endpoint", json!(format!("{base}/oauth2/v2.0/authorize"))),
        ("device_authorization_endpoint", json!(format!("{base}/oauth2/v2.0/devicecode"))),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("authorization_response_iss_parameter_supported", json!(true)),
    ]
}

type Parameters = BTreeMap<String, String>;

fn parameter<'a>(parameters: &'a Parameters, name: &str) -> &'a str {
    parameters.get(name).map_or("", String::as_str)
}

/// Names stand in attributes and texts of the pages below; the issuer's users are its own, but an example should escape.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(title: &str, body: &str) -> Response {
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{body}</html>"
    ))
    .into_response()
}

async fn authorize(State(shared): State<Arc<Shared>>, Query(asked): Query<Parameters>) -> Response {
    let get = |name| parameter(&asked, name);
    let mut sign_ins = shared.sign_ins();
    let known = sign_ins.applications.iter().any(|application| {
        application.client_id == get("client_id")
            && application.redirects.iter().any(|redirect| redirect == get("redirect_uri"))
    });
    // RFC 6749, section 4.1.2.1: never send anybody to an address that is not registered.
    let Some(mut redirect) = Url::parse(get("redirect_uri")).ok().filter(|_| known) else {
        return (StatusCode::BAD_REQUEST, "unknown application or redirect").into_response();
    };
    if get("response_type") != "code"
        || get("code_challenge_method") != "S256"
        || get("code_challenge").len() != 43
        || !get("scope").split(' ').any(|scope| scope == "openid")
    {
        redirect.query_pairs_mut().append_pair("error", "invalid_request").append_pair("state", get("state"));
        return see_other(&redirect);
    }
    let Some(who) = asked.get("as") else {
        return page("Sign in as", &choices(&sign_ins.accounts, "authorize", &asked));
    };
    if who == "nobody" {
        redirect.query_pairs_mut().append_pair("error", "access_denied").append_pair("state", get("state"));
        return see_other(&redirect);
    }
    let code = random();
    let wrong = sign_ins.wrong;
    sign_ins.codes.insert(
        code.clone(),
        Code {
            granted: Granted { client_id: get("client_id").to_owned(), object_id: who.clone() },
            redirect: get("redirect_uri").to_owned(),
            challenge: get("code_challenge").to_owned(),
            nonce: get("nonce").to_owned(),
        },
    );
    redirect.query_pairs_mut().append_pair("code", &code).append_pair("state", get("state"));
    match wrong {
        Wrong::NoIssuer => {}
        Wrong::Issuer => drop(redirect.query_pairs_mut().append_pair("iss", "https://evil.example")),
        _ => drop(redirect.query_pairs_mut().append_pair("iss", &Cloud::Public.issuer_v2(&shared.tenant))),
    }
    see_other(&redirect)
}

fn see_other(to: &Url) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, to.to_string())]).into_response()
}

/// A link for each account, with what was asked in it.
fn choices(accounts: &[Account], path: &str, asked: &Parameters) -> String {
    let link = |account: &Account| {
        let Ok(mut url) = Url::parse("http://x/") else { return String::new() };
        url.query_pairs_mut().extend_pairs(asked).append_pair("as", &account.object_id);
        let query = escaped(url.query().unwrap_or_default());
        format!("<p><a href=\"{path}?{query}\">{}</a></p>", escaped(&account.name))
    };
    accounts.iter().map(link).collect()
}

async fn device_code(State(shared): State<Arc<Shared>>, Form(asked): Form<Parameters>) -> Response {
    let mut sign_ins = shared.sign_ins();
    let client_id = parameter(&asked, "client_id").to_owned();
    if !sign_ins.applications.iter().any(|application| application.client_id == client_id) {
        return oauth_error("invalid_client");
    }
    let (device_code, user_code) = (random(), random().chars().take(8).collect::<String>());
    let page = format!("http://{}/{}/device", shared.address, shared.tenant);
    let answer = json!({
        "device_code": device_code,
        "user_code": user_code,
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={user_code}"),
        "expires_in": 900,
        "interval": 1,
    });
    sign_ins.devices.insert(device_code, Device { client_id, user_code, by: None });
    Json(answer).into_response()
}

async fn device_page(State(shared): State<Arc<Shared>>, Query(asked): Query<Parameters>) -> Response {
    let mut sign_ins = shared.sign_ins();
    let Some(who) = asked.get("as") else {
        return page("Let a device sign in as", &choices(&sign_ins.accounts, "device", &asked));
    };
    let code = parameter(&asked, "user_code");
    match sign_ins.devices.values_mut().find(|device| device.user_code == code) {
        Some(device) => {
            device.by = Some(who.clone());
            page("The device is signed in", "")
        }
        None => (StatusCode::NOT_FOUND, "no such code").into_response(),
    }
}

async fn token(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Form(asked): Form<Parameters>,
) -> Response {
    let get = |name| parameter(&asked, name);
    let mut sign_ins = shared.sign_ins();
    let (client_id, secret) = client(&headers, &asked);
    let Some(application) = sign_ins.applications.iter().find(|one| one.client_id == client_id).cloned()
    else {
        return oauth_error("invalid_client");
    };
    if application.secret != secret {
        return oauth_error("invalid_client");
    }
    let (granted, nonce) = match get("grant_type") {
        "authorization_code" => {
            // Gone with its first use, whatever comes of it.
            let Some(code) = sign_ins.codes.remove(get("code")) else { return oauth_error("invalid_grant") };
            let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, get("code_verifier").as_bytes()));
            let fits = code.granted.client_id == client_id
                && code.redirect == get("redirect_uri")
                && code.challenge == challenge;
            if !fits {
                return oauth_error("invalid_grant");
            }
            (code.granted, Some(code.nonce))
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            let device = sign_ins.devices.get(get("device_code")).filter(|one| one.client_id == client_id);
            match device.map(|device| device.by.clone()) {
                None => return oauth_error("invalid_grant"),
                Some(None) => return oauth_error("authorization_pending"),
                Some(Some(object_id)) => {
                    sign_ins.devices.remove(get("device_code"));
                    (Granted { client_id, object_id }, None)
                }
            }
        }
        "refresh_token" => match sign_ins.refresh.remove(get("refresh_token")) {
            Some(granted) if granted.client_id == client_id => (granted, None),
            _ => return oauth_error("invalid_grant"),
        },
        _ => return oauth_error("unsupported_grant_type"),
    };
    let tokens = issue(&shared, &sign_ins, &application, &granted, nonce.as_deref());
    let Ok((access_token, id_token)) = tokens else { return oauth_error("server_error") };
    let refresh_token = random();
    sign_ins.refresh.insert(refresh_token.clone(), granted);
    let mut answer = json!({
        "token_type": "Bearer", "expires_in": sign_ins.lifetime.map_or(3600, |lifetime| lifetime.as_secs()), "access_token": access_token, "refresh_token": refresh_token,
    });
    if let (Some(id_token), Some(answer)) = (id_token, answer.as_object_mut()) {
        answer.insert("id_token".into(), id_token.into());
    }
    Json(answer).into_response()
}

/// The client's id and secret, from the header or the body (RFC 6749, section 2.3.1). What is in the header is form-encoded.
fn client(headers: &HeaderMap, asked: &Parameters) -> (String, Option<String>) {
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let decoded = basic.and_then(|value| value.strip_prefix("Basic ")).and_then(|text| {
        let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        let url = Url::parse(&format!("http://x/?{id}&{secret}")).ok()?;
        let mut names = url.query_pairs().map(|(name, _)| name.into_owned());
        Some((names.next()?, names.next()))
    });
    decoded.unwrap_or_else(|| (parameter(asked, "client_id").to_owned(), asked.get("client_secret").cloned()))
}

/// The access token, and the ID token if a nonce was asked for.
fn issue(
    shared: &Shared,
    sign_ins: &SignIns,
    application: &Application,
    granted: &Granted,
    nonce: Option<&str>,
) -> Result<(String, Option<String>), IssuerError> {
    let account = sign_ins.accounts.iter().find(|account| account.object_id == granted.object_id);
    let account = account.ok_or(IssuerError::Key)?;
    let now = sign_ins.now.unwrap_or_else(Timestamp::now);
    let lifetime = sign_ins.lifetime.unwrap_or(Duration::from_secs(3600));
    let spec = TokenSpec::new(account.kind, &account.object_id, &application.audience, now)
        .client(&application.client_id)
        .groups(account.groups.clone())
        .lifetime(lifetime)
        .name(&account.name);
    let issuer = Cloud::Public.issuer_v2(&shared.tenant);
    debug_assert_eq!(spec.token_form(), TokenForm::V2);
    let key_id = shared.newest_key_id();
    let sign = |typ: &str, claims: Value| {
        let header = json!({ "typ": typ, "alg": "RS256", "kid": key_id });
        shared.sign_by(&key_id, &header.to_string(), &claims.to_string())
    };
    let access = sign("JWT", Value::Object(spec.claims_for(&shared.tenant, issuer.clone())))?;
    let Some(nonce) = nonce else { return Ok((access, None)) };
    let issued = now.as_second();
    let pairwise = digest(&SHA256, format!("{} {}", account.object_id, application.client_id).as_bytes());
    let mut claims = json!({
        "iss": issuer, "aud": application.client_id, "sub": URL_SAFE_NO_PAD.encode(pairwise),
        "oid": account.object_id, "tid": shared.tenant, "nonce": nonce, "name": account.name, "ver": "2.0",
        "iat": issued, "nbf": issued, "exp": issued.saturating_add(3600),
    });
    let mut set = |name: &str, value: Value| {
        if let Some(claims) = claims.as_object_mut() {
            claims.insert(name.to_owned(), value);
        }
    };
    match sign_ins.wrong {
        Wrong::NoIdToken => return Ok((access, None)),
        Wrong::AccessToken => return Ok((access.clone(), Some(access))),
        Wrong::Nonce => set("nonce", json!("another")),
        Wrong::Subject => set("oid", json!("00000000-0000-4000-8000-000000000000")),
        Wrong::Audience => set("aud", json!("another")),
        Wrong::Audiences => set("aud", json!([application.client_id, "another"])),
        Wrong::Party => set("azp", json!("another")),
        Wrong::Expired => set("exp", json!(issued.saturating_sub(120))),
        Wrong::Nothing | Wrong::Issuer | Wrong::NoIssuer | Wrong::Type => {}
    }
    let typ = if sign_ins.wrong == Wrong::Type { "at+jwt" } else { "JWT" };
    let id_token = sign(typ, claims)?;
    Ok((access, Some(id_token)))
}

fn oauth_error(error: &str) -> Response {
    (
        StatusCode::BAD_REQUEST,
        Json(json!({ "error": error, "error_description": "said by the local issuer" })),
    )
        .into_response()
}

/// 256 random bits as text.
fn random() -> String {
    let mut bytes = [0; 32];
    // Without randomness two codes may be one here; a local issuer can live with that.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}
