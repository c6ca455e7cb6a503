//! Tests of the whole policy, without Wasm: configuration in, text in, answer out.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the message"
)]

mod bypass;
mod facts;
mod oracle;
mod properties;
mod rules;
mod statements;

use chaperone_plugin_sql_guard::SqlGuard;
use chaperone_sdk::{Access, Place, SqlResponse, StatementFacts, Verdict};

/// A guard with a configuration.
pub(crate) fn guard(config: &str) -> SqlGuard {
    match chaperone_sdk::configure(config) {
        Ok(guard) => guard,
        Err(errors) => panic!("{config}: {errors:?}"),
    }
}

/// The rule that refused, or `allow`.
pub(crate) fn verdict(response: &SqlResponse) -> &str {
    match &response.assessment.verdict {
        Verdict::Allow => "allow",
        Verdict::Refuse(refusal) => &refusal.rule,
    }
}

/// The facts of a text that holds one statement.
pub(crate) fn facts(text: &str) -> StatementFacts {
    let mut response = guard(r#"{"preset": "none"}"#).check_text(text);
    assert_eq!(response.statements.len(), 1, "{text}");
    assert_eq!(verdict(&response), "allow", "{text}");
    response.statements.remove(0)
}

/// Relations as `r:schema.name`, sorted.
pub(crate) fn relations(facts: &StatementFacts) -> String {
    let mut out: Vec<String> = facts
        .relations
        .iter()
        .map(|relation| {
            let access = match relation.access {
                Access::Read => 'r',
                Access::Write => 'w',
                Access::Define => 'd',
            };
            let schema = relation.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
            format!("{access}:{schema}{}", relation.name)
        })
        .collect();
    out.sort();
    out.join(" ")
}

/// Columns as `o:qualifier.name`, sorted.
pub(crate) fn columns(facts: &StatementFacts) -> String {
    let mut out: Vec<String> = facts
        .columns
        .iter()
        .map(|column| {
            let place = match column.place {
                Place::Output => 'o',
                Place::Predicate => 'p',
                Place::Assigned => 'a',
                Place::Other => 'x',
            };
            let qualifier = column.qualifier.as_ref().map(|name| format!("{name}.")).unwrap_or_default();
            format!("{place}:{qualifier}{}", column.name)
        })
        .collect();
    out.sort();
    out.join(" ")
}
