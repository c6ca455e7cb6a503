//! A target that fails, or is somebody else: the client is told which side failed and nothing of the gateway's
//! credential, is not let in, and the session is in the recordings.

mod false_server;

use chaperone::demo::postgres::ServerTls;
use chaperone_tests::raw::{Login, Message, Wire, messages, shape};
use chaperone_tests::stage::{OtherTarget, Recorded, Setting, Stage, files};
use chaperone_tests::tools;
use false_server::{FalseServer, Lie};
use std::process::Command;

/// What only the wrong account has.
const WRONG: &str = "wrong-horse-battery";

const UNREACHABLE: &str = "the target cannot be reached";
const UNVERIFIED: &str = "the target's TLS certificate could not be verified";
const NO_LOGIN: &str = "the target refused the gateway's own login";
const NO_POSTGRES: &str = "the target answered with something that is not PostgreSQL";
const NO_PROOF: &str = "the target did not prove that it knows the gateway's password";
const LATE: &str = "the target did not answer in time";

fn target(name: &str, address: &str, tls: &str) -> OtherTarget {
    OtherTarget { name: name.into(), address: address.into(), tls: tls.into(), password: None }
}

/// `chaperone serve` that logs everything it can.
fn talkative() -> Command {
    let mut command = Command::new(tools::chaperone().unwrap());
    command.env("RUST_LOG", "trace");
    command
}

/// Opens a window on a target and tries to get in; everything the client got after its token.
async fn refused(stage: &Stage, target: &str) -> Vec<Message> {
    let token = stage.agent().unwrap();
    stage.open_window_on(target, &token, None).unwrap();
    match Wire::login(stage, &token, target, &[]).await.unwrap() {
        Login::In(_) => panic!("{target}: let in"),
        Login::Refused(said) => messages(&said),
    }
}

