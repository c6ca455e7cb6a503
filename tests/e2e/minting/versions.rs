//! Every supported version of the server as a target that mints: a role is made, used and removed, is swept after a crash, and
//! is as narrow as that version allows.

use super::{MINTED, gone, minting, roles_of, seen, sleepers, version};
use chaperone_tests::raw::{Out, Wire, errors, shape};
use chaperone_tests::stage::{Minting, Setting, Stage};
use chaperone_tests::tools;
use std::path::PathBuf;

/// A role's name that tries to leave every text it is written into, as the configuration's YAML has it.
const HOSTILE: &str = r#""it's $chaperone$ \\ \"; --""#;

/// Roles that a session is given besides: to make things in `public`, and one of that name, which may read one table.
const ROLES: &str = r#"create role makers nologin; grant usage, create on schema public to makers;
    grant makers to chaperone with admin option;
    create role "it's $chaperone$ \ ""; --" nologin; grant "it's $chaperone$ \ ""; --" to chaperone with admin option;
    create table hostile (a int); insert into hostile values (42); grant select on hostile to "it's $chaperone$ \ ""; --";"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_supported_server_version_mints() {
    let usual = ("the usual one".to_owned(), tools::postgres_bin().unwrap());
    for (named, programs) in tools::other_servers().into_iter().chain([usual]) {
        println!("PostgreSQL {named}");
        mints(&named, programs).await;
    }
}

async fn mints(named: &str, programs: PathBuf) {
    let minting = minting(Minting {
        owned_to: Some("logs_owner".into()),
        roles: format!("logs_reader, makers, {HOSTILE}"),
        more_sql: ROLES.into(),
        ..Minting::default()
    });
    // Without masks, which would withhold the server's words on why it refuses.
    let setting = Setting { plugins: "guard".into(), server_bin: Some(programs), ..minting };
    let (mut stage, _) = Stage::prepare(setting).await.unwrap();
    let version = version(&stage);
    assert!(version.to_string().starts_with(named) || named.starts_with("the"), "{version}");
    let serving = stage.serve().await.unwrap();
    let token = stage.agent_with_window().unwrap();

    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(seen(&mut wire, "select count(*) from orders").await, "120", "{named}");
    assert_eq!(seen(&mut wire, "select a from hostile").await, "42", "{named}");
    for (setting, value) in [("idle", "30"), ("interval", "10"), ("count", "3")] {
        let shown = seen(&mut wire, &format!("show tcp_keepalives_{setting}")).await;
        assert_eq!(shown, value, "{named}: {setting}: a gateway whose host is lost is not asked for");
    }
    is_narrow(&stage, &mut wire, version).await;
    drop(wire);
    gone(&stage, 1).await;
    assert_eq!(
        stage.real("select tableowner from pg_tables where tablename = 'notes'").unwrap(),
        "logs_owner\n"
    );

    let left = is_left_powerless(&stage, &token, version).await;

    // A crash, with a session that runs on.
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    stage.until("a sleeper", |stage| Ok(sleepers(stage, 1)? == 1)).await.unwrap();
    serving.signal("KILL").unwrap();
    let (_, log) = serving.ended().unwrap();
    assert_eq!(roles_of(&stage, 1).unwrap().len(), 2, "{named}: it did not outlive its gateway");
    let kept = log.lines().find(|line| line.contains("a role could not be removed")).unwrap();
    let still = "it is still a member of [\"logs_owner\"], for whoever has granted that to revoke";
    let members = if version >= 160_000 { still } else { "it is a member of nothing" };
    assert!(kept.replace("\\\"", "\"").contains(members) && kept.contains(&left), "{named}: {kept}");
    let told = log.lines().filter(|line| line.contains("a minted role may SET ROLE")).count();
    assert_eq!(told, usize::from(version < 160_000), "{named}: {log}");
    // Only now, or a sweep of the first gateway could have removed it.
    stage.real("drop view loot").unwrap();
    stage.restart().await.unwrap();
    gone(&stage, 1).await;
    assert_eq!(sleepers(&stage, 1).unwrap(), 0, "{named}");
    stage.stop().await;
    assert_eq!(stage.real(MINTED).unwrap(), "", "{named}");
    let audited = stage.audited().unwrap();
    assert!(audited.contains("role.swept"), "{named}: {audited}");
    let told: Vec<&str> = audited.lines().filter(|line| line.starts_with("role.left ")).collect();
    assert!(told.len() == 1 && told[0].contains(&left), "{named}: {audited}");
}

