//! Names come to mean something else between two runs of a statement that nobody describes again, or describes too late.
//!
//! Masks go by the names of columns alone here, so that nothing else hides a leak.

use super::refused;
use chaperone_tests::raw::{Message, Out, Wire, errors, rows, shape};
use chaperone_tests::stage::Stage;

/// A view that shows a note and a number; the number of the table is secret, whatever shows it.
const DEFINED: &str = "set role shop_owner;
    create table people (id int, note text, ssn text);
    insert into people values (1, 'a note', 'a number');
    create view shown as select id, note, ssn from people";

/// The two ways in which `note` of the view becomes a secret: what it shows gets the name of a masked column, or the masked
/// column is shown under its harmless name.
const REDEFINED: [&str; 2] = [
    "alter table people rename column ssn to other; alter table people rename column note to ssn",
    "alter view shown rename column note to other; alter view shown rename column ssn to note",
];

async fn stage() -> (Stage, Wire) {
    // Trusted to return nothing hidden, not to leave names as they are.
    let mask = r#"{ columns: [{ match: "public.people.ssn", strategy: redact, secret: true }],
        trusted: ["public.set_config"] }"#;
    super::with_relations(mask, DEFINED).await
}

fn run(name: &str) -> Out {
    Out::new().bind("", name, &[], &[]).execute("").sync()
}

fn copied(answer: &[Message]) -> Vec<String> {
    let data = answer.iter().filter(|message| message.kind == b'd');
    data.map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_session_renames_is_masked_at_the_next_execution() {
    for redefined in REDEFINED {
        let (mut stage, mut wire) = stage().await;
        for (name, sql) in [
            ("described", "select note from shown"),
            ("not described", "select note from shown"),
            ("computed", "select upper(note) from shown"),
            ("choosing", "select id from shown where note like 'no such%'"),
        ] {
            let out = Out::new().parse(name, sql);
            let out = if name == "described" { out.describe(b'S', name) } else { out };
            wire.ask(out.sync()).await.unwrap();
        }
        assert_eq!(rows(&wire.ask(run("described")).await.unwrap()), ["a note"]);
        assert_eq!(rows(&wire.ask(run("not described")).await.unwrap()), ["a note"]);
        assert_eq!(rows(&wire.query("select note from shown").await.unwrap()), ["a note"]);
        assert_eq!(rows(&wire.ask(run("computed")).await.unwrap()), ["A NOTE"]);
        assert_eq!(shape(&wire.ask(run("choosing")).await.unwrap()), "2 C ZI");

        let mut other = Wire::connect(&stage, &stage.agent().unwrap()).await.unwrap();
        assert_eq!(shape(&other.query(redefined).await.unwrap()), "C C ZI");

        for name in ["described", "not described"] {
            let answer = wire.ask(run(name)).await.unwrap();
            assert_eq!(rows(&answer), ["[redacted]"], "{name}, {redefined}: {}", shape(&answer));
        }
        let answer = wire.query("select note from shown").await.unwrap();
        assert_eq!(rows(&answer), ["[redacted]"], "{redefined}: {}", shape(&answer));
        let answer = wire.ask(run("computed")).await.unwrap();
        assert!(refused(&answer), "{redefined}: {}", shape(&answer));
        // Without rows nobody would ask: it is refused before it runs.
        let answer = wire.ask(run("choosing")).await.unwrap();
        assert_eq!(shape(&answer), "2 E:42501 ZI", "{redefined}");
        assert!(errors(&answer).contains("mask.predicate"), "{}", errors(&answer));
        assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
        stage.stop().await;
    }
}

/// Which rows come back tells as much as they do, and so does that none does.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_that_no_row_has_a_secret() {
    let (mut stage, mut wire) = stage().await;
    for relation in ["people", "shown"] {
        let sql = format!("select id from {relation} where ssn like '1%'");
        assert_eq!(stage.real(&sql).unwrap(), "", "the question has no rows");
        let declare = format!("declare c cursor for {sql}");
        let parsed = Out::new().parse("", &sql).sync();
        let prepared = Out::new().parse("", &declare).bind("", "", &[], &[]).execute("").sync();
        let one_row = Out::new().parse("", &sql).bind("", "", &[], &[]).message(b'E', b"\0\0\0\0\x01").sync();
        for (road, out) in [
            ("simple", Out::new().query(&sql)),
            ("Parse alone", parsed),
            ("one row at most", one_row),
            ("PREPARE", Out::new().query(&format!("prepare p as {sql}"))),
        ] {
            let answer = wire.ask(out).await.unwrap();
            assert_eq!(shape(&answer), "E:42501 ZI", "{road}");
            assert!(errors(&answer).contains("mask.predicate"), "{road}: {}", errors(&answer));
        }
        assert_eq!(shape(&wire.query("begin").await.unwrap()), "C ZT");
        for out in [Out::new().query(&declare), prepared] {
            let answer = wire.ask(out).await.unwrap();
            assert_eq!(shape(&answer), "E:42501 ZT", "{declare}");
            assert!(errors(&answer).contains("mask.predicate"), "{}", errors(&answer));
        }
        // It is not there either.
        assert_eq!(shape(&wire.query("fetch all from c").await.unwrap()), "E:34000 ZE");
        assert_eq!(shape(&wire.query("rollback").await.unwrap()), "C ZI");
    }
    stage.stop().await;
}

