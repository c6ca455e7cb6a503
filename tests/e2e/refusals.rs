//! A refusal stands where the target's own error would stand, undoes what such an error would undo, and leaves the session
//! as usable as before.

use chaperone_tests::cases::{Case, failed};
use chaperone_tests::raw::{Message, Out, Wire, errors, rows, shape};
use chaperone_tests::scripts::python;
use chaperone_tests::stage::{Recorded, Setting, Stage};

/// DELETE runs here, so that what is prepared and run is about refusals only.
const TRIGGER: &str = "{ threshold: 100, approvers: dba }";

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_keeps_the_session_usable() {
    let stage = Stage::start(Setting { trigger: TRIGGER.into(), ..Setting::default() }).await.unwrap();
    let (_stage, failed) = failed(
        stage,
        chaperone_tests::cases![
            a_simple_query_is_refused_and_the_session_goes_on,
            an_extended_query_is_refused_and_messages_are_skipped_up_to_sync,
            a_refusal_in_a_transaction_leaves_it_as_it_was,
            a_refusal_in_a_failed_transaction_leaves_it_failed,
            one_refused_statement_refuses_its_whole_text,
            what_does_not_parse_is_refused,
            a_function_call_is_refused_by_the_name_of_its_function,
            an_unknown_message_ends_the_session,
            a_refusal_in_a_pipeline_undoes_what_its_transaction_did_before,
            a_refusal_in_a_pipeline_inside_a_transaction_undoes_nothing,
            answers_before_a_refusal_come_before_it,
            a_simple_query_behind_an_open_segment_is_refused_in_its_place,
            a_driver_meets_refusals_in_pipelines_and_transactions,
            a_name_that_exists_is_not_taken_over_by_a_second_parse,
            a_name_prepared_anew_in_sql_is_judged_as_what_it_is_now,
            settings_that_change_how_statements_are_read_end_the_session,
            copy_in_is_recorded_and_can_fail,
            a_message_that_has_no_place_in_a_copy_does_not_shift_the_answers,
            an_empty_query_and_an_error_of_the_target_pass,
        ],
    )
    .await
    .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

async fn enter(case: &Case) -> Wire {
    case.window().unwrap();
    Wire::connect(&case.stage, &case.token).await.unwrap()
}

async fn works(wire: &mut Wire) {
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
}

fn insert(item: &str) -> String {
    format!("insert into orders (customer_id, item, total, status) values (1, '{item}', 1, 'open')")
}

fn count(case: &Case, item: &str) -> String {
    let sql = format!("select count(*) from orders where item = '{item}'");
    case.stage.real(&sql).unwrap().trim().to_owned()
}

async fn a_simple_query_is_refused_and_the_session_goes_on(case: Case) {
    let mut wire = enter(&case).await;
    let refused = wire.query("drop table customers").await.unwrap();
    assert_eq!(shape(&refused), "E:42501 ZI");
    assert_eq!(refused[0].field(b'S').unwrap(), "ERROR", "it must not look fatal");
    assert!(errors(&refused).contains("ddl.drop"), "it does not name the rule: {}", errors(&refused));
    works(&mut wire).await;
    assert_eq!(case.stage.real("select count(*) from customers").unwrap().trim(), "60");
}

async fn an_extended_query_is_refused_and_messages_are_skipped_up_to_sync(case: Case) {
    let mut wire = enter(&case).await;
    let out = Out::new().run("truncate customers", &[]).run(&insert("skipped"), &[]).sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "E:42501 ZI");
    assert_eq!(count(&case, "skipped"), "0");
    let out = Out::new().parse("t", "truncate customers").describe(b'S', "t").sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "E:42501 ZI");
    // The refused name stands for nothing.
    let out = Out::new().bind("", "t", &[], &[]).execute("").sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "E:26000 ZI");
    works(&mut wire).await;
}

async fn a_refusal_in_a_transaction_leaves_it_as_it_was(case: Case) {
    let mut wire = enter(&case).await;
    assert_eq!(shape(&wire.query("begin").await.unwrap()), "C ZT");
    assert_eq!(shape(&wire.query(&insert("kept")).await.unwrap()), "C ZT");
    assert_eq!(shape(&wire.query("drop table orders").await.unwrap()), "E:42501 ZT");
    let out = Out::new().run("truncate orders", &[]).sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "E:42501 ZT");
    assert_eq!(shape(&wire.query("commit").await.unwrap()), "C ZI");
    assert_eq!(count(&case, "kept"), "1");
}

