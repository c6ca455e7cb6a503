//! What `COPY … TO STDOUT` sends, and how its rows are written.
//!
//! The host reads the rows by what is said here, to mask them. A delimiter taken for another one would show a hidden value as
//! the rest of its neighbour, so an option counts only where there is one reading of it; any other leaves the form
//! out, and the host refuses what it would have to mask. What may go wrong: options that PostgreSQL gains and we do not
//! know. They are left out as well.

use super::Fault;
use crate::classes::Class;
use crate::names::{Path, fold};
use crate::tree::Node;
use chaperone_sdk::{Access, CopyForm, CopyOut, Relation};
use squawk_parser::SyntaxKind as K;
use std::borrow::Cow;

/// `PROGRAM` and files of the server are told apart from the wire, whichever way round it is written.
pub(super) fn class(copy: Node<'_>) -> Result<Class, Fault> {
    let (direction, class) = match (copy.child(K::COPY_TO), copy.child(K::COPY_FROM)) {
        (Some(to), None) => (to, Class::CopyOut),
        (None, Some(from)) => (from, Class::CopyIn),
        _ => return Err(Fault::Unreadable),
    };
    if direction.contains(K::PROGRAM_KW) {
        return Ok(Class::CopyProgram);
    }
    let wire = direction.child(K::COPY_STDOUT).is_some() || direction.child(K::COPY_STDIN).is_some();
    Ok(if wire { class } else { Class::CopyFile })
}

/// What `COPY … TO STDOUT` sends.
pub(super) fn copy_out(copy: Node<'_>) -> Result<Option<CopyOut>, Fault> {
    if class(copy)? != Class::CopyOut {
        return Ok(None);
    }
    let table = copy.child(K::COPY_TABLE);
    let relation =
        table.and_then(|table| table.child(K::TABLE_NAME_REF)).and_then(Path::of).map(|path| Relation {
            schema: path.schema.map(|schema| schema.into_owned()),
            name: path.name.into_owned(),
            access: Access::Read,
        });
    let list = table.and_then(|table| table.child(K::COLUMN_REF_LIST));
    let columns =
        list.into_iter().flat_map(Node::children).filter(|column| column.kind() == K::COLUMN_NAME_REF);
    let columns = columns.map(|column| fold(column.text()).into_owned()).collect();
    let format = format(copy)?;
    let form = form(copy, &format);
    Ok(Some(CopyOut { relation, columns, format, form }))
}

fn format(copy: Node<'_>) -> Result<String, Fault> {
    let mut format = "text".to_owned();
    if is_binary(copy) {
        format = "binary".to_owned();
    }
    for legacy in copy.children().filter(|option| option.kind() == K::COPY_LEGACY_OPTION) {
        match legacy.children().next().map(Node::kind) {
            Some(K::CSV_KW) => format = "csv".to_owned(),
            Some(K::BINARY_KW) => format = "binary".to_owned(),
            _ => (),
        }
    }
    for option in options(copy) {
        if key(option) != "format" {
            continue;
        }
        // A format that cannot be read here cannot be masked: fails closed.
        format = word(option)
            .filter(|value| matches!(value.as_ref(), "text" | "csv" | "binary"))
            .ok_or(Fault::Unreadable)?
            .into_owned();
    }
    Ok(format)
}

/// `COPY BINARY t`, as it was written before PostgreSQL 7.3.
fn is_binary(copy: Node<'_>) -> bool {
    copy.child(K::COPY_TABLE).is_some_and(|table| table.child(K::BINARY_KW).is_some())
}

fn options<'a>(copy: Node<'a>) -> impl Iterator<Item = Node<'a>> {
    let list = copy.child(K::COPY_OPTION_LIST);
    list.into_iter().flat_map(Node::children).filter(|option| option.kind() == K::COPY_OPTION)
}

