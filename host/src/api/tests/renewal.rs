//! A session's new token: who may bring it, and what the answer is when it does not count.

use super::*;
use crate::state::SessionStart;

fn path(number: u128) -> String {
    format!("/api/v1/sessions/{}/token", SessionId::new(uuid::Uuid::from_u128(number)))
}

impl Served {
    async fn renew(&self, bearer: &str, path: &str, body: Value) -> Got {
        self.send(self.at(Method::PUT, path).bearer_auth(bearer).json(&body)).await
    }

    /// One live session of `a1` on `db`, by a token of the second 100.
    async fn live(&self) {
        let first = Tokens.identify("agent.a1.team.100", at(100)).await.unwrap();
        self.post(AGENT, "/api/v1/requests", json!({ "target": "db", "reason": "why" })).await;
        let permit = self.gateway.grants.permit(&first, &TargetName::new("db").unwrap(), at(0)).await;
        *self.sessions.1.lock().unwrap() = Some(permit.unwrap());
        *self.sessions.0.lock().unwrap() = vec![session(1, "a1")];
    }

    async fn renewed_events(&self) -> Vec<Value> {
        let events = self.gateway.store.state.audit_events().await.unwrap();
        let renewed = events.into_iter().filter(|event| event.event == "session.renewed");
        renewed.map(|event| serde_json::to_value(event).unwrap()).collect()
    }
}

#[tokio::test]
async fn a_session_gets_the_token_of_its_caller_and_no_others() {
    for served in &serve().await {
        served.live().await;
        let fresh = "agent.a1.team.200";
        for (bearer, token, status, code) in [
            // Who calls: the owner, and nobody else, whatever the body has.
            ("agent.a2.team", fresh, 404, "not-found"),
            ("human.oz.ops", fresh, 404, "not-found"),
            ("expired.a1.team", fresh, 401, "credential-expired"),
            // The new token.
            (AGENT, "agent.a2.team.200", 422, "other-caller"),
            (AGENT, "human.a1.team.200", 422, "other-caller"),
            (AGENT, "agent.a1.team.99", 422, "older-token"),
            (AGENT, "agent.a1.dba.200", 403, "not-granted"),
            (AGENT, "expired.a1.team", 422, "credential-expired"),
            (AGENT, "nonsense", 422, "credential-invalid"),
        ] {
            let got = served.renew(bearer, &path(1), json!({ "token": token })).await;
            assert_eq!((got.status.as_u16(), &got.body["code"]), (status, &json!(code)), "{bearer} {token}");
            // Only the call's own token is challenged.
            assert_eq!(got.headers.contains_key("www-authenticate"), status == 401, "{bearer} {token}");
        }
        for body in [json!({}), json!({ "token": 7 }), json!({ "token": fresh, "until": 9 }), json!(fresh)] {
            let got = served.renew(AGENT, &path(1), body.clone()).await;
            assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}");
        }
        assert_eq!(served.renewed_events().await, [] as [Value; 0]);

        let got = served.renew(AGENT, &path(1), json!({ "token": fresh })).await;
        assert_eq!((got.status, &got.body["ends"]), (StatusCode::OK, &json!(at(500).to_string())));
        // Sent again, as after a broken connection, it is no second renewal.
        assert_eq!(served.renew(fresh, &path(1), json!({ "token": fresh })).await.body, got.body);
        let events = served.renewed_events().await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["detail"]["credential_id"], json!("uti-200"));
        assert_eq!(events[0]["detail"]["ends"], json!(at(500).to_string()));
        assert_eq!(events[0]["target"], json!("db"));
        assert!(!events[0].to_string().contains(fresh), "the token itself was kept");
    }
}

#[tokio::test]
async fn a_session_that_is_over_or_elsewhere_is_said_to_be() {
    for served in &serve().await {
        served.live().await;
        let listed = |number: u128, object: &str| {
            let LiveSession { id, caller, target, window, .. } = session(number, object);
            SessionStart { id, caller, target, window }
        };
        let store = &served.gateway.store;
        let carried_by = async |node: &str, session: &SessionStart| {
            store.another(node).session_started(session, at(0)).await.unwrap();
        };
        carried_by("other-one", &listed(2, "a1")).await;
        carried_by("other-one", &listed(3, "a2")).await;
        carried_by("other-one", &listed(4, "a1")).await;
        store.state.session_ended(listed(4, "a1").id, "client-closed", at(1)).await.unwrap();
        carried_by("here", &listed(5, "a1")).await;
        let body = json!({ "token": "agent.a1.team.200" });
        for (number, status, code) in [
            (2, 409, "other-node"),
            // Another's, wherever it is.
            (3, 404, "not-found"),
            (4, 409, "already-over"),
            // Listed here, and not live.
            (5, 404, "not-found"),
            (6, 404, "not-found"),
        ] {
            let got = served.renew(AGENT, &path(number), body.clone()).await;
            assert_eq!((got.status.as_u16(), &got.body["code"]), (status, &json!(code)), "{number}");
            let named = got.body["detail"].as_str().unwrap_or_default().contains("`other-one`");
            assert_eq!(named, code == "other-node", "{}", got.body);
        }
        let got = served.renew(AGENT, "/api/v1/sessions/win_1/token", body.clone()).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND);

        served.gateway.clock.pass(Duration::from_secs(400));
        let got = served.renew(AGENT, &path(1), json!({ "token": "agent.a1.team.300" })).await;
        assert_eq!((got.status.as_u16(), &got.body["code"]), (409, &json!("already-over")));
        assert_eq!(got.body["title"], json!("The session is over: your token has expired."));
    }
}
