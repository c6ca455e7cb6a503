//! The style sheet and the scripts: files of their own, so that no page needs any inside, and none of anybody else's.
//!
//! Scripts only make comfortable what works without them: they look again when something has changed, count down, and give keys to
//! what can be clicked.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// What is common, then parts, then pages: later ones may rely on earlier ones.
const STYLE: &str = concat!(
    include_str!("css/base.css"),
    include_str!("css/parts.css"),
    include_str!("css/pages.css"),
    include_str!("css/replay.css")
);

/// `GET /console/style.css`.
pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// `GET /console/live.js`.
pub(super) async fn live() -> Response {
    script(include_str!("js/live.js"))
}

/// `GET /console/keys.js`.
pub(super) async fn keys() -> Response {
    script(include_str!("js/keys.js"))
}

/// `GET /console/replay.js`.
pub(super) async fn replay() -> Response {
    script(include_str!("js/replay.js"))
}

fn script(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], text).into_response()
}
