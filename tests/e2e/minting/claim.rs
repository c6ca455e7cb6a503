//! The advisory lock that tells gateways of one name apart: held by another gateway, and by those who are none.

use super::{MINTED, another_gateway, gone, minting, refused, roles_of, seen};
use chaperone_tests::raw::{Wire, shape};
use chaperone_tests::stage::{MINTER, Minting, Setting, Stage};
use tokio_postgres::{Client, NoTls};

/// Who holds advisory locks.
const HOLDERS: &str =
    "select usename from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and granted";

/// The one advisory lock that is held.
const KEY: &str =
    "select distinct (classid::bigint << 32) | objid::bigint from pg_locks where locktype = 'advisory'";

/// What the log says of a gateway.
const ANOTHER_GATEWAY: &str = "another gateway of the same name";

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_of_one_name_do_not_take_each_others_roles() {
    let mut stage = Stage::start(minting(Minting::default())).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let first = (stage.address, stage.api);
    let other = another_gateway(&stage, "one").await.unwrap();
    (stage.address, stage.api) = (other.postgres, other.api);
    stage.open_window(&token, None).unwrap();
    let said = refused(&stage, &token).await;
    assert_eq!(shape(&said), "E:08006");
    assert_eq!(said[0].field(b'M').as_deref(), Some("the target gave no role to this session"));
    other.stop().await;
    assert_eq!(roles_of(&stage, 1).unwrap().len(), 1, "the other took it");
    assert_eq!(seen(&mut wire, "select count(*) from orders").await, "120");
    (stage.address, stage.api) = first;
    drop(wire);
    gone(&stage, 1).await;
    stage.stop().await;
}

/// A connection past the gateway, and its process.
async fn directly(stage: &Stage, role: &str, password: &str) -> (Client, i32) {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(stage.postgres.address().port())
        .dbname("shop")
        .user(role)
        .password(password);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let process = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    (client, process)
}

/// No session gets in, and nothing is at the target.
async fn no_role(stage: &Stage, token: &str) {
    assert_eq!(shape(&refused(stage, token).await), "E:08006");
    assert_eq!(stage.real(MINTED).unwrap(), "");
}

/// Anybody may take an advisory lock. While somebody has it there is no role, and the log says who. They hand it on to one another:
/// each shares it before the one before lets go.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_the_gateways_lock_is_named_and_not_taken_for_a_gateway() {
    let prepared = ("max_prepared_transactions".to_owned(), "1".to_owned());
    let usual = minting(Minting::default());
    let setting = Setting { server: [usual.server.clone(), vec![prepared]].concat(), ..usual };
    let (mut stage, _) = Stage::prepare(setting).await.unwrap();

    // A gateway of the same name is told as such.
    let held = |stage: &Stage| Ok(stage.real(HOLDERS)? == format!("{MINTER}\n"));
    let other = another_gateway(&stage, "one").await.unwrap();
    stage.until("the other's lock", held).await.unwrap();
    let key = stage.real(KEY).unwrap().trim().to_owned();
    let serving = stage.serve().await.unwrap();
    let token = stage.agent_with_window().unwrap();
    no_role(&stage, &token).await;
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success() && log.contains(ANOTHER_GATEWAY), "{status}: {log}");
    other.stop().await;

    let (owner, owners) = (stage.login.role.clone(), stage.login.password.clone());
    let ((one, first), (two, second)) =
        (directly(&stage, &owner, &owners).await, directly(&stage, &owner, &owners).await);
    // The gateway's own role, but a gateway does not share.
    let minter = stage.minter_password.clone().unwrap();
    let (shares, third) = directly(&stage, MINTER, &minter).await;
    let say =
        async |client: &Client, what: &str| client.batch_execute(&what.replace("KEY", &key)).await.unwrap();

    say(&one, "select pg_advisory_lock(KEY)").await;
    let serving = stage.serve().await.unwrap();
    no_role(&stage, &token).await;
    say(&one, "select pg_advisory_lock_shared(KEY); select pg_advisory_unlock(KEY)").await;
    say(&two, "select pg_advisory_lock_shared(KEY)").await;
    say(&one, "select pg_advisory_unlock_shared(KEY)").await;
    no_role(&stage, &token).await;
    say(&shares, "select pg_advisory_lock_shared(KEY)").await;
    say(&two, "select pg_advisory_unlock_shared(KEY)").await;
    no_role(&stage, &token).await;
    for part in ["begin", "select pg_advisory_xact_lock_shared(KEY)", "prepare transaction 'it''s \n KEY'"] {
        say(&one, part).await;
    }
    say(&shares, "select pg_advisory_unlock_shared(KEY)").await;
    no_role(&stage, &token).await;
    // Once the operator has ended it, all is well.
    say(&one, "rollback prepared 'it''s \n KEY'").await;
    stage.until("the gateway's lock", held).await.unwrap();
    drop(Wire::connect(&stage, &token).await.unwrap());
    gone(&stage, 1).await;
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success() && !log.contains(ANOTHER_GATEWAY), "{status}: {log}");
    let process = |role: &str, process: i32| {
        format!("is held by \"{role}\", which is no gateway: end its process at the target ({process})")
    };
    let prepared = format!(
        "is held by a prepared transaction of \"{owner}\": ROLLBACK PREPARED at the target (\"it's \\n {key}\")"
    );
    for says in [process(&owner, first), process(&owner, second), process(MINTER, third), prepared] {
        assert!(log.contains(&says), "{says}: {log}");
    }
}
