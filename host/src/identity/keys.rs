//! The signing keys of one key document, kept fresh.
//!
//! - **Merged, never replaced.** Published sets flap: a key vanishes and comes back. So a key stays usable for
//!   [`KEY_LIFETIME`] after it was last seen, whatever later documents say, and whether or not later fetches succeed.
//! - **An unknown key forces a fetch**, in single flight and at most once per [`FORCED_FETCH_INTERVAL`]. Anyone can make
//!   up key ids, so what they cause must be bounded: one fetch per interval, and no waiting for those whose key is known.
//! - **The flight is a task of its own.** A caller who goes away does not take the fetch down with it; else an attacker
//!   could start fetches, leave, and use up the interval for good.
//!
//! What may go wrong: a provider that stays unreachable for longer than a key's lifetime locks everybody out. That is
//! meant: a key that was withdrawn meanwhile must not go on to open doors.

use super::config::LoopbackHttp;
use super::fetch::{DocumentUrl, FetchError, Fetcher, UrlError};
use super::json::Object;
use super::jwks::{self, JwksError, SigningKey};
use chaperone_core::Timestamp;
use chaperone_core::name::ProviderName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How long a key is usable after a document last had it, in seconds.
pub(super) const KEY_LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// How often unknown keys may force a fetch, in seconds.
pub(super) const FORCED_FETCH_INTERVAL_SECONDS: i64 = 5 * 60;

/// How often keys are fetched in the background. Entra publishes a key a day or more before it signs with it.
pub(super) const BACKGROUND_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How soon a failed background fetch is tried again.
pub(super) const BACKGROUND_RETRY: Duration = Duration::from_secs(30);

/// How many keys are kept. Entra has under ten; a provider that rotates hourly stays under 30 a day.
const MAX_KEYS: usize = 512;

/// Where keys come from.
#[derive(Debug, Clone)]
pub(super) enum KeySource {
    /// The key document itself.
    Keys(DocumentUrl),
    /// A discovery document that must name one of `issuers` and points to keys on its own server.
    Discovery { url: DocumentUrl, issuers: Vec<String>, loopback: LoopbackHttp },
}

/// The keys of one source.
pub(super) struct KeyStore {
    provider: ProviderName,
    source: KeySource,
    fetcher: Arc<Fetcher>,
    keys: RwLock<HashMap<String, Kept>>,
    flight: Mutex<Flight>,
}

struct Kept {
    key: Arc<SigningKey>,
    last_seen: Timestamp,
}

/// What is known about fetches. The sender of `running` lives in the fetching task and is gone when that ends.
#[derive(Default)]
struct Flight {
    last_forced: Option<Timestamp>,
    running: Option<watch::Receiver<()>>,
    outcome: Outcome,
}

/// How the last fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Outcome {
    #[default]
    NeverTried,
    Succeeded,
    Failed,
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The provider's keys are known, and this is none of them.
    Unknown,
    /// The provider's keys could not be fetched.
    Unavailable,
}

#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Keys(#[from] JwksError),
    #[error("the discovery document is not a JSON object with the texts `issuer` and `jwks_uri`")]
    NotDiscovery,
    #[error("the discovery document is of another issuer")]
    OtherIssuer,
    #[error("the discovery document's key address cannot be used: {0}")]
    KeyAddress(#[from] UrlError),
    #[error("the discovery document points to another server: configure the address of the keys itself")]
    OtherServer,
}

impl KeyStore {
    pub(super) fn new(provider: ProviderName, source: KeySource, fetcher: Arc<Fetcher>) -> Self {
        KeyStore { provider, source, fetcher, keys: RwLock::default(), flight: Mutex::default() }
    }

    /// The key of this id; fetches once if it is unknown. `runtime` carries the fetch.
    pub(super) async fn find(
        self: &Arc<Self>,
        id: &str,
        now: Timestamp,
        runtime: &Handle,
    ) -> Result<Arc<SigningKey>, NoKey> {
        if let Some(key) = self.known(id, now) {
            return Ok(key);
        }
        if let Some(flight) = self.force(now, runtime) {
            landed(flight).await;
            if let Some(key) = self.known(id, now) {
                return Ok(key);
            }
        }
        match self.lock().outcome {
            Outcome::Succeeded => Err(NoKey::Unknown),
            Outcome::NeverTried | Outcome::Failed => Err(NoKey::Unavailable),
        }
    }

    /// Fetches now, or waits for the fetch under way. For the background refresh: no interval applies.
    pub(super) async fn refresh(self: &Arc<Self>, now: Timestamp, runtime: &Handle) -> Outcome {
        let flight = self.depart(&mut self.lock(), now, runtime);
        landed(flight).await;
        self.lock().outcome
    }

