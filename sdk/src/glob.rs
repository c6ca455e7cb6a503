//! Patterns over names: rule ids, statement classes, schemas, tables, columns.
//!
//! One star and nothing else, so that an operator can read a rule without a manual. Matching ignores the case of
//! ASCII letters: a mask or a trigger that does not fire because of a capital letter would fail open.

/// A pattern in which `*` stands for any text, also none; every other character stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Longer patterns are a mistake: no name in PostgreSQL or among rule ids is nearly as long (bytes).
    pub const MAX_BYTES: usize = 200;

    /// Checks a pattern; the error says what would be right.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() || pattern.len() > Self::MAX_BYTES || pattern.chars().any(char::is_whitespace) {
            return Err(format!("a pattern has 1 to {} bytes and no spaces", Self::MAX_BYTES));
        }
        Ok(Glob(pattern.to_owned()))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for patterns of stars only, which say nothing about a name.
    pub fn is_anything(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Does the whole name match? Takes at most pattern times name steps.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut from) = (0, 0);
        // After the last star: where the pattern goes on, and where in the name it was tried last.
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = name.get(from) {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at + 1, from));
                    at += 1;
                }
                Some(expected) if expected.eq_ignore_ascii_case(byte) => {
                    at += 1;
                    from += 1;
                }
                _ => match star {
                    Some((after, tried)) => {
                        star = Some((after, tried + 1));
                        at = after;
                        from = tried + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
    }
}
