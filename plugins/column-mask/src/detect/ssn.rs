//! Social security numbers of the United States, `ddd-dd-dddd`. Nine bare digits are too common to be one.

use super::{Confidence, is_chained, stands_free};
use std::ops::Range;

const BYTES: usize = 11;
/// Digits before the first separator.
const AREA: usize = 3;

/// What stands between the groups.
fn separators(confidence: Confidence) -> [u8; 2] {
    match confidence {
        Confidence::High => [b'-', b'-'],
        Confidence::Low => [b'-', b' '],
    }
}

pub(super) fn may_be_in(bytes: &[u8], confidence: Confidence) -> bool {
    let [dash, other] = separators(confidence);
    memchr::memchr2(dash, other, bytes).is_some()
}

pub(super) fn find(value: &[u8], confidence: Confidence, found: &mut dyn FnMut(Range<usize>)) {
    let [dash, other] = separators(confidence);
    let mut free = 0;
    for separator in memchr::memchr2_iter(dash, other, value) {
        // The first of the two; a number never begins inside of another.
        let Some(at) = separator.checked_sub(AREA).filter(|at| *at >= free) else { continue };
        let range = at..at + BYTES;
        let Some(window) = value.get(range.clone()) else { return };
        if is_ssn(window) && stands_free(value, &range, confidence) && !is_chained(value, &range) {
            free = range.end;
            found(range);
        }
    }
}

fn is_ssn(window: &[u8]) -> bool {
    let Ok([a1, a2, a3, separator, g1, g2, second, s1, s2, s3, s4]) = <[u8; BYTES]>::try_from(window) else {
        return false;
    };
    separator == second
        && [a1, a2, a3, g1, g2, s1, s2, s3, s4].iter().all(u8::is_ascii_digit)
        && is_issued([a1, a2, a3], [g1, g2], [s1, s2, s3, s4])
}

/// Areas 000, 666 and 900 to 999, group 00 and serial 0000 are never given out (SSA, POMS RM 10201.035).
fn is_issued(area: [u8; 3], group: [u8; 2], serial: [u8; 4]) -> bool {
    area != *b"000" && area != *b"666" && area < *b"900" && group != *b"00" && serial != *b"0000"
}