async fn a_refusal_in_a_failed_transaction_leaves_it_failed(case: Case) {
    let mut wire = enter(&case).await;
    assert_eq!(shape(&wire.query("begin").await.unwrap()), "C ZT");
    assert_eq!(shape(&wire.query("select 1/0").await.unwrap()), "E:22012 ZE");
    assert_eq!(shape(&wire.query("drop table orders").await.unwrap()), "E:42501 ZE");
    assert_eq!(shape(&wire.query("select 1").await.unwrap()), "E:25P02 ZE");
    assert_eq!(shape(&wire.query("rollback").await.unwrap()), "C ZI");
    works(&mut wire).await;
}

async fn one_refused_statement_refuses_its_whole_text(case: Case) {
    let mut wire = enter(&case).await;
    for text in ["select 1; drop table customers", "drop table customers; select 1"] {
        assert_eq!(shape(&wire.query(text).await.unwrap()), "E:42501 ZI", "{text}");
    }
    let text = format!("{}; drop table customers", insert("whole"));
    assert_eq!(shape(&wire.query(&text).await.unwrap()), "E:42501 ZI");
    assert_eq!(count(&case, "whole"), "0");
}

async fn what_does_not_parse_is_refused(case: Case) {
    let mut wire = enter(&case).await;
    for text in ["selec 1", "select 'open", "/* open", "select $tag$ open", "\\d customers"] {
        let refused = wire.query(text).await.unwrap();
        assert!(
            shape(&refused).starts_with("E:42") && shape(&refused).ends_with(" ZI"),
            "{text}: {refused:?}"
        );
        let refused = wire.ask(Out::new().run(text, &[]).sync()).await.unwrap();
        assert!(
            shape(&refused).starts_with("E:42") && shape(&refused).ends_with(" ZI"),
            "{text}: {refused:?}"
        );
    }
    // Not UTF-8: read by the target it could be another statement.
    let refused = wire.ask(Out::new().message(b'Q', b"select '\xff'\0")).await.unwrap();
    assert_eq!(shape(&refused), "E:42601 ZI");
    // A text behind the text's end.
    let refused = wire.ask(Out::new().message(b'Q', b"select 1\0drop table customers\0")).await.unwrap();
    assert_eq!(shape(&refused), "E:42601 ZI");
    works(&mut wire).await;
}

async fn a_function_call_is_refused_by_the_name_of_its_function(case: Case) {
    let mut wire = enter(&case).await;
    let oid = case.stage.real("select 'pg_terminate_backend'::regproc::oid").unwrap();
    let oid: u32 = oid.trim().parse().unwrap();
    // PID and timeout, as text.
    let body = [&oid.to_be_bytes()[..], &[0, 0, 0, 2, 0, 0, 0, 1, b'1', 0, 0, 0, 1, b'0', 0, 0]].concat();
    let said = wire.ask(Out::new().message(b'F', &body)).await.unwrap();
    assert_eq!(shape(&said), "E:42501 ZI");
    assert!(errors(&said).contains("pg_terminate_backend"), "{}", errors(&said));
    // One that nobody knows.
    let said = wire.ask(Out::new().message(b'F', &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0])).await.unwrap();
    assert_eq!(shape(&said), "E:42501 ZI");
    assert!(errors(&said).contains("OID 4294967040 is not known"), "{}", errors(&said));
    works(&mut wire).await;
}

async fn an_unknown_message_ends_the_session(case: Case) {
    let mut wire = enter(&case).await;
    let answer = wire.ask(Out::new().message(b'y', b"?")).await.unwrap();
    assert_eq!(shape(&answer), "E:08P01");
    assert_eq!(answer[0].field(b'S').unwrap(), "FATAL");
    let says = |one: &Recorded| one.end().contains("protocol-violation");
    let ended = |stage: &Stage| Ok(stage.recorded_of(case.number)?.first().is_some_and(says));
    case.stage.until("a recording that says so", ended).await.unwrap();
}

