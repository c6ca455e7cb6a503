//! One operation as a page shows it: when, what, what was decided and why, what people said, and what came back.
//!
//! Everything in it came from an agent or a target: all of it goes through the template's escaping and through [`visible`].

use super::super::sql;
use super::super::text::visible;
use super::super::words::counted;
use super::view::operation as address;
use crate::protocol::postgres::render::{Report, Value};
use crate::recorder::EventKind;
use crate::story::{
    Act, Answered, HoldStory, MAX_COLUMNS, MAX_ROWS, Masking, Operation, Parameters, Scene, Title, Verdict,
};
use chaperone_core::name::SessionId;
use maud::{Markup, html};
use serde_json::Value as Json;
use std::time::Duration;

/// Characters of a value that are shown.
const MAX_CELL: usize = 160;
/// Characters of a session's own event.
const MAX_ASIDE: usize = 1_000;

/// Something that happened.
pub(super) fn scene(id: SessionId, scene: &Scene) -> Markup {
    match scene {
        Scene::Operation(one) => act(id, one, false),
        Scene::Aside { at_us, kind, body } => html! {
            li.aside data-at=(at_us / 1000) data-until=(at_us / 1000) {
                time.quiet { (clock(*at_us)) } " " span.badge { (kind.as_str()) } " " (aside(*kind, body))
            }
        },
    }
}

fn aside(kind: EventKind, body: &Json) -> Markup {
    let text = |name: &str| body.get(name).and_then(Json::as_str).map(str::to_owned);
    let known = [text("what"), text("message"), text("why"), text("detail")];
    let known: Vec<String> = known.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    let said = match (known.is_empty(), body.is_null()) {
        (false, _) => known.join(": "),
        (true, false) => body.to_string(),
        (true, true) => format!("a {kind} that is too long to show"),
    };
    visible(&crate::protocol::postgres::render::cut(&said, MAX_ASIDE))
}

/// An operation; `open` while more of it may come.
pub(super) fn act(id: SessionId, act: &Act, open: bool) -> Markup {
    let operation = &act.operation;
    let number = operation.number;
    let notable = operation.is_notable();
    html! {
        li.scene #{ "op-" (number) } .notable[notable] data-at=(operation.at_us / 1000) data-until=(act.until_us / 1000) data-number=(number) data-notable[notable] {
            div.when {
                a href=(address(id, number)) data-step { "#" (number) } " "
                time.quiet { (clock(operation.at_us)) } " "
                (verdict(operation, open))
                @if operation.form != "query" { " " span.badge { (form(operation)) } }
            }
            (statement(operation))
            @if let Some(parameters) = &operation.parameters { (bound(parameters)) }
            (findings(operation))
            @if let Some(hold) = &operation.hold { (held(hold)) }
            @for fault in &operation.faults {
                p.fault { "The plugin " (visible(&fault.plugin)) " broke in " (visible(&fault.hook)) ": " (visible(&fault.kind)) "." }
            }
            div.answered {
                @if let Some(refusal) = operation.refusal.as_ref().filter(|refusal| !refusal.message.is_empty()) {
                    p.fault { (visible(&refusal.message)) @if !refusal.detail.is_empty() { span.quiet { " " (visible(&refusal.detail)) } } }
                }
                @for (index, answered) in act.answers.iter().enumerate() { (answer(number, index, answered, operation)) }
                @if act.left_out > 0 { p.note { "And " (act.left_out) " more results or messages, which the recording has." } }
                (outcome(operation))
            }
        }
    }
}

/// What became of it. Each is a word; colour alone says nothing.
fn verdict(operation: &Operation, open: bool) -> Markup {
    let decided = operation.decision.as_ref();
    let risk = decided.map_or(0, |decided| decided.risk);
    let (class, word) = match decided.map(|decided| decided.verdict) {
        _ if operation.was_refused() => ("refused", "refused"),
        Some(Verdict::Hold) if operation.was_allowed() => ("ok", "approved"),
        Some(Verdict::Hold) => ("waits", "held"),
        Some(Verdict::Allow) => ("ok", "allowed"),
        Some(Verdict::Refuse) => ("refused", "refused"),
        None => ("waits", "not decided"),
    };
    html! {
        span.badge.(class) { (word) }
        @if risk > 0 { " " span.badge { "risk " (risk) } }
        @if operation.error.is_some() { " " span.badge.refused { "failed" } }
        @if open && operation.results == 0 && !operation.was_refused() { " " span.badge.live { "goes on" } }
    }
}

fn form(operation: &Operation) -> Markup {
    html! {
        @match (operation.form.as_str(), operation.of) {
            ("execute", Some(of)) => { "runs #" (of) },
            ("parse", _) => "prepares",
            (other, _) => (visible(other)),
        }
    }
}

fn statement(operation: &Operation) -> Markup {
    let cut = operation.text_bytes > operation.text.len() as u64;
    html! {
        @if operation.text.is_empty() {
            p.note { @match operation.form.as_str() { "execute" => "What it runs was prepared too long ago to be shown here.", _ => "An empty statement." } }
        } @else {
            pre.exact.whole dir="ltr" { (sql::marked(&operation.text)) }
        }
        @if cut { p.note { "The whole statement has " (operation.text_bytes) " bytes; this is its begin." } }
    }
}

