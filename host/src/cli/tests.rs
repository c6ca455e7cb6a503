//! The command line against a gateway of a few lines: what is sent, what is said, how the process would end.

use super::client::Client;
use super::*;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use clap::CommandFactory;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

mod again;

/// Answers what it was told to, in order, and remembers what it was asked.
#[derive(Clone, Default)]
struct Stub {
    answers: Arc<Mutex<VecDeque<Response>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn answer(self, status: u16, body: &Value) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.respond((status, text).into_response())
    }

    fn respond(self, response: Response) -> Self {
        self.answers.lock().unwrap().push_back(response);
        self
    }

    async fn client(&self) -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(handle).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        client(&url, Some("t0ken")).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn handle(State(stub): State<Stub>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let token =
        parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("none");
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let line = format!("{} {} {token} {}", parts.method, parts.uri, String::from_utf8_lossy(&body));
    stub.asked.lock().unwrap().push(line);
    let next = stub.answers.lock().unwrap().pop_front();
    next.unwrap_or_else(|| StatusCode::IM_A_TEAPOT.into_response())
}

fn client(url: &str, token: Option<&str>) -> Result<Client, Failure> {
    let args = GatewayArgs { gateway: url.into(), ca: None, token_file: None };
    let token = token.map(str::to_owned);
    Client::new(&args, &|name| token.clone().filter(|_| name == "CHAPERONE_TOKEN"))
}

fn ask(wait: bool) -> RequestArgs {
    let wait = if wait { &["--wait"][..] } else { &[] };
    requested(&[&["prod", "--reason", "incident 7", "--duration", "10m"], wait].concat())
}

