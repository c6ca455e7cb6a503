//! What the gateway counts about itself, for operators: connections, sessions, recordings. Plugins count their own calls.
//!
//! Numbers and fixed words only, and the hash of the newest checkpoint: no principal, no target, no text of a statement. So nothing here is secret, and the
//! number of series does not grow with what clients do. Nothing is counted for each row or message; what is counted once
//! a connection stands behind a lock, everything else is a plain atomic.
//!
//! What may go wrong: counters are read one after the other, so a reading taken while a session begins may show the one
//! number moved and the other not yet.

pub mod history;
mod lag;
pub mod text;
mod uploads;

pub use lag::Lag;
pub use uploads::{Queue, Uploads};

use crate::recorder::checkpoint::Newest;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Reasons for a refused connection that are always shown. Prometheus cannot see the first step of a series that begins
/// with 1, so the usual ones begin with 0.
const REFUSED: &[&str] = &[
    CONNECTION_LIMIT,
    LOGIN_LIMIT,
    THREAD_QUEUE,
    LOGIN_TIMEOUT,
    "credential-missing",
    "credential-invalid",
    "credential-expired",
    "provider-unavailable",
    "not-granted",
    "denied",
    "no-window",
    "plugin-fault",
    "recorder-failed",
    "target-unavailable",
    "internal",
];

/// Ends of sessions that are always shown.
const ENDED: &[&str] = &[
    "client-closed",
    "target-closed",
    "window-closed",
    "credential-expired",
    "revoked",
    "shutting-down",
    "limit-reached",
    "protocol-violation",
    "recorder-failed",
    "target-unavailable",
    "broken",
];

/// The bound of all connections is reached.
pub const CONNECTION_LIMIT: &str = "connection-limit";
/// Too many others have not logged in yet.
pub const LOGIN_LIMIT: &str = "login-limit";
/// The session thread cannot take more.
pub const THREAD_QUEUE: &str = "thread-queue";
/// The credential did not come in time.
pub const LOGIN_TIMEOUT: &str = "login-timeout";

/// What becomes of an attempt to send a message to a channel.
const DELIVERIES: &[&str] = &[DELIVERED, RETRIED, FAILED];

/// Its receiver has taken it.
pub const DELIVERED: &str = "delivered";
/// It failed, and is tried again.
pub const RETRIED: &str = "retried";
/// It failed, and was given up.
pub const FAILED: &str = "failed";

/// The gateway's own counters.
#[derive(Debug)]
pub struct Metrics {
    /// Connections that did not become a session, by reason.
    pub refused: Family,
    /// Sessions that began.
    pub started: Counter,
    /// Sessions that ended, by reason.
    pub ended: Family,
    /// Recordings that were sealed.
    pub sealed: Counter,
    /// Recordings that could not be sealed; the next start recovers them.
    pub unsealed: Counter,
    /// Sessions that were recorded elsewhere, because the usual recorder failed.
    pub break_glass: Counter,
    /// Roles that were made at targets.
    pub roles_made: Counter,
    /// Roles that were removed.
    pub roles_removed: Counter,
    /// Roles that could not be removed, each counted once.
    pub roles_left: Counter,
    /// Looks for roles that failed.
    pub roles_unswept: Counter,
    /// Attempts to send a message to a channel, by what became of them.
    pub deliveries: Family,
    /// How far the search index is behind the recordings.
    pub search: Arc<Lag>,
    /// The same of streams, by their cursors' names: as many as are configured.
    streams: Mutex<BTreeMap<String, Arc<Lag>>>,
    /// Checkpoints that this gateway made.
    pub checkpoints: Counter,
    /// Checkpoints that could not be made; each is tried again.
    pub checkpoints_failed: Counter,
    /// Recordings that were deleted by the rules.
    pub recordings_deleted: Counter,
    /// Recordings that were to be deleted, and have to stay because they are not what they should be.
    pub recordings_not_deleted: Counter,
    /// The newest checkpoint of the folder of recordings.
    pub newest_checkpoint: Mutex<Option<Newest>>,
    /// What is brought to the store outside.
    pub uploads: std::sync::Arc<Uploads>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            refused: Family::new(REFUSED),
            started: Counter::default(),
            ended: Family::new(ENDED),
            sealed: Counter::default(),
            unsealed: Counter::default(),
            break_glass: Counter::default(),
            roles_made: Counter::default(),
            roles_removed: Counter::default(),
            roles_left: Counter::default(),
            roles_unswept: Counter::default(),
            deliveries: Family::new(DELIVERIES),
            search: Arc::default(),
            streams: Mutex::default(),
            checkpoints: Counter::default(),
            checkpoints_failed: Counter::default(),
            recordings_deleted: Counter::default(),
            recordings_not_deleted: Counter::default(),
            newest_checkpoint: Mutex::default(),
            uploads: std::sync::Arc::default(),
        }
    }
}

impl Metrics {
    /// How far a stream is behind, to be written by it.
    pub fn stream(&self, consumer: String) -> Arc<Lag> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(streams.entry(consumer).or_default())
    }

    /// All who read recordings, by their cursors' names.
    pub fn feeds(&self) -> Vec<(String, Arc<Lag>)> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = streams.iter().map(|(name, lag)| (name.clone(), Arc::clone(lag)));
        [("search".to_owned(), Arc::clone(&self.search))].into_iter().chain(streams).collect()
    }
}

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters by a word of the program's own. Their number is bounded by the words in the program: they are `'static`.
#[derive(Debug)]
pub struct Family(Mutex<BTreeMap<&'static str, u64>>);

impl Family {
    /// Each of these, none counted yet.
    pub fn new(words: &[&'static str]) -> Self {
        Family(Mutex::new(words.iter().map(|word| (*word, 0)).collect()))
    }

    /// One more of this word.
    pub fn count(&self, word: &'static str) {
        // The map is whole after any panic: the change is one addition.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(word).or_default() += 1;
    }

    /// How many there were of each word.
    pub fn read(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_not_listed_is_counted_too() {
        let family = Family::new(&["known"]);
        family.count("unheard-of");
        family.count("unheard-of");
        let read = family.read();
        assert_eq!((read["known"], read["unheard-of"]), (0, 2));
    }
}
