//! Days go by: what is named, what is deleted, what stays.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod abroad;

use super::*;
use crate::grant::SimulatedClock;
use crate::recorder::retain::Keep;
use crate::recorder::sign::Signer;
use crate::recorder::{Caps, Encryption, EncryptionKey, EndReason, RecorderConfig, SessionEnd, checkpoint};
use crate::state::tests::{at, stores};
use crate::state::{Preservation, Preserved};
use chaperone_core::name::{PreservationId, TargetName};

const HOUR: Duration = Duration::from_secs(3600);

fn keeping(folder: &std::path::Path, state: State, clock: &Arc<SimulatedClock>) -> Keeping {
    let signer = Signer::generate().unwrap().0;
    let config = RecorderConfig { signer, ..crate::recorder::tests::config(folder, Caps::default()) };
    let recorder = Recorder::new(config).unwrap();
    let month = Keep::For(30 * 24 * HOUR);
    let retention = Retention { default: month, ..Retention::default() };
    Keeping {
        recorder,
        state,
        clock: clock.clone(),
        metrics: Arc::default(),
        is_elsewhere: false,
        retention,
        outside: None,
    }
}

/// Seals a recording that ends now.
fn seal(keeping: &Keeping, number: u128) -> std::path::PathBuf {
    let (now, head) = (keeping.clock.now(), crate::recorder::tests::head(number));
    let end = SessionEnd { ended: now, reason: EndReason::ClientClosed, code: None, detail: String::new() };
    keeping.recorder.open(&head, now).unwrap().seal(&end).unwrap().path
}

/// Days go by, each with its look.
async fn days(keeping: &Keeping, clock: &SimulatedClock, count: u32) {
    for _ in 0..count {
        clock.pass(24 * HOUR);
        keeping.look().await;
    }
}

fn verified(folder: &std::path::Path, keeping: &Keeping) -> checkpoint::Findings {
    let keys = keeping.recorder.public_key().into();
    let found = keeping.recorder.library().all().unwrap().into_iter();
    let found = found.map(|path| {
        let whole = crate::recorder::verify(&path).unwrap();
        (whole.session.unwrap(), checkpoint::Found::Whole(whole.last_hash))
    });
    checkpoint::Chain::read(folder, &keys).unwrap().compare(&found.collect(), None).unwrap()
}

#[tokio::test]
async fn what_is_old_is_deleted_and_what_is_preserved_stays() {
    for store in stores().await {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SimulatedClock::at(at(0)));
        let keeping = keeping(folder.path(), store.state.clone(), &clock);
        let (old, kept) = (seal(&keeping, 1), seal(&keeping, 2));
        let principal = crate::recorder::tests::head(2).identity.principal;
        keeping.look().await;
        days(&keeping, &clock, 29).await;
        let newer = seal(&keeping, 3);
        assert!(old.exists() && kept.exists(), "not yet");
        let by_target = |name: &str| Preservation {
            id: PreservationId::new(uuid::Uuid::now_v7()),
            preserved: Preserved::Target(TargetName::new(name).unwrap()),
            reason: "case 7".into(),
            by: principal.clone(),
            made: clock.now(),
        };
        let (other, preserved) = (by_target("other"), by_target("prod-logs"));
        for entry in [&other, &preserved] {
            store.state.preserve(entry).await.unwrap();
        }
        days(&keeping, &clock, 3).await;
        assert!(old.exists() && kept.exists() && newer.exists(), "preserved");
        keeping.note_preserved().await;
        let noted = crate::recorder::retain::preserved(folder.path()).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Preservation>>(&noted).unwrap().len(), 2);
        assert!(store.state.release(preserved.id, &principal, clock.now()).await.unwrap());
        days(&keeping, &clock, 1).await;
        assert!(!old.exists() && !kept.exists() && newer.exists());
        assert_eq!(keeping.metrics.recordings_deleted.read(), 2);
        let findings = verified(folder.path(), &keeping);
        assert_eq!((findings.problems, findings.deleted, findings.named), (vec![], 2, 1));
        // The next checkpoint names the tombstones.
        days(&keeping, &clock, 1).await;
        let findings = verified(folder.path(), &keeping);
        assert_eq!((findings.problems, findings.deleted), (vec![], 2));
        let events = store.state.audit_events().await.unwrap();
        let gone: Vec<_> = events.iter().filter(|event| event.event == "recording.deleted").collect();
        assert_eq!((gone.len(), &gone[0].detail["rule"]), (2, &json!("30days (default)")));
    }
}

#[tokio::test]
async fn beside_encrypted_recordings_nothing_is_said_of_what_is_preserved() {
    let store = stores().await.remove(0);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::at(at(0)));
    let plain = keeping(folder.path(), store.state.clone(), &clock);
    let preserved = Preservation {
        id: PreservationId::new(uuid::Uuid::now_v7()),
        preserved: Preserved::Target(TargetName::new("prod-logs").unwrap()),
        reason: "case 7".into(),
        by: crate::recorder::tests::head(1).identity.principal,
        made: clock.now(),
    };
    store.state.preserve(&preserved).await.unwrap();
    let noted = || String::from_utf8(crate::recorder::retain::preserved(folder.path()).unwrap()).unwrap();
    plain.note_preserved().await;
    assert!(noted().contains("case 7"), "{}", noted());
    let encryption = Encryption::new(Some(EncryptionKey::parse(&"0123456789abcdef".repeat(4)).unwrap()), []);
    let config = crate::recorder::tests::config(folder.path(), Caps::default());
    let recorder = Recorder::new(RecorderConfig { encryption, ..config }).unwrap();
    Keeping { recorder, ..plain }.note_preserved().await;
    assert_eq!(noted(), "[]");
}

