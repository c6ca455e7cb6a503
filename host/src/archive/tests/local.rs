//! What goes here because the store has it, and there because the rules have deleted it here.

use super::*;
use crate::recorder::checkpoint::{Cause, Chain, Findings, Found};
use crate::recorder::retain::{Keep, Look, Retention};
use crate::recorder::tests::head;
use crate::recorder::{EndReason, SessionEnd, SessionId};
use crate::state::{Deletion, MayDelete, Preservation, Preserved, SessionStart};
use chaperone_core::name::{PreservationId, WindowId};
use std::path::PathBuf;

impl Bench {
    /// Seals a recording that ends now.
    pub(crate) async fn record(&self, number: u128) -> PathBuf {
        let (now, head) = (self.clock.now(), head(number));
        let start = SessionStart {
            id: head.session,
            caller: (&head.identity).into(),
            target: head.target.clone(),
            window: WindowId::new(uuid::Uuid::now_v7()),
        };
        self.state.state.session_started(&start, now).await.unwrap();
        let end =
            SessionEnd { ended: now, reason: EndReason::ClientClosed, code: None, detail: String::new() };
        self.recorder().open(&head, now).unwrap().seal(&end).unwrap().path
    }

    pub(crate) fn object_of(&self, path: &Path) -> String {
        format!("prod/gw/{}", path.strip_prefix(self.folder.path()).unwrap().display())
    }

    pub(crate) fn checkpoint(&self) {
        self.recorder().checkpoint(self.clock.now(), Cause::Daily).unwrap();
    }

    pub(crate) fn findings(&self) -> Findings {
        let recorder = self.recorder();
        let found = recorder.library().all().unwrap().into_iter().map(|path| {
            let report = crate::recorder::verify(&path).unwrap();
            let whole = matches!(report.status, crate::recorder::Status::Intact(_));
            let found = if whole { Found::Whole(report.last_hash) } else { Found::Other };
            (crate::recorder::session_of(&path).unwrap(), found)
        });
        let chain = Chain::read(self.folder.path(), &recorder.public_key().into()).unwrap();
        chain.compare(&found.collect(), None).unwrap()
    }

    /// Time passes, and the uploader looks at everything.
    pub(crate) async fn later(&self, uploader: &mut Uploader, time: Duration) {
        self.clock.pass(time);
        uploader.hurry();
        uploader.round().await;
        uploader.hurry();
        uploader.round().await;
    }

    fn receipt(&self, path: &Path) -> PathBuf {
        path.with_extension("chstored")
    }

    /// What the rules do, without anybody who asks whether it is time.
    async fn delete_by_the_rules(&self, noted: bool) {
        let rules = Retention { default: Keep::For(Duration::from_secs(1)), ..Retention::default() };
        let recorder = self.recorder();
        self.clock.pass(Duration::from_secs(2));
        let Look::Due { due, .. } = recorder.due(&rules, self.clock.now()).unwrap() else { panic!() };
        for one in due {
            let principal = recorder.examine(&one).unwrap();
            let deletion = Deletion {
                session: one.session,
                target: &one.target,
                principal: &principal,
                rule: &one.rule,
            };
            if noted {
                let may = self.state.state.may_delete(&deletion, self.clock.now()).await.unwrap();
                assert_eq!(may, MayDelete::Yes);
            }
            recorder.delete(&one, self.clock.now()).unwrap();
        }
    }

    async fn preserve(&self, session: SessionId) -> PreservationId {
        let id = PreservationId::new(uuid::Uuid::now_v7());
        let by = head(1).identity.principal;
        let entry = Preservation {
            id,
            preserved: Preserved::Session(session),
            reason: "case 7".into(),
            by,
            made: self.clock.now(),
        };
        self.state.state.preserve(&entry).await.unwrap();
        id
    }
}

fn there(paths: &[PathBuf]) -> Vec<bool> {
    paths.iter().map(|path| path.exists()).collect()
}

