//! Recordings: a file that anybody may have written or changed.

use crate::{Became, byte, short, take};
use chaperone::fuzzing::recording::{chain, is_forged, scan};
use chaperone::recorder::{Flaw, ReadError, Reader};

/// The first byte: an even one, and the rest is a file. Else payloads, for which the chain is made right, so that what
/// is inside of blocks is reached.
pub(crate) fn recording(mut input: &[u8]) -> Became {
    let input = &mut input;
    if byte(input) & 1 == 0 {
        return file(input);
    }
    let mut payloads = Vec::new();
    for _ in 0..byte(input) & 7 {
        let (frames, length) = (u32::from(byte(input)), short(input));
        payloads.push((frames, take(input, length)));
    }
    let ending = byte(input);
    let footer = (ending & 1 == 1).then_some((ending & 2 == 2, *input));
    file(&chain(&payloads, footer))
}

fn file(bytes: &[u8]) -> Became {
    let scanned = scan(bytes);
    if let Err(ReadError::Damage(damage)) = &scanned {
        assert!(damage.at_byte <= bytes.len() as u64, "{damage}");
        if let Flaw::Cut { missing } = damage.what {
            assert!(missing > 0);
        }
    }
    let (mut events, mut held) = (0_u64, 0);
    let mut stopped = None;
    for event in Reader::new(bytes).events() {
        match event {
            Ok(event) => {
                events += 1;
                held += event.body.len();
                assert!(held <= bytes.len(), "more was read than is there");
            }
            Err(error) => {
                assert!(stopped.is_none(), "it goes on after an error");
                stopped = Some(error);
            }
        }
    }
    let Ok(footer) = scanned else { return if events > 0 { Became::Accepted } else { Became::Refused } };
    assert!(!is_forged(bytes), "signed by a key that nobody has");
    // What is intact is read to its end, and no other bytes are: whatever is changed, cut or added is found.
    assert!(stopped.is_none(), "{stopped:?}");
    assert!(events >= footer.events);
    let mut changed = bytes.to_vec();
    let at = usize::try_from(footer.last_at_us).unwrap_or(0) % bytes.len();
    for (at, flip) in [(0, 1), (at, 0x80), (bytes.len() / 2, 1), (bytes.len() - 1, 0xff)] {
        changed[at] ^= flip;
        assert!(scan(&changed).is_err(), "a change at {at} was not found");
        changed[at] ^= flip;
    }
    assert!(scan(&bytes[..bytes.len() - 1]).is_err());
    changed.push(0);
    assert!(scan(&changed).is_err());
    Became::Accepted
}
