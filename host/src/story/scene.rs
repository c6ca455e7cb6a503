//! Whole operations with what was answered: a recording as a page shows it, in order and a part at a time.
//!
//! Each event goes through both readings of the module: the assembler says what an operation is and when nothing more comes of
//! it, the decoder gives the rows. Of those the first are kept, cut, as many as a person looks at; all are counted.
//!
//! What may go wrong: a recording may be anybody's work. What is kept is bounded for each result, for each operation and for all
//! that have not ended ([`MAX_OPEN_BYTES`]); over it, rows are counted and not kept, and the scene says so.

use super::assemble::{Assembler, MAX_LIVE};
use super::decode::{Body, Decoder, Shown, Title, Told};
use super::operation::Operation;
use crate::protocol::postgres::render::{Answer, Report, Value, cut};
use crate::recorder::{Event, EventKind, Opening, SessionEnd};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Rows of one result that are kept.
pub(crate) const MAX_ROWS: usize = 20;
/// Columns of one result that are kept.
pub(crate) const MAX_COLUMNS: usize = 32;
/// Characters of one value.
const MAX_CELL: usize = 160;
/// Characters of a line: of copied data, or of the target's words.
const MAX_LINE: usize = 400;
/// Results, errors and notices of one operation that are kept.
const MAX_ANSWERS: usize = 16;
/// Bytes that are kept of all operations that have not ended. Only the one that is being answered has any, unless somebody made it up.
const MAX_OPEN_BYTES: usize = 1 << 20;
/// Bytes of a session's own event.
const MAX_ASIDE_BYTES: usize = 4096;

/// What happened, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scene {
    /// An operation.
    Operation(Box<Act>),
    /// Something about the session itself.
    Aside { at_us: u64, kind: EventKind, body: Json },
}

/// An operation with its answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Act {
    pub(crate) operation: Operation,
    pub(crate) answers: Vec<Answered>,
    /// Results, errors and notices that are not kept.
    pub(crate) left_out: u64,
    /// When the last of it came.
    pub(crate) until_us: u64,
    /// Bytes of what is kept of it, about.
    pub(crate) bytes: usize,
}

/// One thing that the client was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answered {
    /// Rows.
    Table {
        titles: Vec<Title>,
        columns: usize,
        rows: Vec<Vec<Value>>,
        count: u64,
    },
    /// Copied data, a line each.
    Copied {
        lines: Vec<String>,
        count: u64,
    },
    /// The target's error, or the gateway's refusal in the target's form.
    Error(Report),
    Notice(Report),
    Notification {
        channel: String,
        payload: String,
    },
    /// What cannot be shown, in words.
    Unshown(String),
}

/// Puts events together to scenes.
#[derive(Debug, Default)]
pub(crate) struct Scenes {
    assembler: Assembler,
    decoder: Decoder,
    open: BTreeMap<u64, Open>,
    /// Bytes of `open`.
    bytes: usize,
    /// Numbers up to this one have been handed out.
    settled_to: u64,
    ready: Vec<Scene>,
    end: Option<SessionEnd>,
}

#[derive(Debug, Default)]
struct Open {
    answers: Vec<Answered>,
    left_out: u64,
    until_us: u64,
    bytes: usize,
    /// Whether rows go on with the table that is last.
    goes_on: bool,
}

impl Scenes {
    /// What the head said.
    pub(crate) fn opening(&self) -> Option<&Opening> {
        self.assembler.opening()
    }

    /// How the session ended, once that was read.
    pub(crate) fn end(&self) -> Option<&SessionEnd> {
        self.end.as_ref()
    }

    /// Takes the next event.
    pub(crate) fn read(&mut self, event: &Event) {
        self.assembler.read(event);
        self.settle();
        let told = self.decoder.read(event);
        if event.operation == 0 {
            if let Some(Told { kind, at_us, body: Body::Json(body), .. }) = told {
                self.aside(kind, at_us, body, event.body.len());
            }
            return;
        }
        if event.operation <= self.settled_to {
            return;
        }
        let open = self.open.entry(event.operation).or_default();
        open.until_us = open.until_us.max(event.at_us);
        if let Some(Told { body: Body::Answers(shown), .. }) = told {
            let before = open.bytes;
            let room = MAX_OPEN_BYTES.saturating_sub(self.bytes);
            shown.into_iter().for_each(|one| open.take(one, room));
            self.bytes = self.bytes.saturating_add(open.bytes.saturating_sub(before));
        }
    }

    /// Nothing comes any more.
    pub(crate) fn finish(&mut self) {
        self.assembler.finish();
        self.settle();
    }

    /// Scenes that are whole, each once.
    pub(crate) fn take(&mut self) -> Vec<Scene> {
        std::mem::take(&mut self.ready)
    }

    /// Operations of which more may come, as they are.
    pub(crate) fn unsettled(&self) -> Vec<Act> {
        let act = |operation: &Operation| {
            let open = self.open.get(&operation.number);
            let answers = open.map(|open| open.answers.clone()).unwrap_or_default();
            let left_out = open.map_or(0, |open| open.left_out);
            let until_us = open.map_or(operation.at_us, |open| open.until_us);
            let bytes = open.map_or(0, |open| open.bytes).saturating_add(operation.text.len());
            Act { operation: operation.clone(), answers, left_out, until_us, bytes }
        };
        self.assembler.live().map(act).collect()
    }