#[tokio::test]
async fn a_local_copy_goes_when_a_checkpoint_names_it_and_the_store_gives_it_back() {
    let bench = Bench::new().await;
    let mut paths = Vec::new();
    for number in 1..=4 {
        paths.push(bench.record(number).await);
    }
    let mut uploader = bench.uploader();
    bench.later(&mut uploader, Duration::ZERO).await;
    assert_eq!(bench.waits(), (0, 0));
    bench.later(&mut uploader, 2 * DAY).await;
    assert_eq!(there(&paths), [true; 4], "no checkpoint names them");
    bench.clock.pass(DAY);
    // It says that they are sealed, and is itself brought there.
    bench.checkpoint();
    // One was deleted in the store, one was replaced there by as many bytes, and one was changed here.
    let gone = bench.server.kept.lock().unwrap().objects.remove(&bench.object_of(&paths[1])).unwrap();
    let mut other = bench.server.object(&bench.object_of(&paths[2])).unwrap();
    let own = other.clone();
    *other.last_mut().unwrap() ^= 1;
    bench.server.put(&bench.object_of(&paths[2]), &other);
    let local = std::fs::read(&paths[3]).unwrap();
    std::fs::remove_file(&paths[3]).unwrap();
    std::fs::write(&paths[3], "other").unwrap();
    bench.later(&mut uploader, Duration::ZERO).await;
    assert_eq!(there(&paths), [false, true, true, true]);
    assert!(bench.receipt(&paths[0]).exists());
    bench.server.put(&bench.object_of(&paths[2]), &own);
    bench.server.put(&bench.object_of(&paths[1]), &gone);
    bench.server.goes_wrong(Fault::Says(StatusCode::SERVICE_UNAVAILABLE, ""));
    bench.later(&mut uploader, DAY).await;
    assert_eq!(there(&paths), [false, true, true, true], "nobody can say");
    bench.server.goes_wrong(Fault::None);
    bench.later(&mut uploader, DAY).await;
    assert_eq!(there(&paths), [false, false, false, true]);
    std::fs::write(&paths[3], local).unwrap();
    assert!(bench.server.object("prod/gw/checkpoints/00000001.json").is_some());
    let findings = bench.findings();
    assert_eq!((&findings.problems[..], findings.away.len(), findings.named), (&[][..], 3, 1));
    // It can be had back, and is then what it was.
    let away = &findings.away[0];
    let to = tempfile::tempdir().unwrap();
    let archive = Archive::open(&bench.store).unwrap();
    let digest = away.receipt.digest.to_string();
    assert_eq!(archive.fetch(&away.file, to.path(), Some(&digest)).await.unwrap(), Fetched::Now);
    assert_eq!(archive.fetch(&away.file, to.path(), Some(&digest)).await.unwrap(), Fetched::Before);
    bench.server.put(&bench.object_of(&paths[0]), &other);
    let elsewhere = tempfile::tempdir().unwrap();
    let changed = archive.fetch(&away.file, elsewhere.path(), Some(&digest)).await;
    assert!(matches!(changed, Err(ArchiveError::Changed)));
    assert!(!away.file.path(elsewhere.path()).exists());
}

