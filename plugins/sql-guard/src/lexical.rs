//! What is checked before the parser runs: size, nesting, and spellings that two readers would read differently.
//!
//! The parser recurses, so depth is bounded here, on tokens, where no recursion is needed. The estimate errs on the
//! high side: a statement that is refused as too complex may have been harmless, one that passes cannot exhaust the
//! stack. The rest of this module refuses texts that PostgreSQL's lexer reads differently from ours, because a
//! check of something other than what runs is no check.

use squawk_lexer::{LiteralKind, TokenKind, tokenize};

/// Tokens of one text. An `INSERT` of 10,000 rows with three columns has about 70,000.
pub(crate) const MAX_TOKENS: usize = 100_000;
/// Estimated depth of the parser's recursion. People nest under 20 deep, generators under 100.
pub(crate) const MAX_DEPTH: usize = 200;
/// `BEGIN ATOMIC` bodies of one text; they nest, and are not counted as brackets.
const MAX_ATOMIC: usize = 16;

/// Why a text is refused before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LexicalFault {
    /// More bytes than the configuration allows.
    TooLarge,
    /// More tokens or a deeper nesting than the parser is trusted with.
    TooComplex,
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
    let mut scan = Scan::default();
    let mut offset = 0;
    for token in tokenize(text) {
        let end = offset + token.len as usize;
        scan.token(token.kind, text.get(offset..end).unwrap_or_default())?;
        offset = end;
    }
    Ok(())
}

/// One open bracket (or `CASE`), with what may recurse inside it.
#[derive(Default, Clone, Copy)]
struct Level {
    /// Opened by `CASE` and closed by `END`.
    case: bool,
    /// Operators and keywords since the last token at which every expression ends.
    run: usize,
    /// Joins since the last comma: their right sides nest until their `ON`.
    joins: usize,
    /// `BETWEEN`s whose `AND` is still to come: that `AND` ends nothing.
    between: usize,
}

impl Level {
    fn depth(self) -> usize {
        1 + self.run + self.joins
    }
}

#[derive(Default)]
struct Scan {
    tokens: usize,
    /// Depth of all levels under the current one.
    base: usize,
    below: Vec<Level>,
    level: Level,
    atomic: usize,
    /// `EXPLAIN`, `PREPARE`, `CREATE` and the like since the last semicolon: statements that hold statements.
    wrappers: usize,
    /// The previous token, without white space and comments, was the end of an operand.
    after_operand: bool,
    /// The previous token, white space included, was a character of an operator.
    in_operator: bool,
    after_escape_string: bool,
}

impl Scan {
    fn token(&mut self, kind: TokenKind, text: &str) -> Result<(), LexicalFault> {
        if matches!(kind, TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. }) {
            self.in_operator = false;
            return Ok(());
        }
        self.tokens += 1;
        if self.tokens > MAX_TOKENS {
            return Err(LexicalFault::TooComplex);
        }
        let after_escape_string = std::mem::take(&mut self.after_escape_string);
        let in_operator = std::mem::take(&mut self.in_operator);
        let after_operand = std::mem::take(&mut self.after_operand);
        match kind {
            TokenKind::OpenParen | TokenKind::OpenBracket | TokenKind::OpenCurly => self.open(false),
            TokenKind::CloseParen | TokenKind::CloseBracket | TokenKind::CloseCurly => {
                self.close();
                self.after_operand = true;
            }
            TokenKind::Comma => self.level = Level { case: self.level.case, ..Level::default() },
            TokenKind::Semi => {
                self.level = Level { case: self.level.case, ..Level::default() };
                self.wrappers = 0;
            }
            TokenKind::QuotedIdent { uescape: true, .. } => return Err(LexicalFault::UnicodeIdentifier),
            TokenKind::Literal { kind } => {
                self.after_operand = true;
                match kind {
                    LiteralKind::EscStr { .. } => self.after_escape_string = true,
                    LiteralKind::Str { .. } if after_escape_string => {
                        if text.contains('\\') {
                            return Err(LexicalFault::EscapeContinuation);
                        }
                        self.after_escape_string = true;
                    }
                    _ => (),
                }
            }
            TokenKind::Ident => self.word(text),
            TokenKind::QuotedIdent { .. } | TokenKind::PositionalParam { .. } => self.after_operand = true,
            TokenKind::Dot | TokenKind::DotDot => (),
            // Chains of these bind to the left and are parsed in a loop; as a prefix each is one level deeper.
            TokenKind::Plus | TokenKind::Minus | TokenKind::Star | TokenKind::Slash => {
                self.in_operator = true;
                self.level.run += usize::from(!after_operand);
            }
            _ => {
                self.in_operator = true;
                self.level.run += usize::from(!in_operator);
            }
        }
        if self.base + self.level.depth() + self.wrappers > MAX_DEPTH {
            return Err(LexicalFault::TooComplex);
        }
        Ok(())
    }

    fn open(&mut self, case: bool) {
        self.base += self.level.depth();
        self.below.push(std::mem::replace(&mut self.level, Level { case, ..Level::default() }));
    }

    fn close(&mut self) {
        if let Some(level) = self.below.pop() {
            self.base = self.base.saturating_sub(level.depth());
            self.level = level;
        }
    }

    fn word(&mut self, text: &str) {
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        if text.len() > 8 {
            // No keyword below is longer; the common case is a name.
            self.after_operand = true;
        } else if is("and") {
            match self.level.between {
                0 => self.level.run = 0,
                _ => {
                    self.level.between -= 1;
                    self.level.run += 1;
                }
            }
        } else if is("or") {
            (self.level.run, self.level.between) = (0, 0);
        } else if is("between") {
            self.level.between += 1;
            self.level.run += 1;
        } else if ["not", "in", "is", "like", "ilike", "similar", "operator", "interval"].into_iter().any(is)
        {
            self.level.run += 1;
        } else if is("join") {
            self.level.joins += 1;
        } else if is("case") {
            self.open(true);
        } else if is("end") {
            if self.level.case {
                self.close();
            }
            self.after_operand = true;
        } else if is("atomic") {
            self.atomic += 1;
            self.wrappers += if self.atomic > MAX_ATOMIC { MAX_DEPTH } else { 1 };
        } else if ["explain", "prepare", "create", "with", "do"].into_iter().any(is) {
            self.wrappers += 1;
        } else if ["select", "where", "union", "when", "then", "else"].into_iter().any(is) {
            self.level.run = 0;
        } else {
            self.after_operand = true;
        }
    }
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
