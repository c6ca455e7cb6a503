//! OAUTHBEARER with libpq of PostgreSQL 18, and by hand where no libpq would send it.

use super::libpq;
use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::wire::{Message, Wire, kinds, message, startup, texts};

const URL: &str = "https://issuer.example/.well-known/openid-configuration";

/// Asks libpq for a token: what it was told is in `asked`, what it answers in `token`.
const HOOK: &str = r#"
class Request(ctypes.Structure):
    _fields_ = [("openid_configuration", ctypes.c_char_p), ("scope", ctypes.c_char_p), ("async_", ctypes.c_void_p),
                ("cleanup", ctypes.c_void_p), ("token", ctypes.c_char_p), ("user", ctypes.c_void_p)]

asked = []
token = os.environ["TOKEN"].encode()

@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def hook(kind, connection, data):
    # PQAUTHDATA_OAUTH_BEARER_TOKEN
    if kind != 1:
        return 0
    request = ctypes.cast(data, ctypes.POINTER(Request)).contents
    asked.append((request.openid_configuration.decode(), request.scope.decode() if request.scope else None))
    request.token = token
    return 1

pq.PQsetAuthDataHook(hook)
OAUTH = "oauth_client_id=agent options='-c chaperone.auth=oauth' require_auth=oauth "
"#;

fn publishing() -> Setting {
    let more = format!(
        "listen: {{ postgres: \"127.0.0.1:0\", api: \"127.0.0.1:0\", oauth: {{ discovery_url: \"{URL}\", scope: \"api://shop/.default openid\" }} }}"
    );
    Setting { more, ..Setting::default() }
}

async fn publishing_stage() -> Stage {
    // The harness writes `listen` itself.
    let (mut stage, file) = Stage::prepare(Setting::default()).await.unwrap();
    let written = std::fs::read_to_string(&file).unwrap();
    let (_, rest) = written.split_once('\n').unwrap();
    std::fs::write(&file, format!("{}\n{rest}", publishing().more)).unwrap();
    stage.restart().await.unwrap();
    stage
}