async fn a_refusal_in_a_pipeline_undoes_what_its_transaction_did_before(case: Case) {
    let mut wire = enter(&case).await;
    // One implicit transaction up to the Sync (PostgreSQL manual, "Pipelining").
    let out = Out::new()
        .run(&insert("before"), &[])
        .run("drop table customers", &[])
        .run(&insert("after"), &[])
        .sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "1 2 C E:42501 ZI");
    assert_eq!((count(&case, "before"), count(&case, "after")), ("0".into(), "0".into()));
    works(&mut wire).await;
}

async fn a_refusal_in_a_pipeline_inside_a_transaction_undoes_nothing(case: Case) {
    let mut wire = enter(&case).await;
    assert_eq!(shape(&wire.query("begin").await.unwrap()), "C ZT");
    let out = Out::new().run(&insert("inside"), &[]).run("drop table customers", &[]).sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "1 2 C E:42501 ZT");
    assert_eq!(shape(&wire.query("commit").await.unwrap()), "C ZI");
    assert_eq!(count(&case, "inside"), "1");
}

async fn answers_before_a_refusal_come_before_it(case: Case) {
    let mut wire = enter(&case).await;
    let out = Out::new().run("select 1", &[]).sync().run("drop table customers", &[]).sync();
    let out = out.run("select 3", &[]).sync().query("truncate customers").query("select 5");
    wire.send(out).await.unwrap();
    let mut shapes = Vec::new();
    for _ in 0..5 {
        shapes.push(shape(&wire.answer().await.unwrap()));
    }
    assert_eq!(shapes, ["1 2 D C ZI", "E:42501 ZI", "1 2 D C ZI", "E:42501 ZI", "T D C ZI"]);
}

async fn a_simple_query_behind_an_open_segment_is_refused_in_its_place(case: Case) {
    let mut wire = enter(&case).await;
    // No Sync: the Query ends the segment.
    let out = Out::new().run(&insert("open"), &[]).query("drop table customers").query("select 7");
    wire.send(out).await.unwrap();
    let first = shape(&wire.answer().await.unwrap());
    assert_eq!(first, "1 2 C E:42501 ZI");
    assert_eq!(rows(&wire.answer().await.unwrap()), ["7"]);
}

const DRIVER: &str = r#"
import psycopg
from psycopg import errors
insert = "insert into orders (customer_id, item, total, status) values (1, %s, 1, 'open')"
count = "select count(*) from orders where item like 'pipe%%'"

with psycopg.connect("", autocommit=True) as connection:
    try:
        with connection.pipeline():
            connection.execute(insert, ["pipe before"])
            connection.execute("drop table customers")
            connection.execute(insert, ["pipe after"])
        raise AssertionError("DROP was not refused")
    except errors.InsufficientPrivilege as refused:
        assert "ddl.drop" in str(refused), refused
    assert connection.info.transaction_status.name == "IDLE", connection.info.transaction_status
    assert connection.execute(count).fetchone() == (0,), "the implicit transaction was not undone"

    # In a transaction of its own the refusal is no failure of the transaction at the target.
    connection.autocommit = False
    connection.execute(insert, ["pipe transaction"])
    try:
        connection.execute("grant select on customers to public")
        raise AssertionError("GRANT was not refused")
    except errors.InsufficientPrivilege:
        pass
    assert connection.info.transaction_status.name == "INTRANS"
    connection.commit()
    assert connection.execute(count).fetchone() == (1,)
print("refused")
"#;

async fn a_driver_meets_refusals_in_pipelines_and_transactions(case: Case) {
    case.window().unwrap();
    let environment = case.stage.driver_environment(&case.token);
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(python(DRIVER, &environment).unwrap().success().unwrap().trim(), "refused");
}

