//! How a plugin breaks. A fault always becomes a refusal of the operation; there is no switch to let it pass.

use crate::store::StoreData;
use std::fmt;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

/// What went wrong, without any payload: it goes into the recording and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The plugin's name.
    pub plugin: String,
    /// The hook that was called.
    pub hook: &'static str,
    /// How it broke.
    pub kind: FaultKind,
    /// More for operators; bounded.
    pub detail: String,
}

/// The classes of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It trapped: a panic, an illegal instruction, a call of something it may not have.
    Trapped,
    /// It took too long.
    Deadline,
    /// It asked for more memory than it may have.
    Memory,
    /// Its answer broke the contract: wrong lengths, too large, out of range.
    BadAnswer,
    /// What it would have been asked is over a bound.
    TooLarge,
    /// No instance could be had.
    NoInstance,
}

impl FaultKind {
    /// The class of an error that a call ended with.
    pub(crate) fn of(data: &StoreData, error: &wasmtime::Error) -> Self {
        if data.deadline_hit {
            FaultKind::Deadline
        } else if error.is::<PoolConcurrencyLimitError>() {
            FaultKind::NoInstance
        } else if !error.is::<Trap>() && !error.is::<WasmBacktrace>() {
            // The plugin had returned: what failed is taking in its answer.
            FaultKind::BadAnswer
        } else if data.memory.refused {
            FaultKind::Memory
        } else {
            FaultKind::Trapped
        }
    }

    /// The stable word for recordings and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::Trapped => "trapped",
            FaultKind::Deadline => "deadline",
            FaultKind::Memory => "memory",
            FaultKind::BadAnswer => "bad-answer",
            FaultKind::TooLarge => "too-large",
            FaultKind::NoInstance => "no-instance",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {} failed in {}: {}", self.plugin, self.hook, self.kind.as_str())?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
