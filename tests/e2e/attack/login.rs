//! Ways in past the login, and into another session. PEERS' row of PostgreSQL attack classes, item by item.

use super::{attack, login, session, strict};
use chaperone_tests::stage::Stage;
use chaperone_tests::wire::{
    GSSENC_REQUEST, SSL_REQUEST, Wire, kinds, message, packet, query, startup, tcp, texts, tls,
};
use std::io::{Read, Write};

const PLAIN_STARTUP: [(&str, &str); 2] = [("user", "app"), ("database", "shop")];

/// Everything that comes until the connection ends.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// Length fields, bytes before TLS, no TLS, requests in the wrong place, replication: nobody gets to a password prompt.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_a_start_up_packet_inside_tls_reaches_the_prompt() {
    let mut stage = Stage::start(strict()).await.unwrap();
    let outside: [(&str, Vec<u8>); 7] = [
        ("a start-up packet in the clear", startup(3 << 16, &PLAIN_STARTUP)),
        (
            "a start-up packet behind the SSLRequest",
            [SSL_REQUEST.to_vec(), startup(3 << 16, &PLAIN_STARTUP)].concat(),
        ),
        ("GSSENC twice", [GSSENC_REQUEST, GSSENC_REQUEST].concat()),
        ("a length of 4 GiB", vec![0xff; 8]),
        ("a length of 0", vec![0; 8]),
        ("a length of 7", vec![0, 0, 0, 7, 0, 3, 0]),
        ("a length of 10,001", vec![0, 0, 0x27, 0x11, 0, 3, 0, 0]),
    ];
    for (what, bytes) in outside {
        let mut stream = tcp(stage.address).unwrap();
        stream.write_all(&bytes).unwrap();
        let said = rest(&mut stream);
        assert!(!said.contains(&b'R') || said.starts_with(b"E"), "{what}: {said:?}");
    }
    let inside: [(&str, Vec<u8>); 8] = [
        ("SSLRequest", SSL_REQUEST.to_vec()),
        ("GSSENCRequest", GSSENC_REQUEST.to_vec()),
        ("version 2", startup(2 << 16, &PLAIN_STARTUP)),
        (
            "replication",
            startup(3 << 16, &[("user", "app"), ("database", "shop"), ("replication", "database")]),
        ),
        ("Replication", startup(3 << 16, &[("user", "app"), ("database", "shop"), ("Replication", "true")])),
        (
            "options",
            startup(3 << 16, &[("user", "app"), ("database", "shop"), ("options", "-c search_path=x")]),
        ),
        ("role", startup(3 << 16, &[("user", "app"), ("database", "shop"), ("role", "postgres")])),
        ("bytes behind the end", packet(b"\0\x03\0\0user\0app\0\0user\0x\0")),
    ];
    for (what, bytes) in inside {
        let mut wire = Wire::encrypted(stage.address, &stage.path("gateway.pem")).unwrap();
        wire.send(&bytes).unwrap();
        let said = wire.until(b"R").unwrap();
        assert!(said.iter().all(|message| message.kind == b'E'), "{what}: {}", texts(&said));
    }
    // GSSENC, refused, then TLS is what libpq does.
    let mut stream = tcp(stage.address).unwrap();
    stream.write_all(&GSSENC_REQUEST).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"N");
    stream.write_all(&SSL_REQUEST).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"S");
    // Direct TLS counts only with its ALPN.
    for (alpn, prompted) in [(true, true), (false, false)] {
        let stream = tls(tcp(stage.address).unwrap(), &stage.path("gateway.pem"), alpn).unwrap();
        let mut wire = Wire { stream, key: Vec::new() };
        let _ = wire.send(&startup(3 << 16, &PLAIN_STARTUP));
        assert_eq!(wire.until(b"R").is_ok_and(|said| kinds(&said) == "R"), prompted, "alpn {alpn}");
    }
    stage.stop().await;
}

/// A cancel request reaches the session whose whole key it names, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_reaches_its_own_session_only() {
    let mut stage = Stage::start(strict()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let (mut one, two) = (login(&stage, &token), login(&stage, &token));
    let cancel = |key: &[u8]| {
        let mut stream = tcp(stage.address).unwrap();
        stream.write_all(&packet(&[&80_877_102u32.to_be_bytes(), key].concat())).unwrap();
        assert_eq!(rest(&mut stream), b"", "a cancel request is answered by silence");
    };
    one.send(&query("SELECT pg_sleep(2)")).unwrap();
    let mut wrong = one.key.clone();
    wrong[7] ^= 1;
    cancel(&wrong);
    cancel(&two.key);
    cancel(&one.key[..4]);
    let said = texts(&one.until(b"Z").unwrap());
    assert!(said.contains("SELECT 1"), "it was cancelled: {said}");
    one.send(&query("SELECT pg_sleep(60)")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    for _ in 0..20 {
        cancel(&one.key);
    }
    let said = texts(&one.until(b"Z").unwrap());
    assert!(said.contains("57014"), "{said}");
    stage.stop().await;
}

/// Frames that are no frames end the session; they are never forwarded.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_none_ends_the_session() {
    let mut stage = Stage::start(strict()).await.unwrap();
    for bytes in [
        vec![b'Q', 0, 0, 0, 3],
        vec![b'Q', 0xff, 0xff, 0xff, 0xff],
        vec![b'Q', 0x40, 0, 0, 1],
        vec![b'B', 0x3f, 0xff, 0xff, 0xff],
        message(b'~', b"?"),
        message(b'D', b"Xname\0"),
        message(b'C', b"Sname\0more"),
        message(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
        message(b'E', b"\0\0"),
    ] {
        let mut wire = session(&stage);
        let said = wire.ask(&bytes, 1).unwrap();
        assert!(texts(&said).contains("FATAL"), "{bytes:?}: {}", texts(&said));
    }
    // Not understood, but a whole frame: refused in its place.
    let mut wire = session(&stage);
    for bytes in [
        message(b'Q', b"select 1\0select 2\0"),
        message(b'Q', b"\xff\0"),
        message(b'Q', b"select 1"),
        message(b'F', &[]),
    ] {
        assert_eq!(kinds(&wire.ask(&bytes, 1).unwrap()), "EZ", "{bytes:?}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_statement_refuses_the_whole_text() {
    let (mut stage, mut wire) = attack().await;
    let said = wire.sql("SELECT 1; DROP TABLE orders; SELECT 2").unwrap();
    assert_eq!(kinds(&said), "EZ", "{}", texts(&said));
    assert_eq!(stage.real("select count(*) from orders").unwrap().trim(), "120");
    stage.stop().await;
}
