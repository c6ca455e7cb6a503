//! Recordings that go: by hand, which is missed, and by the rules, which leaves a tombstone, unless somebody preserves them.

use chaperone::demo::issuer::{GroupsClaim, TokenSpec};
use chaperone::grant::Clock;
use chaperone::recorder::{Library, session_of};
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::stage::{AUDIENCE, CONSOLE, DBAS, Setting, Stage, first_id, object_id};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// The machine's clock, as it will be.
#[derive(Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.0
    }
}

/// Starts the gateway again when so much time has passed since the test began.
pub(crate) async fn later(stage: &mut Stage, ahead: Duration) {
    stage.restart_by(Some(Arc::new(Ahead(ahead)))).await.unwrap();
}

/// An operator's token of that time.
pub(crate) fn operator(stage: &Stage, ahead: Duration) -> String {
    let spec = TokenSpec::new(CallerKind::Human, &object_id(9), AUDIENCE, Timestamp::now() + ahead);
    let spec = spec.groups(GroupsClaim::Listed(vec![DBAS.to_owned()])).client(CONSOLE);
    stage.issuer.token(&spec).unwrap()
}

/// Sessions that end, one after the other, and their recordings.
pub(crate) async fn sessions(stage: &Stage, count: usize) -> Vec<PathBuf> {
    let token = stage.agent_with_window().unwrap();
    for number in 0..count {
        let ran = stage.psql(&token).unwrap().run(&format!("select {number}")).unwrap();
        assert_eq!(ran.success().unwrap(), format!("{number}\n"));
    }
    stage.until("sealed recordings", |stage| Ok(sealed(stage).len() == count)).await.unwrap();
    sealed(stage)
}

/// The sealed recordings, oldest first.
pub(crate) fn sealed(stage: &Stage) -> Vec<PathBuf> {
    let mut paths = Library::new(stage.recordings()).paths(usize::MAX).unwrap();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "chrec"));
    paths.reverse();
    paths
}

pub(crate) fn id(path: &Path) -> String {
    session_of(path).unwrap().to_string()
}

/// What `chaperone verify FOLDER` says to an auditor, who has the public key and no gateway.
fn verified(stage: &Stage, more: &[&str]) -> (Option<i32>, String) {
    let (folder, key) = (stage.recordings(), stage.path("recording-key.pub.pem"));
    let given = ["verify", folder.to_str().unwrap(), "--public-key", key.to_str().unwrap()];
    let ran = stage.chaperone("", &[&given[..], more].concat()).unwrap();
    (ran.status.code(), ran.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_deleted_by_hand_is_named_by_verify() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let paths = sessions(&stage, 3).await;
    stage.stop().await;
    let (code, said) = verified(&stage, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("3 recordings are named and there, 0 were deleted by the rules, 0 are not named"),
        "{said}"
    );
    // As the auditor has kept it elsewhere: from the audit events, for one, whose newest is the first.
    let audited = stage.audited().unwrap();
    let made = audited.lines().find(|line| line.starts_with("checkpoint.made")).unwrap();
    let hash = made.split("\"hash\":\"").nth(1).unwrap()[..64].to_owned();
    let folder = stage.recordings();
    let listed = ["checkpoints", "--recordings", folder.to_str().unwrap(), "--json"];
    assert!(stage.chaperone("", &listed).unwrap().success().unwrap().contains(&hash));
    assert_eq!(verified(&stage, &["--expect", &hash]).0, Some(0));

    let bytes = std::fs::read(&paths[1]).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    let (code, said) = verified(&stage, &[]);
    assert_eq!(code, Some(4), "{said}");
    let wrong = format!("wrong: the recording of {} is missing (of shop, ended ", id(&paths[1]));
    assert!(said.contains(&wrong) && said.contains("2 of 2 recordings verify"), "{said}");
    // A gateway that goes on there does not cover it up.
    stage.restart().await.unwrap();
    stage.stop().await;
    let (code, said) = verified(&stage, &[]);
    assert!(code == Some(4) && said.contains(&wrong), "{said}");
    std::fs::write(&paths[1], bytes).unwrap();
    assert_eq!(verified(&stage, &[]).0, Some(0));

    // The newest checkpoint with what only it names: the chain is whole, and shorter than what was kept.
    let newest = Library::new(&folder).directory().join("checkpoints/00000002.json");
    std::fs::remove_file(newest).unwrap();
    assert_eq!(verified(&stage, &[]).0, Some(0));
    let (code, said) = verified(&stage, &["--expect", &hash]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains(&format!("wrong: no checkpoint here has the hash {hash}")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_by_the_rules_and_verifies_and_what_is_preserved_stays() {
    let recording =
        "{ directory: recordings, retention: { default: forever, targets: { shop: 1d } } }".into();
    let (mut stage, _) = Stage::prepare(Setting { recording, ..Setting::default() }).await.unwrap();
    later(&mut stage, Duration::ZERO).await;
    let paths = sessions(&stage, 2).await;
    let (first, second) = (&paths[0], &paths[1]);
    let now = operator(&stage, Duration::ZERO);
    let preserved = stage.chaperone(&now, &["preserve", &id(second), "--reason", "case 7"]).unwrap();
    let entry = first_id(&preserved.success().unwrap(), "keep_").unwrap();
    let listed = stage.chaperone(&now, &["preservations", "--json"]).unwrap().success().unwrap();
    assert!(listed.contains(&entry) && listed.contains(&id(second)) && listed.contains("case 7"), "{listed}");
    later(&mut stage, 12 * HOUR).await;
    stage.stop().await;
    assert_eq!(sealed(&stage), paths, "not yet");

    later(&mut stage, 36 * HOUR).await;
    stage.until("the first to go", |stage| Ok(sealed(stage) == [second.clone()])).await.unwrap();
    let tombstone = first.with_extension("chtomb");
    assert!(tombstone.exists() && stage.audited().unwrap().contains("recording.deleted"));
    stage.stop().await;
    let (code, said) = verified(&stage, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 recordings are named and there, 1 were deleted by the rules"), "{said}");

    // Released, it goes on the next day; then both are named as deleted, and a tombstone is missed as a recording is.
    later(&mut stage, 37 * HOUR).await;
    let released = stage.chaperone(&operator(&stage, 37 * HOUR), &["release", &entry]).unwrap();
    released.success().unwrap();
    later(&mut stage, 61 * HOUR).await;
    stage.until("the second to go", |stage| Ok(sealed(stage).is_empty())).await.unwrap();
    stage.stop().await;
    let (code, said) = verified(&stage, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("0 recordings are named and there, 2 were deleted by the rules"), "{said}");
    std::fs::remove_file(tombstone).unwrap();
    let (code, said) = verified(&stage, &[]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains(&format!("wrong: the recording of {} is missing", id(first))), "{said}");
}
