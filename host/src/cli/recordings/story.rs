//! Events for people: a session told in the order in which it happened.
//!
//! Everything that is shown came from an agent, a target or a file: every text is cleaned before it is printed. A
//! result is shown when it is complete, at most [`MAX_ROWS`] rows of it: the rest is in the recording.

use super::decode::{Body, Masking, Shown, Title, Told};
use super::lines::letter;
use crate::cli::print::clean;
use crate::protocol::postgres::render::{Answer, Bind, Report, Value, cut};
use crate::recorder::{EventKind, Opening, Part, SessionEnd};
use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value as Json;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

/// Rows of a result that are shown.
const MAX_ROWS: usize = 50;
/// Characters of a value that are shown.
const MAX_VALUE: usize = 60;
/// Characters of a statement, and of one line of copied data.
const MAX_TEXT: usize = 16 * 1024;
/// Parameters that are shown of one Bind.
const MAX_PARAMETERS: usize = 32;
/// Columns in front of what is told: the time.
const INDENT: usize = 12;

const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Tells a session.
#[derive(Debug, Default)]
pub(super) struct Story {
    titles: Vec<Title>,
    rows: VecDeque<Vec<Value>>,
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

impl Story {
    /// What there is to say about an event; often nothing.
    pub(super) fn tell(&mut self, told: &Told) -> String {
        let mut out = String::new();
        if told.kind != EventKind::Rows {
            self.settle(told.at_us, &mut out);
        }
        match &told.body {
            Body::Json(body) => self.said(told, body, &mut out),
            Body::Statement { form, text } => {
                let form = if form == "query" { String::new() } else { format!("{form} ") };
                let text = if text.is_empty() { "(empty)" } else { text };
                let lines = lines_of(text);
                entry(&mut out, told, &format!("{DIM}{}{DIM:#}{BOLD}{lines}{BOLD:#}", clean(&form)));
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
                        self.rows.push_back(values.clone());
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
                if report.message != self.told {
                    entry(out, told, &format!("{RED}{}{RED:#}", words(report)));
                }
            }
            Answer::Notice(report) => entry(out, told, &words(report)),
            Answer::Copied(bytes) => {
                self.copied_bytes += bytes.len() as u64;
                self.count += 1;
                if self.rows.len() < MAX_ROWS {
                    let text = String::from_utf8_lossy(bytes);
                    self.rows.push_back(vec![Value::Text(text.trim_end_matches('\n').to_owned())]);
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
        let text = |pointer: &str| clean(body.pointer(pointer).and_then(Json::as_str).unwrap_or_default());
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
            EventKind::Mask => {
                let columns = body.pointer("/columns").and_then(Json::as_array);
                let names: Vec<_> =
                    columns.into_iter().flatten().filter_map(Json::as_str).map(clean).collect();
                entry(out, told, &format!("masked: {}", names.join(", ")));
            }
            // The answer that follows has the words.
            EventKind::Error => {}
            EventKind::Hold => {
                if self.held.len() < MAX_TEXT {
                    self.held.insert(told.operation, told.at_us);
                }
                entry(out, told, &hold(body));
            }
            EventKind::HoldResolved => {
                let since = self.held.remove(&told.operation);
                let after = since.map(|since| took(told.at_us.saturating_sub(since)));
                entry(out, told, &resolved(body, after.as_deref()));
                // The refusal that follows says it to the client.
                if let Some(detail) = body.pointer("/detail").and_then(Json::as_str) {
                    detail.clone_into(&mut self.told);
                }
            }
            EventKind::Fault => entry(
                out,
                told,
                &format!(
                    "{RED}FAULT{RED:#} plugin {} in {}: {}: {}",
                    text("/plugin"),
                    text("/hook"),
                    text("/kind"),
                    text("/detail")
                ),
            ),
            EventKind::Truncated => entry(
                out,
                told,
                &format!(
                    "{YELLOW}not recorded from here on{YELLOW:#}: {} reached its limit ({})",
                    text("/kind"),
                    text("/limit")
                ),
            ),
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

/// Who, where, under what.
fn head(body: &Json) -> String {
    let Ok(Opening { started, head }) = serde_json::from_value::<Opening>(body.clone()) else {
        return "a head that cannot be read\n".into();
    };
    let identity = &head.identity;
    let mut out = format!(
        "{BOLD}{}{BOLD:#} on {BOLD}{}{BOLD:#} ({})\n",
        head.session,
        clean(&head.target.to_string()),
        clean(&head.protocol)
    );
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {DIM}{name:<8}{DIM:#} {}", clean(&text));
    };
    let name = identity.display_name.as_deref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    line("who", format!("{}, {}{name}", identity.principal, identity.kind));
    if !identity.actor.is_empty() {
        line("through", identity.actor.clone());
    }
    let approved: Vec<String> = head.approved_by.iter().map(ToString::to_string).collect();
    let approved =
        if approved.is_empty() { String::new() } else { format!(", approved by {}", approved.join(", ")) };
    let request = head.request.as_deref().map(|id| format!(", asked for with {id}")).unwrap_or_default();
    line("window", format!("{} of grant {}{request}{approved}", head.window, head.grant));
    if let Some(role) = &head.requested_role {
        line("role", role.clone());
    }
    line("from", head.client_address.clone());
    for plugin in &head.plugins {
        line("plugin", format!("{} {} (sha256 {})", plugin.name, plugin.version, cut(&plugin.digest, 13)));
    }
    line(
        "started",
        format!("{} by chaperone {}", started.strftime("%Y-%m-%d %H:%M:%SZ"), head.gateway_version),
    );
    out.push('\n');
    out
}

fn decision(body: &Json) -> String {
    let text = |pointer: &str| clean(body.pointer(pointer).and_then(Json::as_str).unwrap_or_default());
    let mut out = match body.pointer("/decision").and_then(Json::as_str) {
        Some("allow") => format!("{GREEN}allowed{GREEN:#}"),
        Some("refuse") => match body.pointer("/refusal") {
            Some(told) => refusal("REFUSED", told),
            None => format!("{RED}REFUSED{RED:#}"),
        },
        Some("hold") => format!("{YELLOW}needs approval{YELLOW:#}"),
        _ => text("/decision"),
    };
    let mut facts: Vec<String> = Vec::new();
    let classes = body.pointer("/statements").and_then(Json::as_array).into_iter().flatten();
    facts.extend(classes.filter_map(|facts| facts.get("class")?.as_str()).map(clean));
    if let Some(risk) = body.pointer("/risk").and_then(Json::as_u64).filter(|risk| *risk > 0) {
        facts.push(format!("risk {risk}"));
    }
    let refused = body.pointer("/decision").and_then(Json::as_str) == Some("refuse");
    if !facts.is_empty() && !refused {
        let _ = write!(out, " {DIM}({}){DIM:#}", facts.join(", "));
    }
    for finding in body.pointer("/findings").and_then(Json::as_array).into_iter().flatten() {
        let field = |name: &str| clean(finding.get(name).and_then(Json::as_str).unwrap_or_default());
        let risk = finding.get("risk").and_then(Json::as_u64).unwrap_or(0);
        let _ = write!(out, "\nfinding {} (risk {risk}): {}", field("rule"), field("detail"));
    }
    out
}

fn refusal(word: &str, body: &Json) -> String {
    let text = |pointer: &str| clean(body.pointer(pointer).and_then(Json::as_str).unwrap_or_default());
    let mut out = format!("{RED}{word}{RED:#} {}: {}", text("/code"), text("/message"));
    for (name, pointer) in [("why", "/detail"), ("hint", "/hint")] {
        let line = text(pointer);
        if !line.is_empty() {
            let _ = write!(out, "\n{name}: {line}");
        }
    }
    out
}

fn hold(body: &Json) -> String {
    let id = clean(body.pointer("/hold").and_then(Json::as_str).unwrap_or_default());
    let mut out = format!("{YELLOW}HELD{YELLOW:#} as {id}");
    for terms in body.pointer("/terms").and_then(Json::as_array).into_iter().flatten() {
        let text = |name: &str| clean(terms.get(name).and_then(Json::as_str).unwrap_or_default());
        let number = |name: &str| terms.get(name).and_then(Json::as_u64).unwrap_or(0);
        let timeout = took(number("timeout_seconds").saturating_mul(1_000_000));
        let _ = write!(
            out,
            "\nwaits for {} of {}, at most {timeout}: {}",
            number("needed"),
            text("approvers"),
            text("reason")
        );
    }
    out
}

fn resolved(body: &Json, after: Option<&str>) -> String {
    let text = |pointer: &str| clean(body.pointer(pointer).and_then(Json::as_str).unwrap_or_default());
    let after = after.map(|after| format!(" after {after}")).unwrap_or_default();
    let outcome = text("/outcome");
    if outcome == "approved" {
        let by = body.pointer("/by").and_then(Json::as_array).into_iter().flatten();
        let by: Vec<String> = by.filter_map(Json::as_str).map(clean).collect();
        return format!("{GREEN}approved{GREEN:#} by {}{after}", by.join(", "));
    }
    let detail = text("/detail");
    let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
    format!("{RED}NOT APPROVED{RED:#}{after}: {outcome}{detail}")
}

fn end(body: &Json) -> String {
    let Ok(end) = serde_json::from_value::<SessionEnd>(body.clone()) else {
        return "an end that cannot be read".into();
    };
    let reason = serde_json::to_value(end.reason).unwrap_or_default();
    let mut out = format!("{BOLD}end{BOLD:#}: {}", clean(reason.as_str().unwrap_or_default()));
    if let Some(code) = &end.code {
        let _ = write!(out, " ({})", clean(code));
    }
    if !end.detail.is_empty() {
        let _ = write!(out, ": {}", clean(&end.detail));
    }
    out
}

fn outcome(result: &Json, copied_bytes: u64) -> String {
    let number = |name: &str| result.get(name).and_then(Json::as_u64).unwrap_or(0);
    let tag = clean(result.get("tag").and_then(Json::as_str).unwrap_or_default());
    let mut parts = Vec::new();
    if !tag.is_empty() {
        parts.push(tag);
    }
    if number("rows") > 0 || number("masked") > 0 {
        parts.push(format!("{}, {} masked", counted(number("rows"), "row"), number("masked")));
    }
    if copied_bytes > 0 {
        parts.push(format!("{copied_bytes} bytes"));
    }
    parts.push(took(number("micros")));
    parts.join(" · ")
}

fn parameters(bind: &Bind) -> String {
    if bind.count == 0 {
        return "binds nothing".into();
    }
    let mut out = String::from("binds");
    for (index, value) in bind.values.iter().take(MAX_PARAMETERS).enumerate() {
        let separator = if index == 0 { " " } else { ", " };
        let _ = write!(out, "{separator}${} = {}", index + 1, clean(&literal(value)));
    }
    let shown = bind.values.len().min(MAX_PARAMETERS);
    if shown < bind.count {
        let _ = write!(out, " … and {} more", bind.count - shown);
    }
    out
}

fn literal(value: &Value) -> String {
    match value {
        Value::Text(_) => format!("'{}'", value.show(MAX_VALUE)),
        other => other.show(MAX_VALUE),
    }
}

fn words(report: &Report) -> String {
    let mut out =
        format!("{} {}: {}", clean(&report.severity), clean(&report.sqlstate), clean(&report.message));
    for (name, text) in [("detail", &report.detail), ("hint", &report.hint)] {
        if !text.is_empty() {
            let _ = write!(out, "\n{name}: {}", clean(text));
        }
    }
    out
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

/// A duration with as much precision as anybody reads.
pub(super) fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => humantime::format_duration(Duration::from_secs(micros / 1_000_000)).to_string(),
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
