//! What a bundle says as CSV (RFC 4180, UTF-8): a line for each session, and one for each operation.
//!
//! A line of operations names everything that its operation is tied to, so that it can be read by itself. These files are opened in
//! spreadsheets, and their texts are an agent's: a cell that a spreadsheet would take for a formula gets an apostrophe in front. One
//! that begins with an apostrophe gets another, so that it can be taken off again. What hides or turns text is written as its number.

use super::folder::{Writing, unwritable};
use super::gather::Item;
use super::{Evidence, told};
use crate::cli::failure::Failure;
use crate::console::text::plain;
use crate::recorder::{Ending, EventKind, Glance, State};
use crate::story::Operation;
use csv::{Terminator, Writer, WriterBuilder};
use std::io;

/// What a spreadsheet takes for the begin of a formula, also in other widths, and what lets it forget that a cell has begun.
const BEGINS_A_FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// A text as a cell.
fn cell(text: &str) -> String {
    let text = plain(text);
    // Blanks in front are taken off by some.
    let first = text.trim_start_matches([' ', '\u{a0}', '\u{3000}']).chars().next();
    match first {
        Some(first) if first == '\'' || BEGINS_A_FORMULA.contains(&first) => format!("'{text}"),
        _ => text,
    }
}

/// A table that is being written: all that goes into it goes through [`cell`].
pub(super) struct Table {
    csv: Writer<Writing>,
    columns: usize,
}

impl Table {
    fn begin(writing: Writing, columns: &[&str]) -> Result<Self, Failure> {
        let csv = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(writing);
        let mut table = Table { csv, columns: columns.len() };
        table.line(columns.iter().map(|column| (*column).to_owned()))?;
        Ok(table)
    }

    fn line(&mut self, cells: impl IntoIterator<Item = String>) -> Result<(), Failure> {
        let mut count = 0;
        for text in cells {
            count += 1;
            self.csv.write_field(cell(&text)).map_err(|error| failed(&self.csv, error))?;
        }
        debug_assert_eq!(count, self.columns);
        self.csv.write_record(None::<&[u8]>).map_err(|error| failed(&self.csv, error))
    }

    /// The whole file.
    pub(super) fn finish(self) -> Result<Writing, Failure> {
        self.csv.into_inner().map_err(|error| {
            let cause = io::Error::new(error.error().kind(), error.error().to_string());
            unwritable(std::path::Path::new("CSV"), &cause)
        })
    }
}

fn failed(csv: &Writer<Writing>, error: csv::Error) -> Failure {
    unwritable(csv.get_ref().path(), &io::Error::other(error))
}

const OPERATIONS: [&str; 48] = [
    "session",
    "number",
    "executes",
    "execution",
    "time",
    "target",
    "principal",
    "kind",
    "display_name",
    "actor",
    "blueprint",
    "sponsors",
    "credential_id",
    "grant",
    "window",
    "request",
    "window_approved_by",
    "form",
    "statement",
    "statement_bytes",
    "parameters",
    "classes",
    "tables",
    "decision",
    "outcome",
    "risk",
    "findings",
    "stopped_by",
    "hold",
    "hold_terms",
    "hold_outcome",
    "hold_approved_by",
    "hold_detail",
    "hold_decided",
    "masked_columns",
    "masked_values",
    "refusal_code",
    "refusal_message",
    "refusal_detail",
    "error_side",
    "error_sqlstate",
    "faults",
    "tag",
    "rows",
    "answered_bytes",
    "uploaded_bytes",
    "took_us",
    "plugins",
];

/// Begins `operations.csv`.
pub(super) fn operations(writing: Writing) -> Result<Table, Failure> {
    Table::begin(writing, &OPERATIONS)
}

