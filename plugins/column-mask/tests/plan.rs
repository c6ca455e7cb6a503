//! Which columns are hidden: by origin, and by the statement's facts where a column is computed.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use chaperone_sdk::{Column, CopyForm, CopyOut, Relation, StatementFacts, Treatment};
use common::*;
use serde_json::json;

/// Treatments in words, for rules over `public.customers.ssn`, `*.*.card*` and `hr.pay.*`.
fn treated(computed: &str, statements: Vec<StatementFacts>, columns: Vec<Column>) -> Vec<String> {
    let masker = masker(json!({
        "columns": [
            {"match": "public.customers.ssn", "strategy": "partial"},
            {"match": "*.*.card*", "strategy": "redact"},
            {"match": "hr.pay.*", "strategy": "null"},
        ],
        "content": [{"kind": "email", "strategy": "redact"}],
        "computed": computed,
    }));
    let word = |treatment| match treatment {
        Treatment::Pass => "pass".to_owned(),
        Treatment::Mask(0) => "scan".to_owned(),
        Treatment::Mask(1) => "null".to_owned(),
        Treatment::Mask(number) => format!("rule {}", number - 2),
        Treatment::Refuse(refusal) => refusal.rule,
    };
    plan(&masker, statements, columns).into_iter().map(word).collect()
}

fn computed(name: &str) -> Column {
    column(name, None, TEXT)
}

#[test]
fn a_column_with_an_origin_is_judged_by_it_alone() {
    // No facts at all: they are not needed here.
    for (origin, name, type_oid, expected) in [
        ("public.customers.ssn", "ssn", TEXT, "rule 0"),
        ("public.customers.ssn", "harmless", TEXT, "rule 0"),
        ("public.customers.ssn", "ssn", INT4, "rule 0"),
        ("public.customers.name", "ssn", TEXT, "scan"),
        ("public.customers.id", "id", INT4, "pass"),
        ("public.Customers.SSN", "ssn", TEXT, "rule 0"),
        ("archive.customers.ssn", "ssn", TEXT, "scan"),
        ("shop.orders.card_number", "x", TEXT, "rule 1"),
        ("shop.orders.discard", "x", TEXT, "scan"),
        ("hr.pay.amount", "x", NUMERIC, "rule 2"),
        ("hr.people.amount", "x", NUMERIC, "pass"),
        // PostgreSQL's own samples of the values.
        ("pg_catalog.pg_stats.most_common_vals", "x", 2277, "rule 3"),
        ("pg_catalog.pg_stats.histogram_bounds", "x", 2277, "rule 4"),
        ("pg_catalog.pg_statistic.stavalues1", "x", 2277, "rule 5"),
        ("pg_catalog.pg_stats.attname", "x", 19, "scan"),
    ] {
        let seen = treated("refuse", vec![], vec![column(name, Some(origin), type_oid)]);
        assert_eq!(seen, [expected], "{origin} as {name}");
    }
}

#[test]
fn the_first_rule_that_matches_wins() {
    let masker = masker(json!({"columns": [
        {"match": "public.customers.card", "strategy": "partial"},
        {"match": "*.*.card", "strategy": "null"},
    ]}));
    let columns =
        vec![column("a", Some("public.customers.card"), TEXT), column("b", Some("public.x.card"), TEXT)];
    let planned = plan(&masker, vec![], columns);
    assert!(matches!(planned[..], [Treatment::Mask(2), Treatment::Mask(3)]), "{planned:?}");
}

