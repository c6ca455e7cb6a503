//! Events as values: what a recording holds, with the protocol's own bytes read.
//!
//! One pass, in order: what a prepared statement's columns are called was said when it was described, perhaps long
//! before its rows, so that is remembered. Where it cannot be known, columns are numbered rather than guessed.

use crate::protocol::postgres::render::{self, Answer, Answers, Bind, Column, Format, Value};
use crate::recorder::{Encoding, Event, EventKind, Part};
use serde_json::Value as Json;
use std::collections::{HashMap, VecDeque};

/// The longest body that is put together again, in bytes: twice the longest statement that a gateway judges.
const MAX_JOINED_BYTES: usize = 2 << 20;
/// Statements whose columns, formats and masks are remembered; then all are forgotten, and columns are numbered.
const MAX_REMEMBERED: usize = 4096;

/// An event, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) kind: EventKind,
    pub(crate) operation: u64,
    pub(crate) at_us: u64,
    /// Whether more of it follows.
    pub(crate) part: Part,
    pub(crate) body: Body,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// The gateway's own words.
    Json(Json),
    /// A statement, and how it came: `query`, `parse` or `function-call`.
    Statement { form: String, text: String },
    /// What was bound.
    Parameters(Bind),
    /// What the client was answered.
    Answers(Vec<Shown>),
    /// Bytes that are not read.
    Raw(Vec<u8>),
}

/// An answer, with its values read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Titles of the columns of the rows to come, and which of them are masked.
    Columns(Vec<Title>),
    /// A row. When nothing before it told its columns, its titles stand in front of it.
    Row(Vec<Value>),
    /// Everything else.
    Answer(Answer),
}

/// The title of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Title {
    pub(crate) name: String,
    pub(crate) masking: Masking,
}

/// Whether a mask covers a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Masking {
    Plain,
    Masked,
}

/// Reads events in their order.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    protocol: Option<String>,
    joined: Joined,
    answers: Answers,
    /// The operation whose answers were read last.
    answering: u64,
    /// Statements that were allowed to be prepared, in order, until the target says that they are.
    preparing: VecDeque<u64>,
    /// The statement that the next description is of.
    prepared: Option<u64>,
    /// The description that stands directly before its rows.
    columns: Option<Vec<Column>>,
    titled: bool,
    described: HashMap<u64, Vec<Column>>,
    formats: HashMap<u64, Vec<Format>>,
    masks: HashMap<u64, Vec<String>>,
    /// What an execution executes, and in which formats.
    running: HashMap<u64, (u64, Vec<Format>)>,
    /// The statement to be prepared that was not decided about yet.
    parsing: Option<u64>,
}

impl Decoder {
    /// Reads an event; None when its body goes on in the next one.
    pub(crate) fn read(&mut self, event: &Event) -> Option<Told> {
        self.joined.meet(event);
        let body = match (event.encoding, event.kind) {
            (Encoding::Json, _) => Body::Json(event.json().unwrap_or(Json::Null)),
            (Encoding::Raw, _) if self.protocol.as_deref() != Some("postgres") => {
                Body::Raw(event.body.clone())
            }
            (Encoding::Raw, EventKind::Operation | EventKind::Parameters) => {
                let whole = self.joined.take(event)?;
                match event.kind {
                    EventKind::Operation => match statement(&whole) {
                        Some((form, text)) => Body::Statement { form, text },
                        None => Body::Raw(whole),
                    },
                    _ => Body::Parameters(render::bind(&whole)),
                }
            }
            (Encoding::Raw, EventKind::Rows) => Body::Answers(self.answers(event.operation, &event.body)),
            (Encoding::Raw, _) => Body::Raw(event.body.clone()),
        };
        self.remember(event, &body);
        let Event { kind, operation, at_us, part, .. } = *event;
        Some(Told { kind, operation, at_us, part, body })
    }

    fn remember(&mut self, event: &Event, body: &Body) {
        let operation = event.operation;
        match (event.kind, body) {
            (EventKind::Head, Body::Json(head)) => {
                self.protocol = head.get("protocol").and_then(Json::as_str).map(str::to_owned);
            }
            (EventKind::Operation, Body::Statement { form, .. }) if form == "parse" => {
                self.parsing = Some(operation);
            }
            (EventKind::Decision, Body::Json(decision)) => {
                let prepares = self.parsing.take() == Some(operation);
                if prepares && decision.get("decision").and_then(Json::as_str) != Some("refuse") {
                    self.preparing.truncate(MAX_REMEMBERED);
                    self.preparing.push_back(operation);
                }
            }
            (EventKind::Parameters, Body::Parameters(bind)) => match &bind.results {
                Some(formats) => keep(&mut self.formats, operation, formats.clone()),
                None => drop(self.formats.remove(&operation)),
            },
            (EventKind::Execute, Body::Json(execute)) => {
                let of = execute.get("of").and_then(Json::as_u64).unwrap_or(operation);
                let formats = self.formats.get(&of).cloned().unwrap_or_default();
                keep(&mut self.running, operation, (of, formats));
            }
            (EventKind::Mask, Body::Json(mask)) => {
                let names = mask.get("columns").and_then(Json::as_array).into_iter().flatten();
                let names = names.filter_map(Json::as_str).map(str::to_owned).collect();
                keep(&mut self.masks, operation, names);
            }
            // Answers were left out: what comes next does not go on with the last message.
            (EventKind::Truncated, _) => drop(self.answers.abandon()),
            _ => {}
        }
    }

