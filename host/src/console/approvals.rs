//! What waits, one of it, and a decision. The rules are the grant module's.

use super::Console;
use super::body::Sent;
use super::pages::{self, Page};
use super::visitor::Visitor;
use crate::grant::AskError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use chaperone_core::approval::{ApprovalId, Verdict};
use serde::Deserialize;

/// `GET /console`.
pub(super) async fn home() -> Redirect {
    Redirect::to("/console/approvals")
}

/// `GET /console/approvals`: what this person may decide; for operators all that is pending.
pub(super) async fn list(State(console): State<Console>, visitor: Visitor) -> Result<Page, Page> {
    let stored = console.grants.approvals(&visitor.identity).await.map_err(refused)?;
    Ok(pages::list(&visitor, &stored))
}

/// `GET /console/approvals/{id}`: shows, and decides nothing.
pub(super) async fn show(
    State(console): State<Console>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Page, Page> {
    let id: ApprovalId = id.parse().map_err(|_| pages::not_found())?;
    let look = console.grants.look(&visitor.identity, id).await.map_err(refused)?;
    Ok(pages::approval(&visitor, &look))
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
    visitor: Visitor,
    Path(id): Path<String>,
    Sent(decide): Sent<Decide>,
) -> Response {
    if !visitor.session.sent(&decide.token) {
        return pages::not_from_here().into_response();
    }
    let Ok(id) = id.parse::<ApprovalId>() else { return pages::not_found().into_response() };
    // Browsers end lines as RFC 9110's text media types do; a comment has line feeds alone.
    let comment = decide.comment.replace("\r\n", "\n");
    let decided = console.grants.decide(&visitor.identity, id, decide.verdict, &comment, visitor.now).await;
    match decided {
        Ok(_) => Redirect::to(&format!("/console/approvals/{id}")).into_response(),
        Err(error) => refused(error).into_response(),
    }
}

/// Everything else under `/console`.
pub(super) async fn no_such_page() -> Page {
    pages::not_found()
}

fn refused(error: AskError) -> Page {
    let status = match &error {
        AskError::NotFound => return pages::not_found(),
        AskError::Rule(_) | AskError::PolicyChanged | AskError::OutsideHours(_) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Page::error(status, "Not done", &error.to_string())
}
