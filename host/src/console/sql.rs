//! SQL with its words marked, for the eye alone.
//!
//! The marks go around pieces of the text and change none of it: what a browser shows, selects and copies is the statement,
//! character for character. They rest on PostgreSQL's own lexical rules ("Lexical Structure" of its manual, with
//! `standard_conforming_strings` on, which sessions keep), so that a comment looks like one exactly where it is one. What may
//! go wrong: a wrong mark would mislead the eye. So nothing is left out, folded or moved because of one.

use super::text::visible;
use maud::{Markup, html};

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// A word of the language.
    Word,
    /// A word that destroys, changes or gives away.
    Strong,
    /// A string or a number.
    Literal,
    Comment,
    /// `$1`.
    Parameter,
}

/// Words that are marked, in upper case, sorted.
const WORDS: &[&str] = &[
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BEGIN",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CLOSE",
    "COMMIT",
    "CONFLICT",
    "CROSS",
    "CURSOR",
    "DECLARE",
    "DESC",
    "DISTINCT",
    "DO",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FETCH",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IF",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOCK",
    "NATURAL",
    "NOT",
    "NOTHING",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "RECURSIVE",
    "RETURNING",
    "RIGHT",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SHOW",
    "TABLE",
    "THEN",
    "TO",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
];

/// Words that a reader must not miss, in upper case, sorted.
const STRONG: &[&str] = &[
    "ALTER", "CALL", "COPY", "CREATE", "DELETE", "DROP", "EXECUTE", "GRANT", "INSERT", "MERGE", "REINDEX",
    "REVOKE", "SET", "TRUNCATE", "UPDATE", "VACUUM",
];

/// The text, marked.
pub(super) fn marked(text: &str) -> Markup {
    html! {
        @for (kind, piece) in pieces(text) {
            @match kind {
                Kind::Plain => (visible(piece)),
                Kind::Word => span.word { (visible(piece)) },
                Kind::Strong => span.strong { (visible(piece)) },
                Kind::Literal => span.literal { (visible(piece)) },
                Kind::Comment => span.comment { (visible(piece)) },
                Kind::Parameter => span.parameter { (visible(piece)) },
            }
        }
    }
}

/// The pieces; put together they are the text.
fn pieces(text: &str) -> Vec<(Kind, &str)> {
    let mut pieces: Vec<(Kind, &str)> = Vec::new();
    let mut rest = text;
    let mut plain_from = text;
    while !rest.is_empty() {
        let (kind, length) = next(rest);
        // At least one character, whatever is said: the end is always reached.
        let length = length.max(rest.chars().next().map_or(1, char::len_utf8));
        let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        if kind == Kind::Plain {
            rest = after;
            continue;
        }
        push_plain(&mut pieces, plain_from, rest);
        pieces.push((kind, piece));
        (rest, plain_from) = (after, after);
    }
    push_plain(&mut pieces, plain_from, rest);
    pieces
}

/// What lies between two suffixes of one text.
fn push_plain<'a>(pieces: &mut Vec<(Kind, &'a str)>, from: &'a str, to: &str) {
    if let Some(plain) = from.get(..from.len() - to.len()).filter(|plain| !plain.is_empty()) {
        pieces.push((Kind::Plain, plain));
    }
}

/// What the text begins with, and how many bytes of it that is.
fn next(text: &str) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or_default();
    match at(0) {
        b'-' if at(1) == b'-' => (Kind::Comment, text.find('\n').unwrap_or(text.len())),
        b'/' if at(1) == b'*' => (Kind::Comment, block_comment(bytes)),
        b'\'' => (Kind::Literal, quoted(bytes, 0, b'\'', false)),
        // A name, whatever stands in it.
        b'"' => (Kind::Plain, quoted(bytes, 0, b'"', false)),
        b'$' if at(1).is_ascii_digit() => (Kind::Parameter, 1 + digits(bytes.get(1..).unwrap_or_default())),
        b'$' => dollar_quoted(text).map_or((Kind::Plain, 1), |length| (Kind::Literal, length)),
        b'0'..=b'9' => (Kind::Literal, number(bytes)),
        first if is_name(first) => word(text),
        _ => (Kind::Plain, 0),
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// A word; or a string with a letter in front, whose form that says.
fn word(text: &str) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let part_of_name = |byte: &u8| is_name(*byte) || byte.is_ascii_digit() || *byte == b'$';
    let length = bytes.iter().take_while(|byte| part_of_name(byte)).count();
    let name = text.get(..length).unwrap_or_default().to_ascii_uppercase();
    match (name.as_str(), bytes.get(length)) {
        ("E", Some(b'\'')) => (Kind::Literal, quoted(bytes, length, b'\'', true)),
        ("B" | "X" | "N", Some(b'\'')) => (Kind::Literal, quoted(bytes, length, b'\'', false)),
        ("U", Some(b'&')) if bytes.get(length + 1) == Some(&b'\'') => {
            (Kind::Literal, quoted(bytes, length + 1, b'\'', false))
        }
        (name, _) if STRONG.binary_search(&name).is_ok() => (Kind::Strong, length),
        (name, _) if WORDS.binary_search(&name).is_ok() => (Kind::Word, length),
        _ => (Kind::Plain, length),
    }
}

