//! Encryption: without the key nothing is read and everything can be verified; with it nothing is believed that was moved.

use super::super::format::{BlockKind, COMPRESSED, ENCRYPTED, Hash, Header};
use super::super::reader::{ReadError, Reader};
use super::super::store::packing_name;
use super::super::verify::Scan;
use super::super::{EncryptionKey, EncryptionKeys, Library, Outcome, Signed, State, Status, summary, verify};
use super::crash::{open_path, sealed_path};
use super::*;
use std::fs;

/// The id of the key of the bytes 0 to 31.
const ID: &str = "87483ff7aa0f46d1";
/// What must not be found in a file.
const WORDS: &[u8] = b"select the secret";

pub(super) fn key(number: u8) -> EncryptionKey {
    EncryptionKey::parse(&(format!("{number:02x}").repeat(31) + "ff")).unwrap()
}

fn keys(numbers: &[u8]) -> EncryptionKeys {
    numbers.iter().map(|number| key(*number)).collect()
}

pub(super) fn by(number: Option<u8>, others: &[u8]) -> Encryption {
    Encryption::new(number.map(key), others.iter().map(|number| key(*number)))
}

pub(super) fn recorder_by(directory: &Path, encryption: Encryption) -> Recorder {
    Recorder::new(RecorderConfig { encryption, ..config(directory, Caps::default()) }).unwrap()
}

fn record(recording: &mut Recording) {
    for operation in 1..=40 {
        recording.raw(EventKind::Operation, operation, &[WORDS, &[b'x'; 200]]);
        recording.commit().unwrap();
    }
}

/// An encrypted recording, sealed where it was written.
pub(super) fn in_place() -> Vec<u8> {
    let memory = Memory::default();
    let encrypted = RecorderConfig { encryption: by(Some(1), &[]), ..config(Path::new(""), Caps::default()) };
    let mut recording = memory.by(&encrypted).unwrap();
    record(&mut recording);
    recording.seal(&end()).unwrap();
    memory.bytes()
}

