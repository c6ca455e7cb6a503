//! The vocabulary of classes: a check plugin with words of its own makes no statement look more harmless than it is.

use chaperone_core::sql::{CLASSES, FunctionRef, StatementFacts, Surroundings, UNKNOWN, Use};
use chaperone_tests::guests::{engine, facts, hostile_chain, hostile_entry, patient};
use chaperone_tests::sources::read;
use chaperone_tests::stage::{Setting, Stage};
use std::collections::BTreeSet;
use std::path::Path;

/// A stage whose only check plugin is the hostile one.
async fn stage() -> (Stage, String) {
    let more_plugins = vec![hostile_entry().unwrap()];
    let stage = Stage::start(Setting { plugins: "mask, trigger".into(), more_plugins, ..Setting::default() });
    let stage = stage.await.unwrap();
    let token = stage.agent_with_window().unwrap();
    (stage, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_the_host_does_not_know_are_the_worst_case() {
    let (mut stage, token) = stage().await;
    let psql = |script: &str| {
        let ran = stage.psql(&token).unwrap().run(script).unwrap();
        (ran.stdout, ran.stderr)
    };
    for word in ["class-foreign", "nothing-at-all"] {
        // A computed column: no relation was named, and that is not believed.
        let (out, err) = psql(&format!("select 'x' || ssn from customers /* hostile:{word} */ limit 1;"));
        assert!(out.is_empty() && err.contains("ERROR"), "{word}: {out} {err}");
        // What has an origin is shown by it, as ever.
        let (out, err) =
            psql(&format!("select id, ssn from customers /* hostile:{word} */ order by id limit 1;"));
        assert_eq!((out.trim(), err.as_str()), ("1|[redacted]", ""), "{word}");
        // Refused before it writes, because it returns.
        let insert = "insert into orders (customer_id, item, total, status) values (1, 'FOREIGN', 1, 'open')";
        let (out, err) = psql(&format!("{insert} /* hostile:{word} */ returning 'x' || item;"));
        assert!(out.is_empty() && err.contains("ERROR"), "{word}: {out} {err}");
        assert_eq!(stage.real("select count(*) from orders where item = 'FOREIGN'").unwrap().trim(), "0");
        // It may be a COPY FROM STDIN, and then what follows it waits.
        let (out, err) = psql(&format!(
            "copy orders (customer_id, item, total, status) /* hostile:{word} */ from stdin;\n1\tCOPIED\t1\topen\n\\.\nselect 7 /* hostile:class-select */;\n"
        ));
        assert_eq!((out.trim(), err.as_str()), ("7", ""), "{word}");
    }
    assert_eq!(stage.real("select count(*) from orders where item = 'COPIED'").unwrap().trim(), "2");
    // Approval of a text without its parameters: refused, not asked for.
    let (_, err) = psql("prepare q as delete from orders /* hostile:class-foreign-risky */ where id = $1;");
    assert!(err.contains("cannot be run by PREPARE and EXECUTE in SQL"), "{err}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_the_host_knows_is_taken_at_its_word() {
    let (mut stage, token) = stage().await;
    // The counterpart: whoever uses the vocabulary is believed, and answers for it.
    let sql = "select 'x' || city from customers /* hostile:class-select */ order by id limit 1;";
    let ran = stage.psql(&token).unwrap().run(sql).unwrap();
    assert_eq!((ran.stdout.trim(), ran.stderr.as_str()), ("xLeeds", ""));
    stage.stop().await;
}

/// A mask in another language must not have to know which words the host knows.
#[tokio::test]
async fn a_word_that_is_none_reaches_masks_as_unknown() {
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    for (class, classes, told) in [
        ("select", &["select"][..], "select select"),
        ("delete.no-where", &["explain", "delete.no-where"], "delete.no-where explain delete.no-where"),
        (UNKNOWN, &[UNKNOWN], "unknown unknown"),
        ("reads", &["reads"], "unknown unknown"),
        ("Select", &["Select"], "unknown unknown"),
        ("copy", &["copy"], "unknown unknown"),
        ("selected", &["selected"], "unknown unknown"),
        // One word among others is enough, and so is none.
        ("select", &["select", "reads"], "unknown unknown"),
        ("reads", &["select"], "unknown unknown"),
        ("select", &[], "unknown unknown"),
    ] {
        let statement = StatementFacts {
            class: class.into(),
            classes: classes.iter().map(|class| (*class).into()).collect(),
            functions: vec![FunctionRef { schema: None, name: "hostile:use-tell".into() }],
            ..StatementFacts::unknown()
        };
        let answer = session.check_use(&[statement], &Surroundings::default(), 0).await.unwrap();
        let Use::Refuse(why) = answer.permission else { panic!("{class}: {answer:?}") };
        assert_eq!(why.reason, told, "{class}, {classes:?}");
    }
}

/// It names what it reads and writes, and calls that by a word of its own: to column-mask it may be a write like any other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_called_by_another_word_carries_no_hidden_value_elsewhere() {
    let (mut stage, token) = stage().await;
    for word in ["class-insert-copies", "class-foreign-copies"] {
        let sql = format!(
            "insert into orders (customer_id, item, total, status) \
             select id, ssn, 1, 'open' from customers where id = 1 /* hostile:{word} */;"
        );
        let ran = stage.psql(&token).unwrap().run(&sql).unwrap();
        assert!(ran.stderr.contains("mask.copied"), "{word}: {} {}", ran.stdout, ran.stderr);
        assert_eq!(stage.real("select count(*) from orders where item like '%-%-%'").unwrap().trim(), "0");
    }
    stage.stop().await;
}

#[test]
fn every_class_of_sql_guard_is_in_the_vocabulary() {
    let source = read(Path::new("plugins/sql-guard/src/classes.rs")).unwrap();
    let table = source.split("classes! {\n").nth(1).unwrap().split("\n}").next().unwrap();
    let classes: Vec<&str> = table.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert!(classes.len() > 40, "{classes:?}");
    for class in classes {
        let facts =
            StatementFacts { class: class.into(), classes: vec![class.into()], ..StatementFacts::unknown() };
        assert_eq!(facts.understood(), class != UNKNOWN, "{class}");
    }
}

#[test]
fn the_contract_lists_the_vocabulary() {
    let contract = read(Path::new("wit/README.md")).unwrap();
    let section = contract.split("## Classes").nth(1).unwrap().split("\n## ").next().unwrap();
    for class in CLASSES.iter().chain([&UNKNOWN]) {
        assert!(section.contains(&format!("`{class}`")), "`{class}` is not in wit/README.md");
    }
}

/// A plugin cannot name the host's list, so that column-mask has one of its own: the first words, but for code that nobody looks into.
#[test]
fn column_mask_understands_what_the_host_does() {
    let source = read(Path::new("plugins/column-mask/src/reading.rs")).unwrap();
    let list = source.split("const UNDERSTOOD").nth(1).unwrap().split("\n];").next().unwrap();
    let understood: BTreeSet<&str> = list.lines().filter_map(|line| line.split('"').nth(1)).collect();
    let first_words = CLASSES.iter().filter_map(|class| class.split('.').next());
    let expected: BTreeSet<&str> = first_words.filter(|word| *word != "procedural").collect();
    assert_eq!(understood, expected);
}
