//! What comes back from a plugin, made of any bytes and checked as every answer is, for the fuzz targets.
//!
//! An answer crosses the border as typed values, so bytes are turned into such values first: whatever the engine could
//! hand over can come out of [`Source`], texts and lists beyond every bound included.

use crate::bindings::chaperone::plugin::{sql_facts, types};
use crate::bindings::exports::chaperone::plugin::{approval_trigger, column_mask, sql_check};
use crate::wire::{self, Batch, Masked};
use chaperone_core::decision::{Assessment, Finding, HoldTerms, RuleRefusal};
use chaperone_core::sql::{Column, Format, Lineage, StatementFacts, Treatment, Use};

/// Values from bytes; zeros when they are used up.
#[derive(Debug)]
pub struct Source<'a> {
    bytes: &'a [u8],
    /// What is over a bound holds nothing that is over another: the engine bounds an answer as a whole before it is
    /// looked at (`MAX_ANSWER_BYTES`).
    large: bool,
}

impl<'a> Source<'a> {
    /// From the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Source { bytes, large: true }
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// A number.
    pub fn number(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// Some bytes; how many says the byte in front.
    pub fn bytes(&mut self) -> Vec<u8> {
        let count = usize::from(self.byte()).min(self.bytes.len());
        let (taken, rest) = self.bytes.split_at_checked(count).unwrap_or((self.bytes, &[]));
        self.bytes = rest;
        taken.to_vec()
    }

    /// A text: rarely one of some thousand bytes, around the bound.
    fn text(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.bytes()).into_owned();
        match self.byte() {
            255 if self.large => text + &"x".repeat(usize::from(self.byte()) + 4000),
            _ => text,
        }
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.byte() & 1 == 1).then(|| read(self))
    }

    /// A list: short as long as there are bytes; rarely one over every bound, of the same element.
    fn list<T: Clone>(&mut self, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.byte();
        if count == 255 && self.large {
            self.large = false;
            let one = read(self);
            self.large = true;
            return vec![one; crate::limits::MAX_FACTS + usize::from(self.byte() & 1)];
        }
        (0..count & 7).map(|_| read(self)).collect()
    }

    fn refusal(&mut self) -> types::Refusal {
        types::Refusal { rule: self.text(), reason: self.text(), hint: self.text() }
    }

    fn finding(&mut self) -> types::Finding {
        types::Finding { rule: self.text(), detail: self.text(), risk: self.byte() }
    }

    fn relation(&mut self) -> sql_facts::Relation {
        sql_facts::Relation {
            schema: self.option(Self::text),
            name: self.text(),
            access: match self.byte() & 3 {
                0 => sql_facts::Access::Read,
                1 => sql_facts::Access::Write,
                _ => sql_facts::Access::Define,
            },
        }
    }

    fn column(&mut self) -> sql_facts::ColumnRef {
        sql_facts::ColumnRef {
            qualifier: self.option(Self::text),
            name: self.text(),
            place: match self.byte() & 3 {
                0 => sql_facts::Place::Output,
                1 => sql_facts::Place::Predicate,
                2 => sql_facts::Place::Assigned,
                _ => sql_facts::Place::Other,
            },
        }
    }

    fn statement(&mut self) -> sql_facts::StatementFacts {
        sql_facts::StatementFacts {
            class: self.text(),
            classes: self.list(Self::text),
            relations: self.list(Self::relation),
            columns: self.list(Self::column),
            functions: self.list(|source| sql_facts::FunctionRef {
                schema: source.option(Self::text),
                name: source.text(),
            }),
            opaque: self.byte() & 1 == 1,
            changes_session: self.byte() & 1 == 1,
            copy_out: self.option(|source| sql_facts::CopyOut {
                relation: source.option(Self::relation),
                columns: source.list(Self::text),
                format: source.text(),
                form: source.option(|source| sql_facts::CopyForm {
                    delimiter: source.byte(),
                    quote: source.byte(),
                    escape: source.byte(),
                    null: source.text(),
                    header: source.byte() & 1 == 1,
                    query: source.option(|source| (source.number(), source.number())),
                }),
            }),
        }
    }
}

/// What `sql-check` answered; none when it breaks the contract.
pub fn check(source: &mut Source<'_>) -> Option<(Assessment, Vec<StatementFacts>)> {
    let verdict = match source.byte() & 1 {
        0 => types::Verdict::Allow,
        _ => types::Verdict::Refuse(source.refusal()),
    };
    let assessment =
        types::Assessment { verdict, risk: source.byte(), findings: source.list(Source::finding) };
    let response = sql_check::Response { assessment, statements: source.list(Source::statement) };
    wire::sql_response(response).ok()
}

/// What `approval-trigger` answered.
pub fn hold(source: &mut Source<'_>) -> Option<HoldTerms> {
    let hold = approval_trigger::Hold {
        approvers: source.text(),
        needed: source.byte(),
        timeout_seconds: source.number(),
        reason: source.text(),
    };
    wire::hold(hold).ok()
}

/// What `column-mask` answered about a column.
pub fn treatment(source: &mut Source<'_>) -> Option<Treatment> {
    let treatment = match source.byte() & 3 {
        0 => column_mask::Treatment::Pass,
        1 => column_mask::Treatment::Mask(source.number()),
        _ => column_mask::Treatment::Refuse(source.refusal()),
    };
    wire::treatment(treatment).ok()
}

/// What `column-mask` answered about a statement's use of columns.
pub fn permission(source: &mut Source<'_>) -> Option<(Use, u8, Vec<Finding>)> {
    let permission = match source.byte() & 3 {
        0 => column_mask::Permission::Allow,
        1 => column_mask::Permission::Approve(source.refusal()),
        _ => column_mask::Permission::Refuse(source.refusal()),
    };
    let answer =
        column_mask::Answer { permission, risk: source.byte(), findings: source.list(Source::finding) };
    wire::answer(answer).ok().map(|answer| (answer.permission, answer.risk, answer.findings))
}

/// The words of a refusal.
pub fn refusal(source: &mut Source<'_>) -> Option<RuleRefusal> {
    wire::refusal(source.refusal()).ok()
}

/// What `column-mask` answered to a batch of values.
pub fn masked(
    asked: &Batch,
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    nulls: Vec<u8>,
    changed: u32,
) -> Option<Masked> {
    let answer = column_mask::Masked { bytes, offsets, nulls, changed };
    wire::masked(answer, asked_of(asked)).ok()
}

/// The most bytes that an answer to a batch may cost.
pub fn most_bytes(asked: &Batch) -> usize {
    wire::most(&asked_of(asked))
}

/// As it was sent to the plugin.
fn asked_of(batch: &Batch) -> column_mask::Batch {
    let column =
        Column { name: String::new(), lineage: Lineage::default(), type_oid: 25, format: Format::Text };
    wire::to_batch(0, &column, Masked::unseen(batch.clone()))
}
