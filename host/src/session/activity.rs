//! What a session does now, and how much it has done, for whoever watches it from outside of its thread.
//!
//! The session alone writes, so each number is a plain store that waits for nobody; who reads may see one number moved and
//! another not yet. Nothing is decided by what is read here.

use serde::Serialize;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doing {
    /// Nothing.
    #[default]
    Idle,
    /// Nothing, inside a transaction that is not over.
    InTransaction,
    /// The target works for it, or is answered.
    Runs,
    /// An operation waits for people.
    Held,
}

impl Doing {
    const ALL: [Doing; 4] = [Doing::Idle, Doing::InTransaction, Doing::Runs, Doing::Held];
}

/// Written by one session, read by all who watch it.
#[derive(Debug, Default)]
pub struct Activity {
    doing: AtomicU8,
    since_us: AtomicU64,
    operations: AtomicU64,
    allowed: AtomicU64,
    refused: AtomicU64,
    held: AtomicU64,
}

/// A reading of [`Activity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Activities {
    /// What it does.
    pub doing: Doing,
    /// Since when, in microseconds from the session's begin.
    pub since_us: u64,
    /// The number of its newest operation; they count from 1.
    pub operations: u64,
    /// What was decided.
    #[serde(flatten)]
    pub decided: Decisions,
}

/// Decisions, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Decisions {
    /// Operations that ran at once.
    pub allowed: u64,
    /// Operations that did not run.
    pub refused: u64,
    /// Operations that people were asked about.
    pub held: u64,
}

impl Decisions {
    /// Those that are new since an earlier reading.
    pub fn since(self, earlier: Decisions) -> Decisions {
        Decisions {
            allowed: self.allowed.saturating_sub(earlier.allowed),
            refused: self.refused.saturating_sub(earlier.refused),
            held: self.held.saturating_sub(earlier.held),
        }
    }

    /// Those of both.
    pub fn and(self, other: Decisions) -> Decisions {
        Decisions {
            allowed: self.allowed + other.allowed,
            refused: self.refused + other.refused,
            held: self.held + other.held,
        }
    }
}

impl Activity {
    /// It does this from now on.
    pub(super) fn does(&self, doing: Doing, at_us: impl FnOnce() -> u64) {
        if self.doing.load(Ordering::Relaxed) != doing as u8 {
            self.since_us.store(at_us(), Ordering::Relaxed);
            self.doing.store(doing as u8, Ordering::Relaxed);
        }
    }

    pub(super) fn begins(&self, operation: u64) {
        self.operations.store(operation, Ordering::Relaxed);
    }

    pub(super) fn allowed(&self) {
        one_more(&self.allowed);
    }

    pub(super) fn refused(&self) {
        one_more(&self.refused);
    }

    pub(super) fn held(&self) {
        one_more(&self.held);
    }

    /// Reads all of it; not at one instant.
    pub fn read(&self) -> Activities {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let doing = self.doing.load(Ordering::Relaxed);
        Activities {
            doing: Doing::ALL.into_iter().find(|one| *one as u8 == doing).unwrap_or_default(),
            since_us: read(&self.since_us),
            operations: read(&self.operations),
            decided: Decisions {
                allowed: read(&self.allowed),
                refused: read(&self.refused),
                held: read(&self.held),
            },
        }
    }
}

/// Not one indivisible step: only the session writes.
fn one_more(number: &AtomicU64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_read_with_the_moment_at_which_it_began() {
        let activity = Activity::default();
        assert_eq!(activity.read(), Activities::default());
        for (number, doing) in (1_u64..).zip(Doing::ALL.into_iter().rev()) {
            activity.does(doing, || number);
            activity.does(doing, || unreachable!("it does that already"));
            assert_eq!((activity.read().doing, activity.read().since_us), (doing, number));
        }
        activity.begins(7);
        activity.allowed();
        activity.refused();
        activity.refused();
        activity.held();
        let Activities { operations, decided, .. } = activity.read();
        assert_eq!((operations, decided), (7, Decisions { allowed: 1, refused: 2, held: 1 }));
        assert_eq!(decided.and(decided), Decisions { allowed: 2, refused: 4, held: 2 });
        assert_eq!(decided.and(decided).since(decided), decided);
    }
}
