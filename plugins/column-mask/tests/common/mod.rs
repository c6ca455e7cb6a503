//! What the tests of this plugin share.
#![allow(dead_code)]

use chaperone_plugin_column_mask::ColumnMasker;
use chaperone_sdk::{
    Access, Change, Column, ColumnMask, ColumnOf, ColumnRef, Format, FunctionRef, Origin, Place, PlanRequest,
    Refusal, Relation, Session, SessionFacts, StatementFacts, Treatment, configure,
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

/// A column read from `schema.relation.column`, or a computed one.
pub(crate) fn column(name: &str, origin: Option<&str>, type_oid: u32) -> Column {
    let origin = origin.map(|text| {
        let parts: Vec<&str> = text.split('.').collect();
        Origin { schema: parts[0].into(), relation: parts[1].into(), column: parts[2].into() }
    });
    Column { name: name.into(), origin, type_oid, format: Format::Text }
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
    let session = SessionFacts::default();
    masker.plan(&Session::from(&session), &PlanRequest { statements, columns, now: 0 })
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