    fn settle(&mut self) {
        for operation in self.assembler.settled() {
            self.settled_to = self.settled_to.max(operation.number);
            let open = self.open.remove(&operation.number).unwrap_or_default();
            self.bytes = self.bytes.saturating_sub(open.bytes);
            let Open { answers, left_out, until_us, bytes, .. } = open;
            let (until_us, bytes) =
                (until_us.max(operation.at_us), bytes.saturating_add(operation.text.len()));
            let act = Act { operation, answers, left_out, until_us, bytes };
            self.ready.push(Scene::Operation(Box::new(act)));
        }
        // Answers of what no event began: a made-up recording alone has them.
        let is_over = |open: &BTreeMap<u64, Open>| {
            open.len() > MAX_LIVE
                || open.first_key_value().is_some_and(|(number, _)| *number <= self.settled_to)
        };
        while is_over(&self.open)
            && let Some((_, open)) = self.open.pop_first()
        {
            self.bytes = self.bytes.saturating_sub(open.bytes);
        }
    }

    fn aside(&mut self, kind: EventKind, at_us: u64, body: Json, bytes: usize) {
        match kind {
            EventKind::Head => {}
            EventKind::End => self.end = serde_json::from_value(body).ok(),
            _ => {
                let body = if bytes > MAX_ASIDE_BYTES { Json::Null } else { body };
                self.ready.push(Scene::Aside { at_us, kind, body });
            }
        }
    }
}

impl Open {
    fn take(&mut self, shown: Shown, room: usize) {
        match shown {
            Shown::Columns(titles) => {
                self.goes_on = false;
                let columns = titles.len();
                let titles: Vec<Title> = titles.into_iter().take(MAX_COLUMNS).map(short).collect();
                let bytes = titles.iter().map(|title| title.name.len()).sum();
                let table = Answered::Table { titles, columns, rows: Vec::new(), count: 0 };
                self.goes_on = self.add(table, bytes, room);
            }
            Shown::Row(values) => self.row(values, room),
            Shown::Answer(answer) => self.answer(answer, room),
        }
    }

    fn row(&mut self, values: Vec<Value>, room: usize) {
        let Some(Answered::Table { rows, count, .. }) = self.answers.last_mut().filter(|_| self.goes_on)
        else {
            return;
        };
        *count += 1;
        if rows.len() < MAX_ROWS && self.bytes < room {
            let row: Vec<Value> = values.into_iter().take(MAX_COLUMNS).map(cell).collect();
            self.bytes += row.iter().map(weight).sum::<usize>();
            rows.push(row);
        }
    }

    fn answer(&mut self, answer: Answer, room: usize) {
        match answer {
            Answer::Complete(_) | Answer::Suspended => self.goes_on = false,
            Answer::Error(report) => self.report(report, room, Answered::Error),
            Answer::Notice(report) => self.report(report, room, Answered::Notice),
            Answer::Copied(bytes) => self.copied(&bytes, room),
            Answer::Notified { channel, payload } => {
                let (channel, payload) = (cut(&channel, MAX_LINE), cut(&payload, MAX_LINE));
                let bytes = channel.len() + payload.len();
                self.add(Answered::Notification { channel, payload }, bytes, room);
            }
            Answer::TooLong { bytes, .. } => {
                self.unshown(format!("a message of {bytes} bytes"), room);
            }
            Answer::Unreadable { .. } => self.unshown("a message that cannot be read".into(), room),
            _ => {}
        }
    }

    fn unshown(&mut self, what: String, room: usize) {
        let bytes = what.len();
        self.add(Answered::Unshown(what), bytes, room);
    }

    fn report(&mut self, report: Report, room: usize, answered: fn(Report) -> Answered) {
        let Report { severity, sqlstate, message, detail, hint } = report;
        let [severity, sqlstate, message, detail, hint] =
            [severity, sqlstate, message, detail, hint].map(|text| cut(&text, MAX_LINE));
        let report = Report { severity, sqlstate, message, detail, hint };
        let bytes = report.message.len() + report.detail.len() + report.hint.len();
        self.add(answered(report), bytes, room);
    }

    fn copied(&mut self, bytes: &[u8], room: usize) {
        if !matches!(self.answers.last(), Some(Answered::Copied { .. }))
            && !self.add(Answered::Copied { lines: Vec::new(), count: 0 }, 0, room)
        {
            return;
        }
        let Some(Answered::Copied { lines, count }) = self.answers.last_mut() else { return };
        *count += 1;
        if lines.len() < MAX_ROWS && self.bytes < room {
            let begin = bytes.get(..MAX_LINE * 4).unwrap_or(bytes);
            let line = cut(String::from_utf8_lossy(begin).trim_end_matches('\n'), MAX_LINE);
            self.bytes += line.len();
            lines.push(line);
        }
    }

    /// Whether there was room for it.
    fn add(&mut self, answered: Answered, bytes: usize, room: usize) -> bool {
        let fits = self.answers.len() < MAX_ANSWERS && self.bytes < room;
        if fits {
            self.bytes += bytes;
            self.answers.push(answered);
        } else {
            self.left_out += 1;
        }
        fits
    }
}

fn short(title: Title) -> Title {
    Title { name: cut(&title.name, MAX_CELL), masking: title.masking }
}

fn cell(value: Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Text(text) => Value::Text(cut(&text, MAX_CELL)),
        Value::Binary(mut bytes) => {
            bytes.truncate(MAX_CELL);
            bytes.shrink_to_fit();
            Value::Binary(bytes)
        }
    }
}

fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null => 0,
            Value::Text(text) => text.len(),
            Value::Binary(bytes) => bytes.len(),
        }
}
