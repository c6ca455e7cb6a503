//! Ways round: to be more than the role is, to log in a second time, to stay after the end.

use super::{MINTED, attributes, gone, minting, refused, roles_of, seen, sleepers, valid_until, version};
use chaperone_core::identity::CallerKind;
use chaperone_tests::process::Ran;
use chaperone_tests::proxy::Proxy;
use chaperone_tests::psql::Psql;
use chaperone_tests::raw::{Out, Wire, shape};
use chaperone_tests::stage::{AGENTS, Minting, Setting, Stage};

/// Sessions may make things in `public`, too.
const MAKERS: &str = "create role makers nologin; grant usage, create on schema public to makers; \
     grant makers to chaperone with admin option;";

fn makers(owned_to: Option<&str>) -> Minting {
    Minting {
        owned_to: owned_to.map(str::to_owned),
        roles: "logs_reader, makers".into(),
        more_sql: MAKERS.into(),
        ..Minting::default()
    }
}

/// Logs in at the server itself, past the gateway.
fn directly(stage: &Stage, role: &str, password: &str) -> Ran {
    let psql = Psql::new(stage.postgres.address(), role, "shop").unwrap().env("PGSSLMODE", "disable");
    psql.password(password).bare().run("select 'in'").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_role_cannot_become_more_nor_live_longer() {
    let mut stage = Stage::start(minting(Minting::default())).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let role = roles_of(&stage, 1).unwrap().remove(0);
    let (was, until) = (attributes(&stage, &role), valid_until(&stage, &role));

    // It has what it is a member of, and cannot be it; an old server knows no such difference.
    let said = shape(&wire.query("set role logs_reader").await.unwrap());
    if version(&stage) >= 160_000 {
        assert_eq!(said, "E:42501 ZI");
    } else {
        assert_eq!(said, "C ZI");
        assert_eq!(seen(&mut wire, "select current_user").await, "logs_reader");
        assert_eq!(shape(&wire.query("delete from customers").await.unwrap()), "E:42501 ZI");
        assert_eq!(shape(&wire.query("reset role").await.unwrap()), "C ZI");
    }
    assert_eq!(seen(&mut wire, "select current_user").await, role);
    for attempt in [
        "set role chaperone",
        "set role shop_owner",
        "set role logs_owner",
        "set role postgres",
        "set session authorization postgres",
        "set session authorization chaperone",
        "alter role current_user valid until 'infinity'",
        "alter role current_user login",
        "alter role current_user createrole",
        "alter role current_user superuser",
        "alter role current_user connection limit -1",
        &format!("alter role {role} rename to chp_other"),
        &format!("comment on role {role} is 'nobody''s'"),
        "grant logs_owner to current_user",
        "grant chaperone to current_user",
        "grant pg_write_server_files to current_user",
        "create role another login",
        "drop role logs_reader",
        "reassign owned by shop_owner to current_user",
        "alter table customers owner to current_user",
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'chaperone roles'",
    ] {
        let said = shape(&wire.query(attempt).await.unwrap());
        assert!(said.contains("E:42501") || said.contains("E:0A000"), "{attempt}: {said}");
    }
    assert_eq!(attributes(&stage, &role), was);
    assert_eq!(valid_until(&stage, &role), until);
    assert_eq!(stage.real(MINTED).unwrap().trim(), role);

    // A role may give itself a password. It opens nothing, neither while the session lives nor after.
    let barred = format!("select rolcanlogin from pg_roles where rolname = '{role}'");
    stage.until("the bar", |stage| Ok(stage.real(&barred)?.trim() == "f")).await.unwrap();
    assert_eq!(shape(&wire.query("alter role current_user password 'stolen'").await.unwrap()), "C ZI");
    let said = directly(&stage, &role, "stolen");
    assert!(said.stderr.contains("is not permitted to log in"), "{}", said.stderr);
    assert_eq!(said.stdout, "");
    drop(wire);
    gone(&stage, 1).await;
    let said = directly(&stage, &role, "stolen");
    assert!(said.stderr.contains("password authentication failed"), "{}", said.stderr);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_has_made_is_handed_on_and_its_role_goes() {
    let mut stage = Stage::start(minting(makers(Some("logs_owner")))).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    for made in [
        "create table notes (id serial primary key, note text)",
        "insert into notes (note) values ('made by an agent')",
        "create temporary table scratch (a int)",
        "select lo_create(4711)",
        "alter default privileges grant select on tables to public",
        "grant select on notes to public",
    ] {
        let said = shape(&wire.query(made).await.unwrap());
        assert!(said.ends_with("C ZI"), "{made}: {said}");
    }
    drop(wire);
    gone(&stage, 1).await;
    let owners = "select distinct pg_get_userbyid(relowner) from pg_class where relname like 'notes%' \
         union select pg_get_userbyid(lomowner) from pg_largeobject_metadata where oid = 4711";
    assert_eq!(stage.real(owners).unwrap(), "logs_owner\n");
    assert_eq!(stage.real("select note from notes").unwrap(), "made by an agent\n");
    assert_eq!(stage.real("select count(*) from pg_default_acl").unwrap().trim(), "0");
    stage.stop().await;
    assert!(!stage.audited().unwrap().contains("role.left"), "{}", stage.audited().unwrap());
}

/// What runs with its owner's rights is never handed on: the agent's words would be run as the next owner. Such a role stays,
/// and can do nothing; and what it owns can do nothing in its name.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_act_for_its_owner_is_not_handed_on_and_is_powerless() {
    let made = [
        ("a view", "create view loot as select name from customers", "drop view loot"),
        (
            "a function",
            "create function loot() returns text security definer language sql as 'select name from customers limit 1'",
            "drop function loot()",
        ),
        (
            "an index by an expression",
            "create table loot (a text); create index on loot (lower(a))",
            "drop table loot",
        ),
        (
            "a rule",
            "create table loot (a int); create rule also as on insert to loot do also delete from customers",
            "drop table loot",
        ),
        (
            "a materialized view",
            "create materialized view loot as select name from customers",
            "drop materialized view loot",
        ),
    ];
    let mut stage = Stage::start(minting(makers(Some("logs_owner")))).await.unwrap();
    for (number, (what, make, drop_it)) in (10u8..).zip(made) {
        let token = stage
            .token(chaperone_core::identity::CallerKind::Agent, chaperone_tests::stage::AGENTS, number)
            .unwrap();
        stage.open_window(&token, None).unwrap();
        let mut wire = Wire::connect(&stage, &token).await.unwrap();
        let said = shape(&wire.query(make).await.unwrap());
        assert!(said.ends_with("C ZI"), "{what}: {said}");
        let role = seen(&mut wire, "select current_user").await;
        drop(wire);
        let stripped = format!(
            "select not rolcanlogin and rolvaliduntil = '-infinity' and not exists (select from pg_auth_members \
             where member = r.oid) from pg_roles r where rolname = '{role}'"
        );
        stage.until(what, |stage| Ok(stage.real(&stripped)?.trim() == "t")).await.unwrap();
        if matches!(what, "a view") {
            // Anybody may ask it now, and it answers nobody: it reads with the rights of its owner.
            let asked = stage.real("grant select on loot to public; set role shop_owner; select * from loot");
            assert!(asked.unwrap_err().to_string().contains("permission denied for table customers"));
        }
        let left = format!("role.left {role}");
        stage.until("the audit event", |stage| Ok(stage.audited().unwrap().contains(&left))).await.unwrap();
        // Once somebody has looked at it, it goes by itself: here at the next start.
        stage.real(drop_it).unwrap();
        assert_eq!(roles_of(&stage, number).unwrap(), [role]);
    }
    stage.restart().await.unwrap();
    for number in 10..15 {
        gone(&stage, number).await;
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_heir_a_role_that_owns_something_is_kept_and_told_of() {
    let (mut stage, _) = Stage::prepare(minting(makers(None))).await.unwrap();
    let serving = stage.serve().await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    assert!(shape(&wire.query("create table notes (a int)").await.unwrap()).ends_with("C ZI"));
    let role = seen(&mut wire, "select current_user").await;
    drop(wire);
    let left = format!("role.left {role}");
    stage.until("the audit event", |stage| Ok(stage.audited().unwrap().contains(&left))).await.unwrap();
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{status}");
    let told = |line: &&str| line.contains("a role could not be removed") && line.contains(&role);
    let line = log.lines().find(told).unwrap_or_else(|| panic!("nothing is said: {log}"));
    assert!(line.contains("ERROR") && line.contains("`owned_to` of the target names nobody"), "{line}");
    // Not even with a password that an administrator gives it by mistake.
    stage.real(&format!("alter role {role} password 'stolen'")).unwrap();
    let said = directly(&stage, &role, "stolen");
    assert!(said.stderr.contains("FATAL") && said.stdout.is_empty(), "{} {}", said.stdout, said.stderr);
    assert_eq!(attributes(&stage, &role), "f|f|f|f|f|t|1|");
    stage.real(&format!("reassign owned by {role} to logs_owner; drop owned by {role}")).unwrap();
    stage.restart().await.unwrap();
    gone(&stage, 1).await;
    stage.stop().await;
}

/// A mint that fails once does not fail for ever: the keeper's connection is in order after a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_a_role_gives_the_next_one() {
    let mut stage = Stage::start(minting(Minting::default())).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    stage.real("alter role chaperone nocreaterole").unwrap();
    let said = refused(&stage, &token).await;
    assert_eq!(said[0].field(b'M').as_deref(), Some("the target gave no role to this session"));
    stage.real("alter role chaperone createrole").unwrap();
    drop(Wire::connect(&stage, &token).await.unwrap());
    gone(&stage, 1).await;
    // Nor does one whose connection was lost.
    stage.real("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'chaperone'").unwrap();
    drop(Wire::connect(&stage, &token).await.unwrap());
    gone(&stage, 1).await;
    stage.stop().await;
}

/// The target's answer to the bar is lost on its way, and an error comes in its place; the role is put back to what such an error
/// would have left. It is barred in the next sweep, which comes soon and waits for nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_could_not_be_barred_is_barred_again() {
    const DONE: &[u8] = b"C\0\0\0\x0fALTER ROLE\0";
    const FAILED: &[u8] = b"E\0\0\0\x13SERROR\0C55P03\0\0";
    let proxy = Proxy::start().unwrap();
    let target_address = Some(proxy.address.to_string());
    let setting = Setting { target_address, ..minting(Minting::default()) };
    let mut stage = Stage::start(setting).await.unwrap();
    proxy.to(stage.postgres.address());
    let token = stage.agent_with_window().unwrap();
    proxy.replace(DONE, FAILED);
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    stage.until("the failure", |_| Ok(proxy.replaced() == 1)).await.unwrap();
    let role = roles_of(&stage, 1).unwrap().remove(0);
    proxy.replace(b"nothing that a target says", b"");
    stage.real(&format!("alter role {role} login password 'stolen'")).unwrap();

    let barred =
        format!("select not rolcanlogin and rolpassword is null from pg_authid where rolname = '{role}'");
    stage.until("the bar", |stage| Ok(stage.real(&barred)?.trim() == "t")).await.unwrap();
    assert_eq!(seen(&mut wire, "select 7").await, "7");
    drop(wire);
    gone(&stage, 1).await;
    stage.stop().await;
}

/// Who changes its own role waits for nobody and lets nobody else change it. A session may do that and then catch whatever
/// would cancel its statement; it has to go before its role is touched.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_holds_a_lock_on_its_role_is_thrown_out_all_the_same() {
    const CLINGS: &str = "do $$ begin loop begin perform pg_sleep(600); exception when query_canceled then null; \
         end; end loop; end $$";
    // The other plugins would refuse or hold a block whose effect they cannot tell.
    let setting = Setting { plugins: "guard".into(), ..minting(Minting::default()) };
    let mut stage = Stage::start(setting).await.unwrap();
    let version = version(&stage);
    let lock = ["begin", "alter role {role} password 'x'"];
    // Up to PostgreSQL 14 a role is its own administrator: it can take from the keeper what lets it end the session, and hold a
    // lock on its coming back.
    let take = ["revoke {role} from chaperone", "begin", "grant {role} to chaperone", lock[1]];
    // Up to PostgreSQL 15 it may do so as another role.
    let cases = [
        (10u8, lock.to_vec(), u32::MAX),
        (11, [lock.as_slice(), &["set role logs_reader"]].concat(), 160_000),
        (12, take.to_vec(), 150_000),
    ];
    for (number, statements, _) in cases.into_iter().filter(|(_, _, before)| version < *before) {
        let token = stage.token(CallerKind::Agent, AGENTS, number).unwrap();
        let window = stage.open_window(&token, None).unwrap();
        let mut wire = Wire::connect(&stage, &token).await.unwrap();
        let role = roles_of(&stage, number).unwrap().remove(0);
        // Else its lock may come before the bar, and that is another test's.
        let barred = format!("select rolcanlogin from pg_roles where rolname = '{role}'");
        stage.until("the bar", |stage| Ok(stage.real(&barred)?.trim() == "f")).await.unwrap();
        for statement in statements {
            let statement = statement.replace("{role}", &role);
            let said = shape(&wire.query(&statement).await.unwrap());
            assert!(said.starts_with('C'), "{statement}: {said}");
        }
        wire.send(Out::new().query(CLINGS)).await.unwrap();
        stage.until("a sleeper", |stage| Ok(sleepers(stage, number)? == 1)).await.unwrap();
        stage.chaperone(&token, &["revoke", &window]).unwrap().success().unwrap();
        gone(&stage, number).await;
        assert_eq!(sleepers(&stage, number).unwrap(), 0);
    }
    stage.stop().await;
    assert!(!stage.audited().unwrap().contains("role.left"), "{}", stage.audited().unwrap());
}
