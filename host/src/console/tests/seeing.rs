//! What the pages show, and that they are told when there is something new.

use super::*;
use crate::metrics::history::Sample;
use crate::session::{Activities, Decisions, Doing};
use chaperone_core::name::WindowId;

/// A name as a token may carry it.
const NAME: &str = "<img src=x onerror=alert(1)> \u{202e}gnp";

#[tokio::test]
async fn now_shows_what_runs_and_names_of_tokens_as_text() {
    for scene in scenes().await {
        let (_hold, id) = scene.hold().await;
        let windows = scene.gateway.grants.state().all_open_windows(at(0)).await.unwrap();
        let window = windows[0].window.id();
        let decided = Decisions { allowed: 4, refused: 2, held: 1 };
        let held = Activities { doing: Doing::Held, since_us: 5_000_000, operations: 7, decided };
        let elsewhere = WindowId::new(uuid::Uuid::from_u128(8));
        let (one, two) = (
            scene.sessions.begin(1, NAME, window, held),
            scene.sessions.begin(2, "b", elsewhere, Activities::default()),
        );
        let mut oz = scene.signed_in(OZ).await;
        let page = oz.get("/console/now").await.text;
        for part in [
            "&lt;img src=x onerror=alert(1)&gt; <span class=\"odd\"",
            ">held</span>",
            "operation 7",
            "2 refused",
            ">idle</span>",
            &format!("/console/approvals/{id}\">Look at it"),
            &format!("href=\"/console/now/sessions/{one}\""),
            &format!("href=\"/console/now/sessions/{two}\""),
            &format!("href=\"/console/now/windows/{window}\""),
            "(1) Now",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("<img") && !page.contains('\u{202e}'), "{page}");
        // An auditor sees the same and is offered nothing to end.
        let page = scene.signed_in(AUDREY).await.get("/console/now").await.text;
        assert!(page.contains("operation 7") && !page.contains("/console/now/"), "{page}");
    }
}

#[tokio::test]
async fn an_approval_shows_what_was_decided_before_for_the_same_caller_there() {
    for scene in scenes().await {
        let mut ann = scene.signed_in(ANN).await;
        let (_first, before) = scene.hold().await;
        let page = ann.get(&format!("/console/approvals/{before}")).await;
        assert!(page.text.contains("Nothing yet."), "{}", page.text);
        ann.approve(before, &page.token()).await;
        let (_second, id) = scene.hold().await;
        let page = ann.get(&format!("/console/approvals/{id}")).await.text;
        assert!(
            page.contains(&format!(
                "<span class=\"badge ok\">approved</span> <a href=\"/console/approvals/{before}\">"
            )),
            "{page}"
        );
        // Another caller's is another matter, and so is what the reader could not see itself.
        let mut bob = scene.signed_in(BOB).await;
        assert!(bob.get(&format!("/console/approvals/{id}")).await.text.contains(&before.to_string()));
        let other = scene.gateway.grants.look(&agent("a1"), before).await;
        assert!(other.is_err());
    }
}

#[tokio::test]
async fn the_policy_is_told_in_words_and_explained_for_anybody() {
    for scene in scenes().await {
        let mut audrey = scene.signed_in(AUDREY).await;
        let page = audrey.get("/console/policy").await.text;
        for part in
            ["vault", "group:team", "approved up to 1h; by 2 of dba", "role:corp/Web.Run", "group:audit"]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
        for (query, part) in [
            ("target=db&who=corp/t/a1&kind=agent&groups=&roles=&from=&at=", "Not granted."),
            ("target=db&who=corp/t/a1&groups=dba", "Not granted."),
            ("target=web&who=corp/t/a1&kind=agent&roles=Web.Run", "A window opens when it is asked for."),
            ("target=db&who=%3Cb%3E", "a principal is `provider/tenant/object-id`"),
            ("target=db&who=corp/t/a1&from=<b>", "From: an IP address"),
            ("target=db&who=corp/t/a1&at=soon", "At: a moment"),
            ("target=db&who=corp/t/a1&kind=robot", "The kind is not one"),
            ("target=db&who=corp/t/a1&groups=nobodys", "no group is called `nobodys`"),
            ("target=%3Cscript%3E&who=corp/t/a1", "Not granted."),
        ] {
            let page = audrey.get(&format!("/console/policy?{query}")).await;
            assert!(page.status == StatusCode::OK && page.text.contains(part), "{query}: {}", page.text);
            assert!(!page.text.contains("<b>") && !page.text.contains("<script>"), "{}", page.text);
        }
    }
}

#[tokio::test]
async fn the_overview_plots_the_samples_of_its_span() {
    for scene in scenes().await {
        let mut oz = scene.signed_in(OZ).await;
        assert!(oz.get("/console/overview").await.text.contains("No numbers yet."));
        for second in [-2 * 3600, -1000, -10, 0] {
            let decided = Decisions { allowed: 100, refused: 7, held: 1 };
            let hooks = [Some(Duration::from_micros(20)), None, None];
            scene.history.note(Sample { at: at(second), live: 3, decided, waiting: Some(2), hooks });
        }
        for (query, allowed) in
            [("?span=15m", "200"), ("?span=1h", "300"), ("", "300"), ("?span=6h", "400"), ("?span=x", "300")]
        {
            let page = oz.get(&format!("/console/overview{query}")).await.text;
            assert!(page.contains(&format!("<dt>Allowed</dt><dd>{allowed}</dd>")), "{query}: {page}");
            assert!(page.contains("sql-check: last 20 µs, most 20 µs; approval-trigger: nothing"), "{page}");
            assert!(!page.contains(" style="));
        }
    }
}

