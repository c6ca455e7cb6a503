//! What channels were told, by the API.

use super::*;
use crate::state::Route;
use chaperone_core::name::ChannelName;

#[tokio::test]
async fn operators_see_what_channels_were_told_and_others_that_there_is_nothing() {
    for served in &serve().await {
        let route = Route { channel: ChannelName::new("siem").unwrap(), targets: vec![], events: vec![] };
        let telling = served.gateway.store.state.clone().telling(vec![route]);
        let grants = Grants::start(crate::grant::tests::policy(), telling, served.gateway.clock.clone())
            .await
            .unwrap();
        let asker = crate::grant::tests::agent("a1");
        let vault = crate::state::tests::target("vault");
        grants.request(&asker, crate::grant::Wish::new(&vault, "because"), at(0)).await.unwrap();

        let got = served.get("human.oz.ops", "/api/v1/deliveries").await;
        assert_eq!(got.status, StatusCode::OK);
        let [row] = got.body["deliveries"].as_array().unwrap().as_slice() else { panic!("{}", got.body) };
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        assert_eq!([text("channel"), text("event"), text("state")], ["siem", "asked", "waiting"]);
        assert_eq!(
            (&row["attempts"], &row["error"], text("target").as_str()),
            (&json!(0), &Value::Null, "vault")
        );
        assert!(text("id").starts_with("dlv_") && text("approval").starts_with("req_"), "{row}");
        assert!(!got.body.to_string().contains("because"));
        for token in [AGENT, "human.ann.dba"] {
            assert_eq!(served.get(token, "/api/v1/deliveries").await.status, StatusCode::NOT_FOUND);
        }
    }
}
