//! The API over a real loopback listener, spoken to by a real HTTP client.

use super::*;
use crate::grant::Permit;
use crate::grant::tests::{Gateway, gateways};
use crate::state::tests::{at, person};
use chaperone_core::approval::ApprovalId;
use chaperone_core::identity::{CallerKind, Groups};
use chaperone_core::refusal::RefusalCode;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Mutex;

mod completing;
mod deliveries;
mod denials;
mod ending;
mod events;
mod flood;
mod preservations;
mod reload;
mod renewal;

/// Tokens are `kind.object.group`, and may go on with the second in which they were issued.
struct Tokens;

impl Identify for Tokens {
    fn identify<'a>(&'a self, token: &'a str, _now: Timestamp) -> Answer<'a, Result<Identity, Refusal>> {
        Box::pin(async move {
            let mut parts = token.split('.');
            let kind = match parts.next() {
                Some("human") => CallerKind::Human,
                Some("agent") => CallerKind::Agent,
                Some("expired") => {
                    return Err(Refusal::new(RefusalCode::CredentialExpired, "The token has expired."));
                }
                _ => return Err(Refusal::new(RefusalCode::CredentialInvalid, "The token is not valid.")),
            };
            let (object, group) = (parts.next().unwrap(), parts.next().unwrap());
            let mut facts = person(object, kind, &[&format!("id-of-{group}")]);
            if let Some(issued) = parts.next() {
                facts.credential_id = format!("uti-{issued}");
                (facts.issued_at, facts.expires_at) =
                    (at(issued.parse().unwrap()), at(issued.parse::<i64>().unwrap() + 300));
            }
            Ok(match group {
                // The provider does not answer.
                "silent" => Identity::open_for_test(facts),
                // The provider has to be asked.
                "unlisted" => {
                    facts.groups = Groups::Unknown;
                    Identity::for_test(facts)
                }
                _ => Identity::for_test(facts),
            })
        })
    }

    fn complete<'a>(
        &'a self,
        identity: Identity,
        groups: PolicyGroups<'a>,
        _: Timestamp,
    ) -> Answer<'a, Result<Identity, Refusal>> {
        let mut facts = identity.facts().clone();
        if facts.groups != Groups::Unknown {
            return Box::pin(std::future::ready(Ok(identity)));
        }
        // Who is not listed is in the team.
        let asked = groups(&facts.provider);
        let held = asked.iter().filter(|id| *id == "id-of-team").cloned().collect();
        facts.groups = Groups::Asked { held, asked };
        Box::pin(std::future::ready(Ok(Identity::for_test(facts))))
    }
}

#[derive(Default)]
struct Sessions(Mutex<Vec<LiveSession>>, Mutex<Option<Permit>>);

impl LiveSessions for Sessions {
    fn list(&self) -> Vec<LiveSession> {
        self.0.lock().unwrap().clone()
    }

    /// All of them have one permit.
    fn renew(&self, _id: SessionId, identity: &Identity) -> Result<Renewal, RenewError> {
        self.1.lock().unwrap().as_ref().ok_or(RenewError::NotLive)?.renew(identity)
    }

    fn end(&self, id: SessionId, _by: &Principal, _reason: &str) -> EndOutcome {
        let mut sessions = self.0.lock().unwrap();
        let before = sessions.len();
        sessions.retain(|session| session.id != id);
        if sessions.len() < before { EndOutcome::Ended } else { EndOutcome::NotLive }
    }
}

/// The gateway's file: what reading it gives.
#[derive(Default)]
struct File(Mutex<Option<Reloaded>>);

impl Reload for File {
    fn reload<'a>(&'a self, by: &'a str) -> Answer<'a, Result<Reloaded, String>> {
        let found = self.0.lock().unwrap().clone();
        Box::pin(async move { found.ok_or_else(|| format!("line 3, column 1: unknown key, {by}")) })
    }
}

/// An API that is being served.
struct Served {
    gateway: Gateway,
    sessions: Arc<Sessions>,
    file: Arc<File>,
    base: String,
    client: reqwest::Client,
}

