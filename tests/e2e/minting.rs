//! Roles that are minted for a session, at a server that is set up by the documentation's own SQL: what they are, that they
//! are there exactly as long as their session, and what is swept.

mod claim;
mod rounds;
mod secrets;
mod versions;

use anyhow::{Context, Result};
use chaperone::config;
use chaperone::gateway::run::{self as gateway, Running};
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::cases::{Case, failed};
use chaperone_tests::raw::{Login, Message, Out, Wire, messages, rows, shape};
use chaperone_tests::stage::{AGENTS, Minting, Setting, Stage, object_id};
use std::time::Duration;

/// Every role with the prefix of minted ones, one a line.
const MINTED: &str = "select rolname from pg_roles where left(rolname, 4) = 'chp_' order by rolname";

/// Everything is allowed, so that what is refused is refused by the target.
fn minting(minting: Minting) -> Setting {
    let logged =
        [("log_statement", "all"), ("log_connections", "on"), ("log_line_prefix", "%m [%p] user=%u app=%a ")];
    Setting {
        guard: "{ preset: none }".into(),
        trigger: "{ threshold: 100, approvers: dba }".into(),
        server: logged.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        minting: Some(minting),
        ..Setting::default()
    }
}

/// What the role of a principal begins with.
fn prefix(number: u8) -> String {
    format!("chp_{}_", object_id(number).replace('-', ""))
}

/// The roles of one principal that are there.
fn roles_of(stage: &Stage, number: u8) -> Result<Vec<String>> {
    let of = prefix(number);
    Ok(stage.real(MINTED)?.lines().filter(|name| name.starts_with(&of)).map(str::to_owned).collect())
}

/// Waits until a principal has no role.
async fn gone(stage: &Stage, number: u8) {
    stage.until("the role's end", |stage| Ok(roles_of(stage, number)?.is_empty())).await.unwrap();
}

/// One value as the session itself sees it.
async fn seen(wire: &mut Wire, sql: &str) -> String {
    rows(&wire.query(sql).await.unwrap()).join("\n")
}

/// A role as the server has it.
fn attributes(stage: &Stage, role: &str) -> String {
    let sql = format!(
        "select rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolinherit, rolconnlimit, \
         (select string_agg(g.rolname, ',' order by g.rolname) from pg_auth_members m join pg_roles g on g.oid = m.roleid \
         where m.member = r.oid) from pg_roles r where rolname = '{role}'"
    );
    stage.real(&sql).unwrap().trim().to_owned()
}

/// The server's version, as `server_version_num`.
fn version(stage: &Stage) -> u32 {
    stage.real("show server_version_num").unwrap().trim().parse().unwrap()
}

fn valid_until(stage: &Stage, role: &str) -> Timestamp {
    let sql = format!(
        "select to_char(rolvaliduntil at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') from pg_roles \
         where rolname = '{role}'"
    );
    stage.real(&sql).unwrap().trim().parse().unwrap()
}

fn closes(stage: &Stage, token: &str) -> Timestamp {
    let listed = stage.chaperone(token, &["windows", "--json"]).unwrap().success().unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    listed["windows"][0]["closes"].as_str().unwrap().parse().unwrap()
}

/// Another gateway in front of the same target, with a state and recordings of its own.
async fn another_gateway(stage: &Stage, name: &str) -> Result<Running> {
    let own = std::fs::read_to_string(stage.path("chaperone.yaml"))?;
    let other = own
        .replace("gateway: one", &format!("gateway: {name}"))
        .replace("state: state.db", "state: other.db")
        .replace("directory: recordings", "directory: others");
    let file = stage.path("other.yaml");
    std::fs::write(&file, other)?;
    gateway::start(config::load(&file)?.0).await.context("another gateway")
}

