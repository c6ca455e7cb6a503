//! Operations out of events as a relay records them, and out of events that nobody records.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use super::*;
use crate::recorder::{Encoding, Event, EventKind, Part};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::convert::Infallible;

fn said(kind: EventKind, operation: u64, at_us: u64, body: Value) -> Event {
    let body = body.to_string().into_bytes();
    Event { kind, operation, at_us, encoding: Encoding::Json, part: Part::Last, body }
}

fn raw(kind: EventKind, operation: u64, body: &[u8]) -> Event {
    Event { kind, operation, at_us: 0, encoding: Encoding::Raw, part: Part::Last, body: body.to_vec() }
}

fn text(operation: u64, form: &str, text: &str) -> Event {
    raw(EventKind::Operation, operation, format!("{form}\0{text}").as_bytes())
}

fn allow(operation: u64, table: &str) -> Event {
    let statements = json!([{ "class": "select", "relations": [
        { "schema": "public", "name": table, "access": "read" }, { "name": table, "access": "read" },
        { "schema": "public", "name": table, "access": "read" },
    ] }]);
    let body =
        json!({ "decision": "allow", "risk": 3, "findings": [], "refusal": null, "statements": statements });
    said(EventKind::Decision, operation, 5, body)
}

fn result(operation: u64, rows: u64) -> Event {
    let body = json!({ "tag": format!("SELECT {rows}"), "rows": rows, "masked": 2, "micros": 70 });
    said(EventKind::Result, operation, 9, body)
}

fn end() -> Event {
    said(EventKind::End, 0, 99, json!({ "ended": "2026-11-21T10:00:00Z", "reason": "client-closed" }))
}

fn all(events: &[Event]) -> Vec<Operation> {
    let events = events.iter().cloned().map(Ok::<_, Infallible>);
    operations(events).map(Result::unwrap).collect()
}

#[test]
fn a_query_is_told_whole() {
    let told = all(&[
        text(1, "query", "select * from users"),
        allow(1, "users"),
        said(EventKind::Mask, 1, 6, json!({ "columns": ["email"] })),
        raw(EventKind::Rows, 1, &[0; 40]),
        result(1, 2),
        result(1, 3),
        end(),
    ]);
    let [one] = &told[..] else { panic!("{told:?}") };
    assert_eq!((one.number, one.form.as_str(), one.text.as_str()), (1, "query", "select * from users"));
    assert_eq!(one.tables, ["public.users", "users"]);
    assert_eq!((one.rows, one.masked_values, one.results, one.took_us), (5, 4, 2, Some(140)));
    assert_eq!((one.answered_bytes, one.tag.as_str()), (40, "SELECT 3"));
    assert_eq!(one.masked_columns, ["email"]);
    assert_eq!(one.decision.as_ref().map(|decided| decided.risk), Some(3));
    assert!(one.was_allowed() && !one.was_refused() && !one.was_held() && one.settled);
}

#[test]
fn each_execution_is_an_operation_with_its_parameters_and_the_statements_decision() {
    let bind = |value: &[u8]| {
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        raw(EventKind::Parameters, 1, &[b"\0\0\0\0\0\x01", &length[..], value, b"\0\0"].concat())
    };
    let execute = |number| said(EventKind::Execute, number, 8, json!({ "of": 1 }));
    let told = all(&[
        text(1, "parse", "select * from users where id = $1"),
        allow(1, "users"),
        bind(b"7"),
        execute(2),
        bind(b"8"),
        execute(3),
        result(2, 1),
        result(3, 0),
        end(),
    ]);
    let seen: Vec<_> = told
        .iter()
        .map(|one| {
            let values = one.parameters.as_ref().map(|bound| bound.values.clone()).unwrap_or_default();
            (one.number, one.of, one.nth, values, one.rows)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, None, 0, vec![json!("8")], 0),
            (2, Some(1), 1, vec![json!("7")], 1),
            (3, Some(1), 2, vec![json!("8")], 0),
        ]
    );
    assert!(told.iter().all(|one| one.tables == ["public.users", "users"] && one.was_allowed()));
    assert_eq!(told[0].executions, 2);
}