#[test]
fn a_computed_column_is_judged_by_what_the_statement_could_have_read() {
    let opaque = |mut facts: StatementFacts| {
        facts.opaque = true;
        facts
    };
    let copy = |mut facts: StatementFacts| {
        facts.copy_out = Some(CopyOut { relation: None, columns: vec![], format: "text".into(), form: None });
        facts
    };
    let described = |mut facts: StatementFacts, relation: Option<Relation>| {
        let null = "\\N".to_owned();
        let form = CopyForm {
            delimiter: b'\t',
            quote: b'"',
            escape: b'"',
            null,
            header: false,
            query: Some((6, 7)),
        };
        facts.copy_out = Some(CopyOut { relation, columns: vec![], format: "text".into(), form: Some(form) });
        facts
    };
    let cases: Vec<(&str, Vec<StatementFacts>, &str)> = vec![
        // The hidden column is named, however the relation is written.
        ("ssn || ''", vec![facts("select", &["public.customers"], &["ssn"])], "mask.computed"),
        ("upper(c.ssn)", vec![facts("select", &["public.customers"], &["c.ssn"])], "mask.computed"),
        ("unqualified", vec![facts("select", &["customers"], &["ssn"])], "mask.computed"),
        ("in capitals", vec![facts("select", &["Public.CUSTOMERS"], &["SSN"])], "mask.computed"),
        ("another schema", vec![facts("select", &["archive.customers"], &["ssn"])], "scan"),
        ("another relation", vec![facts("select", &["public.orders"], &["ssn"])], "scan"),
        ("another column", vec![facts("select", &["public.customers"], &["name"])], "scan"),
        ("named by anyone", vec![facts("select", &["shop.orders"], &["card_number"])], "mask.computed"),
        ("joined", vec![facts("select", &["orders", "customers"], &["o.id", "c.ssn"])], "mask.computed"),
        ("joined, not named", vec![facts("select", &["orders", "customers"], &["o.id", "c.id"])], "scan"),
        ("only in the condition", vec![facts("select", &["customers"], &["id", "ssn"])], "mask.computed"),
        // Rules over a whole table.
        ("any column of hr.pay", vec![facts("select", &["hr.pay"], &["x"])], "mask.computed"),
        ("count(*) of hr.pay", vec![facts("select", &["hr.pay"], &[])], "scan"),
        ("nothing read", vec![facts("select", &[], &[])], "scan"),
        ("function of rows", vec![calling(facts("select", &[], &["x"]), "generate_series")], "scan"),
        // Aggregates.
        ("count(*)", vec![facts("select", &["public.customers"], &[])], "scan"),
        ("max(ssn)", vec![facts("select", &["public.customers"], &["ssn"])], "mask.computed"),
        // Rows and inner stars.
        ("row_to_json(c)", vec![opaque(facts("select", &["public.customers"], &["c"]))], "mask.computed"),
        ("inner star over others", vec![opaque(facts("select", &["public.orders"], &[]))], "scan"),
        ("inner star over any orders", vec![opaque(facts("select", &["orders"], &[]))], "mask.computed"),
        // Views, and what the catalog does not know.
        ("upper(s) of a view", vec![facts("select", &["v"], &["s"])], "mask.computed"),
        ("what the view computes", vec![facts("select", &["v"], &["c"])], "mask.computed"),
        ("another column of the view", vec![facts("select", &["v"], &["id"])], "scan"),
        ("a foreign table", vec![facts("select", &["f"], &["a"])], "mask.computed"),
        ("a relation that is not there", vec![facts("select", &["nowhere"], &[])], "mask.computed"),
        ("any column", vec![facts("select", &["customers"], &[""])], "mask.computed"),
        // Nobody knows.
        ("no facts", vec![], "mask.computed"),
        ("fetch", vec![facts("cursor", &[], &[])], "mask.computed"),
        ("a cursor that names something", vec![facts("cursor", &["customers"], &["id"])], "mask.computed"),
        ("execute", vec![facts("execute", &[], &[])], "mask.computed"),
        ("a class that names nothing", vec![facts("procedural", &[], &[])], "mask.computed"),
        ("show", vec![facts("session.show", &[], &[])], "scan"),
        ("query_to_xml", vec![calling(facts("select", &[], &[]), "query_to_xml")], "mask.computed"),
        ("dblink", vec![calling(facts("select", &["orders"], &["x"]), "dblink_exec")], "mask.computed"),
        // Several statements count together.
        (
            "first of two",
            vec![facts("select", &["customers"], &["ssn"]), facts("select", &[], &[])],
            "mask.computed",
        ),
        (
            "split over two",
            vec![facts("select", &["customers"], &[]), facts("select", &["x"], &["ssn"])],
            "mask.computed",
        ),
        (
            "in a transaction",
            vec![facts("transaction", &[], &[]), facts("select", &["customers"], &["id"])],
            "scan",
        ),
        ("copy of a query", vec![copy(facts("copy.to", &["customers"], &["id"]))], "mask.computed"),
        ("as a select", vec![described(facts("copy.out", &["public.customers"], &["id"]), None)], "scan"),
        ("as a select of nothing", vec![described(facts("copy.out", &[], &[]), None)], "scan"),
        (
            "copy of a table, whose columns are not named",
            vec![described(facts("copy.out", &[], &[]), facts("", &["customers"], &[]).relations.pop())],
            "mask.computed",
        ),
    ];
    for (name, statements, expected) in cases {
        assert_eq!(treated("refuse", statements, vec![computed("?column?")]), [expected], "{name}");
    }
}

