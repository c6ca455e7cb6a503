//! One function for each path: read, ask the grant module, show. No rule is decided here.

use super::body::Strict;
use super::caller::Caller;
use super::problem::Problem;
use super::views::{ApprovalView, WindowView};
use super::{Api, LiveSession, MAX_WAIT, ending};
use crate::grant::{AskError, NextStep, RequestOutcome, Wish, is_reason};
use crate::state::SessionRow;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chaperone_core::approval::{ApprovalId, Verdict};
use chaperone_core::grant::Match;
use chaperone_core::name::{RequestId, TargetName};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    target: TargetName,
    reason: String,
    ticket: Option<String>,
    duration: Option<String>,
}

/// A request's answer: the request with its window, or the window that is open already.
#[derive(Serialize)]
#[serde(untagged)]
enum Asked {
    Request(Box<ApprovalView>),
    AlreadyOpen { state: &'static str, window: WindowView },
}

/// `POST /api/v1/requests`: 201 when it is new, 200 when it was asked before or a window is open already.
pub(super) async fn request(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Strict(ask): Strict<Ask>,
) -> Result<Response, Problem> {
    let duration = ask.duration.as_deref().map(parse_duration).transpose()?;
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(key) => Some(
            key.to_str().map_err(|_| Problem::malformed("The Idempotency-Key is not printable ASCII."))?,
        ),
    };
    let now = caller.now;
    let wish =
        Wish { target: &ask.target, reason: &ask.reason, ticket: ask.ticket.as_deref(), duration, key };
    let outcome = api.grants.request(&caller.identity, wish, caller.occasion()).await;
    let outcome = outcome.map_err(|error| {
        let next = api.grants.next_step(&ask.target);
        match &error {
            AskError::TooLong(longest) => {
                let next = next.lasting(*longest);
                Problem::from(error).request(next)
            }
            AskError::Reason => Problem::from(error).request(next),
            AskError::TicketNeeded => Problem::from(error).request(next.with_ticket()),
            _ => error.into(),
        }
    })?;
    Ok(match outcome {
        RequestOutcome::New(stored, window) => {
            let place = format!("/api/v1/requests/{}", stored.id);
            let view = ApprovalView::of(stored, window, now);
            (StatusCode::CREATED, [(header::LOCATION, place)], Json(Asked::Request(Box::new(view))))
                .into_response()
        }
        RequestOutcome::Repeated(stored, window) => {
            Json(Asked::Request(Box::new(ApprovalView::of(stored, window, now)))).into_response()
        }
        RequestOutcome::AlreadyOpen(window) => {
            let window = WindowView::of(window, now);
            Json(Asked::AlreadyOpen { state: "already-open", window }).into_response()
        }
    })
}

/// `GET /api/v1/requests`.
pub(super) async fn requests(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let stored = api.grants.requests(&caller.identity).await?;
    let views: Vec<_> = stored.into_iter().map(|one| ApprovalView::of(one, None, caller.now)).collect();
    Ok(Json(json!({ "requests": views })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<String>,
}

/// `GET /api/v1/requests/{id}?wait=30s`: answers as soon as it is no longer pending, or when the wait is over.
pub(super) async fn one_request(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<Wait>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) =
        query.map_err(|_| Problem::malformed("The only parameter is `wait`, e.g. `?wait=30s`."))?;
    let id: RequestId = id.parse().map_err(|_| Problem::not_found())?;
    let longest =
        query.wait.as_deref().map(parse_duration).transpose()?.unwrap_or(Duration::ZERO).min(MAX_WAIT);
    let stored = match api.waiters.enter(&caller.identity.facts().principal) {
        Some(_waiter) => api.grants.wait_for_request(&caller.identity, id, longest).await?,
        // Too many wait: this one is answered at once and may ask again.
        None => api.grants.request_of(&caller.identity, id).await?,
    };
    let window = match stored.window {
        None => None,
        Some(id) => api.grants.window_opened(id).await?,
    };
    let now = api.grants.clock().now();
    let next = over(&api, &stored.approval, window.as_ref(), now);
    let view = ApprovalView::of(stored, window, now);
    Ok(Json(json!({ "request": view, "next": next })).into_response())
}

/// What to send when this request leads nowhere any more.
fn over(
    api: &Api,
    approval: &chaperone_core::approval::Approval,
    window: Option<&crate::state::StoredWindow>,
    now: chaperone_core::Timestamp,
) -> Option<NextStep> {
    use chaperone_core::approval::State as Standing;
    let useful = match approval.state(now) {
        Standing::Pending => true,
        Standing::Approved => window.is_some_and(|window| window.is_open(now)),
        Standing::Rejected | Standing::Expired | Standing::Withdrawn => false,
    };
    (!useful).then(|| api.grants.next_step(approval.matter().target()))
}

/// `GET /api/v1/windows`.
pub(super) async fn windows(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let stored = api.grants.windows(&caller.identity).await?;
    let views: Vec<_> = stored.into_iter().map(|one| WindowView::of(one, caller.now)).collect();
    Ok(Json(json!({ "windows": views })).into_response())
}

/// Why something is ended, where nothing is said.
const NO_REASON: &str = "ended through the API";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    reason: Option<String>,
}

