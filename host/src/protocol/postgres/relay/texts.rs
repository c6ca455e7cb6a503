//! Texts of the target's errors and notices: they quote values (`invalid input syntax for type integer: "743-61-…"`, the
//! DETAIL of a constraint, RAISE), so they go through the masks like a computed column of the statement that runs.
//!
//! What the masks would refuse is withheld; SQLSTATE, severity and the names of schema, table, column and constraint stay,
//! so that programs can still tell what happened.

use super::super::frame::{self, Body, Frame, Malformed};
use super::Relay;
use super::pending::Pending;
use super::requests::computed;
use super::statements::Statement;
use crate::session::{Batch, Judged, Planned, SessionStop};
use std::rc::Rc;

/// Fields whose text can quote values: message, detail, hint, context, and an internal query's text (PostgreSQL manual,
/// "Error and Notice Message Fields").
const QUOTING: [u8; 5] = *b"MDHWq";

/// The fields of an error or notice that are read; PostgreSQL knows 18.
const MAX_FIELDS: usize = 64;

const WITHHELD: &[u8] = b"the database's message is withheld: it could quote values that are masked for you";

impl Relay<'_> {
    /// Hands an error or a notice to the client, without what masks would hide.
    pub(super) async fn say_text(&mut self, frame: Frame) -> Result<(), SessionStop> {
        let whole = self.target.input.bytes().get(..frame.total).unwrap_or_default();
        let fields = read(whole).map_err(|Malformed(what)| super::drift(what))?;
        let Some(judged) = self.running() else {
            // Nothing of the client runs: the target speaks for itself (shutdown, timeouts).
            self.copy(frame.total);
            return Ok(());
        };
        let plan = match self.session.plan(&judged, &[computed()]).await {
            Planned::Show(plan) if plan.passes_all() => {
                self.copy(frame.total);
                return Ok(());
            }
            Planned::Show(plan) => Some(plan),
            Planned::Refuse(_) => None,
        };
        let mut batch = Batch::new();
        for (_, text) in fields.iter().filter(|(kind, _)| QUOTING.contains(kind)) {
            batch.push(Some(text));
        }
        let masked = match plan {
            Some(plan) => self.session.mask(judged.operation, &plan, vec![batch]).await.ok(),
            None => None,
        };
        // Fails closed: without masked texts none are shown.
        let masked = masked.and_then(|columns| columns.into_iter().next());
        if !self.result.is_hidden() {
            let mut quoting = 0;
            frame::message(&mut self.client.output.bytes, frame.kind, |out| {
                for (kind, text) in &fields {
                    let shown = if QUOTING.contains(kind) {
                        let shown = masked.as_ref().and_then(|texts| texts.value(quoting).flatten());
                        quoting += 1;
                        shown.or((*kind == b'M').then_some(WITHHELD))
                    } else {
                        Some(text.as_slice())
                    };
                    if let Some(shown) = shown {
                        out.push(*kind);
                        out.extend(shown.iter().filter(|byte| **byte != 0));
                        out.push(0);
                    }
                }
                out.push(0);
            });
        }
        self.target.input.consume(frame.total);
        Ok(())
    }

    /// What the target is working on. None: nothing that a client sent.
    fn running(&self) -> Option<Rc<Judged>> {
        Some(match self.pending.front()? {
            Pending::Query(judged) => Rc::clone(judged),
            Pending::Execute { portal, .. } | Pending::DescribePortal(portal, _) => {
                Rc::clone(&portal.statement.judged)
            }
            Pending::DescribeStatement(statement) => Rc::clone(&statement.judged),
            Pending::Parse => Rc::clone(&self.statements.oldest_in_flight()?.judged),
            Pending::Bind => Rc::clone(&self.portals.oldest_in_flight()?.statement.judged),
            // A deferred check at commit may quote what any statement of the transaction wrote.
            _ => Rc::clone(&Statement::unseen().judged),
        })
    }
}

fn read(frame: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, Malformed> {
    let mut body = Body::of(frame);
    let mut fields = Vec::new();
    loop {
        match body.u8()? {
            0 => {
                body.end()?;
                return Ok(fields);
            }
            _ if fields.len() >= MAX_FIELDS => return Err(Malformed("an error of too many fields")),
            kind => fields.push((kind, body.zero_terminated()?.to_vec())),
        }
    }
}
