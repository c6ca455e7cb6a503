//! What waits, one of it, and a decision. The rules are the grant module's.

use super::Console;
use super::body::Sent;
use super::pages::{self, Page, Room};
use super::roles::{Answer, May};
use crate::grant::AskError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use chaperone_core::approval::{ApprovalId, Verdict};
use serde::Deserialize;

pub(super) mod view;

/// `GET /console`: what this person sees first.
pub(super) async fn home(may: May<Answer>) -> Redirect {
    Redirect::to(Room::first(may.roles).path())
}

/// `GET /console/approvals`: what this person may decide; for operators and auditors all that is pending.
pub(super) async fn list(State(console): State<Console>, may: May<Answer>) -> Result<Page, Page> {
    let stored = console.grants.approvals(&may.identity).await.map_err(refused)?;
    // That nothing waits is not known of somebody whose groups are not.
    let silent = AskError::NotFound.to(&may.identity);
    match silent {
        AskError::Failed(_) if stored.is_empty() => Err(refused(silent)),
        _ => Ok(view::list(&may, &stored)),
    }
}

/// `GET /console/approvals/{id}`: shows, and decides nothing.
pub(super) async fn show(
    State(console): State<Console>,
    may: May<Answer>,
    Path(id): Path<String>,
) -> Result<Page, Page> {
    let id: ApprovalId = id.parse().map_err(|_| pages::not_found())?;
    let look = console.grants.look(&may.identity, id).await.map_err(refused)?;
    let before = console.grants.decided_before(&may.identity, &look).await.map_err(refused)?;
    Ok(view::one(&may, &look, &before))
}

/// The form of one approval.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decide {
    token: String,
    verdict: Verdict,
    #[serde(default)]
    comment: String,
}

/// `POST /console/approvals/{id}`: decides, and shows what came of it.
pub(super) async fn decide(
    State(console): State<Console>,
    may: May<Answer>,
    Path(id): Path<String>,
    Sent(decide): Sent<Decide>,
) -> Response {
    if !may.session.sent(&decide.token) {
        return pages::not_from_here().into_response();
    }
    let Ok(id) = id.parse::<ApprovalId>() else { return pages::not_found().into_response() };
    // Browsers end lines as RFC 9110's text media types do; a comment has line feeds alone.
    let comment = decide.comment.replace("\r\n", "\n");
    let decided = console.grants.decide(&may.identity, id, decide.verdict, &comment, may.now).await;
    match decided {
        Ok(_) => Redirect::to(&format!("/console/approvals/{id}")).into_response(),
        Err(error) => refused(error).into_response(),
    }
}

/// Everything else under `/console`.
pub(super) async fn no_such_page() -> Page {
    pages::not_found()
}

/// What was not done, and why. To who may not know of it, it does not exist.
pub(super) fn refused(error: AskError) -> Page {
    let status = match &error {
        AskError::NotFound => return pages::not_found(),
        AskError::Rule(_) | AskError::PolicyChanged | AskError::OutsideHours(_) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Page::error(status, "Not done", &error.to_string())
}
