//! How it is shown what runs now, and what would be ended.

use super::super::approvals::view::entries;
use super::super::pages::{Page, Renewed, Room, live};
use super::super::roles::{May, Steer, Watch};
use super::super::visitor::Visitor;
use super::super::words::{self, ago, caller_name, cell, columns, deadline, moment, short};
use super::{Picture, since};
use crate::api::LiveSession;
use crate::grant::MAX_REASON_CHARS;
use crate::session::Doing;
use crate::state::{StoredApproval, StoredWindow};
use chaperone_core::Timestamp;
use chaperone_core::approval::{ApprovalId, Matter};
use maud::{Markup, html};

/// Columns; the last one for who may end.
const SESSIONS: [&str; 7] = ["Who", "Target", "Does", "Operations", "Since", "Until", "End"];
const WINDOWS: [&str; 6] = ["Who", "Target", "Opened", "Closes", "Id", "End"];

pub(super) fn now(may: &May<Watch>, picture: &Picture) -> Page {
    let Picture { sessions, waits, windows } = picture;
    let title = match waits.len() {
        0 => "Now".to_owned(),
        count => format!("({count}) Now"),
    };
    let steers = may.roles.operator;
    let body = html! {
        div.head { h1 { "Now" } (live()) }
        dl #counts .tiles .part data-part="renewed" {
            @for (what, count) in [("Live sessions", sessions.len()), ("Waiting for people", waits.len()), ("Open windows", windows.len())] {
                div.tile { dt { (what) } dd { (count) } }
            }
        }
        section #waits .part data-part="renewed" aria-label="What waits for people" {
            h2 { "Waits for people" }
            (entries(waits, may.now, html! { "Held statements and requests for access appear here while they wait for an approver." }))
        }
        section #sessions .part data-part="renewed" aria-label="Live sessions" {
            h2 { "Live sessions" }
            @if sessions.is_empty() {
                (words::empty("Nobody is connected.", html! {
                    "A session begins when an agent with an open window connects to a target through this gateway: "
                    code { "psql -h gateway -p 6432 -d TARGET" } ", with its token as the password."
                }))
            } @else { (table_of_sessions(sessions, waits, may.now, steers)) }
        }
        section #windows .part data-part="renewed" aria-label="Open windows" {
            h2 { "Open windows" }
            @if windows.is_empty() {
                (words::empty("No window is open.", html! {
                    "Who has a grant asks for one with " code { "chaperone request TARGET --reason TEXT" } ". It closes by itself."
                }))
            } @else { (table_of_windows(windows, may.now, steers)) }
        }
    };
    Page::of(may, Room::Now, Renewed::Itself, &title, body)
}

fn table_of_sessions(
    sessions: &[LiveSession],
    waits: &[StoredApproval],
    now: Timestamp,
    steers: bool,
) -> Markup {
    html! {
        table.stack role="table" {
            caption.unseen { "Live sessions" }
            (columns(as_far_as(&SESSIONS, steers)))
            tbody role="rowgroup" {
                @for session in sessions {
                    tr role="row" {
                        (cell("Who", html! {
                            (caller_name(&session.caller)) br;
                            span.small.quiet { (words::kind(session.caller.kind)) }
                        }))
                        (cell("Target", html! { (session.target) }))
                        (cell("Does", doing(session, waits, now)))
                        (cell("Operations", operations(session)))
                        (cell("Since", ago(session.started, now)))
                        (cell("Until", deadline(session.ends, now)))
                        @if steers { (cell("End", end_link("sessions", &session.id.to_string(), "session"))) }
                    }
                }
            }
        }
    }
}