struct Got {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

async fn serve() -> Vec<Served> {
    // The first to come installs it; all want the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut served = Vec::new();
    for gateway in gateways().await {
        let (sessions, file) = (Arc::new(Sessions::default()), Arc::new(File::default()));
        let router = router(Arc::new(Tokens), gateway.grants.clone(), sessions.clone(), file.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        served.push(Served { gateway, sessions, file, base, client: reqwest::Client::new() });
    }
    served
}

impl Served {
    async fn send(&self, request: reqwest::RequestBuilder) -> Got {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Got { status, headers, body }
    }

    fn at(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    async fn get(&self, token: &str, path: &str) -> Got {
        self.send(self.at(Method::GET, path).bearer_auth(token)).await
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Got {
        self.send(self.at(Method::POST, path).bearer_auth(token).json(&body)).await
    }

    async fn delete(&self, token: &str, path: &str) -> Got {
        self.send(self.at(Method::DELETE, path).bearer_auth(token)).await
    }
}

const AGENT: &str = "agent.a1.team";

#[tokio::test]
async fn an_agent_asks_and_its_window_is_open() {
    for served in &serve().await {
        let got =
            served.post(AGENT, "/api/v1/requests", json!({ "target": "db", "reason": "ticket 7" })).await;
        assert_eq!(got.status, StatusCode::CREATED, "{}", got.body);
        assert_eq!((&got.body["state"], &got.body["window"]["state"]), (&json!("approved"), &json!("open")));
        assert_eq!(got.body["window"]["closes"], json!(at(900).to_string()));
        let place = got.headers["location"].to_str().unwrap();
        assert_eq!(served.get(AGENT, place).await.body["request"]["id"], got.body["id"]);
        let again =
            served.post(AGENT, "/api/v1/requests", json!({ "target": "db", "reason": "again" })).await;
        assert_eq!(again.status, StatusCode::OK);
        assert_eq!(again.body["state"], json!("already-open"));
        assert_eq!(again.body["window"]["id"], got.body["window"]["id"]);
        let windows = served.get(AGENT, "/api/v1/windows").await.body;
        assert_eq!(windows["windows"].as_array().unwrap().len(), 1);
        let path = format!("/api/v1/windows/{}", got.body["window"]["id"].as_str().unwrap());
        for (token, status) in [
            ("agent.a2.team", StatusCode::NOT_FOUND),
            ("human.ann.dba", StatusCode::NOT_FOUND),
            ("human.oz.ops", StatusCode::NO_CONTENT),
            (AGENT, StatusCode::CONFLICT),
        ] {
            assert_eq!(served.delete(token, &path).await.status, status, "{token}");
        }
        // Over: the answer says what to send for another one.
        let over = served.get(AGENT, place).await.body;
        assert_eq!(over["request"]["window"]["state"], json!("closed"));
        assert_eq!(over["next"]["url"], json!("https://gateway.example:8443/api/v1/requests"));
        assert_eq!(over["next"]["body"]["target"], json!("db"));
    }
}

#[tokio::test]
async fn the_key_makes_a_request_safe_to_repeat() {
    for served in &serve().await {
        let ask = async |reason: &str| {
            let body = json!({ "target": "vault", "reason": reason, "duration": "30m" });
            let request = served.at(Method::POST, "/api/v1/requests").bearer_auth(AGENT).json(&body);
            served.send(request.header("Idempotency-Key", "job-7")).await
        };
        let (first, again) = (ask("why").await, ask("why").await);
        assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::OK));
        assert_eq!(first.body, again.body);
        assert_eq!(first.body["duration"], json!("30m"));
        let other = ask("other").await;
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(other.body["code"], json!("idempotency-key-reused"));
    }
}

#[tokio::test]
async fn people_approve_while_the_agent_waits() {
    for served in &serve().await {
        let asked =
            served.post(AGENT, "/api/v1/requests", json!({ "target": "vault", "reason": "why" })).await.body;
        assert_eq!((&asked["state"], &asked["missing"]), (&json!("pending"), &json!(2)));
        let id = asked["id"].as_str().unwrap();
        let (mine, approve) = (format!("/api/v1/requests/{id}"), format!("/api/v1/approvals/{id}"));
        assert_eq!(served.get(AGENT, &mine).await.body["request"]["state"], json!("pending"));
        let decide = async |token: &str| served.post(token, &approve, json!({ "verdict": "approve" })).await;
        for (token, status, code) in [
            (AGENT, StatusCode::FORBIDDEN, "not-a-person"),
            ("agent.bot.dba", StatusCode::FORBIDDEN, "not-a-person"),
            ("human.a1.dba", StatusCode::FORBIDDEN, "own-request"),
            ("human.eve.team", StatusCode::NOT_FOUND, "not-found"),
        ] {
            let got = decide(token).await;
            assert_eq!((got.status, &got.body["code"]), (status, &json!(code)), "{token}");
        }
        let pending = served.get("human.ann.dba", "/api/v1/approvals").await.body;
        assert_eq!(pending["approvals"][0]["id"], json!(id));
        assert_eq!(pending["approvals"][0]["matter"]["reason"], json!("why"));
        let wait = format!("{mine}?wait=60s");
        let people = async {
            assert_eq!(decide("human.ann.dba").await.body["missing"], json!(1));
            assert_eq!(decide("human.ann.dba").await.body["code"], json!("already-decided"));
            assert_eq!(decide("human.bob.dba").await.body["state"], json!("approved"));
        };
        let (waited, ()) = tokio::join!(served.get(AGENT, &wait), people);
        assert_eq!(waited.body["request"]["state"], json!("approved"));
        assert_eq!(waited.body["request"]["window"]["state"], json!("open"));
        assert_eq!(decide("human.cat.dba").await.body["code"], json!("already-settled"));
        assert_eq!(served.get("agent.a2.team", &mine).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_get_never_decides() {
    for served in &serve().await {
        let asked =
            served.post(AGENT, "/api/v1/requests", json!({ "target": "vault", "reason": "why" })).await.body;
        let path = format!("/api/v1/approvals/{}?verdict=approve", asked["id"].as_str().unwrap());
        let got = served.get("human.ann.dba", &path).await;
        assert_eq!(
            (got.status, &got.body["code"]),
            (StatusCode::METHOD_NOT_ALLOWED, &json!("method-not-allowed"))
        );
        let id: ApprovalId = asked["id"].as_str().unwrap().parse().unwrap();
        let stored = served.gateway.store.state.approval(id).await.unwrap().unwrap();
        assert!(stored.approval.decisions().is_empty());
    }
}

#[tokio::test]
async fn credentials_are_taken_in_one_form_only() {
    for served in &serve().await {
        let windows = || served.at(Method::GET, "/api/v1/windows");
        let none = served.send(windows()).await;
        assert_eq!(
            (none.status, &none.body["code"]),
            (StatusCode::UNAUTHORIZED, &json!("credential-missing"))
        );
        assert_eq!(none.headers["www-authenticate"], r#"Bearer realm="chaperone""#);
        for (token, code) in [("expired.x.y", "credential-expired"), ("nonsense", "credential-invalid")] {
            let got = served.get(token, "/api/v1/windows").await;
            assert_eq!((got.status, &got.body["code"]), (StatusCode::UNAUTHORIZED, &json!(code)));
            assert_eq!(got.headers["www-authenticate"], r#"Bearer realm="chaperone", error="invalid_token""#);
            assert!(!got.body.to_string().contains(token));
        }
        let twice = windows().bearer_auth(AGENT).header("authorization", "Bearer other");
        for request in [
            windows().bearer_auth(AGENT).header("cookie", "session=1"),
            twice,
            windows().header("authorization", "Basic YTpi"),
            windows().header("authorization", "Bearer "),
            windows().header("authorization", "Bearer a b"),
            served.at(Method::GET, "/api/v1/windows?access_token=x").bearer_auth(AGENT),
        ] {
            let got = served.send(request).await;
            assert_eq!((got.status, &got.body["code"]), (StatusCode::BAD_REQUEST, &json!("malformed")));
            assert_eq!(
                got.headers["www-authenticate"],
                r#"Bearer realm="chaperone", error="invalid_request""#
            );
        }
    }
}

#[tokio::test]
async fn problems_are_problem_details_that_help() {
    for served in &serve().await {
        let ask = async |body: Value| served.post(AGENT, "/api/v1/requests", body).await;
        let long = ask(json!({ "target": "db", "reason": "why", "duration": "16m" })).await;
        assert_eq!(long.headers["content-type"], "application/problem+json");
        assert_eq!(long.headers["cache-control"], "no-store");
        assert_eq!(
            long.body,
            json!({
                "type": "urn:chaperone:problem:duration-too-long",
                "title": "The longest window that is granted to you on this target is 15m.",
                "status": 422,
                "code": "duration-too-long",
                "request": {
                    "method": "POST",
                    "url": "https://gateway.example:8443/api/v1/requests",
                    "body": { "target": "db", "reason": "why you need it", "duration": "15m" },
                    "command": "chaperone request db --reason 'why you need it' --duration 15m",
                },
            })
        );
        let mut refused = Vec::new();
        for name in ["nowhere", "web"] {
            let got = ask(json!({ "target": name, "reason": "why" })).await;
            assert_eq!((got.status, &got.body["code"]), (StatusCode::FORBIDDEN, &json!("not-granted")));
            refused.push(got.body);
        }
        assert_eq!(refused[0], refused[1]);
        for (body, status, code) in [
            (json!({ "target": "db", "reason": "" }), 422, "reason-invalid"),
            (json!({ "target": "db", "reason": "why", "duration": "0s" }), 422, "duration-invalid"),
            (json!({ "target": "db", "reason": "why", "duration": "soon" }), 400, "malformed"),
            (json!({ "target": "db", "reason": "why", "approved": true }), 400, "malformed"),
            (json!({ "target": "d b", "reason": "why" }), 400, "malformed"),
            (json!({ "target": "db" }), 400, "malformed"),
            (json!([]), 400, "malformed"),
        ] {
            let got = ask(body.clone()).await;
            assert_eq!(
                (got.status.as_u16(), &got.body["code"]),
                (status, &json!(code)),
                "{body}: {}",
                got.body
            );
        }
        let path = "/api/v1/requests";
        let unknown = ask(json!({ "target": "db", "reason": "why", "approved": true })).await.body;
        assert!(unknown["detail"].as_str().unwrap().contains("unknown field `approved`"), "{unknown}");
        let form = served.at(Method::POST, path).bearer_auth(AGENT).body("target=db");
        assert_eq!(served.send(form).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let doubled = r#"{"target":"db","target":"vault","reason":"why"}"#;
        let doubled = served.at(Method::POST, path).bearer_auth(AGENT).body(doubled);
        assert_eq!(
            served.send(doubled.header("content-type", "application/json")).await.status,
            StatusCode::BAD_REQUEST
        );
        let huge = ask(json!({ "target": "db", "reason": "x".repeat(MAX_BODY_BYTES) })).await;
        assert_eq!((huge.status, &huge.body["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too-large")));
        for path in ["/api/v1/requests/req_x", "/api/v1/requests/win_x?wait=1s", "/api/v2", "/"] {
            assert_eq!(served.get(AGENT, path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
        let id = "req_00000000000000000000000000000001";
        for query in ["wait=later", "wiat=1s", "wait=1s&wait=2s"] {
            let got = served.get(AGENT, &format!("{path}/{id}?{query}")).await;
            assert_eq!(got.status, StatusCode::BAD_REQUEST, "{query}");
        }
    }
}

fn session(number: u128, object: &str) -> LiveSession {
    LiveSession {
        id: SessionId::new(uuid::Uuid::from_u128(number)),
        principal: person(object, CallerKind::Agent, &[]).principal,
        caller: (&person(object, CallerKind::Agent, &[])).into(),
        target: TargetName::new("db").unwrap(),
        window: WindowId::new(uuid::Uuid::from_u128(9)),
        started: at(0),
        ends: at(900),
        activity: Activities::default(),
    }
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_who_may() {
    for served in &serve().await {
        *served.sessions.0.lock().unwrap() = vec![session(1, "a1"), session(2, "a2")];
        for (token, count) in [(AGENT, 1), ("human.oz.ops", 2), ("human.ann.dba", 0)] {
            let live = served.get(token, "/api/v1/sessions").await.body;
            assert_eq!(live["live"].as_array().unwrap().len(), count, "{token}");
        }
        let path = |number| format!("/api/v1/sessions/{}", SessionId::new(uuid::Uuid::from_u128(number)));
        for (token, number, status) in [
            ("human.ann.dba", 1, StatusCode::NOT_FOUND),
            (AGENT, 2, StatusCode::NOT_FOUND),
            (AGENT, 1, StatusCode::NO_CONTENT),
            (AGENT, 1, StatusCode::NOT_FOUND),
            ("human.oz.ops", 2, StatusCode::NO_CONTENT),
            ("human.oz.ops", 3, StatusCode::NOT_FOUND),
        ] {
            assert_eq!(served.delete(token, &path(number)).await.status, status, "{token} {number}");
        }
        let audit = served.gateway.store.state.audit_events().await.unwrap();
        let revoked: Vec<_> = audit.iter().filter(|event| event.event == "session.revoked").collect();
        assert_eq!(revoked.len(), 2);
    }
}

#[tokio::test]
async fn health_needs_no_token_and_follows_the_store() {
    for served in &serve().await {
        let health = async || served.send(served.at(Method::GET, "/healthz")).await;
        let got = health().await;
        assert_eq!((got.status, got.body), (StatusCode::OK, json!({ "status": "ok" })));
        served.gateway.store.state.close().await;
        let got = health().await;
        assert_eq!(
            (got.status, got.body),
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "no-state" }))
        );
    }
}