/// What a client is told that does not get in.
async fn refused(stage: &Stage, token: &str) -> Vec<Message> {
    match Wire::login(stage, token, "shop", &[]).await.unwrap() {
        Login::In(_) => panic!("let in"),
        Login::Refused(said) => messages(&said),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_role_is_what_the_grant_says_and_ends_with_its_session() {
    let stage = Stage::start(minting(Minting::default())).await.unwrap();
    let (stage, failed) = failed(
        stage,
        chaperone_tests::cases![
            a_session_has_a_role_of_its_own_with_the_granted_memberships_alone,
            a_role_is_valid_until_its_window_or_its_token_ends,
            two_sessions_of_one_agent_have_two_roles,
            a_role_goes_when_its_client_says_goodbye,
            a_role_goes_when_its_client_is_gone_in_the_middle_of_a_statement,
            a_role_goes_when_its_window_is_revoked,
            a_role_goes_when_its_session_is_ended_by_an_operator,
            a_role_goes_when_its_window_ends,
        ],
    )
    .await
    .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(stage.real(MINTED).unwrap(), "", "roles are left");
}

async fn a_session_has_a_role_of_its_own_with_the_granted_memberships_alone(case: Case) {
    let Case { stage, number, token } = &case;
    case.window().unwrap();
    let mut wire = match Wire::login(stage, token, "shop", &[("application_name", "triage")]).await.unwrap() {
        Login::In(wire) => *wire,
        Login::Refused(said) => panic!("{}", String::from_utf8_lossy(&said)),
    };
    let roles = roles_of(stage, *number).unwrap();
    let [role] = roles.as_slice() else { panic!("{roles:?}") };
    assert_eq!(seen(&mut wire, "select current_user || ' ' || session_user").await, format!("{role} {role}"));
    assert_eq!(attributes(stage, role), "f|f|f|f|f|t|1|logs_reader");
    // Who and which session, in full, where the server keeps it.
    let head = stage.recorded_of(*number).unwrap()[0].head();
    let head: serde_json::Value = serde_json::from_str(&head).unwrap();
    assert_eq!(head["target_role"], role.as_str());
    let (principal, session) =
        (head["identity"]["principal"].as_str().unwrap(), head["session"].as_str().unwrap());
    let comment = stage.real(&format!("select shobj_description('{role}'::regrole, 'pg_authid')")).unwrap();
    let says = format!(
        "made by chaperone: gateway one, target shop, database \"shop\", principal {principal}, session {session}, until "
    );
    assert!(comment.starts_with(&says), "{comment}");
    assert!(role.ends_with(&session[session.len() - 16..]), "{role} and {session}");
    // It may what the grant's role may, and the target refuses all else.
    assert_eq!(seen(&mut wire, "select count(*) from orders").await, "120");
    for denied in ["insert into orders default values", "delete from customers", "create table t (a int)"] {
        assert_eq!(shape(&wire.query(denied).await.unwrap()), "E:42501 ZI", "{denied}");
    }
    // Its one login is made: it takes no other.
    let barred = format!("select rolcanlogin from pg_roles where rolname = '{role}'");
    stage.until("the bar", |stage| Ok(stage.real(&barred)?.trim() == "f")).await.unwrap();
    assert_eq!(seen(&mut wire, "select 7").await, "7");
    // The target's own log says whose statement it was.
    let log = stage.postgres.log();
    // Other cases say the same at the same time.
    let own =
        |line: &&str| line.contains("select count(*) from orders") && line.contains(&format!("user={role} "));
    let line = log.lines().find(own).unwrap();
    let object = object_id(*number).replace('-', "");
    assert!(line.contains(&format!("user={role} app={object}/")), "{line}");
    assert!(line.contains("/triage "), "{line}");
    drop(wire);
    gone(stage, *number).await;
}

async fn a_role_is_valid_until_its_window_or_its_token_ends(case: Case) {
    let Case { stage, number, token } = &case;
    case.window().unwrap();
    let closes = closes(stage, token);
    let wire = Wire::connect(stage, token).await.unwrap();
    let role = roles_of(stage, *number).unwrap().remove(0);
    assert_eq!(valid_until(stage, &role), closes);
    drop(wire);
    gone(stage, *number).await;
    // A token that ends before the window does.
    let short = stage.token_for(CallerKind::Agent, AGENTS, *number, Duration::from_secs(300)).unwrap();
    let wire = Wire::connect(stage, &short).await.unwrap();
    let role = roles_of(stage, *number).unwrap().remove(0);
    let head: serde_json::Value =
        serde_json::from_str(&stage.recorded_of(*number).unwrap()[0].head()).unwrap();
    let expires: Timestamp = head["identity"]["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(expires < closes);
    assert_eq!(valid_until(stage, &role), expires);
    drop(wire);
    gone(stage, *number).await;
}

async fn two_sessions_of_one_agent_have_two_roles(case: Case) {
    let Case { stage, number, token } = &case;
    case.window().unwrap();
    let mut first = Wire::connect(stage, token).await.unwrap();
    let second = Wire::connect(stage, token).await.unwrap();
    assert_eq!(roles_of(stage, *number).unwrap().len(), 2);
    let own = seen(&mut first, "select current_user").await;
    drop(second);
    let one = |stage: &Stage| Ok(roles_of(stage, *number)? == [own.as_str()]);
    stage.until("the end of the other's role", one).await.unwrap();
    assert_eq!(seen(&mut first, "select count(*) from orders").await, "120");
    drop(first);
    gone(stage, *number).await;
}

async fn a_role_goes_when_its_client_says_goodbye(case: Case) {
    let Case { stage, number, token } = &case;
    case.window().unwrap();
    let said = stage.psql(token).unwrap().run("select current_user").unwrap().success().unwrap();
    assert!(said.starts_with(&prefix(*number)), "{said}");
    gone(stage, *number).await;
}

async fn a_role_goes_when_its_client_is_gone_in_the_middle_of_a_statement(case: Case) {
    let wire = sleeping(&case).await;
    drop(wire);
    gone(&case.stage, case.number).await;
    assert_eq!(sleepers(&case.stage, case.number).unwrap(), 0);
}

async fn a_role_goes_when_its_window_is_revoked(case: Case) {
    let window = case.window().unwrap();
    let mut wire = sleeping_in(&case).await;
    case.stage.chaperone(&case.token, &["revoke", &window]).unwrap().success().unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "E:57P01");
    gone(&case.stage, case.number).await;
    assert_eq!(sleepers(&case.stage, case.number).unwrap(), 0);
}

async fn a_role_goes_when_its_session_is_ended_by_an_operator(case: Case) {
    let mut wire = sleeping(&case).await;
    let session = {
        let head = case.stage.recorded_of(case.number).unwrap()[0].head();
        let head: serde_json::Value = serde_json::from_str(&head).unwrap();
        head["session"].as_str().unwrap().to_owned()
    };
    let operator = case.stage.approver().unwrap();
    case.stage.chaperone(&operator, &["revoke", &session]).unwrap().success().unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "E:57P01");
    gone(&case.stage, case.number).await;
}

async fn a_role_goes_when_its_window_ends(case: Case) {
    case.stage.open_window(&case.token, Some("4s")).unwrap();
    let mut wire = sleeping_in(&case).await;
    assert_eq!(shape(&wire.answer().await.unwrap()), "N E:57P01");
    gone(&case.stage, case.number).await;
    assert_eq!(sleepers(&case.stage, case.number).unwrap(), 0);
}

async fn sleeping(case: &Case) -> Wire {
    case.window().unwrap();
    sleeping_in(case).await
}

/// A session in an open window, in the middle of a statement.
async fn sleeping_in(case: &Case) -> Wire {
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    case.stage.until("a sleeper", |stage| Ok(sleepers(stage, case.number)? == 1)).await.unwrap();
    wire
}

fn sleepers(stage: &Stage, number: u8) -> Result<usize> {
    let of = prefix(number);
    let sql = format!(
        "select count(*) from pg_stat_activity where left(usename, {}) = '{of}' and state = 'active'",
        of.len()
    );
    Ok(stage.real(&sql)?.trim().parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_told_to_stop_leaves_no_role() {
    let (mut stage, _) = Stage::prepare(minting(Minting::default())).await.unwrap();
    let serving = stage.serve().await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wires = Vec::new();
    for _ in 0..5 {
        wires.push(Wire::connect(&stage, &token).await.unwrap());
    }
    assert_eq!(roles_of(&stage, 1).unwrap().len(), 5);
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(stage.real(MINTED).unwrap(), "", "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_gateway_left_is_swept_and_nothing_else() {
    // Names, comments or both that are nearly ours.
    let alike = "create role chp_without_a_comment; \
         create role chp_of_another; comment on role chp_of_another is 'made by chaperone: gateway one1, target shop, database \"shop\", x'; \
         create role chp_of_another_target; \
         comment on role chp_of_another_target is 'made by chaperone: gateway one, target shop2, database \"shop\", x'; \
         create role xchp_one; comment on role xchp_one is 'made by chaperone: gateway one, target shop, database \"shop\", x';";
    let more_sql = alike.to_owned();
    let (mut stage, _) = Stage::prepare(minting(Minting { more_sql, ..Minting::default() })).await.unwrap();
    let strangers = stage.real(MINTED).unwrap();
    assert_eq!(strangers.lines().count(), 3);

    // Another gateway, with a session that goes on all the time.
    let other = another_gateway(&stage, "two").await.unwrap();
    (stage.address, stage.api) = (other.postgres, other.api);
    let neighbour = stage.token(CallerKind::Agent, AGENTS, 2).unwrap();
    stage.open_window(&neighbour, None).unwrap();
    let mut neighbours = Wire::connect(&stage, &neighbour).await.unwrap();

    let serving = stage.serve().await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    stage.until("a sleeper", |stage| Ok(sleepers(stage, 1)? == 1)).await.unwrap();
    serving.signal("KILL").unwrap();
    serving.ended().unwrap();
    assert_eq!(
        roles_of(&stage, 1).unwrap().len(),
        1,
        "the role did not outlive its gateway: nothing is tested"
    );

    stage.restart().await.unwrap();
    gone(&stage, 1).await;
    assert_eq!(sleepers(&stage, 1).unwrap(), 0);
    assert_eq!(roles_of(&stage, 2).unwrap().len(), 1);
    assert_eq!(seen(&mut neighbours, "select count(*) from orders").await, "120");
    let left: Vec<String> = stage.real(MINTED).unwrap().lines().map(str::to_owned).collect();
    for stranger in strangers.lines() {
        assert!(left.iter().any(|name| name == stranger), "{stranger} was taken: {left:?}");
    }
    assert_eq!(stage.real("select count(*) from pg_roles where rolname = 'xchp_one'").unwrap().trim(), "1");
    // The windows of before are still open, and a new session has a new role.
    let mut again = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(seen(&mut again, "select count(*) from orders").await, "120");
    drop((again, neighbours));
    stage.stop().await;
    other.stop().await;
    assert_eq!(stage.real(MINTED).unwrap(), strangers);
    assert!(stage.audited().unwrap().contains("role.swept"), "{}", stage.audited().unwrap());
}

/// Else one that clings to its session would let the others' go on.
#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_that_a_crash_left_end_before_a_role_is_removed() {
    let (mut stage, _) = Stage::prepare(minting(Minting::default())).await.unwrap();
    let serving = stage.serve().await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::connect(&stage, &token).await.unwrap();
        wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
        wires.push(wire);
    }
    stage.until("three sleepers", |stage| Ok(sleepers(stage, 1)? == 3)).await.unwrap();
    serving.signal("KILL").unwrap();
    serving.ended().unwrap();
    let roles = roles_of(&stage, 1).unwrap();
    assert_eq!(roles.len(), 3);
    assert!(!stage.postgres.log().contains("pg_terminate_backend"), "they were thrown out before");
    stage.restart().await.unwrap();
    gone(&stage, 1).await;
    stage.stop().await;
    let log = stage.postgres.log();
    let first = log.lines().find(|line| line.contains("pg_terminate_backend")).unwrap();
    assert!(roles.iter().all(|role| first.contains(role)), "{first}");
}

/// With a static credential all sessions have one role: then it is the application's name that tells them apart.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_static_credential_the_targets_log_shows_the_principal_too() {
    let mut stage = Stage::start(Setting { minting: None, ..minting(Minting::default()) }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    // A client that would like to pass for somebody else, at the target.
    let other = object_id(2).replace('-', "");
    let wish = format!("{other}/0000000000000000/psql");
    let mut wire = match Wire::login(&stage, &token, "shop", &[("application_name", &wish)]).await.unwrap() {
        Login::In(wire) => *wire,
        Login::Refused(said) => panic!("{}", String::from_utf8_lossy(&said)),
    };
    assert_eq!(seen(&mut wire, "select 4711").await, "4711");
    // A pooler may stand here, which refuses what it does not know.
    assert_ne!(seen(&mut wire, "show tcp_keepalives_idle").await, "30");
    let head: serde_json::Value = serde_json::from_str(&stage.recorded_of(1).unwrap()[0].head()).unwrap();
    assert_eq!(head["target_role"], "shop_owner");
    let session = head["session"].as_str().unwrap();
    let log = stage.postgres.log();
    let line = log.lines().find(|line| line.contains("select 4711")).unwrap();
    let (object, session) = (object_id(1).replace('-', ""), &session[session.len() - 16..]);
    assert!(line.contains(&format!("user=shop_owner app={object}/{session}/")), "{line}");
    stage.stop().await;
}

/// Without a role there is no session: no admission, a recording that says so, and nothing at the target.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_minted_is_refused() {
    for (roles, more_sql) in [
        // From PostgreSQL 16 on it has to be given with the admin option; before, it has to exist.
        ("logs_reader, absent", ""),
        // Roles that lead to more, however far away.
        ("mighty", "create role mighty; create role root createrole; grant root to mighty;"),
        ("bypasser", "create role bypasser; create role unseen bypassrls; grant unseen to bypasser;"),
        ("programs", "create role programs; grant pg_execute_server_program to programs;"),
        ("signals", "create role signals; grant pg_signal_backend to signals;"),
    ] {
        let first = roles.split(", ").last().unwrap();
        let admin = match more_sql {
            "" => String::new(),
            more => format!("{more} grant {first} to chaperone with admin option;"),
        };
        let setting = Minting { roles: roles.into(), more_sql: admin, ..Minting::default() };
        let mut stage = Stage::start(minting(setting)).await.unwrap();
        let token = stage.agent_with_window().unwrap();
        let said = refused(&stage, &token).await;
        assert_eq!(shape(&said), "E:08006", "{roles}");
        let field = |field| said[0].field(field).unwrap_or_default();
        assert_eq!(field(b'M'), "the target gave no role to this session", "{roles}");
        for private in [roles, "chaperone", "SQLSTATE", stage.minter_password.as_ref().unwrap()] {
            let text = String::from_utf8_lossy(&said[0].body).into_owned();
            assert!(!text.contains(private), "{private} was shown: {text}");
        }
        stage.stop().await;
        let ends: Vec<String> = stage.recorded().unwrap().iter().map(|one| one.end()).collect();
        assert!(ends.len() == 1 && ends[0].contains("target-unavailable"), "{roles}: {ends:?}");
        assert_eq!(stage.real(MINTED).unwrap(), "", "{roles}");
    }
}
