//! What is brought to a store, what is not, and what is said of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod local;
pub(crate) mod server;

use super::*;
use crate::config::{Deletes, Secret, StoreIdentity, StoreKind};
use crate::grant::{Clock, SimulatedClock};
use crate::metrics::{Queue, Uploads};
use crate::recorder::{Caps, Encryption, Recorder, RecorderConfig, Watermarks};
use crate::state::tests::{Store as StateStore, at, stores};
use axum::http::StatusCode;
use server::{Fault, Server};
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
const FOLDER: &str = "2026-12-01";

fn file(number: u32) -> Final {
    Final::new(FOLDER, &format!("ses_019a3b5c000070008000{number:012}.chrec")).unwrap()
}

fn object(number: u32) -> String {
    format!("prod/gw/{}", file(number))
}

/// Bytes that are nothing in particular.
fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at / 251) as u8 ^ (at as u8).wrapping_mul(31) ^ seed).collect()
}

/// A folder with recordings, and a gateway that brings them to a server.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: Server,
    pub(crate) store: Store,
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) metrics: Arc<Uploads>,
    pub(crate) state: StateStore,
    pub(crate) encryption: Encryption,
    pub(crate) space: Watermarks,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let (folder, server) = (tempfile::tempdir().unwrap(), Server::start().await);
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        std::fs::write(folder.path().join("id"), "AKIA7").unwrap();
        std::fs::write(folder.path().join("secret"), "hunter2").unwrap();
        let secret = |name| Secret::of_file(folder.path().join(name));
        let store = Store {
            kind: StoreKind::S3,
            bucket: "recs".into(),
            prefix: "prod/gw".into(),
            endpoint: Some(server.url.clone()),
            region: None,
            account: None,
            identity: StoreIdentity::AccessKey(secret("id"), secret("secret")),
            ca: None,
            allow_http_loopback: true,
            keep_local: Some(2 * DAY),
            deletes: Deletes::Yes,
        };
        let state = stores().await.remove(0);
        let clock = Arc::new(SimulatedClock::at(at(0)));
        Bench {
            folder,
            server,
            store,
            clock,
            metrics: Arc::default(),
            state,
            encryption: Encryption::default(),
            space: Watermarks::default(),
        }
    }

    fn sealed(&self, number: u32, bytes: &[u8]) -> std::path::PathBuf {
        let path = file(number).path(self.folder.path());
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn recorder(&self) -> Recorder {
        let (encryption, space) = (self.encryption.clone(), self.space);
        let config = crate::recorder::tests::config(self.folder.path(), Caps::default());
        Recorder::new(RecorderConfig { encryption, space, ..config }).unwrap()
    }

    pub(crate) fn uploader(&self) -> Uploader {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let (state, metrics) = (self.state.state.clone(), self.metrics.clone());
        Uploader::new(self.recorder(), self.store.clone(), state, clock, metrics)
    }

    async fn put(&self, number: u32) -> Result<String, ArchiveError> {
        Archive::open(&self.store).unwrap().put(&file(number), &file(number).path(self.folder.path())).await
    }

    fn waits(&self) -> (usize, usize) {
        let Queue { pending, conflicting, .. } = self.metrics.read();
        (pending, conflicting)
    }
}

#[tokio::test]
async fn what_is_sealed_is_brought_once_and_nothing_there_is_overwritten() {
    let bench = Bench::new().await;
    let (short, long) = (bytes(100_000, 1), bytes(20_000_000, 2));
    bench.sealed(1, &short);
    bench.sealed(2, &long);
    // Somebody was faster: with other bytes, also of the same length, and with the same.
    for (number, length, theirs) in
        [(3, 50_000, bytes(50_000, 9)), (4, 9_000_000, bytes(9_000_000, 9)), (5, 50_000, bytes(49_999, 5))]
    {
        bench.sealed(number, &bytes(length, 5));
        bench.server.put(&object(number), &theirs);
    }
    bench.sealed(6, &short);
    bench.server.put(&object(6), &short);
    // What is not final is nobody's.
    std::fs::write(bench.folder.path().join(FOLDER).join(format!("{}.open", file(7).name())), "x").unwrap();

    let mut uploader = bench.uploader();
    uploader.round().await;
    assert_eq!(bench.server.object(&object(1)).unwrap(), short);
    assert!(bench.server.object(&object(2)).unwrap() == long);
    assert_eq!(bench.server.object(&object(3)).unwrap(), bytes(50_000, 9));
    assert!(bench.server.object(&object(4)).unwrap() == bytes(9_000_000, 9));
    assert_eq!(bench.waits(), (3, 3));
    let outcomes = bench.metrics.outcomes.read();
    assert_eq!((outcomes["stored"], outcomes["failed"], outcomes["retried"]), (3, 3, 0));
    let stored = bench.state.state.uploads_stored("s3://recs/prod/gw", FOLDER).await.unwrap();
    let digest = aws_lc_rs::digest::digest(&SHA256, &long);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(stored[file(2).name()].digest, hex);
    assert_eq!(bench.server.kept.lock().unwrap().writes, 2);

    // Neither now nor after a restart is anything brought twice; and the conflict is over when theirs has gone.
    bench.server.kept.lock().unwrap().objects.remove(&object(3));
    uploader.hurry();
    uploader.round().await;
    assert_eq!((bench.waits(), bench.server.kept.lock().unwrap().writes), ((2, 2), 3));
    let mut uploader = bench.uploader();
    uploader.round().await;
    assert_eq!((bench.waits(), bench.server.kept.lock().unwrap().writes), ((2, 2), 3));
    assert_eq!(bench.server.object(&object(3)).unwrap(), bytes(50_000, 5));
    assert!(bench.server.kept.lock().unwrap().objects.keys().all(|name| !name.contains("open")));
}

