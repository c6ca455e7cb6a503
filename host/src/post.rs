//! One POST to a channel or a stream's receiver, within limits.
//!
//! The address is the configuration's own, so an inner address is the operator's choice; but no redirect is followed, since one
//! could lead to a host that nobody configured. Of the answer no more is read than a caller asks for, within a bound. As for the providers' documents, a proxy of the environment counts for https, and never for loopback.
//!
//! What may go wrong: the URL is shown somewhere. So errors are worded here, without it.

use crate::config::post_url;
use crate::target::SecretSource;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode, Url};
use secrecy::ExposeSecret;
use std::path::Path;
use std::time::Duration;

/// How long an attempt may take, from the name's look-up to the answer's head.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How long the connection's start may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest message, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 512 * 1024;

/// What is kept of a failure's cause, in characters.
const MAX_CAUSE_CHARS: usize = 300;

/// The most of an answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Whether plain HTTP is spoken with this machine: for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopbackHttp {
    /// It is.
    Allowed,
    /// Only https.
    Refused,
}

/// Whether a connection is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// Each POST has its own: they are rare.
    New,
    /// One is kept for the next.
    Kept,
}

/// What is sent.
pub(crate) struct Message {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A JSON text.
    pub(crate) fn json(body: Vec<u8>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Message { headers, body }
    }
}

/// Why a message was not delivered. Operators read these; no URL is in them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("its URL or its secret cannot be read: {0}")]
    Secret(String),
    #[error("its URL cannot be used: {0}")]
    Url(&'static str),
    #[error("{0}")]
    Transport(String),
    #[error(
        "this machine has no CA certificates: install `ca-certificates`, set SSL_CERT_FILE, or give `ca`"
    )]
    NoRoots,
    #[error("the answer is a redirect, which is not followed: configure the final address")]
    Redirect,
    #[error("the answer has status {status}")]
    Status { status: StatusCode, wait: Duration },
    #[error("the message is longer than {MAX_BODY_BYTES} bytes")]
    TooLong,
    #[error("the approval that it is about is gone")]
    Gone,
}

impl SendError {
    /// Whether another attempt may do better.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self, SendError::Gone | SendError::TooLong)
    }

    /// How long the receiver wants to be left alone (RFC 9110, section 10.2.3; only the form in seconds).
    pub(crate) fn wait(&self) -> Duration {
        match self {
            SendError::Status { wait, .. } => *wait,
            _ => Duration::ZERO,
        }
    }
}

/// Whether servers' certificates can be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roots {
    Some,
    None,
}

/// The HTTP clients of one receiver.
pub(crate) struct Sender {
    https: Client,
    loopback: Client,
    roots: Roots,
    loopback_http: LoopbackHttp,
}

impl Sender {
    /// Builds both clients. The error says what is wrong with `ca`.
    pub(crate) fn new(
        ca: Option<&Path>,
        loopback_http: LoopbackHttp,
        connections: Connections,
    ) -> Result<Self, String> {
        crate::tls::install_provider();
        let builder = || {
            Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .timeout(SEND_TIMEOUT)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(usize::from(connections == Connections::Kept))
                .user_agent(concat!("chaperone/", env!("CARGO_PKG_VERSION")))
        };
        let words = |error: reqwest::Error| error.to_string();
        let loopback = builder().no_proxy().tls_certs_only([]).build().map_err(words)?;
        let secure = || builder().https_only(true);
        let (https, roots) = match ca {
            Some(path) => (secure().tls_certs_only(authorities(path)?).build().map_err(words)?, Roots::Some),
            None => match secure().build() {
                Ok(client) => (client, Roots::Some),
                Err(_) => (secure().tls_certs_only([]).build().map_err(words)?, Roots::None),
            },
        };
        Ok(Sender { https, loopback, roots, loopback_http })
    }

    /// The address that a secret holds now.
    pub(crate) fn address(&self, url: &dyn SecretSource) -> Result<Url, SendError> {
        let text = url.read().map_err(SendError::Secret)?;
        self.checked(text.expose_secret())
    }

    /// An address that may be sent to.
    pub(crate) fn checked(&self, text: &str) -> Result<Url, SendError> {
        post_url(text, self.loopback_http == LoopbackHttp::Allowed).map_err(SendError::Url)
    }

    /// Sends; any status of success counts as delivered.
    pub(crate) async fn post(&self, url: &dyn SecretSource, message: Message) -> Result<(), SendError> {
        self.post_to(self.address(url)?, message).await
    }

    /// The same to an address that was checked before.
    pub(crate) async fn post_to(&self, url: Url, message: Message) -> Result<(), SendError> {
        // Dropped unread: whatever comes behind the head is not wanted, however long it is.
        self.sent(url, message).await.map(drop)
    }

    /// The same, with the beginning of the answer: at most [`MAX_ANSWER_BYTES`] of it, and nothing of what comes too late.
    pub(crate) async fn ask(&self, url: Url, message: Message) -> Result<Vec<u8>, SendError> {
        let mut answer = self.sent(url, message).await?;
        let mut read = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            if read.len() + chunk.len() > MAX_ANSWER_BYTES {
                break;
            }
            read.extend_from_slice(&chunk);
        }
        Ok(read)
    }

    async fn sent(&self, url: Url, message: Message) -> Result<Response, SendError> {
        if message.body.len() > MAX_BODY_BYTES {
            return Err(SendError::TooLong);
        }
        let client = match (url.scheme(), self.roots) {
            ("http", _) => &self.loopback,
            (_, Roots::None) => return Err(SendError::NoRoots),
            (_, Roots::Some) => &self.https,
        };
        let sent = client.post(url).headers(message.headers).body(message.body).send().await;
        let answer = sent.map_err(|error| transport(&error.without_url()))?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(SendError::Redirect);
        }
        if !status.is_success() {
            let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            return Err(SendError::Status { status, wait: Duration::from_secs(wait.unwrap_or(0)) });
        }
        Ok(answer)
    }
}

/// How long to wait after the attempt of this number: a second, twice as long each time, `longest` at most; of that at least
/// half, so that what failed together does not come back together.
pub(crate) fn pause(attempts: i64, longest: Duration, chance: u16) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 16) - 1).unwrap_or(0);
    let whole = FIRST_PAUSE.saturating_mul(1 << doublings).min(longest);
    whole / 2 + (whole / 2).mul_f64(f64::from(chance) / f64::from(u16::MAX))
}

/// Spreads pauses; nothing depends on nobody guessing it.
pub(crate) fn chance() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness all wait half as long; they are still bounded.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let wrong = |why: String| format!("its `ca` {} cannot be used: {why}", path.display());
    let pem = std::fs::read(path).map_err(|error| wrong(error.kind().to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(wrong("there is no certificate in it".into())),
    }
}

/// The whole chain of causes in one line, since the outermost one says only that something failed.
fn transport(error: &reqwest::Error) -> SendError {
    let mut cause = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        cause.push_str(": ");
        cause.push_str(&inner.to_string());
        source = inner.source();
    }
    SendError::Transport(cause.chars().filter(|char| !char.is_control()).take(MAX_CAUSE_CHARS).collect())
}