#[test]
fn an_inner_star_over_other_relations_taints_only_rules_that_could_match() {
    let masker = masker(json!({"columns": [{"match": "public.customers.ssn", "strategy": "null"}]}));
    let mut orders = facts("select", &["public.orders"], &[]);
    orders.opaque = true;
    let planned = plan(&masker, vec![orders], vec![computed("x")]);
    assert!(matches!(planned[..], [Treatment::Pass]), "{planned:?}");
}

#[test]
fn the_name_of_a_result_column_adds_doubt_and_never_takes_it_away() {
    let customers = || vec![facts("select", &["customers"], &[])];
    // A natural join or a set operation over `*` computes columns that the statement does not name.
    assert_eq!(treated("refuse", customers(), vec![computed("ssn")]), ["mask.computed"]);
    assert_eq!(treated("refuse", customers(), vec![computed("count")]), ["scan"]);
    let named = vec![facts("select", &["customers"], &["ssn"])];
    assert_eq!(treated("refuse", named, vec![computed("count")]), ["mask.computed"]);
    // A rule over all columns of a table says nothing about names.
    assert_eq!(treated("refuse", vec![facts("select", &["hr.pay"], &[])], vec![computed("count")]), ["scan"]);
}

#[test]
fn a_whole_row_counts_as_computed() {
    let row = column("c", Some("public.customers."), 16500);
    assert_eq!(
        treated("refuse", vec![facts("select", &["customers"], &["ssn"])], vec![row]),
        ["mask.computed"]
    );
}

#[test]
fn the_policy_for_computed_columns_is_followed() {
    let tainted = || vec![facts("select", &["customers"], &["ssn"])];
    for (policy, type_oid, expected) in [
        ("refuse", TEXT, "mask.computed"),
        ("mask", TEXT, "null"),
        ("mask", DATE, "null"),
        ("scan", TEXT, "scan"),
        ("scan", JSON, "scan"),
        // What cannot be searched is not shown.
        ("scan", DATE, "mask.unmaskable"),
        ("scan", INT8, "mask.unmaskable"),
    ] {
        let seen = treated(policy, tainted(), vec![column("x", None, type_oid)]);
        assert_eq!(seen, [expected], "{policy} on {type_oid}");
    }
}

#[test]
fn the_strictest_of_several_rules_decides_about_a_computed_column() {
    let planned = |first: &str, second: &str| {
        let masker = masker(json!({
            "columns": [
                {"match": "public.customers.ssn", "strategy": "null", "computed": first},
                {"match": "public.customers.card", "strategy": "null", "computed": second},
            ],
            "content": [{"kind": "card", "strategy": "redact"}],
            "computed": "scan",
        }));
        let statement = facts("select", &["public.customers"], &["ssn", "card"]);
        match plan(&masker, vec![statement], vec![computed("x")]).remove(0) {
            Treatment::Refuse(refusal) => refusal.reason,
            other => format!("{other:?}"),
        }
    };
    assert_eq!(planned("scan", "mask"), "Treatment::Mask(1)");
    assert_eq!(planned("scan", "scan"), "Treatment::Mask(0)");
    assert_eq!(
        planned("mask", "refuse"),
        "a computed column may hold values of public.customers.card, which is hidden"
    );
    assert_eq!(
        planned("refuse", "mask"),
        "a computed column may hold values of public.customers.ssn, which is hidden"
    );
}

#[test]
fn each_column_gets_its_own_treatment_in_order() {
    let columns = vec![
        column("id", Some("public.customers.id"), INT4),
        column("ssn", Some("public.customers.ssn"), TEXT),
        column("mail", Some("public.customers.mail"), TEXT),
        computed("upper"),
    ];
    let statement = facts("select", &["customers"], &["id", "ssn", "mail", "ssn"]);
    assert_eq!(treated("mask", vec![statement], columns), ["pass", "rule 0", "scan", "null"]);
    assert!(treated("mask", vec![], vec![]).is_empty());
}

