//! One trait for each hook, with the types that plugin authors see.

use crate::batch::Values;
use crate::bindings::{approval_trigger, column_mask, sql_check};
use crate::plugin::Plugin;
use crate::session::Session;

pub use approval_trigger::exports::chaperone::plugin::approval_trigger::{Hold, Request as OperationRequest};
pub use column_mask::exports::chaperone::plugin::column_mask::{
    Answer, Batch, Column, Context, Format, Lineage, Masked, Origin, Permission, PlanRequest, RelationColumn,
    RelationColumns, Source, Treatment,
};
pub use sql_check::chaperone::plugin::sql_facts::{
    Access, ColumnRef, CopyForm, CopyOut, FunctionRef, Place, Relation, StatementFacts,
};
pub use sql_check::chaperone::plugin::types::{Assessment, Finding, Refusal, Verdict};
pub use sql_check::exports::chaperone::plugin::sql_check::{Request as SqlRequest, Response as SqlResponse};

/// Is this SQL text allowed to run? Asked once per simple query or Parse message.
pub trait SqlCheck: Plugin {
    /// The answer; what is not understood must be refused.
    fn check(&self, session: &Session<'_>, request: &SqlRequest) -> SqlResponse;
}

/// Must a human see this operation before it runs? Asked after all checks have allowed it.
pub trait ApprovalTrigger: Plugin {
    /// `Some` parks the session until enough approvers approve, one rejects, or the time is over.
    fn decide(&self, session: &Session<'_>, request: &OperationRequest) -> Option<Hold>;
}

/// The column that a value belongs to, as [`ColumnMask::mask_value`] sees it.
#[derive(Debug, Clone, Copy)]
pub struct ColumnOf {
    /// The number that [`ColumnMask::plan`] gave to the column.
    pub treatment: u32,
    /// PostgreSQL's `pg_type.oid`.
    pub type_oid: u32,
    /// How the value is encoded.
    pub format: Format,
}

/// What became of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The client sees the value as it is; whatever was written to `out` is dropped.
    Kept,
    /// The client sees what was written to `out`.
    Replaced,
    /// The client sees SQL NULL.
    Null,
}

/// May a statement use what is hidden, which values of a result must be hidden, and how do they look then?
pub trait ColumnMask: Plugin {
    /// May these statements use what they use? Asked once for each simple query and each Parse message, after the checks and
    /// before the approval triggers. A mask that cares only about results leaves it out.
    fn check(&self, _session: &Session<'_>, _context: &Context) -> Answer {
        Answer { permission: Permission::Allow, risk: 0, findings: Vec::new() }
    }

    /// One treatment for each column, in order. Asked once for each row description.
    fn plan(&self, session: &Session<'_>, request: &PlanRequest) -> Vec<Treatment>;

    /// One value that is not NULL. The SDK turns the host's batches into these calls; `out` is empty at each.
    fn mask_value(&self, column: ColumnOf, value: &[u8], out: &mut Vec<u8>) -> Result<Change, Refusal>;

    /// All values of a batch: each goes to [`ColumnMask::mask_value`]. A mask that sees from the bytes of all of them what none
    /// can have does better here.
    fn mask_column(&self, column: ColumnOf, values: Values<'_>) -> Result<Masked, Refusal> {
        values.each(|value, out| self.mask_value(column, value, out))
    }
}
