//! International bank account numbers (ISO 13616): country, length, structure and check digits are all verified.

use super::{Confidence, stands_free};
use iban::Iban;
use std::ops::Range;

/// Two check digits, and no country has an account number with fewer than three.
pub(super) const MIN_DIGITS: usize = 5;
const MIN_CHARS: usize = 15;
const MAX_CHARS: usize = 34;

pub(super) fn find(value: &[u8], confidence: Confidence, found: &mut dyn FnMut(Range<usize>)) {
    let mut at = 0;
    while let Some(head) = value.get(at..at + 4) {
        let is_start = matches!(head, [a, b, c, d] if c.is_ascii_digit()
            && d.is_ascii_digit() && a.is_ascii_alphabetic() && b.is_ascii_alphabetic());
        match if is_start { iban_at(value, at, confidence) } else { None } {
            Some(end) => {
                found(at..end);
                at = end;
            }
            None => at += 1,
        }
    }
}

/// The end of the longest IBAN that begins at `start`. Single spaces between its characters are skipped.
fn iban_at(value: &[u8], start: usize, confidence: Confidence) -> Option<usize> {
    let mut chars = [0u8; MAX_CHARS];
    let mut ends = [0usize; MAX_CHARS];
    let (mut count, mut at) = (0, start);
    for (slot, end) in chars.iter_mut().zip(&mut ends) {
        if count > 0 && value.get(at) == Some(&b' ') {
            at += 1;
        }
        let Some(byte) = value.get(at).filter(|byte| byte.is_ascii_alphanumeric()) else { break };
        at += 1;
        count += 1;
        *slot = byte.to_ascii_uppercase();
        *end = at;
    }
    (MIN_CHARS..=count).rev().find_map(|length| {
        let end = *ends.get(length - 1)?;
        let text = std::str::from_utf8(chars.get(..length)?).ok()?;
        let range = start..end;
        (stands_free(value, &range, confidence) && text.parse::<Iban>().is_ok()).then_some(end)
    })
}