async fn a_name_that_exists_is_not_taken_over_by_a_second_parse(case: Case) {
    let mut wire = enter(&case).await;
    let dangerous = format!("{} returning id", insert("taken over"));
    assert_eq!(shape(&wire.ask(Out::new().parse("s", "select 7").sync()).await.unwrap()), "1 ZI");
    // The target refuses it, and goes on meaning the first.
    assert_eq!(shape(&wire.ask(Out::new().parse("s", &dangerous).sync()).await.unwrap()), "E:42P05 ZI");
    let again = Out::new().bind("", "s", &[], &[]).execute("").sync();
    assert_eq!(rows(&wire.ask(again.clone()).await.unwrap()), ["7"]);
    // The same in one burst, where the answers are still to come.
    wire.send(Out::new().parse("s", &dangerous).sync()).await.unwrap();
    wire.send(again).await.unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "E:42P05 ZI");
    assert_eq!(rows(&wire.answer().await.unwrap()), ["7"]);
    // Closed, it may mean something else.
    let out = Out::new().close(b'S', "s").parse("s", "select 8").bind("", "s", &[], &[]).execute("").sync();
    assert_eq!(rows(&wire.ask(out).await.unwrap()), ["8"]);
    assert_eq!(count(&case, "taken over"), "0");
}

async fn a_name_prepared_anew_in_sql_is_judged_as_what_it_is_now(case: Case) {
    let mut wire = enter(&case).await;
    let first = Out::new().parse("s", "select name from customers where id = 1").describe(b'S', "s").sync();
    assert_eq!(shape(&wire.ask(first).await.unwrap()), "1 t T ZI");
    let run = Out::new().bind("", "s", &[], &[]).execute("").sync();
    assert_eq!(rows(&wire.ask(run.clone()).await.unwrap()), ["Ada Abbott"]);
    assert_eq!(shape(&wire.query("prepare bad as drop table customers").await.unwrap()), "E:42501 ZI");
    assert_eq!(shape(&wire.query("deallocate s").await.unwrap()), "C ZI");
    let prepared = wire.query("prepare s as select ssn from customers where id = 1").await.unwrap();
    assert_eq!(shape(&prepared), "C ZI");
    hides(&wire.ask(run.clone()).await.unwrap());
    hides(&wire.query("execute s").await.unwrap());
    // And all of it in one burst, before anything of it is answered.
    assert_eq!(shape(&wire.query("deallocate s").await.unwrap()), "C ZI");
    let first = Out::new().parse("s", "select name from customers where id = 1").describe(b'S', "s").sync();
    assert_eq!(shape(&wire.ask(first).await.unwrap()), "1 t T ZI");
    assert_eq!(rows(&wire.ask(run.clone()).await.unwrap()), ["Ada Abbott"]);
    let renamed =
        Out::new().query("deallocate s").query("prepare s as select ssn from customers where id = 1");
    wire.send(renamed.bind("", "s", &[], &[]).execute("").sync()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(shape(&wire.answer().await.unwrap()), "C ZI");
    }
    hides(&wire.answer().await.unwrap());
    works(&mut wire).await;
}

fn hides(answer: &[Message]) {
    assert!(shape(answer).ends_with("ZI"), "{answer:?}");
    assert!(!rows(answer).join("\n").contains("743-61-4657"), "{:?}", rows(answer));
}

async fn settings_that_change_how_statements_are_read_end_the_session(case: Case) {
    case.window().unwrap();
    for sql in ["set standard_conforming_strings = off", "set client_encoding = 'SJIS'", "set names 'LATIN1'"]
    {
        let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
        let said = wire.query(sql).await.unwrap();
        // Refused before it is run, or the end of the session.
        assert!(shape(&said).starts_with("E:42501") || shape(&said).ends_with("E:42501"), "{sql}: {said:?}");
        if shape(&said).ends_with("ZI") {
            let now = wire.query("show standard_conforming_strings; show client_encoding").await.unwrap();
            assert_eq!(rows(&now), ["on", "UTF8"], "{sql}");
        }
    }
}

