//! Recordings that grow, are sealed, moved, damaged or deleted while they are followed, and consumers that fail.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use super::*;
use crate::grant::SimulatedClock;
use crate::recorder::sign::Signer;
use crate::recorder::{
    Caps, Durable, Encryption, EncryptionKey, EndReason, EventKind, Recorder, RecorderConfig, Recording,
    SessionEnd, SessionHead, Watermarks,
};
use crate::state::tests::{Store, at, person, stores, target};
use crate::state::{Facet, Found, Search};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::Principal;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;

fn id(number: u128) -> SessionId {
    SessionId::new(uuid::Uuid::from_u128(number))
}

fn head(number: u128) -> SessionHead {
    let identity = person("agent", CallerKind::Agent, &[]);
    SessionHead {
        session: id(number),
        protocol: "postgres".into(),
        target: target("db"),
        approved_by: vec![Principal::of(&identity.provider, "t", "ann").unwrap()],
        identity,
        grant: "db".into(),
        window: "win_1".into(),
        request: None,
        requested_role: None,
        target_role: None,
        client_address: "127.0.0.1:5".into(),
        plugins: vec![],
        gateway_version: "0.1.0".into(),
    }
}

/// A folder of recordings, and who writes them.
struct Folder {
    _place: tempfile::TempDir,
    recorder: Recorder,
}

impl Folder {
    fn new() -> Self {
        Folder::with(Encryption::default())
    }

    /// Whoever reads on in the middle of such a file needs what its first block says.
    fn encrypted() -> Self {
        let key: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
        Folder::with(Encryption::new(Some(EncryptionKey::parse(&key).unwrap()), []))
    }

    fn with(encryption: Encryption) -> Self {
        let place = tempfile::tempdir().unwrap();
        let signer = Signer::generate().unwrap().0;
        let directory = place.path().into();
        let (caps, durable, space) = (Caps::default(), Durable::No, Watermarks::default());
        let config = RecorderConfig { directory, caps, signer, encryption, durable, space };
        Folder { recorder: Recorder::new(config).unwrap(), _place: place }
    }

    fn open(&self, number: u128) -> Recording {
        let mut recording = self.recorder.open(&head(number), at(0)).unwrap();
        recording.commit().unwrap();
        recording
    }

    fn path(&self, number: u128) -> PathBuf {
        self.recorder.find(id(number)).unwrap().unwrap()
    }

    /// As another gateway has it, or this one after a restart.
    fn feed(&self, state: State, consumer: Arc<dyn Consumer>) -> Feed {
        let clock = Arc::new(SimulatedClock::at(at(100)));
        Feed::new(self.recorder.library(), state, clock, Arc::default(), consumer)
    }
}

fn ask(recording: &mut Recording, operation: u64, text: &str) {
    recording.raw(EventKind::Operation, operation, &[b"query\0", text.as_bytes()]);
    let statements = json!([{ "class": "select", "relations": [{ "name": "users" }] }]);
    recording.json(EventKind::Decision, operation, &json!({ "decision": "allow", "statements": statements }));
    recording.commit().unwrap();
}

fn answer(recording: &mut Recording, operation: u64, rows: u64) {
    recording.json(EventKind::Result, operation, &json!({ "tag": "SELECT", "rows": rows, "micros": 5 }));
    recording.commit().unwrap();
}

fn seal(recording: Recording) {
    let reason = EndReason::ClientClosed;
    recording.seal(&SessionEnd { ended: at(9), reason, code: None, detail: String::new() }).unwrap();
}

/// One look at everything, whatever is due.
async fn round(feed: &mut Feed) {
    feed.look_at_all = Instant::now();
    feed.look_round().await.unwrap();
    feed.followed.values_mut().for_each(Follower::hurry);
    feed.turn().await;
    feed.measure();
}

async fn found(state: &State, search: Search) -> Vec<Found> {
    state.search(&Search { limit: 500, ..search }).await.unwrap()
}

/// `number rows` of all that is in the index, the newest first.
async fn indexed(state: &State) -> Vec<(u64, u64)> {
    let all = found(state, Search::default()).await;
    all.iter().map(|one| (one.operation, one.story["operation"]["rows"].as_u64().unwrap())).collect()
}