fn key(option: Node<'_>) -> Cow<'_, str> {
    fold(option.child(K::COPY_OPTION_KEY).map_or("", Node::text))
}

/// How the rows are written; none where anything about it has more than one reading, or none.
fn form(copy: Node<'_>, format: &str) -> Option<CopyForm> {
    let mut said = Said::default();
    if is_binary(copy) {
        once(&mut said.format, ())?;
    }
    for child in copy.children() {
        match child.kind() {
            K::COPY_LEGACY_OPTION => said.legacy(child)?,
            K::WHERE_CLAUSE => return None,
            _ => (),
        }
    }
    for option in options(copy) {
        said.option(option)?;
    }
    let query = match (copy.child(K::COPY_QUERY), copy.child(K::COPY_TABLE)) {
        (Some(query), None) => Some(inside(query)?),
        (None, Some(table)) if has_plain_names(table) => None,
        _ => return None,
    };
    said.form(format, query)
}

/// What is between the parentheses of a node that consists of them.
fn inside(node: Node<'_>) -> Option<(u32, u32)> {
    let text = node.text();
    let (start, end) = node.span()?;
    (text.len() >= 2 && text.starts_with('(') && text.ends_with(')')).then_some((start + 1, end - 1))
}

/// Whether all names are ones that fold in one way only, whatever the encoding of the database.
fn has_plain_names(table: Node<'_>) -> bool {
    let mut tokens = table.subtree().filter(|token| token.is_token());
    tokens.all(|token| token.text().is_ascii() || token.text().starts_with('"'))
}

/// The options that were said. PostgreSQL refuses one that is said twice; so do we, and need not know which would win.
#[derive(Default)]
struct Said {
    format: Option<()>,
    delimiter: Option<u8>,
    null: Option<String>,
    quote: Option<u8>,
    escape: Option<u8>,
    header: Option<bool>,
    force_quote: Option<()>,
    encoding: Option<()>,
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

impl Said {
    /// An option as it was written before PostgreSQL 9.0.
    fn legacy(&mut self, option: Node<'_>) -> Option<()> {
        let value = || option.child(K::LITERAL).and_then(string);
        match option.children().next()?.kind() {
            K::BINARY_KW | K::CSV_KW => once(&mut self.format, ()),
            K::HEADER_KW => once(&mut self.header, true),
            K::DELIMITER_KW => once(&mut self.delimiter, byte(&value()?)?),
            K::NULL_KW => once(&mut self.null, value()?),
            K::QUOTE_KW => once(&mut self.quote, byte(&value()?)?),
            K::ESCAPE_KW => once(&mut self.escape, byte(&value()?)?),
            K::ENCODING_KW => self.encoding(&value()?),
            K::FORCE_KW if option.child(K::FORCE_QUOTE).is_some() => once(&mut self.force_quote, ()),
            _ => None,
        }
    }

    fn option(&mut self, option: Node<'_>) -> Option<()> {
        let value = || value(option).filter(|value| value.kind() == K::LITERAL).and_then(string);
        match key(option).as_ref() {
            "format" => once(&mut self.format, ()),
            "delimiter" => once(&mut self.delimiter, byte(&value()?)?),
            "null" => once(&mut self.null, value()?),
            "quote" => once(&mut self.quote, byte(&value()?)?),
            "escape" => once(&mut self.escape, byte(&value()?)?),
            "header" => once(&mut self.header, header(option)?),
            "force_quote" => once(&mut self.force_quote, ()),
            "encoding" => self.encoding(&word(option)?),
            _ => None,
        }
    }

    /// Only what the host reads: in other encodings a byte that looks like a delimiter may be half of a character.
    fn encoding(&mut self, name: &str) -> Option<()> {
        let utf8 = ["utf8", "utf-8", "utf_8", "unicode"].iter().any(|known| name.eq_ignore_ascii_case(known));
        utf8.then(|| once(&mut self.encoding, ())).flatten()
    }

    fn form(self, format: &str, query: Option<(u32, u32)>) -> Option<CopyForm> {
        let csv = format == "csv";
        let only_csv = self.quote.is_some() || self.escape.is_some() || self.force_quote.is_some();
        let not_binary = self.delimiter.is_some() || self.null.is_some() || self.header.is_some();
        if only_csv && !csv || not_binary && format == "binary" {
            return None; // PostgreSQL refuses it
        }
        let quote = self.quote.unwrap_or(b'"');
        Some(CopyForm {
            delimiter: self.delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
            quote,
            escape: self.escape.unwrap_or(quote),
            null: self.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
            header: self.header.unwrap_or(false),
            query,
        })
    }
}

fn value(option: Node<'_>) -> Option<Node<'_>> {
    option.child(K::COPY_OPTION_VALUE)?.children().next()
}

/// A value that may be written as a word or as a string.
fn word(option: Node<'_>) -> Option<Cow<'_, str>> {
    let value = value(option)?;
    match value.kind() {
        K::LITERAL => string(value).map(Cow::Owned),
        _ => Some(fold(value.text())),
    }
}

/// `HEADER`, alone or with a value (PostgreSQL source, `defGetCopyHeaderChoice`).
fn header(option: Node<'_>) -> Option<bool> {
    let Some(value) = value(option) else {
        return option.child(K::COPY_OPTION_VALUE).is_none().then_some(true);
    };
    let word = match value.kind() {
        K::LITERAL => string(value).unwrap_or_else(|| value.text().to_owned()),
        _ => value.text().to_owned(),
    };
    match word.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The one ASCII character that a string is.
fn byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() => Some(*byte),
        _ => None,
    }
}

/// The value of a string that is written `'…'` or, with the escapes of a single letter, `E'…'`. Backslashes of the first are
/// themselves, because `standard_conforming_strings` is on (`crate::settings`).
fn string(literal: Node<'_>) -> Option<String> {
    let mut tokens = literal.children();
    let (Some(token), None) = (tokens.next(), tokens.next()) else { return None };
    let text = token.text();
    match token.kind() {
        K::STRING => unquote(text).map(|inner| inner.replace("''", "'")),
        K::ESC_STRING => unescape(unquote(text.strip_prefix(['e', 'E'])?)?),
        _ => None,
    }
}

fn unquote(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.strip_suffix('\'')
}

fn unescape(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        value.push(match character {
            '\'' => characters.next().filter(|next| *next == '\'')?,
            '\\' => match characters.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                same @ ('\\' | '\'' | '"') => same,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(value)
}
