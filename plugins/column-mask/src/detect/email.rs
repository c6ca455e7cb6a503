//! E-mail addresses: what stands around an `@` and could be one. International letters count (RFC 6531).

use super::Confidence;
use std::ops::Range;

pub(super) fn may_be_in(bytes: &[u8]) -> bool {
    memchr::memchr(b'@', bytes).is_some()
}

pub(super) fn find(value: &[u8], confidence: Confidence, found: &mut dyn FnMut(Range<usize>)) {
    // Neither side crosses an `@`, so that each byte is looked at twice at most.
    for at in memchr::memchr_iter(b'@', value) {
        let (Some(before), Some(after)) = (value.get(..at), value.get(at + 1..)) else { continue };
        let local = before.iter().rev().take_while(|byte| is_local(**byte)).count();
        // Words such as "...a@b.c" begin with dots that are none of the address.
        let dots = before.iter().skip(at - local).take_while(|byte| **byte == b'.').count();
        let domain = after.iter().take_while(|byte| is_domain(**byte)).count();
        let Some(domain) = after.get(..domain).and_then(|domain| domain_end(domain, confidence)) else {
            continue;
        };
        if local > dots {
            found(at - local + dots..at + 1 + domain);
        }
    }
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"._%+-'&~!#$*^`".contains(&byte)
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || matches!(byte, b'.' | b'-')
}

/// Where the domain ends: after the last label that can be a top-level domain. With [`Confidence::Low`] one label is
/// enough (`root@localhost`).
fn domain_end(domain: &[u8], confidence: Confidence) -> Option<usize> {
    let mut end = domain.len();
    while let Some(dot) = domain.get(..end).and_then(|rest| memchr::memrchr(b'.', rest)) {
        let label = domain.get(dot + 1..end)?;
        let letters = label.iter().take_while(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()).count();
        if label.starts_with(b"xn--") {
            return (dot > 0).then_some(end);
        }
        if letters >= 2 {
            return (dot > 0).then_some(dot + 1 + letters);
        }
        end = dot;
    }
    let label = domain.get(..end)?.iter().take_while(|byte| **byte != b'.').count();
    (confidence == Confidence::Low && label > 0).then_some(label)
}
