//! What was written in small blocks is packed at the end: the same events, wherever it is interrupted, and never less.

use super::super::facts::{Footer, Totals};
use super::super::format::{BlockKind, COMPRESSED, Hash, Header, MAX_PAYLOAD_BYTES};
use super::super::pack::{self, Packing, Workbench};
use super::super::reader::Reader;
use super::super::store::packing_name;
use super::super::verify::Scan;
use super::super::{Ending, Outcome, Signed, Status, summary, verify, verify_by};
use super::crash::{leave, open_path, sealed_path};
use super::*;
use std::fs;
use std::sync::LazyLock;

/// The blocks of a session that has ended, in front of the footer.
fn journal_of(value: &str, operations: u64) -> Vec<u8> {
    let memory = Memory::default();
    let mut recording = memory.record(&Caps::default());
    for operation in 1..=operations {
        recording.raw(EventKind::Operation, operation, &[b"select ", value.as_bytes()]);
        recording.json(EventKind::Decision, operation, &serde_json::json!({ "allow": operation }));
        recording.raw(EventKind::Rows, operation, &[&[b'r'; 300]]);
        recording.commit().unwrap();
    }
    recording.seal(&end()).unwrap();
    let bytes = memory.bytes();
    let borders = borders(&bytes);
    bytes[..borders[borders.len() - 2]].to_vec()
}

/// Compressed as a whole, so that there is something to compress.
pub(super) fn journal() -> Vec<u8> {
    journal_of("1", 200)
}

fn packing<'a>(journal: &'a Footer, signer: &'a Signer) -> Packing<'a> {
    static PLAIN: LazyLock<Encryption> = LazyLock::new(Encryption::default);
    Packing { journal, signer, encryption: &PLAIN }
}

fn pack(journal: &[u8], to: impl Write, wanted: &Packing<'_>) -> io::Result<Totals> {
    pack::pack(journal, to, wanted, &mut Workbench::new())
}

pub(super) fn packed(journal: &[u8], to: impl Write) -> io::Result<Totals> {
    let mut scan = Scan::new();
    scan.run(journal, &mut |_| {}).unwrap_err();
    let footer = scan.totals.footer(session(1), Ending::Sealed, end());
    pack(journal, to, &packing(&footer, &signer()))
}

#[test]
fn a_packed_recording_has_the_same_events_and_is_shorter() {
    let journal = journal();
    let mut bytes = Vec::new();
    let totals = packed(&journal, &mut bytes).unwrap();
    assert_eq!(totals.bytes, bytes.len() as u64);
    assert!(bytes.len() * 4 < journal.len(), "{} of {}", bytes.len(), journal.len());
    assert_eq!(events(&bytes), events(&journal));
    let mut scan = Scan::new();
    let footer = scan.run(&bytes[..], &mut |_| {}).unwrap();
    assert_eq!(scan.totals, totals);
    let last = Header::parse(&journal[borders(&journal)[borders(&journal).len() - 2]..]).unwrap().hash;
    assert_eq!((footer.packed_from, footer.unpacked), (Some(last.to_string()), None));
    // The head is a block of its own, and readable as it is.
    let borders = borders(&bytes);
    assert_eq!(borders.len(), 4, "head, all events, footer");
    assert_eq!(bytes[..borders[1]], journal[..borders[1]]);
    assert_eq!(u16::from_le_bytes([bytes[borders[1] + 6], bytes[borders[1] + 7]]), COMPRESSED);
}

#[test]
fn whatever_is_long_is_packed_in_blocks_that_a_reader_can_hold() {
    let memory = Memory::default();
    let mut recording = memory.record(&Caps::default());
    let mut random = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    })
    .take(3_000_000)
    .collect();
    recording.raw(EventKind::Operation, 1, &[&noise]);
    recording.json(EventKind::Warning, 1, &"w".repeat(3_000_000));
    recording.seal(&end()).unwrap();
    let bytes = memory.bytes();
    let journal = &bytes[..borders(&bytes)[borders(&bytes).len() - 2]];
    let mut bytes = Vec::new();
    packed(journal, &mut bytes).unwrap();
    assert_eq!(events(&bytes), events(journal));
    // What cannot be compressed is stored as it is.
    let flags = |at: &usize| bytes[at + 6];
    let borders = borders(&bytes);
    assert!(borders[1..4].iter().all(|at| flags(at) == 0), "noise");
    assert!(borders[4..borders.len() - 2].iter().any(|at| flags(at) == 1), "what repeats itself");
}

