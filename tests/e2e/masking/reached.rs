//! What EXECUTE and FETCH return is judged by the statements behind them: shown where these read nothing hidden, and
//! refused where one of them does, or is not known.

use chaperone_tests::raw::{Message, Out, Wire, errors, rows, shape};
use chaperone_tests::stage::Stage;

/// A view that shows a harmless note and a secret, and code that opens cursors unseen.
const DEFINED: &str = "set role shop_owner;
    create table people (id int, note text, ssn text);
    insert into people values (1, 'a note', 'a number');
    create view shown as select id, note, ssn from people;
    create function opens() returns refcursor language plpgsql as
      'declare c refcursor := ''c''; begin open c for select upper(ssn) from people; return c; end';
    create function says(sql text) returns void language plpgsql as 'begin execute sql; end';
    create table watched (id int);
    create function watch() returns trigger language plpgsql as
      'declare c refcursor := ''c''; begin open c for select upper(ssn) from people; return new; end';
    create trigger watch before insert on watched for each row execute function watch();";

const SECRET: &str = "A NUMBER";

async fn stage() -> (Stage, Wire) {
    // Trusted, so that the functions run: what they return is nothing hidden, what they open is.
    let mask = r#"{ columns: [{ match: "public.people.ssn", strategy: redact }],
        trusted: ["public.opens", "public.says"] }"#;
    super::with_relations(mask, DEFINED).await
}

/// Runs texts one after the other, and takes the answer to the last one.
async fn last(wire: &mut Wire, texts: &[&str]) -> Vec<Message> {
    let mut answer = Vec::new();
    for sql in texts {
        answer = wire.query(sql).await.unwrap();
    }
    answer
}

fn refused(answer: &[Message]) -> bool {
    rows(answer).is_empty() && shape(answer).contains("E:42501")
}

