//! What the tests of this plugin share.
#![allow(dead_code)]

use chaperone_plugin_column_mask::ColumnMasker;
use chaperone_sdk::{
    Access, Answer, Change, Column, ColumnMask, ColumnOf, ColumnRef, Context, Format, FunctionRef, Lineage,
    Origin, Place, PlanRequest, Refusal, Relation, RelationColumn, RelationColumns, Session, SessionFacts,
    Source, StatementFacts, Treatment, configure,
};

pub(crate) const TEXT: u32 = 25;
pub(crate) const INT4: u32 = 23;
pub(crate) const INT8: u32 = 20;
pub(crate) const NUMERIC: u32 = 1700;
pub(crate) const DATE: u32 = 1082;
pub(crate) const JSON: u32 = 114;
pub(crate) const JSONB: u32 = 3802;
pub(crate) const UUID: u32 = 2950;
pub(crate) const TEXT_ARRAY: u32 = 1009;
pub(crate) const BYTEA: u32 = 17;
pub(crate) const CITEXT: u32 = 16400;

pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn masker(config: serde_json::Value) -> ColumnMasker {
    configure(&config.to_string()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// `schema.relation.column`; a part may be empty.
pub(crate) fn origin(text: &str) -> Origin {
    let parts: Vec<&str> = text.split('.').collect();
    Origin { schema: parts[0].into(), relation: parts[1].into(), column: parts[2].into() }
}

/// `schema.name` of a function or a foreign table; `.` where nothing is known.
pub(crate) fn source(text: &str) -> Source {
    let (schema, name) = text.split_once('.').unwrap();
    Source { schema: schema.into(), name: name.into() }
}

/// What the values are, what they may be computed from, and what nobody has seen.
pub(crate) fn lineage(origins: &[&str], reads: &[&str], unseen: &[&str]) -> Lineage {
    Lineage {
        origins: origins.iter().map(|text| origin(text)).collect(),
        reads: reads.iter().map(|text| origin(text)).collect(),
        unseen: unseen.iter().map(|text| source(text)).collect(),
    }
}

/// A column read from `schema.relation.column`, a whole row (no name for the column), or a computed one.
pub(crate) fn column(name: &str, origin: Option<&str>, type_oid: u32) -> Column {
    let lineage = match origin {
        Some(row) if row.ends_with('.') => lineage(&[], &[row], &[]),
        Some(origin) => lineage(&[origin], &[], &[]),
        None => lineage(&[], &[], &[]),
    };
    Column { name: name.into(), lineage, type_oid, format: Format::Text }
}

/// The tables of a small database.
const TABLES: [(&str, &str, &[&str]); 6] = [
    ("public", "customers", &["id", "name", "mail", "ssn", "card"]),
    ("archive", "customers", &["id", "ssn"]),
    ("public", "orders", &["id", "total"]),
    ("shop", "orders", &["id", "card_number"]),
    ("hr", "pay", &["x", "amount"]),
    ("public", "x", &["id"]),
];

/// What a catalog would tell of the relations in these statements. A view `v` shows `customers.ssn` as `s` and computes `c`
/// from it; `f` is a foreign table.
pub(crate) fn context(statements: Vec<StatementFacts>) -> Context {
    let mut relations: Vec<RelationColumns> = Vec::new();
    let copied = statements.iter().filter_map(|facts| facts.copy_out.as_ref()?.relation.as_ref());
    for relation in statements.iter().flat_map(|facts| &facts.relations).chain(copied) {
        let known = |one: &&(&str, &str, &[&str])| {
            one.1 == relation.name && relation.schema.as_ref().is_none_or(|schema| schema == one.0)
        };
        let of_table = |(schema, table, columns): &(&str, &str, &[&str])| -> Vec<RelationColumn> {
            let column = |name: &&str| RelationColumn {
                name: (*name).into(),
                lineage: lineage(&[&format!("{schema}.{table}.{name}")], &[], &[]),
            };
            columns.iter().map(column).collect()
        };
        let mut columns: Vec<RelationColumn> = TABLES.iter().filter(known).flat_map(of_table).collect();
        let special = |name: &str, lineage: Lineage| RelationColumn { name: name.into(), lineage };
        match relation.name.as_str() {
            "v" => columns.extend([
                special("id", lineage(&["public.v.id", "public.customers.id"], &[], &[])),
                special("s", lineage(&["public.v.s", "public.customers.ssn"], &[], &[])),
                special("c", lineage(&["public.v.c"], &["public.customers.ssn"], &[])),
            ]),
            "f" => columns.push(special("a", lineage(&["public.f.a"], &[], &["public.f"]))),
            _ if columns.is_empty() => columns.push(special("", lineage(&[], &[], &["."]))),
            _ => {}
        }
        relations.push(RelationColumns {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            columns,
        });
    }
    Context { statements, relations, unseen: vec![], now: 0 }
}

/// What the plugin says to statements before they run.
pub(crate) fn check(masker: &ColumnMasker, context: &Context) -> Answer {
    masker.check(&Session::from(&SessionFacts::default()), context)
}

/// Facts of a class, from relations (`schema.name` or `name`) and columns (`qualifier.name` or `name`).
pub(crate) fn facts(class: &str, relations: &[&str], columns: &[&str]) -> StatementFacts {
    let split = |text: &str| match text.split_once('.') {
        Some((first, second)) => (Some(first.to_owned()), second.to_owned()),
        None => (None, text.to_owned()),
    };
    StatementFacts {
        class: class.into(),
        classes: vec![class.into()],
        relations: relations
            .iter()
            .map(|text| split(text))
            .map(|(schema, name)| Relation { schema, name, access: Access::Read })
            .collect(),
        columns: columns
            .iter()
            .map(|text| split(text))
            .map(|(qualifier, name)| ColumnRef { qualifier, name, place: Place::Output })
            .collect(),
        functions: vec![],
        opaque: false,
        changes_session: false,
        copy_out: None,
    }
}

pub(crate) fn calling(mut facts: StatementFacts, function: &str) -> StatementFacts {
    facts.functions.push(FunctionRef { schema: None, name: function.into() });
    facts
}

pub(crate) fn plan(
    masker: &ColumnMasker,
    statements: Vec<StatementFacts>,
    columns: Vec<Column>,
) -> Vec<Treatment> {
    plan_in(masker, context(statements), columns)
}

pub(crate) fn plan_in(masker: &ColumnMasker, context: Context, columns: Vec<Column>) -> Vec<Treatment> {
    masker.plan(&Session::from(&SessionFacts::default()), &PlanRequest { context, columns })
}

/// What a client sees of one value under a treatment: None is NULL.
pub(crate) fn seen(
    masker: &ColumnMasker,
    treatment: u32,
    type_oid: u32,
    format: Format,
    value: &[u8],
) -> Result<Option<Vec<u8>>, Refusal> {
    let mut out = Vec::new();
    let column = ColumnOf { treatment, type_oid, format };
    Ok(match masker.mask_value(column, value, &mut out)? {
        Change::Kept => Some(value.to_vec()),
        Change::Replaced => Some(out),
        Change::Null => None,
    })
}
