//! What a command line needs to sign somebody in, for whoever reaches the listener. It is published only where the configuration
//! says so: otherwise nobody can ask which provider is trusted here.

use super::harden;
use axum::Json;
use axum::Router;
use axum::routing::get;
use serde::Serialize;

/// Where to sign in, and as which application.
#[derive(Debug, Clone, Serialize)]
pub struct LoginInfo {
    /// The provider's discovery document.
    pub discovery_url: String,
    /// The application.
    pub client_id: String,
    /// What to ask for.
    pub scope: String,
}

/// `GET /api/v1/login`, without a token; a router to be merged with the API's.
pub fn router(info: LoginInfo) -> Router {
    let answer = move || async move { Json(info.clone()) };
    Router::new().route("/api/v1/login", get(answer)).layer(axum::middleware::map_response(harden))
}
