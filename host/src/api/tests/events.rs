//! Server-sent events: what is told, to whom, and when a stream ends.

use super::*;

/// An open stream.
struct Reading(reqwest::Response, String);

impl Served {
    async fn events(&self, token: &str) -> Reading {
        let response = self.at(Method::GET, "/api/v1/events").bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Reading(response, String::new())
    }

    async fn ask(&self, token: &str, reason: &str) -> String {
        let asked =
            self.post(token, "/api/v1/requests", json!({ "target": "vault", "reason": reason })).await;
        asked.body["id"].as_str().unwrap().to_owned()
    }
}

impl Reading {
    /// The next event: its name and its data. None when the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        let whole = async {
            loop {
                if let Some((event, rest)) = self.1.split_once("\n\n") {
                    let of =
                        |key: &str| event.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
                    let found = of("event: ").zip(of("data: "));
                    self.1 = rest.to_owned();
                    match found {
                        Some((name, data)) => return Some((name, serde_json::from_str(&data).unwrap())),
                        None => continue,
                    }
                }
                let chunk = self.0.chunk().await.unwrap()?;
                self.1.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(60), whole).await.expect("no event came")
    }

    async fn id(&mut self, name: &str) -> Option<String> {
        let (found, data) = self.next().await.unwrap();
        assert_eq!(found, name, "{data}");
        data["id"].as_str().map(str::to_owned)
    }
}

#[tokio::test]
async fn what_waits_is_told_at_once_and_then_what_becomes_of_it() {
    for served in &serve().await {
        let first = served.ask("agent.a1.team", "before").await;
        let (mut approver, mut asker, mut other) = (
            served.events("human.ann.dba").await,
            served.events("agent.a1.team").await,
            served.events("agent.a2.team").await,
        );
        for own in [&mut approver, &mut asker] {
            assert_eq!(own.id("asked").await.as_ref(), Some(&first));
            own.id("ready").await;
        }
        other.id("ready").await;
        let second = served.ask("agent.a2.team", "later").await;
        assert_eq!(approver.id("asked").await.as_ref(), Some(&second));
        assert_eq!(other.id("asked").await.as_ref(), Some(&second));
        let decide = async |who: &str, id: &str, verdict: &str| {
            let path = format!("/api/v1/approvals/{id}");
            assert_eq!(served.post(who, &path, json!({ "verdict": verdict })).await.status, StatusCode::OK);
        };
        // The one who asked for something else hears nothing of it: their next event is about their own.
        decide("human.ann.dba", &first, "approve").await;
        for own in [&mut approver, &mut asker] {
            let (name, data) = own.next().await.unwrap();
            assert_eq!((name.as_str(), &data["missing"]), ("decided", &json!(1)));
        }
        decide("human.bob.dba", &first, "approve").await;
        for own in [&mut approver, &mut asker] {
            let (name, data) = own.next().await.unwrap();
            assert_eq!((name.as_str(), &data["state"]), ("settled", &json!("approved")));
            assert_eq!(data["window"]["state"], "open");
        }
        decide("human.bob.dba", &second, "reject").await;
        let (name, data) = other.next().await.unwrap();
        assert_eq!(
            (name.as_str(), &data["id"], &data["state"]),
            ("settled", &json!(second), &json!("rejected"))
        );
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_its_callers_access() {
    for served in &serve().await {
        let mut brief = served.events("human.ann.dba.0").await;
        let mut denied = served.events("human.bob.dba").await;
        brief.id("ready").await;
        denied.id("ready").await;
        served.gateway.clock.pass(Duration::from_secs(300));
        let (name, data) = brief.next().await.unwrap();
        assert_eq!((name.as_str(), &data["code"]), ("end", &json!("credential-expired")));
        assert!(brief.next().await.is_none());
        let entry = json!({ "kind": "object", "tenant": "t", "id": "bob", "reason": "lost laptop" });
        assert_eq!(served.post("human.oz.ops", "/api/v1/denials", entry).await.status, StatusCode::CREATED);
        let (name, data) = denied.next().await.unwrap();
        assert_eq!((name.as_str(), &data["code"]), ("end", &json!("denied")));
        assert!(denied.next().await.is_none());
    }
}

#[tokio::test]
async fn who_decides_no_more_is_told_that_it_is_gone_and_streams_are_bounded() {
    for served in &serve().await {
        let id = served.ask("agent.a1.team", "x").await;
        let mut approver = served.events("human.ann.dba").await;
        approver.id("asked").await;
        approver.id("ready").await;
        // Their group decides nothing any more.
        let mut policy = crate::grant::tests::policy();
        policy.groups.clear();
        served.gateway.grants.replace(policy).unwrap();
        assert_eq!(approver.id("gone").await.as_ref(), Some(&id));
        // Nor are they told how it ended, which its requester is.
        let ended = async |object: &str, kind| {
            let who = Identity::for_test(person(object, kind, &["id-of-team"]));
            served.gateway.grants.ended(&who, id.parse().unwrap()).await.unwrap().is_some()
        };
        assert!(!ended("ann", CallerKind::Human).await && ended("a1", CallerKind::Agent).await);
        drop(approver);
        let mut open = Vec::new();
        for _ in 0..16 {
            open.push(served.events("agent.a3.team").await);
        }
        let refused = served.get("agent.a3.team", "/api/v1/events").await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (StatusCode::TOO_MANY_REQUESTS, &json!("limit-reached"))
        );
        served.events("agent.a4.team").await;
    }
}
