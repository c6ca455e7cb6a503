//! Signing in from a command line: the device flow (RFC 8628), and tokens renewed (RFC 6749, section 6).
//!
//! This is the client's side, for somebody's own machine; a gateway only says where. Tokens are not looked into here: the
//! gateway that they are for does that. Addresses come from one discovery document and are on its server, but for the page
//! that a person opens, which may be anywhere.

use super::config::LoopbackHttp;
use super::fetch::{DocumentUrl, FetchError, Fetcher, form};
use super::json::Object;
use super::signin::said;
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;

/// How often a provider is asked when it does not say, in seconds (RFC 8628, section 3.5); and what is added when it is too often.
const INTERVAL_SECONDS: i64 = 5;

/// The longest time between two questions, and until a code is over, in seconds.
const MAX_INTERVAL_SECONDS: i64 = 60;
const MAX_LASTS_SECONDS: i64 = 30 * 60;

/// The longest text that a person is shown, in bytes.
const MAX_SHOWN_BYTES: usize = 512;

/// Why nobody is signed in. The texts are for people, and carry nothing of a token.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It cannot be reached.
    #[error("the identity provider cannot be reached: {0}")]
    Unreachable(String),
    /// It answers in other words.
    #[error("the identity provider's answer is not understood: {0}")]
    Strange(&'static str),
    /// It said no; its code, made safe to show.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    /// Nobody entered the code in time.
    #[error("nobody entered the code in time")]
    TooLate,
}

impl From<FetchError> for DeviceError {
    fn from(error: FetchError) -> Self {
        DeviceError::Unreachable(error.to_string())
    }
}

/// What a provider gave.
pub struct Tokens {
    /// For the gateway.
    pub access: SecretString,
    /// To get another.
    pub refresh: Option<SecretString>,
    /// How long the access token lasts, in seconds, if it was said.
    pub lasts_seconds: Option<i64>,
}

/// What a person has to do.
pub struct Code {
    /// The page to open.
    pub page: String,
    /// The same with the code in it, if there is one.
    pub page_with_code: Option<String>,
    /// What to enter there.
    pub user_code: String,
    /// For how long, in seconds.
    pub lasts_seconds: i64,
    device_code: SecretString,
    interval_seconds: i64,
}

/// One provider, and the application that a command line signs in with.
pub struct Device {
    fetcher: Fetcher,
    token: DocumentUrl,
    codes: Option<DocumentUrl>,
    client_id: String,
    scope: String,
}

fn address(text: &str) -> Result<DocumentUrl, DeviceError> {
    DocumentUrl::parse(text, LoopbackHttp::Allowed)
        .map_err(|_| DeviceError::Strange("an address in it is not https"))
}

fn fetcher() -> Result<Fetcher, DeviceError> {
    Fetcher::new().map_err(|error| DeviceError::Unreachable(error.to_string()))
}

