//! The approvers' pages: sign in, see what waits, decide.
//!
//! They are served beside the API and have nothing in common with it but the grant module: the API takes bearer tokens and no
//! cookies, these pages take one cookie and no bearer tokens. Nothing is decided by GET, so a captured link decides nothing; a
//! decision carries a value that only the page of this sign-in has. The pages have no script, load nothing from elsewhere and may
//! not be framed. What others have written (statements, reasons, names) is text in them, with what would hide or turn it made
//! visible.
//!
//! What may go wrong: sign-ins live in this process. Behind a balancer each browser has to stay with one gateway, and a restart
//! signs everybody out.

use crate::grant::Grants;
use crate::identity::Identities;
use crate::identity::signin::SignIn;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::{get, post};
use std::sync::Arc;

mod approvals;
mod body;
mod pages;
mod signing;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod visitor;

pub use store::{MAX_SIGNED_IN, MAX_SIGNED_IN_EACH, MAX_STARTED, SIGNED_IN_SECONDS, STARTED_SECONDS};

/// What the pages stand on.
#[derive(Clone)]
pub(crate) struct Console {
    identities: Arc<Identities>,
    sign_ins: Arc<[SignIn]>,
    grants: Grants,
    started: Arc<store::Started>,
    signed_in: Arc<store::SignedIn>,
    /// `https://` and the host, as browsers reach it.
    origin: Arc<str>,
}

/// Where browsers come back to after signing in; `public_url` has no slash at its end.
pub fn redirect_uri(public_url: &str) -> String {
    format!("{public_url}/console/callback")
}

/// The pages as a router without a fallback, to be merged with the API's.
pub fn router(
    identities: Arc<Identities>,
    sign_ins: Vec<SignIn>,
    grants: Grants,
    public_url: &str,
) -> Router {
    let console = Console {
        identities,
        sign_ins: sign_ins.into(),
        grants,
        started: Arc::default(),
        signed_in: Arc::default(),
        origin: origin(public_url).into(),
    };
    Router::new()
        .route("/console", get(approvals::home))
        .route("/console/style.css", get(pages::style))
        .route("/console/login", get(signing::login))
        .route("/console/login/{provider}", get(signing::begin))
        .route("/console/callback", get(signing::callback))
        .route("/console/logout", post(signing::logout))
        .route("/console/approvals", get(approvals::list))
        .route("/console/approvals/{id}", get(approvals::show).post(approvals::decide))
        .route("/console/{*rest}", get(approvals::no_such_page))
        .layer(axum::middleware::map_response(harden))
        .with_state(console)
}

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
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
