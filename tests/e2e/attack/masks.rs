//! Ways to see a masked value.

use super::{attack, login, session, strict};
use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::wire::{Wire, bind, describe, execute, message, parse, query, sync, texts};

/// The first customer's number, and the same reversed.
const SECRET: &str = "743-61-4657";
const REVERSED: &str = "7564-16-347";

fn hidden(said: &str) {
    assert!(!said.contains(SECRET) && !said.contains(REVERSED), "a hidden value was shown: {said}");
}

fn ask(wire: &mut Wire, frames: &[Vec<u8>], count: usize) -> String {
    texts(&wire.ask(&frames.concat(), count).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_query_does_not_lend_its_facts_to_the_next() {
    let (mut stage, mut wire) = attack().await;
    // The target skips both queries, up to the Sync.
    let first = [
        parse("", "SELECT nothing FROM nowhere"),
        query("SELECT 1 FROM pg_class"),
        query("SELECT 2"),
        sync(),
    ];
    let said = ask(&mut wire, &first, 1);
    assert!(said.contains("nowhere"), "{said}");
    let said = ask(&mut wire, &[query("SELECT reverse(ssn) FROM customers")], 1);
    hidden(&said);
    assert!(said.contains("E: SERROR"), "{said}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_copy_eats_does_not_shift_the_answers() {
    let (mut stage, mut wire) = attack().await;
    let copy = "COPY orders (customer_id, item, total, status) FROM STDIN";
    wire.send(&[query(&format!("{copy}; {copy}")), sync()].concat()).unwrap();
    wire.until(b"G").unwrap();
    wire.send(&[message(b'c', &[]), sync()].concat()).unwrap();
    wire.until(b"G").unwrap();
    wire.ask(&message(b'c', &[]), 1).unwrap();
    let _ = wire.sql("SELECT 1 / 0 FROM pg_class");
    if let Ok(said) = wire.sql("SELECT reverse(ssn) FROM customers") {
        hidden(&texts(&said));
    }
    stage.stop().await;
}

/// A statement whose name is in doubt, or an EXECUTE, may be a PREPARE that was sent by Parse: what named statements mean is
/// not known any more after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_a_prepare_leaves_no_name_trusted() {
    let (mut stage, mut wire) = attack().await;
    let run = |name| [bind("", name, &[]), execute("", 0), sync()];
    let evil = "PREPARE foo AS SELECT reverse(ssn) AS a FROM customers";
    let harmless = || parse("foo", "SELECT 'x'::text AS a");
    for redefine in ["by an unseen name", "by EXECUTE"] {
        ask(&mut wire, &[parse("evil", evil), sync()], 1);
        ask(&mut wire, &[parse("drop", "DEALLOCATE foo"), sync()], 1);
        if redefine == "by an unseen name" {
            ask(&mut wire, &[query("PREPARE other AS SELECT 1")], 1);
        }
        let said = ask(&mut wire, &[harmless(), sync()], 1);
        assert!(said.starts_with("1:"), "{redefine}: the harmless statement is not there: {said}");
        if redefine == "by EXECUTE" {
            ask(&mut wire, &[query("EXECUTE drop")], 1);
            ask(&mut wire, &[query("EXECUTE evil")], 1);
        } else {
            ask(&mut wire, &run("drop"), 1);
            ask(&mut wire, &run("evil"), 1);
        }
        let said = ask(&mut wire, &run("foo"), 1);
        hidden(&said);
        assert!(said.contains("E: SERROR"), "{redefine}: {said}");
        ask(&mut wire, &[query("DEALLOCATE ALL")], 1);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fetch_returned_once_says_nothing_about_the_next() {
    let (mut stage, mut wire) = attack().await;
    ask(&mut wire, &[query("BEGIN; DECLARE c CURSOR FOR SELECT name FROM customers ORDER BY id")], 1);
    ask(&mut wire, &[parse("f", "FETCH 1 FROM c"), describe('S', "f"), sync()], 1);
    ask(&mut wire, &[query("CLOSE c; DECLARE c CURSOR FOR SELECT ssn FROM customers ORDER BY id")], 1);
    let said = ask(&mut wire, &[bind("", "f", &[]), execute("", 0), sync()], 1);
    hidden(&said);
    assert!(said.contains("[redacted]"), "it is shown masked: {said}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_sql_does_not_take_a_portals_place() {
    let (mut stage, mut wire) = attack().await;
    ask(&mut wire, &[query("BEGIN")], 1);
    let bound = [parse("h", "SELECT name FROM customers"), bind("c", "h", &[]), describe('P', "c"), sync()];
    ask(&mut wire, &bound, 1);
    ask(&mut wire, &[query("CLOSE c; DECLARE c CURSOR FOR SELECT ssn FROM customers ORDER BY id")], 1);
    let said = ask(&mut wire, &[execute("c", 1), sync()], 1);
    hidden(&said);
    stage.stop().await;
}

/// A statement keeps its name while the names in it come to mean something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_description_does_not_outlive_the_search_path() {
    let mut stage = Stage::start(strict()).await.unwrap();
    let other = "create schema other; create table other.customers (id int, ssn text); \
        insert into other.customers values (1, 'harmless'); \
        grant usage on schema other to public; grant select on other.customers to public";
    stage.real(other).unwrap();
    let mut wire = session(&stage);
    let run = [bind("", "s", &[]), execute("", 0), sync()].concat();
    let describe =
        [parse("s", "SELECT ssn FROM customers WHERE id = 1"), describe('S', "s"), sync()].concat();

    // SET LOCAL ends with its transaction.
    ask(&mut wire, &[query("BEGIN; SET LOCAL search_path = other"), describe.clone()], 2);
    let said = ask(&mut wire, std::slice::from_ref(&run), 1);
    assert!(said.contains("harmless"), "{said}");
    hidden(&ask(&mut wire, &[query("COMMIT"), run.clone()], 2));
    // So does everything when it is rolled back, also in one pipeline.
    let mut wire = session(&stage);
    let set = [parse("", "SET search_path = other"), bind("", "", &[]), execute("", 0)].concat();
    let fail = [parse("", "SELECT 1 / 0"), bind("", "", &[]), execute("", 0)].concat();
    let described = describe[..describe.len() - 5].to_vec();
    hidden(&ask(&mut wire, &[set, described, fail, sync(), run.clone()], 2));
    // And the setting itself may be in the pipeline.
    let mut wire = session(&stage);
    ask(&mut wire, &[query("SET search_path = other"), describe], 2);
    hidden(&ask(&mut wire, &[query("SET search_path = public"), run], 2));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_does_not_quote_what_is_hidden() {
    let (mut stage, mut wire) = attack().await;
    for sql in [
        "SELECT id FROM customers WHERE ssn::int = 1 ORDER BY id",
        "UPDATE orders SET item = item FROM customers WHERE ssn::int = orders.id",
        "SELECT id FROM customers WHERE ssn::regclass = 1 ORDER BY id",
    ] {
        let said = ask(&mut wire, &[query(sql)], 1);
        assert!(said.contains("E: SERROR"), "{said}");
        hidden(&said);
        let said = ask(&mut wire, &[parse("", sql), bind("", "", &[]), execute("", 0), sync()], 1);
        assert!(said.contains("E: SERROR"), "{said}");
        hidden(&said);
    }
    // What the client got wrong itself is still said.
    let said = ask(&mut wire, &[query("UPDATE customers SET nam = 'x' WHERE ssn = 'y'")], 1);
    assert!(said.contains("column \"nam\" of relation \"customers\" does not exist"), "{said}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_does_not_carry_what_is_hidden() {
    let (mut stage, mut wire) = attack().await;
    let token = stage.agent().unwrap();
    let mut listener = login(&stage, &token);
    ask(&mut listener, &[query("LISTEN x")], 1);
    let said = ask(
        &mut wire,
        &[query("LISTEN x"), query("SELECT id FROM customers WHERE pg_notify('x', ssn) IS NULL")],
        2,
    );
    hidden(&said);
    let said = ask(&mut listener, &[query("SELECT 1"), query("SELECT 1")], 2);
    hidden(&said);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_that_the_target_reads_differently_are_not_judged() {
    let server = vec![("standard_conforming_strings".to_owned(), "off".to_owned())];
    let mut stage = Stage::start(Setting { server, ..strict() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let refused = Wire::login(stage.address, &stage.path("gateway.pem"), &token).map(|_| ());
    let said = refused.expect_err("it was let in").to_string();
    assert!(said.contains("standard_conforming_strings"), "{said}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_result_does_not_hide_a_setting() {
    let (mut stage, mut wire) = attack().await;
    let reported = |said: &str| -> Vec<String> {
        let settings = said.lines().filter(|line| line.starts_with("S: "));
        settings.map(|line| line.trim_start_matches("S: ").replace('\0', "=")).collect()
    };
    let both = "SELECT reverse(ssn) FROM customers; SET application_name = 'renamed'";
    let said = ask(&mut wire, &[query(both)], 1);
    hidden(&said);
    assert!(said.contains("E: SERROR"), "{said}");
    // The target ran both, and says so before its ReadyForQuery.
    let settings = reported(&said);
    assert!(settings.iter().any(|one| one.contains("application_name") && one.contains("renamed")), "{said}");
    let said = ask(&mut wire, &[query("SHOW application_name")], 1);
    assert!(said.contains("renamed"), "{said}");
    stage.stop().await;
}
