//! The console in a real browser, against a real gateway and the local issuer.

mod bundle;
mod demo;
mod looks;
mod now;
mod pictures;
mod replay;

mod directory;

use chaperone::demo::issuer::{Account, GroupsClaim};
use chaperone_core::identity::CallerKind;
use chaperone_tests::browser::Browser;
use chaperone_tests::stage::{ASKERS, DBAS, Serving, Setting, SignIn, Stage, first_id, object_id};
use chaperone_tests::tools;
use serde_json::Value;

/// What an agent wrote, which must stay text.
const REASON: &str = "<b>now</b> <script>document.title='owned'</script>";

/// A stage where people sign in, and the tools for browsers; none where there is no browser, which `cargo xtask test` says.
async fn stage() -> Option<(Stage, tools::BrowserTools)> {
    let tools = tools::browser()?;
    let stage = Stage::start(Setting { sign_in: SignIn::Here, ..Setting::default() }).await.unwrap();
    for (name, number) in [("Carol", 9), ("Dan", 8)] {
        stage.issuer.admit(Account {
            name: name.into(),
            object_id: object_id(number),
            groups: GroupsClaim::Listed(vec![DBAS.into()]),
            kind: CallerKind::Human,
        });
    }
    Some((stage, tools))
}

/// A request of an agent that needs an approver.
fn asked(stage: &Stage, number: u8) -> String {
    let token = stage.token(CallerKind::Agent, ASKERS, number).unwrap();
    let said = stage.chaperone(&token, &["request", "shop", "--reason", REASON, "--json"]).unwrap();
    first_id(&said.success().unwrap(), "req_").unwrap()
}

fn page(stage: &Stage, path: &str) -> String {
    format!("https://{}/console{path}", stage.api)
}

/// What has become of a request, as its agent sees it.
fn state(stage: &Stage, number: u8) -> String {
    let token = stage.token(CallerKind::Agent, ASKERS, number).unwrap();
    // Asked again it is the same request while it is pending.
    let said = stage.chaperone(&token, &["request", "shop", "--reason", REASON, "--json"]).unwrap();
    serde_json::from_str::<Value>(&said.stdout).unwrap()["state"].as_str().unwrap().to_owned()
}

async fn signed_in(stage: &Stage, tools: &tools::BrowserTools, name: &str, path: &str) -> Browser {
    let browser = Browser::start(tools).await.unwrap();
    browser.open(&page(stage, path)).await.unwrap();
    browser.until("Sign in as").await.unwrap();
    browser.follow(name).await.unwrap();
    browser.until("Sign out").await.unwrap();
    browser
}

