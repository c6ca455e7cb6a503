//! Social security numbers of the United States, `ddd-dd-dddd`. Nine bare digits are too common to be one.

use super::{Confidence, is_chained, stands_free};
use std::ops::Range;

pub(super) const DIGITS: usize = 9;
const BYTES: usize = 11;

pub(super) fn find(value: &[u8], confidence: Confidence, found: &mut dyn FnMut(Range<usize>)) {
    let mut at = 0;
    while let Some(window) = value.get(at..at + BYTES) {
        let range = at..at + BYTES;
        if is_ssn(window, confidence) && stands_free(value, &range, confidence) && !is_chained(value, &range)
        {
            at = range.end;
            found(range);
        } else {
            at += 1;
        }
    }
}

fn is_ssn(window: &[u8], confidence: Confidence) -> bool {
    let Ok([a1, a2, a3, separator, g1, g2, second, s1, s2, s3, s4]) = <[u8; BYTES]>::try_from(window) else {
        return false;
    };
    let separated =
        separator == second && (separator == b'-' || (separator, confidence) == (b' ', Confidence::Low));
    separated
        && [a1, a2, a3, g1, g2, s1, s2, s3, s4].iter().all(u8::is_ascii_digit)
        && is_issued([a1, a2, a3], [g1, g2], [s1, s2, s3, s4])
}

/// Areas 000, 666 and 900 to 999, group 00 and serial 0000 are never given out (SSA, POMS RM 10201.035).
fn is_issued(area: [u8; 3], group: [u8; 2], serial: [u8; 4]) -> bool {
    area != *b"000" && area != *b"666" && area < *b"900" && group != *b"00" && serial != *b"0000"
}
