//! Bounds of time that a configuration sets: how long a login may take, and how long a session.

use crate::metrics::scrape;
use chaperone_tests::raw::{Login, Out, Wire, errors, messages, rows, shape, tls};
use chaperone_tests::stage::{OtherTarget, Recorded, Setting, Stage};
use chaperone_tests::wire::{SSL_REQUEST, message, startup};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

/// Connections that were refused for a reason.
async fn refused(stage: &Stage, reason: &str) -> f64 {
    scrape(stage).await.unwrap()[&format!("chaperone_connections_refused_total{{reason=\"{reason}\"}}")]
}

/// Whether a stranger that says nothing is closed without a word; else it is waited for.
async fn is_dropped(stage: &Stage) -> bool {
    let mut stranger = TcpStream::connect(stage.address).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(2), stranger.read_u8()).await;
    matches!(end, Ok(Err(_)))
}

/// Logs in as soon as there is a place: one is given back a moment after its last client has seen the end.
async fn enter(stage: &Stage, token: &str) -> Wire {
    let since = Instant::now();
    loop {
        match Wire::connect(stage, token).await {
            Ok(wire) => return wire,
            Err(error) => {
                assert!(since.elapsed() < Duration::from_secs(20), "no place is given back: {error}")
            }
        }
    }
}

/// A login has one of the places of logins, half of all, from its first byte until it is a session or gone: also while its target
/// does not answer. So strangers, however many and however slow, leave the other half to sessions, and sessions leave theirs to logins.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_has_its_place_until_it_is_admitted_or_gone() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = OtherTarget {
        name: "silent".into(),
        address: silent.local_addr().unwrap().to_string(),
        tls: "{ mode: disabled }".into(),
        password: None,
    };
    let more = "limits: { connections: 8, dial_timeout: 2m }".into();
    let mut stage =
        Stage::start(Setting { more, more_targets: vec![target], ..Setting::default() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    stage.open_window_on("silent", &token, None).unwrap();

    // Many more than there are places, one after the other: each is told why, and leaves nothing behind.
    for _ in 0..40 {
        let Login::Refused(said) = Wire::login(&stage, "no token", "shop", &[]).await.unwrap() else {
            panic!("a stranger is in");
        };
        assert_eq!(shape(&messages(&said)), "E:28P01");
    }
    // Those that are in count as logins no more.
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(enter(&stage, &token).await);
    }
    // The bound of logins, at a target that says nothing.
    let (mut logins, mut dialled) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let mut login = tls(&stage).await.unwrap();
        login.write_all(&startup(3 << 16, &[("user", "app"), ("database", "silent")])).await.unwrap();
        login.write_all(&message(b'p', &[token.as_bytes(), b"\0"].concat())).await.unwrap();
        login.flush().await.unwrap();
        dialled.push(silent.accept().await.unwrap());
        logins.push(login);
    }
    let before = (refused(&stage, "login-limit").await, refused(&stage, "connection-limit").await);
    assert!(is_dropped(&stage).await, "a fifth login is begun, though four are not done");
    let after = (refused(&stage, "login-limit").await, refused(&stage, "connection-limit").await);
    assert_eq!(after, (before.0 + 1.0, before.1));
    for session in &mut sessions {
        assert_eq!(rows(&session.query("select 7").await.unwrap()), ["7"]);
    }
    // They are refused, and all places that were theirs are there for sessions.
    drop((silent, dialled));
    for mut login in logins {
        let mut said = Vec::new();
        login.read_to_end(&mut said).await.unwrap();
        assert!(shape(&messages(&said)).ends_with("E:08006"), "{}", shape(&messages(&said)));
    }
    while sessions.len() < 8 {
        sessions.push(enter(&stage, &token).await);
    }
    let before = refused(&stage, "connection-limit").await;
    assert!(is_dropped(&stage).await, "there are more connections than places");
    assert_eq!(refused(&stage, "connection-limit").await, before + 1.0);
    sessions.pop();
    assert_eq!(rows(&enter(&stage, &token).await.query("select 7").await.unwrap()), ["7"]);
    stage.stop().await;
}

/// How long the gateway waits for a client by OAUTHBEARER to take note of its refusal, and a little less.
const TAKING_NOTE: Duration = Duration::from_secs(4);

/// Who is refused and does not go is still a stranger.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_is_being_refused_counts_as_one() {
    let more = "limits: { connections: 8 }".into();
    let mut stage = Stage::start(Setting { more, ..Setting::default() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let response = b"n,,\x01auth=Bearer a.b.c\x01\x01";
    let length = u32::try_from(response.len()).unwrap().to_be_bytes();
    let initial = message(b'p', &[b"OAUTHBEARER\0".as_slice(), &length, response].concat());
    let settings = [("user", "app"), ("database", "shop"), ("options", "-c chaperone.auth=oauth")];
    // On a machine so slow that the first is given up before the last has come, it is tried again.
    let dropped = loop {
        let since = Instant::now();
        let mut strangers = Vec::new();
        for _ in 0..4 {
            let mut stranger = tls(&stage).await.unwrap();
            stranger.write_all(&[startup(3 << 16, &settings), initial.clone()].concat()).await.unwrap();
            stranger.flush().await.unwrap();
            // The offer, and the failure, which it does not confirm.
            let mut said = Vec::new();
            while messages(&said).len() < 2 {
                assert_ne!(stranger.read_buf(&mut said).await.unwrap(), 0, "closed: {said:?}");
            }
            assert_eq!(shape(&messages(&said)), "R R");
            strangers.push(stranger);
        }
        let dropped = is_dropped(&stage).await;
        if since.elapsed() < TAKING_NOTE {
            break dropped;
        }
        drop(strangers);
        drop(enter(&stage, &token).await);
    };
    assert!(dropped, "a fifth stranger is listened to while four are still being refused");
    // They are gone now.
    assert_eq!(rows(&enter(&stage, &token).await.query("select 7").await.unwrap()), ["7"]);
    stage.stop().await;
}
