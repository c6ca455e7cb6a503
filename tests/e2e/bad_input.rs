//! What is wrong is refused before anything is dialled, in words that help its owner and tell others nothing.

use chaperone::demo::issuer::{GroupsClaim, Issuer, TokenSpec};
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::cases::{Case, failed};
use chaperone_tests::raw::{self as wire, Login, Out, Wire, rows};
use chaperone_tests::stage::{AGENTS, AUDIENCE, Setting, Stage, TENANT, object_id};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_at_the_gateway() {
    let server = vec![("log_connections".to_owned(), "on".to_owned())];
    let stage = Stage::start(Setting { server, ..Setting::default() }).await.unwrap();
    let connections =
        |stage: &Stage| stage.postgres.log().matches("connection authorized: user=shop_owner").count();
    let before = connections(&stage);
    let (stage, failed) = failed(
        stage,
        chaperone_tests::cases![
            a_token_that_proves_nothing_is_refused_by_its_class,
            a_target_that_is_not_granted_and_one_that_is_not_there_look_the_same,
            without_tls_there_is_no_password_prompt,
            bytes_before_tls_are_not_believed,
            garbage_short_and_slow_bytes_close_only_their_own_connection,
            start_up_settings_that_change_how_statements_are_read_are_refused,
            a_cancel_request_for_no_session_is_answered_by_silence,
        ],
    )
    .await
    .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(connections(&stage), before, "the target was dialled");
    assert!(stage.recorded().unwrap().is_empty(), "a session that never began was recorded");
}

async fn refused(case: &Case, token: &str, database: &str, more: &[(&str, &str)]) -> String {
    match Wire::login(&case.stage, token, database, more).await.unwrap() {
        Login::In(_) => panic!("let in"),
        Login::Refused(said) => String::from_utf8_lossy(&said).into_owned(),
    }
}

async fn a_token_that_proves_nothing_is_refused_by_its_class(case: Case) {
    case.window().unwrap();
    let spec = |audience: &str, issued: Timestamp| {
        TokenSpec::new(CallerKind::Agent, &object_id(case.number), audience, issued)
            .groups(GroupsClaim::Listed(vec![AGENTS.to_owned()]))
    };
    let now = Timestamp::now();
    let long_ago = Timestamp::from_second(now.as_second() - 7200).unwrap();
    let issuer = &case.stage.issuer;
    let foreign = Issuer::start(TENANT).await.unwrap();
    let (head, rest) = case.token.split_once('.').unwrap();
    let (claims, _) = rest.split_once('.').unwrap();
    let flipped: String = {
        let mut bytes = case.token.clone().into_bytes();
        let middle = head.len() + 20;
        bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    for (what, token, code) in [
        ("expired", issuer.token(&spec(AUDIENCE, long_ago)).unwrap(), "expired"),
        (
            "for another service",
            issuer.token(&spec("7e570000-0000-4000-8000-0000000000ff", now)).unwrap(),
            "",
        ),
        ("signed by another issuer", foreign.token(&spec(AUDIENCE, now)).unwrap(), ""),
        ("changed", flipped, ""),
        ("without a signature", format!("{head}.{claims}."), ""),
        ("no token at all", "swordfish-is-not-a-token".to_owned(), ""),
        ("oversize", format!("{}{}", case.token, "A".repeat(17 * 1024)), ""),
        ("far oversize", "A".repeat(200 * 1024), ""),
        ("empty", String::new(), ""),
    ] {
        // A client may be cut while it still sends: then it got no answer, which is one, too.
        let Ok(login) = Wire::login(&case.stage, &token, "shop", &[]).await else { continue };
        let Login::Refused(said) = login else { panic!("{what}: let in") };
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("FATAL") || said.is_empty(), "{what}: {said}");
        assert!(said.to_lowercase().contains(code), "{what}: {said}");
        assert!(
            token.len() < 16 || !said.contains(&token[..16]),
            "{what}: the token is in the answer: {said}"
        );
        assert!(!said.contains("window") && !said.contains("shop"), "{what}: it says too much: {said}");
    }
    // The right one is still right.
    assert!(rows_of(&case).await);
}

async fn rows_of(case: &Case) -> bool {
    // Not let in to anything: only that the credential is known.
    let other = case.stage.token(CallerKind::Agent, AGENTS, 0xf1).unwrap();
    refused(case, &other, "shop", &[]).await.contains("you have no open window")
}

