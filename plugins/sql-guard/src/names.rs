//! Names as PostgreSQL folds them.
//!
//! Unquoted names are lower-cased (ASCII only, as in every UTF-8 database), quoted ones are taken verbatim with `""`
//! read as `"`, and both are cut at 63 bytes on a character boundary (PostgreSQL manual, 4.1.1). `U&"…"` never gets
//! here: `crate::lexical` refuses it.

use crate::tree::Node;
use squawk_parser::SyntaxKind;
use std::borrow::Cow;

/// `NAMEDATALEN - 1`: bytes of a name that PostgreSQL keeps.
const MAX_NAME_BYTES: usize = 63;

/// The name that a token means.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let folded = match quoted {
        Some(inner) if inner.contains("\"\"") => Cow::Owned(inner.replace("\"\"", "\"")),
        Some(inner) => Cow::Borrowed(inner),
        None if text.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Owned(text.to_ascii_lowercase()),
        None => Cow::Borrowed(text),
    };
    if folded.len() <= MAX_NAME_BYTES {
        return folded;
    }
    let cut = folded.floor_char_boundary(MAX_NAME_BYTES);
    match folded {
        Cow::Borrowed(name) => Cow::Borrowed(name.get(..cut).unwrap_or_default()),
        Cow::Owned(mut name) => {
            name.truncate(cut);
            Cow::Owned(name)
        }
    }
}

/// The last two parts of a dotted name: a database in front of a schema says nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path<'a> {
    pub(crate) schema: Option<Cow<'a, str>>,
    pub(crate) name: Cow<'a, str>,
}

impl<'a> Path<'a> {
    /// The dotted name that a node consists of; `None` for a node without any name.
    pub(crate) fn of(node: Node<'a>) -> Option<Self> {
        let mut path: Option<Path<'a>> = None;
        for token in node.subtree().filter(|token| token.is_token() && token.kind() != SyntaxKind::DOT) {
            let name = fold(token.text());
            path = Some(Path { schema: path.map(|shorter| shorter.name), name });
        }
        path
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters, also none.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut open = false;
    let mut last = "";
    for piece in pieces {
        if !std::mem::replace(&mut open, true) {
            last = piece;
            continue;
        }
        // `last` is not the final piece: the leftmost place where it occurs leaves most for the others.
        let Some(found) = rest.find(last) else { return false };
        rest = rest.get(found + last.len()..).unwrap_or_default();
        last = piece;
    }
    if open { rest.ends_with(last) } else { rest.is_empty() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_fold_as_in_postgresql() {
        for (written, meant) in [
            ("Orders", "orders"),
            ("\"Orders\"", "Orders"),
            ("\"a\"\"b\"", "a\"b"),
            ("ÄB", "Äb"),
            ("a$1", "a$1"),
            ("\"\"\"\"", "\""),
        ] {
            assert_eq!(fold(written), meant, "{written}");
        }
        assert_eq!(fold(&"A".repeat(70)), "a".repeat(63));
        assert_eq!(fold(&format!("\"{}é\"", "a".repeat(62))), "a".repeat(62));
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "x", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b", "a", false),
            ("ab*ba", "aba", false),
            ("*a*a*", "aa", true),
            ("*a*a*", "a", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("", "", true),
            ("", "a", false),
            ("*aab", "aaab", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn folding_is_short_and_never_panics(text in "\\PC{0,90}") {
            prop_assert!(fold(&text).len() <= MAX_NAME_BYTES);
            let quoted = format!("\"{}\"", text.replace('"', "\"\""));
            prop_assert!(text.starts_with(fold(&quoted).as_ref()));
        }
    }
}