fn as_far_as<'a>(columns: &'a [&'static str], steers: bool) -> &'a [&'static str] {
    match columns.split_last() {
        Some((_, seen)) if !steers => seen,
        _ => columns,
    }
}

/// What it does, and for a held statement where that is decided.
fn doing(session: &LiveSession, waits: &[StoredApproval], now: Timestamp) -> Markup {
    let number = session.activity.operations;
    let since = || ago(since(session), now);
    html! {
        @match session.activity.doing {
            Doing::Idle => { span.badge { "idle" } },
            Doing::InTransaction => { span.badge.waits { "in a transaction" } " " span.small.quiet { (since()) } },
            Doing::Runs => { span.badge.live { "runs" } " " span.small.quiet { "operation " (number) ", " (since()) } },
            Doing::Held => {
                span.badge.waits { "held" } " " span.small.quiet { "operation " (number) ", " (since()) }
                @if let Some(hold) = hold_of(session, waits) { br; a.small href={ "/console/approvals/" (hold) } { "Look at it" } }
            },
        }
    }
}

/// The hold of a session's window, where there is one and no more.
fn hold_of(session: &LiveSession, waits: &[StoredApproval]) -> Option<ApprovalId> {
    let mut own = waits.iter().filter(|stored| {
        matches!(stored.approval.matter(), Matter::Operation(terms) if terms.window == session.window)
    });
    own.next().map(|stored| stored.id).filter(|_| own.next().is_none())
}

fn operations(session: &LiveSession) -> Markup {
    let decided = session.activity.decided;
    html! {
        (session.activity.operations)
        @if decided.held > 0 { " " span.badge.waits { (decided.held) " held" } }
        @if decided.refused > 0 { " " span.badge.refused { (decided.refused) " refused" } }
    }
}

fn table_of_windows(windows: &[StoredWindow], now: Timestamp, steers: bool) -> Markup {
    html! {
        table.stack role="table" {
            caption.unseen { "Open windows" }
            (columns(as_far_as(&WINDOWS, steers)))
            tbody role="rowgroup" {
                @for StoredWindow { window, .. } in windows {
                    tr role="row" {
                        (cell("Who", html! { span.id { (short(window.principal())) } }))
                        (cell("Target", html! { (window.target()) }))
                        (cell("Opened", html! { (ago(window.opens(), now)) " " span.small.quiet { (window.opened().as_str()) } }))
                        (cell("Closes", deadline(window.closes(), now)))
                        (cell("Id", html! { span.id.small { (window.id()) } }))
                        @if steers { (cell("End", end_link("windows", &window.id().to_string(), "window"))) }
                    }
                }
            }
        }
    }
}

fn end_link(kind: &str, id: &str, what: &str) -> Markup {
    html! {
        a.button.plain #{ "end-" (id) } data-step href={ "/console/now/" (kind) "/" (id) } {
            "End…" span.unseen { " the " (what) " " (id) }
        }
    }
}

/// Before a session is ended.
pub(super) fn end_session(may: &May<Steer>, session: &LiveSession) -> Page {
    let facts = html! {
        dt { "Who" } dd { (caller_name(&session.caller)) }
        dt { "Is" } dd { (words::kind(session.caller.kind)) }
        dt { "Principal" } dd.id { (session.principal) }
        dt { "Target" } dd { (session.target) }
        dt { "Began" } dd { (moment(session.started)) }
        dt { "Operations" } dd { (operations(session)) }
        dt { "Id" } dd.id { (session.id) }
    };
    let what = "It is cut at once, with whatever runs in it. Its client is told that an operator ended it. Its window stays open: \
                end that instead if nobody shall come back.";
    let action = format!("/console/now/sessions/{}", session.id);
    ending(may, "End this session?", facts, what, &action)
}

/// Before a window is ended.
pub(super) fn end_window(may: &May<Steer>, stored: &StoredWindow, inside: usize) -> Page {
    let window = &stored.window;
    let facts = html! {
        dt { "Principal" } dd.id { (window.principal()) }
        dt { "Target" } dd { (window.target()) }
        dt { "Opened" } dd { (moment(window.opens())) }
        dt { "Closes" } dd { (moment(window.closes())) }
        dt { "Sessions" } dd { (inside) " on this gateway" }
        dt { "Id" } dd.id { (window.id()) }
    };
    let what = "It closes for good, and every session in it is cut, on every gateway.";
    let action = format!("/console/now/windows/{}", window.id());
    ending(may, "End this window?", facts, what, &action)
}

fn ending(visitor: &Visitor, title: &str, facts: Markup, what: &str, action: &str) -> Page {
    let body = html! {
        div.head { h1 { (title) } }
        dl.card { (facts) }
        form.decide.card method="post" action=(action) {
            p { (what) }
            input type="hidden" name="token" value=(visitor.session.form_token);
            label for="reason" { "Why; it is kept for auditors" }
            textarea #reason name="reason" rows="3" required maxlength=(MAX_REASON_CHARS) data-key="c" {}
            div.buttons {
                button.danger type="submit" { "End it" }
                a.button.plain href=(Room::Now.path()) { "Cancel" }
            }
        }
    };
    Page::of(visitor, Room::Now, Renewed::Not, title, body)
}
