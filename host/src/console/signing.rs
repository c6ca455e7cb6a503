//! Signing in and out.
//!
//! A sign-in belongs to the browser that began it: it holds a cookie, and what comes back counts only together with that. So
//! neither a stolen `state` nor a link that somebody prepared signs anybody in. Where a browser is sent to is the provider's
//! address and comes back to the configured one, whatever host the request names; afterwards it is shown one approval or its
//! first page, and nothing else that a link could ask for.

use super::Console;
use super::body::Sent;
use super::pages::{self, Page};
use super::store::{SIGNED_IN_SECONDS, STARTED_SECONDS};
use super::visitor::{BROWSER, SIGNED_IN, Visitor, cookie, set_cookie};
use crate::identity::Identity;
use crate::identity::signin::{Answer, random, said};
use crate::state::Audit;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use chaperone_core::Timestamp;
use chaperone_core::approval::ApprovalId;
use serde::Deserialize;
use serde_json::json;

/// What to show after signing in.
#[derive(Deserialize)]
pub(super) struct Then {
    then: Option<String>,
}

impl Then {
    fn id(&self) -> Option<ApprovalId> {
        self.then.as_deref().and_then(|id| id.parse().ok())
    }
}

/// `GET /console/login`: with one provider to it at once, else a page to choose from.
pub(super) async fn login(
    State(console): State<Console>,
    Query(then): Query<Then>,
    headers: HeaderMap,
) -> Response {
    match &*console.sign_ins {
        [_] => start(&console, 0, then.id(), &headers).await,
        sign_ins => {
            let names: Vec<&str> = sign_ins.iter().map(|one| one.provider().as_str()).collect();
            pages::choose(&names, then.id()).into_response()
        }
    }
}

/// `GET /console/login/{provider}`.
pub(super) async fn begin(
    State(console): State<Console>,
    Path(provider): Path<String>,
    Query(then): Query<Then>,
    headers: HeaderMap,
) -> Response {
    match console.sign_ins.iter().position(|one| one.provider().as_str() == provider) {
        Some(index) => start(&console, index, then.id(), &headers).await,
        None => pages::not_found().into_response(),
    }
}

async fn start(console: &Console, index: usize, then: Option<ApprovalId>, headers: &HeaderMap) -> Response {
    let Some(sign_in) = console.sign_ins.get(index) else { return pages::not_found().into_response() };
    let now = console.grants.clock().now();
    let begun = match sign_in.begin(now).await {
        Ok(begun) => begun,
        Err(error) => return failed(&error.to_string()).into_response(),
    };
    // One value for all sign-ins of a browser, so that two tabs do not get in each other's way.
    let browser = match cookie(headers, BROWSER) {
        Some(value) => value.to_owned(),
        None => match random() {
            Ok(value) => value,
            Err(error) => return failed(&error.to_string()).into_response(),
        },
    };
    console.started.keep((&begun.state, begun.started), index, then, &browser, now);
    (with_cookies([(BROWSER, &browser, STARTED_SECONDS)]), Redirect::to(&begun.url)).into_response()
}

/// What a provider sends a browser back with (RFC 6749, section 4.1.2; RFC 9207).
#[derive(Deserialize)]
pub(super) struct Returned {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// `GET /console/callback`: the only answer that signs somebody in.
pub(super) async fn callback(
    State(console): State<Console>,
    Query(returned): Query<Returned>,
    headers: HeaderMap,
) -> Response {
    let now = console.grants.clock().now();
    let state = returned.state.as_deref().unwrap_or_default();
    let browser = cookie(&headers, BROWSER).unwrap_or_default();
    let Some(start) = console.started.take(state, browser, now) else {
        return failed("This sign-in was not begun in this browser, took too long, or is over already.")
            .into_response();
    };
    if let Some(error) = &returned.error {
        return failed(&format!("The identity provider refused: {}.", said(error))).into_response();
    }
    let Some(sign_in) = console.sign_ins.get(start.provider) else {
        return pages::not_found().into_response();
    };
    let answer =
        Answer { code: returned.code.as_deref().unwrap_or_default(), issuer: returned.iss.as_deref() };
    let identity = match sign_in.finish(&console.identities, start.started, answer, now).await {
        Ok(identity) => identity,
        Err(error) => {
            tracing::warn!(provider = %sign_in.provider(), %error, "nobody was signed in");
            return failed(&format!("Nobody was signed in: {error}.")).into_response();
        }
    };
    match sign_in_as(&console, identity, now).await {
        Ok(fresh) => {
            let to = start.then.map_or("/console".into(), |id| format!("/console/approvals/{id}"));
            // The cookies of before are of no use any more, whoever had set them.
            if let Some(before) = cookie(&headers, SIGNED_IN) {
                console.signed_in.forget(before);
            }
            let cookies = [(SIGNED_IN, fresh.as_str(), SIGNED_IN_SECONDS), (BROWSER, "", 0)];
            (with_cookies(cookies), Redirect::to(&to)).into_response()
        }
        Err(page) => page.into_response(),
    }
}

/// The cookie of somebody who may approve; nobody else has anything to do here.
async fn sign_in_as(console: &Console, identity: Identity, now: Timestamp) -> Result<String, Page> {
    let no_access = |text: &str| Page::error(StatusCode::FORBIDDEN, "No access", text);
    console.grants.admit(&identity, now).map_err(|refusal| no_access(&refusal.to_string()))?;
    console.grants.may_approve(&identity).map_err(|why| no_access(&format!("You cannot approve: {why}.")))?;
    audit(console, "console.signed-in", &identity, now).await?;
    console.signed_in.keep(identity, now).map_err(|error| failed(&format!("{error}.")))
}

/// A sign-in that cannot be noted does not happen: fails closed.
async fn audit(console: &Console, event: &str, identity: &Identity, now: Timestamp) -> Result<(), Page> {
    let facts = identity.facts();
    let audit = Audit {
        event,
        actor: facts.principal.as_str(),
        subject: &facts.credential_id,
        target: "",
        detail: json!({ "client": facts.actor }),
    };
    console.grants.state().audit(audit, now).await.map_err(|error| {
        tracing::error!(%error, event, "an audit event could not be kept");
        failed("The gateway's state store does not answer.")
    })
}

/// The form of every page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leave {
    token: String,
}

/// `POST /console/logout`.
pub(super) async fn logout(
    State(console): State<Console>,
    visitor: Visitor,
    Sent(leave): Sent<Leave>,
) -> Response {
    if !visitor.session.sent(&leave.token) {
        return pages::not_from_here().into_response();
    }
    console.signed_in.forget(&visitor.cookie);
    // Signed out is signed out, noted or not; the log says if it was not.
    let _ = audit(&console, "console.signed-out", &visitor.identity, visitor.now).await;
    (with_cookies([(SIGNED_IN, "", 0)]), pages::signed_out("You are signed out.")).into_response()
}

fn failed(text: &str) -> Page {
    Page::error(StatusCode::BAD_REQUEST, "Not signed in", text)
}

fn with_cookies<const N: usize>(
    cookies: [(&str, &str, i64); N],
) -> AppendHeaders<Vec<(header::HeaderName, HeaderValue)>> {
    let set = cookies.into_iter().filter_map(|(name, value, seconds)| set_cookie(name, value, seconds));
    AppendHeaders(set.map(|value| (header::SET_COOKIE, value)).collect())
}