#[tokio::test]
async fn without_a_store_nothing_is_deleted() {
    let store = stores().await.remove(0);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::at(at(0)));
    let keeping = keeping(folder.path(), store.state.clone(), &clock);
    let old = seal(&keeping, 1);
    keeping.look().await;
    days(&keeping, &clock, 29).await;
    store.state.close().await;
    days(&keeping, &clock, 3).await;
    assert!(old.exists());
    assert_eq!(keeping.metrics.recordings_deleted.read(), 0);
    assert_eq!(keeping.metrics.checkpoints.read(), 33, "checkpoints need no store");
}

#[tokio::test]
async fn a_clock_that_leaps_deletes_nothing_on_that_day() {
    let store = stores().await.remove(0);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::at(at(0)));
    let keeping = keeping(folder.path(), store.state.clone(), &clock);
    let old = seal(&keeping, 1);
    keeping.look().await;
    clock.pass(400 * 24 * HOUR);
    keeping.look().await;
    assert!(old.exists(), "it leapt");
    days(&keeping, &clock, 1).await;
    assert!(!old.exists(), "nobody has set it right");
}

#[tokio::test]
async fn without_a_checkpoint_nothing_is_deleted_and_what_was_changed_stays() {
    let store = stores().await.remove(0);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::at(at(0)));
    let keeping = keeping(folder.path(), store.state.clone(), &clock);
    let (old, changed) = (seal(&keeping, 1), seal(&keeping, 2));
    keeping.look().await;
    days(&keeping, &clock, 29).await;
    let mut bytes = std::fs::read(&changed).unwrap();
    bytes[200] ^= 1;
    std::fs::remove_file(&changed).unwrap();
    std::fs::write(&changed, bytes).unwrap();
    let (checkpoints, aside) = (folder.path().join("checkpoints"), folder.path().join("aside"));
    std::fs::rename(&checkpoints, &aside).unwrap();
    std::fs::write(&checkpoints, "in the way").unwrap();
    days(&keeping, &clock, 1).await;
    assert!(old.exists());
    std::fs::remove_file(&checkpoints).unwrap();
    std::fs::rename(&aside, &checkpoints).unwrap();
    days(&keeping, &clock, 2).await;
    assert!(!old.exists() && changed.exists());
    assert!(keeping.metrics.recordings_not_deleted.read() > 0);
}

#[tokio::test]
async fn there_is_one_checkpoint_a_day_and_none_at_a_stop_without_news() {
    for store in stores().await {
        let folder = tempfile::tempdir().unwrap();
        // 08:00 UTC.
        let clock = Arc::new(SimulatedClock::at(at(0)));
        let keeping = keeping(folder.path(), store.state.clone(), &clock);
        let count = || checkpoint::list(folder.path(), 100).unwrap().0.len();
        keeping.look().await;
        for hours in 0..15 {
            keeping.look().await;
            assert_eq!(count(), 1, "{hours}");
            clock.pass(HOUR);
        }
        clock.pass(HOUR);
        keeping.look().await;
        assert_eq!(count(), 2, "a day has begun");
        // Another gateway on this folder finds it there, and shows its hash.
        let other = Keeping {
            metrics: Arc::default(),
            recorder: keeping.recorder.clone(),
            ..self::keeping(folder.path(), store.state.clone(), &clock)
        };
        other.look().await;
        keeping.at_stop().await;
        assert_eq!(count(), 2);
        let newest = checkpoint::newest(folder.path()).unwrap();
        assert_eq!(*other.metrics.newest_checkpoint.lock().unwrap(), newest);
        assert_eq!(*keeping.metrics.newest_checkpoint.lock().unwrap(), newest);
        let elsewhere = Keeping { is_elsewhere: true, metrics: Arc::default(), ..other };
        elsewhere.look().await;
        assert_eq!(*elsewhere.metrics.newest_checkpoint.lock().unwrap(), None);
        let events = store.state.audit_events().await.unwrap();
        assert_eq!(
            (events.len(), events[0].event.as_str(), events[0].subject.as_str()),
            (2, "checkpoint.made", "2")
        );
        assert_eq!(events[0].detail["hash"], json!(newest.unwrap().hash));
    }
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_made_is_counted_and_tried_again() {
    let store = stores().await.remove(0);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::at(at(0)));
    let keeping = keeping(folder.path(), store.state.clone(), &clock);
    let inside = folder.path().join("checkpoints");
    std::fs::write(&inside, "in the way").unwrap();
    keeping.look().await;
    keeping.look().await;
    assert_eq!((keeping.metrics.checkpoints_failed.read(), keeping.metrics.checkpoints.read()), (2, 0));
    std::fs::remove_file(inside).unwrap();
    keeping.look().await;
    assert_eq!(keeping.metrics.checkpoints.read(), 1);
}
