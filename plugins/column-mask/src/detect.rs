//! What looks sensitive in a text: cards, social security numbers, e-mail addresses, IBANs, telephone numbers, patterns.
//!
//! Detectors read bytes, not characters: a value is never decoded, and one that is no UTF-8 is searched as well. Most
//! values hold nothing, so each detector has a cheap necessary condition (a long run of digits, an `@`) that is asked first:
//! of all values of a batch at once, then of each.
//! What can go wrong: content is only the second line. A value that is encoded, reversed or split up is not found.

mod card;
mod email;
mod iban;
mod phone;
mod ssn;

use crate::strategy::Strategy;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use std::ops::Range;

/// Longest custom pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1000;
/// Largest compiled custom pattern, in bytes: fifty of them still fit into an instance.
pub const MAX_COMPILED_BYTES: usize = 256 * 1024;
/// Most findings in one value; a value with more becomes NULL as a whole.
pub const MAX_FOUND: usize = 10_000;

/// How sure a detector must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Few false alarms: the usual forms, standing free of other letters and digits.
    #[default]
    High,
    /// Finds more, also what only looks like it.
    Low,
}

/// A rule about content, ready to run.
pub struct ContentRule {
    /// What is looked for.
    pub detector: Detector,
    /// How it looks afterwards.
    pub strategy: Strategy,
}

/// What a content rule looks for.
pub enum Detector {
    /// Payment card numbers.
    Card(Confidence),
    /// Social security numbers of the United States.
    Ssn(Confidence),
    /// E-mail addresses.
    Email(Confidence),
    /// International bank account numbers.
    Iban(Confidence),
    /// Telephone numbers.
    Phone(Regex, Confidence),
    /// The operator's own pattern.
    Custom(Regex),
}

impl Detector {
    /// Telephone numbers; the pattern is built here, so that it is in the snapshot.
    pub fn phone(confidence: Confidence) -> Result<Self, String> {
        Ok(Detector::Phone(compile(phone::pattern(confidence))?, confidence))
    }

    /// The operator's own pattern, bounded; the error says what is wrong with it.
    pub fn custom(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() || pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!("must have 1 to {MAX_PATTERN_BYTES} bytes"));
        }
        let compiled = compile(pattern)?;
        if compiled.is_match(b"") {
            return Err("matches the empty text: it would find something everywhere".to_owned());
        }
        Ok(Detector::Custom(compiled))
    }

    /// Can this detector find something in a number of so many digits?
    fn finds_in_numbers(&self, digits: usize) -> bool {
        match self {
            Detector::Card(_) => digits >= card::MIN_DIGITS,
            Detector::Custom(_) => true,
            Detector::Ssn(_) | Detector::Email(_) | Detector::Iban(_) | Detector::Phone(..) => false,
        }
    }

    /// Calls `found` with each finding, from left to right.
    fn find(&self, value: &[u8], found: &mut dyn FnMut(Range<usize>)) {
        match self {
            Detector::Card(confidence) => card::find(value, *confidence, found),
            Detector::Ssn(confidence) => ssn::find(value, *confidence, found),
            Detector::Email(confidence) => email::find(value, *confidence, found),
            Detector::Iban(confidence) => iban::find(value, *confidence, found),
            Detector::Phone(pattern, confidence) => phone::find(pattern, value, *confidence, found),
            Detector::Custom(pattern) => {
                pattern
                    .find_iter(value)
                    .map(|hit| hit.range())
                    .filter(|range| !range.is_empty())
                    .for_each(found);
            }
        }
    }

    /// Whether something could be found in these bytes, or in any part of them: cheap, and asked of all of them first.
    fn may_find(&self, bytes: &[u8]) -> bool {
        match self {
            Detector::Card(_) => card::may_be_in(bytes),
            Detector::Ssn(confidence) => ssn::may_be_in(bytes, *confidence),
            Detector::Email(_) => email::may_be_in(bytes),
            Detector::Iban(_) => has_digits(bytes, iban::MIN_DIGITS),
            Detector::Phone(_, confidence) => phone::may_be_in(bytes, *confidence),
            Detector::Custom(_) => true,
        }
    }
}

/// Whether there are so many digits.
fn has_digits(bytes: &[u8], least: usize) -> bool {
    bytes.iter().filter(|byte| byte.is_ascii_digit()).nth(least.saturating_sub(1)).is_some()
}

/// Whether so many bytes of a kind follow each other. Where there are none of the kind, one byte in `length` is looked at.
fn has_run(bytes: &[u8], length: usize, is: impl Fn(u8) -> bool) -> bool {
    let mut rest = bytes;
    while let Some(window) = rest.get(..length) {
        let Some(other) = window.iter().rposition(|byte| !is(*byte)) else { return true };
        rest = rest.get(other + 1..).unwrap_or_default();
    }
    false
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => format!("is too large: it compiles to over {limit} bytes"),
            other => format!("is no regular expression: {other}"),
        })
}

/// Something that was found and has to be hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where in the value.
    pub range: Range<usize>,
    /// How it looks afterwards.
    pub strategy: Strategy,
}

/// What a scan of one value has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// From left to right, without overlaps; usually nothing.
    Parts(Vec<Found>),
    /// More than [`MAX_FOUND`].
    TooMany,
}

/// All content rules.
pub struct Scanner {
    rules: Vec<ContentRule>,
}

/// The rules that are to be looked for in some values.
pub struct Search<'r>(Vec<&'r ContentRule>);

impl Scanner {
    /// Takes the rules and warms them, so that what patterns build lazily is in the host's snapshot.
    pub fn new(rules: Vec<ContentRule>) -> Self {
        let scanner = Scanner { rules };
        for sample in [WARM_UP, "", "Plain words, no number.", "42", "\u{e4}\u{20ac}"] {
            scanner.scan(sample.as_bytes());
        }
        scanner
    }