#[test]
fn refusals_holds_errors_and_faults_are_told() {
    let terms = json!([{ "approvers": "dba", "needed": 2, "timeout_seconds": 9, "reason": "it writes" }]);
    let hold = |number| {
        said(EventKind::Hold, number, 10, json!({ "hold": format!("hold_{number}"), "terms": terms }))
    };
    let decision = |number, word: &str| {
        let finding = json!({ "rule": "delete.no-where", "detail": "all rows", "risk": 90 });
        let refusal = (word == "refuse").then(|| json!({ "code": "operation-refused", "message": "no" }));
        let body = json!({ "decision": word, "plugin": "sql-guard", "risk": 90, "findings": [finding], "refusal": refusal });
        said(EventKind::Decision, number, 5, body)
    };
    let told = all(&[
        text(1, "query", "delete from a"),
        decision(1, "refuse"),
        text(2, "query", "delete from b"),
        decision(2, "hold"),
        hold(2),
        said(
            EventKind::HoldResolved,
            2,
            60,
            json!({ "hold": "hold_2", "outcome": "approved", "by": ["p/t/ann"] }),
        ),
        result(2, 0),
        text(3, "query", "delete from c"),
        decision(3, "hold"),
        hold(3),
        said(EventKind::HoldResolved, 3, 70, json!({ "outcome": "hold-rejected", "detail": "no" })),
        text(4, "query", "select 1/0"),
        allow(4, "x"),
        said(EventKind::Error, 4, 80, json!({ "side": "target", "sqlstate": "22012" })),
        text(5, "query", "select 2"),
        said(EventKind::Fault, 5, 81, json!({ "plugin": "p", "hook": "sql-check", "kind": "deadline" })),
        text(6, "query", "delete from d"),
        decision(6, "hold"),
        hold(6),
        end(),
    ]);
    let words: Vec<_> =
        told.iter().map(|one| (one.was_allowed(), one.was_refused(), one.was_held())).collect();
    let (refused, held, rejected, waits) =
        ((false, true, false), (true, false, true), (false, true, true), (false, false, true));
    assert_eq!(words, [refused, held, rejected, (true, false, false), (false, false, false), waits]);
    let decided = told[0].decision.as_ref().unwrap();
    assert_eq!(
        (decided.plugin.as_deref(), decided.findings[0].rule.as_str()),
        (Some("sql-guard"), "delete.no-where")
    );
    assert_eq!(told[0].refusal.as_ref().unwrap().code, "operation-refused");
    let hold = told[1].hold.as_ref().unwrap();
    assert_eq!(
        (hold.since_us, hold.until_us, &hold.approved_by[..]),
        (10, Some(60), &["p/t/ann".to_owned()][..])
    );
    assert_eq!((hold.terms[0].approvers.as_str(), hold.terms[0].needed), ("dba", 2));
    assert_eq!(told[3].error.as_ref().unwrap().sqlstate, "22012");
    assert_eq!(told[4].faults[0].plugin, "p");
}

#[test]
fn what_changed_is_told_again_and_what_is_settled_once() {
    let mut assembler = Assembler::default();
    let mut changed = |events: &[Event]| -> Vec<(u64, u64, bool)> {
        events.iter().for_each(|event| assembler.read(event));
        assembler.changed().iter().map(|one| (one.number, one.rows, one.settled)).collect()
    };
    assert_eq!(changed(&[text(1, "query", "a"), allow(1, "t")]), [(1, 0, false)]);
    assert_eq!(changed(&[]), []);
    assert_eq!(changed(&[result(1, 4)]), [(1, 4, false)]);
    assert_eq!(changed(&[text(2, "parse", "b"), allow(2, "t"), result(2, 0)]), [(1, 4, true), (2, 0, false)]);
    // A late word about one that is settled would hide what is known.
    assert_eq!(changed(&[result(1, 9), end()]), [(2, 0, true)]);
    assert_eq!(
        changed(&[said(EventKind::Execute, 3, 1, json!({ "of": 2 })), end()]),
        [(3, 0, true), (2, 0, true)]
    );
}

