//! Versions, cancel keys, settings at start-up and TLS, as libpq of PostgreSQL 18 asks for them; and targets that speak older
//! versions, or lie about them.

use super::libpq;
use chaperone_tests::raw::{self, rows};
use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::wire::{Message, Wire, kinds, message, query, startup, texts};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

const USER: [(&str, &str); 2] = [("user", "app"), ("database", "shop")];

#[tokio::test(flavor = "multi_thread")]
async fn libpq_speaks_3_2_and_cancels_with_its_long_key() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let script = r#"
import threading

for asked, spoken in [("", 30000), ("max_protocol_version=3.2 min_protocol_version=3.2", 30002), ("max_protocol_version=latest", 30002)]:
    c = connect(asked)
    assert pq.PQfullProtocolVersion(c) == spoken, pq.PQfullProtocolVersion(c)
    assert str(pq.PQbackendPID(c)) == ask(c, "select pg_backend_pid()")
    other = connect()
    cancel = ctypes.c_void_p(pq.PQcancelCreate(c))
    assert pq.PQsendQuery(c, b"select pg_sleep(50)") == 1
    while ask(other, "select count(*) from pg_stat_activity where query = 'select pg_sleep(50)' and state = 'active'") != "1":
        pass
    assert pq.PQcancelBlocking(cancel) == 1
    result = ctypes.c_void_p(pq.PQgetResult(c))
    assert b"canceling statement" in pq.PQresultErrorMessage(result)
    assert not pq.PQgetResult(c)
    assert ask(c, "select 7") == ask(other, "select 7") == "7"
print("ok")
"#;
    assert_eq!(libpq(&stage, &token, &[], script).success().unwrap(), "ok\n");
    stage.stop().await;
}

/// A login by hand: what came before the prompt, and what after the token.
fn login(stage: &Stage, token: &str, packet: &[u8]) -> (Wire, Vec<Message>, Vec<Message>) {
    let mut wire = Wire::encrypted(stage.address, &stage.path("gateway.pem")).unwrap();
    wire.send(packet).unwrap();
    let before = wire.until(b"R").unwrap();
    wire.send(&message(b'p', format!("{token}\0").as_bytes())).unwrap();
    let after = wire.until(b"ZE").unwrap();
    wire.key = after.iter().find(|one| one.kind == b'K').map(|key| key.body.clone()).unwrap_or_default();
    (wire, before, after)
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_versions_and_options_are_negotiated_down() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let option = [USER[0], USER[1], ("_pq_.grease", "1"), ("_pq_.more", "")];
    for (minor, settings, told, key) in [
        (0, &USER[..], None, 4),
        (2, &USER, None, 32),
        (9999, &USER, Some(&b"\0\x03\0\x02\0\0\0\0"[..]), 32),
        (0, &option, Some(b"\0\x03\0\0\0\0\0\x02_pq_.grease\0_pq_.more\0"), 4),
        (9999, &option, Some(b"\0\x03\0\x02\0\0\0\x02_pq_.grease\0_pq_.more\0"), 32),
    ] {
        let (mut wire, before, _) = login(&stage, &token, &startup((3 << 16) | minor, settings));
        let negotiated = before.iter().find(|one| one.kind == b'v').map(|one| one.body.as_slice());
        assert_eq!((negotiated, wire.key.len()), (told, 4 + key), "3.{minor} {settings:?}");
        assert_eq!(kinds(&before), if told.is_some() { "vR" } else { "R" });
        assert_eq!(kinds(&wire.sql("select 7").unwrap()), "TDCZ");
    }
    stage.stop().await;
}

