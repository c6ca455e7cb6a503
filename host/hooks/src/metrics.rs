//! Counters for each plugin and hook: calls, time, faults. Plain atomics, so that counting never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The hooks that exist, in the order of a plugin's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// `sql-check`
    SqlCheck,
    /// `approval-trigger`
    ApprovalTrigger,
    /// `column-mask`
    ColumnMask,
}

impl Hook {
    /// All hooks.
    pub const ALL: [Hook; 3] = [Hook::SqlCheck, Hook::ApprovalTrigger, Hook::ColumnMask];

    /// The interface's name in `wit/`.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::SqlCheck => "sql-check",
            Hook::ApprovalTrigger => "approval-trigger",
            Hook::ColumnMask => "column-mask",
        }
    }
}

/// Counters of one hook of one plugin.
#[derive(Debug, Default)]
pub struct HookMetrics {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
    faults: AtomicU64,
}

/// A reading of [`HookMetrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookReading {
    /// Calls that reached the plugin, faulted ones included.
    pub calls: u64,
    /// Time inside the plugin and across its border.
    pub time: Duration,
    /// Faults: of calls, of answers, and of questions that could not be asked.
    pub faults: u64,
}

impl HookMetrics {
    pub(crate) fn called(&self, time: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn faulted(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads the counters; they are not read at one instant.
    pub fn read(&self) -> HookReading {
        HookReading {
            calls: self.calls.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
            faults: self.faults.load(Ordering::Relaxed),
        }
    }
}

/// Counts instances that are alive.
#[derive(Debug, Default)]
pub(crate) struct Alive(Arc<AtomicU64>);

/// One of them, until it is dropped.
pub(crate) struct Counted(Arc<AtomicU64>);

impl Alive {
    /// One more.
    pub(crate) fn count(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }

    /// How many there are.
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
