//! Watching and steering in a browser: what runs, what waits, and who may end it.

use super::{asked, page, signed_in};
use chaperone::demo::issuer::{Account, GroupsClaim, TokenSpec};
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::browser::{Browser, ENTER, ESCAPE, TAB};
use chaperone_tests::stage::{AGENTS, ASKERS, AUDIENCE, Setting, SignIn, Stage, object_id};
use chaperone_tests::tools;

/// A name as its provider may let an agent have it.
pub(super) const NAME: &str = "<img src=x onerror=document.title=1> bot";

/// A stage with an operator (Carol), an auditor (Audrey) and somebody without a role (Eve).
pub(super) async fn stage() -> Option<(Stage, tools::BrowserTools)> {
    let tools = tools::browser()?;
    let setting = Setting {
        sign_in: SignIn::Here,
        more: "auditors: group:askers\nlimits: { shutdown_deadline: 1s }".into(),
        ..Setting::default()
    };
    let stage = Stage::start(setting).await.unwrap();
    for (name, number, group) in
        [("Carol", 9, chaperone_tests::stage::DBAS), ("Audrey", 7, ASKERS), ("Eve", 6, AGENTS)]
    {
        let (name, object_id, groups) =
            (name.into(), object_id(number), GroupsClaim::Listed(vec![group.into()]));
        stage.issuer.admit(Account { name, object_id, groups, kind: CallerKind::Human });
    }
    Some((stage, tools))
}

/// An agent with a window that calls itself something.
pub(super) fn named(stage: &Stage, number: u8, name: &str) -> String {
    let spec = TokenSpec::new(CallerKind::Agent, &object_id(number), AUDIENCE, Timestamp::now())
        .groups(GroupsClaim::Listed(vec![AGENTS.to_owned()]))
        .name(name);
    let token = stage.issuer.token(&spec).unwrap();
    stage.open_window(&token, None).unwrap();
    token
}

/// A statement that runs or waits until somebody does something about it.
pub(super) fn running(
    stage: &Stage,
    token: &str,
    statement: &'static str,
) -> tokio::task::JoinHandle<anyhow::Result<chaperone_tests::process::Ran>> {
    let psql = stage.psql(token).unwrap();
    tokio::task::spawn_blocking(move || psql.run(statement))
}