/// Remembers what it was handed, and fails when it is told to.
#[derive(Default)]
struct Notes {
    state: Option<State>,
    taken: Mutex<Vec<(SessionId, u64)>>,
    failures: Mutex<usize>,
}

impl Consumer for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn wants(&self) -> Wants {
        Wants::Settled
    }

    fn take<'a>(&'a self, batch: Batch<'a>, step: Advance<'a>) -> Taking<'a> {
        Box::pin(async move {
            let taken = batch.operations.iter().map(|one| (batch.opening.head.session, one.number));
            self.taken.lock().unwrap().extend(taken);
            if !batch.operations.is_empty() && *self.failures.lock().unwrap() > 0 {
                *self.failures.lock().unwrap() -= 1;
                // As when the process dies between taking and noting.
                return Err(NotTaken::Receiver);
            }
            Ok(self.state.as_ref().unwrap().advance(step).await?)
        })
    }
}

fn notes(state: &State, failures: usize) -> Arc<Notes> {
    Arc::new(Notes { state: Some(state.clone()), failures: failures.into(), ..Notes::default() })
}

#[tokio::test]
async fn an_open_recording_is_followed_to_its_end() {
    for Store { state, .. } in &stores().await {
        let folder = Folder::encrypted();
        let mut feed = folder.feed(state.clone(), Arc::new(Index::new(state.clone()).unwrap()));
        let mut recording = folder.open(1);
        ask(&mut recording, 1, "select 'nobody' from users");
        round(&mut feed).await;
        assert_eq!(indexed(state).await, [(1, 0)]);
        answer(&mut recording, 1, 7);
        round(&mut feed).await;
        assert_eq!(indexed(state).await, [(1, 7)]);
        ask(&mut recording, 2, "select 2");
        // More than one step, and windows of the writer.
        for operation in 3..900 {
            ask(&mut recording, operation, "select 3");
            answer(&mut recording, operation, 3);
        }
        seal(recording);
        for _ in 0..9 {
            round(&mut feed).await;
        }
        assert!(feed.followed.is_empty(), "{:?}", feed.followed);
        let all = found(state, Search { words: "3".into(), ..Search::default() }).await;
        assert_eq!(all.len(), 500);
        let search = Search {
            words: "nobody".into(),
            facets: vec![
                (Facet::Table, "users".into()),
                (Facet::Approver, "ann".into()),
                (Facet::Decision, "allowed".into()),
                (Facet::Principal, "agent".into()),
                (Facet::Target, "db".into()),
                (Facet::Session, id(1).to_string()),
            ],
            ..Search::default()
        };
        let one = &found(state, search).await[0];
        assert_eq!((one.operation, &one.story["decisions"]), (1, &json!(["allowed"])));
        assert_eq!(one.story["caller"]["kind"], "agent");
        // After a restart there is nothing to do.
        let mut again = folder.feed(state.clone(), Arc::new(Index::new(state.clone()).unwrap()));
        round(&mut again).await;
        assert!(again.followed.is_empty() && again.lag.operations.read() == 0);
    }
}

#[tokio::test]
async fn a_gateway_that_dies_goes_on_where_its_cursor_is() {
    for Store { state, .. } in &stores().await {
        let folder = Folder::new();
        let index = || Arc::new(Index::new(state.clone()).unwrap());
        let mut recording = folder.open(1);
        ask(&mut recording, 1, "select 1");
        answer(&mut recording, 1, 1);
        ask(&mut recording, 2, "select 2");
        let mut feed = folder.feed(state.clone(), index());
        round(&mut feed).await;
        drop(feed);
        answer(&mut recording, 2, 2);
        ask(&mut recording, 3, "select 3");
        let mut feed = folder.feed(state.clone(), index());
        round(&mut feed).await;
        assert_eq!(
            feed.lag.operations.read(),
            3,
            "2 is settled, 3 is new; 1 has nothing new but that it is settled"
        );
        assert_eq!(indexed(state).await, [(3, 0), (2, 2), (1, 1)]);
        // The session's process dies: the next start seals its recording.
        drop((feed, recording));
        folder.recorder.recover(at(50)).unwrap();
        let mut feed = folder.feed(state.clone(), index());
        round(&mut feed).await;
        assert!(feed.followed.is_empty());
        assert_eq!(indexed(state).await, [(3, 0), (2, 2), (1, 1)]);
    }
}

