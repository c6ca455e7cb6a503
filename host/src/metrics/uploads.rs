//! What is brought to the store outside.

use super::{Counter, FAILED, Family, RETRIED};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// It is in the store, and was read back.
const STORED: &str = "stored";

/// What becomes of an attempt to bring a file to the store.
const OUTCOMES: &[&str] = &[STORED, RETRIED, FAILED];

/// What was brought, and what waits.
#[derive(Debug)]
pub struct Uploads {
    /// Attempts by what became of them; `failed`: the store has something else by that name.
    pub outcomes: Family,
    deleted: Counter,
    queue: Mutex<Queue>,
}

/// What waits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Files that are not stored.
    pub pending: usize,
    /// Those in whose place the store has something else.
    pub conflicting: usize,
    /// Recordings that the rules have deleted here, and that may be in the store still.
    pub undeleted: usize,
    /// How long ago the oldest was sealed.
    pub oldest: Duration,
}

impl Default for Uploads {
    fn default() -> Self {
        Uploads { outcomes: Family::new(OUTCOMES), deleted: Counter::default(), queue: Mutex::default() }
    }
}

impl Uploads {
    /// One more is stored.
    pub fn stored(&self) {
        self.outcomes.count(STORED);
    }

    /// One more was deleted there.
    pub fn deleted(&self) {
        self.deleted.count();
    }

    /// How many were deleted there.
    pub fn read_deleted(&self) -> u64 {
        self.deleted.read()
    }

    /// What waits.
    pub fn read(&self) -> Queue {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much waits now.
    pub fn set(&self, queue: Queue) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = queue;
    }
}
