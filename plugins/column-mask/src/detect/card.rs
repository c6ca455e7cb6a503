//! Payment card numbers: 13 to 19 digits (ISO/IEC 7812-1), in groups or not, with a known issuer and a right Luhn digit.

use super::{Confidence, digit_at, has_run, neighbours, stands_free};
use std::ops::Range;

/// The shortest number that is in use.
pub(super) const MIN_DIGITS: usize = 13;
const MAX_DIGITS: usize = 19;
/// Digits of a group but the last. Shorter groups are found with [`Confidence::Low`]: columns of small numbers are not.
const MIN_GROUP: usize = 3;

/// A number, with its separators, is at least so long.
pub(super) fn may_be_in(bytes: &[u8]) -> bool {
    has_run(bytes, MIN_DIGITS, |byte| byte.is_ascii_digit() || is_separator(byte))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-')
}

pub(super) fn find(value: &[u8], confidence: Confidence, found: &mut dyn FnMut(Range<usize>)) {
    let mut at = 0;
    while at < value.len() {
        if digit_at(value, at).is_none() {
            at += 1;
            continue;
        }
        match number_at(value, at, confidence) {
            Some(end) => {
                found(at..end);
                at = end;
            }
            // On to the next group: a number may begin after a date or another number.
            None => at = group_end(value, at),
        }
    }
}

fn group_end(value: &[u8], start: usize) -> usize {
    let digits = value.iter().skip(start).take_while(|byte| byte.is_ascii_digit()).count();
    start + digits
}

/// The end of the longest card number that begins at `start`, the first digit of a group.
fn number_at(value: &[u8], start: usize, confidence: Confidence) -> Option<usize> {
    let mut digits = [0u8; MAX_DIGITS];
    let (mut count, mut from, mut longest) = (0, start, None);
    loop {
        let end = group_end(value, from);
        let room = digits.get_mut(count..count + (end - from));
        let (Some(room), Some(group)) = (room, value.get(from..end)) else { break };
        room.copy_from_slice(group);
        count += group.len();
        if let Some(number) = digits.get(..count)
            && is_card(number, confidence)
            && is_alone(value, &(start..end), confidence)
        {
            longest = Some(end);
        }
        let goes_on =
            value.get(end).is_some_and(|byte| is_separator(*byte)) && digit_at(value, end + 1).is_some();
        if !goes_on || (confidence == Confidence::High && group.len() < MIN_GROUP) {
            break;
        }
        from = end + 1;
    }
    longest
}

/// Digits after a decimal point are no card: one in thirty random fractions would be.
fn is_alone(value: &[u8], range: &Range<usize>, confidence: Confidence) -> bool {
    let is_fraction = neighbours(value, range).0 == Some(b'.')
        && range.start.checked_sub(2).is_some_and(|at| digit_at(value, at).is_some());
    stands_free(value, range, confidence) && !is_fraction
}

fn is_card(number: &[u8], confidence: Confidence) -> bool {
    if !(MIN_DIGITS..=MAX_DIGITS).contains(&number.len()) || number.iter().all(|digit| *digit == b'0') {
        return false;
    }
    let Ok(text) = std::str::from_utf8(number) else { return false };
    (confidence == Confidence::Low || has_known_issuer(text)) && luhn::valid(text)
}

/// Issuer ranges with the lengths that they use, as the networks publish them.
fn has_known_issuer(number: &str) -> bool {
    let prefix = |digits: usize| number.get(..digits).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let length = number.len();
    match (prefix(1), prefix(2), prefix(3), prefix(4)) {
        // Visa
        (4, ..) => matches!(length, 13 | 16 | 19),
        // Mastercard
        (_, 51..=55, ..) | (.., 2221..=2720) => length == 16,
        // American Express
        (_, 34 | 37, ..) => length == 15,
        // Diners Club
        (_, 36 | 38 | 39, ..) | (_, _, 300..=305, _) | (.., 3095) => (14..=19).contains(&length),
        // JCB, Mir
        (.., 3528..=3589) | (.., 2200..=2204) => (16..=19).contains(&length),
        // Troy
        (.., 9792) => length == 16,
        // Maestro, Discover, UnionPay, RuPay
        (_, 50 | 56..=58, ..) | (6, ..) => true,
        (_, 81 | 82, ..) => length == 16,
        _ => false,
    }
}
