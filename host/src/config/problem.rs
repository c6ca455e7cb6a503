//! What is wrong with a configuration, and where.
//!
//! Decoding never stops at a mistake: it files a [`Problem`] and goes on, so that one run lists them all. A problem is
//! part of the product's interface: its text says what is wrong, and `help` says what to write instead. No problem may
//! carry a secret; the places where secrets stand are marked, and whoever prints the source covers them.

use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The most problems that are kept. A file with more is not a configuration; the count goes on.
pub(crate) const MAX_PROBLEMS: usize = 200;

/// A range in the source. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark {
    /// First line.
    pub line: usize,
    /// First column.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// The column after the last one, on the last line.
    pub end_column: usize,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It works, and an operator should think again; `--strict` makes it fail.
    Warning,
    /// Worth knowing; never fails anything.
    Note,
}

impl Severity {
    /// The word that is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// The stable class of a problem, for programs that read `--json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemCode {
    /// The text is not YAML, or uses a part of YAML that is not accepted here.
    Syntax,
    /// A key that nothing reads.
    UnknownKey,
    /// A key that must be there is not.
    MissingKey,
    /// A key or a name is defined twice.
    Duplicate,
    /// A list where a mapping was expected, and the like.
    WrongType,
    /// The right type, but not a value that is accepted.
    InvalidValue,
    /// A name that nothing defines.
    UnknownReference,
    /// A secret written into the file instead of a reference to it.
    LiteralSecret,
    /// A reference whose secret cannot be read.
    SecretUnreadable,
    /// A control that controls nothing.
    NoEffect,
    /// Accepted, but risky.
    Risk,
}

/// One mistake or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable class.
    pub code: ProblemCode,
    /// Where in the document: `targets[0].tls.mode`. Empty for the document itself.
    pub path: String,
    /// Where in the source.
    pub mark: Mark,
    /// One sentence: what is wrong.
    pub message: String,
    /// What to write instead. May be empty.
    pub help: String,
}

/// Where problems are collected. Shared by reference by everything that decodes.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    inner: RefCell<Collected>,
}

/// What a [`Sink`] has collected.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// At most [`MAX_PROBLEMS`].
    pub(crate) problems: Vec<Problem>,
    /// How many more there were.
    pub(crate) dropped: usize,
    /// Places of the source that must never be printed.
    pub(crate) secrets: Vec<Mark>,
    /// Every key that decoding asked for, as `section.key`: what the reference page is compared with.
    pub(crate) vocabulary: BTreeSet<String>,
}

impl Sink {
    /// Files a problem.
    pub(crate) fn push(&self, problem: Problem) {
        let mut inner = self.inner.borrow_mut();
        if inner.problems.len() < MAX_PROBLEMS {
            // A mapping reached through an alias is decoded at each use; its mistake is still one mistake.
            if !inner.problems.contains(&problem) {
                inner.problems.push(problem);
            }
        } else {
            inner.dropped += 1;
        }
    }

    /// Marks a place of the source that must never be printed.
    pub(crate) fn conceal(&self, mark: Mark) {
        self.inner.borrow_mut().secrets.push(mark);
    }

    /// Notes that decoding knows this key.
    pub(crate) fn know(&self, key: String) {
        self.inner.borrow_mut().vocabulary.insert(key);
    }

    /// Whether anything was refused.
    pub(crate) fn has_errors(&self) -> bool {
        let inner = self.inner.borrow();
        inner.dropped > 0 || inner.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Everything, in the order of the source.
    pub(crate) fn finish(self) -> Collected {
        let mut inner = self.inner.into_inner();
        inner.problems.sort_by(|a, b| {
            (a.mark.line, a.mark.column, a.severity).cmp(&(b.mark.line, b.mark.column, b.severity))
        });
        inner
    }
}

/// The candidate that was most probably meant, if any is near enough to be worth saying.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Bounded: the distance costs the product of both lengths, and a long word is no misspelling of a short one.
    if word.len() > 64 {
        return None;
    }
    let folded = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64 && *candidate != word)
        .map(|candidate| {
            let other = candidate.to_ascii_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&folded, &other), candidate)
        })
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len().max(word.len()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A value of the file as it may stand in a message: short, and unable to steer a terminal.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().count() > SHOWN {
        shown.push('…');
    }
    // Quotes are escaped by `escape_debug` for Rust's sake; between backticks they need not be.
    format!("`{}`", shown.replace("\\\"", "\"").replace("\\'", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_word_and_a_stranger_finds_none() {
        let keys = ["lifetime", "recorded", "approvers", "to", "when"];
        for (word, meant) in [
            ("lifetme", Some("lifetime")),
            ("life-time", Some("lifetime")),
            ("Recorded", Some("recorded")),
            ("approver", Some("approvers")),
            ("too", Some("to")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }

    #[test]
    fn a_quoted_value_is_short_and_harmless() {
        assert_eq!(quote("a\u{1b}[31m\"b\""), "`a\\u{1b}[31m\"b\"`");
        assert!(quote(&"y".repeat(1000)).len() < 80);
    }
}
