//! The policy, read again by the API.

use super::*;

const PATH: &str = "/api/v1/policy/reload";

#[tokio::test]
async fn an_operator_who_is_a_person_reloads_and_hears_what_is_wrong() {
    for served in &serve().await {
        let operator = "human.oz.ops";
        let refused = served.post(operator, PATH, json!({})).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (422, &json!("policy-refused")),
            "{}",
            refused.body
        );
        assert_eq!(refused.body["title"], json!("The file was not taken; the policy before stays."));
        assert_eq!(refused.body["detail"], json!("line 3, column 1: unknown key, corp/t/oz"));

        let reloaded = Reloaded { changed: vec!["grants".into()], sha256: "ab".into() };
        *served.file.0.lock().unwrap() = Some(reloaded);
        let taken = served.post(operator, PATH, json!({})).await;
        assert_eq!(taken.status, StatusCode::OK);
        assert_eq!(taken.body, json!({ "changed": ["grants"], "sha256": "ab" }));
    }
}

#[tokio::test]
async fn nobody_else_does_and_none_by_get() {
    for served in &serve().await {
        for (token, status) in [("agent.a1.team", 404), ("human.ann.dba", 404), ("agent.bot.ops", 403)] {
            assert_eq!(served.post(token, PATH, json!({})).await.status.as_u16(), status, "{token}");
        }
        assert_eq!(served.get("human.oz.ops", PATH).await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}