/// A parameter and no body: what stands between may drop a body of DELETE (RFC 9110, section 9.3.5).
type Reasoned = Result<Query<Why>, axum::extract::rejection::QueryRejection>;

fn reason_of(query: Reasoned) -> Result<String, Problem> {
    let Query(Why { reason }) = query.map_err(|_| {
        Problem::malformed("The only parameter is `reason`, once, e.g. `?reason=the%20incident%20is%20over`.")
    })?;
    let reason = reason.unwrap_or_else(|| NO_REASON.to_owned());
    if is_reason(&reason) { Ok(reason) } else { Err(AskError::Reason.into()) }
}

/// `DELETE /api/v1/windows/{id}?reason=…`: live sessions in it are cut.
pub(super) async fn end_window(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    query: Reasoned,
) -> Result<StatusCode, Problem> {
    let id = id.parse().map_err(|_| Problem::not_found())?;
    let reason = reason_of(query)?;
    api.grants.end_window(&caller.identity, id, &reason, caller.now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/v1/approvals`: what the caller may decide; for operators and auditors all that is pending.
pub(super) async fn approvals(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let stored = api.grants.approvals(&caller.identity).await?;
    let views: Vec<_> = stored.into_iter().map(|one| ApprovalView::of(one, None, caller.now)).collect();
    Ok(Json(json!({ "approvals": views })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decide {
    verdict: Verdict,
    #[serde(default)]
    comment: String,
}

/// `POST /api/v1/approvals/{id}`.
pub(super) async fn decide(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Strict(decide): Strict<Decide>,
) -> Result<Response, Problem> {
    let id: ApprovalId = id.parse().map_err(|_| Problem::not_found())?;
    let Caller { identity, now, .. } = caller;
    let stored = api.grants.decide(&identity, id, decide.verdict, &decide.comment, now).await?;
    Ok(Json(ApprovalView::of(stored, None, now)).into_response())
}

/// `GET /api/v1/sessions`: `live` is what this gateway carries, `recent` what the shared state knows.
pub(super) async fn sessions(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let recent: Vec<SessionRow> = api.grants.sessions(&caller.identity).await?;
    let everything = api.grants.sees_everything(&caller.identity);
    let own = &caller.identity.facts().principal;
    let mine = |session: &LiveSession| everything == Match::Proved || session.principal == *own;
    let live: Vec<LiveSession> = api.sessions.list().into_iter().filter(mine).collect();
    Ok(Json(json!({ "live": live, "recent": recent })).into_response())
}

/// `DELETE /api/v1/sessions/{id}?reason=…`: its owner may, and any operator; for others it does not exist.
pub(super) async fn end_session(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    query: Reasoned,
) -> Result<StatusCode, Problem> {
    let id = id.parse().map_err(|_| Problem::not_found())?;
    let reason = reason_of(query)?;
    ending::end(&*api.sessions, &api.grants, &caller.identity, (id, &reason), caller.now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /healthz`: whether this gateway can decide anything, without a token and without details.
pub(super) async fn health(State(api): State<Api>) -> Response {
    match api.grants.state().ping().await {
        Ok(()) => Json(json!({ "status": "ok" })).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "no-state" }))).into_response(),
    }
}

pub(super) async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing under this path.").detail(
        "The API is under /api/v1: requests, windows, approvals, events, deliveries, denials, explain, policy/reload, preservations, search, sessions.",
    )
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This path does not take this method.")
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, Problem> {
    humantime::parse_duration(text)
        .map_err(|_| Problem::malformed("A duration is a number with a unit, e.g. `15m`, `90s` or `1h`."))
}