fn hides(wire: &Wire, what: &str) {
    let seen = String::from_utf8_lossy(&wire.seen).to_uppercase();
    assert!(!seen.contains(SECRET), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reads_nothing_hidden_is_shown() {
    let (mut stage, mut wire) = stage().await;
    for (texts, expected) in [
        (
            &["declare c cursor for select count(*), upper(min(note)) from shown", "fetch c"] as &[&str],
            "1|A NOTE",
        ),
        (
            &[
                "declare c scroll cursor for select id + 1 from people",
                "move 2 in c",
                "fetch backward 1 from c",
            ],
            "2",
        ),
        (&["prepare p as select count(*) from people where note like $1", "execute p ('a%')"], "1"),
        (&["prepare q as select upper(note) from people", "execute q", "execute q", "execute q"], "A NOTE"),
        (&["declare c cursor for values (6 * 7)", "fetch all from c"], "42"),
        // One that reads what is hidden was there, and is closed.
        (
            &[
                "declare s cursor for select upper(ssn) from people",
                "declare c cursor for select 6 * 7",
                "close s",
                "fetch all from c",
            ],
            "42",
        ),
    ] {
        wire.query("begin").await.unwrap();
        let answer = last(&mut wire, texts).await;
        assert_eq!(rows(&answer).join(" "), expected, "{texts:?}: {} {}", shape(&answer), errors(&answer));
        wire.query("rollback").await.unwrap();
    }
    let plan = last(&mut wire, &["prepare e as select upper(note) from people", "explain execute e"]).await;
    assert!(rows(&plan).join("").contains("Scan"), "{}", errors(&plan));

    // A cursor that outlives its transaction, by messages of the extended protocol and in the binary format.
    let declare = "declare h cursor with hold for select id + 41 from people";
    assert_eq!(shape(&wire.ask(Out::new().run(declare, &[]).sync()).await.unwrap()), "1 2 C ZI");
    let fetch = |out: Out, formats: &[u16]| out.bind("", "f", &[], formats).execute("").sync();
    wire.ask(Out::new().parse("f", "fetch absolute 1 from h").sync()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(rows(&wire.ask(fetch(Out::new(), &[])).await.unwrap()), ["42"]);
    }
    let binary = wire.ask(fetch(Out::new(), &[1])).await.unwrap();
    assert_eq!(
        binary.iter().find(|message| message.kind == b'D').unwrap().values(),
        [Some(vec![0, 0, 0, 42])]
    );
    stage.stop().await;
}

/// The target is asked in the middle of what the client has sent, and what comes before and after stays in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_keeps_its_order() {
    let (mut stage, mut wire) = stage().await;
    let declare = "declare c cursor for select id + 41 from people";
    let whole = Out::new().run("begin", &[]).run(declare, &[]).run("fetch c", &[]).run("select 7", &[]);
    let answer = wire.ask(whole.run("commit", &[]).sync()).await.unwrap();
    assert_eq!(shape(&answer), "1 2 C 1 2 C 1 2 D C 1 2 D C 1 2 C ZI");
    assert_eq!(rows(&answer), ["42", "7"]);

    let queries = ["begin", declare, "fetch c", "select 7", "commit"];
    wire.send(queries.iter().fold(Out::new(), |out, sql| out.query(sql))).await.unwrap();
    let mut all = Vec::new();
    for sql in queries {
        let answer = wire.answer().await.unwrap();
        assert!(errors(&answer).is_empty(), "{sql}: {}", errors(&answer));
        all.extend(rows(&answer));
    }
    assert_eq!(all, ["42", "7"]);

    // The target's own errors are the statement's, and nothing is asked in a transaction that has failed.
    assert_eq!(shape(&wire.query("fetch c").await.unwrap()), "E:34000 ZI");
    assert_eq!(shape(&wire.query("execute nothing").await.unwrap()), "E:26000 ZI");
    assert_eq!(shape(&last(&mut wire, &["begin", "fetch c", "fetch c"]).await), "E:25P02 ZE");
    let skipped = Out::new().run("fetch c", &[]).run("select 7", &[]).sync();
    assert_eq!(shape(&last(&mut wire, &["rollback"]).await), "C ZI");
    assert_eq!(shape(&wire.ask(skipped).await.unwrap()), "1 2 E:34000 ZI");
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reads_the_hidden_or_is_not_known_is_refused() {
    let (mut stage, mut wire) = stage().await;
    let harmless = "declare c cursor for select upper(note) from people";
    let hidden = "declare c cursor for select upper(ssn) from people";
    let ways: &[(&str, &[&str])] = &[
        ("a cursor", &[hidden, "fetch c"]),
        ("a cursor of the view", &["declare c cursor for select upper(ssn) from shown", "fetch c"]),
        ("the same name once more", &[harmless, "close c", hidden, "fetch c"]),
        (
            "two texts in one",
            &["declare e cursor for select 1; declare c cursor for select upper(ssn) from people", "fetch c"],
        ),
        (
            "with its FETCH in one text",
            &[harmless, "close c; declare c cursor for select upper(ssn) from people; fetch c"],
        ),
        ("after a savepoint", &[harmless, "savepoint s", "close c", hidden, "fetch c"]),
        ("a function", &["select opens()", "fetch c"]),
        ("a function, under the text of another cursor", &[harmless, "close c", "select opens()", "fetch c"]),
        (
            "a function that says it",
            &["select says('declare c cursor for select upper(ssn) from people')", "fetch c"],
        ),
        ("a trigger", &["insert into watched values (1)", "fetch c"]),
        (
            "the gateway's name",
            &[
                "declare \"chaperone: reached\" cursor for select upper(ssn) from people",
                "fetch all from \"chaperone: reached\"",
            ],
        ),
        (
            "the gateway's name, prepared",
            &[
                "prepare \"chaperone: reached\" as select upper(ssn) from people",
                "execute \"chaperone: reached\"",
            ],
        ),
        ("EXECUTE", &["prepare p as select upper(ssn) from people", "execute p"]),
        ("EXECUTE of a function", &["prepare p as select opens()", "execute p"]),
        (
            "EXECUTE beside another one",
            &["prepare o as select 1", "prepare p as select upper(ssn) from people", "execute p"],
        ),
        (
            "EXPLAIN ANALYZE",
            &[
                "prepare p as select id from people where ssn = $1",
                "explain (analyze, verbose) execute p ('x')",
            ],
        ),
        (
            "the name once more",
            &[
                "prepare p as select upper(note) from people",
                "deallocate p",
                "prepare p as select upper(ssn) from people",
                "execute p",
            ],
        ),
        (
            "code among the arguments",
            &["prepare p (text) as select upper(note) from people", "execute p (opens()::text)"],
        ),
    ];
    for (way, texts) in ways {
        let (reads, before) = texts.split_last().unwrap();
        // What is known and harmless stands beside it.
        for sql in ["begin", "declare d cursor for select upper(note) from people"].iter().chain(before) {
            let answer = wire.query(sql).await.unwrap();
            assert!(errors(&answer).is_empty(), "{way}: {sql}: {}", errors(&answer));
        }
        let answer = wire.query(reads).await.unwrap();
        assert!(refused(&answer), "{way}: {} {:?}", shape(&answer), rows(&answer));
        assert_eq!(shape(&wire.query("rollback").await.unwrap()), "C ZI", "{way}");
        wire.query("deallocate all").await.unwrap();
        hides(&wire, way);
    }
    // One that holds what is hidden stands beside a harmless one: which of them is meant is not told.
    let answer = last(
        &mut wire,
        &["begin", "declare d cursor for select upper(ssn) from people", harmless, "fetch c"],
    )
    .await;
    assert!(refused(&answer), "{}", shape(&answer));
    wire.query("rollback").await.unwrap();

    // By messages: a portal is not what DECLARE has opened, and a statement of Parse may be any.
    wire.query("begin").await.unwrap();
    let bound = Out::new().parse("s", "select upper(ssn) from people").bind("c", "s", &[], &[]).sync();
    assert_eq!(shape(&wire.ask(bound).await.unwrap()), "1 2 ZT");
    for sql in ["fetch c", "execute s"] {
        let answer = wire.query(sql).await.unwrap();
        assert!(refused(&answer), "{sql}: {}", shape(&answer));
    }
    wire.query("rollback").await.unwrap();
    for (opens, reads) in [(hidden, "fetch c"), ("prepare c as select upper(ssn) from people", "execute c")] {
        wire.query("deallocate all; begin").await.unwrap();
        wire.ask(Out::new().parse("opens", opens).sync()).await.unwrap();
        wire.query("execute opens").await.unwrap();
        let answer = wire.query(reads).await.unwrap();
        assert!(refused(&answer), "{opens} by EXECUTE: {}", shape(&answer));
        wire.query("rollback").await.unwrap();
    }
    hides(&wire, "by messages");
    stage.stop().await;
}

/// A cursor reads what its names meant when it was opened, and a prepared statement what they mean now.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_change_their_meaning_in_between_hide_nothing() {
    let (mut stage, mut wire) = stage().await;
    let open = "declare h cursor with hold for select upper(ssn) from people";
    let prepare = "prepare p as select upper(note) from shown";
    for sql in [open, prepare] {
        assert_eq!(shape(&wire.query(sql).await.unwrap()), "C ZI", "{sql}");
    }
    let mut other = Wire::connect(&stage, &stage.agent().unwrap()).await.unwrap();
    // The catalog of today knows no `ssn`.
    assert_eq!(shape(&other.query("alter table people rename column ssn to other").await.unwrap()), "C ZI");
    let answer = wire.query("fetch all from h").await.unwrap();
    assert!(refused(&answer), "the cursor: {}", shape(&answer));
    assert_eq!(rows(&wire.query("execute p").await.unwrap()), ["A NOTE"]);
    let renames = "alter table people rename column note to ssn; update people set ssn = 'a number'";
    assert_eq!(shape(&other.query(renames).await.unwrap()), "C C ZI");
    let answer = wire.query("execute p").await.unwrap();
    assert!(refused(&answer), "the prepared statement: {}", shape(&answer));
    hides(&wire, "renamed by another session");

    // By this session, and not committed yet: another session does not see it.
    wire.query("close h; deallocate p").await.unwrap();
    let answer = last(
        &mut wire,
        &[
            "begin",
            "create view later as select other as note from people",
            "declare c cursor for select upper(note) from later",
            "fetch c",
        ],
    )
    .await;
    assert!(refused(&answer), "a view of this transaction: {}", shape(&answer));
    hides(&wire, "a view of this transaction");
    stage.stop().await;
}
