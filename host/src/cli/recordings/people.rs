//! Events for people: a session told in the order in which it happened.
//!
//! Everything that is shown came from an agent, a target or a file: every text is cleaned before it is printed. A
//! result is shown when it is complete, at most [`MAX_ROWS`] rows of it: the rest is in the recording.

use super::lines::letter;
use super::words::{
    BOLD, DIM, MAX_VALUE, RED, counted, decision, end, fault, head, hold, masked, outcome, parameters,
    refusal, resolved, took, truncated, words,
};
use crate::cli::print::clean;
use crate::protocol::postgres::render::{Answer, Value, cut};
use crate::recorder::{EventKind, Part};
use crate::story::{Body, Masking, Shown, Title, Told};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::fmt::Write;

/// Rows of a result that are shown.
const MAX_ROWS: usize = 50;
/// Characters of a statement, and of one line of copied data.
const MAX_TEXT: usize = 16 * 1024;
/// Holds whose beginning is remembered; an operation waits alone, so more never resolve.
const MAX_HELD: usize = 1024;
/// Columns in front of what is told: the time.
const INDENT: usize = 12;

/// Tells a session.
#[derive(Debug, Default)]
pub(super) struct Teller {
    titles: Vec<Title>,
    rows: Vec<Vec<Value>>,
    /// Rows of the current result, also those that are not shown.
    count: u64,
    copied_bytes: u64,
    /// What a Result event said whose last answers are still to come.
    result: Option<(u64, Json)>,
    /// When an operation began to wait.
    held: HashMap<u64, u64>,
    /// What the client was told last, so that its copy among the answers is not shown again.
    told: String,
    uploading: u64,
}

impl Teller {
    /// What there is to say about an event; often nothing.
    pub(super) fn tell(&mut self, told: &Told) -> String {
        let mut out = String::new();
        if told.kind != EventKind::Rows {
            self.settle(told.at_us, &mut out);
        }
        match &told.body {
            Body::Json(body) => self.said(told, body, &mut out),
            Body::Statement { form, text } => {
                let lines = lines_of(if text.is_empty() { "(empty)" } else { text });
                // A statement of several lines begins on its own, so that its layout stays.
                let form = match (form.as_str(), lines.contains('\n')) {
                    ("query", false) => String::new(),
                    (form, false) => format!("{} ", clean(form)),
                    (form, true) => format!("{}\n", clean(form)),
                };
                entry(&mut out, told, &format!("{form}{BOLD}{lines}{BOLD:#}"));
            }
            Body::Parameters(bind) => entry(&mut out, told, &parameters(bind)),
            Body::Answers(answers) => self.answered(told, answers, &mut out),
            Body::Raw(bytes) => self.raw(told, bytes, &mut out),
        }
        out
    }

    /// What is left to say when the events end.
    pub(super) fn finish(&mut self, at_us: u64) -> String {
        let mut out = String::new();
        self.settle(at_us, &mut out);
        self.table(&mut out, at_us, None);
        out
    }

    /// A result whose last answers were left out is told with what there is.
    fn settle(&mut self, at_us: u64, out: &mut String) {
        if let Some((operation, result)) = self.result.take() {
            self.table(out, at_us, Some((operation, &result)));
        }
    }

    fn raw(&mut self, told: &Told, bytes: &[u8], out: &mut String) {
        if told.kind == EventKind::CopyIn {
            if self.uploading != told.operation {
                self.uploading = told.operation;
                entry(out, told, "sends data:");
            }
            let text = String::from_utf8_lossy(bytes);
            for line in text.lines().take(MAX_ROWS) {
                let _ = writeln!(out, "{:INDENT$}{}", "", clean(&cut(line, MAX_VALUE * 2)));
            }
            return;
        }
        entry(out, told, &format!("{} ({} bytes)", told.kind.as_str(), bytes.len()));
    }

    fn answered(&mut self, told: &Told, answers: &[Shown], out: &mut String) {
        for shown in answers {
            match shown {
                Shown::Columns(titles) => self.titles.clone_from(titles),
                Shown::Row(values) => {
                    self.count += 1;
                    if self.rows.len() < MAX_ROWS {
                        self.rows.push(values.clone());
                    }
                }
                Shown::Answer(answer) => self.answer(told, answer, out),
            }
        }
        if told.part == Part::Last {
            self.settle(told.at_us, out);
        }
    }

    fn answer(&mut self, told: &Told, answer: &Answer, out: &mut String) {
        match answer {
            Answer::Complete(_) | Answer::Suspended => {
                let result = self.result.take();
                let known = result.as_ref().map(|(operation, result)| (*operation, result));
                self.table(out, told.at_us, known);
                if *answer == Answer::Suspended {
                    entry(out, told, "more rows were not fetched");
                }
            }
            Answer::Error(report) => {
                self.table(out, told.at_us, None);
                // A refusal was told already, in the gateway's own words.
                if report.message == self.told {
                    self.told.clear();
                } else {
                    entry(out, told, &format!("{RED}{}{RED:#}", words(report)));
                }
            }
            Answer::Notice(report) => entry(out, told, &words(report)),
            Answer::Copied(bytes) => {
                self.copied_bytes += bytes.len() as u64;
                self.count += 1;
                if self.rows.len() < MAX_ROWS {
                    let text = String::from_utf8_lossy(bytes);
                    self.rows.push(vec![Value::Text(text.trim_end_matches('\n').to_owned())]);
                }
            }
            Answer::Notified { channel, payload } => {
                entry(out, told, &format!("notification on {}: {}", clean(channel), clean(payload)));
            }
            Answer::TooLong { kind, bytes } => {
                entry(out, told, &format!("a message {} of {bytes} bytes, not shown", letter(*kind)));
            }
            Answer::Unreadable { kind } => {
                entry(out, told, &format!("a message {} that cannot be read", letter(*kind)));
            }
            _ => {}
        }
    }

