//! What commands print: tables for people, JSON for programs, colour only on a terminal.
//!
//! Texts come from agents, targets and the network: control characters are taken out before a terminal sees them.
//! `anstream` strips colours where standard output is no terminal and where `NO_COLOR` is set.

use super::failure::Failure;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::Write;

/// Whom the output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Tables and sentences.
    People,
    /// JSON.
    Programs,
}

/// A text without anything that steers a terminal, on one line.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_bidi(c) { ' ' } else { c }).collect()
}

/// Characters that change the order in which others are shown.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes to standard output. A reader that has gone (`| head`) is no failure of the command.
pub(crate) fn out(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes to standard error, where nothing is parsed.
pub(crate) fn err(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Writes JSON and a newline.
pub(crate) fn json(value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| "null".into());
    // Not through `out`: JSON escapes control characters itself, and nothing may be stripped from it.
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}");
}

/// Writes JSON in one line, for those who read line by line.
pub(crate) fn line(value: &Value) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{value}").and_then(|()| stdout.flush());
}

/// Writes a failure where it belongs: people read standard error, programs parse standard output.
pub(crate) fn failure(failure: &Failure, audience: Audience) {
    match audience {
        Audience::Programs => json(&failure.to_json()),
        Audience::People => err(&failure.to_string()),
    }
}

/// A column: its title and how its cell is read from a row.
pub(crate) struct Column {
    /// The title.
    pub(crate) title: &'static str,
    /// JSON pointer (RFC 6901) into the row.
    pub(crate) pointer: &'static str,
}

/// A short table, or a sentence when there is nothing.
pub(crate) fn table(rows: &[Value], columns: &[Column], nothing: &str) -> String {
    if rows.is_empty() {
        return format!("{nothing}\n");
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|column| column.title));
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(row.pointer(column.pointer))));
    }
    format!("{table}\n")
}

/// A value as a cell: moments shortened to seconds, lists joined.
pub(crate) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => match text.parse::<jiff::Timestamp>() {
            Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            Err(_) => clean(text),
        },
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", "),
        Some(other) => clean(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_agent_wrote_cannot_steer_a_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{202e}d"), "a [2Jb c d");
        let rows = [json!({ "reason": "x\u{1b}]0;owned\u{7}" })];
        let text = table(&rows, &[Column { title: "REASON", pointer: "/reason" }], "none");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn cells_are_short() {
        assert_eq!(cell(Some(&json!("2026-11-21T05:00:00.123456Z"))), "2026-11-21 05:00:00Z");
        assert_eq!(cell(Some(&json!(["a", "b"]))), "a, b");
        assert_eq!(cell(None), "-");
        assert_eq!(table(&[], &[], "no windows"), "no windows\n");
    }
}
