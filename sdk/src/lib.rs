//! The SDK for Chaperone plugins: one trait for each hook, one macro to export them.
//!
//! A plugin is a type that implements [`Plugin`] (its name and typed configuration) and at least one of
//! [`SqlCheck`], [`ApprovalTrigger`] and [`ColumnMask`], and is exported with [`export!`]. The same type is
//! tested natively, with [`configure`] and [`SessionFacts`], without any Wasm. `sdk/README.md` builds one in ten lines.

mod batch;
#[doc(hidden)]
pub mod bindings;
mod export;
mod glob;
mod hooks;
mod plugin;
mod session;

// The macros expand to `::chaperone_sdk::…` also when they are used inside this crate's own tests.
extern crate self as chaperone_sdk;

pub use batch::{Values, mask_batches};
pub use glob::Glob;
pub use hooks::{
    Access, Answer, ApprovalTrigger, Assessment, Batch, Change, Column, ColumnMask, ColumnOf, ColumnRef,
    Context, CopyForm, CopyOut, Finding, Format, FunctionRef, Hold, Lineage, Masked, OperationRequest,
    Origin, Permission, Place, PlanRequest, Refusal, Relation, RelationColumn, RelationColumns, Source,
    SqlCheck, SqlRequest, SqlResponse, StatementFacts, Treatment, Verdict,
};
pub use plugin::{ConfigError, Plugin, configure};
pub use session::{CallerKind, Session, SessionFacts};

/// Writes a line to the host's bounded log; nothing in native tests. Never log payload.
pub fn log(level: LogLevel, message: &str) {
    if cfg!(target_arch = "wasm32") {
        bindings::lifecycle::chaperone::plugin::host::log(level, message);
    }
}

pub use bindings::lifecycle::chaperone::plugin::host::Level as LogLevel;
