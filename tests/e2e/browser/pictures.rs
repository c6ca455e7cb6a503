//! Pictures of every page for the documentation. They are made by `cargo xtask screenshots`, never by a test run.

use super::now::{named, running, stage};
use super::replay::{did, found};
use super::{page, signed_in};
use base64::Engine as _;
use chaperone_core::identity::CallerKind;
use chaperone_tests::browser::Browser;
use chaperone_tests::stage::{ASKERS, Stage, first_id};
use std::path::Path;

/// What is held in the pictures.
const HELD: &str = "DELETE FROM orders -- what the import of last night left behind (INC-4711)\n WHERE status = 'returned'\n   AND total < 0.01 /* free samples stay */\n   AND customer_id IN (SELECT id FROM customers WHERE city = 'Graz');";

/// What is replayed in the pictures.
const SESSION: &str = "SELECT id, name, email, ssn, city FROM customers ORDER BY id LIMIT 4;\n\\! sleep 3\nSELECT count(*) AS churned FROM customers WHERE city = 'Graz';\n\\! sleep 1\nDROP TABLE customers;\n";

async fn take(browser: &Browser, folder: &Path, name: &str) {
    let png = base64::engine::general_purpose::STANDARD.decode(browser.picture().await.unwrap()).unwrap();
    std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
}

/// Some minutes of work, so that the plots have something to show.
async fn some_work(stage: &Stage, token: &str) {
    for round in 0..18_u64 {
        let psql = stage.psql(token).unwrap();
        let many = (1 + round % 5) * 40;
        let mut script = "select count(*) from orders;\n".repeat(usize::try_from(many).unwrap());
        script.push_str("select * from orders limit 3;\nDROP TABLE orders;\n");
        tokio::task::spawn_blocking(move || psql.run(&script)).await.unwrap().unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it writes files: cargo xtask screenshots"]
async fn pictures_of_the_console() {
    let folder = std::env::var_os("CHAPERONE_SCREENSHOTS").expect("run cargo xtask screenshots");
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder).unwrap();
    let (mut stage, tools) = stage().await.expect("there is no browser");
    let asker = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let reason = "Monthly revenue report, needs read access to orders";
    let said = stage.chaperone(&asker, &["request", "shop", "--reason", reason, "--json"]);
    let request = first_id(&said.unwrap().success().unwrap(), "req_").unwrap();
    let triage = named(&stage, 1, "Incident triage (agent)");
    let carol = signed_in(&stage, &tools, "Carol", "/now").await;
    carol.screen(1280, 800).await.unwrap();
    let reports = named(&stage, 3, "Report writer (agent)");
    let cleaner = named(&stage, 4, "Nightly clean-up (agent)");
    // One that was decided before, for the list beside the next.
    let before = running(&stage, &cleaner, "DELETE FROM orders WHERE id = 90001;");
    carol.until("One statement on shop").await.unwrap();
    carol.script("document.querySelector('#waits a.entry code').closest('a').click()").await.unwrap();
    carol.until_there("button.approve").await.unwrap();
    carol.fill("#comment", "One row of the test customer. Fine.").await.unwrap();
    carol.click("button.approve").await.unwrap();
    carol.until("Approved.").await.unwrap();
    before.await.unwrap().unwrap();
    some_work(&stage, &triage).await;
    let analyst = named(&stage, 5, "Churn analyst (agent)");
    did(&stage, &analyst, SESSION).await;
    found(&carol, &stage, "churned").await;
    let recording = carol.address().await.unwrap().replace(&page(&stage, ""), "");
    let all = [
        running(&stage, &reports, "select pg_sleep(600)"),
        running(&stage, &triage, "begin; select count(*) from orders; \\! sleep 60"),
        running(&stage, &cleaner, HELD),
    ];
    carol.open(&page(&stage, "/now")).await.unwrap();
    carol.until("held").await.unwrap();
    carol.until("in a transaction").await.unwrap();
    carol.until_there("#live[data-state=on]").await.unwrap();
    let hold =
        carol.script("return document.querySelector('#sessions a[href*=approvals]').pathname").await.unwrap();
    let hold = hold.as_str().unwrap().replace("/console", "");
    let session = carol.script("return document.querySelector('#sessions a.button').pathname").await.unwrap();
    let session = session.as_str().unwrap().replace("/console", "");
    let who = format!("test%2F{}%2F{}", chaperone_tests::stage::TENANT, chaperone_tests::stage::object_id(1));
    let explained = format!("/policy?target=shop&who={who}&groups=agents");
    for (name, path) in [
        ("now", "/now"),
        ("approvals", "/approvals"),
        ("statement", &hold),
        ("request", &format!("/approvals/{request}")),
        ("end", &session),
        ("sessions", "/sessions?words=customers&since=1h"),
        ("replay", &recording),
        ("policy", &explained),
        ("overview", "/overview?span=15m"),
    ] {
        carol.open(&page(&stage, path)).await.unwrap();
        if carol.has("#live").await.unwrap() {
            carol.until_there("#live[data-state=on]").await.unwrap();
        }
        take(&carol, folder, name).await;
    }
    carol.prefers("dark", "reduce").await.unwrap();
    carol.open(&page(&stage, &hold)).await.unwrap();
    carol.until_there("#live[data-state=on]").await.unwrap();
    take(&carol, folder, "statement-dark").await;
    carol.open(&page(&stage, "/sessions")).await.unwrap();
    take(&carol, folder, "sessions-dark").await;
    carol.screen(320, 700).await.unwrap();
    carol.open(&page(&stage, "/now")).await.unwrap();
    carol.until_there("#live[data-state=on]").await.unwrap();
    take(&carol, folder, "now-narrow-dark").await;
    stage.stop().await;
    for one in all {
        one.await.unwrap().unwrap();
    }
}