impl Device {
    /// Asks the provider where to go.
    pub async fn discover(discovery_url: &str, client_id: &str, scope: &str) -> Result<Self, DeviceError> {
        let (fetcher, url) = (fetcher()?, address(discovery_url)?);
        let document = fetcher.get(&url).await?;
        let document = Object::parse(&document)
            .map_err(|_| DeviceError::Strange("its discovery document is no JSON"))?;
        let endpoint = |name: &'static str| {
            let text = document.text(name);
            let found = address(text.map_err(|_| DeviceError::Strange(name))?)?;
            // Codes and refresh tokens go there.
            if found.same_server(&url) { Ok(found) } else { Err(DeviceError::Strange(name)) }
        };
        let codes = Some(endpoint("device_authorization_endpoint")?);
        let token = endpoint("token_endpoint")?;
        Ok(Device { fetcher, token, codes, client_id: client_id.to_owned(), scope: scope.to_owned() })
    }

    /// A provider that was asked before, to renew tokens at.
    pub fn known(token_endpoint: &str, client_id: &str, scope: &str) -> Result<Self, DeviceError> {
        let (fetcher, token) = (fetcher()?, address(token_endpoint)?);
        Ok(Device { fetcher, token, codes: None, client_id: client_id.to_owned(), scope: scope.to_owned() })
    }

    /// Where tokens come from, for [`Device::known`].
    pub fn token_endpoint(&self) -> &str {
        self.token.as_str()
    }

    /// Asks for a code: section 3.1.
    pub async fn begin(&self) -> Result<Code, DeviceError> {
        let codes = self.codes.as_ref().ok_or(DeviceError::Strange("device_authorization_endpoint"))?;
        let body = form(&[("client_id", &self.client_id), ("scope", &self.scope)]);
        let (status, answer) = self.post(codes, body).await?;
        if status != StatusCode::OK {
            return Err(DeviceError::Refused(error_of(&answer)));
        }
        let text = |name: &'static str| answer.text(name).map_err(|_| DeviceError::Strange(name));
        let shown = |name: &'static str| {
            let text = text(name)?;
            let fits = (1..=MAX_SHOWN_BYTES).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if fits { Ok(text.to_owned()) } else { Err(DeviceError::Strange(name)) }
        };
        let page = |name: &'static str| {
            let text = shown(name)?;
            address(&text).map(|_| text)
        };
        let lasts = answer.integer("expires_in").map_err(|_| DeviceError::Strange("expires_in"))?;
        let page_with_code = match answer.has("verification_uri_complete") {
            true => Some(page("verification_uri_complete")?),
            false => None,
        };
        Ok(Code {
            page: page("verification_uri")?,
            page_with_code,
            user_code: shown("user_code")?,
            lasts_seconds: lasts.clamp(0, MAX_LASTS_SECONDS),
            device_code: text("device_code")?.to_owned().into(),
            interval_seconds: answer
                .integer("interval")
                .unwrap_or(INTERVAL_SECONDS)
                .clamp(1, MAX_INTERVAL_SECONDS),
        })
    }

    /// Waits until somebody has entered the code: sections 3.4 and 3.5.
    pub async fn wait(&self, code: &Code) -> Result<Tokens, DeviceError> {
        let give_up = tokio::time::Instant::now() + seconds(code.lasts_seconds);
        let mut interval = code.interval_seconds;
        loop {
            tokio::time::sleep(seconds(interval)).await;
            if tokio::time::Instant::now() >= give_up {
                return Err(DeviceError::TooLate);
            }
            let body = form(&[
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("client_id", &self.client_id),
                ("device_code", code.device_code.expose_secret()),
            ]);
            let answer = match self.post(&self.token, body).await {
                Ok((StatusCode::OK, answer)) => return tokens(&answer),
                Ok((_, answer)) => error_of(&answer),
                // Networks fail for a moment; a code is good for minutes.
                Err(DeviceError::Unreachable(_)) => "slow_down".to_owned(),
                Err(error) => return Err(error),
            };
            interval = next_interval(interval, answer)?;
        }
    }

    /// Another access token.
    pub async fn renew(&self, refresh: &SecretString) -> Result<Tokens, DeviceError> {
        let body = form(&[
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("scope", &self.scope),
            ("refresh_token", refresh.expose_secret()),
        ]);
        match self.post(&self.token, body).await? {
            (StatusCode::OK, answer) => {
                let tokens = tokens(&answer)?;
                // Without a new one the old one stays good (RFC 6749, section 6).
                let refresh = tokens.refresh.or_else(|| Some(refresh.clone()));
                Ok(Tokens { refresh, ..tokens })
            }
            (_, answer) => Err(DeviceError::Refused(error_of(&answer))),
        }
    }

    async fn post(&self, url: &DocumentUrl, body: String) -> Result<(StatusCode, Object), DeviceError> {
        let (status, answer) = self.fetcher.post(url, body, None).await?;
        let answer = Object::parse(&answer).map_err(|_| DeviceError::Strange("it is no JSON"))?;
        Ok((status, answer))
    }
}