async fn form_token(browser: &Browser) -> String {
    let script = "return document.querySelector('form.decide input[name=token]').value";
    browser.script(script).await.unwrap().as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_a_browser_approves_one_request_and_rejects_another() {
    let Some((mut stage, tools)) = stage().await else { return };
    let (first, second) = (asked(&stage, 2), asked(&stage, 3));
    // By the link of a notification; it is shown after signing in.
    let link = format!("/approvals/{first}");
    let browser = signed_in(&stage, &tools, "Carol", &link).await;
    assert_eq!(browser.address().await.unwrap(), page(&stage, &link));
    let text = browser.text().await.unwrap();
    for part in
        ["Access to shop for 15m", REASON, "an agent", &object_id(2), "1 of dba", "Waits for 1 person"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let title = browser.script("return document.title + document.scripts.length + document.cookie").await;
    assert_eq!(title.unwrap(), "Access to shop for 15m · Chaperone2");
    // The style sheet is there, though the page allows none inside.
    let shape = browser.script("return getComputedStyle(document.querySelector('.brand')).fontWeight").await;
    assert_eq!(shape.unwrap(), "650");
    let cookies = browser.cookies().await.unwrap();
    let [cookie] = cookies.as_slice() else { panic!("{cookies:?}") };
    assert_eq!(cookie["name"], "__Host-chaperone");
    assert_eq!((&cookie["secure"], &cookie["httpOnly"]), (&true.into(), &true.into()));
    assert_eq!((&cookie["sameSite"], &cookie["path"]), (&"Lax".into(), &"/".into()));

    browser.fill("#comment", "go on\nwith it").await.unwrap();
    browser.click("button.approve").await.unwrap();
    let text = browser.until("Approved.").await.unwrap();
    assert!(text.contains("go on\nwith it") && text.contains(&object_id(9)), "{text}");
    assert!(!browser.has("form.decide").await.unwrap());
    let agent = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    assert_eq!(stage.psql(&agent).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");

    browser.open(&page(&stage, "/approvals")).await.unwrap();
    let text = browser.until("What waits for you").await.unwrap();
    assert!(!browser.has(&format!("a[href$='{first}']")).await.unwrap(), "{text}");
    browser.click(&format!("a[href$='{second}']")).await.unwrap();
    browser.fill("#comment", "no ticket").await.unwrap();
    browser.click("button.reject").await.unwrap();
    browser.until("Rejected.").await.unwrap();
    let agent = stage.token(CallerKind::Agent, ASKERS, 3).unwrap();
    let refused = stage.psql(&agent).unwrap().run("select 7").unwrap();
    assert!(refused.stderr.contains("you have no open window"), "{}", refused.stderr);

    browser.click("header button").await.unwrap();
    browser.until("You are signed out.").await.unwrap();
    browser.open(&page(&stage, "/approvals")).await.unwrap();
    browser.until("Sign in as").await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_statement_is_shown_as_it_runs_and_runs_when_a_person_approves_it() {
    let Some((mut stage, tools)) = stage().await else { return };
    let agent = stage.agent_with_window().unwrap();
    let psql = stage.psql(&agent).unwrap();
    let statement = "DELETE FROM orders WHERE id = 1 /* <img src=x onerror=alert(1)> */";
    let held = tokio::task::spawn_blocking(move || psql.run(statement));
    let browser = signed_in(&stage, &tools, "Carol", "/approvals").await;
    while !browser.has("a.entry").await.unwrap() {
        browser.open(&page(&stage, "/approvals")).await.unwrap();
    }
    browser.click("a.entry").await.unwrap();
    let text = browser.until("Exactly this runs").await.unwrap();
    assert!(text.contains(statement), "{text}");
    assert!(!browser.has("pre img").await.unwrap());
    browser.click("button.approve").await.unwrap();
    browser.until("Approved.").await.unwrap();
    let ran = held.await.unwrap().unwrap();
    assert!(ran.status.success(), "{}", ran.stderr);
    assert_eq!(stage.real("select count(*) from orders where id = 1").unwrap().trim(), "0");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_neither_a_captured_link_nor_a_form_of_another_sign_in_decides() {
    let Some((mut stage, tools)) = stage().await else { return };
    let id = asked(&stage, 2);
    let link = format!("/approvals/{id}");
    let carol = signed_in(&stage, &tools, "Carol", &link).await;
    let dan = signed_in(&stage, &tools, "Dan", &link).await;
    let (own, others) = (form_token(&carol).await, form_token(&dan).await);
    assert_ne!(own, others);
    for query in ["", "?verdict=approve", &format!("?token={own}&verdict=approve&comment=x")] {
        carol.open(&page(&stage, &format!("{link}{query}"))).await.unwrap();
        carol.until("Waits for 1 person").await.unwrap();
    }
    for token in [others.as_str(), "", "x"] {
        carol.open(&page(&stage, &link)).await.unwrap();
        let put = format!("document.querySelector('form.decide input[name=token]').value = '{token}'");
        carol.script(&put).await.unwrap();
        carol.click("button.approve").await.unwrap();
        carol.until("This form was not made for your sign-in").await.unwrap();
    }
    carol.open(&page(&stage, &link)).await.unwrap();
    carol.script("document.querySelector('form.decide input[name=token]').remove()").await.unwrap();
    carol.click("button.approve").await.unwrap();
    carol.until("This is no form of this page").await.unwrap();
    // From a page of another site, with everything right in it: a form that a browser sends along with nothing to show for it.
    carol.open(&format!("http://{}/", stage.issuer_address())).await.unwrap();
    let forged = format!(
        "document.body.innerHTML = `<form method=post action='{}'><input name=token value='{own}'>\
         <input name=verdict value=approve><button>go</button></form>`",
        page(&stage, &link)
    );
    carol.script(&forged).await.unwrap();
    carol.click("button").await.unwrap();
    let text = carol.until("Nothing was").await.unwrap();
    assert!(text.contains("another site") || text.contains("not signed in"), "{text}");
    assert_eq!(state(&stage, 2), "pending");
    // And it was worth something where it belongs.
    carol.open(&page(&stage, &link)).await.unwrap();
    carol.click("button.approve").await.unwrap();
    carol.until("Approved.").await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_sign_in_is_its_own_and_ends_once() {
    let Some((mut stage, tools)) = stage().await else { return };
    let carol = Browser::start(&tools).await.unwrap();
    carol.open(&page(&stage, "/login")).await.unwrap();
    carol.until("Sign in as").await.unwrap();
    let begun = carol.address().await.unwrap();

    // Somebody who got hold of the address, in a browser with a sign-in of its own.
    let thief = signed_in(&stage, &tools, "Dan", "/approvals").await;
    thief.open(&begun).await.unwrap();
    thief.follow("Carol").await.unwrap();
    thief.until("This sign-in was not begun in this browser").await.unwrap();
    thief.open(&page(&stage, "/approvals")).await.unwrap();
    let text = thief.until("Sign out").await.unwrap();
    assert!(text.contains("Dan") && !text.contains("Carol"), "{text}");

    // Another place to come back to than the registered one: the provider sends nobody there.
    let evil = begun.replace("127.0.0.1%3A", "evil.example%3A");
    assert_ne!(evil, begun);
    thief.open(&evil).await.unwrap();
    thief.until("unknown application or redirect").await.unwrap();
    // By another of its names the gateway still comes back to the one that is configured.
    thief.open(&page(&stage, "/login").replace("127.0.0.1", "localhost")).await.unwrap();
    thief.until("Sign in as").await.unwrap();
    let redirect =
        format!("redirect_uri=https%3A%2F%2F127.0.0.1%3A{}%2Fconsole%2Fcallback", stage.api.port());
    let address = thief.address().await.unwrap();
    assert!(address.contains(&redirect), "{address}");

    // The address that Carol comes back by, twice.
    let back = stage.issuer_answer(&begun, 9).await.unwrap();
    carol.open(&back).await.unwrap();
    carol.until("Sign out").await.unwrap();
    carol.open(&back).await.unwrap();
    carol.until("or is over already").await.unwrap();
    carol.open(&page(&stage, "/approvals")).await.unwrap();
    carol.until("Sign out").await.unwrap();
    stage.stop().await;
}