impl Table {
    /// A line.
    pub(super) fn operation(&mut self, item: &Item, one: &Operation) -> Result<(), Failure> {
        let decided = one.decision.as_ref();
        let (refusal, hold) = (one.refusal.clone().unwrap_or_default(), one.hold.clone().unwrap_or_default());
        let error = one.error.clone().unwrap_or_default();
        let own = [
            item.session.to_string(),
            one.number.to_string(),
            known(one.of),
            known(Some(one.nth).filter(|nth| *nth > 0)),
            told::moment(told::at(item, one.at_us)),
        ];
        let done = [
            one.form.clone(),
            one.text.clone(),
            one.text_bytes.to_string(),
            one.parameters.as_ref().map(told::parameters).unwrap_or_default(),
            one.classes.join("; "),
            one.tables.join("; "),
            told::decision(one),
            told::outcome(one).to_owned(),
            known(decided.map(|decided| decided.risk)),
            decided.map(told::findings).unwrap_or_default().join("; "),
            told::named(one, item).join("; "),
            hold.hold,
            told::waited_for(one).join("; "),
            hold.outcome.unwrap_or_default(),
            hold.approved_by.join("; "),
            hold.detail,
            told::moment(hold.until_us.and_then(|at_us| told::at(item, at_us))),
            one.masked_columns.join("; "),
            one.masked_values.to_string(),
            refusal.code,
            refusal.message,
            refusal.detail,
            error.side,
            error.sqlstate,
            told::faults(one),
            one.tag.clone(),
            one.rows.to_string(),
            one.answered_bytes.to_string(),
            one.uploaded_bytes.to_string(),
            known(one.took_us),
        ];
        let plugins = told::opening(item).map(|opening| told::plugins(&opening.head)).unwrap_or_default();
        self.line(own.into_iter().chain(who(item)).chain(done).chain([plugins]))
    }
}

fn known(number: Option<impl ToString>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// From the target to who approved the window: what ties an operation to a person.
fn who(item: &Item) -> [String; 12] {
    let Some(opening) = told::opening(item) else { return Default::default() };
    let (head, identity) = (&opening.head, &opening.head.identity);
    [
        head.target.to_string(),
        identity.principal.to_string(),
        identity.kind.to_string(),
        identity.display_name.clone().unwrap_or_default(),
        identity.actor.clone(),
        identity.blueprint.clone().unwrap_or_default(),
        told::sponsors(identity),
        identity.credential_id.clone(),
        head.grant.clone(),
        head.window.clone(),
        head.request.clone().unwrap_or_default(),
        told::approved_by(head),
    ]
}

const SESSIONS: [&str; 41] = [
    "session",
    "state",
    "verification",
    "signature",
    "problem",
    "file",
    "bytes",
    "last_hash",
    "key_id",
    "started",
    "ended",
    "ended_by",
    "end_code",
    "end_detail",
    "target",
    "principal",
    "kind",
    "display_name",
    "actor",
    "blueprint",
    "sponsors",
    "credential_id",
    "grant",
    "window",
    "request",
    "window_approved_by",
    "token_issued",
    "token_expires",
    "requested_role",
    "target_role",
    "client_address",
    "protocol",
    "gateway_version",
    "operations",
    "refused",
    "held",
    "preserved",
    "deleted",
    "rule",
    "tombstone",
    "plugins",
];

/// Writes `sessions.csv`: also those that were deleted, and those that are missing.
pub(super) fn sessions(writing: Writing, evidence: &Evidence) -> Result<Writing, Failure> {
    let mut table = Table::begin(writing, &SESSIONS)?;
    for item in &evidence.items {
        table.line(session(item))?;
    }
    for one in &evidence.deleted {
        let says = one.says.as_ref();
        let state = if one.problem.is_some() { "tombstone that does not count" } else { "deleted" };
        let named = |name: &str| match name {
            "session" => one.session.to_string(),
            "state" => state.to_owned(),
            "problem" => one.problem.clone().unwrap_or_default(),
            "bytes" => known(says.map(|says| says.bytes)),
            "last_hash" => known(says.map(|says| says.footer)),
            "started" => told::moment(says.and_then(|says| says.started)),
            "ended" => told::moment(says.map(|says| says.ended)),
            "target" => known(says.and_then(|says| says.target.clone())),
            "deleted" => told::moment(says.map(|says| says.deleted)),
            "rule" => says.map(|says| says.rule.clone()).unwrap_or_default(),
            "tombstone" => known(one.path.file_name().map(|name| name.to_string_lossy())),
            _ => String::new(),
        };
        table.line(SESSIONS.iter().map(|column| named(column)))?;
    }
    for (session, why) in &evidence.missing {
        let named = |name: &str| match name {
            "session" => session.to_string(),
            "state" => "missing".to_owned(),
            "problem" => why.clone(),
            _ => String::new(),
        };
        table.line(SESSIONS.iter().map(|column| named(column)))?;
    }
    table.finish()
}

/// The state of a recording, in a word.
pub(super) fn state(item: &Item) -> &'static str {
    match item.glance.as_ref().map(|glance| glance.state) {
        _ if item.is_live() => "open",
        Some(State::Sealed(Ending::Sealed)) => "sealed",
        Some(State::Sealed(Ending::Interrupted)) => "interrupted",
        Some(State::Live | State::Unsealed) => "unsealed",
        None => "unreadable",
    }
}