    fn answers(&mut self, operation: u64, bytes: &[u8]) -> Vec<Shown> {
        if self.answering != operation {
            self.answering = operation;
            self.titled = false;
            self.answers.abandon();
        }
        let (mut shown, mut answers) = (Vec::new(), std::mem::take(&mut self.answers));
        answers.push(bytes, &mut |answer| self.answer(operation, answer, &mut shown));
        self.answers = answers;
        shown
    }

    fn answer(&mut self, operation: u64, answer: Answer, shown: &mut Vec<Shown>) {
        match answer {
            Answer::Columns(columns) => {
                if let Some(statement) = self.prepared.take() {
                    keep(&mut self.described, statement, columns.clone());
                }
                self.columns = Some(columns);
                self.titled = false;
                return;
            }
            Answer::Row(values) => {
                if !self.titled {
                    self.titled = true;
                    shown.push(Shown::Columns(self.titles(operation, values.len())));
                }
                let formats = self.row_formats(operation);
                let value = |(index, value): (usize, &Option<Vec<u8>>)| {
                    Value::new(value.as_deref(), Format::at(&formats, index))
                };
                shown.push(Shown::Row(values.iter().enumerate().map(value).collect()));
                return;
            }
            Answer::Parsed => self.prepared = self.preparing.pop_front(),
            // Whatever was being prepared after it was skipped, and nothing tells how much that was.
            Answer::Error(_) => {
                self.preparing.clear();
                self.ended();
            }
            Answer::Ready => self.ended(),
            Answer::Complete(_) | Answer::Suspended => {
                // A statement without rows still shows that its result was empty.
                if !self.titled
                    && let Answer::Complete(tag) = &answer
                    && tag.starts_with("SELECT")
                    && self.columns.is_some()
                {
                    let count = self.columns.as_ref().map_or(0, Vec::len);
                    shown.push(Shown::Columns(self.titles(operation, count)));
                }
                self.ended();
                if !self.running.contains_key(&operation) {
                    self.masks.remove(&operation);
                }
            }
            _ => {}
        }
        shown.push(Shown::Answer(answer));
    }

    fn ended(&mut self) {
        self.columns = None;
        self.prepared = None;
        self.titled = false;
    }

    fn statement_of(&self, operation: u64) -> u64 {
        self.running.get(&operation).map_or(operation, |(of, _)| *of)
    }

    fn row_formats(&self, operation: u64) -> Vec<Format> {
        match (self.running.get(&operation), &self.columns) {
            (Some((_, formats)), _) => formats.clone(),
            (None, Some(columns)) => columns.iter().map(|column| column.format).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Titles for rows of `count` values. A description that does not fit is not theirs.
    fn titles(&self, operation: u64, count: usize) -> Vec<Title> {
        let statement = self.statement_of(operation);
        let known = self.columns.as_ref().or_else(|| self.described.get(&statement));
        let known = known.filter(|columns| columns.len() == count);
        let masked = self.masks.get(&statement);
        let title = |index: usize| {
            let name = known.and_then(|columns| columns.get(index)).map(|column| column.name.clone());
            let name = name.unwrap_or_else(|| format!("column {}", index + 1));
            let covered = masked.is_some_and(|masked| masked.contains(&name));
            Title { name, masking: if covered { Masking::Masked } else { Masking::Plain } }
        };
        (0..count).map(title).collect()
    }
}

fn keep<T>(map: &mut HashMap<u64, T>, operation: u64, value: T) {
    if map.len() >= MAX_REMEMBERED {
        map.clear();
    }
    map.insert(operation, value);
}

/// Puts bodies together that are cut into several events.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// The parts so far.
    parts: Vec<u8>,
    /// Whose parts these are.
    whose: Option<(EventKind, u64)>,
}

impl Joined {
    /// Looks at each event: a crash may have cut a body between its parts.
    pub(super) fn meet(&mut self, event: &Event) {
        let whose = Some((event.kind, event.operation));
        if self.whose != whose {
            self.parts.clear();
            self.whose = whose;
        }
    }

    /// Takes a part; the body when this was its last.
    pub(super) fn take(&mut self, event: &Event) -> Option<Vec<u8>> {
        let room = MAX_JOINED_BYTES.saturating_sub(self.parts.len());
        self.parts.extend(event.body.iter().take(room));
        (event.part == Part::Last).then(|| std::mem::take(&mut self.parts))
    }
}

/// How a statement came, and its text.
pub(super) fn statement(body: &[u8]) -> Option<(String, String)> {
    let at = body.iter().position(|byte| *byte == 0)?;
    let (form, text) = body.split_at_checked(at)?;
    let text = text.get(1..).unwrap_or_default();
    Some((String::from_utf8_lossy(form).into_owned(), String::from_utf8_lossy(text).into_owned()))
}