    /// The rows so far, and how the operation came out.
    fn table(&mut self, out: &mut String, at_us: u64, result: Option<(u64, &Json)>) {
        let (titles, rows) = (std::mem::take(&mut self.titles), std::mem::take(&mut self.rows));
        let (count, copied) = (std::mem::take(&mut self.count), std::mem::take(&mut self.copied_bytes));
        if !titles.is_empty() {
            let mut table = Table::new();
            table
                .load_style(presets::UTF8_FULL_CONDENSED)
                .set_content_arrangement(ContentArrangement::Dynamic);
            if let Some(width) = table.width() {
                table.set_width(width.saturating_sub(u16::try_from(INDENT).unwrap_or(0)).max(20));
            }
            table.set_header(titles.iter().map(|title| match title.masking {
                Masking::Plain => clean(&cut(&title.name, MAX_VALUE)),
                Masking::Masked => format!("{} (masked)", clean(&cut(&title.name, MAX_VALUE))),
            }));
            for row in &rows {
                table.add_row(row.iter().map(|value| clean(&value.show(MAX_VALUE))));
            }
            indented(out, &table.to_string());
        } else {
            // Copied data: a line each.
            for value in rows.iter().flatten() {
                let _ = writeln!(out, "{:INDENT$}{}", "", clean(&value.show(MAX_VALUE * 2)));
            }
        }
        let hidden = count.saturating_sub(rows.len() as u64);
        if hidden > 0 {
            let _ = writeln!(out, "{:INDENT$}{DIM}… and {hidden} more{DIM:#}", "");
        }
        match result {
            Some((operation, result)) => {
                let text = outcome(result, copied);
                at(out, at_us, operation, &format!("{DIM}{text}{DIM:#}"));
            }
            None if count > 0 => {
                let _ = writeln!(out, "{:INDENT$}{DIM}{} until here{DIM:#}", "", counted(count, "row"));
            }
            None => {}
        }
    }

    fn said(&mut self, told: &Told, body: &Json, out: &mut String) {
        match told.kind {
            EventKind::Head => out.push_str(&head(body)),
            EventKind::Decision => {
                let decision = decision(body);
                if let Some(message) = body.pointer("/refusal/message").and_then(Json::as_str) {
                    message.clone_into(&mut self.told);
                }
                entry(out, told, &decision);
            }
            EventKind::Refusal => {
                let message = body.pointer("/message").and_then(Json::as_str).unwrap_or_default();
                if message != self.told {
                    message.clone_into(&mut self.told);
                    entry(out, told, &refusal("REFUSED", body));
                }
            }
            EventKind::Execute => {
                let of = body.pointer("/of").and_then(Json::as_u64).unwrap_or(0);
                entry(out, told, &format!("runs #{of}"));
            }
            EventKind::Result => self.result = Some((told.operation, body.clone())),
            EventKind::Mask => entry(out, told, &masked(body)),
            // The answer that follows has the words.
            EventKind::Error => {}
            EventKind::Hold => {
                if self.held.len() < MAX_HELD {
                    self.held.insert(told.operation, told.at_us);
                }
                entry(out, told, &hold(body));
            }
            EventKind::HoldResolved => {
                let since = self.held.remove(&told.operation);
                let after = since.map(|since| took(told.at_us.saturating_sub(since)));
                entry(out, told, &resolved(body, after.as_deref()));
            }
            EventKind::Fault => entry(out, told, &fault(body)),
            EventKind::Truncated => entry(out, told, &truncated(body)),
            EventKind::End => {
                self.table(out, told.at_us, None);
                at(out, told.at_us, 0, &end(body));
            }
            kind => {
                let body = clean(&cut(&body.to_string(), MAX_VALUE * 4));
                entry(out, told, &format!("{}: {body}", kind.as_str()));
            }
        }
    }
}

/// A statement's lines, cleaned one by one, so that its own layout stays. Tabs are made narrow.
fn lines_of(text: &str) -> String {
    let text = cut(text.trim_end(), MAX_TEXT);
    let lines: Vec<String> = text.lines().map(|line| clean(&line.replace('\t', "    "))).collect();
    lines.join("\n")
}

fn entry(out: &mut String, told: &Told, text: &str) {
    at(out, told.at_us, told.operation, text);
}

/// One entry: the time, the operation, the text; later lines stand below the first.
fn at(out: &mut String, at_us: u64, operation: u64, text: &str) {
    let time = clock(at_us);
    let number = if operation == 0 { String::new() } else { format!("{DIM}#{operation}{DIM:#} ") };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let _ = writeln!(out, "{DIM}{time:<INDENT$}{DIM:#}{number}{first}");
    indented(out, rest);
}

fn indented(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "{:INDENT$}{line}", "");
    }
}

/// `+01:02.345` since the start, with hours when there are any.
fn clock(at_us: u64) -> String {
    let (millis, seconds) = (at_us / 1000 % 1000, at_us / 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("+{minutes:02}:{seconds:02}.{millis:03}"),
        _ => format!("+{hours}:{minutes:02}:{seconds:02}.{millis:03}"),
    }
}