#[tokio::test]
async fn what_a_consumer_did_not_note_is_handed_out_again() {
    for Store { state, .. } in &stores().await {
        let folder = Folder::new();
        let mut recording = folder.open(1);
        for operation in 1..=3 {
            ask(&mut recording, operation, "select");
            answer(&mut recording, operation, 1);
        }
        let notes = notes(state, 2);
        let mut feed = folder.feed(state.clone(), notes.clone());
        for _ in 0..3 {
            round(&mut feed).await;
        }
        // As after a restart: what was settled by the last event before the cursor is not handed out again.
        let mut feed = folder.feed(state.clone(), notes.clone());
        round(&mut feed).await;
        seal(recording);
        round(&mut feed).await;
        let taken: Vec<u64> = notes.taken.lock().unwrap().iter().map(|(_, number)| *number).collect();
        assert_eq!(taken, [1, 2, 1, 2, 1, 2, 3], "each at least once, and none twice once it is noted");
        assert!(feed.followed.is_empty());
    }
}

#[tokio::test]
async fn what_was_read_and_not_taken_is_behind() {
    for Store { state, .. } in &stores().await {
        let folder = Folder::new();
        let mut recording = folder.open(1);
        for operation in 1..=3 {
            ask(&mut recording, operation, "select");
            answer(&mut recording, operation, 1);
        }
        let mut feed = folder.feed(state.clone(), notes(state, 2));
        feed.look_round().await.unwrap();
        let since = Instant::now();
        for left in [1, 0] {
            feed.followed.values_mut().for_each(Follower::hurry);
            feed.turn().await;
            feed.measure();
            assert!(feed.lag.read() >= since.elapsed(), "{left} failures to come");
        }
        feed.followed.values_mut().for_each(Follower::hurry);
        feed.turn().await;
        feed.measure();
        assert!(feed.lag.read() < since.elapsed());
    }
}

