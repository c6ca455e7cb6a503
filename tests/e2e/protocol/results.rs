//! Portals in parts, descriptions, formats, notifications and settings: what drivers rely on beyond a query and its rows.

use super::libpq;
use chaperone_tests::raw::{Out, Wire, errors, rows, shape};
use chaperone_tests::stage::{Setting, Stage};

async fn enter() -> (Stage, Wire) {
    let stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let wire = Wire::connect(&stage, &token).await.unwrap();
    (stage, wire)
}

/// Execute of at most so many rows.
fn some(out: Out, portal: &str, rows: u8) -> Out {
    out.message(b'E', &[portal.as_bytes(), &[0, 0, 0, 0, rows]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_is_fetched_in_parts_is_masked_in_each() {
    let (mut stage, mut wire) = enter().await;
    let sql = "select id, ssn from customers where id <= $1 order by id";
    let out = Out::new().query("begin").parse("s", sql).bind("p", "s", &["5"], &[]);
    let out = some(some(some(out, "p", 2), "p", 2), "p", 2).sync();
    wire.send(out).await.unwrap();
    wire.answer().await.unwrap();
    let said = wire.answer().await.unwrap();
    assert_eq!(shape(&said), "1 2 D s D s D C ZT");
    assert_eq!(rows(&said), (1..=5).map(|id| format!("{id}|[redacted]")).collect::<Vec<_>>());
    // Over several segments, as long as the transaction lasts; closed, it is gone.
    let said = wire.ask(some(Out::new().bind("p", "s", &["5"], &[]), "p", 1).sync()).await.unwrap();
    assert_eq!(shape(&said), "E:42P03 ZE");
    wire.query("rollback").await.unwrap();
    wire.query("begin").await.unwrap();
    wire.ask(some(Out::new().bind("p", "s", &["5"], &[]), "p", 1).sync()).await.unwrap();
    let said = wire.ask(some(Out::new(), "p", 1).sync()).await.unwrap();
    assert_eq!((shape(&said).as_str(), rows(&said)), ("D s ZT", vec!["2|[redacted]".to_owned()]));
    let said = wire.ask(some(Out::new().close(b'P', "p"), "p", 1).sync()).await.unwrap();
    assert!(shape(&said).starts_with("3 E:"), "{}", shape(&said));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_portals_are_described_and_closed() {
    let (mut stage, mut wire) = enter().await;
    let select = "select id, ssn from customers where id = $1";
    let out = Out::new()
        .parse("s", select)
        .describe(b'S', "s")
        .bind("p", "s", &["1"], &[1, 0])
        .describe(b'P', "p")
        .execute("p")
        .parse("n", "begin")
        .describe(b'S', "n")
        .close(b'S', "s")
        .close(b'S', "never there")
        .sync();
    let said = wire.ask(out).await.unwrap();
    assert_eq!(shape(&said), "1 t T 2 T D C 1 t n 3 3 ZI");
    let described: Vec<&[u8]> = said.iter().filter(|one| one.kind == b'T').map(|one| &one.body[..]).collect();
    // A portal's description has its formats: one of both kinds.
    assert!(described[0].ends_with(&[0, 0]) && described[1].ends_with(&[0, 0]), "{described:?}");
    assert_ne!(described[0], described[1], "the formats are not told");
    let row = said.iter().find(|one| one.kind == b'D').unwrap().values();
    assert_eq!(row, [Some(vec![0, 0, 0, 1]), Some(b"[redacted]".to_vec())]);
    let said = wire.ask(Out::new().bind("", "s", &["1"], &[]).sync()).await.unwrap();
    assert_eq!(shape(&said), "E:26000 ZI");
    stage.stop().await;
}

/// Parameters of both formats in one Bind, and what a Flush asks for before the Sync.
#[tokio::test(flavor = "multi_thread")]
async fn formats_are_mixed_and_a_flush_is_answered_at_once() {
    let (mut stage, mut wire) = enter().await;
    let mut body = b"\0\0\0\x02\0\x01\0\0\0\x02\0\0\0\x04\0\0\0\x29\0\0\0\x01".to_vec();
    body.extend_from_slice(b"1\0\x02\0\0\0\x01");
    let out = Out::new().parse("", "select $1::int + $2::int, $1::int * 2").message(b'B', &body).execute("");
    wire.send(out.message(b'H', &[])).await.unwrap();
    let row = wire.until(b'D').await.unwrap();
    assert_eq!(row.values(), [Some(b"42".to_vec()), Some(vec![0, 0, 0, 82])]);
    wire.until(b'C').await.unwrap();
    // An error, told at the Flush; what comes up to the Sync is skipped, a Flush too.
    wire.send(Out::new().parse("", "select nothing").message(b'H', &[])).await.unwrap();
    assert_eq!(wire.until(b'E').await.unwrap().field(b'C').as_deref(), Some("42703"));
    let said =
        wire.ask(Out::new().message(b'H', &[]).run("select 1", &[]).message(b'H', &[]).sync()).await.unwrap();
    assert_eq!(shape(&said), "ZI", "{}", errors(&said));
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn libpq_sees_notifications_notices_and_settings() {
    // Without masks, a payload and a notice come through; what masks make of them is tested with the masks.
    let mut stage = Stage::start(Setting { plugins: "guard".into(), ..Setting::default() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let script = r#"
class Notify(ctypes.Structure):
    _fields_ = [("channel", ctypes.c_char_p), ("pid", ctypes.c_int), ("payload", ctypes.c_char_p)]

notices = []
@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
def note(_, text):
    notices.append(text.decode())

listener, sender = connect(), connect("application_name=sender")
pq.PQsetNoticeProcessor(listener, note, None)
ask(listener, "listen news")
ask(sender, "notify news, 'hello'")
ask(listener, "select 1")
pq.PQconsumeInput(listener)
notify = ctypes.cast(pq.PQnotifies(listener), ctypes.POINTER(Notify)).contents
assert (notify.channel, notify.payload) == (b"news", b"hello"), (notify.channel, notify.payload)
assert notify.pid == pq.PQbackendPID(sender) == int(ask(sender, "select pg_backend_pid()"))
ask(listener, "begin")
ask(listener, "begin")
assert any("already a transaction" in text for text in notices), notices
assert pq.PQtransactionStatus(listener) == 2
ask(listener, "rollback")
assert pq.PQtransactionStatus(listener) == 0
assert pq.PQparameterStatus(sender, b"application_name").endswith(b"/sender")
assert pq.PQparameterStatus(sender, b"client_encoding") == b"UTF8"
assert pq.PQparameterStatus(sender, b"server_version") == ask(sender, "show server_version").encode()
ask(sender, "set timezone = 'Asia/Tokyo'")
assert pq.PQparameterStatus(sender, b"TimeZone") == b"Asia/Tokyo"
print("ok")
"#;
    assert_eq!(libpq(&stage, &token, &[], script).success().unwrap(), "ok\n");
    stage.stop().await;
}
