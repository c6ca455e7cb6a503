//! What a plugin gets of the world outside: nothing, or always the same.

use super::{ask, tell};
use chaperone_hooks::FaultKind;
use chaperone_tests::guests::{engine, facts, hostile_chain, patient};
use std::io::Write;
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn the_session_is_told_as_it_is() {
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    assert_eq!(
        tell(&mut session, "session").await,
        "test/tenant/object|CallerKind::Agent|shop|agents,night|app|1700000000000"
    );
}

#[tokio::test]
async fn environment_time_and_chance_are_constants() {
    let engine = engine(2).unwrap();
    let chain = hostile_chain(&engine, patient()).await.unwrap();
    let mut one = chain.open(facts()).await.unwrap();
    let mut other = chain.open(facts()).await.unwrap();
    assert_eq!(tell(&mut one, "environment").await, "[]");
    assert_eq!(tell(&mut one, "arguments").await, "[]");
    assert_eq!(tell(&mut one, "instant").await, "0ns");
    let order = tell(&mut one, "hash-order").await;
    assert_eq!(order.split(',').count(), 64);
    assert_eq!(
        tell(&mut other, "hash-order").await,
        order,
        "the same map has another order in another session"
    );
}

/// Whatever std makes of it: an error that the plugin sees, or a trap; but never a success.
#[tokio::test]
async fn files_sockets_and_programs_are_out_of_reach() {
    let _ = std::fs::remove_file("/tmp/hostile");
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    for word in [
        "read-file",
        "list-folder",
        "write-file",
        "connect",
        "listen",
        "send",
        "resolve",
        "thread",
        "run",
        "read-input",
        "date",
    ] {
        match ask(&mut session, word).await {
            Ok(judgement) => assert_eq!(judgement.findings[0].detail, "failed", "{word}"),
            Err(fault) => assert_eq!(fault.kind, FaultKind::Trapped, "{word}: {fault}"),
        }
        tell(&mut session, "count").await;
    }
    assert!(!std::path::Path::new("/tmp/hostile").exists());
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_cleaned() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(log);

    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    lines.0.lock().unwrap().clear();
    for _ in 0..2 {
        ask(&mut session, "flood").await.unwrap();
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    // Sixteen of each call, and one that says what became of the others.
    assert_eq!(text.lines().count(), 2 * 17, "{text}");
    assert_eq!(count("forged"), 2 * 16);
    assert_eq!(count("dropped=984"), 2);
    assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
    assert!(text.lines().all(|line| line.len() < 700), "a line is too long");
}