/// How long to wait from now on, in seconds, after an answer that is no token: "slow_down" counts for all questions to come (section
/// 3.5).
fn next_interval(interval: i64, answer: String) -> Result<i64, DeviceError> {
    match answer.as_str() {
        "authorization_pending" => Ok(interval),
        "slow_down" => Ok((interval + INTERVAL_SECONDS).min(MAX_INTERVAL_SECONDS)),
        "expired_token" => Err(DeviceError::TooLate),
        _ => Err(DeviceError::Refused(answer)),
    }
}

fn tokens(answer: &Object) -> Result<Tokens, DeviceError> {
    let text = |name: &'static str| answer.text(name).map_err(|_| DeviceError::Strange(name));
    if !text("token_type")?.eq_ignore_ascii_case("bearer") {
        return Err(DeviceError::Strange("token_type"));
    }
    let refresh = answer.optional_text("refresh_token").map_err(|_| DeviceError::Strange("refresh_token"))?;
    Ok(Tokens {
        access: text("access_token")?.to_owned().into(),
        refresh: refresh.map(|text| text.to_owned().into()),
        lasts_seconds: answer.integer("expires_in").ok(),
    })
}

fn error_of(answer: &Object) -> String {
    said(answer.optional_text("error").ok().flatten().unwrap_or_default())
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(number.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Json;
    use axum::routing::{get, post};
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    /// A provider that answers what it is told to, and its discovery document's address.
    async fn provider(document: Value, codes: Value, token: Value) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut all = json!({
            "device_authorization_endpoint": format!("{base}/codes"), "token_endpoint": format!("{base}/token"),
        });
        all.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
        let status = if token.get("error").is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        let router = axum::Router::new()
            .route("/d", get(move || async move { Json(all) }))
            .route("/codes", post(move || async move { Json(codes) }))
            .route("/token", post(move || async move { (status, Json(token)) }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("{base}/d")
    }

    fn codes(change: impl Fn(&mut Value)) -> Value {
        let mut codes = json!({
            "device_code": "d", "user_code": "ABCD", "verification_uri": "https://login.example/device",
            "expires_in": 900, "interval": 1,
        });
        change(&mut codes);
        codes
    }

    async fn discovered(document: Value, codes: Value, token: Value) -> Result<Device, DeviceError> {
        Device::discover(&provider(document, codes, token).await, "client", "openid").await
    }

    #[tokio::test]
    async fn codes_and_refresh_tokens_go_to_the_documents_server_alone() {
        for (document, about) in [
            (json!({ "token_endpoint": "https://evil.example/token" }), "token_endpoint"),
            (json!({ "token_endpoint": 7 }), "token_endpoint"),
            (
                json!({ "device_authorization_endpoint": "https://evil.example/c" }),
                "device_authorization_endpoint",
            ),
            (json!({ "token_endpoint": "http://192.0.2.1/token" }), "not https"),
        ] {
            let error = discovered(document, codes(|_| ()), json!({})).await.err().unwrap();
            assert!(error.to_string().contains(about), "{error}");
        }
        for address in ["http://192.0.2.1/d", "file:///etc/passwd", ""] {
            assert!(Device::discover(address, "client", "openid").await.is_err(), "{address}");
            assert!(Device::known(address, "client", "openid").is_err(), "{address}");
        }
    }

    #[tokio::test]
    async fn what_a_person_is_shown_is_an_address_and_a_plain_code() {
        let begin = async |codes| discovered(json!({}), codes, json!({})).await.unwrap().begin().await;
        let code = begin(codes(|_| ())).await.unwrap();
        assert_eq!((code.user_code.as_str(), code.page.as_str()), ("ABCD", "https://login.example/device"));
        for change in [
            &|one: &mut Value| one["verification_uri"] = "javascript:alert(1)".into(),
            &|one: &mut Value| one["verification_uri"] = "http://login.example/device".into(),
            &|one: &mut Value| one["verification_uri_complete"] = "https://u:p@login.example/".into(),
            &|one: &mut Value| one["user_code"] = "A\u{1b}[2J".into(),
            &|one: &mut Value| one["user_code"] = "".into(),
            &|one: &mut Value| one["user_code"] = "x".repeat(513).into(),
            &|one: &mut Value| one["expires_in"] = "900".into(),
            &|one: &mut Value| one["device_code"] = Value::Null,
        ] as [&dyn Fn(&mut Value); 8]
        {
            assert!(matches!(begin(codes(change)).await.err(), Some(DeviceError::Strange(_))));
        }
        let endless = begin(codes(|one| one["expires_in"] = 1_000_000.into())).await.unwrap();
        assert_eq!(endless.lasts_seconds, MAX_LASTS_SECONDS);
    }

    #[tokio::test]
    async fn who_says_no_and_what_is_no_token_end_the_waiting() {
        for (token, expected) in [
            (json!({ "error": "access_denied" }), "the identity provider refused: access_denied"),
            (json!({ "error": "expired_token" }), "nobody entered the code in time"),
            (json!({ "error": "\u{1b}[2J" }), "the identity provider refused: [2J"),
            (json!({ "access_token": "t" }), "the identity provider's answer is not understood: token_type"),
            (
                json!({ "token_type": "DPoP", "access_token": "t" }),
                "the identity provider's answer is not understood: token_type",
            ),
            (
                json!({ "token_type": "Bearer" }),
                "the identity provider's answer is not understood: access_token",
            ),
        ] {
            let device = discovered(json!({}), codes(|_| ()), token).await.unwrap();
            let code = device.begin().await.unwrap();
            assert_eq!(device.wait(&code).await.err().unwrap().to_string(), expected);
        }
        let device =
            discovered(json!({}), codes(|one| one["expires_in"] = 1.into()), json!({})).await.unwrap();
        let code = device.begin().await.unwrap();
        assert!(matches!(device.wait(&code).await, Err(DeviceError::TooLate)));
    }

    #[tokio::test]
    async fn a_refresh_token_stays_good_where_no_other_comes() {
        let answer = json!({ "token_type": "bearer", "access_token": "a", "expires_in": 60 });
        let device = discovered(json!({}), codes(|_| ()), answer).await.unwrap();
        let again = Device::known(device.token_endpoint(), "client", "openid").unwrap();
        let tokens = again.renew(&"r".to_owned().into()).await.unwrap();
        assert_eq!((tokens.access.expose_secret(), tokens.lasts_seconds), ("a", Some(60)));
        assert_eq!(tokens.refresh.unwrap().expose_secret(), "r");
    }

    #[test]
    fn slow_down_makes_all_later_waits_longer() {
        let waits = |answers: &[&str]| {
            let next = |interval: &mut i64, answer: &&str| {
                *interval = next_interval(*interval, (*answer).to_owned()).unwrap();
                Some(*interval)
            };
            answers.iter().scan(1, next).collect::<Vec<_>>()
        };
        let (pending, slow) = ("authorization_pending", "slow_down");
        assert_eq!(waits(&[pending, slow, pending, slow, pending]), [1, 6, 6, 11, 11]);
        assert_eq!(waits(&[slow; 13])[10..], [56, 60, 60], "but nobody is forgotten");
    }

    #[tokio::test]
    async fn who_is_told_to_slow_down_asks_again_later() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        let answer = move || {
            let mut asked = kept.lock().unwrap();
            let answer = match asked.len() {
                0 => (StatusCode::BAD_REQUEST, Json(json!({ "error": "slow_down" }))),
                _ => (StatusCode::OK, Json(json!({ "token_type": "Bearer", "access_token": "t" }))),
            };
            asked.push(Instant::now());
            async move { answer }
        };
        let device = discovered(json!({}), codes(|_| ()), json!({})).await.unwrap();
        let code = device.begin().await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let token = format!("http://{}/token", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/token", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let device = Device::known(&token, "client", "openid").unwrap();
        assert_eq!(device.wait(&code).await.unwrap().access.expose_secret(), "t");
        let asked = asked.lock().unwrap();
        let [first, second] = asked[..] else { panic!("{asked:?}") };
        // A second as was told, and five more.
        assert!(second - first >= Duration::from_secs(6), "{:?}", second - first);
    }
}
