//! What retention must not delete, for operators.

use super::Api;
use super::body::Strict;
use super::caller::Caller;
use super::problem::Problem;
use crate::state::Preserved;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preserve {
    preserved: Preserved,
    reason: String,
}

/// `POST /api/v1/preservations`: 201. `too_late` says when the recording's deletion had begun, if it had.
pub(super) async fn preserve(
    State(api): State<Api>,
    caller: Caller,
    Strict(body): Strict<Preserve>,
) -> Result<Response, Problem> {
    let made = api.grants.preserve(&caller.identity, body.preserved, &body.reason, caller.now).await?;
    let (entry, too_late) = made;
    let place = format!("/api/v1/preservations/{}", entry.id);
    let answer = json!({ "preservation": entry, "too_late": too_late });
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(answer)).into_response())
}

/// `GET /api/v1/preservations`: what holds now.
pub(super) async fn preservations(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let preservations = api.grants.preservations(&caller.identity).await?;
    Ok(Json(json!({ "preservations": preservations })).into_response())
}

/// `DELETE /api/v1/preservations/{id}`.
pub(super) async fn release(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = id.parse().map_err(|_| Problem::not_found())?;
    api.grants.release(&caller.identity, id, caller.now).await?;
    Ok(StatusCode::NO_CONTENT)
}