#[tokio::test]
async fn a_window_is_shown_with_all_its_terms() {
    for scene in scenes().await {
        let (vault, ticket) = (target("vault"), Some("CHG-<7>"));
        let wish = Wish { ticket, ..Wish::new(&vault, "to <mend> it") };
        let asked = scene.gateway.grants.request(&agent("a1"), wish, at(0)).await.unwrap();
        let RequestOutcome::New(stored, _) = asked else { panic!("{asked:?}") };
        let mut ann = scene.signed_in(ANN).await;
        let page = ann.get(&format!("/console/approvals/{}", stored.id)).await;
        for part in [
            "Access to vault for 1h",
            "to &lt;mend&gt; it",
            "CHG-&lt;7&gt;",
            "2 of dba",
            "Waits for 2 persons",
        ] {
            assert!(page.text.contains(part), "{part}: {}", page.text);
        }
        ann.approve(stored.id, &page.token()).await;
        let page = ann.get(&format!("/console/approvals/{}", stored.id)).await;
        for part in ["Waits for 1 person,", "you have already decided; one person counts once"] {
            assert!(page.text.contains(part), "{part}: {}", page.text);
        }
    }
}

/// By stage: who is asked later stands behind who is asked before.
#[test]
fn those_who_have_to_approve_are_told_in_the_order_in_which_they_are_asked() {
    let one = |alias: &str, needed, stage| chaperone_core::grant::Requirement {
        approvers: GroupAlias::new(alias).unwrap(),
        members: vec![],
        needed,
        stage,
    };
    let all = [one("board", 1, 2), one("dba", 2, 1), one("security", 1, 1)];
    assert_eq!(words::by_stage(&all), "2 of dba and 1 of security, then 1 of board");
    assert_eq!(words::by_stage(&all[..1]), "1 of board");
    assert_eq!(words::by_stage(&[]), "");
}

/// Reads a stream until it has said this.
async fn until(answer: &mut reqwest::Response, said: &mut String, part: &str) {
    while !said.contains(part) {
        let chunk = tokio::time::timeout(Duration::from_secs(60), answer.chunk()).await.unwrap().unwrap();
        let chunk = chunk.unwrap_or_else(|| panic!("it ended before {part}: {said}"));
        said.push_str(&String::from_utf8_lossy(&chunk));
    }
}

async fn listen(browser: &Browser) -> reqwest::Response {
    let cookie = &browser.cookies[visitor::SIGNED_IN];
    let request = browser.client.get(format!("{}/console/events", browser.base));
    request.header("cookie", format!("{}={cookie}", visitor::SIGNED_IN)).send().await.unwrap()
}

#[tokio::test]
async fn a_page_is_told_when_there_is_something_new_for_its_reader_and_when_the_sign_in_is_over() {
    for scene in scenes().await {
        let (mut ann, eve, oz) =
            (scene.signed_in(ANN).await, scene.signed_in(EVE).await, scene.signed_in(OZ).await);
        let mut streams = [listen(&ann).await, listen(&eve).await, listen(&oz).await];
        let mut said = [String::new(), String::new(), String::new()];
        for (stream, said) in streams.iter_mut().zip(&mut said) {
            assert_eq!(stream.headers()["content-type"], "text/event-stream");
            until(stream, said, "event: ready").await;
        }
        let (_hold, _) = scene.hold().await;
        until(&mut streams[0], &mut said[0], "event: changed").await;
        until(&mut streams[2], &mut said[2], "event: changed").await;
        let token = ann.get("/console/approvals").await.token();
        ann.post("/console/logout", &[("token", &token)], &[]).await;
        until(&mut streams[0], &mut said[0], "event: end").await;
        assert!(streams[0].chunk().await.unwrap().is_none(), "nothing comes behind the end");
        // Nothing has changed for Eve, up to the moment at which she is denied.
        let operator = crate::grant::tests::human("oz", "ops");
        let denied = Denied::new(DeniedKind::Object, TENANT, EVE).unwrap();
        scene.gateway.grants.deny(&operator, denied, "gone", None, at(0)).await.unwrap();
        until(&mut streams[1], &mut said[1], "event: end").await;
        assert!(!said[1].contains("changed"), "{}", said[1]);
    }
}

#[tokio::test]
async fn one_person_does_not_take_all_places_of_live_pages() {
    for scene in scenes().await {
        let ann = scene.signed_in(ANN).await;
        let mut open = Vec::new();
        let refused = loop {
            let answer = listen(&ann).await;
            match answer.status() {
                StatusCode::OK => open.push(answer),
                status => break status,
            }
            assert!(open.len() < 100);
        };
        assert_eq!((open.len(), refused), (16, StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(listen(&scene.signed_in(BOB).await).await.status(), StatusCode::OK);
    }
}
