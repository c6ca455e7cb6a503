//! Nobody is in without an open window, and nobody stays in after it: to the second, whatever the session is doing.

use chaperone::recorder::EventKind;
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::cases::{Case, failed};
use chaperone_tests::raw::{Login, Message, Out, Wire, errors, rows, shape};
use chaperone_tests::stage::{AGENTS, ASKERS, Recorded, Setting, Stage, first_id};
use std::time::Duration;

/// Long enough to get in and start something, short enough to wait for.
const SHORT: &str = "4s";

/// "To the second", and room for a machine that does other things: in no case earlier, at most this late.
const LATE: Duration = Duration::from_millis(1900);

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_the_only_way_in_and_its_end_the_end() {
    let stage = Stage::start(Setting::default()).await.unwrap();
    let (_stage, failed) = failed(
        stage,
        chaperone_tests::cases![
            a_running_statement_is_cut_at_the_windows_end,
            a_copy_is_cut_at_the_windows_end,
            an_idle_transaction_is_cut_at_the_windows_end,
            a_client_that_does_not_read_is_cut_at_the_windows_end,
            a_held_statement_is_withdrawn_at_the_windows_end,
            a_session_is_cut_when_its_token_expires,
            a_revoked_window_cuts_its_sessions_and_says_who,
            a_revoked_session_is_cut_and_its_neighbour_goes_on,
            a_denied_agent_is_cut_and_kept_out_until_the_entry_is_lifted,
            an_agent_may_not_revoke_what_is_anothers,
            a_window_of_one_agent_is_of_no_use_to_another,
            an_approved_window_opens_when_it_is_approved_and_not_before,
        ],
    )
    .await
    .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Opens a short window and a session in it; the window's end.
async fn short(case: &Case, name: &str) -> (Wire, Timestamp) {
    case.stage.open_window(&case.token, Some(SHORT)).unwrap();
    let listed = case.stage.chaperone(&case.token, &["windows", "--json"]).unwrap().success().unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let closes = listed["windows"][0]["closes"].as_str().unwrap().parse().unwrap();
    (enter(case, name).await, closes)
}

/// A session whose backend can be found under a name.
async fn enter(case: &Case, name: &str) -> Wire {
    match Wire::login(&case.stage, &case.token, "shop", &[("application_name", name)]).await.unwrap() {
        Login::In(wire) => *wire,
        Login::Refused(said) => panic!("not let in: {}", String::from_utf8_lossy(&said)),
    }
}

/// Reads to the end, which has to come at `closes`, be said, be the target's end and be recorded.
async fn expect_cut(case: &Case, wire: &mut Wire, closes: Timestamp, name: &str) -> Vec<Message> {
    let last = wire.answer().await.unwrap();
    expect_gone(case, closes, name).await;
    assert!(shape(&last).ends_with("E:57P01"), "{}", shape(&last));
    assert!(errors(&last).contains("your window on this target closed"), "{}", errors(&last));
    last
}

async fn expect_gone(case: &Case, closes: Timestamp, name: &str) {
    let gone = || Timestamp::now().duration_since(closes);
    assert!(!gone().is_negative(), "cut before the window's end");
    case.stage.until("the backend's end", |stage| Ok(stage.backends(name)? == 0)).await.unwrap();
    assert!(gone().unsigned_abs() < LATE, "cut {:?} after the window's end", gone());
    let says = |one: &Recorded| one.end().contains("window-closed");
    let sealed = |stage: &Stage| Ok(stage.recorded_of(case.number)?.first().is_some_and(says));
    case.stage.until("a sealed recording", sealed).await.unwrap();
}

async fn a_running_statement_is_cut_at_the_windows_end(case: Case) {
    let (mut wire, closes) = short(&case, "sleeper").await;
    wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    expect_cut(&case, &mut wire, closes, "sleeper").await;
}

async fn a_copy_is_cut_at_the_windows_end(case: Case) {
    let (mut wire, closes) = short(&case, "copier").await;
    wire.send(Out::new().query("copy orders (customer_id, item, total, status) from stdin")).await.unwrap();
    wire.until(b'G').await.unwrap();
    wire.send(Out::new().message(b'd', b"1\tcut\t1\topen\n")).await.unwrap();
    expect_cut(&case, &mut wire, closes, "copier").await;
    assert_eq!(case.stage.real("select count(*) from orders where item = 'cut'").unwrap().trim(), "0");
}

async fn an_idle_transaction_is_cut_at_the_windows_end(case: Case) {
    let (mut wire, closes) = short(&case, "idler").await;
    let begun = wire.query("begin").await.unwrap();
    assert_eq!(shape(&begun), "C ZT");
    let sql = "insert into orders (customer_id, item, total, status) values (1, 'idle', 1, 'open')";
    assert_eq!(shape(&wire.query(sql).await.unwrap()), "C ZT");
    expect_cut(&case, &mut wire, closes, "idler").await;
    assert_eq!(case.stage.real("select count(*) from orders where item = 'idle'").unwrap().trim(), "0");
}

async fn a_client_that_does_not_read_is_cut_at_the_windows_end(case: Case) {
    let (mut wire, closes) = short(&case, "deaf").await;
    wire.send(Out::new().query("select repeat('x', 1000) from generate_series(1, 100000000)")).await.unwrap();
    let closed = |_: &Stage| Ok(Timestamp::now() >= closes);
    case.stage.until("the window's end", closed).await.unwrap();
    expect_gone(&case, closes, "deaf").await;
}

async fn a_held_statement_is_withdrawn_at_the_windows_end(case: Case) {
    let (mut wire, closes) = short(&case, "held").await;
    wire.send(Out::new().query("delete from orders where id = 60")).await.unwrap();
    let notice = wire.until(b'N').await.unwrap();
    let id = chaperone_tests::stage::first_id(&notice.field(b'M').unwrap(), "hold_").unwrap();
    expect_cut(&case, &mut wire, closes, "held").await;
    let late = case.stage.chaperone(&case.stage.approver().unwrap(), &["approve", &id]).unwrap();
    assert!(!late.status.success(), "approved after the end: {}", late.stdout);
    assert_eq!(case.stage.real("select count(*) from orders where id = 60").unwrap().trim(), "1");
}

async fn a_session_is_cut_when_its_token_expires(mut case: Case) {
    case.window().unwrap();
    case.token =
        case.stage.token_for(CallerKind::Agent, AGENTS, case.number, Duration::from_secs(4)).unwrap();
    let mut wire = enter(&case, "expiring").await;
    wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    let last = wire.answer().await.unwrap();
    assert!(shape(&last).ends_with("E:28P01"), "{}", shape(&last));
    assert!(errors(&last).contains("your token has expired"), "{}", errors(&last));
    case.stage.until("the backend's end", |stage| Ok(stage.backends("expiring")? == 0)).await.unwrap();
    // The window is still open, and of no use with that token.
    let again = case.stage.psql(&case.token).unwrap().run("select 1").unwrap();
    assert!(again.stderr.contains("the token has expired"), "{}", again.stderr);
    let fresh = case.stage.token(CallerKind::Agent, AGENTS, case.number).unwrap();
    assert_eq!(case.stage.psql(&fresh).unwrap().run("select 1").unwrap().success().unwrap(), "1\n");
}

async fn a_revoked_window_cuts_its_sessions_and_says_who(case: Case) {
    let window = case.window().unwrap();
    let (mut busy, mut idle) = (enter(&case, "revoked").await, enter(&case, "revoked").await);
    busy.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    assert_eq!(shape(&idle.query("begin").await.unwrap()), "C ZT");
    let started = std::time::Instant::now();
    let operator = case.stage.approver().unwrap();
    let why = "the incident is over: 100 % & more";
    case.stage.chaperone(&operator, &["revoke", &window, "--reason", why]).unwrap().success().unwrap();
    for wire in [&mut busy, &mut idle] {
        let last = wire.answer().await.unwrap();
        assert!(shape(&last).ends_with("E:57P01"), "{}", shape(&last));
        let said = errors(&last);
        assert!(said.contains("your window on this target was ended"), "{said}");
        assert!(said.contains(&format!("ended by test/{}", chaperone_tests::stage::TENANT)), "{said}");
        assert!(said.contains(&format!(": {why}.")), "{said}");
    }
    case.stage.until("the backends' end", |stage| Ok(stage.backends("revoked")? == 0)).await.unwrap();
    assert!(started.elapsed() < LATE, "cut after {:?}", started.elapsed());
    let again = case.stage.psql(&case.token).unwrap().run("select 1").unwrap();
    assert!(again.stderr.contains("you have no open window on this target"), "{}", again.stderr);
    let revoked = |stage: &Stage| {
        let recorded = stage.recorded_of(case.number)?;
        let says = |one: &Recorded| one.end().contains("\"revoked\"") && one.end().contains(why);
        Ok(recorded.len() == 2 && recorded.iter().all(says))
    };
    case.stage.until("two recordings that say so", revoked).await.unwrap();
    let listed = case.stage.chaperone(&case.token, &["windows", "--json"]).unwrap().success().unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["windows"][0]["ended"]["reason"], why);
    let listed = case.stage.chaperone(&case.token, &["windows"]).unwrap().success().unwrap();
    assert!(listed.contains("ENDED BY") && listed.contains("incident"), "{listed}");
    assert!(case.stage.audited().unwrap().contains(why));
}