fn read(bytes: &[u8], keys: EncryptionKeys) -> (Vec<Event>, Option<ReadError>) {
    let mut events = Vec::new();
    for event in Reader::new(bytes).with_keys(keys).events() {
        match event {
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

#[test]
fn a_key_is_32_bytes_and_shows_nothing() {
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let key = EncryptionKey::parse(hex).unwrap();
    assert_eq!(EncryptionKey::parse(&format!("{base64}\n")).unwrap().id(), key.id());
    // Python: sha256(b"chaperone recording encryption key 1\0" + bytes(range(32)))[:8]
    assert_eq!(key.id().to_string(), ID);
    assert_eq!(format!("{key:?}"), format!("EncryptionKey({ID})"));
    for text in ["", "x", &hex[2..], &hex.replace('0', "g"), &base64[4..], &"00".repeat(32), "secret"] {
        assert!(EncryptionKey::parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_encrypted_is_read_with_its_key_and_is_nowhere_in_the_file() {
    let folder = folder();
    let recorder = recorder_by(folder.path(), by(Some(1), &[]));
    let mut recording = recorder.open(&head(1), timestamp()).unwrap();
    record(&mut recording);
    let open = fs::read(open_path(folder.path(), 1)).unwrap();
    let sealed = fs::read(recording.seal(&end()).unwrap().path).unwrap();
    for bytes in [&open, &sealed, &in_place()] {
        assert!(!contains(bytes, b"select") && !contains(bytes, b"prod-logs"), "it is in the clear");
        let (events, _) = read(bytes, keys(&[1]));
        assert_eq!((events[0].kind, events[40].operation), (EventKind::Head, 40));
        assert!(events[1..=40].iter().all(|event| event.body.starts_with(WORDS)));
    }
    assert!(sealed.len() * 4 < open.len(), "compressed before it was encrypted");
    // Each file has a key of its own, and no nonce is used twice with one.
    assert_ne!(open[..96 + 68], sealed[..96 + 68]);
    let nonces = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let borders = borders(bytes);
        borders[1..borders.len() - 2].iter().map(|at| bytes[at + 96..at + 108].to_vec()).collect()
    };
    let all = nonces(&in_place());
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 42, "head, operations, end");
}

#[test]
fn without_the_key_it_is_said_which_and_the_chain_is_verified_all_the_same() {
    let folder = folder();
    let recorder = recorder_by(folder.path(), by(Some(1), &[]));
    let mut recording = recorder.open(&head(1), timestamp()).unwrap();
    record(&mut recording);
    let open = open_path(folder.path(), 1);
    let live = verify(&open).unwrap();
    assert_eq!((live.status, live.locked), (Status::Live, Some(key(1).id())));
    let path = recording.seal(&end()).unwrap().path;
    let trusted = signer().public().into();
    for (numbers, locked) in [(&[][..], true), (&[2], true), (&[1], false), (&[2, 1], false)] {
        let library = Library::with_keys(folder.path(), keys(numbers));
        let report = library.verify(&path, &trusted, &mut |_, _| {}).unwrap();
        assert_eq!(report.status, Status::Intact(super::super::Ending::Sealed));
        assert_eq!(report.signed, Some(Signed::By(signer().id())));
        assert_eq!((report.session, report.locked), (Some(session(1)), locked.then_some(key(1).id())));
        let said = library.summary(&path).map(|summary| summary.opening.head.session);
        match locked {
            true => {
                let Err(RecorderError::NeedsKey { key: needed, .. }) = said else { panic!("{said:?}") };
                assert_eq!(needed, key(1).id());
                let first = library.open(&path).unwrap().events().next().unwrap();
                let Err(ReadError::NeedsKey { key: needed }) = first else { panic!("{first:?}") };
                assert_eq!(needed, key(1).id());
                assert_eq!(library.list(5).unwrap().unreadable.len(), 1);
            }
            false => assert_eq!(said.unwrap(), session(1)),
        }
    }
    assert!(
        summary(&path)
            .unwrap_err()
            .to_string()
            .ends_with(&format!("takes the key {}, which was not given", key(1).id()))
    );
    // Every changed byte is found without a key, too.
    let bytes = fs::read(&path).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Scan::new().run(&changed[..], &mut |_| {}).is_err(), "{at}");
    }
}

type Raw = (BlockKind, u16, u32, Vec<u8>);

fn raw(bytes: &[u8]) -> Vec<Raw> {
    let borders = borders(bytes);
    let block = |pair: &[usize]| {
        let header = Header::parse(&bytes[pair[0]..]).unwrap();
        let kind = BlockKind::from_code(header.kind).unwrap();
        (kind, header.flags, header.frames, bytes[pair[0] + 96..pair[1]].to_vec())
    };
    borders.windows(2).map(block).collect()
}

/// A chain that fits around blocks that somebody has chosen.
fn chained(blocks: &[Raw]) -> Vec<u8> {
    let (mut out, mut previous) = (Vec::new(), Hash::NONE);
    for (sequence, (kind, flags, frames, payload)) in (0..).zip(blocks) {
        let header = Header::seal_as((*kind, *flags), sequence, *frames, previous, payload);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(payload);
        previous = header.hash;
    }
    out
}

/// Who can write the folder can make a chain that fits; they cannot make blocks that the key opens.
#[test]
fn blocks_and_keys_that_were_moved_are_refused() {
    let (blocks, other) = (raw(&in_place()), raw(&in_place()));
    assert_eq!((blocks[0].0, blocks[0].3.len(), blocks[1].1), (BlockKind::Key, 68, ENCRYPTED));
    let refused = |change: &dyn Fn(&mut Vec<Raw>)| {
        let mut changed = blocks.clone();
        change(&mut changed);
        let (_, error) = read(&chained(&changed), keys(&[1]));
        match error {
            Some(ReadError::Damage(damage)) => format!("{} {}", damage.at_block, damage.what),
            other => format!("{other:?}"),
        }
    };
    assert!(read(&chained(&blocks), keys(&[1])).1.is_none());
    let replaced = |block: u64| {
        format!(
            "{block} the block is whole, but what it holds cannot be decrypted, so it or the key was replaced: it was not written by a recorder"
        )
    };
    assert_eq!(refused(&|blocks| blocks.swap(3, 4)), replaced(3));
    assert_eq!(refused(&|blocks| drop(blocks.remove(5))), replaced(5));
    assert_eq!(refused(&|blocks| blocks.insert(2, blocks[2].clone())), replaced(3));
    assert_eq!(refused(&|blocks| blocks[2] = other[2].clone()), replaced(2));
    assert_eq!(refused(&|blocks| blocks[0] = other[0].clone()), replaced(1));
    assert_eq!(refused(&|blocks| blocks[4].2 += 1), replaced(4));
    assert_eq!(refused(&|blocks| blocks[4].1 |= COMPRESSED), replaced(4));
    assert_eq!(refused(&|blocks| blocks[4].3.truncate(200)), replaced(4));
    for length in [0, 11, 12, 27] {
        assert_eq!(refused(&|blocks| blocks[4].3.truncate(length)), replaced(4));
    }
    for at in 8..68 {
        let found = refused(&|blocks| blocks[0].3[at] ^= 1);
        assert!(found.starts_with("0 the block is whole, but the key in it was changed"), "{at}: {found}");
    }
    assert!(refused(&|blocks| blocks[0].3.truncate(67)).contains("the key in it was changed"));
    // Another key's name: that key is asked for.
    assert!(refused(&|blocks| blocks[0].3[0] ^= 1).contains("NeedsKey"));
    // In the clear among what is encrypted, and the other way round.
    let clear = raw(&small());
    assert!(
        refused(&|blocks| blocks.insert(2, clear[1].clone()))
            .contains("2 the block is whole, but it is not encrypted, and those before it are")
    );
    assert!(
        refused(&|blocks| drop(blocks.remove(0)))
            .contains("0 the block is whole, but it is encrypted, and no key stands before it")
    );
    assert!(
        refused(&|blocks| blocks.insert(1, other[0].clone()))
            .contains("1 the block is whole, but it holds a key, and is not the first")
    );
    // What cannot be opened is no reason to take what is in the clear for it.
    let mut mixed = blocks.clone();
    mixed.insert(2, clear[1].clone());
    assert!(Scan::new().run(&chained(&mixed)[..], &mut |_| {}).is_err());
}

#[test]
fn a_crash_takes_the_key_and_nothing_else_to_recover() {
    let folder = folder();
    let first = recorder_by(folder.path(), by(Some(1), &[]));
    let mut recording = first.open(&head(1), timestamp()).unwrap();
    record(&mut recording);
    drop(recording);
    let (open, sealed) = (open_path(folder.path(), 1), sealed_path(folder.path(), 1));
    let written = fs::read(&open).unwrap();
    // Without its key it is left for the recovery that has it.
    for encryption in [by(None, &[]), by(Some(2), &[3])] {
        let recovered = recorder_by(folder.path(), encryption).recover(timestamp()).unwrap();
        let Outcome::Failed(RecorderError::NeedsKey { key: needed, .. }) = &recovered[0].outcome else {
            panic!("{recovered:?}")
        };
        assert_eq!((*needed, fs::read(&open).unwrap()), (key(1).id(), written.clone()));
    }
    // With another key in its place, it is packed by that; and never in the clear, also where nothing is encrypted any more.
    for (encryption, packed_by) in [(by(Some(2), &[1]), 2), (by(None, &[1]), 1), (by(Some(1), &[]), 1)] {
        let recorder = recorder_by(folder.path(), encryption);
        let recovered = recorder.recover(timestamp()).unwrap();
        assert!(matches!(recovered[0].outcome, Outcome::Sealed { torn_bytes: 0 }), "{recovered:?}");
        let bytes = fs::read(&sealed).unwrap();
        assert_eq!(bytes[96..104], *key(packed_by).id().as_bytes());
        assert_eq!(read(&bytes, keys(&[packed_by])).0.len(), 42);
        assert!(!contains(&bytes, b"select"));
        assert_eq!(
            recorder.list(5).unwrap().sessions[0].state,
            State::Sealed(super::super::Ending::Interrupted)
        );
        fs::remove_file(&sealed).unwrap();
        fs::write(&open, &written).unwrap();
    }
    // Where it is sealed in place, the block that is written anew has the number of the one that was cut off, and another nonce.
    let borders = borders(&written);
    let (torn, last) = (borders[borders.len() - 1] - 1, borders[borders.len() - 2]);
    fs::write(&open, &written[..torn]).unwrap();
    fs::create_dir_all(packing_name(&sealed).join("x")).unwrap();
    let recovered = recorder_by(folder.path(), by(None, &[1])).recover(timestamp()).unwrap();
    assert!(matches!(recovered[0].outcome, Outcome::Sealed { .. }), "{recovered:?}");
    let bytes = fs::read(&sealed).unwrap();
    assert_eq!(bytes[..last], written[..last]);
    let (before, after) = (&written[last + 96..last + 108], &bytes[last + 96..last + 108]);
    assert_eq!(before[4..], after[4..]);
    assert_ne!(before[..4], after[..4], "two blocks were encrypted with one nonce");
    assert_eq!(read(&bytes, keys(&[1])).0.len(), 41);
}

/// Of keys that were replaced, what they encrypted is still read.
#[test]
fn old_keys_still_read() {
    let folder = folder();
    for (number, encryption) in [(1, by(Some(1), &[])), (2, by(Some(2), &[1])), (3, by(None, &[1, 2]))] {
        let recorder = recorder_by(folder.path(), encryption);
        recorder.open(&head(number), timestamp()).unwrap().seal(&end()).unwrap();
        assert_eq!(recorder.list(9).unwrap().sessions.len(), usize::try_from(number).unwrap());
    }
    let seen =
        |numbers: &[u8]| Library::with_keys(folder.path(), keys(numbers)).list(9).unwrap().sessions.len();
    assert_eq!((seen(&[]), seen(&[1]), seen(&[2]), seen(&[1, 2])), (1, 2, 2, 3));
}
