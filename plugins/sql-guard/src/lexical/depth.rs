//! How deep the parser may recurse on a text, estimated on its tokens, where no recursion is needed.
//!
//! The estimate errs on the high side: every token at which the parser can go one level deeper counts until a token at
//! which, in a correct text, it must have come back. In an incorrect text it may not have; there the estimate only
//! grows. Should it be wrong all the same, the plugin traps, and a trap is a refusal.

use super::LexicalFault;
use squawk_lexer::TokenKind;

/// Levels of recursion. People nest under 20 deep, generators under 100.
const MAX_DEPTH: usize = 200;
/// `BEGIN ATOMIC` bodies of one text; they nest, and have no brackets.
const MAX_ATOMIC: usize = 16;

/// What opened a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Opener {
    #[default]
    Text,
    Round,
    Square,
    Curly,
    Case,
    /// `OPERATOR(schema.+)`: in parentheses, and no operand.
    Operator,
}

/// What the last token was, without white space and comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    #[default]
    Other,
    /// The end of something that an operator can follow.
    Operand,
    /// A dot behind a name: the next word is a name, even `case`.
    Dot,
    /// The word `OPERATOR`.
    Operator,
    /// `TIME` or `TIMESTAMP`: a `WITH` that follows wraps nothing.
    TimeType,
}

#[derive(Default, Clone, Copy)]
struct Level {
    opener: Opener,
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

    /// Here every expression ends, if there is one in front and no `BETWEEN` is open.
    fn expression_ends(&mut self, last: Last) {
        let sound = matches!(last, Last::Operand | Last::TimeType) && self.between == 0;
        self.run = if sound { 0 } else { self.run + 1 };
    }

    /// Here every join ends, too.
    fn element_ends(&mut self, last: Last) {
        self.expression_ends(last);
        if self.run == 0 {
            self.joins = 0;
        }
    }
}

/// The estimate, fed with one token after another.
#[derive(Default)]
pub(super) struct Depth {
    /// Depth of all levels under the current one.
    base: usize,
    below: Vec<Level>,
    level: Level,
    atomic: usize,
    /// `EXPLAIN`, `PREPARE`, `CREATE` and the like since the last semicolon: statements that hold statements.
    wrappers: usize,
    last: Last,
    /// The previous token, white space included, was a character of an operator that counts already.
    counted: bool,
}

impl Depth {
    /// White space or a comment: operators end.
    pub(super) fn space(&mut self) {
        self.counted = false;
    }

    /// A token that is neither.
    pub(super) fn token(&mut self, kind: TokenKind, text: &str) -> Result<(), LexicalFault> {
        let counted = std::mem::take(&mut self.counted);
        let last = std::mem::take(&mut self.last);
        match kind {
            TokenKind::OpenParen if last == Last::Operator => self.open(Opener::Operator),
            TokenKind::OpenParen => self.open(Opener::Round),
            TokenKind::OpenBracket => self.open(Opener::Square),
            TokenKind::OpenCurly => self.open(Opener::Curly),
            TokenKind::CloseParen => self.close(&[Opener::Round, Opener::Operator])?,
            TokenKind::CloseBracket => self.close(&[Opener::Square])?,
            TokenKind::CloseCurly => self.close(&[Opener::Curly])?,
            TokenKind::Comma => self.level.element_ends(last),
            TokenKind::Semi => {
                self.level.element_ends(last);
                self.wrappers = 0;
            }
            TokenKind::Ident if last == Last::Dot => self.last = Last::Operand,
            TokenKind::Ident => self.word(text, last),
            TokenKind::Literal { .. } | TokenKind::QuotedIdent { .. } | TokenKind::PositionalParam { .. } => {
                self.last = Last::Operand;
            }
            TokenKind::Dot if last == Last::Operand => self.last = Last::Dot,
            TokenKind::Dot => (),
            TokenKind::DotDot => (),
            // Chains of these bind to the left and are parsed in a loop; as a prefix each is one level deeper.
            TokenKind::Plus | TokenKind::Minus | TokenKind::Star | TokenKind::Slash => {
                let prefix = !matches!(last, Last::Operand | Last::TimeType);
                self.counted = counted || prefix;
                self.level.run += usize::from(prefix);
            }
            _ => {
                self.counted = true;
                self.level.run += usize::from(!counted);
            }
        }
        if self.base + self.level.depth() + self.wrappers > MAX_DEPTH {
            return Err(LexicalFault::TooComplex);
        }
        Ok(())
    }

    fn open(&mut self, opener: Opener) {
        self.base += self.level.depth();
        self.below.push(std::mem::replace(&mut self.level, Level { opener, ..Level::default() }));
    }

    fn close(&mut self, openers: &[Opener]) -> Result<(), LexicalFault> {
        // Only a text that cannot be parsed closes what is not open.
        let (true, Some(level)) = (openers.contains(&self.level.opener), self.below.pop()) else {
            return Err(LexicalFault::Unbalanced);
        };
        self.last = if self.level.opener == Opener::Operator { Last::Other } else { Last::Operand };
        self.base = self.base.saturating_sub(level.depth());
        self.level = level;
        Ok(())
    }

    fn word(&mut self, text: &str, last: Last) {
        // No keyword below is longer: the common case is a name.
        let mut word = [0; 9];
        let word = match word.get_mut(..text.len()) {
            Some(word) => {
                word.copy_from_slice(text.as_bytes());
                word.make_ascii_lowercase();
                &*word
            }
            None => &[],
        };
        match word {
            b"and" if self.level.between > 0 => {
                self.level.between -= 1;
                self.level.run += 1;
            }
            b"and" | b"or" | b"select" | b"where" | b"union" | b"when" | b"then" | b"else" => {
                self.level.expression_ends(last);
            }
            b"between" => {
                self.level.between += 1;
                self.level.run += 1;
            }
            b"not" | b"in" | b"is" | b"like" | b"ilike" | b"similar" | b"zone" | b"escape" => {
                self.level.run += 1
            }
            b"operator" => {
                self.level.run += 1;
                self.last = Last::Operator;
            }
            b"join" => self.level.joins += 1,
            b"case" => self.open(Opener::Case),
            b"end" => {
                if self.level.opener == Opener::Case {
                    // The opener was just looked at.
                    let _ = self.close(&[Opener::Case]);
                }
                self.last = Last::Operand;
            }
            b"atomic" => {
                self.atomic += 1;
                self.wrappers += if self.atomic > MAX_ATOMIC { MAX_DEPTH } else { 1 };
            }
            b"with" if last == Last::TimeType => (),
            b"explain" | b"prepare" | b"create" | b"with" | b"do" => self.wrappers += 1,
            b"as" => (),
            b"time" | b"timestamp" => self.last = Last::TimeType,
            _ => self.last = Last::Operand,
        }
    }
}