/// Whoever makes a recording may say what they like about what it holds.
#[test]
fn what_decompresses_to_more_than_a_reader_holds_is_refused() {
    let limit = MAX_PAYLOAD_BYTES as usize;
    let block = |payload: &[u8]| {
        let header = Header::seal_as((BlockKind::Events, COMPRESSED), 0, 1, Hash::NONE, payload);
        [&header.encode()[..], payload].concat()
    };
    let error = |payload: &[u8]| {
        let mut read = 0;
        let bytes = block(payload);
        let stopped = Reader::new(&bytes[..]).events().inspect(|_| read += 1).find_map(Result::err);
        (read, stopped.map(|error| error.to_string()).unwrap_or_default())
    };
    let refused = (1, "block 0, byte 0: the block is whole, but what it holds cannot be decompressed: it was not written by a recorder".to_owned());
    let zeros = |length: usize| zstd::bulk::compress(&vec![0; length], 3).unwrap();
    let bomb = zeros(limit + 1);
    assert!(bomb.len() < 4096, "{}", bomb.len());
    assert_eq!(error(&bomb), refused);
    // As much as a reader holds is decompressed, and is then no event.
    assert!(error(&zeros(limit)).1.contains("uses event kind 0x0"));
    // Without its size, with a wrong one, two of them, cut, or none at all.
    let streamed = zstd::stream::encode_all(&[0_u8; 10_000][..], 3).unwrap();
    assert!(matches!(zstd::zstd_safe::get_frame_content_size(&streamed), Ok(None)));
    assert_eq!(error(&streamed), refused);
    let good = zeros(10_000);
    assert_eq!(error(&[&good[..], &good].concat()), refused);
    assert_eq!(error(&good[..good.len() - 1]), refused);
    assert_eq!(error(b""), refused);
    let mut lies = good.clone();
    lies[5] ^= 1;
    assert_eq!(error(&lies), refused);
}

/// Whatever it breaks on, what was there is left as it is; it is tried with a disk that is full after each number of bytes.
#[test]
fn packing_that_breaks_off_says_so() {
    let journal = journal_of("1", 30);
    let mut whole = Vec::new();
    packed(&journal, &mut whole).unwrap();
    for room in 0..whole.len() {
        let full = Memory::with(|disk| disk.room = Some(room));
        let error = packed(&journal, full.clone()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{room}");
        assert!(Scan::new().run(&full.bytes()[..], &mut |_| {}).is_err(), "{room}");
    }
    // What is damaged, or is not all of it, is never packed.
    let borders = borders(&journal);
    let mut changed = journal.clone();
    changed[borders[3] + 100] ^= 1;
    let mut scan = Scan::new();
    scan.run(&journal[..], &mut |_| {}).unwrap_err();
    let footer = scan.totals.footer(session(1), Ending::Sealed, end());
    for bytes in [&changed[..], &journal[..borders[4]], &journal[..borders[4] + 20], &whole, b""] {
        assert!(pack(bytes, io::sink(), &packing(&footer, &signer())).is_err());
    }
}

/// A folder in its place keeps a recording from being packed, whoever runs this.
fn obstacle(directory: &Path, number: u128) -> PathBuf {
    let path = packing_name(&sealed_path(directory, number));
    fs::create_dir_all(path.join("x")).unwrap();
    path
}

#[test]
fn what_cannot_be_packed_is_sealed_where_it_is_and_says_so() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let mut recording = recorder.open(&head(1), timestamp()).unwrap();
    recording.raw(EventKind::Operation, 1, &[b"select 1"]);
    recording.commit().unwrap();
    obstacle(folder.path(), 1);
    let written = fs::read(open_path(folder.path(), 1)).unwrap();
    let sealed = recording.seal(&end()).unwrap();
    assert!(sealed.unpacked.is_some());
    let bytes = fs::read(&sealed.path).unwrap();
    assert_eq!(bytes[..written.len()], written);
    assert!(!open_path(folder.path(), 1).exists());
    let report = verify_by(&sealed.path, &signer().public().into(), &mut |_, _| {}).unwrap();
    assert_eq!(report.status, Status::Intact(Ending::Sealed));
    assert_eq!((report.signed, report.unpacked), (Some(Signed::By(signer().id())), sealed.unpacked));
    // The same where the recovery cannot.
    let journal = journal();
    leave(folder.path(), &journal);
    fs::remove_file(&sealed.path).unwrap();
    let recovered = recorder.recover(timestamp()).unwrap();
    assert!(matches!(recovered[0].outcome, Outcome::Sealed { torn_bytes: 0 }), "{recovered:?}");
    assert!(fs::read(&recovered[0].path).unwrap().starts_with(&journal));
    assert!(verify(&recovered[0].path).unwrap().unpacked.is_some());
}

