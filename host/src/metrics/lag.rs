//! How far whoever follows recordings is behind.

use super::Counter;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far a feed is behind.
#[derive(Debug, Default)]
pub struct Lag {
    since: Mutex<Option<Instant>>,
    /// Operations that were handed out.
    pub operations: Counter,
    /// Attempts to hand something out that failed.
    pub failures: Counter,
}

impl Lag {
    /// How long ago there was nothing that was not read: a few seconds while the feed keeps up. It grows when the feed stands still.
    pub fn read(&self) -> Duration {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// There was nothing unread then; None: there are no recordings that are followed.
    pub fn set(&self, since: Option<Instant>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}
