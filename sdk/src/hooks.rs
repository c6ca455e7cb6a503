//! One trait for each hook, with the types that plugin authors see.

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
}

/// Runs a plugin over batches, as the host sends them; also what native tests call.
///
/// Offsets that do not fit the bytes are refused, never sliced: the host checks as well, neither trusts the other.
pub fn mask_batches<P: ColumnMask>(plugin: &P, batches: &[Batch]) -> Result<Vec<Masked>, Refusal> {
    batches.iter().map(|batch| mask_batch(plugin, batch)).collect()
}

fn mask_batch<P: ColumnMask>(plugin: &P, batch: &Batch) -> Result<Masked, Refusal> {
    let column = ColumnOf { treatment: batch.treatment, type_oid: batch.type_oid, format: batch.format };
    let values = batch.offsets.len().checked_sub(1).ok_or_else(malformed)?;
    let whole = batch.offsets.first() == Some(&0)
        && batch.offsets.last().is_some_and(|end| usize::try_from(*end) == Ok(batch.bytes.len()))
        && batch.nulls.len() == values.div_ceil(8);
    if !whole {
        return Err(malformed()); // fails closed
    }
    let mut masked = Masked {
        bytes: Vec::with_capacity(batch.bytes.len()),
        offsets: Vec::with_capacity(batch.offsets.len()),
        nulls: batch.nulls.clone(),
        changed: 0,
    };
    masked.offsets.push(0);
    // A buffer of its own, so that no plugin can reach the values that are done.
    let mut out = Vec::new();
    for index in 0..values {
        let bit = 1u8 << (index % 8);
        let value = value_at(batch, index).ok_or_else(malformed)?;
        let nulls = masked.nulls.get_mut(index / 8).ok_or_else(malformed)?;
        if *nulls & bit == 0 {
            out.clear();
            match plugin.mask_value(column, value, &mut out)? {
                Change::Kept => masked.bytes.extend_from_slice(value),
                Change::Replaced => {
                    masked.bytes.extend_from_slice(&out);
                    masked.changed += 1;
                }
                Change::Null => {
                    *nulls |= bit;
                    masked.changed += 1;
                }
            }
        } else if !value.is_empty() {
            return Err(malformed()); // fails closed: a NULL carries no bytes
        }
        masked.offsets.push(u32::try_from(masked.bytes.len()).map_err(|_| malformed())?);
    }
    Ok(masked)
}

fn value_at(batch: &Batch, index: usize) -> Option<&[u8]> {
    let start = usize::try_from(*batch.offsets.get(index)?).ok()?;
    let end = usize::try_from(*batch.offsets.get(index + 1)?).ok()?;
    batch.bytes.get(start..end)
}

fn malformed() -> Refusal {
    Refusal {
        rule: "mask.malformed-batch".into(),
        reason: "a batch of values did not have the shape that the contract promises".into(),
        hint: "This is a fault of the gateway; report it.".into(),
    }
}
