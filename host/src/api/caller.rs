//! Who calls: the bearer token of this request, validated anew.

use super::Api;
use super::problem::Problem;
use crate::identity::Identity;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use chaperone_core::Timestamp;
use chaperone_core::grant::Occasion;
use chaperone_core::refusal::RefusalCode;
use std::net::IpAddr;

/// The address at the other end of a connection, put to each of its requests by whoever owns the listener.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The caller of a request, the moment at which it came, and where from.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) identity: Identity,
    pub(super) now: Timestamp,
    pub(super) from: Option<IpAddr>,
}

impl Caller {
    pub(super) fn occasion(&self) -> Occasion {
        Occasion { at: self.now, from: self.from }
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?;
        if parts.uri.query().is_some_and(has_token) {
            return Err(invalid(
                "A token in the URL is never read: URLs are logged. Send it in the Authorization header.",
            ));
        }
        let now = api.grants.clock().now();
        let identity = api.identities.identify(token, now).await?;
        // Who is denied causes no look-up.
        api.grants.admit(&identity, now)?;
        let groups = |provider: &_| api.grants.groups_of(provider);
        let identity = api.identities.complete(identity, &groups, now).await?;
        let now = api.grants.clock().now();
        // Nor is anybody let in who was denied while it took its time.
        api.grants.admit(&identity, now)?;
        let from = parts.extensions.get::<Peer>().map(|Peer(address)| *address);
        Ok(Caller { identity, now, from })
    }
}

fn has_token(query: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next() == Some("access_token"))
}

/// The one token of the one `Authorization` header (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    if headers.contains_key(header::COOKIE) {
        return Err(invalid("This API takes no cookies; send only the Authorization header."));
    }
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        let code = RefusalCode::CredentialMissing.as_str();
        return Err(Problem::new(StatusCode::UNAUTHORIZED, code, "A bearer token is needed.")
            .detail("Send `Authorization: Bearer <token>` with an access token of a configured provider.")
            .challenge(r#"Bearer realm="chaperone""#));
    };
    if values.next().is_some() {
        return Err(invalid("There must be one Authorization header."));
    }
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start_matches(' '))
    });
    token
        .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or_else(|| invalid("The Authorization header must be `Bearer <token>`."))
}

fn invalid(detail: &'static str) -> Problem {
    Problem::malformed(detail).challenge(r#"Bearer realm="chaperone", error="invalid_request""#)
}
