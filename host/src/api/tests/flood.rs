//! One caller cannot keep the others from being answered.

use super::*;
use crate::grant::MAX_REQUESTS_PER_MINUTE;

#[tokio::test]
async fn who_asks_too_fast_is_told_when_to_ask_again_and_others_go_on() {
    for served in &serve().await {
        // Whatever the answer is: what is not granted, too, so that targets are not guessed any faster.
        for number in 0..MAX_REQUESTS_PER_MINUTE {
            let target = if number % 2 == 0 { "db" } else { "guess" };
            let got =
                served.post(AGENT, "/api/v1/requests", json!({ "target": target, "reason": "x" })).await;
            assert_ne!(got.status, StatusCode::TOO_MANY_REQUESTS, "{number}");
        }
        served.gateway.clock.pass(std::time::Duration::from_millis(4_500));
        let got = served.post(AGENT, "/api/v1/requests", json!({ "target": "db", "reason": "x" })).await;
        assert_eq!((got.status, &got.body["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("limit-reached")));
        assert_eq!(got.body["title"], json!("You may ask 30 times in a minute. Ask again in 56s."));
        assert_eq!(got.headers["retry-after"], "56");
        // It may still look and end what it has, and others may ask.
        assert_eq!(served.get(AGENT, "/api/v1/windows").await.status, StatusCode::OK);
        let other = json!({ "target": "db", "reason": "x" });
        assert_eq!(
            served.post("agent.a2.team", "/api/v1/requests", other.clone()).await.status,
            StatusCode::CREATED
        );
        served.gateway.clock.pass(std::time::Duration::from_secs(56));
        assert_eq!(served.post(AGENT, "/api/v1/requests", other).await.status, StatusCode::OK);
    }
}
