//! What the target says in its own words: errors, notices, notifications and settings.
//!
//! Words quote values: `invalid input syntax for type integer: "743-61-4657"` is a row in an error's clothes. So the texts of
//! an error or notice of a running statement go through the masks, as a computed column of that statement would.

use super::super::frame::{self, Body, Frame, Malformed};
use super::super::settings;
use super::judging::computed;
use super::pending::Pending;
use super::statements::Statement;
use super::{Relay, drift};
use crate::session::{Batch, Judged, Planned, SessionStop};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::sql::{Access, Column, Lineage, Source, StatementFacts};
use std::rc::Rc;

/// Said in place of words that cannot be shown.
const HIDDEN_WORDS: &str =
    "the database's message is withheld: it could quote values that are masked for you";

/// Fields whose text may quote values: message, detail, hint, context, internal query.
const QUOTING: &[u8] = b"MDHWq";

pub(super) type Words = Vec<(u8, Vec<u8>)>;

impl Relay<'_> {
    /// An error or notice as the client may see it.
    pub(super) async fn say_targets_words(&mut self, frame: Frame) {
        let bytes = self.target.input.bytes().get(..frame.total).unwrap_or_default();
        let words = read_words(bytes);
        let field =
            |wanted| words.iter().find(|(field, _)| *field == wanted).map(|(_, text)| text.as_slice());
        // A place in the text, with a class that is about syntax and names: it was analysed, and no row was read.
        let analysed = field(b'P').is_some() && field(b'C').is_some_and(|code| code.starts_with(b"42"));
        self.result.fatal |= matches!(field(b'V'), Some(b"FATAL" | b"PANIC"));
        let Some(judged) = self.running().filter(|_| !analysed && !self.result.hidden) else {
            return self.copy(frame.total);
        };
        match self.masked_words(&judged, words).await {
            None => self.copy(frame.total),
            Some(words) => {
                frame::message(&mut self.client.output.bytes, frame.kind, |out| {
                    for (field, text) in &words {
                        out.push(*field);
                        out.extend(text.iter().filter(|byte| **byte != 0));
                        out.push(0);
                    }
                    out.push(0);
                });
                self.drop_answer(frame);
            }
        }
    }

    /// What the target is working on. None: nothing that a client sent, so the target speaks for itself.
    pub(super) fn running(&self) -> Option<Rc<Judged>> {
        Some(match self.pending.front()? {
            Pending::Query(judged) => Rc::clone(judged),
            Pending::Execute { portal, .. } | Pending::DescribePortal(portal, ..) => {
                Rc::clone(&portal.statement.judged)
            }
            Pending::DescribeStatement(statement, _) | Pending::DescribeCopy { statement, .. } => {
                Rc::clone(&statement.judged)
            }
            Pending::Parse(_) => Rc::clone(&self.statements.oldest_in_flight()?.judged),
            Pending::Bind(_) => Rc::clone(&self.portals.oldest_in_flight()?.statement.judged),
            // The gateway's own question reads no row.
            Pending::AskReached { .. } => return None,
            // A deferred check at commit may quote what any statement of the transaction wrote.
            _ => Rc::clone(&Statement::unseen().judged),
        })
    }

    /// A notice may come at any time and answers nothing.
    pub(super) async fn notice(&mut self, frame: Frame) {
        self.say_targets_words(frame).await;
    }

    /// What words may quote besides what their statement reads. One that writes may fail with the whole row that it would
    /// have written (`Failing row contains …`); code that runs inside it may say anything.
    async fn quoted(&self, judged: &Judged, words: &Words) -> Lineage {
        let copies_in = |facts: &StatementFacts| facts.understood() && facts.is("copy.in");
        let mut quoted = Lineage::default();
        if !judged.statements.iter().any(copies_in) && words.iter().any(|(field, _)| *field == b'W') {
            quoted.unseen.push(Source::default());
        }
        for relation in judged.statements.iter().flat_map(|facts| &facts.relations) {
            if relation.access == Access::Write && self.session.has_masks() {
                let found = self.catalog.named(relation.schema.as_deref(), &relation.name).await;
                let columns = found.iter().flat_map(|relation| relation.visible());
                for (_, lineage) in columns {
                    quoted.reads.extend(lineage.origins.iter().chain(&lineage.reads).cloned());
                    quoted.unseen.extend(lineage.unseen.iter().cloned());
                }
            }
        }
        quoted
    }

    /// The words with their values masked; none when they may be shown as they are.
    async fn masked_words(&mut self, judged: &Judged, mut words: Words) -> Option<Words> {
        let quoting: Vec<usize> = words
            .iter()
            .enumerate()
            .filter(|(_, (field, _))| QUOTING.contains(field))
            .map(|(at, _)| at)
            .collect();
        let quoted = self.quoted(judged, &words).await;
        let columns = vec![Column { lineage: quoted, ..computed() }; quoting.len()];
        if let Planned::Show(plan) = self.plan(judged, &columns).await {
            let masked: Vec<usize> = plan.masked_columns().collect();
            if masked.is_empty() {
                return None;
            }
            let places: Vec<usize> =
                masked.iter().filter_map(|column| quoting.get(*column).copied()).collect();
            let batches = places
                .iter()
                .map(|place| {
                    let mut batch = Batch::new();
                    batch.push(words.get(*place).map(|(_, text)| text.as_slice()));
                    batch
                })
                .collect();
            if let Ok(values) = self.session.mask(judged.operation, &plan, batches).await {
                for (place, value) in places.iter().zip(&values) {
                    // Fails closed: a missing value leaves an empty text.
                    let value = value.value(0).flatten().unwrap_or_default().to_vec();
                    if let Some((_, text)) = words.get_mut(*place) {
                        *text = value;
                    }
                }
                return Some(words);
            }
        }
        words.retain(|(field, _)| *field == b'M' || !QUOTING.contains(field));
        for (field, text) in &mut words {
            if *field == b'M' {
                *text = HIDDEN_WORDS.into();
            }
        }
        Some(words)
    }

    /// A notification: nobody knows what its payload was made of.
    pub(super) async fn notification(&mut self, frame: Frame) -> Result<(), SessionStop> {
        let mut body = Body::of(self.target.input.bytes().get(..frame.total).unwrap_or_default());
        let read = (|| {
            let sender = body.u32()?;
            Ok((sender, body.zero_terminated()?.to_vec(), body.zero_terminated()?.is_empty()))
        })();
        let (sender, channel, empty) = read.map_err(|Malformed(what)| drift(what))?;
        let unknown = Rc::clone(&Statement::unseen().judged);
        let shown = empty
            || matches!(self.plan(&unknown, &[computed()]).await,
                Planned::Show(plan) if plan.passes_all());
        if shown || self.result.hidden {
            self.copy(frame.total);
            return Ok(());
        }
        frame::message(&mut self.client.output.bytes, b'A', |out| {
            out.extend_from_slice(&sender.to_be_bytes());
            out.extend_from_slice(&channel);
            out.extend_from_slice(&[0, 0]);
        });
        self.drop_answer(frame);
        Ok(())
    }

    /// Settings that change how statements are read: the checks read them in one way only. Fails closed.
    pub(super) fn watch_setting(&mut self, frame: Frame) -> Result<(), SessionStop> {
        let bytes = self.target.input.bytes().get(..frame.total).unwrap_or_default();
        match settings::misread(bytes).map_err(|Malformed(what)| drift(what))? {
            None => Ok(()),
            Some(name) => Err(SessionStop::Cut(
                Refusal::new(
                    RefusalCode::OperationRefused,
                    format!("{name} was changed, so the session was ended"),
                )
                .detail(settings::ONLY)
                .hint("Connect again and leave the setting as it is."),
            )),
        }
    }
}

pub(super) fn read_words(frame: &[u8]) -> Words {
    let mut body = Body::of(frame);
    let mut words = Vec::new();
    while let Ok(field) = body.u8() {
        let Ok(text) = body.zero_terminated() else { break };
        words.push((field, text.to_vec()));
    }
    words
}

/// The SQLSTATE of an error.
pub(super) fn error_code(frame: &[u8]) -> String {
    let words = read_words(frame);
    let code = words.iter().find(|(field, _)| *field == b'C');
    code.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}