    /// True when there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// True when something could be found in a number of so many digits.
    pub fn reads_numbers(&self, digits: usize) -> bool {
        self.rules.iter().any(|rule| rule.detector.finds_in_numbers(digits))
    }

    /// For texts that lie in `bytes`: rules that can find nothing there are left out.
    pub fn search(&self, bytes: &[u8]) -> Search<'_> {
        Search(self.rules.iter().filter(|rule| rule.detector.may_find(bytes)).collect())
    }

    /// Looks through a text.
    pub fn scan(&self, value: &[u8]) -> Scan {
        scan(self.rules.iter(), value)
    }

    /// Looks through the decimal text of a number, for what can be found in one.
    pub fn scan_number(&self, value: &[u8]) -> Scan {
        scan(self.rules.iter().filter(|rule| rule.detector.finds_in_numbers(usize::MAX)), value)
    }
}

impl Search<'_> {
    /// True when nothing can be found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks through a text that lies in the bytes that [`Scanner::search`] was given.
    pub fn scan(&self, value: &[u8]) -> Scan {
        scan(self.0.iter().copied(), value)
    }
}

fn scan<'r>(rules: impl Iterator<Item = &'r ContentRule>, value: &[u8]) -> Scan {
    let mut found: Vec<Found> = Vec::new();
    for rule in rules.filter(|rule| rule.detector.may_find(value)) {
        rule.detector.find(value, &mut |range| {
            if found.len() <= MAX_FOUND {
                found.push(Found { range, strategy: rule.strategy });
            }
        });
    }
    if found.len() > MAX_FOUND { Scan::TooMany } else { Scan::Parts(joined(found)) }
}

/// Findings that overlap become one, hidden by the strategy that tells the least.
fn joined(mut found: Vec<Found>) -> Vec<Found> {
    if found.len() < 2 {
        return found;
    }
    found.sort_by_key(|one| one.range.start);
    let mut joined: Vec<Found> = Vec::with_capacity(found.len());
    for one in found {
        match joined.last_mut() {
            Some(last) if one.range.start < last.range.end => {
                last.range.end = last.range.end.max(one.range.end);
                last.strategy = last.strategy.max(one.strategy);
            }
            _ => joined.push(one),
        }
    }
    joined
}

const WARM_UP: &str = "card 4111 1111 1111 1111, 4111111111111112; ssn 123-45-6789; mail a.b+c@example.co.uk, a@b; \
    iban DE44 5001 0517 5407 3249 31, GB82WEST12345698765432; phone +1 (415) 555-2671, 0049 30 901820, 415-555-2671";

/// The byte before a place, the byte after it; None at the ends.
fn neighbours(value: &[u8], range: &Range<usize>) -> (Option<u8>, Option<u8>) {
    let before = range.start.checked_sub(1).and_then(|at| value.get(at)).copied();
    (before, value.get(range.end).copied())
}

/// Does a finding stand alone? With [`Confidence::Low`] only digits may not touch it, else letters neither.
fn stands_free(value: &[u8], range: &Range<usize>, confidence: Confidence) -> bool {
    let touches = |byte: Option<u8>| match confidence {
        Confidence::High => byte.is_some_and(|byte| byte.is_ascii_alphanumeric()),
        Confidence::Low => byte.is_some_and(|byte| byte.is_ascii_digit()),
    };
    let (before, after) = neighbours(value, range);
    !touches(before) && !touches(after)
}

/// Is a finding a link in a longer chain of numbers with dashes or dots between them?
fn is_chained(value: &[u8], range: &Range<usize>) -> bool {
    let (before, after) = neighbours(value, range);
    let links = |byte: Option<u8>| matches!(byte, Some(b'-' | b'.'));
    (links(before) && range.start.checked_sub(2).is_some_and(|at| digit_at(value, at).is_some()))
        || (links(after) && digit_at(value, range.end + 1).is_some())
}

fn digit_at(value: &[u8], at: usize) -> Option<u8> {
    value.get(at).filter(|byte| byte.is_ascii_digit()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn detectors() -> Vec<Detector> {
        [Confidence::High, Confidence::Low]
            .into_iter()
            .flat_map(|sure| {
                let phone = Detector::phone(sure).expect("the pattern is ours");
                [
                    Detector::Card(sure),
                    Detector::Ssn(sure),
                    Detector::Email(sure),
                    Detector::Iban(sure),
                    phone,
                ]
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5000) })]

        /// What is asked first must never lose what would be found, alone or among other values.
        #[test]
        fn the_cheap_question_loses_nothing(
            before in "[0-9a-z@ -]{0,9}",
            value in "([0-9]{1,19}|[A-Z]{2}[0-9]{2,20}|4111111111111111|123-45-6789|\\+44 20 7946|0|-| |\\.|\\(|\\)|@|ab|\\.io|DE44500105175407324931){0,9}",
            after in "[0-9a-z@ -]{0,9}",
        ) {
            for detector in detectors() {
                let mut found = 0;
                detector.find(value.as_bytes(), &mut |_| found += 1);
                let among = format!("{before}{value}{after}");
                prop_assert!(found == 0 || detector.may_find(value.as_bytes()));
                prop_assert!(found == 0 || detector.may_find(among.as_bytes()));
            }
        }

        #[test]
        fn a_run_is_found_wherever_it_is(bytes in "[ab]{0,40}", length in 1usize..8) {
            let run = "a".repeat(length);
            prop_assert_eq!(has_run(bytes.as_bytes(), length, |byte| byte == b'a'), bytes.contains(&run));
        }
    }
}