#[test]
fn without_column_rules_nothing_is_refused() {
    let masker = masker(json!({"content": [{"kind": "card", "strategy": "redact"}]}));
    let columns =
        [TEXT, DATE, INT4, INT8, NUMERIC, JSON, UUID, TEXT_ARRAY, BYTEA].map(|oid| column("x", None, oid));
    let planned: Vec<bool> = plan(&masker, vec![], columns.to_vec())
        .into_iter()
        .map(|treatment| match treatment {
            Treatment::Mask(0) => true,
            Treatment::Pass => false,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(planned, [true, false, false, true, true, true, false, true, true]);
}

#[test]
fn a_refusal_says_which_rule_and_what_to_do() {
    let masker = masker(json!({"columns": [{"match": "public.customers.ssn", "strategy": "null"}]}));
    let Treatment::Refuse(refusal) = plan(&masker, vec![], vec![computed("x")]).remove(0) else { panic!() };
    assert_eq!(
        refusal.hint,
        "Select the column itself, which is returned masked, or leave it out of the statement."
    );
}

#[test]
fn a_column_is_judged_by_all_that_is_behind_it() {
    for (column, expected) in [
        (lineage(&["public.v.s", "public.customers.ssn"], &[], &[]), "rule 0"),
        (lineage(&["public.part_1.ssn", "public.customers.ssn"], &[], &[]), "rule 0"),
        // The first rule of all that match.
        (lineage(&["x.y.card", "public.customers.ssn"], &[], &[]), "rule 0"),
        (lineage(&["public.v.c"], &["public.customers.ssn"], &[]), "mask.computed"),
        (lineage(&["public.v.c"], &["public.customers."], &[]), "mask.computed"),
        (lineage(&["public.v.c"], &["public.orders.total"], &[]), "scan"),
        // Its own rule says how it looks, whatever it was computed from.
        (lineage(&["public.v.card_4"], &["public.customers.ssn"], &[]), "rule 1"),
        (lineage(&["public.v.c"], &[], &["public.tax"]), "mask.computed"),
        (lineage(&["public.v.c"], &[], &["public.trusted"]), "scan"),
        (lineage(&["public.v.c"], &[], &["public.trusted", "public.tax"]), "mask.computed"),
        (lineage(&["public.v.c"], &[], &["."]), "mask.computed"),
        // Too many relations to name them: any relation's column of that name.
        (lineage(&["public.parent.ssn", "..ssn"], &[], &[]), "rule 0"),
        (lineage(&["public.parent.id", "..id"], &[], &[]), "rule 2"),
        (lineage(&[], &[], &["."]), "mask.computed"),
    ] {
        let masker = masker(json!({
            "columns": [
                {"match": "public.customers.ssn", "strategy": "partial"},
                {"match": "*.*.card*", "strategy": "redact"},
                {"match": "hr.pay.*", "strategy": "null"},
            ],
            "content": [{"kind": "email", "strategy": "redact"}],
            "trusted": ["public.trusted"],
        }));
        let shown = format!("{column:?}");
        let column = Column { lineage: column, ..computed("x") };
        let statement = facts("select", &["public.orders"], &[]);
        let seen = match plan(&masker, vec![statement], vec![column]).remove(0) {
            Treatment::Mask(0) => "scan".to_owned(),
            Treatment::Mask(number) => format!("rule {}", number - 2),
            Treatment::Refuse(refusal) => refusal.rule,
            other => format!("{other:?}"),
        };
        assert_eq!(seen, expected, "{shown}");
    }
}

#[test]
fn a_function_that_nobody_has_seen_may_read_anything() {
    let planned = |trusted: serde_json::Value, unseen: &[&str]| {
        let masker = masker(json!({
            "columns": [{"match": "public.customers.ssn", "strategy": "null"}],
            "trusted": trusted,
        }));
        let mut context = context(vec![facts("select", &["public.orders"], &["id"])]);
        context.unseen = unseen.iter().map(|text| source(text)).collect();
        match plan_in(&masker, context, vec![computed("x")]).remove(0) {
            Treatment::Refuse(refusal) => format!("{} {}", refusal.reason, refusal.hint),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(planned(json!([]), &[]), "Treatment::Pass");
    assert_eq!(
        planned(json!([]), &["public.tax"]),
        "public.tax may read anything, also public.customers.ssn, which is hidden \
         If public.tax returns nothing hidden, an operator may list it under `trusted`."
    );
    assert_eq!(planned(json!(["PUBLIC.t*"]), &["public.tax"]), "Treatment::Pass");
    // Where nothing could be found out, no name is trusted.
    assert!(planned(json!(["a.b"]), &["."]).starts_with("a computed column may hold"));
}

#[test]
fn a_value_that_is_written_is_not_read() {
    let mut insert = facts("insert", &["public.customers"], &["ssn", "id"]);
    insert.columns[0].place = chaperone_sdk::Place::Assigned;
    assert_eq!(treated("refuse", vec![insert], vec![computed("id")]), ["scan"]);
}
