//! Servers: every supported version as the target.

use super::{LARGE, expect_all_steps, run_psql};
use chaperone_tests::psql::Psql;
use chaperone_tests::scripts::python;
use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::tools;
use std::path::PathBuf;

const MASK: &str = r#"{ columns: [{ match: "public.customers.ssn", strategy: redact },
    { match: "public.customers.card", strategy: partial }, { match: "public.people.ssn", strategy: redact }] }"#;

/// What masks have to see through.
const BEHIND: &str = "set role shop_owner;
    create view cards as select id, ssn as number, card || '' as card from customers;
    create view names as select id, upper(name) as name from customers;
    create view cards_again as select id as i, number as n, card from cards;
    create materialized view stored as select ssn as number from customers;
    create table people (id int, ssn text, twice text generated always as (ssn || ssn) stored) partition by range (id);
    create table people_1 partition of people for values from (0) to (1000);
    insert into people (id, ssn) select id, ssn from customers;
    create function reads() returns text language sql as 'select ssn from public.customers where id = 1';";

/// A statement and what psql shows of it; where that is no row, a part of the error.
const CASES: [(&str, &str); 12] = [
    ("select number from cards where id = 1", "[redacted]"),
    ("select n from cards_again where i = 1", "[redacted]"),
    ("select name from names where id = 1", "ADA ABBOTT"),
    ("select card from cards_again where i = 1", "mask.computed"),
    ("select number from stored limit 1", "[redacted]"),
    ("select ssn from people where id = 1", "[redacted]"),
    ("select ssn from people_1 where id = 1", "[redacted]"),
    ("select twice from people_1 where id = 1", "mask.computed"),
    ("select reads()", "function.other"),
    ("select ssn || '' from customers where id = 1", "mask.computed"),
    ("select t from customers t where id = 1", "mask.computed"),
    ("delete from orders", "delete.no-where"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_supported_server_version_works() {
    let usual = ("the usual one".to_owned(), tools::postgres_bin().unwrap());
    for (version, programs) in tools::other_servers().into_iter().chain([usual]) {
        println!("PostgreSQL {version}");
        works(&version, programs).await;
    }
}

async fn works(version: &str, programs: PathBuf) {
    let setting = Setting { mask: MASK.into(), server_bin: Some(programs), ..Setting::default() };
    let mut stage = Stage::start(setting).await.unwrap();
    let number = stage.real("show server_version_num").unwrap();
    assert!(number.starts_with(version) || version.starts_with("the"), "{number}");
    // The role's password is kept for SCRAM alone, so the gateway has logged in by it.
    let kept =
        stage.real("select rolpassword like 'SCRAM-SHA-256$%' from pg_authid where rolname = 'shop_owner'");
    assert_eq!(kept.unwrap().trim(), "t");
    stage.real(LARGE).unwrap();
    stage.real(BEHIND).unwrap();
    let token = stage.agent_with_window().unwrap();

    let psql = stage.psql(&token).unwrap();
    for (sql, expected) in CASES {
        let ran = psql.run(sql).unwrap();
        assert!(ran.stdout.contains(expected) || ran.stderr.contains(expected), "{version}: {sql}: {ran:?}");
        assert!(
            !ran.stdout.contains("743-61-4657") && !ran.stderr.contains("743-61-4657"),
            "{version}: {sql}: {ran:?}"
        );
    }
    // What psql asks the catalog differs from server to server.
    let psql = Psql::new(stage.address, "app", "shop").unwrap().password(&token);
    for (command, expected) in [
        (r"\d customers", "customer"),
        (r"\d+ cards", "number"),
        (r"\d+ people", "people_1"),
        (r"\dt+", "orders"),
        (r"\dn+", "public"),
        (r"\sf reads", "select ssn"),
        (r"\l", "shop"),
        (r"\du", "shop_owner"),
        (r"\sv names", "upper"),
    ] {
        let said = psql.run(command).unwrap();
        assert!(said.stdout.contains(expected) && said.stderr.is_empty(), "{version}: {command}: {said:?}");
    }
    let environment = stage.driver_environment(&token);
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // Prepared statements, transactions, COPY both ways, cancel and refusals.
    expect_all_steps(&python(include_str!("with_psycopg.py"), &environment).unwrap());
    stage.real("delete from orders where id > 120").unwrap();
    expect_all_steps(&python(include_str!("with_asyncpg.py"), &environment).unwrap());
    stage.real("delete from orders where id > 120").unwrap();
    run_psql(&stage, &token);
    stage.stop().await;
}
