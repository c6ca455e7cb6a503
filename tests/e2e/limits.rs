//! Bounds of time that a configuration sets: how long a login may take, and how long a session.

use chaperone_tests::raw::{Out, Wire, errors, rows, shape, tls};
use chaperone_tests::stage::{Recorded, Setting, Stage};
use chaperone_tests::wire::SSL_REQUEST;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HANDSHAKE: Duration = Duration::from_secs(2);

/// How many strangers of each kind.
const STRANGERS: usize = 60;

/// Reads to the end; how long it took from `since`.
async fn closed(mut stream: impl AsyncRead + Unpin, since: Instant) -> Duration {
    let mut said = Vec::new();
    // With or without a goodbye: both are an end.
    let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said)).await;
    assert!(end.is_ok(), "a connection that does not log in is kept");
    since.elapsed()
}

/// A client that asks for TLS and sends the beginning of a ClientHello of 512 bytes.
async fn half_hello(stage: &Stage) -> TcpStream {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(&SSL_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
    stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3]).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_not_finished_in_time_is_closed_and_keeps_nobody_out() {
    // Of 600 places, logins may take half: 300, and here are 240 strangers and one more.
    let more = "limits: { handshake_timeout: 2s, connections: 600 }".into();
    let mut stage = Stage::start(Setting { more, ..Setting::default() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut ends = Vec::new();
    for _ in 0..STRANGERS {
        let since = Instant::now();
        let silent = TcpStream::connect(stage.address).await.unwrap();
        let half_hello = half_hello(&stage).await;
        let mut half_packet = TcpStream::connect(stage.address).await.unwrap();
        half_packet.write_all(&[0, 0, 0, 40, 0, 3]).await.unwrap();
        for stream in [silent, half_hello, half_packet] {
            ends.push(tokio::spawn(closed(stream, since)));
        }
        let since = Instant::now();
        let mut inside = tls(&stage).await.unwrap();
        inside.write_all(b"\0\0\0\x28\0\x03\0\0user\0ap").await.unwrap();
        inside.flush().await.unwrap();
        ends.push(tokio::spawn(closed(inside, since)));
    }
    // Each byte of the ClientHello comes soon after the one before, and the whole never.
    let since = Instant::now();
    let slow = half_hello(&stage).await;
    let (read, mut write) = slow.into_split();
    let drip = tokio::spawn(async move {
        while write.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    ends.push(tokio::spawn(closed(read, since)));

    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    for end in ends {
        // Not before its time: nobody was closed to make room, or for another reason.
        assert!(end.await.unwrap() >= HANDSHAKE);
    }
    tokio::time::timeout(Duration::from_secs(30), drip).await.expect("its bytes are still taken").unwrap();
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_never_longer_than_the_longest_may_be() {
    let more = "limits: { session: 3s }".into();
    let mut stage = Stage::start(Setting { more, ..Setting::default() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let started = Instant::now();
    let mut busy = Wire::connect(&stage, &token).await.unwrap();
    let mut idle = Wire::connect(&stage, &token).await.unwrap();
    busy.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    assert_eq!(shape(&idle.query("begin").await.unwrap()), "C ZT");
    for wire in [&mut busy, &mut idle] {
        let last = wire.answer().await.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(3), "cut before its time");
        assert!(shape(&last).starts_with("E:"), "{}", shape(&last));
        assert!(
            errors(&last).contains("this session is as long as sessions may be here"),
            "{}",
            errors(&last)
        );
    }
    let alive = "select count(*) from pg_stat_activity where usename = 'shop_owner' and state <> 'idle'";
    stage.until("no backend", |stage| Ok(stage.real(alive)?.trim() == "0")).await.unwrap();
    let says = |one: &Recorded| one.end().contains("limit-reached");
    let sealed = |stage: &Stage| Ok(stage.recorded()?.iter().filter(|one| says(one)).count() == 2);
    stage.until("two recordings that say so", sealed).await.unwrap();
    // The window is still open: a new session is another one.
    assert_eq!(rows(&Wire::connect(&stage, &token).await.unwrap().query("select 7").await.unwrap()), ["7"]);
    stage.stop().await;
}