    fn known(&self, id: &str, now: Timestamp) -> Option<Arc<SigningKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(id).filter(|kept| kept.is_fresh(now)).map(|kept| Arc::clone(&kept.key))
    }

    /// A fetch that an unknown key asks for: the one under way, a new one, or none when the last was too recent.
    fn force(self: &Arc<Self>, now: Timestamp, runtime: &Handle) -> Option<watch::Receiver<()>> {
        let mut flight = self.lock();
        if let Some(running) = flight.under_way() {
            return Some(running);
        }
        // The distance counts in both directions, so that a clock that was set back does not block fetches.
        let recent = |last: Timestamp| seconds_between(last, now).abs() < FORCED_FETCH_INTERVAL_SECONDS;
        if flight.last_forced.is_some_and(recent) {
            return None;
        }
        flight.last_forced = Some(now);
        Some(self.depart(&mut flight, now, runtime))
    }

    /// Starts a fetch unless one is under way.
    fn depart(
        self: &Arc<Self>,
        flight: &mut Flight,
        now: Timestamp,
        runtime: &Handle,
    ) -> watch::Receiver<()> {
        if let Some(running) = flight.under_way() {
            return running;
        }
        let (done, running) = watch::channel(());
        flight.running = Some(running.clone());
        let store = Arc::clone(self);
        runtime.spawn(async move {
            let outcome = store.fetch_and_merge(now).await;
            store.lock().outcome = outcome;
            drop(done);
        });
        running
    }

    async fn fetch_and_merge(&self, now: Timestamp) -> Outcome {
        match self.fetch().await {
            Ok(found) => {
                tracing::debug!(provider = %self.provider, keys = found.len(), "fetched signing keys");
                self.merge(found, now);
                Outcome::Succeeded
            }
            Err(error) => {
                // What is known stays: last known good.
                tracing::warn!(provider = %self.provider, %error, "cannot fetch signing keys");
                Outcome::Failed
            }
        }
    }

    async fn fetch(
        &self,
    ) -> Result<impl ExactSizeIterator<Item = (String, SigningKey)> + use<>, RefreshError> {
        let document = match &self.source {
            KeySource::Keys(url) => self.fetcher.get(url).await?,
            KeySource::Discovery { url, issuers, loopback } => {
                let discovery = self.fetcher.get(url).await?;
                self.fetcher.get(&key_address(&discovery, url, issuers, *loopback)?).await?
            }
        };
        Ok(jwks::parse(&document)?.into_iter())
    }

    fn merge(&self, found: impl Iterator<Item = (String, SigningKey)>, now: Timestamp) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, kept| kept.is_fresh(now));
        for (id, key) in found {
            // The provider is the authority on its ids: what it says last is what an id means.
            keys.insert(id, Kept { key: Arc::new(key), last_seen: now });
        }
        if keys.len() > MAX_KEYS {
            // More keys than any provider has in a day: only the newest document counts.
            keys.retain(|_, kept| kept.last_seen == now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The fetch under way, if any. Its sender is dropped when the task ends, also by a panic or a runtime's end.
    fn under_way(&self) -> Option<watch::Receiver<()>> {
        self.running.clone().filter(|running| running.has_changed().is_ok())
    }
}

impl Kept {
    fn is_fresh(&self, now: Timestamp) -> bool {
        seconds_between(self.last_seen, now) < KEY_LIFETIME_SECONDS
    }
}

/// Waits until the fetch has ended, however it ended.
pub(super) async fn landed(mut flight: watch::Receiver<()>) {
    while flight.changed().await.is_ok() {}
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.as_second() - earlier.as_second()
}

/// The key document's address out of a discovery document (OpenID Connect Discovery 1.0 sections 3 and 4.3).
fn key_address(
    document: &[u8],
    from: &DocumentUrl,
    issuers: &[String],
    loopback: LoopbackHttp,
) -> Result<DocumentUrl, RefreshError> {
    let document = Object::parse(document).map_err(|_| RefreshError::NotDiscovery)?;
    let text = |name: &str| document.text(name).map_err(|_| RefreshError::NotDiscovery);
    let issuer = text("issuer")?;
    if !issuers.iter().any(|known| known == issuer) {
        return Err(RefreshError::OtherIssuer);
    }
    let keys = DocumentUrl::parse(text("jwks_uri")?, loopback)?;
    if keys.same_server(from) { Ok(keys) } else { Err(RefreshError::OtherServer) }
}
