//! What retention must not delete, by the API.

use super::*;

#[tokio::test]
async fn operators_preserve_list_and_release() {
    for served in &serve().await {
        let (operator, path) = ("human.oz.ops", "/api/v1/preservations");
        let entry = |preserved: Value| json!({ "preserved": preserved, "reason": "case 7" });
        let of_target = entry(json!({ "kind": "target", "id": "db" }));
        let made = served.post(operator, path, of_target.clone()).await;
        assert_eq!(
            (made.status, &made.body["too_late"]),
            (StatusCode::CREATED, &Value::Null),
            "{}",
            made.body
        );
        assert_eq!(made.body["preservation"]["by"], json!("corp/t/oz"));
        let place = made.headers["location"].to_str().unwrap();
        assert_eq!(
            served.get(operator, path).await.body["preservations"],
            json!([made.body["preservation"]])
        );
        for (body, status) in [
            (entry(json!({ "kind": "session", "id": format!("ses_{}", "0".repeat(32)) })), 404),
            (entry(json!({ "kind": "session", "id": "ses_1" })), 400),
            (entry(json!({ "kind": "group", "id": "x" })), 400),
            (json!({ "preserved": { "kind": "target", "id": "db" }, "reason": " " }), 422),
            (json!({ "preserved": { "kind": "target", "id": "db" } }), 400),
        ] {
            let got = served.post(operator, path, body.clone()).await;
            assert_eq!(got.status.as_u16(), status, "{body} {}", got.body);
        }
        for token in ["human.ann.dba", "agent.a2.team"] {
            assert_eq!(served.get(token, path).await.status, StatusCode::NOT_FOUND);
            assert_eq!(served.post(token, path, of_target.clone()).await.status, StatusCode::NOT_FOUND);
            assert_eq!(served.delete(token, place).await.status, StatusCode::NOT_FOUND);
        }
        assert_eq!(served.post("agent.bot.ops", path, of_target).await.status, StatusCode::FORBIDDEN);
        assert_eq!(served.delete("agent.bot.ops", place).await.status, StatusCode::FORBIDDEN);
        assert_eq!(served.delete(operator, place).await.status, StatusCode::NO_CONTENT);
        assert_eq!(served.delete(operator, place).await.status, StatusCode::NOT_FOUND);
        assert_eq!(served.get(operator, path).await.body["preservations"], json!([]));
    }
}