/// What is asked for by a command line.
fn requested(arguments: &[&str]) -> RequestArgs {
    match Cli::parse_from(["chaperone", "request"].iter().chain(arguments)).command {
        Command::Request(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_consistent_and_documents_its_exit_codes() {
    Cli::command().debug_assert();
    let help = Cli::command().render_help().to_string();
    for text in ["0  done", "1  refused", "2  the command", "3  the gateway", "4  a recording", "NO_COLOR"] {
        assert!(help.contains(text), "{text} is not in\n{help}");
    }
}

#[test]
fn a_token_is_never_a_flag() {
    assert!(Cli::try_parse_from(["chaperone", "windows", "--token", "x"]).is_err());
    assert!(Cli::try_parse_from(["chaperone", "windows", "--token-file", "x"]).is_ok());
}

#[test]
fn commands_parse() {
    let session = "ses_0193452c0f0070008000000000000001";
    for line in [
        "serve --config c.yaml",
        "check c.yaml --strict --json",
        "demo --tour",
        "request prod --reason why --duration 1h --wait",
        "request prod --reason why --ticket INC-7 --idempotency-key job-7/1",
        "revoke win_0193452c0f0070008000000000000001 --reason over",
        "windows --gateway https://gw:8443 --ca ca.pem",
        "approve hold_0193452c0f0070008000000000000001 --comment fine",
        "sessions --live",
        "verify --all --recordings dir",
        "verify --all --public-key a.pem keys",
        "verify . --public-key a.pem",
        "recording-key --new key.pem",
        "export --from 2026-11-01 --to 2026-11-30 --out evidence",
    ] {
        let words = line.split(' ');
        assert!(Cli::try_parse_from(std::iter::once("chaperone").chain(words)).is_ok(), "{line}");
    }
    assert!(Cli::try_parse_from(["chaperone", "replay", session, "--speed", "4"]).is_ok());
    assert!(Cli::try_parse_from(["chaperone", "renew", session, "--token-file", "-"]).is_ok());
    for line in [
        "request prod",
        "request prod --reason x --duration 15",
        "request prod --reason x --ticket",
        "request prod --reason x --idempotency-key é",
        "replay ses_x",
        "renew win_0193452c0f0070008000000000000001",
        "verify",
        "verify . --all",
        "verify no-such-file",
        "sessions --live --recordings d",
        "sessions --limit 0",
    ] {
        assert!(Cli::try_parse_from(std::iter::once("chaperone").chain(line.split(' '))).is_err(), "{line}");
    }
    for speed in ["0", "-1", "NaN", "1001", "inf"] {
        assert!(Cli::try_parse_from(["chaperone", "replay", session, "--speed", speed]).is_err(), "{speed}");
    }
}

#[tokio::test]
async fn a_token_travels_encrypted_or_not_at_all() {
    for (url, expected) in [
        (
            "http://gateway.example:8443",
            Some("the gateway's URL is http, and a token must not travel unencrypted"),
        ),
        (
            "http://127.0.0.1.example",
            Some("the gateway's URL is http, and a token must not travel unencrypted"),
        ),
        ("ftp://localhost", Some("the gateway's URL is not https")),
        (
            "https://user:pw@gateway",
            Some("the gateway's URL must be a host and a port, without name and password"),
        ),
        ("gateway:8443", Some("the gateway's URL is not https")),
        ("gateway", Some("the gateway's URL is not a URL: relative URL without a base")),
        ("http://127.0.0.1:1", None),
        ("http://[::1]:1", None),
    ] {
        let failure = client(url, Some("t")).err();
        assert_eq!(failure.as_ref().map(|failure| failure.what.as_str()), expected, "{url}");
        assert!(failure.is_none_or(|failure| failure.exit == Exit::Usage));
    }
}

#[test]
fn a_token_is_one_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let read = |content: &str| {
        std::fs::write(&path, content).unwrap();
        client::token(Some(&path), &|_| None)
            .map(|token| token.expose_secret().to_owned())
            .map_err(|error| error.what)
    };
    assert_eq!(read("  abc.def\n"), Ok("abc.def".into()));
    for bad in ["", "\n", "a b", "a\nb", "é", &"x".repeat(20_000)] {
        assert!(read(bad).is_err_and(|what| what.starts_with("the token is empty")), "{bad:?}");
    }
    assert_eq!(
        client::token(None, &|_| None).err().map(|failure| failure.what),
        Some("there is no token".into())
    );
}

#[tokio::test]
async fn a_request_that_waits_polls_until_it_is_decided() {
    let pending =
        json!({ "id": "req_1", "state": "pending", "approvers": [{ "approvers": "dba", "needed": 1 }] });
    let approved = json!({ "id": "req_1", "state": "approved", "window": { "id": "win_1" } });
    let stub = Stub::default()
        .answer(201, &pending)
        .answer(200, &json!({ "request": pending, "next": null }))
        .answer(200, &json!({ "request": approved, "next": null }));
    let exit = remote::request(&stub.client().await, &ask(true), Audience::Programs).await;
    assert_eq!(exit, Ok(Exit::Done));
    assert_eq!(
        stub.asked(),
        [
            "POST /api/v1/requests Bearer t0ken {\"duration\":\"10m\",\"reason\":\"incident 7\",\"target\":\"prod\"}",
            "GET /api/v1/requests/req_1?wait=30s Bearer t0ken ",
            "GET /api/v1/requests/req_1?wait=30s Bearer t0ken ",
        ]
    );
}

#[tokio::test]
async fn a_rejected_request_is_a_refusal() {
    let stub = Stub::default().answer(201, &json!({ "id": "req_1", "state": "rejected", "decisions": [] }));
    let exit = remote::request(&stub.client().await, &ask(false), Audience::People).await;
    assert_eq!(exit, Ok(Exit::Refused));
}

#[tokio::test]
async fn a_problem_becomes_one_line_what_and_one_line_what_to_do() {
    for (status, problem, shown) in [
        (
            403,
            json!({ "title": "Access to this target is not granted to you.", "code": "not-granted", "detail": "No grant names you." }),
            "error: Access to this target is not granted to you. No grant names you.\n help: check the target's name, or ask an operator for a grant\n",
        ),
        (
            403,
            json!({ "title": "You have no open window on this target", "code": "no-window", "detail": "", "request": { "command": "chaperone request prod --reason 'why'" } }),
            "error: You have no open window on this target\n help: run: chaperone request prod --reason 'why'\n",
        ),
        (
            401,
            json!({ "title": "The token is past its time.\u{1b}[2J", "code": "credential-expired" }),
            "error: The token is past its time. [2J\n help: sign in again with `chaperone login`; or get a new token for CHAPERONE_TOKEN or the token file\n",
        ),
        (
            500,
            json!({ "title": "Oh.", "code": "new-code" }),
            "error: Oh.\n help: try again; if it stays, the gateway's log says more\n",
        ),
    ] {
        let stub = Stub::default().answer(status, &problem);
        let failure = remote::windows(&stub.client().await, Audience::People).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(anstream::adapter::strip_str(&failure.to_string()).to_string(), shown);
    }
}

#[tokio::test]
async fn what_is_no_gateway_is_said_to_be_none() {
    let redirect = (StatusCode::FOUND, [(header::LOCATION, "http://127.0.0.1:1/")]).into_response();
    let huge = "x".repeat(5 << 20).into_response();
    for (response, expected) in [
        (redirect, "it answers HTTP 302 in other words"),
        ("<html>".into_response(), "its answer is not JSON"),
        (huge, "its answer is longer than 4194304 bytes"),
    ] {
        let stub = Stub::default().respond(response);
        let failure = remote::windows(&stub.client().await, Audience::People).await.unwrap_err();
        assert_eq!(
            (failure.exit, failure.what.ends_with(expected)),
            (Exit::Unreachable, true),
            "{}",
            failure.what
        );
        assert_eq!(stub.asked().len(), 1);
    }
    // As the port for PostgreSQL clients would, that somebody names for the API's.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut tcp, _) = listener.accept().await.unwrap();
        let _ = tcp.read(&mut [0; 4096]).await.unwrap();
        tcp.write_all(b"E\0\0\0\x10SFATAL\0\0\0\0\0\0").await.unwrap();
        std::future::pending::<()>().await;
    });
    let failure = remote::windows(&client(&url, Some("t")).unwrap(), Audience::People).await.unwrap_err();
    assert!(failure.what.contains("is no Chaperone gateway: it does not speak HTTP"), "{}", failure.what);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = client(&format!("http://{closed}"), Some("t")).unwrap();
    let failure = remote::windows(&client, Audience::People).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.what.starts_with("cannot reach the gateway at http://127.0.0.1:"), "{}", failure.what);
    assert!(failure.advice.starts_with("check that it runs"), "{}", failure.advice);
}

