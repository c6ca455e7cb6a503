//! What a statement may not do with hidden columns, whatever it returns.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use chaperone_sdk::{Access, Context, Permission, Place, StatementFacts};
use common::*;
use serde_json::json;

/// The answer in a word, for a secret `ssn`, a `card` that needs approval, and `hr.pay.*` that anybody may choose by.
fn said(context: &Context) -> String {
    let masker = masker(json!({
        "columns": [
            {"match": "public.customers.ssn", "strategy": "partial", "secret": true},
            {"match": "*.*.card*", "strategy": "redact", "predicate": "hold"},
            {"match": "hr.pay.*", "strategy": "null"},
        ],
        "trusted": ["public.trusted"],
    }));
    let answer = check(&masker, context);
    match answer.permission {
        Permission::Allow => {
            assert_eq!((answer.risk, answer.findings.len()), (0, 0));
            "allow".to_owned()
        }
        Permission::Refuse(refusal) => refusal.rule,
        Permission::Approve(refusal) => {
            assert_eq!((answer.risk, answer.findings[0].risk), (80, 80));
            assert_eq!(answer.findings[0].rule, refusal.rule);
            format!("approve {}", refusal.rule)
        }
    }
}

/// Facts with columns at places: `p:ssn`, `o:id`, `a:x`, `x:y`.
fn at(class: &str, relations: &[&str], columns: &[&str]) -> StatementFacts {
    let names: Vec<&str> = columns.iter().map(|column| &column[2..]).collect();
    let mut found = facts(class, relations, &names);
    for (column, written) in found.columns.iter_mut().zip(columns) {
        column.place = match &written[..1] {
            "p" => Place::Predicate,
            "a" => Place::Assigned,
            "x" => Place::Other,
            _ => Place::Output,
        };
    }
    found
}

#[test]
fn nobody_decides_by_what_is_secret() {
    for (statement, expected) in [
        (at("select", &["customers"], &["p:ssn"]), "mask.predicate"),
        (at("select", &["customers"], &["o:ssn"]), "allow"),
        (at("select", &["customers"], &["o:ssn", "p:id"]), "allow"),
        (at("select", &["customers"], &["p:card"]), "approve mask.predicate"),
        (at("select", &["customers"], &["p:card", "p:ssn"]), "mask.predicate"),
        (at("select", &["hr.pay"], &["p:amount"]), "allow"),
        (at("select", &["public.orders"], &["p:ssn"]), "allow"),
        (at("select", &["archive.customers"], &["p:ssn"]), "allow"),
        // Through a view, what it shows and what it computes.
        (at("select", &["v"], &["p:s"]), "mask.predicate"),
        (at("select", &["v"], &["p:c"]), "mask.predicate"),
        (at("select", &["v"], &["p:id"]), "allow"),
        // Any column, of any relation.
        (at("select", &["customers"], &["p:"]), "mask.predicate"),
        (at("select", &["nowhere"], &["p:id"]), "mask.predicate"),
        (at("select", &["f"], &["p:a"]), "mask.predicate"),
        (at("delete", &["customers"], &["p:ssn"]), "mask.predicate"),
        (at("cursor", &["customers"], &["p:ssn"]), "mask.predicate"),
        (at("prepare", &["customers"], &["p:ssn"]), "mask.predicate"),
        (at("execute", &[], &[]), "allow"),
        (calling(at("select", &[], &[]), "query_to_xml"), "mask.predicate"),
        (at("unknown", &[], &[]), "mask.predicate"),
        (at("reads", &["public.orders"], &["o:id"]), "mask.predicate"),
        // PostgreSQL's samples are as secret as the strictest of all.
        (at("procedural", &[], &[]), "mask.copied"),
    ] {
        let shown = format!("{statement:?}");
        assert_eq!(said(&context(vec![statement])), expected, "{shown}");
    }
    assert_eq!(said(&context(vec![])), "mask.predicate", "nothing is known");
}

