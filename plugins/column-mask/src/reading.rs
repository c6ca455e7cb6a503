//! What statements may have read of the hidden columns, from the facts about them and the lineage of their relations.
//!
//! All statements of a text count together: which of them a result belongs to is not known.

use crate::rules::{Held, Rules};
use chaperone_sdk::{Access, ColumnRef, Context, Glob, Place, RelationColumns, StatementFacts};

/// Functions that run SQL given to them as text, or read a table given by name: what they read is in no facts.
pub const RUN_SQL: [&str; 10] = [
    "query_to_xml*",
    "table_to_xml*",
    "schema_to_xml*",
    "database_to_xml*",
    "cursor_to_xml*",
    "ts_stat",
    "ts_rewrite",
    "dblink*",
    "crosstab*",
    "connectby",
];

/// Statements that may name nothing and still be understood. Any other that names nothing (`FETCH`, `EXECUTE`) returns
/// what an earlier statement has said.
const SELF_CONTAINED: [&str; 4] = ["select", "session", "transaction", "listen"];

/// What a computed column of these statements may hold.
pub fn values(rules: &Rules, context: &Context) -> Held {
    if context.statements.is_empty() || context.statements.iter().any(hides_its_source) {
        return Held::everything();
    }
    let opaque = context.statements.iter().any(|facts| facts.opaque || copies_unnamed(facts));
    let mut held = columns(rules, context, |place| place != Place::Assigned, opaque);
    held.add_sources(rules, &context.unseen);
    held
}

/// Whether it is a COPY whose columns are not all named in its facts, or not known to be.
fn copies_unnamed(facts: &StatementFacts) -> bool {
    facts.copy_out.as_ref().is_some_and(|copy| copy.relation.is_some() || copy.form.is_none())
}

/// What columns of one name may hold, in the relations that are read.
pub fn named(rules: &Rules, context: &Context, name: &str) -> Held {
    let mut held = Held::default();
    for relation in read(context) {
        for column in relation.columns.iter().filter(|column| column.name == name) {
            held.add(rules, &column.lineage);
        }
    }
    held
}

/// What is held by the columns that are named in these places; `all` columns where the names cannot be complete.
pub fn columns(rules: &Rules, context: &Context, counts: impl Fn(Place) -> bool, all: bool) -> Held {
    let named: Vec<&str> = context
        .statements
        .iter()
        .flat_map(|facts| &facts.columns)
        .filter(|column: &&ColumnRef| counts(column.place))
        .map(|column| column.name.as_str())
        .collect();
    // An empty name may be any, on either side.
    let all = all || named.contains(&"");
    let mut held = Held::default();
    for relation in read(context) {
        let is_named = |name: &str| all || named.contains(&name) || name.is_empty();
        for column in relation.columns.iter().filter(|column| is_named(&column.name)) {
            held.add(rules, &column.lineage);
        }
    }
    held
}

/// Whether a statement's own facts cannot say what it reads.
pub fn hides_its_source(facts: &StatementFacts) -> bool {
    let mut segments = facts.class.split(['.', '-']);
    let names_nothing = facts.relations.is_empty() && facts.columns.is_empty() && facts.functions.is_empty();
    let tells_all = segments.next().is_some_and(|first| SELF_CONTAINED.contains(&first))
        || facts.copy_out.is_some() && !copies_unnamed(facts);
    (names_nothing && !tells_all)
        || facts.class.split(['.', '-']).any(|part| matches!(part, "fetch" | "cursor" | "execute"))
        || calls(facts, &RUN_SQL)
}

/// Whether a statement calls a function with one of these names.
pub fn calls(facts: &StatementFacts, names: &[&str]) -> bool {
    let is = |name: &str| names.iter().any(|text| Glob::new(text).is_ok_and(|glob| glob.matches(name)));
    facts.functions.iter().any(|function| is(&function.name))
}

/// The relations of which rows are read. One that is only written, or defined, tells nothing.
fn read(context: &Context) -> impl Iterator<Item = &RelationColumns> {
    let is_read = |relation: &&RelationColumns| {
        let same = |schema: &Option<String>, name: &str| *schema == relation.schema && name == relation.name;
        context.statements.iter().any(|facts| {
            let reads = facts.relations.iter().filter(|one| one.access == Access::Read);
            let copied = facts.copy_out.iter().filter_map(|copy| copy.relation.as_ref());
            reads.chain(copied).any(|one| same(&one.schema, &one.name))
        })
    };
    context.relations.iter().filter(is_read)
}

/// Beginnings of the classes that say what a statement is (`wit/README.md`), but for `procedural`.
const UNDERSTOOD: [&str; 23] = [
    "copy",
    "cursor",
    "ddl",
    "delete",
    "empty",
    "execute",
    "explain",
    "function",
    "insert",
    "listen",
    "lock",
    "maintenance",
    "merge",
    "notify",
    "prepare",
    "privilege",
    "role",
    "select",
    "session",
    "system",
    "transaction",
    "truncate",
    "update",
];

/// Whether nobody can tell what a statement does: it runs code that is not looked into, or is of no class that is known.
pub fn is_unseen(facts: &StatementFacts) -> bool {
    let known = |class: &str| class.split('.').next().is_some_and(|first| UNDERSTOOD.contains(&first));
    facts.classes.is_empty() || !std::iter::once(&facts.class).chain(&facts.classes).all(|class| known(class))
}

/// Whether a statement runs code: `DO`, `CALL`.
pub fn runs_code(facts: &StatementFacts) -> bool {
    facts.classes.iter().any(|class| class.split('.').next() == Some("procedural"))
}
