//! Every byte counts: whatever is changed, removed, repeated or moved is found, at or before its block.

use super::super::format::RESERVED_BYTES;
use super::super::format::{BlockKind, Header};
use super::super::reader::{Damage, Flaw, ReadError};
use super::super::verify::Scan;
use super::*;

fn damage(bytes: &[u8]) -> Damage {
    match Scan::new().run(bytes, &mut |_| {}) {
        Err(ReadError::Damage(damage)) => damage,
        other => panic!("not found: {other:?}"),
    }
}

#[test]
fn the_small_recording_is_whole() {
    let bytes = small();
    let borders = borders(&bytes);
    assert_eq!(borders.len(), 7, "head, three operations, end, footer");
    let mut scan = Scan::new();
    let footer = scan.run(&bytes[..], &mut |_| {}).unwrap();
    assert_eq!((footer.blocks, footer.events, footer.count(EventKind::Operation)), (5, 9, 3));
    assert_eq!(footer.dropped_bytes, Some(0));
    assert_eq!(scan.totals.bytes, bytes.len() as u64);
}

#[test]
fn every_changed_byte_is_found_and_located() {
    let bytes = small();
    let borders = borders(&bytes);
    for at in 0..bytes.len() {
        let block = borders.iter().filter(|border| **border <= at).count() - 1;
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            let found = damage(&changed);
            assert_eq!(found.at_block, block as u64, "byte {at}: {found}");
            assert_eq!(found.at_byte, borders[block] as u64, "byte {at}: {found}");
            assert!(!found.what.is_unfinished() || at >= borders[borders.len() - 2], "byte {at}: {found}");
        }
    }
}

#[test]
fn every_cut_is_found_and_located() {
    let bytes = small();
    let borders = borders(&bytes);
    for length in 0..bytes.len() {
        let block = borders.iter().filter(|border| **border <= length).count() - 1;
        let found = damage(&bytes[..length]);
        assert_eq!((found.at_block, found.at_byte), (block as u64, borders[block] as u64), "cut at {length}");
        let clean = borders.contains(&length);
        assert!(
            matches!((&found.what, clean), (Flaw::NoFooter, true) | (Flaw::Cut { .. }, false)),
            "{found}"
        );
    }
}

#[test]
fn every_missing_repeated_or_swapped_block_is_found() {
    let bytes = small();
    let borders = borders(&bytes);
    let blocks: Vec<&[u8]> = borders.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
    for at in 0..blocks.len() {
        let mut missing = blocks.clone();
        missing.remove(at);
        assert_eq!(damage(&missing.concat()).at_block, at as u64);

        let mut repeated = blocks.clone();
        repeated.insert(at, blocks[at]);
        assert_eq!(damage(&repeated.concat()).at_block, at as u64 + 1);

        for other in at + 1..blocks.len() {
            let mut swapped = blocks.clone();
            swapped.swap(at, other);
            assert_eq!(damage(&swapped.concat()).at_block, at as u64);
        }
    }
}

#[test]
fn a_block_of_another_recording_is_found() {
    let (bytes, other) = (small(), small_of("2"));
    let (at, of_other) = (borders(&bytes), borders(&other));
    let spliced = [&bytes[..at[2]], &other[of_other[2]..]].concat();
    let found = damage(&spliced);
    assert_eq!((found.at_block, found.what), (2, Flaw::Chain));
}

#[test]
fn bytes_after_the_footer_are_found() {
    for more in [&b"x"[..], &[0; 200]] {
        let found = damage(&[&small()[..], more].concat());
        assert_eq!((found.at_block, found.what), (6, Flaw::AfterFooter));
    }
}

