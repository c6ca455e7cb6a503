//! Who sees and does what: every role against every page and action.

use super::*;
use crate::session::Activities;

/// What each role gets: signed out, Eve who is in no group, an approver, an auditor, an operator.
const WHO: [Option<&str>; 5] = [None, Some(EVE), Some(ANN), Some(AUDREY), Some(OZ)];

const OUT: StatusCode = StatusCode::SEE_OTHER;
const NO: StatusCode = StatusCode::NOT_FOUND;
const YES: StatusCode = StatusCode::OK;

/// A table like this one has every route of the console in it.
const PAGES: [(&str, [StatusCode; 5]); 14] = [
    ("/console/approvals", [OUT, YES, YES, YES, YES]),
    ("/console/approvals/HOLD", [OUT, NO, YES, YES, YES]),
    ("/console/events", [OUT, YES, YES, YES, YES]),
    ("/console/now", [OUT, NO, NO, YES, YES]),
    ("/console/now/sessions/SESSION", [OUT, NO, NO, NO, YES]),
    ("/console/now/windows/WINDOW", [OUT, NO, NO, NO, YES]),
    ("/console/sessions", [OUT, NO, NO, YES, YES]),
    ("/console/sessions?words=delete", [OUT, NO, NO, YES, YES]),
    ("/console/sessions/RECORDING", [OUT, NO, NO, YES, YES]),
    ("/console/sessions/RECORDING?from=1&look=proof", [OUT, NO, NO, YES, YES]),
    ("/console/policy", [OUT, NO, NO, YES, YES]),
    ("/console/policy?target=db&who=corp%2Ft%2Fa1", [OUT, NO, NO, YES, YES]),
    ("/console/overview", [OUT, NO, NO, YES, YES]),
    ("/console/nothing", [NO, NO, NO, NO, NO]),
];

struct Stage {
    scene: Scene,
    _hold: Hold,
    hold: ApprovalId,
    session: String,
    window: String,
    recording: String,
}

async fn stage(scene: Scene) -> Stage {
    let (held, hold) = scene.hold().await;
    let windows = scene.gateway.grants.state().all_open_windows(at(0)).await.unwrap();
    let [window] = windows.as_slice() else { panic!("{windows:?}") };
    let id = window.window.id();
    let session = scene.sessions.begin(1, "a1", id, Activities::default()).to_string();
    let recording = recordings::sealed(&scene.recorder, 1, |tape| tape.query(1, "select 1")).to_string();
    Stage { scene, _hold: held, hold, session, window: id.to_string(), recording }
}

impl Stage {
    fn path(&self, path: &str) -> String {
        path.replace("HOLD", &self.hold.to_string())
            .replace("RECORDING", &self.recording)
            .replace("SESSION", &self.session)
            .replace("WINDOW", &self.window)
    }

    async fn browser(&self, who: Option<&str>) -> Browser {
        match who {
            Some(who) => self.scene.signed_in(who).await,
            None => Browser::at(&self.scene),
        }
    }
}

#[tokio::test]
async fn every_role_sees_its_pages_and_of_all_others_as_much_as_of_what_does_not_exist() {
    for scene in scenes().await {
        let stage = stage(scene).await;
        let mut wrongly = Vec::new();
        for (number, who) in WHO.into_iter().enumerate() {
            let mut browser = stage.browser(who).await;
            let nothing = browser.get("/console/nothing").await.text;
            for (path, expected) in PAGES {
                let path = stage.path(path);
                let all: Vec<String> =
                    browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let request = browser.client.get(format!("{}{path}", browser.base));
                let answer = request.header("cookie", all.join("; ")).send().await.unwrap();
                let status = answer.status();
                if status != expected[number] {
                    wrongly.push(format!("{who:?} {path}: {status}"));
                } else if status == NO && answer.text().await.unwrap() != nothing {
                    wrongly.push(format!("{who:?} {path}: another answer than for what is not there"));
                }
            }
        }
        assert!(wrongly.is_empty(), "{wrongly:#?}");
    }
}