#[tokio::test]
async fn decisions_and_revocations_name_their_object() {
    let pending = json!({ "state": "pending", "missing": 1 });
    let stub = Stub::default()
        .answer(200, &pending)
        .answer(200, &pending)
        .answer(204, &Value::Null)
        .answer(204, &Value::Null);
    let client = stub.client().await;
    let people = Audience::People;
    remote::decide(&client, "hold_1", Verdict::Approve, Some("fine"), people).await.unwrap();
    remote::decide(&client, "req_1", Verdict::Reject, None, people).await.unwrap();
    remote::revoke(&client, "win_1", None, people).await.unwrap();
    remote::revoke(&client, "ses_1", Some("it's 100% & ü/?#"), people).await.unwrap();
    for bad in ["../windows", "", "win_1?x", "a/b", "hold_1", &"x".repeat(100)] {
        let failure = remote::revoke(&client, bad, None, people).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{bad}");
    }
    assert_eq!(
        stub.asked(),
        [
            "POST /api/v1/approvals/hold_1 Bearer t0ken {\"comment\":\"fine\",\"verdict\":\"approve\"}",
            "POST /api/v1/approvals/req_1 Bearer t0ken {\"comment\":\"\",\"verdict\":\"reject\"}",
            "DELETE /api/v1/windows/win_1 Bearer t0ken ",
            "DELETE /api/v1/sessions/ses_1?reason=it%27s+100%25+%26+%C3%BC%2F%3F%23 Bearer t0ken ",
        ]
    );
}

#[tokio::test]
async fn a_renewal_sends_the_token_that_it_calls_with() {
    let stub = Stub::default().answer(200, &json!({ "ends": "2026-11-21T10:00:00Z" }));
    let client = stub.client().await;
    let id: SessionId = "ses_00000000000000000000000000000007".parse().unwrap();
    remote::renew(&client, id, Audience::People).await.unwrap();
    let path = format!("/api/v1/sessions/{id}/token");
    assert_eq!(stub.asked(), [format!("PUT {path} Bearer t0ken {{\"token\":\"t0ken\"}}")]);
}

#[tokio::test]
async fn entries_of_the_deny_list_name_a_tenant_and_an_id() {
    let made = json!({ "id": "deny_1", "until": null });
    let stub = Stub::default().answer(201, &made).answer(201, &made).answer(201, &made);
    let stub = stub.answer(204, &Value::Null);
    let client = stub.client().await;
    let people = Audience::People;
    let parse = |arguments: &[&str]| {
        let all = ["chaperone", "deny"].iter().chain(arguments).chain(&["--reason", "why"]);
        match Cli::try_parse_from(all).map(|cli| cli.command) {
            Ok(Command::Deny(args)) => Ok(args),
            Ok(_) => panic!("another command"),
            Err(error) => Err(error.to_string()),
        }
    };
    // As `sessions` shows a principal.
    denials::deny(&client, &parse(&["object", "corp/t/a1"]).unwrap(), people).await.unwrap();
    let args = parse(&["client", "t/system:x/y", "--duration", "24h"]).unwrap();
    denials::deny(&client, &args, people).await.unwrap();
    denials::deny(&client, &parse(&["object", "-/74"]).unwrap(), people).await.unwrap();
    denials::lift(&client, "deny_1", people).await.unwrap();
    for bad in ["a1", "/a1", "t/", ""] {
        let failure = denials::deny(&client, &parse(&["object", bad]).unwrap(), people).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{bad}");
    }
    for bad in ["win_1", "../deny_1", "deny_1/x"] {
        assert_eq!(denials::lift(&client, bad, people).await.unwrap_err().exit, Exit::Usage, "{bad}");
    }
    let said = parse(&["group", "t/x"]).unwrap_err();
    assert!(said.contains("what is denied is `credential`, `object`, `client` or `blueprint`"), "{said}");
    assert_eq!(
        stub.asked(),
        [
            "POST /api/v1/denials Bearer t0ken {\"id\":\"a1\",\"kind\":\"object\",\"reason\":\"why\",\"tenant\":\"t\"}",
            "POST /api/v1/denials Bearer t0ken {\"duration\":\"24h\",\"id\":\"system:x/y\",\"kind\":\"client\",\"reason\":\"why\",\"tenant\":\"t\"}",
            "POST /api/v1/denials Bearer t0ken {\"id\":\"74\",\"kind\":\"object\",\"reason\":\"why\",\"tenant\":\"-\"}",
            "DELETE /api/v1/denials/deny_1 Bearer t0ken ",
        ]
    );
}

