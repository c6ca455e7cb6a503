//! What a form sends: bounded, whole, and from one of our own pages.

use super::Console;
use super::pages::Page;
use axum::body::Body;
use axum::extract::{Form, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The largest form, in bytes: a comment of 500 characters, each in up to twelve.
const MAX_FORM_BYTES: usize = 16 * 1024;

/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// A form of this type.
pub(super) struct Sent<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Console> for Sent<T> {
    type Rejection = Page;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Page> {
        if !is_from_here(request.headers(), &console.origin) {
            return Err(refused(StatusCode::FORBIDDEN, "This was sent from another site. Nothing was done."));
        }
        let (parts, body) = request.into_parts();
        let read = axum::body::to_bytes(body, MAX_FORM_BYTES);
        let bytes = match tokio::time::timeout(FORM_TIMEOUT, read).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "This is too long.")),
            Err(_) => return Err(refused(StatusCode::REQUEST_TIMEOUT, "This came too slowly.")),
        };
        let request = Request::from_parts(parts, Body::from(bytes));
        match Form::from_request(request, &()).await {
            Ok(Form(form)) => Ok(Sent(form)),
            Err(_) => Err(refused(StatusCode::BAD_REQUEST, "This is no form of this page.")),
        }
    }
}

fn refused(status: StatusCode, text: &str) -> Page {
    Page::error(status, "Not done", text)
}

/// Browsers say where a form was sent from. One that says nothing is old, and has the form's token to show all the same.
fn is_from_here(headers: &HeaderMap, origin: &str) -> bool {
    let all =
        |name, right: &str| headers.get_all(name).iter().all(|value| value.as_bytes() == right.as_bytes());
    all(header::ORIGIN, origin) && all(header::HeaderName::from_static("sec-fetch-site"), "same-origin")
}
