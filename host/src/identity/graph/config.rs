//! How Microsoft Graph is asked: by which application, and how often.

use super::super::config::{Cloud, LoopbackHttp, ProviderProblem};
use super::super::fetch::DocumentUrl;
use secrecy::SecretString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The longest time that an answer of Graph counts.
const MAX_CACHE: Duration = Duration::from_secs(300);

/// Reads the client's secret; the error says where it should be, and never what it is.
type Read = dyn Fn() -> Result<SecretString, String> + Send + Sync;

/// Where the secret of the gateway's own application is. It is read when a token is asked for, so that a rotated one is seen.
#[derive(Clone)]
pub struct ClientSecret(Arc<Read>);

impl ClientSecret {
    /// A secret that is read by this function.
    pub fn new(read: impl Fn() -> Result<SecretString, String> + Send + Sync + 'static) -> Self {
        ClientSecret(Arc::new(read))
    }

    pub(super) fn read(&self) -> Result<SecretString, String> {
        (self.0)()
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret")
    }
}

impl PartialEq for ClientSecret {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ClientSecret {}

/// How a provider's Microsoft Graph is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphConfig {
    /// The gateway's own application (a GUID), registered in every tenant of the provider.
    pub client_id: String,
    /// Its secret.
    pub secret: ClientSecret,
    /// How long an answer counts, up to 5 minutes: so long may somebody go on who was taken out of a group.
    pub cache: Duration,
    /// How often callers who are in are looked at again.
    pub recheck: Duration,
    /// How long a look-up may take. Callers wait for it.
    pub patience: Duration,
    /// Where Graph and the token endpoint are instead of where the cloud has them, for tests; loopback only.
    pub url: Option<String>,
}

impl GraphConfig {
    /// Answers that count for a minute, and a look at who is in every five minutes.
    pub fn new(client_id: String, secret: ClientSecret) -> Self {
        let (cache, recheck) = (Duration::from_secs(60), Duration::from_secs(300));
        GraphConfig { client_id, secret, cache, recheck, patience: super::PATIENCE, url: None }
    }

    /// Graph's address and that of the token endpoint's server.
    pub(super) fn addresses(
        &self,
        cloud: Cloud,
        loopback: LoopbackHttp,
    ) -> Result<(DocumentUrl, DocumentUrl), ProviderProblem> {
        let parse = |url: &str, loopback| {
            DocumentUrl::parse(url, loopback)
                .map_err(|error| ProviderProblem::Url { url: url.to_owned(), error })
        };
        if self.cache > MAX_CACHE {
            return Err(ProviderProblem::Graph("an answer may count for 5 minutes at most"));
        }
        match &self.url {
            None => Ok((
                parse(cloud.graph(), LoopbackHttp::Refused)?,
                parse(cloud.token_server(), LoopbackHttp::Refused)?,
            )),
            // The secret is sent there: to this machine or nowhere.
            Some(url) if loopback == LoopbackHttp::Allowed && url.starts_with("http://") => {
                let url = parse(url, loopback)?;
                Ok((url.clone(), url))
            }
            Some(_) => {
                Err(ProviderProblem::Graph("another address than the cloud's is for tests on loopback"))
            }
        }
    }
}