#[tokio::test]
async fn only_an_operator_ends_and_only_by_a_form_of_their_own_with_a_reason() {
    for scene in scenes().await {
        let stage = stage(scene).await;
        let paths = [
            format!("/console/now/sessions/{}", stage.session),
            format!("/console/now/windows/{}", stage.window),
        ];
        let live = || stage.scene.sessions.0.lock().unwrap().len();
        for who in [EVE, ANN, AUDREY] {
            let mut browser = stage.browser(Some(who)).await;
            let token = browser.get("/console/approvals").await.token();
            let nothing = browser.get("/console/nothing").await.text;
            for path in &paths {
                let seen = browser.post(path, &[("token", &token), ("reason", "x")], &[]).await;
                assert_eq!((seen.status, seen.text == nothing), (NO, true), "{who} {path}");
            }
        }
        let (mut oz, mut ann) = (stage.browser(Some(OZ)).await, stage.browser(Some(ANN)).await);
        let others = ann.get("/console/approvals").await.token();
        for path in &paths {
            let page = oz.get(path).await;
            assert!(page.text.contains("kept for auditors"), "{}", page.text);
            let token = page.token();
            let bad = StatusCode::BAD_REQUEST;
            for (form, headers, status) in [
                (vec![("token", others.as_str()), ("reason", "x")], vec![], StatusCode::FORBIDDEN),
                (vec![("token", ""), ("reason", "x")], vec![], StatusCode::FORBIDDEN),
                (vec![("token", token.as_str())], vec![], bad),
                (vec![("reason", "x")], vec![], bad),
                (vec![("token", token.as_str()), ("reason", " ")], vec![], StatusCode::UNPROCESSABLE_ENTITY),
                (
                    vec![("token", token.as_str()), ("reason", "\u{202e}")],
                    vec![],
                    StatusCode::UNPROCESSABLE_ENTITY,
                ),
                (
                    vec![("token", token.as_str()), ("reason", "x")],
                    vec![("origin", "https://evil.example")],
                    StatusCode::FORBIDDEN,
                ),
            ] {
                assert_eq!(oz.post(path, &form, &headers).await.status, status, "{path} {form:?}");
            }
            for query in [format!("?token={token}&reason=x"), String::new()] {
                assert_eq!(oz.get(&format!("{path}{query}")).await.status, YES);
            }
        }
        assert_eq!(live(), 1, "nothing was ended");
        assert_eq!(stage.scene.gateway.grants.state().all_open_windows(at(1)).await.unwrap().len(), 1);

        for path in &paths {
            let token = oz.get(path).await.token();
            let seen = oz.post(path, &[("token", &token), ("reason", "odd\r\nqueries")], &[]).await;
            assert_eq!((seen.status, seen.location()), (StatusCode::SEE_OTHER, "/console/now"), "{path}");
            let again = oz.post(path, &[("token", &token), ("reason", "x")], &[]).await;
            assert!(again.status == NO && again.text.contains("Not there any more"), "{}", again.text);
        }
        assert_eq!(live(), 0);
        assert!(stage.scene.gateway.grants.state().all_open_windows(at(1)).await.unwrap().is_empty());
        let events = stage.scene.gateway.grants.state().audit_events().await.unwrap();
        for (name, subject) in [("session.revoked", &stage.session), ("window.ended", &stage.window)] {
            let event = events.iter().find(|event| event.event == name).unwrap();
            assert!(event.actor.ends_with(OZ) && event.subject == *subject, "{event:?}");
            assert!(event.detail.to_string().contains(r"odd\nqueries"), "{event:?}");
        }
    }
}

#[tokio::test]
async fn who_loses_a_role_has_lost_it_at_the_next_page() {
    for scene in scenes().await {
        let mut oz = scene.signed_in(OZ).await;
        assert_eq!(oz.get("/console").await.location(), "/console/now");
        assert_eq!(oz.get("/console/now").await.status, YES);
        scene.gateway.grants.replace(policy()).unwrap();
        assert_eq!(oz.get("/console/now").await.status, NO);
        assert_eq!(oz.get("/console").await.location(), "/console/approvals");
    }
}

#[tokio::test]
async fn an_auditor_sees_what_is_held_and_cannot_decide_it() {
    for scene in scenes().await {
        let stage = stage(scene).await;
        let mut audrey = stage.browser(Some(AUDREY)).await;
        let page = audrey.get(&format!("/console/approvals/{}", stage.hold)).await;
        assert!(
            page.text.contains("You cannot decide this") && !page.text.contains("verdict"),
            "{}",
            page.text
        );
        let seen = audrey.approve(stage.hold, &page.token()).await;
        assert_eq!(seen.status, NO);
        assert_eq!(stage.scene.standing(stage.hold).await, Standing::Pending);
    }
}