#[tokio::test]
async fn what_is_preserved_is_one_thing_and_who_is_too_late_is_told() {
    let made = |too_late: Value| json!({ "preservation": { "id": "keep_1" }, "too_late": too_late });
    let stub = Stub::default().answer(201, &made(Value::Null)).answer(201, &made(Value::Null));
    let stub = stub.answer(201, &made(json!("2026-11-21T10:00:00Z"))).answer(204, &Value::Null);
    let client = stub.client().await;
    let people = Audience::People;
    let parse = |arguments: &[&str]| {
        let all = ["chaperone", "preserve"].iter().chain(arguments).chain(&["--reason", "case 7"]);
        match Cli::try_parse_from(all).map(|cli| cli.command) {
            Ok(Command::Preserve(args)) => Ok(args),
            Ok(_) => panic!("another command"),
            Err(error) => Err(error.to_string()),
        }
    };
    let session = "ses_00000000000000000000000000000007";
    for (arguments, exit) in [
        (&["--target", "shop"][..], Exit::Done),
        (&["--principal", "corp/t/o"], Exit::Done),
        // Its deletion had begun: a script must not take that for kept.
        (&[session], Exit::Refused),
    ] {
        let got = preservations::preserve(&client, parse(arguments).unwrap(), people).await.unwrap();
        assert_eq!(got, exit, "{arguments:?}");
    }
    preservations::release(&client, "keep_1", people).await.unwrap();
    for bad in ["ses_1", "../keep_1", "keep_1/x"] {
        let failure = preservations::release(&client, bad, people).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{bad}");
    }
    for bad in [&[][..], &["ses_1"], &[session, "--target", "shop"], &["--target", "a b"]] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
    let sent = |what: &str| {
        format!("POST /api/v1/preservations Bearer t0ken {{\"preserved\":{what},\"reason\":\"case 7\"}}")
    };
    assert_eq!(
        stub.asked(),
        [
            sent("{\"id\":\"shop\",\"kind\":\"target\"}"),
            sent("{\"id\":\"corp/t/o\",\"kind\":\"principal\"}"),
            sent(&format!("{{\"id\":\"{session}\",\"kind\":\"session\"}}")),
            "DELETE /api/v1/preservations/keep_1 Bearer t0ken ".to_owned(),
        ]
    );
}

/// One HTTPS answer from a server with a certificate of its own making; gives the certificate's PEM and the URL.
async fn https_gateway() -> (String, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let Ok(mut tls) = acceptor.accept(tcp).await else { return };
        let _ = tls.read(&mut [0; 4096]).await;
        let body = "{\"windows\":[]}";
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let _ = tls.write_all(answer.as_bytes()).await;
        let _ = tls.shutdown().await;
    });
    (made.cert.pem(), url)
}

#[tokio::test]
async fn only_the_named_authority_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let client = |url: String| {
        let args = GatewayArgs { gateway: url, ca: Some(ca.clone()), token_file: None };
        Client::new(&args, &|_| Some("t".into()))
    };
    let (own, url) = https_gateway().await;
    std::fs::write(&ca, &own).unwrap();
    assert_eq!(remote::windows(&client(url).unwrap(), Audience::People).await, Ok(Exit::Done));

    let (_, url) = https_gateway().await;
    let failure = remote::windows(&client(url).unwrap(), Audience::People).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable, "{failure:?}");
    assert!(
        failure.advice.starts_with("give the authority of its certificate with `--ca FILE`"),
        "{failure:?}"
    );

    for bad in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&ca, bad).unwrap();
        let failure = client("https://127.0.0.1:1".into()).err().unwrap();
        assert_eq!(failure.exit, Exit::Usage, "{bad:?}");
    }
}
