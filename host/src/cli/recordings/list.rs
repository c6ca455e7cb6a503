//! `chaperone sessions`: what heads and footers say, newest first. It proves nothing: that is `verify`.

use super::words::took;
use super::{Screen, pretty, unreadable};
use crate::cli::failure::{Exit, Failure};
use crate::cli::print::{self, Audience, Column, clean};
use crate::recorder::retain;
use crate::recorder::{Ending, EventKind, Library, SessionHead, SessionSummary, State};
use crate::state::Preservation;
use serde_json::{Value, json};

const COLUMNS: [Column; 11] = [
    Column { title: "SESSION", pointer: "/session" },
    Column { title: "STARTED", pointer: "/started" },
    Column { title: "PRINCIPAL", pointer: "/principal" },
    Column { title: "KIND", pointer: "/kind" },
    Column { title: "TARGET", pointer: "/target" },
    Column { title: "TOOK", pointer: "/took" },
    Column { title: "OPERATIONS", pointer: "/operations" },
    Column { title: "REFUSED", pointer: "/refused" },
    Column { title: "HELD", pointer: "/held" },
    Column { title: "END", pointer: "/end" },
    Column { title: "PRESERVED", pointer: "/preserved" },
];

pub(super) fn run(
    library: impl Into<Library>,
    limit: usize,
    audience: Audience,
    screen: &mut dyn Screen,
) -> Result<Exit, Failure> {
    let library = library.into();
    let listing = library.list(limit).map_err(|error| unreadable(&error))?;
    for (_, error) in &listing.unreadable {
        screen.aside(&format!("{}\n", clean(&error.to_string())));
    }
    let kept = noted(&library);
    match audience {
        Audience::People => {
            let mut rows: Vec<Value> = listing.sessions.iter().map(row).collect();
            for (row, summary) in rows.iter_mut().zip(&listing.sessions) {
                if let (Some(entry), Some(fields)) =
                    (preserved(&kept, &summary.opening.head), row.as_object_mut())
                {
                    fields.insert("preserved".into(), json!(entry.id));
                }
            }
            let some = rows.iter().any(|row| row.get("preserved").is_some());
            let columns = COLUMNS.split_last().filter(|_| !some).map_or(&COLUMNS[..], |(_, others)| others);
            let nothing =
                if listing.unreadable.is_empty() { "no recordings" } else { "no readable recordings" };
            let nothing = format!("{nothing} in {}", clean(&library.directory().display().to_string()));
            screen.show(&print::table(&rows, columns, &nothing));
        }
        Audience::Programs => {
            let unreadable = listing.unreadable.iter();
            let unreadable =
                unreadable.map(|(path, error)| json!({ "path": path, "error": error.to_string() }));
            screen.data(&pretty(&json!({
                "sessions": listing.sessions.iter().map(|summary| whole(summary, preserved(&kept, &summary.opening.head))).collect::<Vec<_>>(),
                "unreadable": unreadable.collect::<Vec<_>>(),
            })));
        }
    }
    Ok(Exit::Done)
}

/// What is preserved, as the gateway noted it last, a minute ago at most while it runs.
pub(super) fn noted(library: &Library) -> Vec<Preservation> {
    let noted = retain::preserved(library.directory()).unwrap_or_default();
    serde_json::from_slice(&noted).unwrap_or_default()
}

/// What keeps a recording from being deleted by the rules.
pub(super) fn preserved<'a>(kept: &'a [Preservation], head: &SessionHead) -> Option<&'a Preservation> {
    kept.iter().find(|entry| entry.preserved.covers(head.session, &head.target, &head.identity.principal))
}

fn state(summary: &SessionSummary) -> &'static str {
    match summary.state {
        State::Live => "live",
        State::Sealed(Ending::Sealed) => "sealed",
        State::Sealed(Ending::Interrupted) => "interrupted",
        State::Unsealed => "unsealed",
    }
}

/// A line of the table.
pub(super) fn row(summary: &SessionSummary) -> Value {
    let head = &summary.opening.head;
    let count = |kind| summary.footer.as_ref().map(|footer| footer.count(kind));
    let end = match &summary.footer {
        Some(footer) => serde_json::to_value(footer.end.reason).unwrap_or_default(),
        None => state(summary).into(),
    };
    json!({
        "session": head.session,
        "started": summary.opening.started,
        "principal": short(&head.identity.principal.to_string()),
        "kind": head.identity.kind,
        "target": head.target,
        "took": summary.footer.as_ref().map(|footer| took(footer.last_at_us)),
        "operations": count(EventKind::Operation),
        "refused": count(EventKind::Refusal),
        "held": count(EventKind::Hold),
        "end": end,
    })
}

/// Provider and the beginning of the object id: enough to know somebody again. The whole is in `--json`.
fn short(principal: &str) -> String {
    const SHOWN: usize = 13;
    let mut parts = principal.split('/');
    match (parts.next(), parts.next_back()) {
        (Some(provider), Some(object)) => {
            format!("{provider}/…/{}", crate::protocol::postgres::render::cut(object, SHOWN))
        }
        _ => principal.to_owned(),
    }
}

fn whole(summary: &SessionSummary, preserved: Option<&Preservation>) -> Value {
    json!({
        "path": summary.path,
        "bytes": summary.bytes,
        "state": state(summary),
        "head": summary.opening,
        "footer": summary.footer,
        "preserved": preserved,
    })
}
