//! Where a provider signs people in: its discovery document (OpenID Connect Discovery 1.0, RFC 8414), read again each hour.

use super::FAILURE_LASTS_SECONDS;
use crate::identity::config::LoopbackHttp;
use crate::identity::fetch::{DocumentUrl, Fetcher};
use crate::identity::json::{Json, Object};
use chaperone_core::Timestamp;
use reqwest::Url;
use std::sync::Arc;
use tokio::sync::Mutex;

/// How long a document counts, in seconds.
const LASTS_SECONDS: i64 = 60 * 60;

/// What is used of the document.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// Who signs ID tokens, and who answers.
    pub(super) issuer: String,
    pub(super) authorization: Url,
    pub(super) token: DocumentUrl,
    /// Whether the answer to the browser names the issuer (RFC 9207, section 3).
    pub(super) says_who_answers: bool,
}

/// The endpoints, or why there are none, for the log.
type Found = Result<Arc<Endpoints>, String>;

/// The document of one provider.
pub(super) struct Discovery {
    url: DocumentUrl,
    loopback: LoopbackHttp,
    /// When it was last asked for, and what came of it. Held while it is fetched: one at a time.
    known: Mutex<Option<(Timestamp, Found)>>,
}

impl Discovery {
    pub(super) fn new(url: DocumentUrl, loopback: LoopbackHttp) -> Self {
        Discovery { url, loopback, known: Mutex::default() }
    }

    /// What the document says, which is fetched when it is old.
    pub(super) async fn endpoints(&self, fetcher: &Fetcher, now: Timestamp) -> Found {
        let mut known = self.known.lock().await;
        if let Some((at, found)) = &*known {
            let lasts = if found.is_ok() { LASTS_SECONDS } else { FAILURE_LASTS_SECONDS };
            if now.as_second() < at.as_second().saturating_add(lasts) {
                return found.clone();
            }
        }
        let found = match fetcher.get(&self.url).await {
            Ok(document) => self.read(&document).map(Arc::new),
            Err(error) => Err(format!("the discovery document: {error}")),
        };
        *known = Some((now, found.clone()));
        found
    }

    pub(super) fn read(&self, document: &[u8]) -> Result<Endpoints, String> {
        let document = Object::parse(document).map_err(|error| format!("the discovery document: {error}"))?;
        let text = |name: &str| {
            document.text(name).map_err(|_| format!("the discovery document has no text `{name}`"))
        };
        let address = |name: &str| {
            let url = DocumentUrl::parse(text(name)?, self.loopback)
                .map_err(|error| format!("the discovery document's `{name}` cannot be used: {error}"))?;
            // A secret and codes go there. Fails closed where a provider is spread over servers.
            if !url.same_server(&self.url) {
                return Err(format!("the discovery document's `{name}` is on another server"));
            }
            Ok(url)
        };
        let says_who_answers = match document.get("authorization_response_iss_parameter_supported") {
            None => false,
            Some(Json::Bool(says)) => *says,
            Some(_) => return Err("the discovery document says neither yes nor no about `iss`".to_owned()),
        };
        Ok(Endpoints {
            issuer: text("issuer")?.to_owned(),
            authorization: address("authorization_endpoint")?.into_url(),
            token: address("token_endpoint")?,
            says_who_answers,
        })
    }
}
