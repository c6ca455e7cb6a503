//! Sizes: what is large passes whole, and what only says that it is large costs nothing.

use super::{attack, session, strict};
use chaperone_tests::soak::holds;
use chaperone_tests::stage::Stage;
use chaperone_tests::wire::{Wire, bind, execute, kinds, message, parse, query, startup, sync, texts};
use std::time::{Duration, Instant};

/// Over the 16 MiB at which peers stop.
const LARGE: usize = 20 << 20;

/// Frames of 20 MB, in each direction and as COPY data: a gateway that keeps messages whole may not refuse long ones.
#[tokio::test(flavor = "multi_thread")]
async fn messages_over_sixteen_mebibytes_pass() {
    let (mut stage, mut wire) = attack().await;
    let large = "y".repeat(LARGE);
    let frames =
        [parse("", "select length($1::text), $1::text"), bind("", "", &[&large]), execute("", 0), sync()];
    let said = wire.ask(&frames.concat(), 1).unwrap();
    assert_eq!(kinds(&said), "12DCZ");
    let row = &said[2].body;
    assert!(row[6..].starts_with(LARGE.to_string().as_bytes()), "{:?}", &row[..32]);
    assert!(row.len() > LARGE && row.ends_with(large.as_bytes()), "{} bytes", row.len());

    let copy = query("copy orders (customer_id, item, total, status) from stdin");
    let line = format!("1\t{large}\t1\topen\n");
    let said = wire.ask(&[copy, message(b'd', line.as_bytes()), message(b'c', b"")].concat(), 1).unwrap();
    assert_eq!(kinds(&said), "GCZ", "{}", texts(&said));
    let said = wire.sql("copy orders (item) to stdout").unwrap();
    let longest = said.iter().filter(|one| one.kind == b'd').map(|one| one.body.len()).max();
    assert_eq!(longest, Some(LARGE + 1), "{}", kinds(&said).trim_matches('d'));
    stage.stop().await;
}

/// Sizes at which buffers end, and one byte to each side of them.
const EDGES: [usize; 4] = [8 * 1024, 32 * 1024, 64 * 1024, 128 * 1024];

/// Octelium cut a write over 32 KiB. What arrives is compared with what was sent, by the target.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_over_32_kib_is_not_cut() {
    let (mut stage, mut wire) = attack().await;
    let insert = "insert into orders (customer_id, item, total, status) values (1,";
    for size in EDGES.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]) {
        // Of letters that differ, so that a piece in the wrong place shows.
        let value: String =
            (0..size).map(|n| char::from(b'a' + u8::try_from(n * 7 / 13 % 26).unwrap())).collect();
        // Roads are told apart by their totals.
        let whole = |stage: &Stage, road: u8| {
            let sql = format!("select count(*) from orders where item = '{value}' and total = {road}");
            assert_eq!(stage.real(&sql).unwrap().trim(), "1", "{size} bytes by road {road}");
        };
        let said = wire.sql(&format!("{insert} '{value}', 1, 'open')")).unwrap();
        assert_eq!(kinds(&said), "CZ", "{}", texts(&said));
        whole(&stage, 1);
        let frames =
            [parse("", &format!("{insert} $1, 2, 'open')")), bind("", "", &[&value]), execute("", 0), sync()];
        let said = wire.ask(&frames.concat(), 1).unwrap();
        assert_eq!(kinds(&said), "12CZ", "{}", texts(&said));
        whole(&stage, 2);
        let copy = query("copy orders (customer_id, item, total, status) from stdin");
        let line = format!("1\t{value}\t3\topen\n");
        let said = wire.ask(&[copy, message(b'd', line.as_bytes()), message(b'c', b"")].concat(), 1).unwrap();
        assert_eq!(kinds(&said), "GCZ", "{}", texts(&said));
        whole(&stage, 3);
    }
    stage.stop().await;
}