/// What a session may not be, it may not make things as, nor give things to. Before PostgreSQL 16 that cannot be told apart from
/// having what a role has.
async fn is_narrow(stage: &Stage, wire: &mut Wire, version: u32) {
    let narrow = version >= 160_000;
    if narrow {
        let options = "select distinct inherit_option, set_option, admin_option from pg_auth_members m \
             join pg_roles r on r.oid = m.member where left(r.rolname, 4) = 'chp_'";
        assert_eq!(stage.real(options).unwrap(), "t|f|f\n", "{version}");
    }
    stage.real("grant create on database shop to makers").unwrap();
    assert_eq!(shape(&wire.query("create table notes (a int)").await.unwrap()), "C ZI");
    let attempts =
        ["set role makers", "alter table notes owner to makers", "create schema theirs authorization makers"];
    for attempt in attempts {
        let said = wire.query(attempt).await.unwrap();
        if narrow {
            assert_eq!(shape(&said), "E:42501 ZI", "{version}: {attempt}");
            // Not for want of another privilege.
            let why = errors(&said);
            assert!(
                why.contains("permission denied to set role") || why.contains("SET ROLE"),
                "{version}: {why}"
            );
        } else {
            assert_eq!(shape(&said), "C ZI", "{version}: {attempt}");
            stage.real("drop schema if exists theirs").unwrap();
            stage.real(&format!("alter table notes owner to {}", roles_of(stage, 1).unwrap()[0])).unwrap();
            assert_eq!(shape(&wire.query("reset role").await.unwrap()), "C ZI");
        }
    }
    // The one way that is left: it asks for what a role has, and not for being it. It hands on relations, and no functions.
    let reassign = "reassign owned by current_user to makers";
    assert_eq!(shape(&wire.query(reassign).await.unwrap()), "C ZI", "{version}");
    let owner = stage.real("select tableowner from pg_tables where tablename = 'notes'").unwrap();
    assert_eq!(owner, "makers\n", "{version}");
    let own = format!("alter table notes owner to {}", roles_of(stage, 1).unwrap()[0]);
    stage.real(&own).unwrap();
    let function = "create function loot() returns int language sql as 'select 1'";
    assert_eq!(shape(&wire.query(function).await.unwrap()), "C ZI", "{version}");
    let said = shape(&wire.query(reassign).await.unwrap());
    assert_eq!(said, if narrow { "E:42501 ZI" } else { "C ZI" }, "{version}");
    stage.real(&format!("drop function loot(); {own}")).unwrap();
}

/// What acts for its owner is not handed on, so its role stays: without login, without the memberships of its grant, and told of. The
/// name of that role.
async fn is_left_powerless(stage: &Stage, token: &str, version: u32) -> String {
    let mut wire = Wire::connect(stage, token).await.unwrap();
    let said = wire.query("create view loot as select a from hostile").await.unwrap();
    assert_eq!(shape(&said), "C ZI", "{version}");
    let role = seen(&mut wire, "select current_user").await;
    // Even with a login and a password that would open something, and with a role from somebody else.
    let can_login = format!("select rolcanlogin from pg_roles where rolname = '{role}'");
    stage.until("the bar", |stage| Ok(stage.real(&can_login)?.trim() == "f")).await.unwrap();
    stage.real(&format!("alter role {role} login; grant logs_owner to {role}")).unwrap();
    assert_eq!(shape(&wire.query("alter role current_user password 'stolen'").await.unwrap()), "C ZI");
    drop(wire);
    let left = format!("role.left {role}");
    stage.until("the audit event", |stage| Ok(stage.audited().unwrap().contains(&left))).await.unwrap();
    let state = "select not rolcanlogin and rolvaliduntil = '-infinity' and rolpassword is null, coalesce((select \
         string_agg(g.rolname, ',') from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = a.oid), '')";
    let state = stage.real(&format!("{state} from pg_authid a where rolname = '{role}'")).unwrap();
    // A membership that somebody else has granted is theirs to take, as the server sees it from 16 on; the log says so.
    assert_eq!(state.trim(), if version >= 160_000 { "t|logs_owner" } else { "t|" }, "{version}");
    let view = "grant select on loot to public; set role shop_owner; select * from loot";
    let why = stage.real(view).unwrap_err().to_string();
    assert!(why.contains("permission denied for table hostile"), "{version}: {why}");
    role
}
