//! Ways to run a statement that waits for approvers without them.

use super::attack;
use chaperone_tests::stage::Stage;
use chaperone_tests::wire::{Wire, bind, close, execute, flush, parse, query, sync, texts};

const HELD: &str = "DELETE FROM orders WHERE id = 1";

fn still_there(stage: &Stage, said: &str) {
    assert_eq!(stage.real("select count(*) from orders where id = 1").unwrap().trim(), "1", "it ran: {said}");
}

/// Parses the held statement as `s` and commits whatever else was asked for.
fn prepare(wire: &mut Wire, name: &str, sql: &str) {
    let said = wire.ask(&[parse(name, sql), sync()].concat(), 1).unwrap();
    assert!(said.iter().any(|message| message.kind == b'1'), "{}", texts(&said));
}

fn run(wire: &mut Wire, name: &str) -> String {
    texts(&wire.ask(&[bind("", name, &[]), execute("", 0), sync()].concat(), 1).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_statement_waits_when_it_is_bound() {
    let (mut stage, mut wire) = attack().await;
    prepare(&mut wire, "s", HELD);
    let said = run(&mut wire, "s");
    assert!(said.contains("waits for 1 approval"), "{said}");
    assert!(said.contains("E: SERROR"), "{said}");
    still_there(&stage, &said);
    assert!(texts(&wire.sql("select 42").unwrap()).contains("42"), "the session goes on");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_sql_may_have_changed_stay_held() {
    let (mut stage, mut wire) = attack().await;
    for sql in ["PREPARE other AS SELECT 1", "DEALLOCATE other", "DISCARD PLANS"] {
        prepare(&mut wire, "s", HELD);
        wire.sql(sql).unwrap();
        let said = run(&mut wire, "s");
        still_there(&stage, &said);
        wire.ask(&[close('S', "s"), sync()].concat(), 1).unwrap();
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn execute_in_sql_does_not_run_what_is_held() {
    let (mut stage, mut wire) = attack().await;
    // Parsed before there is anything to inherit a hold from.
    prepare(&mut wire, "late", "EXECUTE s");
    prepare(&mut wire, "s", HELD);
    for sql in [
        "EXECUTE s",
        "EXPLAIN ANALYZE EXECUTE s",
        "explain (analyze) exe/**/cute s",
        "/* */ EXPLAIN ANALYZE exeCUTE s",
    ] {
        let said = texts(&wire.sql(sql).unwrap());
        assert!(said.contains("E: SERROR"), "{sql}: {said}");
        still_there(&stage, &said);
    }
    let said = run(&mut wire, "late");
    assert!(said.contains("E: SERROR"), "{said}");
    still_there(&stage, &said);
    stage.stop().await;
}

/// Fetching from a portal in SQL runs what is bound to it (PostgreSQL source, PortalRunFetch).
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_of_a_held_statement_cannot_be_fetched_in_sql() {
    let (mut stage, mut wire) = attack().await;
    for sql in ["FETCH ALL FROM c", "MOVE ALL IN c"] {
        wire.sql("BEGIN").unwrap();
        wire.ask(
            &[parse("", "DELETE FROM orders WHERE id = 1 RETURNING id"), bind("c", "", &[]), sync()].concat(),
            1,
        )
        .unwrap();
        let said = texts(&wire.sql(sql).unwrap());
        wire.sql("COMMIT").unwrap();
        still_there(&stage, &said);
    }
    stage.stop().await;
}

/// PostgreSQL looks at the first 63 bytes of a name only.
#[tokio::test(flavor = "multi_thread")]
async fn two_long_names_are_not_one_to_the_target_and_two_here() {
    let (mut stage, mut wire) = attack().await;
    let long = "n".repeat(63);
    let (harmless, other) = (format!("{long}x"), format!("{long}y"));
    wire.ask(&[parse(&harmless, "SELECT 1"), sync()].concat(), 1).unwrap();
    wire.ask(&[close('S', &other), sync()].concat(), 1).unwrap();
    wire.ask(&[parse(&other, HELD), sync()].concat(), 1).unwrap();
    let said = run(&mut wire, &harmless);
    still_there(&stage, &said);
    stage.stop().await;
}

/// A refusal in the middle of a pipeline: what comes behind it runs no more than behind an error of the target.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_behind_a_refusal_runs_before_the_sync() {
    let (mut stage, mut wire) = attack().await;
    let write = |item: &str| {
        let sql =
            format!("INSERT INTO orders (customer_id, item, total, status) VALUES (1, '{item}', 1, 'open')");
        [parse("", &sql), bind("", "", &[]), execute("", 0)].concat()
    };
    let frames =
        [write("first"), parse("", "DROP TABLE orders"), write("second"), query(HELD), flush(), sync()];
    let said = texts(&wire.ask(&frames.concat(), 1).unwrap());
    assert!(said.contains("E: SERROR"), "{said}");
    let count = stage.real("select count(*) from orders where item in ('first', 'second')").unwrap();
    assert_eq!(count.trim(), "0", "{said}");
    still_there(&stage, &said);
    assert!(texts(&wire.sql("select 42").unwrap()).contains("42"), "the session goes on");
    stage.stop().await;
}
