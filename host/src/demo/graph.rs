//! A local Microsoft Graph, for tests: a directory of users, service principals and groups behind the real addresses.
//!
//! It gives tokens to one application and answers what the gateway asks, in the forms of Graph version 1.0, for the tenant that
//! the token is of. It counts what it is asked, and can misbehave on request.
//!
//! What may go wrong: it stands for what Microsoft documents. What Graph does beyond that was not seen here.

mod directory;

pub use directory::{Account, AccountKind};

use super::issuer::IssuerError;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use directory::Directory;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How the local Graph behaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GraphBehaviour {
    /// It answers.
    #[default]
    Works,
    /// It gives tokens, and answers whatever else it is asked with this status, and this `Retry-After`.
    Fails(u16, Option<u32>),
    /// It answers who wants a token with this status, and this `Retry-After`.
    FailsTokens(u16, Option<u32>),
    /// It answers with something that is no document.
    Babbles,
    /// It answers with more than anyone should read.
    Floods,
    /// It redirects to this address.
    Redirects(String),
    /// It takes requests and answers none until it behaves otherwise.
    Hangs,
    /// It gives tokens, and answers whatever else it is asked with this document.
    Says(Value),
}

/// What it does with a group that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownGroups {
    /// Nobody is in it.
    #[default]
    AreEmpty,
    /// The whole call is answered with 404.
    AreNotFound,
}

struct Shared {
    address: SocketAddr,
    client_id: String,
    inner: Mutex<Inner>,
    behaviour: watch::Sender<GraphBehaviour>,
}

#[derive(Default)]
struct Inner {
    secret: String,
    /// Tenants by the token that is good for them.
    tokens: HashMap<String, String>,
    token_seconds: i64,
    directories: HashMap<String, Directory>,
    unknown_groups: UnknownGroups,
    /// What it was asked: method and path.
    asked: Vec<String>,
}

/// A running Graph with the token endpoint beside it. Its server ends when this is dropped.
pub struct Graph {
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Graph {
    /// Starts a Graph that gives tokens to this application, on a free port.
    pub async fn start(client_id: &str, secret: &str) -> Result<Self, IssuerError> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let inner = Inner { secret: secret.to_owned(), token_seconds: 3600, ..Inner::default() };
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            client_id: client_id.to_owned(),
            inner: Mutex::new(inner),
            behaviour: watch::Sender::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // Serving on an open listener goes on until the task is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Graph { shared, server })
    }

    /// Its address, for `graph.url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// Puts an object into a tenant, or another in its place.
    pub fn put(&self, tenant: &str, id: &str, account: Account) {
        self.inner().directories.entry(tenant.to_owned()).or_default().put(id, account);
    }

    /// Takes an object out of its tenant.
    pub fn remove(&self, tenant: &str, id: &str) {
        self.inner().directories.entry(tenant.to_owned()).or_default().remove(id);
    }

    /// Changes an object.
    pub fn change(&self, tenant: &str, id: &str, change: impl FnOnce(&mut Account)) {
        self.inner().directories.entry(tenant.to_owned()).or_default().change(id, change);
    }

    /// Makes the server misbehave, or work again.
    pub fn behave(&self, behaviour: GraphBehaviour) {
        self.shared.behaviour.send_replace(behaviour);
    }

    /// What it does with a group that it does not have: one that nobody has ever been put into.
    pub fn unknown_groups(&self, unknown: UnknownGroups) {
        self.inner().unknown_groups = unknown;
    }

    /// The application's secret from now on; tokens that are out are taken back.
    pub fn set_secret(&self, secret: &str) {
        let mut inner = self.inner();
        inner.secret = secret.to_owned();
        inner.tokens.clear();
    }

    /// How long tokens live from now on.
    pub fn set_token_life(&self, seconds: i64) {
        self.inner().token_seconds = seconds;
    }

    /// What it was asked, as `GET /path`, in order.
    pub fn asked(&self) -> Vec<String> {
        self.inner().asked.clone()
    }

