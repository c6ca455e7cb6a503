//! How sessions are listed.

use super::super::pages::{Page, Renewed, Room};
use super::super::replay::{operation_address, size};
use super::super::roles::{May, Watch};
use super::super::text::visible;
use super::super::words::{self, ago, cell, columns, counted, moment, short};
use super::timeline::{self, Lane};
use super::{Filters, Glass, Hits, Listed};
use crate::recorder::{Ending, EventKind, Listing, RecorderError, SessionSummary, State, session_of};
use crate::state::{Found, Indexing, snippet};
use crate::story::Operation;
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use maud::{Markup, html};
use serde_json::Value as Json;
use std::path::PathBuf;

/// Operations of one session that are listed.
const SHOWN: usize = 5;

const COLUMNS: [&str; 6] = ["Who", "Target", "Began", "Lasted", "Operations", "Session"];

pub(super) fn sessions(may: &May<Watch>, filters: &Filters, listed: &Listed) -> Page {
    let body = html! {
        div.head { h1 { "Sessions" } }
        (form(filters))
        section #found aria-label="Sessions" {
            @match listed {
                Listed::Problem(problem) => { p.standing.refused role="alert" { (visible(problem)) } },
                Listed::Folder { listing, next, glass } => (folder(may.now, filters, listing, next.as_deref(), *glass)),
                Listed::Search { sessions, next, indexing } => (search(may.now, filters, sessions, *next, *indexing)),
            }
        }
    };
    Page::of(may, Room::Sessions, Renewed::Not, "Sessions", body)
}

fn form(filters: &Filters) -> Markup {
    let field = |name: &'static str, label: &'static str, value: &str, hint: &'static str| {
        html! { div { label for=(name) { (label) } input #(name) type="text" name=(name) value=(value) placeholder=(hint) maxlength="1024" autocomplete="off" spellcheck="false"; } }
    };
    let more = filters.fields().iter().skip(1).any(|(_, value)| !value.trim().is_empty());
    html! {
        form.card.search method="get" action=(Room::Sessions.path()) role="search" {
            div.wide {
                label for="words" { "Words of statements and parameters; several in a row in double quotes" }
                input #words type="text" name="words" value=(filters.words) maxlength="1024" autocomplete="off" spellcheck="false" data-key="/";
            }
            details open[more] {
                summary { "Filters" }
                div.fields {
                    (field("target", "Target", &filters.target, "prod-logs"))
                    (field("principal", "Principal", &filters.principal, "the whole of it, or its last part"))
                    (field("table", "Table", &filters.table, "users, or public.users"))
                    (field("finding", "Finding", &filters.finding, "delete, or delete.no-where"))
                    div {
                        label for="decision" { "Decision" }
                        select #decision name="decision" {
                            @for (value, word) in [("", "any"), ("allowed", "allowed"), ("refused", "refused"), ("held", "held")] {
                                option value=(value) selected[filters.decision == value] { (word) }
                            }
                        }
                    }
                    (field("approver", "Approver", &filters.approver, "a principal, or its last part"))
                    (field("session", "Session", &filters.session, "ses_…"))
                    (field("since", "Since", &filters.since, "7d, or 2026-12-24T18:00:00Z"))
                    (field("until", "Until", &filters.until, "1h, or a moment"))
                }
            }
            div.buttons {
                button.strong type="submit" { "Search" }
                @if !filters.is_empty() { a.button.plain href=(Room::Sessions.path()) { "All sessions" } }
            }
        }
    }
}

