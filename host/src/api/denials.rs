//! The deny list, for operators.

use super::Api;
use super::body::Strict;
use super::caller::Caller;
use super::handlers::parse_duration;
use super::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chaperone_core::denial::{Denied, DeniedKind};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deny {
    kind: DeniedKind,
    tenant: String,
    id: String,
    reason: String,
    duration: Option<String>,
}

/// `POST /api/v1/denials`: 201; live sessions that it is about are cut.
pub(super) async fn deny(
    State(api): State<Api>,
    caller: Caller,
    Strict(deny): Strict<Deny>,
) -> Result<Response, Problem> {
    let Deny { kind, tenant, id, reason, duration } = deny;
    let denied = Denied::new(kind, tenant, id).map_err(|error| Problem::malformed(format!("{error}.")))?;
    let duration = duration.as_deref().map(parse_duration).transpose()?;
    let denial = api.grants.deny(&caller.identity, denied, &reason, duration, caller.now).await?;
    let place = format!("/api/v1/denials/{}", denial.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(denial)).into_response())
}

/// `GET /api/v1/denials`: what holds now.
pub(super) async fn denials(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let denials = api.grants.denials(&caller.identity, caller.now).await?;
    Ok(Json(json!({ "denials": denials })).into_response())
}

/// `DELETE /api/v1/denials/{id}`.
pub(super) async fn lift(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = id.parse().map_err(|_| Problem::not_found())?;
    api.grants.lift(&caller.identity, id, caller.now).await?;
    Ok(StatusCode::NO_CONTENT)
}