#[test]
fn a_function_that_nobody_has_seen_may_decide_by_anything() {
    for (unseen, expected) in
        [("public.tax", "mask.predicate"), ("public.trusted", "allow"), (".", "mask.predicate")]
    {
        let mut asked = context(vec![at("select", &["public.orders"], &["o:id"])]);
        asked.unseen = vec![source(unseen)];
        assert_eq!(said(&asked), expected, "{unseen}");
    }
}

#[test]
fn hidden_values_are_not_carried_elsewhere() {
    let writing = |mut facts: StatementFacts, target: &str| {
        let mut relation = facts.relations[0].clone();
        (relation.name, relation.access) = (target.to_owned(), Access::Write);
        facts.relations.push(relation);
        facts
    };
    let opaque = |mut facts: StatementFacts| {
        facts.opaque = true;
        facts
    };
    for (statement, expected) in [
        (writing(at("insert", &["customers"], &["x:ssn"]), "orders"), "mask.copied"),
        (writing(at("insert", &["customers"], &["x:name"]), "orders"), "allow"),
        (writing(opaque(at("insert", &["customers"], &[])), "orders"), "mask.copied"),
        (writing(at("update.no-where", &["customers"], &["x:amount", "x:ssn"]), "orders"), "mask.copied"),
        (writing(at("update", &["hr.pay"], &["x:amount"]), "orders"), "mask.copied"),
        (at("select.into", &["customers"], &["o:ssn"]), "mask.copied"),
        (at("ddl.create", &["v"], &["x:s"]), "mask.copied"),
        (at("ddl.create", &["v"], &["x:id"]), "allow"),
        // What a client brings itself is nobody's secret.
        (at("insert", &["customers"], &["a:ssn"]), "allow"),
        (at("update", &["customers"], &["a:ssn", "p:id"]), "allow"),
        // Settings, sequences, locks and clocks carry values, too, and tell what a condition met.
        (calling(at("select", &["customers"], &["o:ssn"]), "set_config"), "mask.copied"),
        (calling(at("select", &["customers"], &["p:card"]), "pg_sleep"), "mask.copied"),
        (calling(at("select", &["customers"], &["o:id"]), "pg_try_advisory_lock"), "allow"),
        (calling(at("select", &["customers"], &["o:ssn"]), "upper"), "allow"),
        (at("procedural", &[], &[]), "mask.copied"),
        // What nobody understands may be a write.
        (at("unknown", &["hr.pay"], &["x:amount"]), "mask.copied"),
        (writing(at("moves", &["hr.pay"], &["o:amount"]), "orders"), "mask.copied"),
    ] {
        let shown = format!("{statement:?}");
        assert_eq!(said(&context(vec![statement])), expected, "{shown}");
    }
    // A relation that is only written is not read, whatever hides in its rows.
    let mut insert = opaque(at("insert", &["public.orders"], &[]));
    let mut target = insert.relations[0].clone();
    (target.schema, target.name, target.access) = (None, "customers".into(), Access::Write);
    insert.relations.push(target);
    assert_eq!(said(&context(vec![insert])), "allow");
}

#[test]
fn without_column_rules_everything_may_be_used() {
    let masker = masker(json!({"content": [{"kind": "card", "strategy": "redact"}]}));
    let answer = check(&masker, &context(vec![at("procedural", &[], &[])]));
    assert!(matches!(answer.permission, Permission::Allow));
}

#[test]
fn a_refusal_names_the_rule_and_a_way_out() {
    let masker =
        masker(json!({"columns": [{"match": "public.customers.ssn", "strategy": "null", "secret": true}]}));
    let answer = check(&masker, &context(vec![at("select", &["customers"], &["p:ssn"])]));
    let Permission::Refuse(refusal) = answer.permission else { panic!("{answer:?}") };
    assert_eq!(
        refusal.reason,
        "this statement chooses or orders rows by public.customers.ssn, which is hidden"
    );
    assert!(refusal.hint.contains("It may be selected, and is then masked."));
}