/// What the page's own rules had to stop. A picture that does not load, or an answer that is no page, is no such thing.
pub(super) async fn stopped(browser: &Browser) -> Vec<String> {
    let mut all = browser.complaints().await.unwrap();
    all.retain(|line| line.contains("Security") || line.contains("Trusted") || line.contains("Uncaught"));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_a_session_while_its_statement_runs_and_its_name_is_text() {
    let Some((mut stage, tools)) = stage().await else { return };
    let agent = named(&stage, 1, NAME);
    let psql = running(&stage, &agent, "select pg_sleep(600)");
    let carol = signed_in(&stage, &tools, "Carol", "/now").await;
    let text = carol.until("runs").await.unwrap();
    assert!(text.contains(NAME), "{text}");
    assert!(!carol.has("main img").await.unwrap());
    assert!(carol.script("return document.title").await.unwrap().as_str().unwrap().contains("Now"));

    carol.click("#sessions a.button").await.unwrap();
    let text = carol.until("End this session?").await.unwrap();
    assert!(text.contains(NAME) && text.contains(&object_id(1)), "{text}");
    // Without a reason the browser sends nothing.
    carol.click("button.danger").await.unwrap();
    assert!(carol.text().await.unwrap().contains("End this session?"));
    carol.fill("#reason", "odd queries").await.unwrap();
    carol.click("button.danger").await.unwrap();
    carol.until("Nobody is connected.").await.unwrap();
    let ran = psql.await.unwrap().unwrap();
    assert!(ran.stderr.contains("your session on this target was ended"), "{}", ran.stderr);
    assert!(ran.stderr.contains("odd queries"), "{}", ran.stderr);
    let audited = stage.audited().unwrap();
    let event = audited.lines().find(|line| line.starts_with("session.revoked")).unwrap();
    assert!(event.contains("odd queries") && event.contains(&object_id(9)), "{event}");

    // Its window is still open, and then it is not.
    carol.click("#windows a.button").await.unwrap();
    carol.until("End this window?").await.unwrap();
    carol.fill("#reason", "that is enough").await.unwrap();
    carol.click("button.danger").await.unwrap();
    carol.until("No window is open.").await.unwrap();
    let refused = stage.psql(&agent).unwrap().run("select 1").unwrap();
    assert!(refused.stderr.contains("you have no open window"), "{}", refused.stderr);
    assert_eq!(stopped(&carol).await, Vec::<String>::new());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_by_itself_that_a_statement_is_held_and_keys_decide_in_two_steps() {
    let Some((mut stage, tools)) = stage().await else { return };
    let statement =
        "DELETE FROM orders -- \u{e9}nd\n WHERE id = 2 /* </pre><img src=x> */ AND '$1' <> \"id\"::text";
    let carol = signed_in(&stage, &tools, "Carol", "/approvals").await;
    carol.open(&page(&stage, "/approvals")).await.unwrap();
    carol.until("Nothing waits.").await.unwrap();
    carol.until_there("#live[data-state=on]").await.unwrap();
    carol.script("window.kept = 'kept'").await.unwrap();
    let agent = stage.agent_with_window().unwrap();
    let psql = running(&stage, &agent, statement);
    carol.until("One statement on shop").await.unwrap();
    assert_eq!(carol.script("return window.kept").await.unwrap(), "kept", "it was not loaded anew");
    assert!(carol.script("return document.title").await.unwrap().as_str().unwrap().starts_with("(1) "));

    // By keys alone: to the entry, into it, to the comment, out of it, to the button.
    carol.press("j").await.unwrap();
    carol.press(&ENTER.to_string()).await.unwrap();
    carol.until("Exactly this runs").await.unwrap();
    let shown = carol.script("return document.querySelector('pre.exact').textContent").await.unwrap();
    assert_eq!(shown, statement, "character for character");
    assert!(!carol.has("pre img").await.unwrap() && carol.has("pre .strong").await.unwrap());
    carol.press(&format!("cseen{ESCAPE}a")).await.unwrap();
    let focused = carol.script("return document.activeElement.value").await.unwrap();
    assert_eq!(focused, "approve");
    assert!(carol.text().await.unwrap().contains("Waits for 1 person"), "a single key decides nothing");
    carol.press(&ENTER.to_string()).await.unwrap();
    carol.until("Approved.").await.unwrap();
    assert!(psql.await.unwrap().unwrap().status.success());
    assert_eq!(stage.real("select count(*) from orders where id = 2").unwrap().trim(), "0");

    // What was decided stands beside the next one, which goes away under its reader: the form does, too.
    let psql = running(&stage, &agent, "DELETE FROM orders WHERE id = 3");
    carol.open(&page(&stage, "/approvals")).await.unwrap();
    carol.until("One statement on shop").await.unwrap();
    carol.click("a.entry").await.unwrap();
    let text = carol.until("Decided before").await.unwrap();
    assert!(text.contains("approved") && text.contains("WHERE id = 2"), "{text}");
    carol.until_there("#live[data-state=on]").await.unwrap();
    carol.fill("#comment", "half a thou").await.unwrap();
    let hold = carol.address().await.unwrap().rsplit('/').next().unwrap().to_owned();
    // Elsewhere: by the command line, with a token for approvers.
    let spec =
        TokenSpec::new(CallerKind::Human, &object_id(8), chaperone_tests::stage::APPROVERS, Timestamp::now())
            .groups(GroupsClaim::Listed(vec![chaperone_tests::stage::DBAS.to_owned()]))
            .client(chaperone_tests::stage::CONSOLE);
    let dan = stage.issuer.token(&spec).unwrap();
    stage.chaperone(&dan, &["reject", &hold, "--comment", "no ticket"]).unwrap().success().unwrap();
    let text = carol.until("Rejected.").await.unwrap();
    assert!(text.contains("no ticket"), "{text}");
    assert!(!carol.has("#decide").await.unwrap(), "there is nothing to decide any more");
    let ran = psql.await.unwrap().unwrap();
    assert!(ran.stderr.contains("an approver rejected this operation"), "{}", ran.stderr);
    assert_eq!(stopped(&carol).await, Vec::<String>::new());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_each_role_has_its_pages_and_no_others() {
    let Some((mut stage, tools)) = stage().await else { return };
    let request = asked(&stage, 2);
    let agent = stage.agent_with_window().unwrap();
    let psql = running(&stage, &agent, "select pg_sleep(600)");
    let links =
        "return [...document.querySelectorAll('.bar nav a')].map((link) => link.textContent).join(' ')";
    for (name, pages, first) in [
        ("Carol", "Now Approve Sessions Policy Overview", "/now"),
        ("Audrey", "Now Approve Sessions Policy Overview", "/now"),
        ("Eve", "Approve", "/approvals"),
    ] {
        let browser = signed_in(&stage, &tools, name, "").await;
        assert_eq!(browser.address().await.unwrap(), page(&stage, first), "{name}");
        assert_eq!(browser.script(links).await.unwrap(), pages, "{name}");
        if name == "Eve" {
            let nothing = |browser: Browser, path: String| async move {
                browser.open(&path).await.unwrap();
                (browser.text().await.unwrap(), browser)
            };
            let (missing, mut eve) = nothing(browser, page(&stage, "/nothing")).await;
            assert!(missing.contains("nothing under this address"), "{missing}");
            for path in ["/now", "/sessions", "/policy", "/overview", &format!("/approvals/{request}")] {
                let text;
                (text, eve) = nothing(eve, page(&stage, path)).await;
                assert_eq!(text, missing, "{path}");
            }
            continue;
        }
        browser.until("runs").await.unwrap();
        assert_eq!(browser.has("#sessions a.button").await.unwrap(), name == "Carol", "{name}");
        browser.open(&page(&stage, &format!("/approvals/{request}"))).await.unwrap();
        browser.until("Access to shop").await.unwrap();
        assert_eq!(browser.has("form.decide").await.unwrap(), name == "Carol", "{name}");
        browser.open(&page(&stage, "/policy")).await.unwrap();
        let text = browser.until("Why is somebody let in").await.unwrap();
        for part in ["sql-check", "group:askers", "disabled", &stage.postgres.address().to_string()] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains(&stage.login.password) && !text.contains("target.password"), "{text}");
        browser
            .fill("#who", &format!("test/{}/{}", chaperone_tests::stage::TENANT, object_id(1)))
            .await
            .unwrap();
        browser.fill("#groups", "agents").await.unwrap();
        browser.click("button.strong").await.unwrap();
        browser.until("A window opens when it is asked for.").await.unwrap();
        browser.open(&page(&stage, "/overview")).await.unwrap();
        browser.until("Plugins, p99 of each hook").await.unwrap();
    }
    stage.stop().await;
    assert!(!psql.await.unwrap().unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_lead_to_pages_and_can_be_switched_off() {
    let Some((mut stage, tools)) = stage().await else { return };
    let carol = signed_in(&stage, &tools, "Carol", "/now").await;
    // The first stop leads past the navigation.
    carol.open(&page(&stage, "/now")).await.unwrap();
    carol.press(&TAB.to_string()).await.unwrap();
    let focused = "return document.activeElement.className + '#' + document.activeElement.id";
    assert_eq!(carol.script(focused).await.unwrap(), "skip#");
    carol.press(&ENTER.to_string()).await.unwrap();
    assert_eq!(carol.script(focused).await.unwrap(), "#main");
    // Every stop can be seen.
    carol.press(&TAB.to_string()).await.unwrap();
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(carol.script(outline).await.unwrap(), "solid");

    carol.press("?").await.unwrap();
    assert!(carol.until("no single key decides").await.unwrap().contains("Go to Overview"));
    carol.press("go").await.unwrap();
    carol.until("Overview").await.unwrap();
    assert_eq!(carol.address().await.unwrap(), page(&stage, "/overview"));
    carol.press("gx").await.unwrap();
    carol.press("?").await.unwrap();
    carol.click("#keys-on").await.unwrap();
    carol.script("document.activeElement.blur()").await.unwrap();
    carol.press("gp").await.unwrap();
    assert_eq!(carol.address().await.unwrap(), page(&stage, "/overview"), "switched off");
    carol.open(&page(&stage, "/now")).await.unwrap();
    assert_eq!(carol.script("return document.getElementById('keys-on').checked").await.unwrap(), false);
    stage.stop().await;
}
