//! A newer token for a live session.
//!
//! The call brings two: its own, as every call, and the session's new one in the body, which is validated as if somebody
//! connected with it. Who has no token of the session's caller gets nowhere by the other. A session is a process's own: one
//! that another gateway carries is not reached from here, and the answer says where it is.

use super::Api;
use super::body::Strict;
use super::caller::Caller;
use super::problem::Problem;
use crate::grant::{AskError, NewToken, Renewal};
use crate::identity::Identity;
use crate::state::Audit;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chaperone_core::name::{Principal, SessionId};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Renew {
    token: String,
}

/// `PUT /api/v1/sessions/{id}/token`: its owner alone may; for others, operators too, it does not exist.
pub(super) async fn renew(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Strict(renew): Strict<Renew>,
) -> Result<Response, Problem> {
    let id: SessionId = id.parse().map_err(|_| Problem::not_found())?;
    let own = &caller.identity.facts().principal;
    let live = api.sessions.list();
    let Some(session) = live.into_iter().find(|session| session.id == id && session.principal == *own) else {
        return Err(not_here(&api, id, own).await);
    };
    let now = api.grants.clock().now();
    let identity = api.identities.identify(&renew.token, now).await.map_err(Problem::of_new_token)?;
    let groups = |provider: &_| api.grants.groups_of(provider);
    let identity = api.identities.complete(identity, &groups, now).await.map_err(Problem::of_new_token)?;
    let renewal = api.sessions.renew(id, &identity)?;
    if renewal.token == NewToken::Taken {
        tracing::info!(session = %id, ends = %renewal.ends, "a session has a new token");
        audit(&api, id, session.target.as_str(), &identity, renewal).await;
    }
    Ok(Json(json!({ "id": id, "ends": renewal.ends })).into_response())
}

/// The token counts already, and the recording says so as well; a store that fails must not make that look undone.
async fn audit(api: &Api, id: SessionId, target: &str, identity: &Identity, renewal: Renewal) {
    let facts = identity.facts();
    let event = Audit {
        event: "session.renewed",
        actor: facts.principal.as_str(),
        subject: &id.to_string(),
        target,
        detail: json!({
            "credential_id": facts.credential_id,
            "issued_at": facts.issued_at,
            "expires_at": facts.expires_at,
            "ends": renewal.ends,
        }),
    };
    if let Err(error) = api.grants.state().audit(event, api.grants.clock().now()).await {
        tracing::error!(%error, session = %id, "the audit event of a renewed session could not be kept");
    }
}

/// Where a session of this caller's is, if not here.
async fn not_here(api: &Api, id: SessionId, own: &Principal) -> Problem {
    let state = api.grants.state();
    let row = match state.session(id).await {
        Ok(row) => row.filter(|row| row.principal == *own),
        Err(error) => return AskError::from(error).into(),
    };
    match row {
        Some(row) if row.ended.is_some() => {
            Problem::new(StatusCode::CONFLICT, "already-over", "This session is over already.")
        }
        Some(row) if row.node != state.node() => {
            let title = "Another gateway carries this session.";
            Problem::new(StatusCode::CONFLICT, "other-node", title)
                .detail(format!("It is `{}`: send the same to it. Gateways do not hand tokens on.", row.node))
        }
        _ => Problem::not_found(),
    }
}
