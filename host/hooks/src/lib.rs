//! The engine for plugins: load, configure, snapshot, compile, pool, call, bound, and turn every failure into a fault.
//!
//! This is the only package that names wasmtime. A plugin is loaded once ([`Engine::load`]): its digest is checked,
//! its hooks are discovered from its exports, it is configured inside the sandbox, and the configured instance is
//! snapshotted and compiled. Each session then gets instances of its own ([`Chain::open`]), which share nothing.
//!
//! What may go wrong is a [`Fault`] (at a call) or a [`LoadError`] (at load); neither lets an operation pass.

mod bindings;
mod cache;
mod chain;
mod clock;
mod engine;
mod fault;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod instance;
pub mod limits;
mod load;
mod metrics;
mod slots;
mod store;
mod wasi;
mod wire;

pub use chain::{
    Chain, ChainError, MaskPlan, OperationSummary, PlanOutcome, SessionHooks, SqlJudgement, UseJudgement,
};
pub use engine::{Engine, EngineConfig, EngineError};
pub use fault::{Fault, FaultKind};
pub use limits::Limits;
pub use load::{ConfigProblem, LoadError, Plugin, PluginSource, PluginStamp};
pub use metrics::{Hook, HookMetrics, HookReading, Times};
pub use store::SessionFacts;
pub use wire::{Batch, Masked};
