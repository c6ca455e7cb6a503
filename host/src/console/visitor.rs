//! Who looks at a page: the cookies of a browser, and the sign-in behind them.
//!
//! The `__Host-` in front of the names makes browsers keep them for this host alone, over TLS alone, for all paths: neither
//! another host of the domain nor an answer in the clear can set one.

use super::Console;
use super::pages::{self, Page};
use super::roles::Roles;
use super::store::Session;
use crate::identity::Identity;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use chaperone_core::Timestamp;
use chaperone_core::approval::ApprovalId;
use chaperone_core::refusal::Refusal;
use std::sync::Arc;

/// Of who is signed in.
pub(super) const SIGNED_IN: &str = "__Host-chaperone";
/// Of who is about to sign in.
pub(super) const BROWSER: &str = "__Host-chaperone-browser";

/// The length of every value of ours.
const VALUE_BYTES: usize = 43;

/// Somebody who is signed in, and the moment at which they came.
pub(super) struct Visitor {
    pub(super) session: Arc<Session>,
    /// Theirs, with what their provider says now.
    pub(super) identity: Identity,
    pub(super) cookie: String,
    pub(super) roles: Roles,
    pub(super) now: Timestamp,
}

impl FromRequestParts<Console> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let text = "These pages take no tokens: the API does.";
            return Err(Page::error(StatusCode::BAD_REQUEST, "Not understood", text).into_response());
        }
        let Some(cookie) = cookie(&parts.headers, SIGNED_IN) else {
            return Err(to_sign_in(parts));
        };
        match console.visitor(cookie).await {
            Ok(visitor) => Ok(visitor),
            Err(NoVisitor::SignedOut) => Err(to_sign_in(parts)),
            Err(NoVisitor::Refused(refusal)) => {
                Err(Page::error(StatusCode::FORBIDDEN, "No access", &refusal.to_string()).into_response())
            }
        }
    }
}

/// Why a cookie is nobody's.
pub(super) enum NoVisitor {
    /// Nobody is signed in with it, any more or ever.
    SignedOut,
    /// Who was is not let in now.
    Refused(Refusal),
}

impl Console {
    /// Who holds this cookie, as they are at this moment.
    pub(super) async fn visitor(&self, cookie: &str) -> Result<Visitor, NoVisitor> {
        let now = self.grants.clock().now();
        let session = self.signed_in.find(cookie, now).ok_or(NoVisitor::SignedOut)?;
        if let Err(refusal) = self.grants.admit(&session.identity, now) {
            self.signed_in.forget(cookie);
            return Err(NoVisitor::Refused(refusal));
        }
        // At each page, as at each call of the API: who has left the approvers' group decides no more.
        let groups = |provider: &_| self.grants.groups_of(provider);
        let identity = self.identities.complete(session.identity.clone(), &groups, now).await;
        let identity = identity.map_err(NoVisitor::Refused)?;
        let roles = Roles::of(self, &identity);
        Ok(Visitor { session, identity, cookie: cookie.to_owned(), roles, now })
    }
}

/// A page is shown after signing in; what a form has sent is lost, and has to be sent again by somebody who sees it.
fn to_sign_in(parts: &Parts) -> Response {
    if parts.method != Method::GET {
        return pages::signed_out("You are not signed in any more. Nothing was decided.").into_response();
    }
    let id = parts.uri.path().rsplit('/').next().and_then(|id| id.parse::<ApprovalId>().ok());
    match id {
        Some(id) => Redirect::to(&format!("/console/login?then={id}")).into_response(),
        None => Redirect::to("/console/login").into_response(),
    }
}

/// The value of one of our cookies. One that is there twice, or is not of our making, is none.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut values = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value);
    let value = values.next()?;
    let ours = value.len() == VALUE_BYTES
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (ours && values.next().is_none()).then_some(value)
}

/// Sets a cookie for so many seconds; 0 removes it. `Lax`, so that a link in a message finds who is signed in: nothing is
/// decided by a link.
pub(super) fn set_cookie(name: &str, value: &str, seconds: i64) -> Option<HeaderValue> {
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cookie_of_our_making_is_taken() {
        let value = "A".repeat(VALUE_BYTES);
        let other = "B".repeat(VALUE_BYTES);
        for (lines, expected) in [
            (vec![format!("__Host-chaperone={value}")], true),
            (vec![format!("a=b; __Host-chaperone={value}; c")], true),
            (vec!["a=b".into(), format!("__Host-chaperone={value}")], true),
            (vec![format!("__Host-chaperone={value}; __Host-chaperone={other}")], false),
            (vec![format!("__Host-chaperone={value}"), format!("__Host-chaperone={value}")], false),
            (vec![format!("__Host-chaperone-browser={value}")], false),
            (vec![format!("__Host-chaperone=\"{value}\"")], false),
            (vec![format!("__Host-chaperone={}", &value[1..])], false),
            (vec![format!("x__Host-chaperone={value}")], false),
            (vec![], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(cookie(&headers, SIGNED_IN), expected.then_some(value.as_str()), "{lines:?}");
        }
    }
}