async fn a_revoked_session_is_cut_and_its_neighbour_goes_on(case: Case) {
    case.window().unwrap();
    let mut cut = enter(&case, "cut").await;
    let listed = case.stage.chaperone(&case.token, &["sessions", "--live", "--json"]).unwrap();
    let id = chaperone_tests::stage::first_id(&listed.success().unwrap(), "ses_").unwrap();
    let mut stays = enter(&case, "stays").await;
    cut.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    let started = std::time::Instant::now();
    let operator = case.stage.approver().unwrap();
    case.stage.chaperone(&operator, &["revoke", &id, "--reason", "runs away"]).unwrap().success().unwrap();
    let last = cut.answer().await.unwrap();
    assert!(started.elapsed() < LATE, "cut after {:?}", started.elapsed());
    let said = errors(&last);
    assert!(said.contains("your session on this target was ended"), "{said}");
    assert!(said.contains(&format!("{}: runs away.", chaperone_tests::stage::object_id(9))), "{said}");
    assert!(shape(&last).ends_with("E:57P01"), "{}", shape(&last));
    case.stage.until("the backend's end", |stage| Ok(stage.backends("cut")? == 0)).await.unwrap();
    let recorded = |stage: &Stage| {
        Ok(stage.recorded_of(case.number)?.iter().any(|one| one.end().contains(": runs away.")))
    };
    case.stage.until("a recording that says why", recorded).await.unwrap();
    assert_eq!(rows(&stays.query("select 7").await.unwrap()), ["7"]);
}