fn folder(now: Timestamp, filters: &Filters, listing: &Listing, next: Option<&str>, glass: Glass) -> Markup {
    let Listing { sessions, unreadable } = listing;
    html! {
        h2 { @match glass { Glass::Here => "Recorded elsewhere, while the usual folder failed", _ => "The newest" } }
        @if sessions.is_empty() && unreadable.is_empty() {
            (words::empty("No sessions yet.", html! {
                "Each session of an agent on a target leaves a recording, and is listed here as soon as it begins: "
                code { "psql -h gateway -p 6432 -d TARGET" } ", with a token as the password and an open window."
            }))
        } @else {
            (timeline::draw(&sessions.iter().map(|one| lane(one, now)).collect::<Vec<_>>()))
            @if !sessions.is_empty() { (table(sessions, now)) }
            (broken(unreadable))
        }
        nav.buttons aria-label="More" {
            @if let Some(next) = next {
                a.button.plain href=(filters.address(&[("before", next), ("folder", &filters.folder)])) { "Earlier" }
            }
            @match glass {
                Glass::Elsewhere => { a.button.plain href="/console/sessions?folder=break-glass" { "Recorded under break glass" } },
                Glass::Here => { a.button.plain href="/console/sessions" { "The usual folder" } },
                Glass::None => {},
            }
        }
    }
}

fn lane(one: &SessionSummary, now: Timestamp) -> Lane {
    let from = one.opening.started;
    let to = match (&one.footer, one.state) {
        (Some(footer), _) => footer.end.ended,
        (None, State::Live) => now,
        (None, _) => from,
    };
    Lane { from, to: to.max(from), marks: Vec::new() }
}

fn table(sessions: &[SessionSummary], now: Timestamp) -> Markup {
    html! {
        table.stack role="table" {
            caption.unseen { "Sessions" }
            (columns(&COLUMNS))
            tbody role="rowgroup" { @for one in sessions { (row(one, now)) } }
        }
    }
}

fn row(one: &SessionSummary, now: Timestamp) -> Markup {
    let (head, started) = (&one.opening.head, one.opening.started);
    let identity = &head.identity;
    html! {
        tr role="row" {
            (cell("Who", html! {
                @match &identity.display_name { Some(name) => bdi { (visible(name)) }, None => (short(&identity.principal)) }
                br; span.small.quiet { (words::kind(identity.kind)) }
            }))
            (cell("Target", html! { (head.target) }))
            (cell("Began", html! { (moment(started)) br; span.small.quiet { (ago(started, now)) } }))
            (cell("Lasted", lasted(one, now)))
            (cell("Operations", html! {
                @match &one.footer {
                    Some(footer) => {
                        (footer.count(EventKind::Operation) + footer.count(EventKind::Execute))
                        @if footer.count(EventKind::Hold) > 0 { " " span.badge.waits { (footer.count(EventKind::Hold)) " held" } }
                        @if footer.count(EventKind::Refusal) > 0 { " " span.badge.refused { (footer.count(EventKind::Refusal)) " refused" } }
                    },
                    None => "–",
                }
            }))
            (cell("Session", html! { a.button.plain data-step href={ "/console/sessions/" (head.session) } { "Open" span.unseen { " the session " (head.session) } } " " span.small.quiet { (size(one.bytes)) } }))
        }
    }
}

fn lasted(one: &SessionSummary, now: Timestamp) -> Markup {
    let length = |to: Timestamp| words::rounded(chaperone_core::window::between(one.opening.started, to));
    html! {
        @match (&one.footer, one.state) {
            (Some(footer), State::Sealed(Ending::Interrupted)) => { (length(footer.end.ended)) " " span.badge.waits { "interrupted" } },
            (Some(footer), _) => { (length(footer.end.ended)) },
            (None, State::Live) => { (length(now)) " " span.badge.live { "running" } },
            (None, _) => { span.badge.refused { "no end" } },
        }
    }
}

fn broken(unreadable: &[(PathBuf, RecorderError)]) -> Markup {
    html! {
        @if !unreadable.is_empty() {
            h2 { "Not to be read" }
            ul.list {
                @for (path, error) in unreadable {
                    li.card {
                        @if let Some(session) = session_of(path) { a data-step href={ "/console/sessions/" (session) } { span.id { (session) } } ": " }
                        @match error {
                            RecorderError::NeedsKey { key, .. } => { "encrypted with the key " span.id { (key) } ", which this gateway has not" },
                            RecorderError::NoHead { why, .. } => { "its head cannot be read: " (visible(why)) },
                            _ => "it cannot be read",
                        }
                    }
                }
            }
        }
    }
}