#[test]
fn a_body_that_is_cut_into_several_is_one_text_and_a_long_one_is_cut() {
    let long = "é".repeat(MAX_TEXT_BYTES);
    let whole = format!("query\0{long}").into_bytes();
    let (first, second) = whole.split_at(1001);
    let more = |body| Event { part: Part::More, ..raw(EventKind::Operation, 1, body) };
    let told = all(&[more(first), raw(EventKind::Operation, 1, second), allow(1, "t"), end()]);
    assert_eq!(told[0].text_bytes, long.len() as u64);
    assert_eq!(told[0].text, long[..MAX_TEXT_BYTES]);
    // A crash between the parts: what follows begins anew.
    let told = all(&[more(first), text(2, "query", "b"), end()]);
    assert_eq!(told.iter().map(|one| (one.number, one.text.as_str())).collect::<Vec<_>>(), [(2, "b")]);
}

#[test]
fn what_is_kept_is_bounded_and_nothing_is_lost() {
    let mut assembler = Assembler::default();
    let long = "x".repeat(MAX_TEXT_BYTES);
    let (count, mut settled) = (2000, Vec::new());
    for number in 1..=count {
        assembler.read(&text(number, "parse", &long));
        settled.extend(assembler.settled().into_iter().map(|one| one.number));
    }
    assert!(settled.len() as u64 >= count - (MAX_KEPT_BYTES / MAX_TEXT_BYTES) as u64, "{}", settled.len());
    let (live, prepared) = assembler.kept();
    assert!(live <= MAX_KEPT_BYTES && prepared <= MAX_KEPT_BYTES, "{live} {prepared}");
    assembler.finish();
    settled.extend(assembler.settled().into_iter().map(|one| one.number));
    assert_eq!(settled, (1..=count).collect::<Vec<_>>());
    let mut assembler = Assembler::default();
    for number in 1..=2 * MAX_LIVE as u64 {
        assembler.read(&text(number, "query", ""));
    }
    assert_eq!(assembler.settled().len(), MAX_LIVE);
}

#[test]
fn lists_and_words_of_a_decision_are_bounded() {
    let told = |letters| {
        let word = "w".repeat(letters);
        let tables: Vec<_> = (0..500).map(|n| json!({ "name": format!("{n}{word}") })).collect();
        let findings = vec![json!({ "rule": word, "detail": word, "risk": 1 }); 500];
        let statements = json!([{ "class": word, "relations": tables }]);
        let body = json!({ "decision": "allow", "findings": findings, "statements": statements });
        all(&[text(1, "query", "a"), said(EventKind::Decision, 1, 1, body), end()]).remove(0)
    };
    let one = told(600);
    assert!(one.tables.len() == 64 && one.tables.iter().all(|table| table.len() < 600));
    let findings = one.decision.unwrap().findings;
    assert!(
        findings.len() == 64 && findings.iter().all(|one| one.rule.len() < 600 && one.detail.len() < 600)
    );
    assert_eq!(told(9999).decision, None, "a body of several MiB is not read");
}

/// A message as a target sends it.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
}

fn columns(count: u16) -> Vec<u8> {
    let one = [&b"name\0"[..], &[0; 18]].concat();
    message(b'T', &[&count.to_be_bytes()[..], &one.repeat(count.into())].concat())
}

