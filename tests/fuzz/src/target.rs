//! What a target sends: frames, descriptions, errors, settings, and rows of its catalog.

use crate::client::agreed;
use crate::{Became, message, short};
use chaperone::fuzzing::postgres::{
    catalog_origins, catalog_row, description, error_code, setting_fits, words,
};

/// A stream of frames, cut at two places that the first bytes choose.
pub(crate) fn frames(mut input: &[u8]) -> Became {
    let input = &mut input;
    let (first, second) = (short(input), short(input));
    let frames = agreed(input, first, second);
    for frame in &frames {
        let body = &frame[5..];
        match frame[0] {
            b'T' => described(body, frame),
            b'E' | b'N' => said(body, frame),
            b'S' => setting(body, frame),
            b'D' => drop(row(body, frame)),
            _ => {}
        }
    }
    if frames.is_empty() { Became::Refused } else { Became::Accepted }
}

/// Bodies of the catalog's replies: the first byte says which.
pub(crate) fn catalog(input: &[u8]) -> Became {
    let Some((kind, body)) = input.split_first() else { return Became::Refused };
    let frame = message(if kind & 1 == 0 { b'D' } else { b'T' }, body);
    let read = match kind & 1 {
        0 => row(body, &frame),
        _ => origins(body, &frame),
    };
    if read { Became::Accepted } else { Became::Refused }
}

fn described(body: &[u8], frame: &[u8]) {
    let Some(fields) = description(frame) else { return };
    // 19 bytes at least for each: a count alone makes nothing.
    assert!(body.len() >= 2 + 19 * fields.len());
    assert_eq!(usize::from(u16::from_be_bytes([body[0], body[1]])), fields.len());
    let origins = catalog_origins(frame).expect("the same message");
    assert_eq!(origins, fields.iter().map(|field| field.origin).collect::<Vec<_>>());
}

fn said(body: &[u8], frame: &[u8]) {
    let words = words(frame);
    let joined: Vec<u8> =
        words.iter().flat_map(|(field, text)| [&[*field][..], text, b"\0"].concat()).collect();
    assert_eq!(joined, body[..joined.len()], "words that were not said");
    let code = words.iter().find(|(field, _)| *field == b'C').map(|(_, text)| String::from_utf8_lossy(text));
    assert_eq!(error_code(frame), code.unwrap_or_default());
}

fn setting(body: &[u8], frame: &[u8]) {
    // Fails closed: every spelling of these two that is not the one that statements are judged with.
    let fits = setting_fits(frame);
    let mut texts = body.split(|byte| *byte == 0);
    let (name, value) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    if fits == Some(true) && name == b"standard_conforming_strings" {
        assert_eq!(value, b"on");
    }
    if fits == Some(true) && name == b"client_encoding" {
        assert!(value.eq_ignore_ascii_case(b"utf8"));
    }
    if fits.is_some() {
        assert!(body.iter().filter(|byte| **byte == 0).count() >= 2);
    }
}

/// A row written again is the same row; NULL is an empty name in a catalog.
fn row(body: &[u8], frame: &[u8]) -> bool {
    let Some(texts) = catalog_row(frame) else { return false };
    let mut again = u16::try_from(texts.len()).unwrap().to_be_bytes().to_vec();
    let mut at = 2;
    for text in &texts {
        let null = body[at..at + 4] == [0xff; 4];
        assert!(!null || text.is_empty());
        let length = if null { u32::MAX } else { u32::try_from(text.len()).unwrap() };
        again.extend_from_slice(&length.to_be_bytes());
        again.extend_from_slice(text.as_bytes());
        at = again.len();
    }
    assert_eq!(again, body);
    true
}

fn origins(body: &[u8], frame: &[u8]) -> bool {
    let Some(origins) = catalog_origins(frame) else { return false };
    assert!(body.len() >= 2 + 19 * origins.len());
    assert_eq!(description(frame).map(|fields| fields.len()), Some(origins.len()));
    true
}