fn bound(parameters: &Parameters) -> Markup {
    let shown = parameters.values.len() as u64;
    html! {
        @if parameters.count > 0 {
            dl.bound {
                @for (index, value) in parameters.values.iter().enumerate() {
                    dt { "$" (index + 1) }
                    dd { @match value {
                        Json::Null => span.null { "NULL" },
                        Json::String(text) => code { (visible(text)) },
                        other => code { (visible(other.get("hex").and_then(Json::as_str).unwrap_or_default())) },
                    } }
                }
            }
            @if parameters.count > shown { p.note { "And " (parameters.count - shown) " more." } }
        }
    }
}

fn findings(operation: &Operation) -> Markup {
    let findings = operation.decision.iter().flat_map(|decided| &decided.findings);
    html! {
        @if operation.decision.as_ref().is_some_and(|decided| !decided.findings.is_empty()) {
            ul.findings {
                @for finding in findings {
                    li { code { (visible(&finding.rule)) } " " (visible(&finding.detail)) " " span.badge { "risk " (finding.risk) } }
                }
            }
        }
    }
}

fn held(hold: &HoldStory) -> Markup {
    html! {
        p.held {
            "Held" @if !hold.hold.is_empty() { " as " span.id { (visible(&hold.hold)) } }
            @for terms in &hold.terms { ", for " (terms.needed) " of " (visible(&terms.approvers)) ": " (visible(&terms.reason)) }
            ". "
            @match (hold.outcome.as_deref(), hold.until_us) {
                (Some("approved"), Some(until)) => {
                    "Approved after " (took(until.saturating_sub(hold.since_us))) " by "
                    @for (index, who) in hold.approved_by.iter().enumerate() { @if index > 0 { ", " } span.id { (visible(who)) } }
                    "."
                },
                (Some(outcome), until) => {
                    "Not approved" @if let Some(until) = until { " after " (took(until.saturating_sub(hold.since_us))) }
                    ": " (visible(outcome)) @if !hold.detail.is_empty() { ", " (visible(&hold.detail)) } "."
                },
                (None, _) => "Nobody has decided.",
            }
        }
    }
}

fn answer(number: u64, index: usize, answered: &Answered, operation: &Operation) -> Markup {
    match answered {
        Answered::Table { titles, columns, rows, count } => {
            let name = format!("Result {} of operation {number}", index + 1);
            table(&name, titles, *columns, rows, *count)
        }
        Answered::Copied { lines, count } => html! {
            pre.copied { @for line in lines { (visible(line)) "\n" } }
            @if *count > lines.len() as u64 { p.note { "And " (*count - lines.len() as u64) " more lines." } }
        },
        Answered::Error(told) => {
            // The gateway's own refusal was told above, in its own words.
            let known = operation.refusal.as_ref().is_some_and(|refusal| refusal.message == told.message);
            if known {
                html! {}
            } else {
                report(told, "fault")
            }
        }
        Answered::Notice(told) => report(told, "note"),
        Answered::Notification { channel, payload } => {
            html! { p.note { "Notification on " (visible(channel)) ": " (visible(payload)) } }
        }
        Answered::Unshown(what) => html! { p.note { "Not shown: " (what) "." } },
    }
}

fn report(report: &Report, class: &str) -> Markup {
    html! {
        p.(class) {
            strong { (visible(&report.severity)) " " (visible(&report.sqlstate)) ": " } (visible(&report.message))
            @for text in [&report.detail, &report.hint] { @if !text.is_empty() { " " span.quiet { (visible(text)) } } }
        }
    }
}

fn table(name: &str, titles: &[Title], columns: usize, rows: &[Vec<Value>], count: u64) -> Markup {
    let hidden = count.saturating_sub(rows.len() as u64);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(name) {
            table.result {
                caption.unseen { (name) }
                thead { tr { @for title in titles {
                    th scope="col" { (visible(&title.name)) @if title.masking == Masking::Masked { " " span.badge.masked { "masked" } } }
                } } }
                tbody { @for row in rows { tr { @for value in row { td { (cell(value)) } } } } }
            }
        }
        @if hidden > 0 { p.note { "The first " (MAX_ROWS.min(rows.len())) " of " (counted(count, "row")) "." } }
        @if columns > MAX_COLUMNS { p.note { "The first " (MAX_COLUMNS) " of " (columns) " columns." } }
    }
}

fn cell(value: &Value) -> Markup {
    match value {
        Value::Null => html! { span.null { "NULL" } },
        value => visible(&value.show(MAX_CELL)),
    }
}

fn outcome(operation: &Operation) -> Markup {
    let mut facts: Vec<String> = Vec::new();
    if !operation.tag.is_empty() {
        facts.push(operation.tag.clone());
    }
    if operation.rows > 0 {
        facts.push(counted(operation.rows, "row"));
    }
    if operation.masked_values > 0 {
        facts.push(format!("{} masked", counted(operation.masked_values, "value")));
    }
    if operation.uploaded_bytes > 0 {
        facts.push(format!("{} bytes sent", operation.uploaded_bytes));
    }
    if operation.executions > 0 {
        facts.push(format!("ran {}", counted(operation.executions, "time")));
    }
    if let Some(took_us) = operation.took_us {
        facts.push(took(took_us));
    }
    if operation.truncated {
        facts.push("not all of it was recorded".to_owned());
    }
    html! { @if !facts.is_empty() { p.outcome.small.quiet { (visible(&facts.join(" · "))) } } }
}

/// `0:12.345` since the start; hours where there are any.
pub(super) fn clock(at_us: u64) -> String {
    let (millis, seconds) = (at_us / 1000 % 1000, at_us / 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}.{millis:03}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}.{millis:03}"),
    }
}

/// A duration with as much precision as anybody reads.
fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => super::super::words::rounded(Duration::from_secs(micros / 1_000_000)),
    }
}