/// Fields that count: a negative number, more than there is, less than there is. Refused or the end, never forwarded.
#[tokio::test(flavor = "multi_thread")]
async fn counts_that_do_not_fit_their_frame_are_not_forwarded() {
    let mut stage = Stage::start(strict()).await.unwrap();
    let before = stage.real("select count(*) from orders").unwrap();
    let insert =
        b"\0insert into orders (customer_id, item, total, status) values (1, 'x', 1, 'open')\0".as_slice();
    for types in [
        b"".as_slice(),
        b"\0",
        b"\0\x01",
        b"\xff\xff",
        b"\x7f\xff\0\0\0\x17",
        b"\0\0\0",
        b"\0\x01\0\0\0\x17\0",
    ] {
        let mut wire = session(&stage);
        let frames =
            [message(b'P', &[insert, types].concat()), bind("", "", &[]), execute("", 0), sync()].concat();
        let said = wire.ask(&frames, 1).unwrap();
        assert!(said.iter().any(|one| one.kind == b'E'), "{types:?}: {}", texts(&said));
        assert!(said.iter().all(|one| one.kind != b'1'), "{types:?}: {}", texts(&said));
    }
    for rest in [
        b"\0\0\0\x01".as_slice(),
        b"\xff\xff\0\0\0\0",
        b"\0\0\0\x01\x7f\xff\xff\xff\0\0",
        b"\0\0\0\x01\0\0\0\x02x\0\0",
        b"\0\0\0\0\0\x01",
        b"\0\0\0\0\0\0x",
        b"\0\x02\0\0\0\0\0\0",
    ] {
        let mut wire = session(&stage);
        wire.ask(&[parse("s", "select $1::text"), sync()].concat(), 1).unwrap();
        let frames = [message(b'B', &[b"\0s\0", rest].concat()), execute("", 0), sync()].concat();
        let said = wire.ask(&frames, 1).unwrap();
        assert!(texts(&said).contains("FATAL"), "{rest:?}: {}", texts(&said));
    }
    assert_eq!(stage.real("select count(*) from orders").unwrap(), before);
    stage.stop().await;
}

/// Strangers that are inside TLS, of each kind.
const STRANGERS: usize = 100;

/// What one of them may cost, in kB: its TLS state with the buffers of a handshake, and what it has sent.
const MOST_KB_EACH: u64 = 160;

/// Sockets that a process has open. Other files come and go: the store opens one more reader when two reads meet, and keeps it.
fn sockets(process: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    // One that is closed meanwhile has no link any more.
    let links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// Before a token is checked nobody is known: a length field gets no memory, and a stranger costs the little that its
/// TLS costs.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_memory_for_what_it_claims() {
    let mut stage = Stage::start(strict()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let serving = stage.serve().await.unwrap();
    stage.psql(&token).unwrap().run("select 1").unwrap().success().unwrap();
    let claims = [0xffu8, 0xff, 0xff, 0xff];
    let small = startup(3 << 16, &[("user", "app"), ("database", "shop")]);
    let (before, sockets_before) = (holds(serving.id()).unwrap(), sockets(serving.id()));
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        // The longest start-up packet, of which most never comes.
        let mut one = Wire::encrypted(stage.address, &stage.path("gateway.pem")).unwrap();
        one.send(&[0, 0, 0x27, 0x10, 0, 3, 0, 0]).unwrap();
        // A password of 4 GiB.
        let mut two = Wire::encrypted(stage.address, &stage.path("gateway.pem")).unwrap();
        two.send(&small).unwrap();
        assert_eq!(kinds(&two.until(b"R").unwrap()), "R");
        two.send(&[b"p".as_slice(), &claims].concat()).unwrap();
        assert!(texts(&two.until(b"E").unwrap()).contains("a password message was expected"));
        // The longest password, of which most never comes.
        let mut three = Wire::encrypted(stage.address, &stage.path("gateway.pem")).unwrap();
        three.send(&small).unwrap();
        assert_eq!(kinds(&three.until(b"R").unwrap()), "R");
        three.send(b"p\0\0\x4f\0ey").unwrap();
        strangers.extend([one, three]);
    }
    let after = holds(serving.id()).unwrap();
    let grown =
        after.resident_kb.saturating_sub(before.resident_kb) / u64::try_from(strangers.len()).unwrap();
    assert!(grown < MOST_KB_EACH, "{grown} kB for each of {} strangers", strangers.len());
    // They keep nobody out, and when they leave nothing of them stays.
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    drop(strangers);
    let since = Instant::now();
    while sockets(serving.id()) > sockets_before {
        // Less than the gateway waits for those who stay and say nothing.
        assert!(since.elapsed() < Duration::from_secs(10), "sockets of those who left are open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    serving.signal("TERM").unwrap();
    assert!(serving.ended().unwrap().0.success());
}
