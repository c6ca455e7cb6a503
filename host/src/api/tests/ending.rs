//! Why something is ended: a parameter, and where it is shown afterwards.

use super::*;

/// Every query that is no reason, and what is answered.
fn wrong() -> Vec<(String, StatusCode, &'static str)> {
    let long = "x".repeat(501);
    let (unprocessable, bad) = (StatusCode::UNPROCESSABLE_ENTITY, StatusCode::BAD_REQUEST);
    vec![
        ("reason=".into(), unprocessable, "reason-invalid"),
        ("reason=+%0a".into(), unprocessable, "reason-invalid"),
        ("reason=%1b%5b2J".into(), unprocessable, "reason-invalid"),
        ("reason=a%e2%80%aeb".into(), unprocessable, "reason-invalid"),
        (format!("reason={long}"), unprocessable, "reason-invalid"),
        ("reason=a&reason=b".into(), bad, "malformed"),
        ("why=a".into(), bad, "malformed"),
    ]
}

#[tokio::test]
async fn a_window_is_ended_with_a_reason_that_everybody_reads() {
    for served in &serve().await {
        let open = async |token: &str| {
            let body = json!({ "target": "db", "reason": "why" });
            let got = served.post(token, "/api/v1/requests", body).await;
            format!("/api/v1/windows/{}", got.body["window"]["id"].as_str().unwrap())
        };
        let (one, other) = (open(AGENT).await, open("agent.a2.team").await);
        for (query, status, code) in wrong() {
            let got = served.delete(AGENT, &format!("{one}?{query}")).await;
            assert_eq!((got.status, &got.body["code"]), (status, &json!(code)), "{query}");
        }
        let ended = async |token: &str| {
            let listed = served.get(token, "/api/v1/windows").await.body;
            listed["windows"][0]["ended"]["reason"].clone()
        };
        assert_eq!(ended(AGENT).await, Value::Null, "a wrong reason has ended it");
        let got = served.delete(AGENT, &format!("{one}?reason=it%27s+over,%20100%25")).await;
        assert_eq!(got.status, StatusCode::NO_CONTENT);
        assert_eq!(ended(AGENT).await, json!("it's over, 100%"));
        assert_eq!(served.delete("agent.a2.team", &other).await.status, StatusCode::NO_CONTENT);
        assert_eq!(ended("agent.a2.team").await, json!("ended through the API"));
    }
}

#[tokio::test]
async fn a_session_is_ended_with_a_reason_that_is_kept() {
    for served in &serve().await {
        *served.sessions.0.lock().unwrap() = vec![session(1, "a1"), session(2, "a1")];
        let path = |number| format!("/api/v1/sessions/{}", SessionId::new(uuid::Uuid::from_u128(number)));
        for (query, status, code) in wrong() {
            let got = served.delete(AGENT, &format!("{}?{query}", path(1))).await;
            assert_eq!((got.status, &got.body["code"]), (status, &json!(code)), "{query}");
        }
        assert_eq!(served.sessions.list().len(), 2, "a wrong reason has ended one");
        served.delete("human.oz.ops", &format!("{}?reason=runs+away", path(1))).await;
        served.delete(AGENT, &path(2)).await;
        let audit = served.gateway.store.state.audit_events().await.unwrap();
        let revoked = audit.iter().filter(|event| event.event == "session.revoked");
        let mut said: Vec<String> = revoked.map(|event| event.detail.to_string()).collect();
        said.sort_unstable();
        assert_eq!(said.len(), 2);
        assert!(said[0].contains(r#""reason":"ended through the API""#), "{said:?}");
        assert!(said[1].contains(r#""reason":"runs away""#), "{said:?}");
    }
}
