//! A newer token for a session that runs: it goes on past the end of its first one, and not past its window's. Before each end
//! the client is told.

use chaperone::recorder::EventKind;
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::cases::{Case, failed};
use chaperone_tests::process::{Ran, run};
use chaperone_tests::raw::{Message, Out, Wire, shape};
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
            the_client_is_told_before_each_end,
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
    (running, live(case).await)
}

/// The one live session of the case's agent.
async fn live(case: &Case) -> String {
    let mut id = None;
    let live = |stage: &Stage| {
        let listed = stage.chaperone(&case.token, &["sessions", "--live", "--json"])?.success()?;
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        id = first_id(&listed["live"].to_string(), "ses_");
        Ok(id.is_some())
    };
    case.stage.until("a live session", live).await.unwrap();
    id.unwrap()
}

/// A token of the case's agent, issued now: one of the same second is not older.
fn fresh(case: &Case) -> String {
    case.stage.token(CallerKind::Agent, AGENTS, case.number).unwrap()
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
    let said = renew(&case.stage, &session, &fresh(&case)).success().unwrap();
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
    let said = renew(&case.stage, &session, &fresh(&case)).success().unwrap();
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

async fn the_client_is_told_before_each_end(case: Case) {
    // The last fifth of so short a life begins two seconds before the token's end.
    case.stage.open_window(&case.token, Some("14s")).unwrap();
    let lifetime = Duration::from_secs(10);
    let token = case.stage.token_for(CallerKind::Agent, AGENTS, case.number, lifetime).unwrap();
    let mut wire = Wire::connect(&case.stage, &token).await.unwrap();
    let session = live(&case).await;
    let field = |notice: &Message, name: u8| notice.field(name).unwrap_or_default();

    let first = wire.until(b'N').await.unwrap();
    assert_eq!((field(&first, b'V').as_str(), field(&first, b'C').as_str()), ("WARNING", "01000"));
    let said = field(&first, b'M');
    assert!(said.starts_with("this session ends in ") && said.ends_with("when your token expires"), "{said}");
    let hint = field(&first, b'H');
    assert!(hint.contains(&format!("chaperone renew {session}")), "{hint}");
    assert!(hint.contains(&format!("/api/v1/sessions/{session}/token")), "{hint}");

    // Told once; after a renewal of the next end, which is the window's.
    renew(&case.stage, &session, &fresh(&case)).success().unwrap();
    assert_eq!(shape(&wire.query("select 7").await.unwrap()), "T D C ZI");
    let second = wire.until(b'N').await.unwrap();
    let said = field(&second, b'M');
    assert!(said.ends_with("when your window on shop closes"), "{said}");
    assert!(field(&second, b'H').contains("chaperone request shop"), "{}", field(&second, b'H'));
    assert_eq!(shape(&wire.answer().await.unwrap()), "E:57P01");
    let sealed = |stage: &Stage| Ok(!stage.recorded_of(case.number)?[0].end().is_empty());
    case.stage.until("a sealed recording", sealed).await.unwrap();
    let noted = case.stage.recorded_of(case.number).unwrap()[0].of(EventKind::Warning);
    let told = noted.iter().filter(|one| one.contains("was told that the session ends soon"));
    assert_eq!(told.count(), 2, "{noted:?}");
}

/// A message that is passed on in pieces is not broken by it. What was renewed meanwhile is not told of.
#[tokio::test(flavor = "multi_thread")]
async fn a_warning_waits_for_the_end_of_a_row() {
    // Masked by column only: else the row would be gathered before it is passed on.
    let mask = r#"{ columns: [{ match: "public.customers.ssn", strategy: redact }] }"#.into();
    let stage = Stage::start(Setting { mask, ..Setting::default() }).await.unwrap();
    let cases = chaperone_tests::cases![
        a_row_is_whole_and_then_comes_the_warning,
        a_row_is_whole_and_no_warning_comes
    ];
    let (_stage, failed) = failed(stage, cases).await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

/// A session in whose one row, longer than all buffers on the way hold, the time of the warning comes.
async fn in_a_row(case: &Case) -> Wire {
    let lifetime = Duration::from_secs(15);
    let token = case.stage.token_for(CallerKind::Agent, AGENTS, case.number, lifetime).unwrap();
    // Three seconds before the end, or a little later: its life begins when it has logged in.
    let told = Timestamp::now() + Duration::from_millis(12_500);
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &token).await.unwrap();
    wire.send(Out::new().query("select repeat('x', 20000000)")).await.unwrap();
    case.stage.until("the warning's time", |_| Ok(Timestamp::now() >= told)).await.unwrap();
    wire
}

fn is_whole(said: &[Message]) -> bool {
    let values = said.iter().filter(|message| message.kind == b'D').flat_map(Message::values);
    values.flatten().all(|value| value.len() == 20_000_000 && value.iter().all(|byte| *byte == b'x'))
}

async fn a_row_is_whole_and_then_comes_the_warning(case: Case) {
    let mut wire = in_a_row(&case).await;
    let mut said = wire.answer().await.unwrap();
    if !said.iter().any(|message| message.kind == b'N') {
        said.push(wire.until(b'N').await.unwrap());
    }
    assert!(["T D N C ZI", "T D C N ZI", "T D C ZI N"].contains(&shape(&said).as_str()), "{}", shape(&said));
    assert!(is_whole(&said), "the row is broken");
}

async fn a_row_is_whole_and_no_warning_comes(case: Case) {
    let mut wire = in_a_row(&case).await;
    renew(&case.stage, &live(&case).await, &fresh(&case)).success().unwrap();
    let said = wire.answer().await.unwrap();
    assert_eq!((shape(&said).as_str(), is_whole(&said)), ("T D C ZI", true));
    assert_eq!(shape(&wire.query("select 7").await.unwrap()), "T D C ZI");
}