async fn a_denied_agent_is_cut_and_kept_out_until_the_entry_is_lifted(case: Case) {
    case.window().unwrap();
    let mut wire = enter(&case, "denied").await;
    wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    let operator = case.stage.approver().unwrap();
    let as_operator =
        |arguments: &[&str]| case.stage.chaperone(&operator, arguments).unwrap().success().unwrap();
    let object =
        format!("{}/{}", chaperone_tests::stage::TENANT, chaperone_tests::stage::object_id(case.number));
    let started = std::time::Instant::now();
    let said = as_operator(&["deny", "object", &object.to_uppercase(), "--reason", "incident 7"]);
    let entry = first_id(&said, "deny_").unwrap();
    let last = wire.answer().await.unwrap();
    assert!(started.elapsed() < LATE, "cut after {:?}", started.elapsed());
    assert!(shape(&last).ends_with("E:57P01"), "{}", shape(&last));
    assert!(errors(&last).contains("an operator has denied you access"), "{}", errors(&last));
    case.stage.until("the backend's end", |stage| Ok(stage.backends("denied")? == 0)).await.unwrap();

    // A new token does not help, nor does asking for a window; nobody else is concerned.
    let fresh = case.stage.token(CallerKind::Agent, AGENTS, case.number).unwrap();
    let login = case.stage.psql(&fresh).unwrap().run("select 1").unwrap();
    assert!(login.stderr.contains("an operator has denied you access"), "{}", login.stderr);
    assert!(login.stderr.contains(&entry) && !login.stderr.contains("incident"), "{}", login.stderr);
    let asked = case.stage.chaperone(&fresh, &["request", "shop", "--reason", "please"]).unwrap();
    assert!(asked.stderr.contains("help: ask an operator to lift the entry"), "{}", asked.stderr);
    let other = case.stage.token(CallerKind::Agent, AGENTS, 0xd3).unwrap();
    case.stage.chaperone(&other, &["windows"]).unwrap().success().unwrap();

    let listed = as_operator(&["denials"]);
    assert!(listed.contains(&entry) && listed.contains("incident 7"), "{listed}");
    as_operator(&["lift", &entry]);
    assert_eq!(case.stage.psql(&fresh).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
}

async fn an_agent_may_not_revoke_what_is_anothers(case: Case) {
    let window = case.window().unwrap();
    let mut wire = enter(&case, "mine").await;
    let listed = case.stage.chaperone(&case.token, &["sessions", "--live", "--json"]).unwrap();
    let session = chaperone_tests::stage::first_id(&listed.success().unwrap(), "ses_").unwrap();
    let other = case.stage.token(CallerKind::Agent, AGENTS, 0xd1).unwrap();
    for id in [&window, &session] {
        let said = case.stage.chaperone(&other, &["revoke", id]).unwrap();
        assert!(!said.status.success(), "{}", said.stdout);
    }
    let seen = case.stage.chaperone(&other, &["sessions", "--live", "--json"]).unwrap().success().unwrap();
    assert!(!seen.contains(&session), "{seen}");
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    // Its own it may end.
    case.stage.chaperone(&case.token, &["revoke", &window]).unwrap().success().unwrap();
    assert!(shape(&wire.answer().await.unwrap()).ends_with("E:57P01"));
}

async fn a_window_of_one_agent_is_of_no_use_to_another(case: Case) {
    case.window().unwrap();
    let other = case.stage.token(CallerKind::Agent, AGENTS, 0xd2).unwrap();
    let refused = case.stage.psql(&other).unwrap().run("select 1").unwrap();
    assert!(refused.stderr.contains("you have no open window on this target"), "{}", refused.stderr);
    // Nor does the holder's name help: the user name is only a wish.
    let posing = case.stage.psql(&other).unwrap().env("PGUSER", "shop_owner").run("select 1").unwrap();
    assert!(posing.stderr.contains("you have no open window on this target"), "{}", posing.stderr);
    // The same object id with a person's token is another kind of caller, but the same principal: what counts is who.
    assert!(case.stage.recorded_of(0xd2).unwrap().is_empty(), "a session that never began was recorded");
}

async fn an_approved_window_opens_when_it_is_approved_and_not_before(case: Case) {
    let asker = case.stage.token(CallerKind::Agent, ASKERS, case.number).unwrap();
    let asked = case.stage.chaperone(&asker, &["request", "shop", "--reason", "a report", "--json"]).unwrap();
    let request = chaperone_tests::stage::first_id(&asked.success().unwrap(), "req_").unwrap();
    let early = case.stage.psql(&asker).unwrap().run("select 1").unwrap();
    assert!(!early.status.success() && early.stderr.contains(&request), "{}", early.stderr);
    let own = case.stage.chaperone(&asker, &["approve", &request]).unwrap();
    assert!(!own.status.success(), "an agent approved its own request: {}", own.stdout);
    let approver = case.stage.approver().unwrap();
    case.stage.chaperone(&approver, &["approve", &request]).unwrap().success().unwrap();
    assert_eq!(case.stage.psql(&asker).unwrap().run("select 1").unwrap().success().unwrap(), "1\n");
    let head = case.stage.recorded_of(case.number).unwrap()[0].of(EventKind::Head).join("");
    assert!(head.contains(&chaperone_tests::stage::object_id(9)), "the head names no approver: {head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_the_client_ends_with_its_window() {
    // A COPY passes only where nothing in it is masked, and content could be anywhere.
    let mask = r#"{ columns: [{ match: "public.customers.ssn", strategy: redact }] }"#.into();
    let stage = Stage::start(Setting { mask, ..Setting::default() }).await.unwrap();
    // A table that is read slowly. Each row fills the server's buffer, so that it comes when it is read.
    stage
        .real(
            "truncate orders;
             insert into orders (customer_id, item, total, status)
             select 1, repeat('x', 9000), 1, 'open' from generate_series(1, 1000);
             alter table orders enable row level security;
             alter table orders force row level security;
             create policy slow on orders using (pg_sleep(0.05) is not null)",
        )
        .unwrap();
    let (_stage, failed) =
        failed(stage, chaperone_tests::cases![a_copy_to_the_client_is_cut_at_the_windows_end]).await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

async fn a_copy_to_the_client_is_cut_at_the_windows_end(case: Case) {
    let (mut wire, closes) = short(&case, "reader").await;
    wire.send(Out::new().query("copy orders to stdout")).await.unwrap();
    wire.until(b'd').await.unwrap();
    let mut last = wire.answer().await.unwrap();
    expect_gone(&case, closes, "reader").await;
    // Between two rows it is told of the end.
    last.retain(|message| message.kind != b'N');
    // In the middle of a row there is no place for an error: then the connection just ends.
    assert!(["d", "d E:57P01"].contains(&shape(&last).as_str()), "{}", shape(&last));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_outlives_a_restart_and_a_second_attempt_after_it_is_not_dialled() {
    let server = vec![("log_connections".to_owned(), "on".to_owned())];
    let mut stage = Stage::start(Setting { server, ..Setting::default() }).await.unwrap();
    let token = stage.agent().unwrap();
    stage.open_window(&token, Some("6s")).unwrap();
    stage.restart().await.unwrap();
    let psql = stage.psql(&token).unwrap();
    assert_eq!(psql.run("select 7").unwrap().success().unwrap(), "7\n");

    // psql in the middle of a statement when the window ends: it is told, and nothing of it stays.
    let cut = psql.run("select pg_sleep(600)").unwrap();
    assert!(cut.stderr.contains("FATAL:  your window on this target closed"), "{}", cut.stderr);
    stage
        .until("no backend", |stage| {
            Ok(stage
                .real(
                    "select count(*) from pg_stat_activity where usename = 'shop_owner' and state = 'active'",
                )?
                .trim()
                == "0")
        })
        .await
        .unwrap();

    let connections = |stage: &Stage| stage.postgres.log().matches("connection received").count();
    let before = connections(&stage);
    assert!(before > 0, "connections are not logged");
    let recordings = stage.recorded().unwrap().len();
    let again = psql.run("select 1").unwrap();
    assert!(again.stderr.contains("you have no open window on this target"), "{}", again.stderr);
    assert!(again.stderr.contains("chaperone request shop"), "it does not say what to do: {}", again.stderr);
    assert_eq!(connections(&stage), before, "the target was dialled");
    assert_eq!(stage.recorded().unwrap().len(), recordings, "there was a session");
    stage.stop().await;
}

/// What the gateway has noted in its store of how far its clock has come.
async fn has_run_until(stage: &Stage, now: Timestamp) {
    let state = chaperone::state::State::sqlite(&stage.path("state.db"), "local").await.unwrap();
    assert!(state.furthest().await.unwrap().is_some(), "nothing was noted");
    state.clock_has_come_to(now).await.unwrap();
    state.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_while_the_gateway_is_down_opens_no_window_again() {
    let server = vec![("log_connections".to_owned(), "on".to_owned())];
    let mut stage = Stage::start(Setting { server, ..Setting::default() }).await.unwrap();
    let hour = Duration::from_secs(3600);
    let token = stage.token_for(CallerKind::Agent, AGENTS, 1, 4 * hour).unwrap();
    stage.open_window(&token, None).unwrap();
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    stage.stop().await;
    let connections = |stage: &Stage| stage.postgres.log().matches("connection received").count();
    let before = connections(&stage);
    assert!(before > 0, "connections are not logged");

    // Seen from there, this machine's clock was set back by an hour.
    has_run_until(&stage, Timestamp::now() + hour).await;
    stage.restart().await.unwrap();
    let again = stage.psql(&token).unwrap().run("select 1").unwrap();
    assert!(again.stderr.contains("you have no open window on this target"), "{}", again.stderr);
    assert_eq!(connections(&stage), before, "the target was dialled");
    stage.stop().await;

    // By more than a day: somebody has to look at it.
    has_run_until(&stage, Timestamp::now() + 30 * hour).await;
    let why = stage.serve().await.err().unwrap().to_string();
    assert!(why.contains("a clock that is set back would open windows again that are closed"), "{why}");
    assert!(why.contains("delete this gateway's row of the table `clock`"), "{why}");
}

/// A gateway whose configuration says something else in one place.
async fn stage_with(part: &str, instead: &str) -> Stage {
    let (mut stage, _) = Stage::prepare(Setting::default()).await.unwrap();
    stage.edit(part, instead).unwrap();
    stage.restart().await.unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_public_url() {
    let mut stage = stage_with("listen: {", "listen: { public_url: https://chaperone.example:444,").await;
    let refused = stage.psql(&stage.agent().unwrap()).unwrap().run("select 1").unwrap();
    assert!(refused.stderr.contains("https://chaperone.example:444/api/v1/requests"), "{}", refused.stderr);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_answers_is_over_when_the_grant_says_so() {
    let mut stage = stage_with("when: approved,", "when: approved, expires: 2s,").await;
    let asker = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let asked = stage.chaperone(&asker, &["request", "shop", "--reason", "a test", "--json"]).unwrap();
    let id = first_id(&asked.stdout, "req_").unwrap();
    let approver = stage.approver().unwrap();
    let waits = |stage: &Stage| {
        let waiting = stage.chaperone(&approver, &["approvals", "--json"])?.success()?;
        Ok(waiting.contains(&id))
    };
    assert!(waits(&stage).unwrap(), "it never waited");
    let expired = |stage: &Stage| waits(stage).map(|waits| !waits);
    stage.until("the request's end", expired).await.unwrap();
    let late = stage.chaperone(&approver, &["approve", &id]).unwrap();
    assert!(!late.status.success() && late.stderr.contains("This cannot be decided"), "{}", late.stderr);
    let refused = stage.psql(&asker).unwrap().run("select 1").unwrap();
    assert!(refused.stderr.contains("you have no open window on this target"), "{}", refused.stderr);
    stage.stop().await;
}
