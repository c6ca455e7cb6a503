//! The deny list by the API.

use super::*;

#[tokio::test]
async fn an_operator_denies_lists_and_lifts_and_the_denied_get_one_answer_everywhere() {
    for served in &serve().await {
        let operator = "human.oz.ops";
        let entry =
            json!({ "kind": "object", "tenant": "t", "id": "a1", "reason": "incident 7", "duration": "1h" });
        let made = served.post(operator, "/api/v1/denials", entry.clone()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        assert_eq!(made.body["denied"], json!({ "kind": "object", "tenant": "t", "id": "a1" }));
        assert_eq!(
            (&made.body["by"], &made.body["until"]),
            (&json!("corp/t/oz"), &json!(at(3600).to_string()))
        );
        let place = made.headers["location"].to_str().unwrap();
        assert_eq!(served.get(operator, "/api/v1/denials").await.body["denials"], json!([made.body]));

        let id = made.body["id"].as_str().unwrap();
        for path in ["/api/v1/requests", "/api/v1/windows", "/api/v1/approvals", "/api/v1/sessions"] {
            let got = served.get(AGENT, path).await;
            assert_eq!((got.status, &got.body["code"]), (StatusCode::FORBIDDEN, &json!("denied")), "{path}");
            assert_eq!(got.body["title"], json!("An operator has denied you access."));
            assert_eq!(got.body["detail"], json!(format!("The entry is {id}. Ask an operator to lift it.")));
            assert!(!got.body.to_string().contains("incident"), "why is for operators");
        }
        let asked = served.post(AGENT, "/api/v1/requests", json!({ "target": "db", "reason": "x" })).await;
        assert_eq!(asked.status, StatusCode::FORBIDDEN);

        for token in ["human.ann.dba", "agent.a2.team"] {
            assert_eq!(served.get(token, "/api/v1/denials").await.status, StatusCode::NOT_FOUND);
            assert_eq!(
                served.post(token, "/api/v1/denials", entry.clone()).await.status,
                StatusCode::NOT_FOUND
            );
            assert_eq!(served.delete(token, place).await.status, StatusCode::NOT_FOUND);
        }
        assert_eq!(served.delete("agent.bot.ops", place).await.status, StatusCode::FORBIDDEN);
        assert_eq!(served.delete(operator, place).await.status, StatusCode::NO_CONTENT);
        assert_eq!(served.delete(operator, place).await.status, StatusCode::NOT_FOUND);
        assert_eq!(served.get(AGENT, "/api/v1/windows").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_entry_that_is_none_is_refused_by_what_is_wrong() {
    for served in &serve().await {
        let entry = |change: Value| {
            let mut entry = json!({ "kind": "object", "tenant": "t", "id": "a1", "reason": "why" });
            entry.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            entry
        };
        for (change, status, code) in [
            (json!({ "kind": "group" }), 400, "malformed"),
            (json!({ "tenant": "a/b" }), 400, "malformed"),
            (json!({ "id": "" }), 400, "malformed"),
            (json!({ "until": "tomorrow" }), 400, "malformed"),
            (json!({ "duration": "soon" }), 400, "malformed"),
            (json!({ "duration": "0s" }), 422, "duration-invalid"),
            (json!({ "duration": "2years" }), 422, "duration-invalid"),
            (json!({ "reason": "" }), 422, "reason-invalid"),
            (json!({ "id": "oz" }), 409, "denies-itself"),
        ] {
            let got = served.post("human.oz.ops", "/api/v1/denials", entry(change.clone())).await;
            assert_eq!(
                (got.status.as_u16(), &got.body["code"]),
                (status, &json!(code)),
                "{change}: {}",
                got.body
            );
        }
    }
}
