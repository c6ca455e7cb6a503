//! What channels were told, for operators and auditors: a message that does not arrive must not go unnoticed.

use super::Api;
use super::caller::Caller;
use super::problem::Problem;
use crate::grant::AskError;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chaperone_core::grant::Match;
use serde_json::json;

/// `GET /api/v1/deliveries`: the newest first, of all gateways on this store.
pub(super) async fn deliveries(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    if api.grants.sees_everything(&caller.identity) == Match::NotProved {
        return Err(Problem::not_found());
    }
    let deliveries = api.grants.state().deliveries().await.map_err(AskError::from)?;
    Ok(Json(json!({ "deliveries": deliveries })).into_response())
}