/// Tries all targets, of which each has to be refused in the words beside it, and looks for the credential everywhere.
async fn all_refused(mut stage: Stage, cases: &[(&str, &str)]) {
    let serving = stage.serve_by(talkative()).await.unwrap();
    for (target, says) in cases {
        let said = refused(&stage, target).await;
        // One message, an error: no AuthenticationOk, no setting and no key before it.
        assert_eq!(shape(&said), "E:08006", "{target}");
        let field = |field| said[0].field(field).unwrap_or_default();
        assert_eq!((field(b'S').as_str(), field(b'M').as_str()), ("FATAL", *says), "{target}");
        assert!(field(b'D').starts_with("Your token and your window are fine"), "{target}: {}", field(b'D'));
        let text = String::from_utf8_lossy(&said[0].body).into_owned();
        for private in
            [&stage.login.password, WRONG, &stage.login.role, &stage.postgres.address().to_string()]
        {
            assert!(!text.contains(private), "{target}: {private} was shown: {text}");
        }
    }
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{status}");

    let recorded = stage.recorded().unwrap();
    for (target, says) in cases {
        let of = |one: &&Recorded| one.head().contains(&format!("\"target\":\"{target}\""));
        let ends: Vec<String> = recorded.iter().filter(of).map(Recorded::end).collect();
        // As a sentence: it stands alone there.
        let says = |end: &String| {
            end.contains("target-unavailable") && end.to_lowercase().contains(&says.to_lowercase())
        };
        assert!(ends.len() == 1 && ends.iter().all(says), "{target}: {ends:?}");
    }
    assert!(log.contains(" TRACE "), "the log is not at level trace");
    let mut places = vec![("the log".to_owned(), log.into_bytes())];
    places.extend(files(stage.folder.path()).unwrap());
    places.retain(|(place, _)| !place.ends_with(".password"));
    assert!(places.len() > cases.len() + 2, "not everything was searched");
    for (place, bytes) in places {
        for secret in [stage.login.password.as_str(), WRONG] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "the target's password is in {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_is_told_as_such_and_its_credential_never() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = "{ mode: disabled }";
    let verified = "{ mode: verify-full, ca: gateway.pem }";
    let lies = [
        ("wrong-proof", Lie::WrongProof, plain, NO_PROOF),
        ("no-proof", Lie::NoProof, plain, NO_PROOF),
        ("no-question", Lie::NoQuestion, plain, NO_PROOF),
        ("md5", Lie::Md5, plain, NO_LOGIN),
        ("cleartext", Lie::Cleartext, plain, NO_LOGIN),
        ("endless-rounds", Lie::EndlessRounds, plain, NO_PROOF),
        ("no-tls", Lie::NoTls, verified, UNVERIFIED),
        ("behind-tls", Lie::BehindTls, verified, UNVERIFIED),
        ("not-postgres", Lie::NotPostgres, plain, NO_POSTGRES),
        ("not-postgres-tls", Lie::NotPostgres, verified, UNVERIFIED),
        ("silent", Lie::Silent, plain, LATE),
        ("silent-tls", Lie::Silent, verified, LATE),
    ];
    let servers: Vec<FalseServer> = lies.iter().map(|(_, lie, _, _)| FalseServer::start(*lie)).collect();
    let mut more_targets: Vec<OtherTarget> = (lies.iter().zip(&servers))
        .map(|(lie, server)| target(lie.0, &server.address.to_string(), lie.2))
        .collect();
    more_targets.push(target("down", &nobody.to_string(), plain));
    let wrong = OtherTarget { password: Some(WRONG.into()), ..target("wrong", "127.0.0.1:{port}", plain) };
    more_targets.push(wrong);
    let more = "limits: { dial_timeout: 2s }".into();
    let stage = Stage::start(Setting { more_targets, more, ..Setting::default() }).await.unwrap();
    let password = stage.login.password.clone();

    let mut cases: Vec<(&str, &str)> = lies.iter().map(|(name, _, _, says)| (*name, *says)).collect();
    cases.extend([("down", UNREACHABLE), ("wrong", NO_LOGIN)]);
    all_refused(stage, &cases).await;
    // Nor did the false servers get it, or anything of the session.
    for ((name, ..), server) in lies.iter().zip(&servers) {
        let heard = String::from_utf8_lossy(&server.heard()).into_owned();
        assert!(!heard.contains(&password), "{name}: the password was given away");
        assert!(!heard.contains("md5"), "{name}: a hash of the password was given away");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_verified_by_name_and_authority() {
    if tools::postgres_with_tls_bin().is_none() {
        // Said aloud by `cargo xtask test`.
        return;
    }
    let right = "{ mode: verify-full, ca: target-ca.pem }";
    let setting = Setting {
        server_tls: ServerTls::Offered,
        // Its certificate is for 127.0.0.1 and localhost.
        server: vec![("listen_addresses".to_owned(), "127.0.0.1,127.0.0.2".to_owned())],
        more_targets: vec![
            target("right", "localhost:{port}", right),
            target("other-name", "127.0.0.2:{port}", right),
            target("other-authority", "localhost:{port}", "{ mode: verify-full, ca: gateway.pem }"),
            OtherTarget { password: Some(WRONG.into()), ..target("wrong", "localhost:{port}", right) },
        ],
        ..Setting::default()
    };
    let stage = Stage::start(setting).await.unwrap();
    let cases = [
        ("other-name", UNVERIFIED),
        ("other-authority", UNVERIFIED),
        // With channel binding.
        ("wrong", NO_LOGIN),
    ];
    // The same server under its right name lets in, and TLS is what is used.
    let token = stage.agent().unwrap();
    stage.open_window_on("right", &token, None).unwrap();
    let encrypted = stage.psql(&token).unwrap().env("PGDATABASE", "right");
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(encrypted.run(sql).unwrap().success().unwrap(), "t\n");
    all_refused(stage, &cases).await;
}
