//! Sessions that are found by what was done in them, and those that are listed.

use super::recordings::sealed;
use super::*;
use crate::recorder::SessionId;
use crate::state::{Advance, Entry, Facet, Moved};
use chaperone_core::name::Principal;
use serde_json::json;

/// An operation: its number, its text, what else it is found by.
type Done<'a> = (u64, &'a str, &'a [(Facet, &'a str)]);

/// Puts operations of a session into the index.
pub(super) async fn index(scene: &Scene, session: SessionId, all: &[Done<'_>]) {
    let state = scene.gateway.grants.state();
    let entries: Vec<Entry> = all
        .iter()
        .map(|(operation, text, facets)| {
            let finding = json!({ "rule": "<i>rule</i>", "detail": "", "risk": 1 });
            let decision = json!({ "decision": "allow", "risk": 1, "findings": [finding] });
            let shown = json!({ "number": operation, "at_us": 0, "form": "query", "text": text,
                "text_bytes": text.len(), "decision": decision });
            let decisions: Vec<&str> = facets
                .iter()
                .filter(|(facet, _)| *facet == Facet::Decision)
                .map(|(_, value)| *value)
                .collect();
            let caller = json!({ "kind": "agent", "actor": "a", "display_name": "<b>bot</b>" });
            let mut facets: Vec<_> =
                facets.iter().map(|(facet, value)| (*facet, (*value).to_owned())).collect();
            facets.push((Facet::Session, session.to_string()));
            Entry {
                operation: *operation,
                at: at(i64::try_from(*operation).unwrap() - 1000),
                principal: Principal::try_from("corp/t/a1".to_owned()).unwrap(),
                target: target("db"),
                facets,
                texts: vec![(*text).to_owned()],
                story: json!({ "operation": shown, "decisions": decisions, "caller": caller }).to_string(),
            }
        })
        .collect();
    let claim = state.claim_recording("search", session, at(0), at(60)).await.unwrap().unwrap();
    let (from, to, until) = (claim.events, claim.events + 1, at(60));
    let step =
        Advance { consumer: "search", session, from, to, standing: crate::state::Standing::Open, until };
    assert_eq!(state.index(&entries, step).await.unwrap(), Moved::Yes);
}

fn session(number: u128) -> SessionId {
    SessionId::new(uuid::Uuid::from_u128(number))
}

#[tokio::test]
async fn sessions_are_found_by_each_filter_and_lead_to_the_operation() {
    for scene in scenes().await {
        let users = (Facet::Table, "users");
        index(
            &scene,
            session(1),
            &[(1, "select email from users <script>", &[users, (Facet::Target, "db")])],
        )
        .await;
        let facets =
            [users, (Facet::Decision, "refused"), (Facet::Finding, "delete"), (Facet::Approver, "ann")];
        index(
            &scene,
            session(2),
            &[(7, "delete from users", &facets), (8, "select 2", &[(Facet::Principal, "a1")])],
        )
        .await;
        let mut audrey = scene.signed_in(AUDREY).await;
        let (one, two) = (session(1).to_string(), session(2).to_string());
        for (query, first, second) in [
            ("words=users", true, true),
            ("words=email", true, false),
            ("words=%22delete+from%22&table=&target=+&decision=", false, true),
            ("table=users&decision=refused", false, true),
            ("finding=delete", false, true),
            ("approver=ann", false, true),
            ("principal=a1", false, true),
            ("target=db", true, false),
            (&format!("session={two}"), false, true),
            ("since=2h&words=users", true, true),
            ("until=998s&words=users", true, false),
            ("words=nothing", false, false),
        ] {
            let page = audrey.get(&format!("/console/sessions?{query}")).await;
            let text = page.text.split_once("id=\"found\"").unwrap().1.to_owned();
            let has = |id: &str| text.contains(&format!("href=\"/console/sessions/{id}\""));
            assert_eq!(
                (page.status, has(&one), has(&two)),
                (StatusCode::OK, first, second),
                "{query}: {text}"
            );
            assert_eq!(text.contains("Nothing matches."), !first && !second, "{query}: {text}");
        }
        let page = audrey.get("/console/sessions?words=users&table=users").await.text;
        for part in [
            &format!("href=\"/console/sessions/{two}?from=7#op-7\""),
            "delete from <mark>users</mark>",
            "<span class=\"badge refused\">refused</span>",
            "&lt;i&gt;rule&lt;/i&gt;",
            "&lt;b&gt;bot&lt;/b&gt;",
            "value=\"users\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("<script>") && !page.contains("<b>") && !page.contains("<i>"), "{page}");
    }
}

#[tokio::test]
async fn what_is_asked_and_not_understood_is_said_and_never_left_out() {
    for scene in scenes().await {
        index(&scene, session(1), &[(1, "select 1", &[])]).await;
        let mut audrey = scene.signed_in(AUDREY).await;
        let long = "x".repeat(2000);
        for (query, part) in [
            ("words=*", "there is no letter and no digit"),
            ("since=soon", "A moment is like"),
            ("decision=maybe", "`decision` is"),
            ("cursor=x&words=a", "no place where a search goes on"),
            ("before=x", "no place where the list goes on"),
            ("before=2026-11-21%2F..%2F..", "no place where the list goes on"),
            ("folder=break-glass", "There is no such folder."),
            (&format!("table={long}"), "at most 1024 bytes"),
            ("target=%22%3E%3Cscript%3E&since=soon", "A moment is like"),
        ] {
            let page = audrey.get(&format!("/console/sessions?{query}")).await;
            assert!(page.status == StatusCode::OK && page.text.contains(part), "{query}: {}", page.text);
            assert!(!page.text.contains("select 1") && !page.text.contains("<script>"), "{}", page.text);
        }
        for query in ["tabel=users", "table=users&table=x"] {
            let page = audrey.get(&format!("/console/sessions?{query}")).await;
            assert_eq!(page.status, StatusCode::BAD_REQUEST, "{query}");
        }
    }
}

#[tokio::test]
async fn a_page_of_what_was_found_goes_on_where_the_one_before_ended() {
    for scene in scenes().await {
        let texts: Vec<Done<'_>> = (1..=150).map(|number| (number, "select 1", &[][..])).collect();
        index(&scene, session(1), &texts).await;
        let mut audrey = scene.signed_in(AUDREY).await;
        let page = audrey.get("/console/sessions?words=select").await.text;
        assert!(
            page.contains("100 operations in 1 session, and more") && page.contains("?from=150#op-150"),
            "{page}"
        );
        assert!(page.contains("95 more in this session"), "{page}");
        let (_, rest) = page.split_once("cursor=").unwrap();
        let cursor = rest.split(['"', '&']).next().unwrap();
        let page = audrey.get(&format!("/console/sessions?words=select&cursor={cursor}")).await.text;
        assert!(page.contains("50 operations in 1 session;") && page.contains("?from=50#op-50"), "{page}");
    }
}

#[tokio::test]
async fn the_newest_recordings_are_listed_page_by_page_and_each_once() {
    for scene in scenes().await {
        let mut audrey = scene.signed_in(AUDREY).await;
        assert!(audrey.get("/console/sessions").await.text.contains("No sessions yet."));
        for number in 1..=60 {
            sealed(&scene.recorder, number, |tape| tape.query(1, "select 1"));
        }
        let damaged = scene.recorder.find(session(60)).unwrap().unwrap();
        std::fs::remove_file(&damaged).unwrap();
        std::fs::write(&damaged, "not a recording").unwrap();
        let (mut path, mut seen) = ("/console/sessions".to_owned(), Vec::new());
        for expected in [25, 25, 10] {
            let page = audrey.get(&path).await.text;
            let all: Vec<String> = page
                .split("href=\"/console/sessions/ses_")
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().to_owned())
                .collect();
            assert_eq!(all.len(), expected, "{page}");
            seen.extend(all);
            path = match page.split_once("href=\"/console/sessions?before=") {
                Some((_, rest)) => format!("/console/sessions?before={}", rest.split('"').next().unwrap()),
                None => String::new(),
            };
        }
        assert_eq!(path, "");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 60);
        assert!(audrey.get("/console/sessions").await.text.contains("its head cannot be read"));
    }
}
