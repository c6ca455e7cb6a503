//! Recordings: a file that anybody may have written or changed.

use crate::{Became, byte, short, take};
use chaperone::fuzzing::recording::{chain, compress, is_forged, keys, scan};
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
        let (how, length) = (byte(input), short(input));
        let payload = take(input, length);
        // Compressed, said to be compressed, or as it is.
        let (compressed, payload) = match how >> 6 {
            2 => (true, compress(payload)),
            3 => (true, payload.to_vec()),
            _ => (false, payload.to_vec()),
        };
        payloads.push((u32::from(how & 63), compressed, payload));
    }
    let ending = byte(input);
    let footer = (ending & 1 == 1).then_some((ending & 2 == 2, *input));
    file(&chain(&payloads, footer, ending & 4 == 4))
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
    // A block of 96 bytes and more holds at most 16 MiB when it is decompressed.
    let most = bytes.len() + bytes.len() / 96 * (16 << 20);
    let mut stopped = None;
    for event in Reader::new(bytes).with_keys(keys()).events() {
        match event {
            Ok(event) => {
                events += 1;
                held += event.body.len();
                assert!(held <= most, "more was read than can be there");
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
