//! The policy, read again from the gateway's file. The file's place is the gateway's own: none is ever taken from a caller.

use super::Api;
use super::caller::Caller;
use super::problem::Problem;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// `POST /api/v1/policy/reload`: what has changed, or what is wrong with the file; the policy before stays then.
pub(super) async fn reload(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    api.grants.is_a_person_who_operates(&caller.identity)?;
    let by = caller.identity.facts().principal.as_str();
    match api.policy.reload(by).await {
        Ok(reloaded) => Ok(Json(reloaded).into_response()),
        Err(why) => {
            let title = "The file was not taken; the policy before stays.";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "policy-refused", title).detail(why))
        }
    }
}
