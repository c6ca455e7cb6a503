//! What runs now, and ending it.
//!
//! Sessions are those that this gateway carries; windows and what waits are of all gateways on the store. Ending takes two
//! pages: one that shows what would be ended and asks why, and the form on it. The rules and the audit events are the grant
//! module's and the API's.

use super::Console;
use super::approvals::refused;
use super::body::Sent;
use super::pages::{self, Page, Room};
use super::roles::{May, Steer, Watch};
use crate::api::{LiveSession, ending};
use crate::grant::AskError;
use crate::state::{StoredApproval, StoredWindow};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use chaperone_core::Timestamp;
use chaperone_core::name::{SessionId, WindowId};
use serde::Deserialize;

mod view;

/// All that the page shows.
pub(super) struct Picture {
    /// The oldest first.
    pub(super) sessions: Vec<LiveSession>,
    pub(super) waits: Vec<StoredApproval>,
    /// The one that closes first first.
    pub(super) windows: Vec<StoredWindow>,
}

impl Picture {
    pub(super) async fn of(
        console: &Console,
        identity: &crate::identity::Identity,
    ) -> Result<Self, AskError> {
        let mut sessions = console.sessions.list();
        sessions.sort_by_key(|session| (session.started, session.id.to_string()));
        let waits = console.grants.approvals(identity).await?;
        let windows = console.grants.open_windows(identity).await?;
        Ok(Picture { sessions, waits, windows })
    }
}

/// `GET /console/now`.
pub(super) async fn show(State(console): State<Console>, may: May<Watch>) -> Result<Page, Page> {
    let picture = Picture::of(&console, &may.identity).await.map_err(refused)?;
    Ok(view::now(&may, &picture))
}

/// `GET /console/now/sessions/{id}`: what would be ended, and the form that ends it.
pub(super) async fn ask_session(
    State(console): State<Console>,
    may: May<Steer>,
    Path(id): Path<String>,
) -> Result<Page, Page> {
    let id: SessionId = id.parse().map_err(|_| pages::not_found())?;
    let session = ending::may_end(&*console.sessions, &console.grants, &may.identity, id);
    Ok(view::end_session(&may, &session.map_err(gone)?))
}

/// `GET /console/now/windows/{id}`: the same of a window.
pub(super) async fn ask_window(
    State(console): State<Console>,
    may: May<Steer>,
    Path(id): Path<String>,
) -> Result<Page, Page> {
    let id: WindowId = id.parse().map_err(|_| pages::not_found())?;
    let picture = Picture::of(&console, &may.identity).await.map_err(refused)?;
    let window = picture.windows.iter().find(|stored| stored.window.id() == id);
    let window = window.ok_or_else(|| gone(AskError::AlreadyOver))?;
    let inside = picture.sessions.iter().filter(|session| session.window == id).count();
    Ok(view::end_window(&may, window, inside))
}

/// The form of both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    token: String,
    reason: String,
}

impl End {
    /// Browsers end lines as RFC 9110's text media types do; a reason has line feeds alone.
    fn reason(&self) -> String {
        self.reason.replace("\r\n", "\n")
    }
}

/// `POST /console/now/sessions/{id}`.
pub(super) async fn end_session(
    State(console): State<Console>,
    may: May<Steer>,
    Path(id): Path<String>,
    Sent(end): Sent<End>,
) -> Response {
    if !may.session.sent(&end.token) {
        return pages::not_from_here().into_response();
    }
    let Ok(id) = id.parse::<SessionId>() else { return pages::not_found().into_response() };
    let what = (id, &*end.reason());
    done(ending::end(&*console.sessions, &console.grants, &may.identity, what, may.now).await)
}

/// `POST /console/now/windows/{id}`.
pub(super) async fn end_window(
    State(console): State<Console>,
    may: May<Steer>,
    Path(id): Path<String>,
    Sent(end): Sent<End>,
) -> Response {
    if !may.session.sent(&end.token) {
        return pages::not_from_here().into_response();
    }
    let Ok(id) = id.parse::<WindowId>() else { return pages::not_found().into_response() };
    done(console.grants.end_window(&may.identity, id, &end.reason(), may.now).await)
}

fn done(ended: Result<(), AskError>) -> Response {
    match ended {
        Ok(()) => Redirect::to(Room::Now.path()).into_response(),
        Err(error @ AskError::Reason) => {
            Page::error(StatusCode::UNPROCESSABLE_ENTITY, "Not done", &error.to_string()).into_response()
        }
        Err(error) => gone(error).into_response(),
    }
}

/// Only who may end it is told that it was there.
fn gone(error: AskError) -> Page {
    match error {
        AskError::NotFound | AskError::AlreadyOver => Page::error(
            StatusCode::NOT_FOUND,
            "Not there any more",
            "It is over already, or another gateway carries it. Nothing was done.",
        ),
        other => refused(other),
    }
}

/// How long ago something began that is told in microseconds from a session's begin.
fn since(session: &LiveSession) -> Timestamp {
    let micros = i64::try_from(session.activity.since_us).unwrap_or(i64::MAX);
    let at = session.started.as_microsecond().saturating_add(micros);
    Timestamp::from_microsecond(at).unwrap_or(session.started)
}