/// A footer with a right hash that does not fit what stands before it: blocks cut out and a footer made anew.
#[test]
fn a_footer_is_compared_with_the_blocks() {
    let bytes = small();
    let (before, footer) = bytes.split_at(borders(&bytes)[5]);
    // Without its signature, which would be of other bytes.
    let (json, tail) = (&footer[96..footer.len() - 80], &footer[footer.len() - 8..]);
    let json = std::str::from_utf8(json).unwrap();
    let previous = Header::parse(&bytes[borders(&bytes)[4]..]).unwrap().hash;
    let found = |json: &str, tail: &[u8]| {
        let payload = [json.as_bytes(), tail].concat();
        let header = Header::seal(BlockKind::Footer, 5, 0, previous, &payload);
        damage(&[before, &header.encode(), &payload].concat())
    };
    let cases = [
        ("\"blocks\":5", "\"blocks\":4", "number of blocks"),
        ("\"events\":9", "\"events\":8", "number of events"),
        ("\"operation\":3", "\"operation\":2", "number of events"),
        ("client-closed", "target-closed", "end"),
        ("ses_00000000000000000000000000000001", "ses_00000000000000000000000000000002", "session"),
        ("\"bytes\":", "\"bytes\":1", "number of bytes"),
        ("\"last_hash\":\"", "\"last_hash\":\"0", "last hash"),
    ];
    for (from, to, what) in cases {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json, "{from}");
        let found = found(&changed, tail);
        assert_eq!((found.at_block, &found.what), (5, &Flaw::Footer(what)), "{from}");
    }
    assert_eq!(found(json, b"\0\0\0\0CHRZ").what, Flaw::Footer("own length"));
    assert_eq!(found(json, &[&tail[..4], b"CHRY"].concat()).what, Flaw::Footer("own length"));
    assert!(matches!(found("{}", tail).what, Flaw::Content(_)));
    assert!(matches!(found("", b"").what, Flaw::Content(_)));
}

/// Blocks with right hashes that no recorder writes.
#[test]
fn what_no_recorder_writes_is_found() {
    use super::super::format::Hash;
    let bytes = small();
    let at = borders(&bytes);
    let payload = |block: usize| bytes[at[block] + 96..at[block + 1]].to_vec();
    let end = [payload(4), payload(1)].concat();
    let cases: [(u32, Vec<u8>, &str); 6] = [
        (2, payload(0), "counts other events"),
        (0, vec![], "counts other events"),
        (2, payload(1), "the head is not the first event"),
        (2, [payload(0), payload(0)].concat(), "there is a second head"),
        (5, [payload(0), end].concat(), "it goes on after the end event"),
        (1, payload(0)[..30].to_vec(), "its events do not fill it exactly"),
    ];
    for (frames, payload, message) in cases {
        let header = Header::seal(BlockKind::Events, 0, frames, Hash::NONE, &payload);
        let found = damage(&[&header.encode()[..], &payload].concat());
        assert!(found.to_string().contains(message), "{found} is not: {message}");
        assert!(!found.what.is_unfinished());
    }
}

#[test]
fn zeros_are_unwritten_space_only_at_the_end() {
    let bytes = small();
    let at = borders(&bytes)[3];
    let zeros = |length: usize| [&bytes[..at], &vec![0; length][..]].concat();
    for length in [1, 95, 96, 97, 200_000] {
        assert_eq!(damage(&zeros(length)).what, Flaw::NeverWritten, "{length}");
    }
    // So much may be a block that was being copied; no more.
    let reserved = usize::try_from(RESERVED_BYTES).unwrap();
    for (length, found) in [(reserved - 1, Flaw::Cut { missing: 4 }), (reserved, Flaw::NotABlock)] {
        let hole = [&zeros(length)[..], b"x"].concat();
        assert_eq!(damage(&hole).what, found, "{length}");
    }
}

#[test]
fn what_a_person_reads() {
    let bytes = small();
    let at = borders(&bytes)[2];
    let mut changed = bytes.clone();
    changed[at + 100] ^= 1;
    assert_eq!(
        damage(&changed).to_string(),
        format!("block 2, byte {at}: the block's bytes were changed: its hash does not match")
    );
    assert_eq!(
        damage(&bytes[..at]).to_string(),
        format!(
            "block 2, byte {at}: the file ends here without a footer: its end was cut off, or it was never sealed"
        )
    );
}