fn session(item: &Item) -> Vec<String> {
    let opening = told::opening(item);
    let footer = item.glance.as_ref().and_then(|glance: &Glance| glance.footer.as_ref());
    let end = footer.map(|footer| &footer.end);
    let count = |kind| known(footer.map(|footer| footer.count(kind)));
    let head = |of: &dyn Fn(&crate::recorder::SessionHead) -> String| {
        opening.map(|opening| of(&opening.head)).unwrap_or_default()
    };
    let reason = end.map(|end| serde_json::json!(end.reason));
    let mut cells = vec![
        item.session.to_string(),
        state(item).to_owned(),
        item.word("status").to_owned(),
        item.word("signature").to_owned(),
        item.word("problem").to_owned(),
        item.copy.clone().unwrap_or_default(),
        known(item.report.as_ref().map(|report| report.bytes)),
        item.word("last_hash").to_owned(),
        item.word("key_id").to_owned(),
        told::moment(opening.map(|opening| opening.started)),
        told::moment(end.map(|end| end.ended)),
        reason.as_ref().and_then(|reason| reason.as_str()).unwrap_or_default().to_owned(),
        end.and_then(|end| end.code.clone()).unwrap_or_default(),
        end.map(|end| end.detail.clone()).unwrap_or_default(),
    ];
    cells.extend(who(item));
    cells.extend([
        head(&|head| told::moment(Some(head.identity.issued_at))),
        head(&|head| told::moment(Some(head.identity.expires_at))),
        head(&|head| head.requested_role.clone().unwrap_or_default()),
        head(&|head| head.target_role.clone().unwrap_or_default()),
        head(&|head| head.client_address.clone()),
        head(&|head| head.protocol.clone()),
        head(&|head| head.gateway_version.clone()),
        count(EventKind::Operation),
        count(EventKind::Refusal),
        count(EventKind::Hold),
        item.preserved.clone().unwrap_or_default(),
        String::new(),
        String::new(),
        String::new(),
        head(&|head| told::plugins(head)),
    ]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_a_text_and_can_be_had_back() {
        for formula in [
            "=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1", "\u{a0}=1", "＝1", "＋1", "－1",
            "＠1", "'=1",
        ] {
            assert_eq!(cell(formula), format!("'{formula}"), "{formula:?}");
        }
        for text in ["", "select 1", "a=b", "1-2", "\"x\"", "select 1\n-- =1"] {
            assert_eq!(cell(text), text);
        }
        // What is not seen cannot stand in front of a formula either.
        assert_eq!(cell("\u{feff}=1"), "<U+FEFF>=1");
        assert_eq!(cell("\u{200b}=1\u{202e}\u{1b}[2J"), "<U+200B>=1<U+202E><U+001B>[2J");
    }
}