/// What pg_dump begins with, to the letter: nothing else may read `pg_settings`.
const OF_PG_DUMP: &str = "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";

/// `set_config` changes a setting, and no name's meaning; another function of that name may do anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_setting_leaves_names_as_they_are_and_its_namesake_does_not() {
    let (mut stage, mut wire) = stage().await;
    for set in ["select pg_catalog.set_config('search_path', '', true)", OF_PG_DUMP] {
        wire.query("begin").await.unwrap();
        assert_eq!(rows(&wire.query(set).await.unwrap()).len(), 1, "{set}");
        let answer = wire.query("select note, upper(note) from public.people").await.unwrap();
        assert_eq!(rows(&answer), ["a note|A NOTE"], "{set}: {}", shape(&answer));
        wire.query("rollback").await.unwrap();
    }
    // Its view is replaced where only this transaction sees it.
    let replaces = "create or replace view shown as select id, ssn as note, note as ssn from people";
    let namesake = format!(
        "create function public.set_config(text, text, boolean) returns text language plpgsql as \
         $$ begin execute '{replaces}'; return ''; end $$; \
         create schema other; create view other.pg_settings as select public.set_config('', '', true) as name"
    );
    assert_eq!(shape(&wire.query(&namesake).await.unwrap()), "C C C ZI");
    for (path, set) in [
        ("public, pg_catalog", "select set_config('a.b', 'c', true)"),
        ("other, pg_catalog, public", OF_PG_DUMP),
    ] {
        // No client may set such a path; a database may come with it.
        stage.real(&format!("alter database shop set search_path = {path}")).unwrap();
        let mut wire = Wire::connect(&stage, &stage.agent().unwrap()).await.unwrap();
        wire.query("begin").await.unwrap();
        let answer = wire.query(set).await.unwrap();
        assert!(shape(&answer).contains("C ZT"), "{set}: {}", errors(&answer));
        for sql in ["select note from shown", "select upper(note) from shown"] {
            let answer = wire.query(sql).await.unwrap();
            assert!(
                shape(&answer).contains("E:42501"),
                "{set}, {sql}: {:?} {}",
                rows(&answer),
                shape(&answer)
            );
        }
    }
    stage.stop().await;
}

/// PostgreSQL analyses a COPY anew each time and does not say when that comes out otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_was_described_as_counts_for_one_copy() {
    for (sql, redefined) in [
        ("copy (select note from shown) to stdout", REDEFINED[1]),
        (
            "copy people (note) to stdout",
            "alter table people rename column note to other; alter table people rename column ssn to note",
        ),
    ] {
        let (mut stage, mut wire) = stage().await;
        assert_eq!(shape(&wire.ask(Out::new().parse("c", sql).sync()).await.unwrap()), "1 ZI");
        assert_eq!(copied(&wire.ask(run("c")).await.unwrap()), ["a note\n"]);
        // Past the gateway, so that nothing tells it.
        stage.real(&format!("set role shop_owner; {redefined}")).unwrap();
        let answer = wire.ask(run("c")).await.unwrap();
        assert_eq!(copied(&answer), ["[redacted]\n"], "{sql}: {}", shape(&answer));
        stage.stop().await;
    }
}
