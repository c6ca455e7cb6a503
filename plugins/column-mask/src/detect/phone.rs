//! Telephone numbers: international ones (ITU-T E.164, up to 15 digits) and the usual form in North America; with
//! [`Confidence::Low`] also numbers with a trunk `0` as in most of Europe, which many an order number looks like.

use super::{Confidence, has_digits, is_chained, neighbours, stands_free};
use regex::bytes::Regex;
use std::ops::Range;

/// The shortest international numbers in use.
const MIN_DIGITS: usize = 8;
const MAX_DIGITS: usize = 15;

const HIGH: &str = r"(?x-u)
    (?: \+ | 00 \ ? ) [1-9] \d{0,2} (?: [\ ./-]? \( \d{1,5} \) | [\ ./-] \d{1,5} | \d ){2,15}
  | (?: 1 [\ .-] )? (?: \( [2-9]\d\d \) \ ? | [2-9]\d\d [.-] ) [2-9]\d\d [.-] \d{4}";

const LOW: &str = r"(?x-u)
    (?: \+ | 00 \ ? ) [1-9] \d{0,2} (?: [\ ./-]? \( \d{1,5} \) | [\ ./-] \d{1,5} | \d ){2,15}
  | (?: 1 [\ .-]? )? (?: \( [2-9]\d\d \) \ ? | [2-9]\d\d [\ .-]? ) [2-9]\d\d [\ .-]? \d{4}
  | \(? 0 [1-9] (?: [\ ./()-]{0,2} \d ){7,10}";

pub(super) fn pattern(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::High => HIGH,
        Confidence::Low => LOW,
    }
}

/// [`HIGH`] has a `+`, `00`, or a dash or dot before the last group.
pub(super) fn may_be_in(bytes: &[u8], confidence: Confidence) -> bool {
    has_digits(bytes, MIN_DIGITS)
        && (confidence == Confidence::Low
            || memchr::memchr3(b'+', b'-', b'.', bytes).is_some()
            || memchr::memmem::find(bytes, b"00").is_some())
}

pub(super) fn find(
    pattern: &Regex,
    value: &[u8],
    confidence: Confidence,
    found: &mut dyn FnMut(Range<usize>),
) {
    let mut at = 0;
    while let Some(hit) = pattern.find_at(value, at) {
        let range = hit.start()..hit.start() + without_the_next_number(hit.as_bytes());
        if is_number(value, &range, confidence) {
            at = range.end;
            found(range);
        } else {
            // What follows may still be one. A hit has a bounded length, so that this stays linear.
            at = hit.start() + 1;
        }
    }
}

/// Cuts groups off the end while there are more digits than a number has: they belong to what follows it.
fn without_the_next_number(hit: &[u8]) -> usize {
    let most = if hit.starts_with(b"00") { MAX_DIGITS + 2 } else { MAX_DIGITS };
    let mut rest = hit;
    while digits(rest) > most {
        let Some(separator) = rest.iter().rposition(|byte| !byte.is_ascii_digit()) else { break };
        rest = rest.get(..separator).unwrap_or_default();
    }
    rest.len()
}

fn digits(text: &[u8]) -> usize {
    text.iter().filter(|byte| byte.is_ascii_digit()).count()
}

fn is_number(value: &[u8], range: &Range<usize>, confidence: Confidence) -> bool {
    let hit = value.get(range.clone()).unwrap_or_default();
    // "00" is also how serial numbers begin and times end; as a prefix it is set off from what follows.
    let timed = matches!(neighbours(value, range).0, Some(b':' | b'.'));
    let zeros = hit.starts_with(b"00") && (timed || hit.iter().all(u8::is_ascii_digit));
    (MIN_DIGITS..=MAX_DIGITS + 2).contains(&digits(hit))
        && (confidence == Confidence::Low || !zeros)
        && (confidence == Confidence::Low || !is_chained(value, range))
        && stands_free(value, range, confidence)
}