#[tokio::test]
async fn nothing_at_google_is_overwritten_and_nothing_is_left_aside() {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    let mut bench = Bench::new().await;
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    use base64::Engine as _;
    let key = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let account = serde_json::json!({
        "private_key": format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----"),
        "private_key_id": "1", "client_email": "gw@example.com", "disable_oauth": true,
    });
    std::fs::write(bench.folder.path().join("google"), account.to_string()).unwrap();
    bench.store.kind = StoreKind::Gcs;
    bench.store.identity = StoreIdentity::ServiceAccount(Secret::of_file(bench.folder.path().join("google")));
    let (short, long) = (bytes(100_000, 1), bytes(20_000_000, 2));
    for (number, own) in [(1, &short), (2, &long), (3, &short), (4, &long)] {
        bench.sealed(number, own);
    }
    bench.server.put(&object(3), &bytes(100_000, 9));
    bench.put(1).await.unwrap();
    bench.put(2).await.unwrap();
    assert_eq!(bench.server.object(&object(1)).unwrap(), short);
    assert!(bench.server.object(&object(2)).unwrap() == long);
    assert!(matches!(bench.put(3).await, Err(ArchiveError::Different)));
    // Somebody is faster while the parts are on their way.
    let archive = Archive::open(&bench.store).unwrap();
    let mut source = Source::open(&file(4).path(bench.folder.path())).unwrap();
    bench.server.put(&object(4), b"theirs");
    archive.client.put_parts(&archive.place(&file(4)), &mut source).await.unwrap();
    assert_eq!(bench.server.object(&object(4)).unwrap(), b"theirs");
    assert_eq!(bench.server.kept.lock().unwrap().objects.len(), 4, "something is left aside");
    bench.put(1).await.unwrap();
    // What is no account's key is told, and not shown.
    std::fs::write(bench.folder.path().join("google"), "{\"private_key\": \"hunter2\"}").unwrap();
    let said = Archive::open(&bench.store).unwrap_err().to_string();
    assert_eq!(said, "what `recording.store` says cannot be used: check its credentials");
}

#[tokio::test]
async fn of_two_that_bring_a_long_file_at_once_the_second_replaces_nothing() {
    let bench = Bench::new().await;
    bench.sealed(1, &bytes(20_000_000, 1));
    let archive = Archive::open(&bench.store).unwrap();
    let mut source = Source::open(&file(1).path(bench.folder.path())).unwrap();
    // It was not there when that was asked.
    bench.server.put(&object(1), b"theirs");
    archive.client.put_parts(&archive.place(&file(1)), &mut source).await.unwrap();
    assert_eq!(bench.server.object(&object(1)).unwrap(), b"theirs");
    assert!(matches!(bench.put(1).await, Err(ArchiveError::Different)));
}

