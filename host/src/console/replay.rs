//! A session as it happened, from its recording: statements, decisions, answers as the client saw them.
//!
//! A page is a window of operations ([`walk`]), and what the recording proves ([`proof`]), which is computed for each page of a
//! recording that is read through in a moment, and when it is asked for of a longer one. That somebody looks at a recording is an audit event, once for each sign-in:
//! where it cannot be written, nothing is shown.
//!
//! Shells have no protocol here yet. A player for them takes the place of [`scenes`], for recordings whose head names such a protocol.
//!
//! What may go wrong: whatever may with a recording. It may be written still, left by a crash, deleted by the rules, missing, changed,
//! or encrypted with a key that this gateway has not: each is said in words, and what can be shown is.

use super::Console;
use super::approvals::refused;
use super::archive::{Archive, Found, Left};
use super::pages::{self, Page};
use super::roles::{May, Watch};
use crate::grant::AskError;
use crate::recorder::{RecorderError, SessionSummary, Tombstone};
use crate::state::{Audit, Facet, Search, SearchProblem};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use chaperone_core::name::SessionId;
use proof::Proof;
use serde::Deserialize;
use serde_json::json;
use walk::{Start, Walker, Window};

mod proof;
mod scenes;
mod view;
mod walk;

pub(super) use view::{operation as operation_address, size};
pub(super) use walk::Shelf;

/// A recording up to this length, in bytes, is verified with every page of it: that takes a part of a second.
const AT_ONCE_BYTES: u64 = 16 << 20;

/// The longest session that a place in it can be asked for, in seconds: more than a year.
const MAX_SECONDS: f64 = 40_000_000.0;

/// Which part of a recording. One of the three, or none for its begin.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    /// An operation.
    from: Option<u64>,
    /// Seconds since the session's start.
    t: Option<f64>,
    /// What comes after this operation and is worth a look.
    after: Option<u64>,
    look: Look,
}

/// How much is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Look {
    /// A window; and all, if that is not long.
    #[default]
    Usual,
    /// A window: the rest of the page is there already.
    Window,
    /// All, however long it is.
    Proof,
}

impl Wanted {
    fn from(&self) -> Option<Start> {
        match (self.from, self.t, self.after) {
            (None, None, None) => Some(Start::Operation(1)),
            (Some(number), None, None) => Some(Start::Operation(number.max(1))),
            (None, Some(seconds), None) if (0.0..=MAX_SECONDS).contains(&seconds) => {
                // Positive and small enough, so nothing is lost but what is below a microsecond.
                Some(Start::Time((seconds * 1e6) as u64))
            }
            (None, None, Some(number)) => Some(Start::Finding(number)),
            _ => None,
        }
    }
}

/// What was found of a session.
enum Seen {
    Recording(Box<Sight>),
    Tombstone(Result<Tombstone, String>),
    Nothing,
}

/// What a page shows of a recording.
struct Sight {
    id: SessionId,
    from: Start,
    /// What its head and footer say; else why they cannot be read.
    summary: Result<SessionSummary, RecorderError>,
    bytes: u64,
    window: Window,
    /// None when it was not computed.
    proof: Option<Proof>,
}

/// `GET /console/sessions/{id}`.
pub(super) async fn show(
    State(console): State<Console>,
    may: May<Watch>,
    Path(id): Path<String>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Page, Page> {
    let id: SessionId = id.parse().map_err(|_| pages::not_found())?;
    let wanted = query.ok().map(|Query(wanted)| wanted);
    let wanted = wanted.and_then(|wanted| Some((wanted.from()?, wanted.look)));
    let (from, look) = wanted.ok_or_else(|| {
        let text = "A place in a recording is `from` an operation, `t` in seconds since the start, or the finding `after` an operation.";
        Page::error(StatusCode::BAD_REQUEST, "Not understood", text)
    })?;
    let place = (id, from, look);
    let (archive, shelf) = (console.archive.clone(), console.shelf.clone());
    let principal = &may.identity.facts().principal;
    let seen = console.desk.read(principal, move |left| see(&archive, &shelf, place, left)).await?;
    let unreadable = |error: RecorderError| {
        Page::error(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be read", &format!("{error}."))
    };
    match seen.map_err(unreadable)? {
        Seen::Recording(sight) => {
            looked_at(&console, &may, &sight).await?;
            Ok(view::recording(&may, &sight))
        }
        Seen::Tombstone(tombstone) => Ok(view::deleted(&may, id, &tombstone)),
        Seen::Nothing if is_known(&console, id).await? => Ok(view::missing(&may, id)),
        Seen::Nothing => Err(pages::not_found()),
    }
}

/// Reads what a page shows. It reads files: not for a thread of the runtime.
fn see(
    archive: &Archive,
    shelf: &Shelf,
    (id, from, look): (SessionId, Start, Look),
    left: &Left,
) -> Result<Seen, RecorderError> {
    let (library, path) = match archive.find(id)? {
        Found::Recording(library, path) => (library, path),
        Found::Tombstone(tombstone) => return Ok(Seen::Tombstone(tombstone)),
        Found::Nothing => return Ok(Seen::Nothing),
    };
    let unreadable = |cause: std::io::Error| RecorderError::Read { path: path.clone(), cause: cause.into() };
    let summary = library.summary(&path);
    let bytes = std::fs::metadata(&path).map_err(unreadable)?.len();
    let proves = look == Look::Proof || (look == Look::Usual && bytes <= AT_ONCE_BYTES);
    let proof = proves.then(|| Proof::of(&library, &path, &archive.keys));
    let mut walker: Walker = shelf.take(id, &library, path.clone(), from).map_err(unreadable)?;
    let window = walker.window(from, left).map_err(unreadable)?;
    shelf.keep(id, walker);
    Ok(Seen::Recording(Box::new(Sight { id, from, summary, bytes, window, proof })))
}

/// Puts on record that somebody looks at a recording, unless this sign-in did before. Fails closed: what cannot be put on record is
/// not shown.
async fn looked_at(console: &Console, may: &May<Watch>, sight: &Sight) -> Result<(), Page> {
    if may.session.has_looked_at(sight.id) {
        return Ok(());
    }
    let target = sight.summary.as_ref().map(|summary| summary.opening.head.target.to_string());
    let audit = Audit {
        event: "recording.viewed",
        actor: may.identity.facts().principal.as_str(),
        subject: &sight.id.to_string(),
        target: &target.unwrap_or_default(),
        detail: json!({ "role": may.roles.word() }),
    };
    let noted = console.grants.state().audit(audit, may.now).await;
    noted.map_err(|error| refused(AskError::from(error)))?;
    may.session.looked_at(sight.id);
    Ok(())
}

/// Whether the index has operations of a session.
async fn is_known(console: &Console, id: SessionId) -> Result<bool, Page> {
    let facets = vec![(Facet::Session, id.to_string())];
    let found = console.grants.state().search(&Search { facets, limit: 1, ..Search::default() }).await;
    match found {
        Ok(found) => Ok(!found.is_empty()),
        Err(SearchProblem::NoWords) => Ok(false),
        Err(SearchProblem::Store(error)) => Err(refused(AskError::from(error))),
    }
}
