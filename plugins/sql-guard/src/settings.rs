//! `SET`, `RESET` and `set_config`: which of them change who the session is, or how its texts are read.
//!
//! Two settings decide what a text means before any parser sees it. With `standard_conforming_strings` off, a
//! backslash may hide the end of a string; with a `client_encoding` other than UTF-8, a byte may. After either
//! change this check would read something else than the server, so both are refused whatever the rules say.
//!
//! A third decides what a function is: `search_path`. PostgreSQL looks into `pg_catalog` first unless the path puts another
//! schema before it (manual, 5.10.5); then `lower(x)` may be anybody's, and no name says anything. That is refused as well.

use crate::classes::Class;
use crate::names::fold;
use crate::tree::Node;
use squawk_parser::SyntaxKind as K;
use std::borrow::Cow;

/// What a setting must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forbidden {
    /// Change how later texts are read.
    Reading,
    /// Change what the names of PostgreSQL's own functions and operators mean.
    Names,
}

/// The class of `SET` or `RESET`.
pub(crate) fn class_of(statement: Node<'_>, plain: Class) -> Result<Class, Forbidden> {
    let Some(parameter) = statement.subtree().find(|node| node.kind() == K::CONFIG_PARAMETER_REF) else {
        return Ok(plain);
    };
    let name = dotted(parameter);
    if is_identity(&name) {
        return Ok(Class::Role);
    }
    // Back to what the session started with, which the host has checked.
    let resets = plain == Class::SessionReset || statement.contains(K::DEFAULT_KW);
    if is_reading(&name) && !resets && !keeps_reading(&name, statement) {
        return Err(Forbidden::Reading);
    }
    if name == "search_path" && hides_catalog(values(statement).map(schema_of)) {
        return Err(Forbidden::Names);
    }
    Ok(plain)
}

/// The class of a call of `set_config(name, value, local)`: the name must be there to be read.
pub(crate) fn class_of_set_config(call: Node<'_>) -> Result<Class, Forbidden> {
    let list = call.child(K::ARG_LIST).into_iter().flat_map(Node::children);
    let mut arguments = list
        .filter(|argument| argument.kind() == K::ARG)
        .map(|argument| argument.children().next().filter(|first| first.kind() == K::LITERAL));
    let name =
        arguments.next().flatten().and_then(plain_string).ok_or(Forbidden::Reading)?.to_ascii_lowercase();
    if is_reading(&name) {
        return Err(Forbidden::Reading);
    }
    if name == "search_path" {
        // Here the value is the whole list, in one string.
        let path = arguments.next().flatten().and_then(plain_string).ok_or(Forbidden::Names)?;
        if hides_catalog(path.split(',').map(|schema| Some(fold(schema.trim())))) {
            return Err(Forbidden::Names);
        }
    }
    Ok(match name.as_str() {
        name if is_identity(name) => Class::Role,
        // asyncpg turns it off before it asks for the types of a statement, and on again by a parameter, which is a literal
        // to the parser. It changes no answer, and no row has been read for it.
        "jit" if arguments.next().flatten().is_some() => Class::SessionSet,
        _ => Class::FunctionAdmin,
    })
}

/// What pg_dump of 17 and later, and of the security releases of August 2024 (CVE-2024-7348), says first: the one call
/// whose setting is named by a condition, since a server that lacks the setting then returns no row.
const OF_PG_DUMP: [&str; 15] = [
    "SELECT",
    "set_config",
    "(",
    "name",
    ",",
    "'view, foreign-table'",
    ",",
    "false",
    ")",
    "FROM",
    "pg_settings",
    "WHERE",
    "name",
    "=",
    "'restrict_nonsystem_relation_kind'",
];

/// Whether a whole statement is that one, word for word: it sets nothing that decides how a text is read.
pub(crate) fn is_of_pg_dump(statement: Node<'_>) -> bool {
    let words =
        statement.subtree().filter(|node| node.is_token() && node.kind() != K::SEMICOLON).map(Node::text);
    words.eq(OF_PG_DUMP)
}

/// Whether a `search_path` has another schema before `pg_catalog`. One that cannot be read (`None`) may have: fails closed.
fn hides_catalog<'p>(path: impl Iterator<Item = Option<Cow<'p, str>>>) -> bool {
    path.enumerate().any(|(place, schema)| schema.is_none_or(|schema| place > 0 && schema == "pg_catalog"))
}

/// The schema that a value of `SET search_path` names.
fn schema_of(value: Node<'_>) -> Option<Cow<'_, str>> {
    match value.kind() {
        K::LITERAL => plain_string(value).map(Cow::Borrowed),
        _ => Some(fold(value.text())),
    }
}

/// The values of a `SET`.
fn values<'a>(statement: Node<'a>) -> impl Iterator<Item = Node<'a>> {
    let list = statement.subtree().find(|node| node.kind() == K::TO_CONFIG_VALUE);
    let words = |node: &Node<'_>| !matches!(node.kind(), K::TO_KW | K::EQ | K::COMMA);
    list.into_iter().flat_map(Node::children).filter(words)
}

/// The value of a literal that is one plain `'…'` without any escape; `None` for every other one.
pub(crate) fn plain_string(literal: Node<'_>) -> Option<&str> {
    let mut tokens = literal.children();
    let token = tokens.next().filter(|token| token.kind() == K::STRING)?;
    let value = token.text().strip_prefix('\'')?.strip_suffix('\'')?;
    (tokens.next().is_none() && !value.contains(['\'', '\\'])).then_some(value)
}

fn dotted(parameter: Node<'_>) -> String {
    // Names of settings ignore case, also in double quotes.
    let parts = parameter.subtree().filter(|token| token.is_token() && token.kind() != K::DOT);
    let parts: Vec<Cow<'_, str>> = parts.map(|token| fold(token.text())).collect();
    parts.join(".").to_ascii_lowercase()
}

fn is_identity(name: &str) -> bool {
    matches!(name, "role" | "session_authorization")
}

fn is_reading(name: &str) -> bool {
    matches!(name, "standard_conforming_strings" | "client_encoding")
}

fn keeps_reading(name: &str, statement: Node<'_>) -> bool {
    let mut values = values(statement);
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let value = match value.kind() {
        K::LITERAL => plain_string(value).unwrap_or_else(|| value.text()),
        _ => value.text(),
    };
    let accepted: &[&str] = match name {
        "standard_conforming_strings" => &["on", "true", "yes", "1"],
        _ => &["utf8", "utf-8", "utf_8", "unicode"],
    };
    accepted.iter().any(|accepted| value.eq_ignore_ascii_case(accepted))
}
