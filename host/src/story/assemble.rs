//! Events put together to operations.
//!
//! An operation's events are spread over the recording: a statement is prepared, and runs a thousand operations later;
//! answers come while the next are being judged. So operations are kept until a later one was answered: a target answers in
//! order, so nothing more comes of those before it. Then they are *settled*. Prepared ones are kept beyond that, because each
//! execution is an operation of its own that needs the text and the decision.
//!
//! What is kept is bounded by [`MAX_LIVE`], [`MAX_PREPARED`] and [`MAX_KEPT_BYTES`], whatever a recording says: over it the
//! oldest counts as settled, and what comes later about it is not told. Every list and text has a bound of its own. Two
//! portals of one statement that are bound before either runs cannot be told apart: the parameters are then the later ones.

use super::decode::{Joined, statement};
use super::operation::{Operation, Parameters};
use super::said::{MAX_WORD, body, said};
use crate::protocol::postgres::render::{self, cut};
use crate::recorder::{Encoding, Event, EventKind, Opening, SessionEnd};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The longest text of an operation that is kept, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Operations that may wait for their answer: as many as a relay lets wait.
pub const MAX_LIVE: usize = 16 * 1024;
/// Prepared operations that are kept for those that execute them.
pub const MAX_PREPARED: usize = 4096;
/// Bytes of text that are kept of each of the two.
pub const MAX_KEPT_BYTES: usize = 4 << 20;
/// Parameters that are kept of one operation.
const MAX_VALUES: usize = 64;
/// Characters of a parameter.
const MAX_VALUE: usize = 256;

/// Puts the events of one recording together, in their order.
#[derive(Debug, Default)]
pub struct Assembler {
    opening: Option<Opening>,
    joined: Joined,
    live: Kept,
    prepared: Kept,
    settled: Vec<Operation>,
    end: Option<SessionEnd>,
    over: bool,
}

/// Operations that may still change, with what they weigh.
#[derive(Debug, Default)]
struct Kept {
    operations: BTreeMap<u64, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    operation: Operation,
    /// Whether it was handed out as it is now.
    told: bool,
    /// Bound for the next execution.
    bound: Option<Parameters>,
}

impl Entry {
    fn new(operation: Operation) -> Self {
        Entry { operation, told: false, bound: None }
    }
}

impl Kept {
    fn insert(&mut self, entry: Entry) {
        self.bytes += entry.operation.text.len();
        if let Some(old) = self.operations.insert(entry.operation.number, entry) {
            // Only a forged recording has a number twice.
            self.bytes = self.bytes.saturating_sub(old.operation.text.len());
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let (_, entry) = self.operations.pop_first()?;
        self.bytes = self.bytes.saturating_sub(entry.operation.text.len());
        Some(entry)
    }

    fn is_over(&self, most: usize) -> bool {
        self.operations.len() > most || self.bytes > MAX_KEPT_BYTES
    }
}

impl Assembler {
    /// What the head said; None before it, and when it cannot be read.
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }

    /// What the end said; None before it, and when it cannot be read.
    pub fn end(&self) -> Option<&SessionEnd> {
        self.end.as_ref()
    }

    /// Whether the session's end was seen.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Takes the next event. Take what is settled out between events: it is kept until then.
    pub fn read(&mut self, event: &Event) {
        self.joined.meet(event);
        match (event.encoding, event.kind) {
            (Encoding::Raw, EventKind::Operation) => self.begins(event),
            (Encoding::Raw, EventKind::Parameters) => self.binds(event),
            (Encoding::Raw, kind) => self.data(event, kind),
            (Encoding::Json, EventKind::Head) if event.operation == 0 => self.opening = body(event),
            (Encoding::Json, EventKind::End) => {
                self.end = body(event);
                self.finish();
            }
            (Encoding::Json, EventKind::Execute) => self.executes(event),
            (Encoding::Json, kind) => {
                if matches!(kind, EventKind::Result | EventKind::Error | EventKind::Refusal) {
                    self.settle_before(event.operation);
                }
                if let Some(entry) = self.entry(event.operation) {
                    entry.told = false;
                    said(&mut entry.operation, event);
                }
            }
        }
        while self.live.is_over(MAX_LIVE) {
            self.settle_first();
        }
        while self.prepared.is_over(MAX_PREPARED) {
            self.prepared.pop();
        }
    }

    /// Nothing comes any more: all are settled.
    pub fn finish(&mut self) {
        self.over = true;
        while !self.live.operations.is_empty() {
            self.settle_first();
        }
    }

    /// Operations that were settled since the last call, each once.
    pub fn settled(&mut self) -> Vec<Operation> {
        std::mem::take(&mut self.settled)
    }

    /// Operations of which more is known than at the last call, settled or not: the newer one replaces the one before.
    pub fn changed(&mut self) -> Vec<Operation> {
        let mut changed = self.settled();
        let kept = self.live.operations.values_mut().chain(self.prepared.operations.values_mut());
        for entry in kept.filter(|entry| !entry.told) {
            entry.told = true;
            changed.push(entry.operation.clone());
        }
        changed
    }