#[tokio::test]
async fn what_goes_wrong_is_told_without_a_secret_and_everything_waits() {
    let bench = Bench::new().await;
    bench.sealed(1, &bytes(1000, 1));
    bench.sealed(2, &bytes(9_000_000, 1));
    let elsewhere = Server::start().await;
    let forbidden = "<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIA7</AWSAccessKeyId></Error>";
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
    for (fault, said) in [
        (
            Fault::Says(StatusCode::FORBIDDEN, forbidden),
            "the store refuses these credentials (403 InvalidAccessKeyId)",
        ),
        (
            Fault::Says(StatusCode::FORBIDDEN, "<Code>hunter2\u{1b}</Code>"),
            "the store refuses these credentials (403)",
        ),
        (
            Fault::Says(StatusCode::FORBIDDEN, skewed),
            "this machine's clock and the store's are too far apart (403 RequestTimeTooSkewed): set it right",
        ),
        (Fault::Says(StatusCode::SERVICE_UNAVAILABLE, "hunter2"), "the store answers with an error (503)"),
        (Fault::Says(StatusCode::NOT_FOUND, ""), "there is no such bucket or container, or no such object"),
        (
            Fault::Says(StatusCode::OK, "<html>"),
            "what the store answers cannot be understood: check `endpoint`",
        ),
        (
            Fault::Redirects(format!("{}/recs/x?hunter2", elsewhere.url)),
            "the store answers with a redirect, which is not followed: check `endpoint` and `region`",
        ),
    ] {
        bench.server.goes_wrong(fault.clone());
        assert_eq!(bench.put(1).await.unwrap_err().to_string(), said, "{fault:?}");
    }
    assert_eq!(elsewhere.kept.lock().unwrap().requests, 0, "a redirect was followed");
    bench.server.goes_wrong(Fault::NeverFinishes);
    let said = bench.put(2).await.unwrap_err().to_string();
    assert_eq!(said, "the store answers with an error (400 InvalidPart)");
    assert_eq!(bench.server.kept.lock().unwrap().aborted, 1, "its parts are left there");
    bench.server.goes_wrong(Fault::Forgets);
    assert!(matches!(bench.put(1).await, Err(ArchiveError::Different)));
    bench.server.kept.lock().unwrap().objects.clear();

    // It is down for as long as it likes: what is first is tried, and the others wait unharmed.
    bench.server.goes_wrong(Fault::Says(StatusCode::FORBIDDEN, forbidden));
    let mut uploader = bench.uploader();
    for _ in 0..3 {
        uploader.round().await;
        uploader.hurry();
    }
    let outcomes = bench.metrics.outcomes.read();
    assert_eq!((bench.waits(), outcomes["retried"], outcomes["failed"]), ((2, 0), 3, 0));
    let asked = bench.server.kept.lock().unwrap().requests;
    uploader.hurry();
    uploader.round().await;
    assert_eq!(bench.server.kept.lock().unwrap().requests, asked + 1, "one file is tried");
    bench.server.goes_wrong(Fault::None);
    uploader.round().await;
    assert_eq!(bench.waits(), (2, 0), "not before the pause is over");
    uploader.hurry();
    uploader.round().await;
    assert_eq!((bench.waits(), bench.server.kept.lock().unwrap().writes), ((0, 0), 3));
    assert_eq!(bench.metrics.read().oldest, Duration::ZERO);
}

#[tokio::test]
async fn plain_http_goes_to_this_machine_alone_and_only_when_allowed() {
    let mut bench = Bench::new().await;
    bench.sealed(1, b"x");
    let refused = "plain http goes to this machine only, and only with `allow_http_loopback: yes`";
    bench.store.allow_http_loopback = false;
    assert_eq!(bench.put(1).await.unwrap_err().to_string(), refused);
    bench.store.allow_http_loopback = true;
    // The addresses of clouds' identities are for whoever is nobody else.
    for host in ["10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "169.254.169.254"] {
        bench.store.endpoint =
            Some(format!("http://{host}:{}", bench.server.url.rsplit(':').next().unwrap()));
        assert_eq!(bench.put(1).await.unwrap_err().to_string(), refused, "{host}");
    }
    assert_eq!(bench.server.kept.lock().unwrap().requests, 0);
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut() {
    let bench = Bench::new().await;
    bench.server.put(&object(1), b"x");
    bench.server.goes_wrong(Fault::Floods);
    let archive = Archive::open(&bench.store).unwrap();
    assert_eq!(
        archive.list(None).await.unwrap_err().to_string(),
        "an answer of the store is longer than any should be"
    );
    assert!(archive.get(&file(1), &mut Vec::new()).await.is_err());
}

#[tokio::test]
async fn names_of_objects_lead_nowhere_and_links_are_not_followed() {
    let bench = Bench::new().await;
    let name = file(1).name().to_owned();
    for key in [
        format!("prod/gw/../../{name}"),
        format!("prod/gw/{FOLDER}/../{name}"),
        format!("prod/gw/{FOLDER}/x/{name}"),
        format!("prod/gw/{FOLDER}/evil.chrec"),
        format!("prod/gw/..%2f/{name}"),
        format!("prod/gw/{FOLDER}/{name}.uploading"),
        format!("prod/gwother/{FOLDER}/{name}"),
        format!("{FOLDER}/{name}"),
    ] {
        // A listing that holds what is no name at all is refused as a whole.
        bench.server.kept.lock().unwrap().objects.clear();
        bench.server.put(&key, b"x");
        bench.server.put(&object(2), b"x");
        let listed = Archive::open(&bench.store).unwrap().list(None).await;
        assert!(
            listed.is_err() || listed.is_ok_and(|listed| (listed.files, listed.others) == (vec![file(2)], 1)),
            "{key}"
        );
    }
    std::fs::write(bench.folder.path().join("passwd"), "hunter2").unwrap();
    std::os::unix::fs::symlink("../passwd", file(3).path(bench.folder.path())).unwrap();
    assert!(matches!(bench.put(3).await, Err(ArchiveError::Local(_))));
    bench.uploader().round().await;
    assert_eq!((bench.waits(), bench.server.object(&object(3))), ((0, 0), None));
}
