//! Signing in with a browser: OpenID Connect's authorization code with PKCE.
//!
//! Three tokens of chance tie what comes back to what was sent: `state` to the browser (its owner keeps that one, see the
//! console), `nonce` to the ID token, the verifier of PKCE (RFC 7636, S256) to the code. Whoever comes back with less has
//! signed in nobody. The access token goes the same way as every other token ([`Identities`]), and is for approving; the ID
//! token only says that this sign-in is the one that was begun, and is about the same subject.
//!
//! Addresses come from the provider's configured discovery document alone and are on its server, since a client's secret and
//! codes go there. What may go wrong: a provider that cannot be reached signs nobody in, and is asked at most once in
//! [`FAILURE_LASTS_SECONDS`], however many try. Tokens of the answer live as long as the request; a refresh token is dropped.

mod discovery;
mod id_token;
#[cfg(test)]
mod tests;

use super::config::{LoopbackHttp, ProviderProblem};
use super::fetch::{DocumentUrl, FetchError, Fetcher, form};
use super::json::Object;
use super::problem::TokenProblem;
use super::{Completeness, Credential, Identities, Identity};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chaperone_core::Timestamp;
use chaperone_core::identity::Audience;
use chaperone_core::name::ProviderName;
use discovery::{Discovery, Endpoints};
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;

/// How long it is remembered that a discovery document could not be fetched, in seconds.
pub const FAILURE_LASTS_SECONDS: i64 = 10;

/// The longest code that is taken to the provider, in bytes. Entra's have about 1,500.
const MAX_CODE_BYTES: usize = 8 * 1024;

/// Reads the client's secret where it is kept; the error names the reference.
pub type SecretReader = Box<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

/// One provider's application that people sign in with.
pub struct SignInConfig {
    /// The provider.
    pub provider: ProviderName,
    /// The application's id.
    pub client_id: String,
    /// The application's secret; none: a public client, by PKCE alone.
    pub secret: Option<SecretReader>,
    /// Scopes beside `openid profile`, so that the access token is for approving.
    pub scope: String,
    /// The provider's discovery document.
    pub discovery_url: String,
    /// Where browsers come back to, exactly as it is registered.
    pub redirect_uri: String,
    /// Whether plain HTTP to loopback is allowed.
    pub loopback_http: LoopbackHttp,
}

/// Why nobody was signed in. The texts are for people, and carry nothing of a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The provider's documents or its tokens cannot be fetched; the log says why.
    #[error("the identity provider cannot be reached now")]
    Unavailable,
    /// It said no; its code, made safe to show.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    /// RFC 9207: the answer is another issuer's.
    #[error("the answer is not from the identity provider that was asked")]
    Issuer,
    /// What came back is no code.
    #[error("the answer has no usable code")]
    Code,
    /// The answer of the token endpoint is not what it should be.
    #[error("the identity provider's answer lacks an access token or an ID token")]
    Answer,
    /// The ID token is not the one of this sign-in.
    #[error("the identity provider's ID token is not of this sign-in")]
    IdToken,
    /// The access token proves nothing.
    #[error("the access token proves no identity ({0})")]
    AccessToken(TokenProblem),
    /// It proves an identity, and is not for approving, or came through another application.
    #[error("the access token is not for approving")]
    NotForApproving,
    /// Two subjects.
    #[error("the access token and the ID token are about two subjects")]
    TwoSubjects,
    /// There is no chance to be had.
    #[error("the gateway has no randomness")]
    Chance,
}

/// What a sign-in was begun with; it is kept by whoever began it, and given back once.
pub struct Started {
    nonce: String,
    verifier: SecretString,
}

#[cfg(test)]
impl Started {
    /// A sign-in that no provider knows of, for tests of who keeps them.
    pub(crate) fn for_test() -> Self {
        Started { nonce: String::new(), verifier: String::new().into() }
    }
}

/// A sign-in that was begun.
pub struct Begun {
    /// Where the browser goes.
    pub url: String,
    /// What it has to come back with.
    pub state: String,
    /// The rest.
    pub started: Started,
}

/// What a browser came back with.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The code.
    pub code: &'a str,
    /// Who answered (RFC 9207).
    pub issuer: Option<&'a str>,
}

/// The way to sign in at one provider.
pub struct SignIn {
    config: SignInConfig,
    fetcher: Fetcher,
    discovery: Discovery,
}

impl SignIn {
    /// Checks the configuration. Nothing is fetched yet.
    pub fn new(config: SignInConfig) -> Result<Self, ProviderProblem> {
        let url = DocumentUrl::parse(&config.discovery_url, config.loopback_http)
            .map_err(|error| ProviderProblem::Url { url: config.discovery_url.clone(), error })?;
        let fetcher = Fetcher::new().map_err(|error| ProviderProblem::HttpClient(error.to_string()))?;
        let discovery = Discovery::new(url, config.loopback_http);
        Ok(SignIn { config, fetcher, discovery })
    }

    /// The provider's name.
    pub fn provider(&self) -> &ProviderName {
        &self.config.provider
    }

