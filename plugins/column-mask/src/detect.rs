//! What looks sensitive in a text: cards, social security numbers, e-mail addresses, IBANs, telephone numbers, patterns.
//!
//! Detectors read bytes, not characters: a value is never decoded, and one that is no UTF-8 is searched as well. Most
//! values hold nothing, so each detector has a cheap necessary condition (enough digits, an `@`) that is asked first.
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

    /// The fewest digits in a value that can hold a finding.
    fn digits_needed(&self) -> usize {
        match self {
            Detector::Card(_) => card::MIN_DIGITS,
            Detector::Ssn(_) => ssn::DIGITS,
            Detector::Iban(_) => iban::MIN_DIGITS,
            Detector::Phone(..) => phone::MIN_DIGITS,
            Detector::Email(_) | Detector::Custom(_) => 0,
        }
    }
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
    fewest_digits: usize,
}

impl Scanner {
    /// Takes the rules and warms them, so that what patterns build lazily is in the host's snapshot.
    pub fn new(rules: Vec<ContentRule>) -> Self {
        let fewest_digits =
            rules.iter().map(|rule| rule.detector.digits_needed()).min().unwrap_or(usize::MAX);
        let scanner = Scanner { rules, fewest_digits };
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

    /// Looks through a text.
    pub fn scan(&self, value: &[u8]) -> Scan {
        self.scan_for(value, |_| true)
    }

    /// Looks through the decimal text of a number, for what can be found in one.
    pub fn scan_number(&self, value: &[u8]) -> Scan {
        self.scan_for(value, |detector| detector.finds_in_numbers(usize::MAX))
    }

    fn scan_for(&self, value: &[u8], wanted: impl Fn(&Detector) -> bool) -> Scan {
        let digits = value.iter().map(|byte| usize::from(byte.is_ascii_digit())).sum::<usize>();
        let mut found: Vec<Found> = Vec::new();
        if digits < self.fewest_digits {
            return Scan::Parts(found);
        }
        for rule in self.rules.iter().filter(|rule| digits >= rule.detector.digits_needed()) {
            if wanted(&rule.detector) {
                rule.detector.find(value, &mut |range| {
                    if found.len() <= MAX_FOUND {
                        found.push(Found { range, strategy: rule.strategy });
                    }
                });
            }
        }
        if found.len() > MAX_FOUND { Scan::TooMany } else { Scan::Parts(joined(found)) }
    }
}

/// Findings that overlap become one, hidden by the strategy that tells the least.
fn joined(mut found: Vec<Found>) -> Vec<Found> {
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