fn run(stage: &Stage, token: &str, script: &str) -> String {
    let more = [("TOKEN", token), ("PGPASSWORD", "")];
    libpq(stage, token, &more, &format!("{HOOK}\n{script}")).success().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn libpq_brings_its_token_by_oauthbearer() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent().unwrap();
    let issuer = format!("OAUTH + \"oauth_issuer={URL}\"");
    // The same steps follow as for a password.
    let said = run(&stage, &token, &format!("print(refused({issuer}))"));
    assert!(said.contains("you have no open window on this target"), "{said}");
    stage.open_window(&token, None).unwrap();
    let script = format!(
        r#"
c = connect({issuer})
assert ask(c, "select ssn from customers where id = 1") == "[redacted]"
# Principal and session, and nothing of the client's: it has asked for no name.
assert ask(c, "show application_name").count("/") == 1
assert asked == [("{URL}", None)], asked
# Prefer what is protected, and take nothing else.
assert "authentication method requirement" in refused(({issuer}).replace("require_auth=oauth", "require_auth=scram-sha-256"))
token = b"eyJhbGciOiJub25lIn0.e30."
said = refused({issuer})
print(said)
"#
    );
    let said = run(&stage, &token, &script);
    assert!(said.contains("FATAL") && !said.contains("eyJ"), "{said}");
    stage.stop().await;
    let agent = chaperone_tests::stage::object_id(1);
    assert!(stage.recorded().unwrap().iter().any(|one| one.head().contains(&agent)), "nobody is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn libpq_is_told_where_to_get_a_token_if_the_operator_publishes_it() {
    let mut stage = publishing_stage().await;
    let token = stage.agent_with_window().unwrap();
    let script = format!(
        r#"
c = connect(OAUTH + "oauth_issuer=https://issuer.example")
assert ask(c, "select 7") == "7"
assert asked == [("{URL}", "api://shop/.default openid")], asked
said = refused(OAUTH + "oauth_issuer=https://other.example")
assert "https://other.example" in said and len(asked) == 1, (said, asked)
token = b"not-a-token"
said = refused(OAUTH + "oauth_issuer=https://issuer.example")
assert "FATAL" in said, said
print("ok")
"#
    );
    assert_eq!(run(&stage, &token, &script), "ok\n");
    stage.stop().await;

    let mut silent = Stage::start(Setting::default()).await.unwrap();
    let token = silent.agent_with_window().unwrap();
    let said = run(&silent, &token, "print(refused(OAUTH + 'oauth_issuer=https://issuer.example'), asked)");
    assert!(said.contains("no discovery metadata") && said.contains("[]"), "{said}");
    silent.stop().await;
}

/// A client that has asked for OAUTHBEARER, at the offer.
fn offered(stage: &Stage) -> Wire {
    let mut wire = Wire::encrypted(stage.address, &stage.path("gateway.pem")).unwrap();
    let settings = [("user", "app"), ("database", "shop"), ("options", "-c chaperone.auth=oauth")];
    wire.send(&startup(3 << 16, &settings)).unwrap();
    let offer = wire.until(b"R").unwrap();
    assert_eq!(offer[0].body, b"\0\0\0\x0aOAUTHBEARER\0\0");
    wire
}

fn initial(mechanism: &str, response: &[u8]) -> Vec<u8> {
    let length = u32::try_from(response.len()).unwrap().to_be_bytes();
    message(b'p', &[mechanism.as_bytes(), b"\0", &length, response].concat())
}

/// What a client gets that sends this, up to the end of the connection.
fn said(stage: &Stage, bytes: &[u8]) -> Vec<Message> {
    let mut wire = offered(stage);
    wire.send(bytes).unwrap();
    wire.until(b"Z").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sasl_message_of_any_other_form_is_refused() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let response = format!("n,,\x01auth=Bearer {token}\x01\x01");
    let good = initial("OAUTHBEARER", response.as_bytes());
    let mut wire = offered(&stage);
    wire.send(&good).unwrap();
    assert_eq!(kinds(&wire.until(b"Z").unwrap()).replace('S', ""), "RKZ");

    let twice = format!("n,,\x01auth=Bearer {token}\x01auth=Bearer {token}\x01\x01");
    let body = &good[5..];
    let mut wrong = vec![
        ("another mechanism", initial("SCRAM-SHA-256", response.as_bytes())),
        ("two tokens", initial("OAUTHBEARER", twice.as_bytes())),
        ("channel binding", initial("OAUTHBEARER", response.replace("n,,", "p=tls-exporter,,").as_bytes())),
        ("an authorization identity", initial("OAUTHBEARER", response.replace("n,,", "n,a=dba,").as_bytes())),
        ("no initial response", message(b'p', b"OAUTHBEARER\0\xff\xff\xff\xff")),
        ("a password", message(b'p', format!("{token}\0").as_bytes())),
        ("a byte more", message(b'p', &[body, b"x"].concat())),
        ("a query", message(b'Q', b"select 1\0")),
        (
            "over 20 KiB",
            initial("OAUTHBEARER", format!("n,,\x01auth=Bearer {}\x01\x01", "a".repeat(20_480)).as_bytes()),
        ),
    ];
    // Every place in the header and around the token, and a few within it.
    let cuts = (0..40).chain((40..body.len()).step_by(97)).chain(body.len() - 4..body.len());
    wrong.extend(cuts.map(|length| ("a cut", message(b'p', &body[..length]))));
    for (what, bytes) in wrong {
        let said = said(&stage, &bytes);
        assert_eq!(kinds(&said), "E", "{what}: {}", texts(&said));
        let text = texts(&said);
        assert!(text.contains("08P01") && !text.contains(&token[..20]), "{what}: {text}");
    }
    stage.stop().await;
}

/// A token that proves nothing fails the mechanism first, and then the connection (RFC 7628, section 3.2.2).
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_proves_nothing_fails_the_mechanism() {
    let mut stage = publishing_stage().await;
    let long = "a".repeat(17 * 1024);
    for (token, code) in [("a.b.c", "28P01"), (long.as_str(), "28P01"), ("", "28P01")] {
        let auth = if token.is_empty() { String::new() } else { format!("Bearer {token}") };
        let mut wire = offered(&stage);
        wire.send(&initial("OAUTHBEARER", format!("n,,\x01auth={auth}\x01\x01").as_bytes())).unwrap();
        let failed = wire.until(b"RE").unwrap();
        assert_eq!(failed[0].body[..4], [0, 0, 0, 11], "{}", texts(&failed));
        let status: serde_json::Value = serde_json::from_slice(&failed[0].body[4..]).unwrap();
        assert_eq!(status["status"], "invalid_token");
        assert_eq!(
            (status["openid-configuration"].as_str(), status["scope"].as_str()),
            (Some(URL), Some("api://shop/.default openid"))
        );
        // Its only word is that it has heard.
        wire.send(&message(b'p', b"\x01")).unwrap();
        let last = wire.until(b"Z").unwrap();
        assert_eq!(kinds(&last), "E");
        assert!(texts(&last).contains(code) && texts(&last).contains("FATAL"), "{}", texts(&last));
    }
    stage.stop().await;
}
