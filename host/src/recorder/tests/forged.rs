//! Who can write the folder can write all of a recording anew, with a chain that fits. What they cannot do is sign it.

use super::super::footer::Parsed;
use super::super::format::{BlockKind, Header, SIGNED};
use super::super::reader::{Flaw, ReadError};
use super::super::sign::{PublicKeys, Statement};
use super::super::verify::Scan;
use super::super::{Report, Signed, Status, verify_by};
use super::*;
use std::fs;

/// Bytes of the signature and the key's id, and of the tail.
const SIGNATURE: usize = 72;
const TAIL: usize = 8;

fn judged(bytes: &[u8], keys: &PublicKeys) -> Report {
    let folder = directory();
    let path = folder.path().join("evidence.chrec");
    fs::write(&path, bytes).unwrap();
    verify_by(&path, keys, &mut |_, _| {}).unwrap()
}

fn signed(bytes: &[u8]) -> Signed {
    let report = judged(bytes, &signer().public().into());
    assert!(matches!(report.status, Status::Intact(_)), "{report:?}");
    report.signed.unwrap()
}

/// A recording with another footer, whose chain fits.
fn with_footer(bytes: &[u8], flags: u16, payload: &[u8]) -> Vec<u8> {
    let borders = borders(bytes);
    let last = borders.len() - 2;
    let previous = Header::parse(&bytes[borders[last - 1]..]).unwrap().hash;
    let header = Header::seal_as((BlockKind::Footer, flags), last as u64, 0, previous, payload);
    [&bytes[..borders[last]], &header.encode(), payload].concat()
}

/// JSON, signature with key id, and tail of a footer.
fn parts(bytes: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let borders = borders(bytes);
    let payload = &bytes[borders[borders.len() - 2] + 96..];
    let (json, rest) = payload.split_at(payload.len() - SIGNATURE - TAIL);
    (json.to_vec(), rest[..SIGNATURE].to_vec(), rest[SIGNATURE..].to_vec())
}

#[test]
fn what_the_gateway_sealed_is_signed_by_it() {
    let bytes = small();
    assert_eq!(signed(&bytes), Signed::By(signer().id()));
    // The same bytes, written again by the same hands, are what the test forges with.
    let (json, signature, tail) = parts(&bytes);
    assert_eq!(with_footer(&bytes, SIGNED, &[json, signature, tail].concat()), bytes);
    assert_eq!(judged(&bytes, &PublicKeys::default()).signed, Some(Signed::ByUnknown(signer().id())));
}

#[test]
fn a_recording_that_was_written_anew_is_not_signed_by_the_gateway() {
    let theirs = Signer::generate().unwrap().0;
    let anew = small_by("2", theirs.clone());
    assert_eq!(signed(&anew), Signed::ByUnknown(theirs.id()));
    // Also when it says that it is.
    let (json, mut signature, tail) = parts(&anew);
    signature[64..].copy_from_slice(signer().id().as_bytes());
    let lies = with_footer(&anew, SIGNED, &[json, signature, tail].concat());
    assert_eq!(signed(&lies), Signed::Wrong(signer().id()));
    // Of several keys each counts: one that was replaced still verifies what it signed.
    let mut both = PublicKeys::from(signer().public());
    both.add(theirs.public());
    assert_eq!(judged(&anew, &both).signed, Some(Signed::By(theirs.id())));
    assert_eq!(judged(&small(), &both).signed, Some(Signed::By(signer().id())));
}

#[test]
fn the_signature_of_another_recording_does_not_fit() {
    let (ours, other) = (small(), small_of("2"));
    let (json, _, tail) = parts(&ours);
    let (other_json, other_signature, other_tail) = parts(&other);
    // Its signature alone.
    let taken = with_footer(&ours, SIGNED, &[json, other_signature.clone(), tail].concat());
    assert_eq!(signed(&taken), Signed::Wrong(signer().id()));
    // All of its footer: signed, and of other blocks.
    let taken = with_footer(&ours, SIGNED, &[other_json, other_signature, other_tail].concat());
    let report = judged(&taken, &signer().public().into());
    let Status::Damaged(damage) = report.status else { panic!("{report:?}") };
    assert!(matches!(damage.what, Flaw::Footer(_)), "{damage}");
    assert_eq!(report.signed, None);
}

#[test]
fn a_signature_that_was_taken_off_is_missed() {
    let bytes = small();
    let (json, signature, tail) = parts(&bytes);
    let length = u32::from_le_bytes(tail[..4].try_into().unwrap()) - SIGNATURE as u32;
    let tail = [&length.to_le_bytes()[..], b"CHRZ"].concat();
    let stripped = with_footer(&bytes, 0, &[&json[..], &tail].concat());
    assert_eq!(signed(&stripped), Signed::Not);
    // With the flag left, there is no footer to be read; with the flag alone gone, the signature is no JSON.
    for (flags, payload) in
        [(SIGNED, [&json[..], &tail].concat()), (0, [&json[..], &signature, &tail].concat())]
    {
        let error = Scan::new().run(&with_footer(&bytes, flags, &payload)[..], &mut |_| {}).unwrap_err();
        let ReadError::Damage(damage) = error else { panic!("{error}") };
        assert_eq!(damage.what, Flaw::Content("its footer cannot be read"));
    }
}

/// What no reader can compare with the blocks is signed all the same.
#[test]
fn what_only_the_writer_knew_is_signed() {
    let bytes = small();
    let (json, signature, tail) = parts(&bytes);
    let json = String::from_utf8(json).unwrap();
    let changed = json.replacen("\"dropped_bytes\":0", "\"dropped_bytes\":9", 1);
    assert_ne!(changed, json);
    let forged = with_footer(&bytes, SIGNED, &[changed.as_bytes(), &signature, &tail].concat());
    assert_eq!(signed(&forged), Signed::Wrong(signer().id()));
}

#[test]
fn a_signature_of_another_kind_is_none_of_a_footer() {
    let bytes = small();
    let (json, _, tail) = parts(&bytes);
    for kind in [Statement::Checkpoint, Statement::Tombstone] {
        let signature = signer().sign(kind, &json).unwrap();
        let signature = [&signature.bytes[..], signature.key.as_bytes()].concat();
        let forged = with_footer(&bytes, SIGNED, &[&json[..], &signature, &tail].concat());
        assert_eq!(signed(&forged), Signed::Wrong(signer().id()), "{kind:?}");
    }
}

#[test]
fn a_footer_that_is_shorter_than_a_signature_is_none() {
    for length in 0..SIGNATURE + TAIL + 3 {
        assert!(Parsed::new(&vec![b' '; length], SIGNED).is_none(), "{length}");
    }
}

/// What a crash left is signed by the gateway that recovers it.
#[test]
fn a_recovered_recording_is_signed() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    drop(recorder.open(&head(1), timestamp()).unwrap());
    let recovered = recorder.recover(timestamp()).unwrap();
    let report = verify_by(&recovered[0].path, &signer().public().into(), &mut |_, _| {}).unwrap();
    assert_eq!(report.signed, Some(Signed::By(signer().id())));
    assert_eq!(report.status, Status::Intact(super::super::Ending::Interrupted));
}