/// A long key counts whole, and only while its session lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_cancel_key_counts_whole_and_ends_with_its_session() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let packet = startup((3 << 16) | 2, &USER);
    let (mut one, ..) = login(&stage, &token, &packet);
    let (mut other, ..) = login(&stage, &token, &packet);
    let (ended, ..) = login(&stage, &token, &packet);
    let old = ended.key.clone();
    drop(ended);
    let key = one.key.clone();
    let mut wrong = key.clone();
    wrong[35] ^= 1;
    let process = key[..4].to_vec();
    one.send(&query("select pg_sleep(50)")).unwrap();
    let active =
        "select count(*) from pg_stat_activity where query = 'select pg_sleep(50)' and state = 'active'";
    stage.until("a sleeper", |stage| Ok(stage.real(active)?.trim() == "1")).await.unwrap();
    let mut tried =
        vec![wrong, old, other.key.clone(), [&key[..], b"\0"].concat(), [&process[..], &[0; 32]].concat()];
    tried.extend((0..key.len()).map(|length| key[..length].to_vec()));
    tried.push([&process[..], &vec![0; 300]].concat());
    tried.push([&other.key[..4], &key[4..]].concat());
    for key in tried {
        raw::cancel(stage.address, &key).await.unwrap();
    }
    // The gateway answers a request when it has passed it on: it would have been cancelled by now.
    assert!(texts(&other.sql(active).unwrap()).contains("\u{1}1"), "it was cancelled");
    raw::cancel(stage.address, &key).await.unwrap();
    assert!(texts(&one.until(b"Z").unwrap()).contains("57014"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgoptions_are_judged_setting_by_setting() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let psql = |options: &str| stage.psql(&token).unwrap().env("PGOPTIONS", options);
    for (options, setting, shown) in [
        ("-c statement_timeout=5s", "statement_timeout", "5s"),
        ("-cstatement_timeout=4000", "statement_timeout", "4s"),
        ("--statement-timeout=3s", "statement_timeout", "3s"),
        (r"-c application_name=a\ b -c TimeZone=Asia/Tokyo", "timezone", "Asia/Tokyo"),
        ("-c default_transaction_read_only=on", "transaction_read_only", "on"),
        // The server takes the last.
        ("-c lock_timeout=1s -c lock_timeout=2s", "lock_timeout", "2s"),
    ] {
        let ran = psql(options).run(&format!("show {setting}")).unwrap();
        assert_eq!(ran.success().unwrap().trim(), shown, "{options}");
    }
    let mut refusals = String::new();
    for options in [
        "-c search_path=evil",
        "-c statement_timeout=5s --role=postgres",
        r"-c se\arch_path=evil",
        "-c client_encoding=SJIS",
        "-c chaperone.auth=none",
        "-W 10",
        "-c statement_timeout=soon",
    ] {
        let ran = psql(options).run("select 1").unwrap();
        assert_eq!((ran.status.code(), ran.stdout.as_str()), (Some(2), ""), "{options}");
        // Without the address, which is another each time.
        let said = ran.stderr.split_once("FATAL:").map_or(ran.stderr.as_str(), |(_, said)| said);
        refusals.push_str(&format!("{options}\n{}\n", said.trim()));
    }
    insta::assert_snapshot!("options", refusals);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn libpq_gets_tls_however_it_asks_and_nothing_without() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let script = r#"
import os

for asked in ["sslmode=prefer", "sslmode=allow", "sslmode=require", "sslmode=verify-ca", "sslmode=verify-full host=localhost"]:
    for negotiation in ["postgres", "direct"]:
        if negotiation == "direct" and ("prefer" in asked or "allow" in asked):
            continue  # libpq refuses the combination
        c = connect(f"{asked} sslnegotiation={negotiation} sslrootcert={os.environ['ROOT']}")
        assert pq.PQsslInUse(c) == 1, asked
        pq.PQsslAttribute.restype = ctypes.c_char_p
        alpn = pq.PQsslAttribute(c, b"alpn")
        assert alpn == b"postgresql" or negotiation == "postgres", (asked, negotiation, alpn)
        assert ask(c, "select 7") == "7"
said = refused("sslmode=disable")
assert "this gateway only accepts encrypted connections" in said, said
assert "Connect with sslmode=require or stricter" in said, said
print("ok")
"#;
    let root = stage.path("gateway.pem").display().to_string();
    let more = [
        ("ROOT", root.as_str()),
        ("PGHOSTADDR", "127.0.0.1"),
        ("PGHOST", "127.0.0.1"),
        ("PGSSLMODE", "prefer"),
    ];
    assert_eq!(libpq(&stage, &token, &more, script).success().unwrap(), "ok\n");
    stage.stop().await;
}

/// What stands before a real server and has its own idea of versions.
#[derive(Clone, Copy, Debug)]
enum Version {
    /// As PostgreSQL 17 and older: the newest is 3.0, and it says so.
    Negotiates,
    /// As some poolers: an error.
    Refuses(&'static str),
    /// As others: it closes.
    Closes,
    /// It says this.
    Says(&'static [u8]),
}

impl Version {
    /// Listens until the test's process ends.
    fn start(self, server: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for gateway in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || self.serve(gateway, server));
            }
        });
        address
    }

    fn serve(self, mut gateway: TcpStream, server: SocketAddr) -> std::io::Result<()> {
        let mut length = [0; 4];
        gateway.read_exact(&mut length)?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize - 4];
        gateway.read_exact(&mut packet)?;
        if packet[..4] != [0, 3, 0, 0] {
            match self {
                Version::Negotiates => gateway.write_all(&message(b'v', b"\0\x03\0\0\0\0\0\0"))?,
                Version::Says(bytes) => gateway.write_all(bytes)?,
                Version::Refuses(code) => {
                    let body = format!("SFATAL\0VFATAL\0C{code}\0Munsupported frontend protocol 3.2\0\0");
                    gateway.write_all(&message(b'E', body.as_bytes()))?;
                    return gateway.shutdown(Shutdown::Both);
                }
                Version::Closes => return gateway.shutdown(Shutdown::Both),
            }
            packet[..4].copy_from_slice(&[0, 3, 0, 0]);
        }
        let mut server = TcpStream::connect(server)?;
        server.write_all(&length)?;
        server.write_all(&packet)?;
        let (mut from, mut to) = (gateway.try_clone()?, server.try_clone()?);
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        std::io::copy(&mut server, &mut gateway)?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_older_versions_are_spoken_with_in_theirs() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let server = stage.postgres.address();
    stage.stop().await;
    let file = stage.path("chaperone.yaml");
    let written = std::fs::read_to_string(&file).unwrap();
    let lie = |bytes: &'static [u8]| Version::Says(bytes);
    let cases = [
        (Version::Negotiates, true),
        (Version::Refuses("0A000"), true),
        (Version::Refuses("08P01"), true),
        (Version::Closes, true),
        // Nothing to do with the version: it is not asked again.
        (Version::Refuses("28000"), false),
        (lie(b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0"), false),
        (lie(b"v\0\0\0\x0c\0\x03\0\x09\0\0\0\0"), false),
        (lie(b"v\0\0\0\x0c\0\x02\0\0\0\0\0\0"), false),
        (lie(b"v\0\0\0\x12\0\x03\0\0\0\0\0\x01_pq_.\0"), false),
        (lie(b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0v\0\0\0\x0c\0\x03\0\0\0\0\0\0"), false),
        (lie(b"v\0\0\0\x06\0\x03"), false),
        (lie(b"v\0\0\0\x0d\0\x03\0\0\0\0\0\0x"), false),
    ];
    for (version, let_in) in cases {
        let address = version.start(server);
        std::fs::write(&file, written.replace(&server.to_string(), &address.to_string())).unwrap();
        stage.restart().await.unwrap();
        let token = stage.agent_with_window().unwrap();
        // A new client's version is nothing to the target.
        let (mut wire, _, after) = login(&stage, &token, &startup((3 << 16) | 2, &USER));
        if let_in {
            assert!(texts(&wire.sql("select 7").unwrap()).contains('7'), "{version:?}");
            assert_eq!(wire.key.len(), 4 + 32, "{version:?}");
        } else {
            assert_eq!(kinds(&after), "E", "{version:?}: {}", texts(&after));
            assert!(texts(&after).contains("08006"), "{version:?}: {}", texts(&after));
        }
    }
    stage.stop().await;
}

/// Settings are the session's own, and the target has them as if its client had set them.
#[tokio::test(flavor = "multi_thread")]
async fn the_target_has_the_settings_and_never_the_line() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let more = [("options", "-c statement_timeout=7s -c chaperone.auth=password"), ("lock_timeout", "3s")];
    let raw::Login::In(mut wire) = raw::Wire::login(&stage, &token, "shop", &more).await.unwrap() else {
        panic!("not let in");
    };
    let sql = "select name || '=' || setting || ' ' || source from pg_settings \
               where source = 'client' and name in ('statement_timeout', 'lock_timeout') order by 1";
    let shown = rows(&wire.query(sql).await.unwrap());
    assert_eq!(shown, ["lock_timeout=3000 client", "statement_timeout=7000 client"]);
    stage.stop().await;
}
