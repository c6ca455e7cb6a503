//! Refusing what the client sent, in its place in the pipeline, so that the session stays usable (invariant 9).
//!
//! What may go wrong: the client believes that something was undone which was not. A server undoes an implicit
//! transaction when one of its messages fails; a refusal that the target never sees has to have the same effect.

use super::super::frame::{self, Frame};
use super::super::refuse::{self, Severity};
use super::pending::{Pending, Refused};
use super::requests::Step;
use super::{Relay, Settled};
use crate::session::{EventKind, SessionStop};
use chaperone_core::refusal::{Refusal, RefusalCode};

/// What a statement that the target must refuse looks like (see `Relay::refuse_extended`).
const POISON: &[u8] = b"chaperone: refused";

impl Relay<'_> {
    /// A refused simple query: the client gets an error and stays ready, in the transaction it was in.
    pub(super) fn refuse_query(&mut self, refused: Refused) {
        self.reaching = None;
        if self.open_segment {
            // The query would have ended the segment before it, and its error undone it; a Sync does that in its place.
            let undo = self.executed && self.status == b'I';
            if undo {
                self.poison(refused.clone());
            }
            self.target.output.bytes.extend_from_slice(b"S\0\0\0\x04");
            self.end_segment(if undo { Pending::Sync } else { Pending::LocalSync(refused) });
        } else {
            self.pending.push_back(Pending::LocalQuery(refused));
            self.say_locals();
        }
    }

    /// Makes the target itself fail the segment, so that it undoes what the segment did.
    fn poison(&mut self, refused: Refused) {
        frame::message(&mut self.target.output.bytes, b'P', |out| {
            out.push(0);
            out.extend_from_slice(POISON);
            out.extend_from_slice(&[0, 0, 0]);
        });
        self.flushed = false;
        self.pending.push_back(Pending::Poison(refused));
    }

    /// A refused message of an extended segment. What the segment did before in an implicit transaction has to be undone,
    /// or the client would believe that it was: then the target is made to fail the segment itself.
    pub(super) fn refuse_extended(
        &mut self,
        frame: Frame,
        operation: u64,
        refusal: Refusal,
    ) -> Result<Step, SessionStop> {
        self.settled = None;
        self.reaching = None;
        if self.executed {
            if self.pending.iter().any(Pending::ends_segment) {
                // The transaction's state is known only when all before was answered.
                self.settled = Some(Settled { operation, judged: None, outcome: Err(refusal) });
                return Ok(Step::Wait);
            }
            if self.status == b'I' {
                self.client.input.consume(frame.total);
                self.poison(Refused { operation, refusal });
                self.skipping = true;
                return Ok(Step::Done);
            }
        }
        if !self.pending.is_empty() {
            // So that what was asked before is answered before.
            self.flush_target();
        }
        self.client.input.consume(frame.total);
        self.pending.push_back(Pending::Local(Refused { operation, refusal }));
        self.skipping = true;
        self.say_locals();
        Ok(Step::Done)
    }

    pub(super) fn say(&mut self, Refused { operation, refusal }: &Refused) {
        if !self.result.hidden {
            self.session.note(EventKind::Refusal, *operation, refusal);
            refuse::error(&mut self.client.output.bytes, Severity::Error, refusal);
        }
    }

    /// Refusals whose turn has come.
    pub(super) fn say_locals(&mut self) {
        loop {
            match self.pending.front() {
                Some(Pending::Local(refused)) => {
                    let refused = refused.clone();
                    self.say(&refused);
                }
                Some(Pending::LocalQuery(refused)) => {
                    let refused = refused.clone();
                    self.say(&refused);
                    frame::ready(&mut self.client.output.bytes, self.status);
                }
                _ => return,
            }
            self.pending.pop_front();
        }
    }
}

pub(super) fn long_name() -> Refusal {
    Refusal::new(RefusalCode::LimitReached, "the name of a statement or portal is longer than 63 bytes")
        .hint("Use a shorter one: PostgreSQL would ignore the rest.")
}

pub(super) fn too_many_portals() -> Refusal {
    Refusal::new(RefusalCode::LimitReached, "too many open portals in this session")
        .hint("Close those that you do not need any more.")
}