fn search(
    now: Timestamp,
    filters: &Filters,
    sessions: &[Hits],
    next: Option<i64>,
    indexing: Indexing,
) -> Markup {
    let found: usize = sessions.iter().map(|hits| hits.found.len()).sum();
    html! {
        h2 { "Found" }
        @if indexing == Indexing::No {
            p.note { "This gateway indexes nothing (" code { "recording.search: no" } "): only what others have, or what was indexed before, is found." }
        }
        @if sessions.is_empty() {
            (words::empty("Nothing matches.", html! {
                "All that is given has to match. Words are whole ones, letters and digits: " code { "users" } " does not find " code { "user" }
                ". What was just done is found a second or so later."
                @if indexing == Indexing::Facts { " Statements are not in the index here (" code { "recording.search: facts" } ")." }
            }))
        } @else {
            p.small.quiet { (counted(found as u64, "operation")) " in " (counted(sessions.len() as u64, "session")) @if next.is_some() { ", and more" } "; the newest first" }
            (timeline::draw(&sessions.iter().map(hits_lane).collect::<Vec<_>>()))
            ol.list.hits { @for hits in sessions { li.card { (one(now, filters, hits)) } } }
        }
        @if let Some(next) = next {
            nav.buttons aria-label="More" { a.button.plain href=(filters.address(&[("cursor", &next.to_string())])) { "Earlier" } }
        }
    }
}

fn hits_lane(hits: &Hits) -> Lane {
    let times = || hits.found.iter().map(|found| found.at);
    let marks = hits.found.iter().filter(|found| decisions(found).any(|word| word != "allowed"));
    let (from, to) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
    Lane { from, to, marks: marks.map(|found| found.at).collect() }
}

fn decisions(found: &Found) -> impl Iterator<Item = &str> {
    found.story.get("decisions").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

fn one(now: Timestamp, filters: &Filters, hits: &Hits) -> Markup {
    let Some(newest) = hits.found.first() else { return html! {} };
    let name = newest.story.pointer("/caller/display_name").and_then(Json::as_str);
    let kind = newest
        .story
        .pointer("/caller/kind")
        .and_then(|kind| serde_json::from_value::<CallerKind>(kind.clone()).ok());
    let more = hits.found.len().saturating_sub(SHOWN);
    html! {
        p.hit-head {
            a data-step href={ "/console/sessions/" (hits.session) } { @match name { Some(name) => bdi { (visible(name)) }, None => (short(&newest.principal)) } " on " (newest.target) }
            @if let Some(kind) = kind { " " span.small.quiet { (words::kind(kind)) } }
            " " span.small.quiet { (ago(newest.at, now)) }
        }
        ul.findings {
            @for found in hits.found.iter().take(SHOWN) { li { (hit(found, &filters.words)) } }
        }
        @if more > 0 {
            p.note { a href=(filters.address(&[("session", &hits.session.to_string())])) { (more) " more in this session" } }
        }
    }
}

fn hit(found: &Found, looked_for: &str) -> Markup {
    let operation = found.story.get("operation").cloned().unwrap_or_default();
    let operation: Operation = serde_json::from_value(operation).unwrap_or_default();
    let rules = operation.decision.iter().flat_map(|decided| &decided.findings);
    html! {
        a href=(operation_address(found.session, found.operation)) { "#" (found.operation) } " "
        time.small.quiet { (moment(found.at)) }
        @for word in decisions(found) { " " (decided(word)) }
        @for finding in rules.take(3) { " " span.badge { (visible(&finding.rule)) } }
        @if operation.text.is_empty() {
            @if operation.tables.is_empty() { br; span.quiet { "its text is not in the index" } }
            @else { br; span.quiet { "on " (visible(&operation.tables.join(", "))) } }
        } @else {
            br; code.snippet {
                @for piece in snippet(&operation.text, looked_for) {
                    @if piece.marked { mark { (visible(&piece.text)) } } @else { (visible(&piece.text)) }
                }
            }
        }
    }
}

fn decided(word: &str) -> Markup {
    match word {
        "allowed" => html! { span.badge.ok { "allowed" } },
        "refused" => html! { span.badge.refused { "refused" } },
        "held" => html! { span.badge.waits { "held" } },
        _ => html! {},
    }
}