fn row(count: u16, value: &[u8]) -> Vec<u8> {
    let one = [&u32::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat();
    message(b'D', &[&count.to_be_bytes()[..], &one.repeat(count.into())].concat())
}

fn acts(scenes: Vec<Scene>) -> Vec<Act> {
    let act = |scene| match scene {
        Scene::Operation(act) => Some(*act),
        Scene::Aside { .. } => None,
    };
    scenes.into_iter().filter_map(act).collect()
}

#[test]
fn a_scene_has_its_results_in_order_and_what_is_open_as_it_is() {
    let mut scenes = Scenes::default();
    let bytes = [columns(2), row(2, b"a"), row(2, b"b"), message(b'C', b"SELECT 2\0")].concat();
    let (first, rest) = bytes.split_at(70);
    let head = serde_json::to_value(crate::recorder::Opening {
        started: chaperone_core::Timestamp::UNIX_EPOCH,
        head: crate::recorder::tests::head(1),
    });
    for event in [
        said(EventKind::Head, 0, 0, head.unwrap()),
        text(1, "query", "select 1; select 2"),
        said(EventKind::Mask, 1, 6, json!({ "columns": ["name"] })),
        raw(EventKind::Rows, 1, first),
        raw(EventKind::Rows, 1, rest),
        raw(EventKind::Rows, 1, &[columns(1), message(b'C', b"SELECT 0\0")].concat()),
        result(1, 2),
        said(EventKind::Warning, 0, 7, json!({ "what": "soon" })),
        text(2, "query", "select 3"),
        raw(EventKind::Rows, 2, &[columns(1), row(1, b"c")].concat()),
    ] {
        scenes.read(&event);
    }
    let told = scenes.take();
    assert!(matches!(&told[0], Scene::Aside { kind: EventKind::Warning, at_us: 7, .. }), "{told:?}");
    let [one] = &acts(told)[..] else { panic!("one is settled") };
    let Answered::Table { titles, rows, count, .. } = &one.answers[0] else { panic!("{one:?}") };
    assert_eq!((titles.len(), rows.len(), *count, one.until_us), (2, 2, 2, 9));
    assert!(titles.iter().all(|title| title.masking == Masking::Masked));
    assert!(matches!(&one.answers[1], Answered::Table { count: 0, .. }), "{one:?}");
    let [open] = &scenes.unsettled()[..] else { panic!("one is open") };
    assert!(open.operation.number == 2 && matches!(&open.answers[0], Answered::Table { count: 1, .. }));
    scenes.read(&end());
    assert_eq!(acts(scenes.take()).len(), 1);
    assert!(scenes.end().is_some());
}

#[test]
fn what_is_kept_of_scenes_is_bounded_and_the_rest_counted() {
    let opened = |scenes: &mut Scenes| {
        let head = json!({ "protocol": "postgres" });
        scenes.read(&said(EventKind::Head, 0, 0, head));
    };
    let mut scenes = Scenes::default();
    opened(&mut scenes);
    scenes.read(&text(1, "query", "many"));
    let value = "x".repeat(1000);
    for _ in 0..40 {
        let result =
            [columns(100), row(100, value.as_bytes()).repeat(50), message(b'C', b"SELECT 50\0")].concat();
        scenes.read(&raw(EventKind::Rows, 1, &result));
    }
    scenes.finish();
    let one = acts(scenes.take()).remove(0);
    assert_eq!((one.answers.len() as u64 + one.left_out, one.left_out > 0), (40, true));
    assert!(one.bytes < 2 << 20, "{}", one.bytes);
    for answered in &one.answers {
        let Answered::Table { titles, columns, rows, count } = answered else { panic!("{answered:?}") };
        assert_eq!((titles.len(), *columns, *count), (MAX_COLUMNS, 100, 50));
        assert!(rows.len() <= MAX_ROWS && rows.iter().all(|row| row.len() == MAX_COLUMNS));
    }
    // Very many at once, each with rows, in an order in which none is ever settled.
    let mut scenes = Scenes::default();
    opened(&mut scenes);
    for number in (1..3000).rev() {
        scenes.read(&text(number, "query", "one"));
        let result = [columns(30), row(30, value.as_bytes()).repeat(20)].concat();
        scenes.read(&raw(EventKind::Rows, number, &result));
    }
    let kept: usize = scenes.unsettled().iter().map(|act| act.bytes).sum();
    assert!(kept < 3 << 20, "{kept}");
}

proptest! {
    #[test]
    fn no_events_make_it_panic(
        kinds in proptest::collection::vec((0usize..20, any::<bool>(), any::<bool>(), 0u64..6, 0usize..8), 0..60),
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let bodies = [
            json!({}), json!({ "of": 3 }), json!({ "decision": "allow" }), json!([1]), json!({ "hold": 4 }),
            json!({ "rows": u64::MAX, "micros": u64::MAX }), json!({ "columns": [] }), json!(null),
        ];
        let mut decoder = Decoder::default();
        let events: Vec<Event> = kinds.into_iter().map(|(kind, json, more, operation, body)| Event {
            kind: EventKind::ALL[kind],
            operation,
            at_us: 0,
            encoding: if json { Encoding::Json } else { Encoding::Raw },
            part: if more { Part::More } else { Part::Last },
            body: if json { bodies[body].to_string().into_bytes() } else { bytes.clone() },
        }).collect();
        events.iter().for_each(|event| drop(decoder.read(event)));
        let mut scenes = Scenes::default();
        events.iter().for_each(|event| scenes.read(event));
        drop(scenes.unsettled());
        scenes.finish();
        let told = all(&events);
        prop_assert!(told.iter().all(|one| one.settled));
    }
}
