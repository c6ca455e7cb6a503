//! The HTTPS API: how agents ask for windows, how people approve, how operators see and end.
//!
//! Every call brings its own bearer token (RFC 6750) and is identified anew; there are no cookies and no sessions, so
//! there is nothing to forge across sites. Bodies are strict JSON, answers are never cached, and errors are problem
//! details (RFC 9457) that say what to send instead. Nothing changes by GET.
//!
//! The router is given to whoever owns the listener and its TLS; it bounds bodies, waits and waiters itself.

use crate::grant::{Grants, RenewError, Renewal};
use crate::identity::{Credential, Identities, Identity, PolicyGroups};
use crate::session::Activities;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use chaperone_core::Timestamp;
use chaperone_core::identity::Caller;
use chaperone_core::name::{Principal, SessionId, TargetName, WindowId};
use chaperone_core::refusal::Refusal;
use serde::Serialize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

mod body;
mod caller;
mod deliveries;
mod denials;
pub(crate) mod ending;
mod events;
mod explain;
mod handlers;
pub mod login;
mod preservations;
mod problem;
mod reload;
mod renewal;
mod search;
#[cfg(test)]
mod tests;
mod views;
mod waiters;

pub use caller::Peer;
pub(crate) use events::{KEEP_ALIVE, Turns};
pub(crate) use search::Asked as SearchAsked;
pub(crate) use waiters::{Waiter, Waiters};

/// The largest body that is read, in bytes. A request is a few hundred.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest wait of a long poll.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// A future that a trait object returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Turns a bearer token into an identity.
pub trait Identify: Send + Sync {
    /// Validates the token.
    fn identify<'a>(&'a self, token: &'a str, now: Timestamp) -> Answer<'a, Result<Identity, Refusal>>;

    /// Adds what the token left open, as far as its provider says it.
    fn complete<'a>(
        &'a self,
        identity: Identity,
        groups: PolicyGroups<'a>,
        now: Timestamp,
    ) -> Answer<'a, Result<Identity, Refusal>>;
}

impl Identify for Identities {
    fn identify<'a>(&'a self, token: &'a str, now: Timestamp) -> Answer<'a, Result<Identity, Refusal>> {
        Box::pin(async move {
            let credential = Credential::bearer(token.to_owned());
            Identities::identify(self, &credential, now).await
        })
    }

    fn complete<'a>(
        &'a self,
        identity: Identity,
        groups: PolicyGroups<'a>,
        now: Timestamp,
    ) -> Answer<'a, Result<Identity, Refusal>> {
        Box::pin(Identities::complete(self, identity, groups, now))
    }
}

/// A session that this gateway carries now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub principal: Principal,
    /// Who that is, and through what.
    pub caller: Caller,
    /// On what.
    pub target: TargetName,
    /// In which window.
    pub window: WindowId,
    /// When it began.
    pub started: Timestamp,
    /// When it will end at the latest, by the token that it has now.
    pub ends: Timestamp,
    /// What it does, and how much it has done.
    #[serde(flatten)]
    pub activity: Activities,
}

/// What ending a session did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOutcome {
    /// It is being cut.
    Ended,
    /// This gateway carries no such session.
    NotLive,
}

/// The sessions that this gateway carries.
pub trait LiveSessions: Send + Sync {
    /// All of them.
    fn list(&self) -> Vec<LiveSession>;
    /// Cuts one; its client is told who did it, and why.
    fn end(&self, id: SessionId, by: &Principal, reason: &str) -> EndOutcome;
    /// Lets a newer token of its caller count for one.
    ///
    /// # Errors
    /// Why the token does not count; the session goes on with the one that it had.
    fn renew(&self, id: SessionId, identity: &Identity) -> Result<Renewal, RenewError>;
}

/// A policy that was read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The top-level keys that say something else than before.
    pub changed: Vec<String>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Reads the file of the gateway again.
pub trait Reload: Send + Sync {
    /// Puts its policy in the place of the one that counts, for this principal.
    ///
    /// # Errors
    /// What is wrong with the file, for people. The policy before stays then.
    fn reload<'a>(&'a self, by: &'a str) -> Answer<'a, Result<Reloaded, String>>;
}

/// What the handlers stand on.
#[derive(Clone)]
pub(crate) struct Api {
    identities: Arc<dyn Identify>,
    grants: Grants,
    sessions: Arc<dyn LiveSessions>,
    policy: Arc<dyn Reload>,
    waiters: Waiters,
}

/// The API as a router, to be served by the HTTPS listener.
pub fn router(
    identities: Arc<dyn Identify>,
    grants: Grants,
    sessions: Arc<dyn LiveSessions>,
    policy: Arc<dyn Reload>,
) -> Router {
    let api = Api { identities, grants, sessions, policy, waiters: Waiters::default() };
    Router::new()
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/explain", get(explain::explain))
        .route("/api/v1/requests", post(handlers::request).get(handlers::requests))
        .route("/api/v1/requests/{id}", get(handlers::one_request))
        .route("/api/v1/windows", get(handlers::windows))
        .route("/api/v1/windows/{id}", delete(handlers::end_window))
        .route("/api/v1/approvals", get(handlers::approvals))
        .route("/api/v1/approvals/{id}", post(handlers::decide))
        .route("/api/v1/deliveries", get(deliveries::deliveries))
        .route("/api/v1/denials", post(denials::deny).get(denials::denials))
        .route("/api/v1/denials/{id}", delete(denials::lift))
        .route("/api/v1/policy/reload", post(reload::reload))
        .route("/api/v1/search", get(search::search))
        .route("/api/v1/preservations", post(preservations::preserve).get(preservations::preservations))
        .route("/api/v1/preservations/{id}", delete(preservations::release))
        .route("/api/v1/sessions", get(handlers::sessions))
        .route("/api/v1/sessions/{id}", delete(handlers::end_session))
        .route("/api/v1/sessions/{id}/token", put(renewal::renew))
        .route("/healthz", get(handlers::health))
        .fallback(handlers::no_such_path)
        .method_not_allowed_fallback(handlers::no_such_method)
        .layer(axum::middleware::map_response(harden))
        .with_state(api)
}

/// No answer is kept, guessed at, or shown inside another page.
pub(crate) async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