/// The end of what begins with a quote at `open`; a doubled quote is part of it. Without an end it is all of the rest.
fn quoted(bytes: &[u8], open: usize, quote: u8, escapes: bool) -> usize {
    let mut at = open + 1;
    while let Some(byte) = bytes.get(at) {
        at += match *byte {
            b'\\' if escapes => 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => 2,
            byte if byte == quote => return at + 1,
            _ => 1,
        };
    }
    bytes.len()
}

/// Comments of this kind nest.
fn block_comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'/'), Some(b'*')) => (depth, at) = (depth + 1, at + 2),
            (Some(b'*'), Some(b'/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// `$tag$ … $tag$`, with or without a tag.
fn dollar_quoted(text: &str) -> Option<usize> {
    let end = text.get(1..)?.find('$')? + 2;
    let tag = text.get(..end)?;
    let name = tag.get(1..end - 1)?.as_bytes();
    let fits = name.iter().all(|byte| is_name(*byte) || byte.is_ascii_digit())
        && name.first().is_none_or(|byte| !byte.is_ascii_digit());
    if !fits {
        return None;
    }
    let body = text.get(end..)?;
    Some(body.find(tag).map_or(text.len(), |at| end + at + tag.len()))
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Digits with what may stand among them.
fn number(bytes: &[u8]) -> usize {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.' || *byte == b'_';
    bytes.iter().take_while(|byte| part(byte)).count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::string_slice)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a browser would show: without tags, with entities read.
    fn shown(markup: &str) -> String {
        let mut text = String::new();
        let mut rest = markup;
        while let Some((before, tag)) = rest.split_once('<') {
            text.push_str(before);
            rest = tag.split_once('>').unwrap().1;
        }
        text.push_str(rest);
        for (entity, char) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")] {
            text = text.replace(entity, char);
        }
        text
    }

    #[test]
    fn the_lists_are_sorted_and_have_no_word_in_common() {
        assert!(WORDS.is_sorted() && STRONG.is_sorted());
        assert!(STRONG.iter().all(|word| !WORDS.contains(word)));
    }

    #[test]
    fn pieces_are_what_postgresql_takes_them_for() {
        use Kind::{Comment, Literal, Parameter, Plain, Strong, Word};
        for (text, expected) in [
            ("DELETE FROM t", vec![(Strong, "DELETE"), (Plain, " "), (Word, "FROM"), (Plain, " t")]),
            ("x -- DROP\ny", vec![(Plain, "x "), (Comment, "-- DROP"), (Plain, "\ny")]),
            ("/* a /* b */ c */d", vec![(Comment, "/* a /* b */ c */"), (Plain, "d")]),
            ("/* open '", vec![(Comment, "/* open '")]),
            (r"'a''b\' d", vec![(Literal, r"'a''b\'"), (Plain, " d")]),
            (r"e'a\'b' d", vec![(Literal, r"e'a\'b'"), (Plain, " d")]),
            ("U&'x' n'y'", vec![(Literal, "U&'x'"), (Plain, " "), (Literal, "n'y'")]),
            ("\"drop -- '\" t", vec![(Plain, "\"drop -- '\" t")]),
            (
                "$$ it's -- $$ $q$ $$ $q$",
                vec![(Literal, "$$ it's -- $$"), (Plain, " "), (Literal, "$q$ $$ $q$")],
            ),
            (
                "a$b$ $1 $12x",
                vec![(Plain, "a$b$ "), (Parameter, "$1"), (Plain, " "), (Parameter, "$12"), (Plain, "x")],
            ),
            ("1.5e3+2", vec![(Literal, "1.5e3"), (Plain, "+"), (Literal, "2")]),
            ("selects updated", vec![(Plain, "selects updated")]),
            ("'open", vec![(Literal, "'open")]),
            ("é'ß'", vec![(Plain, "é"), (Literal, "'ß'")]),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_the_text_character_for_character(
            text in "([a-zA-Z0-9 '\"$*/\\\\\n;&<>=é日-]|--|/\\*|\\*/|\\$\\$|\\$a\\$|''|e'|DROP ){0,40}"
        ) {
            prop_assert_eq!(shown(&marked(&text).into_string()), text);
        }

        #[test]
        fn pieces_are_all_of_any_text(text in "\\PC{0,60}") {
            prop_assert_eq!(pieces(&text).into_iter().map(|(_, piece)| piece).collect::<String>(), text);
        }
    }
}