async fn a_target_that_is_not_granted_and_one_that_is_not_there_look_the_same(case: Case) {
    let stranger = case.stage.token(CallerKind::Agent, "7e570000-0000-4000-8000-0000000000bf", 0xf2).unwrap();
    let granted_to_others = refused(&case, &stranger, "shop", &[]).await;
    for database in ["shopp", "postgres", "no such target", "x", &"y".repeat(200), "shop\u{e9}"] {
        assert_eq!(refused(&case, &stranger, database, &[]).await, granted_to_others, "{database}");
    }
    assert!(!granted_to_others.contains("shop"), "{granted_to_others}");
    // The same by the API.
    let ask = |target: &str| {
        let ran = case.stage.chaperone(&stranger, &["request", target, "--reason", "x", "--json"]).unwrap();
        assert!(!ran.status.success());
        (ran.status.code(), ran.stdout, ran.stderr.replace(target, "TARGET"))
    };
    assert_eq!(ask("shop"), ask("nope"));
}

async fn without_tls_there_is_no_password_prompt(case: Case) {
    case.window().unwrap();
    let psql = case.stage.psql(&case.token).unwrap();
    let refused = psql.clone().env("PGSSLMODE", "disable").run("select 1").unwrap();
    assert!(
        refused.stderr.contains("FATAL:  this gateway only accepts encrypted connections"),
        "{}",
        refused.stderr
    );
    // A packet by hand: an error comes, and no authentication request before it.
    let mut stream = TcpStream::connect(case.stage.address).await.unwrap();
    let body = b"\0\x03\0\0user\0app\0database\0shop\0\0";
    stream.write_all(&u32::try_from(body.len() + 4).unwrap().to_be_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    assert_eq!(said[0], b'E');
}

async fn bytes_before_tls_are_not_believed(case: Case) {
    let mut stream = TcpStream::connect(case.stage.address).await.unwrap();
    // An SSLRequest, and in the same packet what a man in the middle would like to be read as protected.
    let mut packet = vec![0, 0, 0, 8, 4, 210, 22, 47];
    packet.extend_from_slice(b"\0\0\0\x20\0\x03\0\0user\0app\0database\0shop\0\0");
    stream.write_all(&packet).await.unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    assert_eq!(said, b"", "{said:?}");
}

async fn garbage_short_and_slow_bytes_close_only_their_own_connection(case: Case) {
    // Slow: it says nothing, and stays while the others come and go.
    let slow = TcpStream::connect(case.stage.address).await.unwrap();
    for bytes in [
        b"".to_vec(),
        b"\0".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\xff\xff\xff\xff\0\x03\0\0".to_vec(),
        b"\0\0\0\0".to_vec(),
        b"\0\0\0\x08\0\x02\0\0".to_vec(),
        vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
        vec![0x41; 100_000],
    ] {
        let mut stream = TcpStream::connect(case.stage.address).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut said = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
        assert!(end.is_ok(), "{bytes:?} keeps its connection");
        assert!(said.len() < 1024, "{bytes:?}: {said:?}");
    }
    // Behind TLS, too: a message that says it is 4 GiB long in place of the password.
    let mut stream = wire::tls(&case.stage).await.unwrap();
    stream.write_all(b"\0\0\0\x1d\0\x03\0\0user\0app\0database\0x\0\0").await.unwrap();
    stream.write_all(b"p\xff\xff\xff\xffAAAA").await.unwrap();
    stream.flush().await.unwrap();
    let mut said = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await.unwrap();
    assert!(rows_of(&case).await, "others are affected");
    drop(slow);
}

async fn start_up_settings_that_change_how_statements_are_read_are_refused(case: Case) {
    case.window().unwrap();
    for (name, value) in [
        ("client_encoding", "SJIS"),
        ("client_encoding", "LATIN1"),
        ("options", "-c standard_conforming_strings=off"),
        ("search_path", "evil"),
        ("role", "postgres"),
        ("session_authorization", "postgres"),
        ("replication", "database"),
        ("replication", "true"),
        ("standard_conforming_strings", "off"),
    ] {
        let said = refused(&case, &case.token, "shop", &[(name, value)]).await;
        assert!(said.contains("FATAL"), "{name}={value}: {said}");
    }
}

async fn a_cancel_request_for_no_session_is_answered_by_silence(case: Case) {
    wire::cancel(case.stage.address, [1, 2, 3, 4, 5, 6, 7, 8]).await.unwrap();
    let mut stream = TcpStream::connect(case.stage.address).await.unwrap();
    stream.write_all(&[0, 0, 0, 12, 4, 210, 22, 46, 0, 0, 0, 1]).await.unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    assert_eq!(said, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_credential_is_shown_by_no_statement() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    for sql in [
        "select rolpassword from pg_authid",
        "select passwd from pg_shadow",
        "select * from pg_user",
        "show all",
        "select * from pg_settings",
        "select * from pg_stat_activity",
    ] {
        let _ = wire.ask(Out::new().query(sql)).await.unwrap();
    }
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    let seen = String::from_utf8_lossy(&wire.seen).into_owned();
    assert!(!seen.contains(&stage.login.password) && !seen.contains("SCRAM-SHA-256$"), "{seen}");
    stage.stop().await;
}
