//! A newer token for a session that runs: it goes on past the end of its first one, and not past its window's.

use chaperone::recorder::EventKind;
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::cases::{Case, failed};
use chaperone_tests::process::{Ran, run};
use chaperone_tests::stage::{AGENTS, Setting, Stage, files, first_id};
use chaperone_tests::tools;
use std::process::Command;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_with_a_newer_token() {
    let stage = Stage::start(Setting::default()).await.unwrap();
    let (stage, failed) = failed(
        stage,
        chaperone_tests::cases![
            a_session_outlives_its_first_token_by_a_newer_one,
            a_renewed_session_is_cut_at_its_windows_end_all_the_same,
            a_token_of_another_agent_renews_nothing,
        ],
    )
    .await
    .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    // Whatever was kept of it, it was never a token: each begins with the same header in base64url.
    for (name, bytes) in files(&stage.recordings()).unwrap() {
        assert!(!String::from_utf8_lossy(&bytes).contains("eyJ"), "{name} holds a token");
    }
    assert!(!stage.audited().unwrap().contains("eyJ"));
}

/// psql in a statement, by a token of eight seconds: enough for a machine that does other things to get in and renew.
async fn begin(case: &Case, sql: &'static str) -> (tokio::task::JoinHandle<Ran>, String) {
    let lifetime = Duration::from_secs(8);
    let token = case.stage.token_for(CallerKind::Agent, AGENTS, case.number, lifetime).unwrap();
    let psql = case.stage.psql(&token).unwrap();
    let running = tokio::task::spawn_blocking(move || psql.run(sql).unwrap());
    let mut id = None;
    let live = |stage: &Stage| {
        let listed = stage.chaperone(&case.token, &["sessions", "--live", "--json"])?.success()?;
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        id = first_id(&listed["live"].to_string(), "ses_");
        Ok(id.is_some())
    };
    case.stage.until("a live session", live).await.unwrap();
    (running, id.unwrap())
}

/// `chaperone renew` with a token that comes by standard input.
fn renew(stage: &Stage, session: &str, token: &str) -> Ran {
    let mut command = Command::new(tools::chaperone().unwrap());
    command
        .args(["renew", session, "--token-file", "-"])
        .env_remove("CHAPERONE_TOKEN")
        .env("CHAPERONE_GATEWAY", format!("https://{}", stage.api))
        .env("CHAPERONE_CA", stage.path("gateway.pem"))
        .env("CHAPERONE_CONFIG", stage.path("chaperone.yaml"))
        .env("NO_COLOR", "1");
    run(&mut command, token).unwrap()
}

async fn a_session_outlives_its_first_token_by_a_newer_one(case: Case) {
    case.window().unwrap();
    let (running, session) = begin(&case, "select pg_sleep(10); select 7;").await;
    let said = renew(&case.stage, &session, &case.token).success().unwrap();
    assert!(said.contains(&format!("{session} has your new token and ends at ")), "{said}");
    let ran = running.await.unwrap();
    assert_eq!((ran.stdout.trim(), ran.stderr.contains("FATAL")), ("7", false), "{}", ran.stderr);
    assert!(case.stage.audited().unwrap().contains(&format!("session.renewed {session}")));
    let recorded = case.stage.recorded_of(case.number).unwrap();
    let noted = recorded[0].of(EventKind::Warning).join("");
    assert!(noted.contains("the session has a new token") && noted.contains("credential_id"), "{noted}");
}

async fn a_renewed_session_is_cut_at_its_windows_end_all_the_same(case: Case) {
    case.stage.open_window(&case.token, Some("11s")).unwrap();
    let listed = case.stage.chaperone(&case.token, &["windows", "--json"]).unwrap().success().unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let closes: Timestamp = listed["windows"][0]["closes"].as_str().unwrap().parse().unwrap();
    let (running, session) = begin(&case, "select pg_sleep(600);").await;
    let said = renew(&case.stage, &session, &case.token).success().unwrap();
    let ends = closes.strftime("%Y-%m-%d %H:%M:%SZ");
    assert!(said.contains(&format!("ends at {ends} ")), "{said}: not {ends}");
    let ran = running.await.unwrap();
    assert!(Timestamp::now() >= closes, "cut before the window's end");
    assert!(ran.stderr.contains("FATAL:  your window on this target closed"), "{}", ran.stderr);
}

async fn a_token_of_another_agent_renews_nothing(case: Case) {
    case.window().unwrap();
    let (running, session) = begin(&case, "select pg_sleep(600);").await;
    let other = case.stage.token(CallerKind::Agent, AGENTS, 0xd5).unwrap();
    let said = renew(&case.stage, &session, &other);
    assert!(!said.status.success() && said.stdout.is_empty(), "{}", said.stdout);
    assert!(said.stderr.contains("help: check the id"), "{}", said.stderr);
    let ran = running.await.unwrap();
    assert!(ran.stderr.contains("FATAL:  your token has expired"), "{}", ran.stderr);
}
