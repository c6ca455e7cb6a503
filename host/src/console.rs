//! The console: sign in, see what runs and what waits, decide, end, find and replay what was done, and look at the policy and at
//! numbers.
//!
//! It is served beside the API: that takes bearer tokens and no cookies, these pages take one cookie and no bearer tokens. What
//! they show and do is asked of the same modules. Who may see and do what is in [`roles`]. Nothing is decided by GET, so a
//! captured link decides nothing; a decision carries a value that only the page of this sign-in has. The pages work without their
//! scripts, which are three files of our own; they load nothing from elsewhere, have nothing inside that runs, and may not be framed. What others have written (statements, reasons, names) is text in them, with what would hide or turn it made
//! visible.
//!
//! What may go wrong: sign-ins live in this process. Behind a balancer each browser has to stay with one gateway, and a restart
//! signs everybody out.

use crate::api::{LiveSessions, Waiters};
use crate::grant::Grants;
use crate::identity::Identities;
use crate::identity::signin::SignIn;
use crate::metrics::history::History;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::{get, post};
use std::sync::Arc;

mod approvals;
mod archive;
mod assets;
mod body;
mod events;
mod now;
mod overview;
mod pages;
mod policy;
mod replay;
mod roles;
mod sessions;
mod signing;
mod sql;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod visitor;
mod words;

pub use archive::{Archive, READERS};
pub use policy::{Plant, TargetFacts};
pub use store::{MAX_SIGNED_IN, MAX_SIGNED_IN_EACH, MAX_STARTED, SIGNED_IN_SECONDS, STARTED_SECONDS};

/// What the pages stand on.
#[derive(Clone)]
pub(crate) struct Console {
    identities: Arc<Identities>,
    sign_ins: Arc<[SignIn]>,
    grants: Grants,
    started: Arc<store::Started>,
    signed_in: Arc<store::SignedIn>,
    sessions: Arc<dyn LiveSessions>,
    plant: Arc<Plant>,
    history: Arc<History>,
    archive: Arc<Archive>,
    desk: archive::Desk,
    /// Searches that run.
    searching: sessions::Searching,
    shelf: Arc<replay::Shelf>,
    /// Pages that look again by themselves.
    waiters: Waiters,
    /// `https://` and the host, as browsers reach it.
    origin: Arc<str>,
}

/// Where browsers come back to after signing in; `public_url` has no slash at its end.
pub fn redirect_uri(public_url: &str) -> String {
    format!("{public_url}/console/callback")
}

/// What the pages show and act on.
pub struct Parts {
    /// Credential -> identity.
    pub identities: Arc<Identities>,
    /// Where people sign in. Never empty.
    pub sign_ins: Vec<SignIn>,
    /// What waits, the policy, and every decision.
    pub grants: Grants,
    /// What this gateway carries.
    pub sessions: Arc<dyn LiveSessions>,
    /// Targets and plugins.
    pub plant: Plant,
    /// The numbers of the last hours.
    pub history: Arc<History>,
    /// The recordings.
    pub archive: Archive,
}

/// The pages as a router without a fallback, to be merged with the API's.
pub fn router(parts: Parts, public_url: &str) -> Router {
    let Parts { identities, sign_ins, grants, sessions, plant, history, archive } = parts;
    let console = Console {
        identities,
        sign_ins: sign_ins.into(),
        grants,
        started: Arc::default(),
        signed_in: Arc::default(),
        sessions,
        plant: plant.into(),
        history,
        archive: archive.into(),
        desk: archive::Desk::default(),
        searching: sessions::Searching::default(),
        shelf: Arc::default(),
        waiters: Waiters::default(),
        origin: origin(public_url).into(),
    };
    Router::new()
        .route("/console", get(approvals::home))
        .route("/console/style.css", get(assets::style))
        .route("/console/live.js", get(assets::live))
        .route("/console/keys.js", get(assets::keys))
        .route("/console/replay.js", get(assets::replay))
        .route("/console/login", get(signing::login))
        .route("/console/login/{provider}", get(signing::begin))
        .route("/console/callback", get(signing::callback))
        .route("/console/logout", post(signing::logout))
        .route("/console/approvals", get(approvals::list))
        .route("/console/approvals/{id}", get(approvals::show).post(approvals::decide))
        .route("/console/events", get(events::events))
        .route("/console/now", get(now::show))
        .route("/console/now/sessions/{id}", get(now::ask_session).post(now::end_session))
        .route("/console/now/windows/{id}", get(now::ask_window).post(now::end_window))
        .route("/console/sessions", get(sessions::show))
        .route("/console/sessions/{id}", get(replay::show))
        .route("/console/policy", get(policy::show))
        .route("/console/overview", get(overview::show))
        .route("/console/{*rest}", get(approvals::no_such_page))
        .layer(axum::middleware::map_response(harden))
        .with_state(console)
}

/// Our own style sheet, our own scripts, and what these ask of us. No text ever becomes markup or a script in a browser
/// (Trusted Types).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// As browsers write it behind `Origin`: in lower case, and without the port if it is the usual one.
fn origin(public_url: &str) -> String {
    reqwest::Url::parse(public_url)
        .map_or_else(|_| public_url.to_owned(), |url| url.origin().ascii_serialization())
}

/// No answer is kept, guessed at, framed, or fed by anything from elsewhere. With another referrer policy a browser would not say
/// where a form was sent from.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