async fn copy_in_is_recorded_and_can_fail(case: Case) {
    let mut wire = enter(&case).await;
    let copy = "copy orders (customer_id, item, total, status) from stdin";
    wire.send(Out::new().query(copy).message(b'd', b"1\tcopied in\t1\topen\n").message(b'c', b""))
        .await
        .unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "G C ZI");
    wire.send(Out::new().query(copy).message(b'd', b"1\tnot this\t1\topen\n").message(b'f', b"no\0"))
        .await
        .unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "G E:57014 ZI");
    // As drivers do it in the extended protocol: the Sync behind Execute is eaten by the COPY.
    wire.send(Out::new().run(copy, &[]).sync()).await.unwrap();
    wire.until(b'G').await.unwrap();
    let data = Out::new().message(b'd', b"1\tcopied in\t1\topen\n").message(b'c', b"").sync();
    assert_eq!(shape(&wire.ask(data).await.unwrap()), "C ZI");
    assert_eq!((count(&case, "copied in"), count(&case, "not this")), ("2".into(), "0".into()));
    for sql in
        ["copy customers from '/etc/passwd'", "copy customers to program 'cat'", "copy customers to '/tmp/x'"]
    {
        assert_eq!(shape(&wire.query(sql).await.unwrap()), "E:42501 ZI", "{sql}");
    }
    // All in one burst, before it is known that there is a COPY.
    let out = Out::new().run(copy, &[]).message(b'd', b"1\tcopied in\t1\topen\n").message(b'c', b"").sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "1 2 G C ZI");
    // Data of a COPY that is over.
    let late = Out::new()
        .query("copy nowhere from stdin")
        .message(b'd', b"1\n")
        .message(b'c', b"")
        .query("select 7");
    wire.send(late).await.unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "E:42P01 ZI");
    assert_eq!(rows(&wire.answer().await.unwrap()), ["7"]);
    // One CopyData of many reads.
    wire.send(Out::new().query(copy)).await.unwrap();
    wire.until(b'G').await.unwrap();
    let large = format!("1\tlarge {}copied in\t1\topen\n", "x".repeat(300_000));
    let data = Out::new().message(b'd', large.as_bytes()).message(b'c', b"");
    assert_eq!(shape(&wire.ask(data).await.unwrap()), "C ZI");
    let copied = case.stage.recorded_of(case.number).unwrap()[0].of(chaperone::recorder::EventKind::CopyIn);
    let copied = copied.join("");
    assert_eq!(copied.matches("copied in").count(), 4, "{copied:?}");
    assert!(copied.contains(&large), "the large one is not there as a whole");
}

/// The target drops a Query inside a COPY. Were its answer still waited for, the next answer would be masked as if it were
/// this one's.
async fn a_message_that_has_no_place_in_a_copy_does_not_shift_the_answers(case: Case) {
    case.window().unwrap();
    let copy = "copy orders (customer_id, item, total, status) from stdin";
    let leak = "select row_to_json(c) from customers c where id = 1";
    // In one burst, and after the COPY has begun.
    for wait in [false, true] {
        let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
        wire.send(Out::new().query(copy)).await.unwrap();
        if wait {
            wire.until(b'G').await.unwrap();
        }
        wire.send(Out::new().query("select 1").query(leak)).await.unwrap();
        while let Some(message) = wire.next().await.unwrap() {
            if message.kind == b'E' && message.field(b'S').is_some_and(|severity| severity == "FATAL") {
                break;
            }
        }
        let seen = String::from_utf8_lossy(&wire.seen).into_owned();
        assert!(!seen.contains("743-61-4657"), "{seen}");
        assert!(seen.contains("08P01"), "{seen}");
    }
}

async fn an_empty_query_and_an_error_of_the_target_pass(case: Case) {
    let mut wire = enter(&case).await;
    assert_eq!(shape(&wire.query("").await.unwrap()), "I ZI");
    assert_eq!(shape(&wire.query(" ; -- nothing").await.unwrap()), "I ZI");
    assert_eq!(shape(&wire.query("select 1; select 2; select 3").await.unwrap()), "T D C T D C T D C ZI");
    assert_eq!(shape(&wire.query("select 1; select nothing").await.unwrap()), "T D C E:42703 ZI");
    let out = Out::new().run("select $1::int", &["x"]).sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "1 E:22P02 ZI");
    // What the target refuses at Parse, at Bind and at Execute, where the gateway waits for a description.
    let out = Out::new().run("insert into nowhere values (1)", &[]).run("select 1", &[]).sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "E:42P01 ZI");
    let out = Out::new().run("delete from orders where id = $1", &["x"]).sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "1 E:22P02 ZI");
    let out = Out::new().run("insert into orders (customer_id, item) values (1, 'x')", &[]).sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "1 2 E:23502 ZI");
    works(&mut wire).await;
}