    /// How many calls there were whose path ends so.
    pub fn calls(&self, end: &str) -> usize {
        self.inner().asked.iter().filter(|asked| asked.ends_with(end)).count()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner()
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers every request.
async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.inner().asked.push(format!("{method} {}", uri.path()));
    let mut behaviour = shared.behaviour.subscribe();
    // The sender lives as long as the server's state.
    let _ = behaviour.wait_for(|behaviour| *behaviour != GraphBehaviour::Hangs).await;
    let behaviour = behaviour.borrow().clone();
    let path: Vec<&str> = uri.path().split('/').skip(1).collect();
    match (behaviour, path.as_slice()) {
        // Tokens are another server's business.
        (GraphBehaviour::Fails(..) | GraphBehaviour::Says(_), [tenant, "oauth2", "v2.0", "token"]) => {
            return token(&shared, tenant, &body);
        }
        (GraphBehaviour::Fails(status, retry), _)
        | (GraphBehaviour::FailsTokens(status, retry), [_, "oauth2", "v2.0", "token"]) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let retry = retry.map(|seconds| (header::RETRY_AFTER, seconds.to_string()));
            return (status, axum::response::AppendHeaders(retry), "{}").into_response();
        }
        (GraphBehaviour::Babbles, _) => return "<html>sign in</html>".into_response(),
        (GraphBehaviour::Floods, _) => return "x".repeat(4 * 1024 * 1024).into_response(),
        (GraphBehaviour::Redirects(to), _) => {
            return (StatusCode::FOUND, [(header::LOCATION, to)]).into_response();
        }
        (_, [tenant, "oauth2", "v2.0", "token"]) => return token(&shared, tenant, &body),
        (GraphBehaviour::Says(document), _) => return document.to_string().into_response(),
        (GraphBehaviour::Works | GraphBehaviour::Hangs | GraphBehaviour::FailsTokens(..), _) => {}
    }
    let inner = shared.inner();
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let Some(tenant) = inner.tokens.get(token) else {
        return problem(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken");
    };
    let nothing = Directory::default();
    let directory = inner.directories.get(tenant).unwrap_or(&nothing);
    let found = match (method.as_str(), path.as_slice()) {
        ("GET", ["v1.0", place, id]) => directory.object(place, id),
        ("POST", ["v1.0", place, id, "checkMemberGroups"]) => {
            return member_groups(directory, (place, id), &body, inner.unknown_groups);
        }
        ("GET", ["v1.0", "servicePrincipals", id, "microsoft.graph.agentIdentity", "sponsors"]) => {
            match directory.sponsors(id) {
                Some(None) => return problem(StatusCode::FORBIDDEN, "Authorization_RequestDenied"),
                found => found.flatten(),
            }
        }
        _ => None,
    };
    match found {
        Some(document) => document.to_string().into_response(),
        None => not_found(),
    }
}

/// The client credentials grant (RFC 6749, section 4.4).
fn token(shared: &Shared, tenant: &str, body: &Bytes) -> Response {
    let mut inner = shared.inner();
    let form = format!("http://form/?{}", String::from_utf8_lossy(body));
    let form: HashMap<String, String> = form
        .parse::<reqwest::Url>()
        .map(|form| form.query_pairs().into_owned().collect())
        .unwrap_or_default();
    let has = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
    let right = has("grant_type", "client_credentials")
        && has("client_id", &shared.client_id)
        && has("client_secret", &inner.secret)
        && has("scope", "https://graph.microsoft.com/.default");
    if !right {
        return (StatusCode::UNAUTHORIZED, json!({ "error": "invalid_client" }).to_string()).into_response();
    }
    let token = uuid::Uuid::now_v7().to_string();
    inner.tokens.insert(token.clone(), tenant.to_owned());
    let life = inner.token_seconds;
    json!({ "token_type": "Bearer", "expires_in": life, "access_token": token }).to_string().into_response()
}

fn member_groups(
    directory: &Directory,
    (place, id): (&str, &str),
    body: &Bytes,
    unknown: UnknownGroups,
) -> Response {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let asked: Vec<&str> = body
        .pointer("/groupIds")
        .and_then(Value::as_array)
        .map_or(Vec::new(), |ids| ids.iter().filter_map(Value::as_str).collect());
    if !(1..=20).contains(&asked.len()) {
        return problem(StatusCode::BAD_REQUEST, "Request_BadRequest");
    }
    if unknown == UnknownGroups::AreNotFound && asked.iter().any(|group| !directory.has_group(group)) {
        return not_found();
    }
    match directory.held(place, id, &asked) {
        Some(held) => json!({ "@odata.context": "…", "value": held }).to_string().into_response(),
        None => not_found(),
    }
}

fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "Request_ResourceNotFound")
}

fn problem(status: StatusCode, code: &str) -> Response {
    (status, json!({ "error": { "code": code, "message": "…" } }).to_string()).into_response()
}
