//! What the target and the masks said a moment ago, to be used again.
//!
//! Drivers describe a statement each time that they run it, and send the same kind of statement over and over. Looking up
//! every column and asking every mask again would cost more than the statement. What may go wrong: an answer that has
//! become another. So a description counts for its own bytes, in its epoch and the catalog's generation, and for no longer
//! than the catalog itself ([`Described::counts`]); a plan only for equal facts and equal columns, in the same
//! state of the catalog and the session, from masks that call
//! themselves deterministic. Both are few, and the oldest goes first.

use super::super::catalog::FRESH;
use super::statements::{Described, ResultPlan};
use crate::session::Judged;
use chaperone_core::sql::{Column, StatementFacts};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

/// Entries of each kind.
const MAX_ENTRIES: usize = 16;

/// The longest RowDescription that is kept, in bytes: about a hundred columns.
const MAX_DESCRIPTION_BYTES: usize = 4 * 1024;

/// A RowDescription and what was found for it.
pub(super) struct Description {
    pub(super) bytes: Box<[u8]>,
    pub(super) described: Described,
}

#[derive(Default)]
pub(super) struct Descriptions(VecDeque<Description>);

impl Descriptions {
    pub(super) fn recall(&self, bytes: &[u8], epoch: u64, generation: u64) -> Option<Rc<[Column]>> {
        let known = self.0.iter().find(|known| *known.bytes == *bytes)?;
        known.described.counts(epoch, generation).then(|| Rc::clone(&known.described.columns))
    }

    pub(super) fn remember(&mut self, description: Description) {
        if description.bytes.len() > MAX_DESCRIPTION_BYTES {
            return;
        }
        self.0.retain(|known| known.bytes != description.bytes);
        self.0.truncate(MAX_ENTRIES - 1);
        self.0.push_front(description);
    }
}

struct Plan {
    at: Instant,
    /// The catalog's generation and the session's epoch: what a computed column may hold depends on what names mean.
    state: (u64, u64),
    facts: Rc<[StatementFacts]>,
    columns: Rc<[Column]>,
    plan: Rc<ResultPlan>,
}

#[derive(Default)]
pub(super) struct Plans(VecDeque<Plan>);

impl Plans {
    pub(super) fn recall(
        &self,
        judged: &Judged,
        columns: &Rc<[Column]>,
        state: (u64, u64),
    ) -> Option<Rc<ResultPlan>> {
        let same = |known: &&Plan| {
            known.state == state
                && (Rc::ptr_eq(&known.columns, columns) || known.columns == *columns)
                && (Rc::ptr_eq(&known.facts, &judged.statements) || known.facts == judged.statements)
        };
        let known = self.0.iter().find(same)?;
        (known.at.elapsed() <= FRESH).then(|| Rc::clone(&known.plan))
    }

    pub(super) fn remember(
        &mut self,
        judged: &Judged,
        columns: &Rc<[Column]>,
        state: (u64, u64),
        plan: &Rc<ResultPlan>,
    ) {
        self.0.retain(|known| known.columns != *columns || known.facts != judged.statements);
        self.0.truncate(MAX_ENTRIES - 1);
        self.0.push_front(Plan {
            at: Instant::now(),
            state,
            facts: Rc::clone(&judged.statements),
            columns: Rc::clone(columns),
            plan: Rc::clone(plan),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(bytes: &[u8], epoch: u64, generation: u64) -> Description {
        let described = Described { epoch, generation, at: Instant::now(), columns: Rc::default() };
        Description { bytes: bytes.into(), described }
    }

    #[test]
    fn a_description_counts_for_its_bytes_its_epoch_and_its_generation() {
        let mut known = Descriptions::default();
        known.remember(description(b"T1", 3, 5));
        assert!(known.recall(b"T1", 3, 5).is_some());
        assert!(known.recall(b"T2", 3, 5).is_none());
        assert!(known.recall(b"T1", 4, 5).is_none());
        assert!(known.recall(b"T1", 3, 6).is_none());
    }

    #[test]
    fn descriptions_are_bounded_and_the_oldest_goes_first() {
        let mut known = Descriptions::default();
        for number in 0..100u8 {
            known.remember(description(&[number], 0, 0));
        }
        assert_eq!(known.0.len(), MAX_ENTRIES);
        assert!(known.recall(&[99], 0, 0).is_some());
        assert!(known.recall(&[0], 0, 0).is_none());
        known.remember(description(&vec![7; MAX_DESCRIPTION_BYTES + 1], 0, 0));
        assert_eq!(known.0.len(), MAX_ENTRIES);
    }
}
