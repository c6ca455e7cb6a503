//! `SET`, `RESET` and `set_config`: which of them change who the session is, or how its texts are read.
//!
//! Two settings decide what a text means before any parser sees it. With `standard_conforming_strings` off, a
//! backslash may hide the end of a string; with a `client_encoding` other than UTF-8, a byte may. After either
//! change this check would read something else than the server, so both are refused whatever the rules say.

use crate::classes::Class;
use crate::names::fold;
use crate::tree::Node;
use squawk_parser::SyntaxKind as K;
use std::borrow::Cow;

/// The statement would change how later texts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangesReading;

/// The class of `SET` or `RESET`.
pub(crate) fn class_of(statement: Node<'_>, plain: Class) -> Result<Class, ChangesReading> {
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
        return Err(ChangesReading);
    }
    Ok(plain)
}

/// The class of a call of `set_config(name, value, local)`: the name must be there to be read.
pub(crate) fn class_of_set_config(call: Node<'_>) -> Result<Class, ChangesReading> {
    let name = call
        .child(K::ARG_LIST)
        .and_then(|list| list.child(K::ARG))
        .and_then(|argument| argument.children().next())
        .filter(|first| first.kind() == K::LITERAL)
        .and_then(plain_string)
        .ok_or(ChangesReading)?
        .to_ascii_lowercase();
    if is_reading(&name) {
        return Err(ChangesReading);
    }
    Ok(if is_identity(&name) { Class::Role } else { Class::FunctionAdmin })
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
    let Some(list) = statement.subtree().find(|node| node.kind() == K::TO_CONFIG_VALUE) else { return false };
    let mut values = list.children().filter(|node| !matches!(node.kind(), K::TO_KW | K::EQ));
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