    /// Operations that wait for their answer, as they are.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Operation> {
        self.live.operations.values().map(|entry| &entry.operation)
    }

    /// Bytes of text that are kept, of live and of prepared operations.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.live.bytes, self.prepared.bytes)
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        // An unknown one was settled before its time: a stub would take the place of what is known.
        match self.live.operations.get_mut(&number) {
            Some(entry) => Some(entry),
            None => self.prepared.operations.get_mut(&number),
        }
    }

    fn settle_before(&mut self, number: u64) {
        while self.live.operations.first_key_value().is_some_and(|(first, _)| *first < number) {
            self.settle_first();
        }
    }

    fn settle_first(&mut self) {
        let Some(mut entry) = self.live.pop() else { return };
        entry.operation.settled = true;
        self.settled.push(entry.operation.clone());
        if entry.operation.form == "parse" {
            entry.told = true;
            self.prepared.insert(entry);
        }
    }

    fn begins(&mut self, event: &Event) {
        let Some(whole) = self.joined.take(event) else { return };
        let Some((form, text)) = statement(&whole) else { return };
        let operation = Operation {
            number: event.operation,
            at_us: event.at_us,
            form: cut(&form, MAX_WORD),
            text_bytes: text.len() as u64,
            text: head_of(text),
            ..Operation::default()
        };
        self.live.insert(Entry::new(operation));
    }

    fn binds(&mut self, event: &Event) {
        let Some(whole) = self.joined.take(event) else { return };
        let bind = render::bind(&whole);
        let value = |value: &render::Value| match value {
            render::Value::Null => Json::Null,
            render::Value::Text(text) => cut(text, MAX_VALUE).into(),
            bytes @ render::Value::Binary(_) => serde_json::json!({ "hex": bytes.show(MAX_VALUE) }),
        };
        let values = bind.values.iter().take(MAX_VALUES).map(value).collect();
        let parameters = Parameters { values, count: bind.count as u64 };
        if let Some(entry) = self.entry(event.operation) {
            entry.bound = Some(parameters.clone());
            // The statement itself shows what was bound last, for one that is held or refused and never runs.
            entry.operation.parameters = Some(parameters);
            entry.told = false;
        }
    }

    fn executes(&mut self, event: &Event) {
        #[derive(Deserialize)]
        struct Executed {
            of: Option<u64>,
        }
        let of = body::<Executed>(event).and_then(|body| body.of).unwrap_or(0);
        let mut operation = Operation {
            number: event.operation,
            of: Some(of),
            at_us: event.at_us,
            form: "execute".into(),
            ..Operation::default()
        };
        if let Some(entry) = self.entry(of) {
            entry.told = false;
            entry.operation.executions += 1;
            let known = &entry.operation;
            operation = Operation {
                nth: known.executions,
                text: known.text.clone(),
                text_bytes: known.text_bytes,
                parameters: entry.bound.take(),
                decision: known.decision.clone(),
                classes: known.classes.clone(),
                tables: known.tables.clone(),
                hold: known.hold.clone(),
                masked_columns: known.masked_columns.clone(),
                ..operation
            };
        }
        self.live.insert(Entry::new(operation));
    }

    /// Bytes of rows and copied data are counted. That answers come says that those before are answered.
    fn data(&mut self, event: &Event, kind: EventKind) {
        let answers = matches!(kind, EventKind::Rows | EventKind::CopyOut);
        if answers {
            self.settle_before(event.operation);
        }
        let bytes = event.body.len() as u64;
        let Some(entry) = self.entry(event.operation).filter(|_| answers || kind == EventKind::CopyIn) else {
            return;
        };
        entry.told = false;
        let total = match answers {
            true => &mut entry.operation.answered_bytes,
            false => &mut entry.operation.uploaded_bytes,
        };
        *total = total.saturating_add(bytes);
    }
}

/// The operations of a recording, each when it is settled; then what stopped the events, if anything did.
pub fn operations<E, I: Iterator<Item = Result<Event, E>>>(events: I) -> Operations<I> {
    Operations { events, assembler: Assembler::default(), ready: Vec::new().into_iter(), ended: false }
}

/// See [`operations`].
#[derive(Debug)]
pub struct Operations<I> {
    events: I,
    assembler: Assembler,
    ready: std::vec::IntoIter<Operation>,
    ended: bool,
}

impl<I> Operations<I> {
    /// What the head said, once it was read.
    pub fn opening(&self) -> Option<&Opening> {
        self.assembler.opening()
    }
}

impl<E, I: Iterator<Item = Result<Event, E>>> Iterator for Operations<I> {
    type Item = Result<Operation, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(operation) = self.ready.next() {
                return Some(Ok(operation));
            }
            if self.ended {
                return None;
            }
            match self.events.next() {
                Some(Ok(event)) => self.assembler.read(&event),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.ended = true;
                    self.assembler.finish();
                }
            }
            self.ready = self.assembler.settled().into_iter();
        }
    }
}

/// A text's beginning, cut between two characters.
fn head_of(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    text
}