#[tokio::test]
async fn two_gateways_on_one_store_do_not_read_a_recording_twice() {
    for store in &stores().await {
        let (here, there) = (&store.state, &store.another("there"));
        let folder = Folder::new();
        let (first, second) = (notes(here, 0), notes(there, 0));
        let mut feeds =
            [folder.feed(here.clone(), first.clone()), folder.feed(there.clone(), second.clone())];
        for number in 1..=20 {
            let mut recording = folder.open(number);
            ask(&mut recording, 1, "select");
            seal(recording);
            let [one, other] = &mut feeds;
            // Both look before either reads, and not always the same one first.
            let (one, other) = if number % 2 == 0 { (one, other) } else { (other, one) };
            one.look_round().await.unwrap();
            other.look_round().await.unwrap();
            tokio::join!(one.turn(), other.turn());
        }
        for feed in &mut feeds {
            round(feed).await;
        }
        let mut taken = first.taken.lock().unwrap().clone();
        assert!(taken.len() > 5 && taken.len() < 15, "one did it all: {}", taken.len());
        taken.extend(second.taken.lock().unwrap().iter());
        taken.sort_unstable();
        assert_eq!(taken, (1..=20).map(|number| (id(number), 1)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_recording_in_another_file_goes_on_and_a_deleted_one_is_let_go() {
    for Store { state, .. } in &stores().await {
        let folder = Folder::new();
        let notes = notes(state, 0);
        let mut feed = folder.feed(state.clone(), notes.clone());
        let (mut moved, mut deleted) = (folder.open(1), folder.open(2));
        for recording in [&mut moved, &mut deleted] {
            for operation in 1..=2 {
                ask(recording, operation, "select");
                answer(recording, operation, 1);
            }
            ask(recording, 3, "select");
        }
        round(&mut feed).await;
        std::fs::remove_file(folder.path(2)).unwrap();
        // The same events under the final name, in another file.
        let open = folder.path(1);
        answer(&mut moved, 3, 1);
        seal(moved);
        let (sealed, copy) = (folder.path(1), open.with_extension("copy"));
        std::fs::copy(&sealed, &copy).unwrap();
        std::fs::rename(&copy, &sealed).unwrap();
        round(&mut feed).await;
        assert!(feed.followed.is_empty());
        let taken: Vec<_> = notes.taken.lock().unwrap().clone();
        assert_eq!(taken, [(id(1), 1), (id(2), 1), (id(1), 2), (id(1), 3)]);
    }
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(6).rposition(|window| window == b"second").unwrap();
    bytes[at] ^= 1;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn damage_ends_one_recording_and_no_other() {
    for Store { state, .. } in &stores().await {
        let folder = Folder::new();
        for number in 1..=4 {
            let mut recording = folder.open(number);
            ask(&mut recording, 1, "first");
            answer(&mut recording, 1, 1);
            ask(&mut recording, 2, "second");
            seal(recording);
        }
        damage(&folder.path(2));
        // Sealed, and its end cut off: nothing comes any more.
        let cut = folder.path(4);
        let bytes = std::fs::read(&cut).unwrap();
        std::fs::remove_file(&cut).unwrap();
        std::fs::write(&cut, bytes.get(..bytes.len() - 40).unwrap()).unwrap();
        std::fs::write(folder.path(1).with_file_name(format!("{}.chrec", id(9))), b"no recording").unwrap();
        let mut feed = folder.feed(state.clone(), Arc::new(Index::new(state.clone()).unwrap()));
        for _ in 0..2 {
            round(&mut feed).await;
        }
        assert!(feed.followed.is_empty());
        assert_eq!(feed.unreadable.iter().copied().collect::<Vec<_>>(), [id(2), id(4), id(9)]);
        // What is sealed is one block here: nothing of a damaged one is believed.
        assert_eq!(found(state, Search { words: "first".into(), ..Search::default() }).await.len(), 3);
        assert_eq!(found(state, Search { words: "second".into(), ..Search::default() }).await.len(), 3);
    }
}

#[tokio::test]
async fn without_texts_there_are_facts_alone_and_without_an_index_nothing() {
    for Store { state, .. } in &stores().await {
        let folder = Folder::new();
        let mut recording = folder.open(1);
        ask(&mut recording, 1, "select hidden");
        recording.raw(EventKind::Parameters, 1, &[b"\0\0\0\0\0\x01\0\0\0\x06secret\0\0"]);
        seal(recording);
        let index = |indexing| Index::new(state.clone().with_indexing(indexing));
        assert!(index(crate::state::Indexing::No).is_none());
        let stored = |state: &State| {
            let state = state.clone();
            async move { found(&state, Search::default()).await[0].story.to_string() }
        };
        for (indexing, there) in
            [(crate::state::Indexing::Text, true), (crate::state::Indexing::Facts, false)]
        {
            let index = Arc::new(index(indexing).unwrap());
            let mut feed = folder.feed(state.clone(), index);
            round(&mut feed).await;
            let text = stored(state).await;
            for word in ["hidden", "secret"] {
                assert_eq!(text.contains(word), there, "{text}");
                let by_word = found(state, Search { words: word.into(), ..Search::default() }).await;
                assert_eq!(by_word.len(), usize::from(there), "{word}");
            }
            let users = Search { facets: vec![(Facet::Table, "users".into())], ..Search::default() };
            assert_eq!(found(state, users).await.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_loop_over_a_prepared_statement_does_not_bury_the_rest() {
    for Store { state, .. } in &stores().await {
        let folder = Folder::new();
        let mut recording = folder.open(1);
        recording.raw(EventKind::Operation, 1, &[b"parse\0", b"select $1"]);
        recording.json(EventKind::Decision, 1, &json!({ "decision": "allow" }));
        for operation in 2..=1001 {
            recording.json(EventKind::Execute, operation, &json!({ "of": 1 }));
            if operation == 901 {
                recording.json(
                    EventKind::Error,
                    operation,
                    &json!({ "side": "target", "sqlstate": "22012" }),
                );
            }
            answer(&mut recording, operation, 1);
        }
        seal(recording);
        let mut feed = folder.feed(state.clone(), Arc::new(Index::new(state.clone()).unwrap()));
        for _ in 0..9 {
            round(&mut feed).await;
        }
        let all = found(state, Search { words: "select".into(), ..Search::default() }).await;
        assert_eq!(all.len(), 256 + 2);
        let statement = all.iter().find(|one| one.operation == 1).unwrap();
        assert_eq!(statement.story["operation"]["executions"], 1000);
        assert!(all.iter().any(|one| one.operation == 901));
    }
}
