//! A replay: what a client sent and a target answered, told to people at a terminal and to programs.

use crate::{Became, byte, short, take};
use chaperone::fuzzing::replay::tell;
use chaperone::recorder::{Encoding, Event, EventKind, Part};

/// The head that makes the rest PostgreSQL's.
const HEAD: &str =
    r#"{"started":"2026-11-21T10:00:00Z","head":{"protocol":"postgres"},"protocol":"postgres"}"#;

/// Events: a byte for the kind, one for the operation and the part, a count of bytes and a body.
pub(crate) fn replay(mut input: &[u8]) -> Became {
    let input = &mut input;
    let mut events = vec![event(EventKind::Head, 0, Encoding::Json, Part::Last, HEAD.as_bytes())];
    while !input.is_empty() && events.len() < 64 {
        let (kind, about, length) = (byte(input), byte(input), short(input));
        let kind = EventKind::from_code(kind % 21).unwrap_or(EventKind::Rows);
        let raw = matches!(
            kind,
            EventKind::Operation
                | EventKind::Parameters
                | EventKind::Rows
                | EventKind::CopyIn
                | EventKind::CopyOut
        );
        let (encoding, part) = match (raw || about & 0x40 != 0, about & 0x80 != 0) {
            (true, true) => (Encoding::Raw, Part::More),
            (true, false) => (Encoding::Raw, Part::Last),
            (false, _) => (Encoding::Json, Part::Last),
        };
        events.push(event(kind, u64::from(about & 7), encoding, part, take(input, length)));
    }
    let (shown, lines) = tell(&events);
    // Nothing of it steers a terminal: colours are our own, and there is no other control character.
    let mut rest = shown.as_str();
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\n') {
        let (control, behind) = rest[at..].split_at(rest[at..].chars().next().map_or(1, char::len_utf8));
        let style: String = behind.chars().take_while(|c| *c != 'm').collect();
        assert!(
            control == "\u{1b}"
                && style.starts_with('[')
                && style[1..].bytes().all(|c| c.is_ascii_digit() || c == b';'),
            "{control:?} in {shown:?}"
        );
        rest = behind;
    }
    assert!(
        !shown.contains(|c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')),
        "{shown:?}"
    );
    // A line for programs is one line of JSON.
    for line in &lines {
        assert!(!line.contains('\n') && line.starts_with('{') && line.ends_with('}'), "{line}");
    }
    if events.len() > 1 { Became::Accepted } else { Became::Refused }
}

fn event(kind: EventKind, operation: u64, encoding: Encoding, part: Part, body: &[u8]) -> Event {
    Event { kind, operation, at_us: operation * 1000, encoding, part, body: body.to_vec() }
}
