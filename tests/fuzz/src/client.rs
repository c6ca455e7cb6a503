//! What a client sends: frames off the stream, and the bodies that are judged.

use crate::{Became, message, short, take};
use chaperone::fuzzing::postgres::{ClientMessage, cancel_key, client_message, walk};

/// A stream of frames, cut at two places that the first bytes choose.
pub(crate) fn frames(mut input: &[u8]) -> Became {
    let input = &mut input;
    let (first, second) = (short(input), short(input));
    let frames = agreed(input, first, second);
    for frame in &frames {
        // What is judged is what is forwarded: every byte of the frame is accounted for by what was read of it.
        match client_message(frame) {
            None => {}
            Some(ClientMessage::Query(text)) => {
                assert_eq!(*frame, message(b'Q', &[text.as_bytes(), b"\0"].concat()));
                assert!(!text.contains('\0'));
            }
            Some(ClientMessage::Parse(name, text)) => parsed(frame, name, text),
            Some(ClientMessage::Bind(portal, statement, results)) => {
                bound(frame, portal, statement, &results)
            }
            Some(ClientMessage::Named(kind, name)) => {
                assert_eq!(frame[5..], [&[kind], name, b"\0"].concat());
            }
            Some(ClientMessage::Call(oid, bound)) => {
                assert_eq!(frame[5..frame.len() - 2], [oid.to_be_bytes().as_slice(), bound].concat());
            }
            Some(ClientMessage::Execute(portal)) => {
                assert_eq!(frame[5..frame.len() - 4], [portal, b"\0"].concat());
            }
        }
        cancel(&frame[1..]);
    }
    cancel(input);
    if frames.is_empty() { Became::Refused } else { Became::Accepted }
}

/// The same stream whole, and in three pieces, gives the same frames; they are its bytes, in order, and no others.
pub(crate) fn agreed(stream: &[u8], first: usize, second: usize) -> Vec<Vec<u8>> {
    let whole = walk(&[stream]);
    let mut rest = stream;
    let (a, b) = (take(&mut rest, first), take(&mut rest, second));
    assert_eq!(whole, walk(&[a, b, rest]), "cut at {first} and {second} behind that");
    let joined = whole.frames.concat();
    assert_eq!(joined, stream[..joined.len()]);
    for frame in &whole.frames {
        let said = u32::from_be_bytes(frame[1..5].try_into().unwrap());
        assert_eq!(usize::try_from(said).unwrap() + 1, frame.len());
    }
    whole.frames
}

fn parsed(frame: &[u8], name: &[u8], text: &str) {
    let mut front = [name, b"\0", text.as_bytes(), b"\0"].concat();
    let types = frame[5..].strip_prefix(front.as_slice()).expect("the name, then the text");
    // The rest is a count and so many OIDs, and nothing that the target could take for more of the text.
    let count = usize::from(u16::from_be_bytes(types[..2].try_into().unwrap()));
    assert_eq!(types.len(), 2 + 4 * count);
    front.extend_from_slice(types);
    assert_eq!(*frame, message(b'P', &front));
}

fn bound(frame: &[u8], portal: &[u8], statement: &[u8], results: &[i16]) {
    let mut rest = frame[5..].strip_prefix([portal, b"\0", statement, b"\0"].concat().as_slice()).unwrap();
    let rest = &mut rest;
    let formats = short(rest);
    take(rest, 2 * formats);
    for _ in 0..short(rest) {
        let length = i32::from_be_bytes(take(rest, 4).try_into().unwrap());
        let length = usize::try_from(length).unwrap_or(0);
        assert_eq!(take(rest, length).len(), length, "a value ends behind its frame");
    }
    assert_eq!(short(rest), results.len());
    let read: Vec<i16> = rest.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
    assert_eq!(read, results);
}

/// A key is all of a packet behind its code, and within the protocol's bound.
fn cancel(mut packet: &[u8]) {
    for length in [packet.len(), 12, 8, 7] {
        packet = &packet[..packet.len().min(length)];
        match cancel_key(packet) {
            Some((process, secret)) => {
                assert!(secret.len() <= 256);
                assert_eq!(packet[4..], [process.to_be_bytes().as_slice(), secret].concat());
            }
            None => assert!(!(8..=264).contains(&packet.len())),
        }
    }
}
