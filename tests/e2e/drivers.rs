//! The clients that agents use, as they are: each goes the same steps in the same order, and what they do without a gateway
//! they do through one. And the servers: every version that is supported.
//!
//! A driver's script is in `drivers/` and says the name of each step that went as it should.

mod dump;
mod pgbench;
mod servers;
mod with_tokio_postgres;

use chaperone::demo::postgres::SUPERUSER;
use chaperone_tests::process::Ran;
use chaperone_tests::psql::Psql;
use chaperone_tests::raw::{Out, Wire};
use chaperone_tests::scripts::{java, node, python};
use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::tools;
use std::path::Path;
use std::time::Duration;

/// What each driver does, in this order.
const STEPS: [&str; 12] = [
    "connect",
    "prepared",
    "transaction",
    "binary",
    "copy",
    "cancel",
    "error",
    "refusal",
    "refusal in a transaction",
    "refusal in a batch",
    "masked",
    "large",
];

/// Rows for the last step: 20,000 of 1,000 bytes.
const LARGE: &str = "create table large as select n, repeat('x', 1000) as x from generate_series(1, 20000) as n; \
     alter table large owner to shop_owner;";

/// Masks by provenance. With masks by content a COPY of any text is refused.
const MASK: &str = r#"{ columns: [{ match: "public.customers.ssn", strategy: redact }, { match: "public.customers.card", strategy: partial }] }"#;

fn setting() -> Setting {
    Setting { mask: MASK.into(), ..Setting::default() }
}

/// A stage with the large table, and a token with a window.
async fn stage(setting: Setting) -> (Stage, String) {
    let stage = Stage::start(setting).await.unwrap();
    stage.real(LARGE).unwrap();
    let token = stage.agent_with_window().unwrap();
    (stage, token)
}

/// Runs a driver's script and expects all of the steps.
async fn goes_all_steps(run: impl FnOnce(&[(&str, &str)]) -> anyhow::Result<Ran>) {
    let (mut stage, token) = stage(setting()).await;
    let environment = stage.driver_environment(&token);
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let ran = run(&environment).unwrap();
    expect_all_steps(&ran);
    stage.stop().await;
}

fn expect_all_steps(ran: &Ran) {
    let done: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(done, STEPS, "{}", ran.stderr);
    assert!(ran.status.success(), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_does_what_it_does_without_a_gateway() {
    let (mut stage, token) = stage(setting()).await;
    run_psql(&stage, &token);
    stage.stop().await;
}

fn run_psql(stage: &Stage, token: &str) {
    let psql = stage.psql(token).unwrap();
    // psql keeps its notes where it was started; here nobody else does.
    let notes = stage.path("copied.txt").display().to_string();
    let ran = psql.run(&include_str!("drivers/psql.sql").replace("copied.txt", &notes)).unwrap();
    let done: Vec<&str> = ran.stdout.lines().collect();
    let steps: Vec<&str> = STEPS.into_iter().filter(|step| *step != "cancel").collect();
    assert_eq!(done, steps, "{}", ran.stderr);

    let (address, password) = (stage.postgres.address(), stage.postgres.password());
    let target = Psql::new(address, SUPERUSER, "shop").unwrap().password(password);
    let target = target.env("PGSSLMODE", "disable").bare();
    let sleeps = move || {
        let sql =
            "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(50);'";
        while target.run(sql).unwrap().success().unwrap().trim() != "1" {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let script = "\\warn sleeping\nselect pg_sleep(50);\n";
    let ran = psql.interrupted_after("sleeping", script, sleeps).unwrap();
    assert!(ran.stderr.contains("canceling statement due to user request"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_does_what_it_does_without_a_gateway() {
    goes_all_steps(|environment| python(include_str!("drivers/with_psycopg.py"), environment)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_does_what_it_does_without_a_gateway() {
    goes_all_steps(|environment| python(include_str!("drivers/with_asyncpg.py"), environment)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_does_what_it_does_without_a_gateway() {
    goes_all_steps(|environment| python(include_str!("drivers/with_sqlalchemy.py"), environment)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgjdbc_does_what_it_does_without_a_gateway() {
    // Said aloud by `cargo xtask test`.
    let Some(archive) = tools::pgjdbc() else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/drivers/WithPgjdbc.java");
    goes_all_steps(|environment| java(&file, &archive, environment)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_postgres_does_what_it_does_without_a_gateway() {
    // Said aloud by `cargo xtask test`.
    let Some(modules) = tools::node_modules() else { return };
    let script = include_str!("drivers/with_node_postgres.js");
    goes_all_steps(|environment| node(script, &modules, environment)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokio_postgres_does_what_it_does_without_a_gateway() {
    let (mut stage, token) = stage(setting()).await;
    assert_eq!(with_tokio_postgres::steps(&stage, &token).await, STEPS);
    stage.stop().await;
}

/// node-postgres sends Execute and Flush in two packets. A target keeps the last bytes of what it has until it is asked,
/// so a row may stand half sent when the Flush comes; it used to wait here for the other half.
#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_the_rest_of_a_row_does_not_wait_for_it() {
    let (mut stage, token) = stage(setting()).await;
    for (end, kind) in [
        (Out::new().message(b'H', &[]), b's'),
        (Out::new().sync(), b'Z'),
        (Out::new().close(b'S', "x").sync(), b'3'),
    ] {
        let mut wire = Wire::connect(&stage, &token).await.unwrap();
        let rows = Out::new().parse("", "select n, x from large").bind("", "", &[], &[]);
        wire.send(rows.message(b'E', b"\0\0\0\0\x64")).await.unwrap();
        // The target sends 8 kB at a time, and the last row of those is cut.
        for _ in 0..20 {
            wire.until(b'D').await.unwrap();
        }
        wire.send(end).await.unwrap();
        wire.until(kind).await.unwrap();
    }
    stage.stop().await;
}
