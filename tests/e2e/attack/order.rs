//! Ways to bring the two sides out of step, to stop the gateway, or to go unrecorded.

use super::{attack, login, session, strict};
use chaperone::recorder::{EventKind, Library, Reader};
use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::wire::{
    Wire, bind, close, describe, execute, flush, kinds, message, parse, query, sync, tcp, texts,
};
use std::io::Write;
use std::time::Duration;

const INSERT: &str = "INSERT INTO orders (customer_id, item, total, status) VALUES ($1, 'x', 1, 'open')";

/// All bodies of one kind of event in all recordings, one after the other.
fn recorded(stage: &Stage, kind: EventKind) -> Vec<u8> {
    let library = Library::new(stage.recordings());
    let mut bytes = Vec::new();
    for path in library.paths(100).unwrap() {
        let events = Reader::new(std::fs::File::open(&path).unwrap()).events();
        bytes.extend(
            events.map(Result::unwrap).filter(|event| event.kind == kind).flat_map(|event| event.body),
        );
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_the_rest_of_the_segment_is_skipped() {
    let (mut stage, mut wire) = attack().await;
    let frames = [parse("", INSERT), bind("", "", &["no number"]), execute("", 0), sync()].concat();
    let said = wire.ask(&frames, 1).unwrap();
    assert_eq!(kinds(&said), "1EZ", "{}", texts(&said));
    // The same, with the error told before the rest is sent.
    wire.send(&[parse("", "SELECT nothing FROM nowhere"), flush()].concat()).unwrap();
    wire.until(b"E").unwrap();
    let rest = [bind("", "", &[]), describe('P', ""), execute("", 0), query("SELECT 1"), sync()].concat();
    let said = wire.ask(&rest, 1).unwrap();
    assert_eq!(kinds(&said), "Z", "{}", texts(&said));
    let said = wire.sql("SELECT 1").unwrap();
    assert_eq!(kinds(&said), "TDCZ", "{}", texts(&said));
    stage.stop().await;
}

/// The target would execute a cursor that was declared in SQL; what it returns was never described here.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_was_never_bound_is_refused_once() {
    let (mut stage, mut wire) = attack().await;
    wire.sql("BEGIN; DECLARE c CURSOR FOR SELECT 1").unwrap();
    for portal in ["c", "none"] {
        let said = wire.ask(&[execute(portal, 0), sync()].concat(), 1).unwrap();
        assert_eq!(kinds(&said), "EZ", "{}", texts(&said));
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_inside_a_segment_runs_after_it() {
    let (mut stage, mut wire) = attack().await;
    let frames =
        [parse("", "SELECT 1"), bind("", "", &[]), execute("", 0), query("SELECT 2"), sync()].concat();
    let said = wire.ask(&frames, 2).unwrap();
    assert_eq!(kinds(&said), "12DCTDCZZ", "{}", texts(&said));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_rows_are_recorded_however_they_are_cut() {
    let (mut stage, mut wire) = attack().await;
    let copy = query("COPY orders (customer_id, item, total, status) FROM STDIN");
    let data = message(b'd', b"1\tpieces\t1\topen\n");
    // In pieces.
    wire.send(&copy).unwrap();
    wire.until(b"G").unwrap();
    for piece in data.chunks(3) {
        wire.send(piece).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    wire.ask(&message(b'c', &[]), 1).unwrap();
    // Before the target has said that it wants any.
    let early = message(b'd', b"1\tearly\t1\topen\n");
    wire.ask(&[copy, early, message(b'c', &[])].concat(), 1).unwrap();
    assert_eq!(
        stage.real("select count(*) from orders where item in ('pieces', 'early')").unwrap().trim(),
        "2"
    );
    wire.send(&message(b'X', &[])).unwrap();
    drop(wire);
    stage.stop().await;
    let copied = String::from_utf8(recorded(&stage, EventKind::CopyIn)).unwrap();
    assert!(copied.contains("1\tpieces\t1\topen\n") && copied.contains("1\tearly\t1\topen\n"), "{copied:?}");
}

/// The last rows before a session is cut are in its recording like all others.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_saw_last_is_recorded() {
    let (mut stage, mut wire) = attack().await;
    // The second result cannot be shown, while what comes behind it has been sent: the session is cut in this burst.
    let run = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0)].concat();
    let frames = [
        run("SELECT 'seen by the client'"),
        run("SELECT reverse(ssn) FROM customers"),
        run("SELECT 1"),
        sync(),
    ];
    let said = texts(&wire.ask(&frames.concat(), 1).unwrap());
    assert!(said.contains("FATAL"), "{said}");
    drop(wire);
    stage.stop().await;
    let rows = String::from_utf8_lossy(&recorded(&stage, EventKind::Rows)).into_owned();
    assert_eq!(rows.contains("seen by the client"), said.contains("seen by the client"), "{said}");
}

/// A refused query ends a segment as a failed one would: what the segment did is undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_query_undoes_the_segment_before_it() {
    let (mut stage, mut wire) = attack().await;
    let insert = [parse("", INSERT), bind("", "", &["1"]), execute("", 0)].concat();
    let said = wire.ask(&[insert, query("DROP TABLE orders")].concat(), 1).unwrap();
    assert_eq!(kinds(&said), "12CEZ", "{}", texts(&said));
    assert_eq!(stage.real("select count(*) from orders where item = 'x'").unwrap().trim(), "0");
    stage.stop().await;
}

/// A long row is streamed through; what the gateway says meanwhile comes behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_notice_does_not_come_in_the_middle_of_a_row() {
    let (mut stage, mut wire) = attack().await;
    // More than all buffers on the way hold, so that it is still being streamed when the second query comes.
    wire.send(&query("SELECT repeat('x', 40000000)")).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let said = wire.ask(&query("DELETE FROM orders WHERE id = 1"), 2).unwrap();
    // Anywhere between two messages, which is what being read as these seven proves.
    let kinds = kinds(&said);
    assert!(["TDNCZEZ", "TDCNZEZ", "TDCZNEZ"].contains(&kinds.as_str()), "{kinds}");
    stage.stop().await;
}

