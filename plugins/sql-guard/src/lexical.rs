//! What is checked before the parser runs: size, nesting, and spellings that two readers would read differently.
//!
//! PostgreSQL's lexer and ours differ in a few corners. A text that uses one is refused, because a check of something
//! other than what runs is no check. The parser recurses, so the depth is bounded as well ([`depth`]).

mod depth;

use depth::Depth;
use squawk_lexer::{LiteralKind, TokenKind, tokenize};

/// Tokens of one text. An `INSERT` of 10,000 rows with three columns has about 70,000.
const MAX_TOKENS: usize = 100_000;

/// Why a text is refused before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LexicalFault {
    /// More bytes than the configuration allows.
    TooLarge,
    /// More tokens or a deeper nesting than the parser is trusted with.
    TooComplex,
    /// Brackets that do not match.
    Unbalanced,
    /// A NUL byte: C programs end the text there.
    Nul,
    /// The text starts with a byte order mark, which our lexer skips and PostgreSQL's does not.
    ByteOrderMark,
    /// `U&"…"`: the name is not what it looks like, and which it is depends on a later `UESCAPE`.
    UnicodeIdentifier,
    /// `E'…' '…\…'`: PostgreSQL reads backslashes in the continuation of an escape string, our lexer does not.
    EscapeContinuation,
}

/// Refuses what must not reach the parser.
pub(crate) fn check(text: &str, max_bytes: usize) -> Result<(), LexicalFault> {
    if text.len() > max_bytes {
        return Err(LexicalFault::TooLarge);
    }
    if text.as_bytes().contains(&0) {
        return Err(LexicalFault::Nul);
    }
    if text.starts_with(squawk_lexer::BOM) {
        return Err(LexicalFault::ByteOrderMark);
    }
    let mut depth = Depth::default();
    let mut after_escape_string = false;
    let (mut offset, mut tokens) = (0, 0);
    for token in tokenize(text) {
        let end = offset + token.len as usize;
        let text = text.get(offset..end).unwrap_or_default();
        offset = end;
        if matches!(
            token.kind,
            TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. }
        ) {
            depth.space();
            continue;
        }
        tokens += 1;
        if tokens > MAX_TOKENS {
            return Err(LexicalFault::TooComplex);
        }
        after_escape_string = match token.kind {
            TokenKind::Literal { kind: LiteralKind::EscStr { .. } } => true,
            TokenKind::Literal { kind: LiteralKind::Str { .. } } if after_escape_string => {
                if text.contains('\\') {
                    return Err(LexicalFault::EscapeContinuation);
                }
                true
            }
            TokenKind::QuotedIdent { uescape: true, .. } => return Err(LexicalFault::UnicodeIdentifier),
            _ => false,
        };
        depth.token(token.kind, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Result<(), LexicalFault> {
        check(text, 1 << 20)
    }

    #[test]
    fn deep_texts_are_refused_before_the_parser_sees_them() {
        for piece in [
            "not ",
            "- ",
            "@ ",
            "+",
            "(",
            "array[",
            "case when ",
            "case ",
            "case when 1 then 1 else ",
            "1 = ",
            "1 || ",
            "a -> ",
            "a *| ",
            "1 in (1) in ",
            "1 between 1 and ",
            "a is not distinct from ",
            "operator(+) ",
            "f(",
            "exists (select ",
            "(select ",
            "case a when ",
            "a < ",
            "a like ",
        ] {
            let text = format!("select {}1", piece.repeat(5_000));
            assert_eq!(verdict(&text), Err(LexicalFault::TooComplex), "{piece}");
        }
        for piece in [
            "explain ",
            "prepare x as ",
            "with ",
            "create rule r as on insert to t do ",
            "create function f() begin atomic ",
        ] {
            assert_eq!(verdict(&piece.repeat(5_000)), Err(LexicalFault::TooComplex), "{piece}");
        }
        for piece in [" join b", " cross join b", " natural join b"] {
            let text = format!("select * from a{}", piece.repeat(5_000));
            assert_eq!(verdict(&text), Err(LexicalFault::TooComplex), "{piece}");
        }
    }

    #[test]
    fn long_and_flat_texts_pass() {
        for (head, piece) in [
            ("select 1", " + 1"),
            ("select 1", ", 1"),
            ("select * from t where a = 1", " or a = 1"),
            ("select * from t where a = 1", " and not b < 2"),
            ("select * from t where true", " and a between 1 and 2"),
            ("insert into t values (1, 'a')", ", (1, 'a')"),
            ("select 1", " union all select 2"),
            ("select 1", "; select 1"),
        ] {
            assert_eq!(verdict(&format!("{head}{}", piece.repeat(3_000))), Ok(()), "{piece}");
        }
    }

    #[test]
    fn what_two_lexers_read_differently_is_refused() {
        for (text, fault) in [
            ("select 1\0", LexicalFault::Nul),
            ("\u{feff}select 1", LexicalFault::ByteOrderMark),
            ("select * from U&\"\\0063ustomers\"", LexicalFault::UnicodeIdentifier),
            ("select e'a'\n'\\''; drop table t; --'", LexicalFault::EscapeContinuation),
            ("select E'a' -- x\n 'b' /* */ '\\''", LexicalFault::EscapeContinuation),
        ] {
            assert_eq!(verdict(text), Err(fault), "{text}");
        }
        assert_eq!(check("select 1", 7), Err(LexicalFault::TooLarge));
        for text in ["select E'a\\'b'", "select 'a\\' , 'b'", "select E'a'\n'b'", "select u&'\\0061'"] {
            assert_eq!(verdict(text), Ok(()), "{text}");
        }
    }
}