    /// Begins: OpenID Connect Core 1.0, section 3.1.2.1.
    pub async fn begin(&self, now: Timestamp) -> Result<Begun, SignInError> {
        let endpoints = self.endpoints(now).await?;
        let (state, nonce, verifier) = (random()?, random()?, random()?);
        let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        let mut url = endpoints.authorization.clone();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.config.client_id),
            ("redirect_uri", &self.config.redirect_uri),
            ("scope", format!("openid profile {}", self.config.scope).trim_end()),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &URL_SAFE_NO_PAD.encode(challenge)),
            ("code_challenge_method", "S256"),
        ]);
        Ok(Begun { url: url.into(), state, started: Started { nonce, verifier: verifier.into() } })
    }

    /// Ends: the code for tokens, and the tokens for an identity.
    pub async fn finish(
        &self,
        identities: &Identities,
        started: Started,
        answer: Answer<'_>,
        now: Timestamp,
    ) -> Result<Identity, SignInError> {
        let endpoints = self.endpoints(now).await?;
        match answer.issuer {
            Some(issuer) if issuer != endpoints.issuer => return Err(SignInError::Issuer),
            None if endpoints.says_who_answers => return Err(SignInError::Issuer),
            _ => {}
        }
        let code = answer.code;
        if !(1..=MAX_CODE_BYTES).contains(&code.len()) || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SignInError::Code);
        }
        let tokens = self.exchange(&endpoints, code, &started).await?;
        let text = |name| tokens.text(name).map_err(|_| SignInError::Answer);
        if !text("token_type")?.eq_ignore_ascii_case("bearer") {
            return Err(SignInError::Answer);
        }
        let access = Credential::bearer(text("access_token")?.to_owned());
        let (token, issuer) = identities.verified(&access, now).await.map_err(SignInError::AccessToken)?;
        let facts = issuer.rules.facts(&token, now).map_err(SignInError::AccessToken)?;
        let ours = facts.provider == self.config.provider && facts.actor == self.config.client_id;
        if facts.audience != Audience::Approvers || !ours {
            return Err(SignInError::NotForApproving);
        }
        let expected = id_token::Expected {
            issuer: &endpoints.issuer,
            client_id: &self.config.client_id,
            nonce: &started.nonce,
        };
        let id_token = Credential::bearer(text("id_token")?.to_owned());
        let subject = expected.check(identities, &id_token, now).await?;
        if !subject.is_of(&facts, &token) {
            return Err(SignInError::TwoSubjects);
        }
        Ok(Identity { facts: Arc::new(facts), completeness: Completeness::Complete })
    }

    async fn endpoints(&self, now: Timestamp) -> Result<Arc<Endpoints>, SignInError> {
        self.discovery.endpoints(&self.fetcher, now).await.map_err(|why| {
            tracing::error!(provider = %self.config.provider, why, "people cannot sign in");
            SignInError::Unavailable
        })
    }

    /// The code for tokens: RFC 6749, section 4.1.3, with RFC 7636, section 4.5.
    async fn exchange(
        &self,
        endpoints: &Endpoints,
        code: &str,
        started: &Started,
    ) -> Result<Object, SignInError> {
        let unavailable = |why: &dyn std::fmt::Display| {
            tracing::error!(provider = %self.config.provider, %why, "a code cannot be exchanged");
            SignInError::Unavailable
        };
        let body = form(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.config.redirect_uri),
            ("client_id", &self.config.client_id),
            ("code_verifier", started.verifier.expose_secret()),
        ]);
        let basic = match &self.config.secret {
            None => None,
            Some(read) => Some(self.basic(&read().map_err(|why| unavailable(&why))?)),
        };
        let answer = self.fetcher.post(&endpoints.token, body, basic.as_deref()).await;
        let (status, body) = answer.map_err(|error: FetchError| unavailable(&error))?;
        let answer = Object::parse(&body).map_err(|_| SignInError::Answer)?;
        if status != StatusCode::OK {
            let code = answer.optional_text("error").ok().flatten().unwrap_or_default();
            tracing::warn!(provider = %self.config.provider, %status, code = said(code), "a code was refused");
            return Err(SignInError::Refused(said(code)));
        }
        Ok(answer)
    }

    /// RFC 6749, section 2.3.1: both parts are form-encoded first.
    fn basic(&self, secret: &SecretString) -> String {
        let part = |text: &str| form(&[("", text)]).trim_start_matches('=').to_owned();
        let pair = format!("{}:{}", part(&self.config.client_id), part(secret.expose_secret()));
        format!("Basic {}", STANDARD.encode(pair))
    }
}

/// A provider's error code, as RFC 6749 allows it, and no longer than anybody reads.
pub fn said(code: &str) -> String {
    let plain: String = code.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(64).collect();
    if plain.trim().is_empty() { "no reason given".to_owned() } else { plain }
}

/// 256 bits of chance, in 43 characters that may stand in a URL.
pub(crate) fn random() -> Result<String, SignInError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SignInError::Chance)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
