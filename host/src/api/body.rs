//! Strict JSON bodies: bounded, typed, without unknown members.

use super::problem::Problem;
use super::{BODY_TIMEOUT, MAX_BODY_BYTES};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

/// A body of this type.
pub(super) struct Strict<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Strict<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = media.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        // Also keeps a web page from posting here with a plain form.
        if !media.eq_ignore_ascii_case("application/json") {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "not-json", "The body must be JSON.")
                .detail("Send `Content-Type: application/json`."));
        }
        let read = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES);
        let bytes = match tokio::time::timeout(BODY_TIMEOUT, read).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return Err(Problem::new(status, "too-large", "The body is too large or broke off.")
                    .detail("At most 65536 bytes are read."));
            }
            Err(_) => {
                return Err(Problem::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "too-slow",
                    "The body came too slowly.",
                ));
            }
        };
        // serde's words name the member and the place, never more of the body than a key.
        serde_json::from_slice(&bytes)
            .map(Strict)
            .map_err(|error| Problem::malformed(format!("The JSON body: {error}.")))
    }
}
