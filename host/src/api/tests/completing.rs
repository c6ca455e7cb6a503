//! Callers whose tokens leave something open.

use super::*;

#[tokio::test]
async fn a_caller_of_the_api_is_completed_before_anything_is_decided() {
    for served in &serve().await {
        let body = json!({ "target": "db", "reason": "ticket 7" });
        let got = served.post("agent.a1.unlisted", "/api/v1/requests", body).await;
        assert_eq!(got.status, StatusCode::CREATED, "{}", got.body);
    }
}

#[tokio::test]
async fn a_provider_that_is_silent_is_said_and_says_nothing_of_targets() {
    for served in &serve().await {
        let ask = async |target: &str| {
            let body = json!({ "target": target, "reason": "ticket 7" });
            let got = served.post("agent.a1.silent", "/api/v1/requests", body).await;
            assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{}", got.body);
            got.body
        };
        let refused = ask("db").await;
        assert_eq!(refused["code"], "provider-unavailable");
        assert_eq!(refused, ask("nowhere").await);
    }
}