/// The process may end at any byte of what is being packed, and before or after its new name.
#[test]
fn after_a_crash_at_every_step_of_packing_all_events_are_there_once() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let journal = journal_of("1", 3);
    let (open, sealed) = (open_path(folder.path(), 1), sealed_path(folder.path(), 1));
    let mut whole = Vec::new();
    packed(&journal, &mut whole).unwrap();
    for left in 0..=whole.len() {
        leave(folder.path(), &journal);
        fs::write(packing_name(&sealed), &whole[..left]).unwrap();
        let recovered = recorder.recover(timestamp()).unwrap();
        assert!(matches!(recovered[0].outcome, Outcome::Sealed { torn_bytes: 0 }), "{left}: {recovered:?}");
        assert_eq!(events(&fs::read(&sealed).unwrap()), events(&journal), "{left}");
        let names: Vec<_> =
            fs::read_dir(sealed.parent().unwrap()).unwrap().map(|one| one.unwrap().path()).collect();
        assert_eq!(names, std::slice::from_ref(&sealed), "{left}");
        assert_eq!(summary(&sealed).unwrap().footer.unwrap().unpacked, None);
        fs::remove_file(&sealed).unwrap();
    }
    // It has its name, and what it was packed from is still there, perhaps with room behind it.
    for room in [0, 5000] {
        leave(folder.path(), &[&journal[..], &vec![0; room]].concat());
        fs::write(&sealed, &whole).unwrap();
        assert_eq!(recorder.list(10).unwrap().sessions.len(), 1, "listed once");
        let recovered = recorder.recover(timestamp()).unwrap();
        assert!(matches!(recovered[0].outcome, Outcome::WasSealed), "{recovered:?}");
        assert!(!open.exists());
        assert_eq!(fs::read(&sealed).unwrap(), whole);
        fs::remove_file(&sealed).unwrap();
    }
    // Something was being packed, and is gone: nobody needs what is left.
    fs::write(packing_name(&sealed), "left").unwrap();
    assert!(recorder.recover(timestamp()).unwrap().is_empty());
    assert!(!packing_name(&sealed).exists());
}

/// What stands under the final name has to be what this gateway made of these very blocks.
#[test]
fn blocks_are_only_deleted_for_what_was_packed_from_them() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let journal = journal_of("1", 3);
    let sealed = sealed_path(folder.path(), 1);
    let footer_of = |journal: &[u8]| {
        let mut scan = Scan::new();
        scan.run(journal, &mut |_| {}).unwrap_err();
        scan.totals.footer(session(1), Ending::Sealed, end())
    };
    let pack_by = |journal: &[u8], signer: &Signer| {
        let mut bytes = Vec::new();
        pack(journal, &mut bytes, &packing(&footer_of(journal), signer)).unwrap();
        bytes
    };
    let ours = pack_by(&journal, &signer());
    let (cut, mut changed) = (ours[..ours.len() - 1].to_vec(), ours.clone());
    changed[200] ^= 1;
    let of_others = pack_by(&journal_of("2", 3), &signer());
    let by_others = pack_by(&journal, &Signer::generate().unwrap().0);
    for bytes in [cut, changed, of_others, by_others, b"nothing".to_vec()] {
        let open = leave(folder.path(), &journal);
        fs::write(&sealed, &bytes).unwrap();
        let recovered = recorder.recover(timestamp()).unwrap();
        assert!(matches!(recovered[0].outcome, Outcome::Failed(_)), "{recovered:?}");
        assert_eq!((fs::read(open).unwrap(), fs::read(&sealed).unwrap()), (journal.clone(), bytes));
    }
}
