//! Requests that are sent again: when, with what, and what is said when that does not help.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is done with one connection.
#[derive(Clone, Copy)]
enum Then {
    /// Read the request, and close.
    Close,
    /// Read the request, send half of an answer, and close.
    Half,
    /// Read the request and answer it.
    Answer(&'static str),
}

/// Does so with one connection after the other, then listens no more. Gives the URL, and the requests as they came.
async fn flaky(then: &'static [Then]) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut asked = Vec::new();
        for then in then {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // A body of JSON ends with the only brace.
            while !request.ends_with(b"}") {
                assert_ne!(tcp.read_buf(&mut request).await.unwrap(), 0, "it broke off");
            }
            asked.push(String::from_utf8(request).unwrap());
            let answer = match then {
                Then::Close => String::new(),
                Then::Half => "HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{".to_owned(),
                Then::Answer(body) => {
                    format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                }
            };
            tcp.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (url, served)
}

fn keys(asked: &[String]) -> Vec<&str> {
    let header =
        |request: &'_ str| request.find("idempotency-key: ").unwrap_or_else(|| panic!("no key: {request}"));
    asked.iter().map(|one| one[header(one)..].lines().next().unwrap()).collect()
}

const APPROVED: Then = Then::Answer(r#"{"id":"req_1","state":"approved"}"#);

#[tokio::test]
async fn a_request_that_breaks_off_is_sent_again_and_is_the_same() {
    let (url, served) = flaky(&[Then::Close, Then::Half, APPROVED]).await;
    let client = client(&url, Some("t")).unwrap();
    assert_eq!(remote::request(&client, &ask(false), Audience::Programs).await, Ok(Exit::Done));
    let asked = served.await.unwrap();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|one| one == &asked[0]), "{asked:#?}");
    assert_eq!(keys(&asked)[0].len(), "idempotency-key: ".len() + 36);
}

#[tokio::test]
async fn each_command_is_a_request_of_its_own_unless_it_is_told_a_key() {
    let (url, served) = flaky(&[APPROVED, APPROVED, APPROVED]).await;
    let told = requested(&["prod", "--reason", "why", "--idempotency-key", "job-7"]);
    for args in [ask(false), ask(false), told] {
        let client = client(&url, Some("t")).unwrap();
        assert_eq!(remote::request(&client, &args, Audience::Programs).await, Ok(Exit::Done));
    }
    let asked = served.await.unwrap();
    let keys = keys(&asked);
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys[2], "idempotency-key: job-7");
}

#[tokio::test]
async fn who_cannot_be_told_what_became_of_a_request_is_told_its_key() {
    // The gateway goes away behind the first: what follows is refused by the machine.
    for then in [&[Then::Close][..], &[Then::Close; 4][..]] {
        let (url, served) = flaky(then).await;
        let client = client(&url, Some("t")).unwrap();
        let failure = remote::request(&client, &ask(false), Audience::People).await.unwrap_err();
        let asked = served.await.unwrap();
        assert_eq!((failure.exit, asked.len()), (Exit::Unreachable, then.len()));
        let key = keys(&asked)[0].trim_start_matches("idempotency-key: ");
        assert_eq!(
            failure.advice,
            format!(
                "it may have arrived: run the same again with `--idempotency-key {key}`, and it is asked once"
            )
        );
    }
}

#[tokio::test]
async fn what_cannot_have_arrived_is_not_sent_again() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = client(&format!("http://{closed}"), Some("t")).unwrap();
    let failure = remote::request(&client, &ask(false), Audience::People).await.unwrap_err();
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Unreachable, "unreachable"));
    assert!(!failure.advice.contains("--idempotency-key"), "{}", failure.advice);
    // Nor what is no request that has a key.
    let (url, served) = flaky(&[Then::Close]).await;
    let client = super::client(&url, Some("t")).unwrap();
    let failure =
        remote::decide(&client, "req_1", Verdict::Approve, None, Audience::People).await.unwrap_err();
    assert_eq!(failure.code, "connection-broken");
    assert_eq!(served.await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_old_keys_window_is_not_said_to_be_open() {
    let over = json!({ "id": "req_1", "state": "approved", "window": { "id": "win_1", "state": "closed" } });
    let stub = Stub::default().answer(200, &over);
    let exit = remote::request(&stub.client().await, &ask(false), Audience::People).await;
    assert_eq!(exit, Ok(Exit::Refused));
    assert_eq!(
        remote::request_text("prod", &over),
        "Request req_1 was approved, and its window win_1 is over. To ask for another: chaperone request prod --reason TEXT\n"
    );
}

#[tokio::test]
async fn a_ticket_has_a_place_of_its_own() {
    let stub = Stub::default().answer(201, &json!({ "state": "approved" }));
    let args = requested(&["prod", "--reason", "why", "--ticket", "INC-7"]);
    remote::request(&stub.client().await, &args, Audience::People).await.unwrap();
    let sent =
        "POST /api/v1/requests Bearer t0ken {\"reason\":\"why\",\"target\":\"prod\",\"ticket\":\"INC-7\"}";
    assert_eq!(stub.asked(), [sent]);
    let asked = json!({ "duration": "15m", "matter": { "ticket": "INC-7\u{1b}[2J" } });
    assert_eq!(remote::what(&asked), "a window of 15m (ticket INC-7 [2J)");
    assert_eq!(remote::what(&json!({ "duration": "15m", "matter": {} })), "a window of 15m");
    assert_eq!(remote::what(&json!({ "matter": { "summary": "DELETE" } })), "DELETE");
}