#[tokio::test]
async fn a_local_copy_stays_until_whoever_is_fed_from_it_has_read_it() {
    use crate::state::{Advance, Standing};
    let bench = Bench::new().await;
    let (path, session) = (bench.record(1).await, head(1).session);
    bench.checkpoint();
    let mut uploader = bench.uploader().after(vec!["stream:siem".into(), "search".into()]);
    bench.later(&mut uploader, Duration::ZERO).await;
    for consumer in ["search", "stream:siem"] {
        bench.later(&mut uploader, 2 * DAY).await;
        assert!(path.exists(), "{consumer} has not read it");
        let (now, state) = (bench.clock.now(), &bench.state.state);
        state.claim_recording(consumer, session, now, now).await.unwrap().unwrap();
        let step = Advance { consumer, session, from: 0, to: 2, standing: Standing::Done, until: now };
        state.advance(step).await.unwrap();
    }
    bench.later(&mut uploader, DAY).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn what_was_left_half_fetched_is_removed() {
    let bench = Bench::new().await;
    let (old, new) =
        (bench.folder.path().join(".fetchingOLD"), bench.folder.path().join(FOLDER).join(".fetchingNEW"));
    let day = std::time::SystemTime::now() - DAY - Duration::from_secs(1);
    for (path, time) in [(&old, Some(day)), (&new, None)] {
        let file = std::fs::File::create(path).unwrap();
        time.into_iter().for_each(|time| file.set_modified(time).unwrap());
    }
    bench.uploader().round().await;
    assert!(!old.exists() && new.exists(), "another process may be at it");
}

#[tokio::test]
async fn a_receipt_that_this_gateway_has_not_left_there_counts_for_nothing() {
    let bench = Bench::new().await;
    let (first, second) = (bench.record(1).await, bench.record(2).await);
    bench.checkpoint();
    let mut uploader = bench.uploader();
    bench.later(&mut uploader, Duration::ZERO).await;
    bench.later(&mut uploader, 2 * DAY).await;
    assert_eq!((bench.findings().problems.len(), bench.findings().away.len()), (0, 2));
    // Somebody takes the receipt away.
    let (receipt, other) = (bench.receipt(&first), bench.receipt(&second));
    let own = std::fs::read_to_string(&receipt).unwrap();
    std::fs::remove_file(&receipt).unwrap();
    assert_eq!(bench.findings().problems.len(), 1);
    // Or puts another's in its place, also with its own session, or signs one.
    let changed = std::fs::read_to_string(&other).unwrap();
    for text in [
        changed.clone(),
        changed.replace(&head(2).session.to_string(), &head(1).session.to_string()),
        own.replace("s3://recs", "s3://mine"),
        "{}\n{}\n".to_owned(),
    ] {
        std::fs::write(&receipt, text).unwrap();
        assert_eq!(bench.findings().problems.len(), 1);
        std::fs::remove_file(&receipt).unwrap();
    }
    std::fs::write(&receipt, own).unwrap();
    assert_eq!(bench.findings().problems.len(), 0);
}

#[tokio::test]
async fn what_the_rules_delete_here_is_deleted_in_the_store() {
    let mut bench = Bench::new().await;
    bench.store.keep_local = None;
    let path = bench.record(1).await;
    bench.checkpoint();
    let mut uploader = bench.uploader();
    bench.later(&mut uploader, Duration::ZERO).await;
    bench.delete_by_the_rules(true).await;
    assert!(!path.exists());
    // The store does not do it, or says that it has: then it is tried again, and can be seen.
    let undeleted = || bench.metrics.read().undeleted;
    for fault in [StatusCode::FORBIDDEN, StatusCode::NO_CONTENT] {
        bench.server.goes_wrong(Fault::DeletesNothing(fault));
        bench.later(&mut uploader, DAY).await;
        assert!(bench.server.object(&bench.object_of(&path)).is_some());
        assert_eq!((undeleted(), bench.metrics.read_deleted()), (1, 0));
    }
    bench.server.goes_wrong(Fault::None);
    // Another process, which knows nothing of it but what is kept.
    let mut uploader = bench.uploader();
    bench.later(&mut uploader, DAY).await;
    assert_eq!(bench.server.object(&bench.object_of(&path)), None);
    assert_eq!((undeleted(), bench.metrics.read_deleted()), (0, 1));
    let tombstone = bench.object_of(&path.with_extension("chtomb"));
    assert!(bench.server.object(&tombstone).is_some(), "its tombstone is there");
    let asked = bench.server.kept.lock().unwrap().requests;
    bench.later(&mut uploader, DAY).await;
    assert_eq!(bench.server.kept.lock().unwrap().requests, asked, "once");
}

#[tokio::test]
async fn a_copy_in_the_store_stays_unless_everything_says_that_it_may_go() {
    let mut bench = Bench::new().await;
    bench.store.keep_local = None;
    let path = bench.record(1).await;
    bench.checkpoint();
    let mut uploader = bench.uploader();
    bench.later(&mut uploader, Duration::ZERO).await;
    let object = bench.object_of(&path);
    let own = bench.server.object(&object).unwrap();
    // Somebody removes the local file: nothing says that the rules did.
    std::fs::remove_file(&path).unwrap();
    bench.later(&mut uploader, DAY).await;
    assert!(bench.server.object(&object).is_some(), "no tombstone");
    // And puts a tombstone there that another key has signed.
    let tombstone = path.with_extension("chtomb");
    std::fs::write(&path, &own).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let config = crate::recorder::tests::config(elsewhere.path(), Caps::default());
    let signer = crate::recorder::sign::Signer::generate().unwrap().0;
    let other = Recorder::new(crate::recorder::RecorderConfig { signer, ..config }).unwrap();
    let day = elsewhere.path().join(path.parent().unwrap().file_name().unwrap());
    std::fs::create_dir(&day).unwrap();
    std::fs::copy(&path, day.join(path.file_name().unwrap())).unwrap();
    other.checkpoint(bench.clock.now(), Cause::Daily).unwrap();
    let rules = Retention { default: Keep::For(Duration::from_secs(1)), ..Retention::default() };
    let Look::Due { due, .. } = other.due(&rules, bench.clock.now()).unwrap() else { panic!() };
    other.delete(&due[0], bench.clock.now()).unwrap();
    std::fs::copy(day.join(tombstone.file_name().unwrap()), &tombstone).unwrap();
    std::fs::remove_file(&path).unwrap();
    bench.later(&mut uploader, DAY).await;
    assert!(bench.server.object(&object).is_some(), "another key's tombstone");
    assert_eq!(bench.metrics.read().undeleted, 1);
    std::fs::remove_file(&tombstone).unwrap();
    bench.server.kept.lock().unwrap().objects.remove(&bench.object_of(&tombstone));
    // Deleted as the rules do it, but the state store does not know of it.
    std::fs::write(&path, &own).unwrap();
    bench.delete_by_the_rules(false).await;
    bench.later(&mut uploader, DAY).await;
    assert!(bench.server.object(&object).is_some(), "nobody has noted it");
    let principal = head(1).identity.principal;
    let (target, session) = (head(1).target, head(1).session);
    let deletion = Deletion { session, target: &target, principal: &principal, rule: "1s" };
    bench.state.state.may_delete(&deletion, bench.clock.now()).await.unwrap();
    // Preserved when its file here was gone.
    let held = bench.preserve(session).await;
    bench.later(&mut uploader, DAY).await;
    assert!(bench.server.object(&object).is_some(), "it is preserved");
    assert!(bench.state.state.release(held, &principal, bench.clock.now()).await.unwrap());
    // Something else is in its place.
    let mut changed = own.clone();
    *changed.last_mut().unwrap() ^= 1;
    bench.server.put(&object, &changed);
    bench.later(&mut uploader, DAY).await;
    assert!(bench.server.object(&object).is_some(), "it is not what was recorded");
    bench.server.put(&object, &own);
    // The configuration leaves it to the store's own rules.
    bench.store.deletes = Deletes::No;
    bench.later(&mut bench.uploader(), DAY).await;
    assert!(bench.server.object(&object).is_some(), "it is not wanted");
    assert_eq!(bench.metrics.read_deleted(), 0);
    bench.later(&mut uploader, DAY).await;
    assert_eq!(bench.server.object(&object), None);
}