/// Strangers that never log in do not use up the places of sessions.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_leave_room_for_sessions() {
    let mut stage =
        Stage::start(Setting { more: "limits: { connections: 16 }".into(), ..strict() }).await.unwrap();
    let mut wire = session(&stage);
    let idle: Vec<_> = (0..64).map(|_| tcp(stage.address).unwrap()).collect();
    assert!(texts(&wire.sql("SELECT 42").unwrap()).contains("42"));
    drop(idle);
    let token = stage.agent().unwrap();
    // Closed ones give their places back at once.
    let again = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        Wire::login(stage.address, &stage.path("gateway.pem"), &token).is_ok()
    });
    assert!(again, "nobody gets in any more");
    stage.stop().await;
}

/// Refusals are longer than what they answer: a client that does not read them is not read either.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_not_read() {
    let (mut stage, mut wire) = attack().await;
    wire.stream.sock.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let calls = message(b'F', &[]).repeat(13_000);
    let stopped = (0..500).any(|_| wire.stream.write_all(&calls).is_err());
    assert!(stopped, "32 MB of refused calls were read while nobody took the answers");
    drop(wire);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_cut_into_bytes_gets_the_same_answers() {
    let mut stage = Stage::start(strict()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let copy = query("COPY orders (customer_id, item, total, status) FROM STDIN");
    let session = [
        query("SELECT name, ssn FROM customers WHERE id < 4 ORDER BY id"),
        [parse("s", "SELECT ssn, $1::int FROM customers WHERE id = 1"), describe('S', "s"), sync()].concat(),
        [bind("", "s", &["7"]), execute("", 1), execute("", 0), close('S', "s"), sync()].concat(),
        [parse("", "DROP TABLE orders"), bind("", "", &[]), sync()].concat(),
        query("SELECT reverse(ssn) FROM customers"),
        [parse("", INSERT), bind("", "", &["x"]), execute("", 0), sync()].concat(),
        [copy, message(b'f', b"no\0")].concat(),
        query(""),
        message(b'F', &[0, 0, 0, 1]),
    ];
    let whole = {
        let mut wire = login(&stage, &token);
        wire.ask(&session.concat(), session.len()).unwrap()
    };
    let mut wire = login(&stage, &token);
    for byte in session.concat() {
        wire.send(&[byte]).unwrap();
    }
    let pieces = wire.ask(&[], session.len()).unwrap();
    assert_eq!(texts(&pieces), texts(&whole));
    assert_eq!(whole.iter().filter(|one| one.kind == b'Z').count(), session.len(), "{}", texts(&whole));
    stage.stop().await;
}
