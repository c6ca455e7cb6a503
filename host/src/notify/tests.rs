//! Channels over a real store and a real HTTPS receiver, with a clock that is moved by hand.

use super::*;
use crate::grant::tests::{Gateway, agent, human, policy};
use crate::grant::{Grants, RequestOutcome, SimulatedClock, Wish};
use crate::state::DeliveryState;
use crate::state::tests::{at, stores, target};
use chaperone_core::approval::{ApprovalId, Told, Verdict};
use chaperone_core::name::TargetName;
use receiver::{Answer, Fixed, Receiver};
use std::sync::atomic::Ordering;

mod cards;
pub(crate) mod receiver;
mod slack;

const SECRET: &str = "what the receiver knows, too";

/// What must not leave the house by a link.
const REASON: &str = "because <!channel> [click](https://evil.example) <at>all</at>";

fn route(channel: &str) -> Route {
    Route { channel: ChannelName::new(channel).unwrap(), targets: vec![], events: vec![] }
}

/// Gateways as those of the grant module's tests, which tell one channel `siem`.
async fn gateways() -> Vec<Gateway> {
    gateways_telling(vec![]).await
}

/// Gateways that tell `siem` of these events only. A gateway looks at its store every half second of real time: in a test that moves
/// the clock past the approval's deadline, it may or may not write that the approval has expired, so such a test does not ask for it.
async fn gateways_telling(events: Vec<Told>) -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for store in stores().await {
        let store = store.telling(&[Route { events: events.clone(), ..route("siem") }]);
        let clock = Arc::new(SimulatedClock::at(at(0)));
        let grants = Grants::start(policy(), store.state.clone(), clock.clone()).await.unwrap();
        gateways.push(Gateway { grants, clock, store });
    }
    gateways
}

fn config(receiver: &Receiver, kind: Kind, content: Content) -> ChannelConfig {
    ChannelConfig {
        route: route("siem"),
        kind,
        url: receiver.secret_url(),
        secret: Some(Box::new(Fixed(SECRET.into()))),
        people: BTreeMap::new(),
        content,
        ca: Some(receiver.ca.path().to_owned()),
        loopback_http: LoopbackHttp::Refused,
    }
}

/// One gateway's sending, a look at a time.
struct Sending {
    around: Arc<Around>,
    channel: Arc<Channel>,
}

impl Sending {
    fn new(gateway: &Gateway, config: ChannelConfig) -> Self {
        let page = Page::new("https://gateway.example:8443/");
        let metrics = Arc::new(Metrics::default());
        let notifier =
            Notifier::new(vec![config], gateway.store.state.clone(), gateway.clock.clone(), metrics, page);
        let notifier = notifier.unwrap();
        Sending { around: notifier.around, channel: notifier.channels[0].clone() }
    }

    async fn look(&self) -> usize {
        self.around.send_due(&self.channel).await.unwrap()
    }

    fn counted(&self) -> [u64; 3] {
        let read = self.around.metrics.deliveries.read();
        ["delivered", "retried", "failed"].map(|word| read[word])
    }
}

/// Asks for `vault`, which people have to approve.
async fn ask(gateway: &Gateway, object: &str) -> ApprovalId {
    let (now, vault): (_, TargetName) = (gateway.clock.now(), target("vault"));
    match gateway.grants.request(&agent(object), Wish::new(&vault, REASON), now).await.unwrap() {
        RequestOutcome::New(stored, _) => stored.id,
        other => panic!("{other:?}"),
    }
}

async fn only_row(gateway: &Gateway) -> Delivery {
    let rows = gateway.store.state.deliveries().await.unwrap();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    row.clone()
}

#[tokio::test]
async fn a_webhook_is_signed_and_a_link_holds_nothing_that_an_agent_wrote() {
    for gateway in &gateways().await {
        let receiver = Receiver::start().await;
        let sending = Sending::new(gateway, config(&receiver, Kind::Webhook, Content::Link));
        let id = ask(gateway, "a1").await;
        assert_eq!(sending.look().await, 1);
        let got = receiver.got().remove(0);
        let text = String::from_utf8(got.body.clone()).unwrap();
        assert!(!text.contains("because") && !text.contains("evil"), "{text}");
        let told = got.json();
        assert_eq!((&told["event"], &told["approval"]["state"]), (&"asked".into(), &"pending".into()));
        assert_eq!(told["approval"]["id"], id.to_string());
        assert_eq!(told["approval"]["requester"], "corp/t/a1");
        assert_eq!(told["approval"]["seconds"], 3600);
        assert_eq!(told["approval"]["url"], format!("https://gateway.example:8443/console/approvals/{id}"));
        assert_eq!(got.headers["chaperone-delivery"], told["delivery"]);
        assert_eq!(got.headers["content-type"], "application/json");

        let (time, tag) = got.headers["chaperone-signature"].split_once(",v1=").unwrap();
        assert_eq!(time, format!("t={}", at(0).as_second()));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
        let expected = aws_lc_rs::hmac::sign(&key, format!("{}.{text}", at(0).as_second()).as_bytes());
        let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(tag, expected);
        let row = only_row(gateway).await;
        assert_eq!((row.state, row.attempts, row.error), (DeliveryState::Delivered, 1, None));
        assert_eq!((sending.look().await, sending.counted()), (0, [1, 0, 0]));

        // How it ended, and all of it.
        let sending = Sending::new(gateway, config(&receiver, Kind::Webhook, Content::Full));
        let (grants, ann, now) = (&gateway.grants, human("ann", "dba"), gateway.clock.now());
        grants.decide(&ann, id, Verdict::Reject, "not now", now).await.unwrap();
        assert_eq!(sending.look().await, 1);
        let told = receiver.got().remove(1).json();
        assert_eq!((&told["event"], &told["approval"]["state"]), (&"rejected".into(), &"rejected".into()));
        assert_eq!(told["approval"]["matter"]["reason"], REASON);
        assert_eq!(told["approval"]["decisions"][0]["comment"], "not now");
        assert_eq!(told["approval"]["caller"]["kind"], "agent");
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_gets_its_message_when_it_is_back() {
    for gateway in &gateways_telling(vec![Told::Asked]).await {
        let receiver = Receiver::start().await;
        let sending = Sending::new(gateway, config(&receiver, Kind::Webhook, Content::Link));
        ask(gateway, "a1").await;
        receiver.status(503);
        assert_eq!(sending.look().await, 1);
        let row = only_row(gateway).await;
        assert_eq!((row.state, row.attempts), (DeliveryState::Waiting, 1));
        assert_eq!(row.error.as_deref(), Some("the answer has status 503 Service Unavailable"));
        assert!((at(0)..=at(1)).contains(&row.due), "{}", row.due);
        assert_eq!(sending.look().await, 0, "not before it is due");
        let mut attempts = 1;
        while gateway.clock.now() < at(3600) {
            gateway.clock.pass(Duration::from_secs(10));
            attempts += sending.look().await;
        }
        assert!((14..=30).contains(&attempts), "{attempts}");
        receiver.status(204);
        gateway.clock.pass(LONGEST_PAUSE);
        assert_eq!(sending.look().await, 1);
        assert_eq!(only_row(gateway).await.state, DeliveryState::Delivered);
        let ids: Vec<_> =
            receiver.got().iter().map(|got| got.headers["chaperone-delivery"].clone()).collect();
        assert!(ids.len() == attempts + 1 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(sending.counted(), [1, attempts as u64, 0]);
    }
}

#[tokio::test]
async fn after_a_day_a_message_is_given_up_and_that_can_be_seen() {
    for gateway in &gateways_telling(vec![Told::Asked]).await {
        let receiver = Receiver::start().await;
        let sending = Sending::new(gateway, config(&receiver, Kind::Webhook, Content::Link));
        ask(gateway, "a1").await;
        receiver.status(500);
        gateway.clock.pass(Duration::from_secs(24 * 3600));
        assert_eq!(sending.look().await, 1);
        let row = only_row(gateway).await;
        assert_eq!((row.state, row.settled), (DeliveryState::Failed, Some(at(86_400))));
        assert_eq!(row.error.as_deref(), Some("the answer has status 500 Internal Server Error"));
        gateway.clock.pass(LONGEST_PAUSE);
        assert_eq!((sending.look().await, sending.counted()), (0, [0, 0, 1]));
    }
}

#[tokio::test]
async fn two_gateways_on_one_store_send_each_message_once() {
    for gateway in &gateways().await {
        let receiver = Receiver::start().await;
        let [one, other] =
            [(); 2].map(|()| Sending::new(gateway, config(&receiver, Kind::Webhook, Content::Link)));
        for object in 0..30 {
            ask(gateway, &format!("a{object}")).await;
        }
        let until_done = async |sending: &Sending| {
            let mut sent = 0;
            while gateway.store.state.open_counts(at(0)).await.unwrap().deliveries > 0 {
                sent += sending.look().await;
            }
            sent
        };
        let (one, other) = tokio::join!(until_done(&one), until_done(&other));
        assert_eq!(one + other, 30);
        let mut ids: Vec<_> =
            receiver.got().into_iter().map(|got| got.headers["chaperone-delivery"].clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!((receiver.got().len(), ids.len()), (30, 30));
    }
}

#[tokio::test]
async fn what_a_dead_gateway_had_claimed_is_sent_by_another() {
    for gateway in &gateways().await {
        let receiver = Receiver::start().await;
        let sending = Sending::new(gateway, config(&receiver, Kind::Webhook, Content::Link));
        ask(gateway, "a1").await;
        let end = after(at(0), CLAIM).unwrap();
        let claimed = gateway.store.state.claim_deliveries(sending.channel.name(), 8, at(0), end).await;
        assert_eq!((claimed.unwrap().len(), sending.look().await), (1, 0));
        gateway.clock.pass(CLAIM);
        assert_eq!((sending.look().await, only_row(gateway).await.attempts), (1, 2));
        assert_eq!(receiver.got().len(), 1);
    }
}

/// Sends one message, which has to fail; what the list says of it.
async fn failure(gateway: &Gateway, config: ChannelConfig) -> String {
    let sending = Sending::new(gateway, config);
    ask(gateway, "a1").await;
    assert_eq!(sending.look().await, 1);
    let error = only_row(gateway).await.error.unwrap();
    assert!(!error.contains("hunter2") && !error.contains("/services"), "{error}");
    error
}

#[tokio::test]
async fn a_redirect_to_an_inner_address_is_not_followed() {
    for (gateway, status) in gateways().await.iter().zip([307, 301]) {
        let receiver = Receiver::start().await;
        let inner = receiver.beside().await;
        receiver.answers(Answer::Head(status, format!("location: {}\r\n", inner.url)));
        let error = failure(gateway, config(&receiver, Kind::Webhook, Content::Link)).await;
        assert_eq!(error, "the answer is a redirect, which is not followed: configure the final address");
        assert_eq!((receiver.got().len(), inner.got().len()), (1, 0));
    }
}

#[tokio::test]
async fn an_answer_of_a_gigabyte_is_not_read() {
    for gateway in &gateways().await {
        let receiver = Receiver::start().await;
        receiver.answers(Answer::Flood);
        let sending = Sending::new(gateway, config(&receiver, Kind::Webhook, Content::Link));
        ask(gateway, "a1").await;
        assert_eq!(sending.look().await, 1);
        assert_eq!(only_row(gateway).await.state, DeliveryState::Delivered);
        // What the system's buffers took before the connection was closed.
        let flooded = receiver.flooded.load(Ordering::Relaxed);
        assert!(flooded < 64 << 20, "{flooded} bytes were read");
    }
}

#[tokio::test]
async fn who_cannot_be_trusted_or_reached_gets_nothing_and_no_error_shows_the_url() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let wrong_ca = || ChannelConfig {
        ca: Some(other.ca.path().to_owned()),
        ..config(&receiver, Kind::Webhook, Content::Link)
    };
    let to = |url: &str| ChannelConfig {
        url: Box::new(Fixed(url.to_owned())),
        ..config(&receiver, Kind::Webhook, Content::Link)
    };
    for gateway in &gateways().await {
        let error = failure(gateway, wrong_ca()).await;
        assert!(error.to_lowercase().contains("certificate"), "{error}");
    }
    for gateway in &gateways().await {
        let error = failure(gateway, to("http://127.0.0.1:9/services?sig=hunter2")).await;
        assert_eq!(error, "its URL cannot be used: it is not https");
    }
    for gateway in &gateways().await {
        failure(gateway, to("https://127.0.0.1:1/services?sig=hunter2")).await;
    }
    for gateway in &gateways().await {
        let unsigned = ChannelConfig { secret: None, ..config(&receiver, Kind::Webhook, Content::Link) };
        let error = failure(gateway, unsigned).await;
        assert_eq!(error, "its URL or its secret cannot be read: there is none");
    }
    assert_eq!(receiver.got().len(), 0);
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_gets_it_within_reason() {
    for (asked, pause) in [("120", 120), ("86400", 600), ("soon", 0), ("99999999999999999999999", 0)] {
        for gateway in &gateways().await {
            let receiver = Receiver::start().await;
            receiver.answers(Answer::Head(429, format!("retry-after: {asked}\r\n")));
            let error = failure(gateway, config(&receiver, Kind::Webhook, Content::Link)).await;
            assert_eq!(error, "the answer has status 429 Too Many Requests");
            let due = only_row(gateway).await.due;
            assert!((at(pause)..=at(pause.max(1))).contains(&due), "{asked}: {due}");
        }
    }
}

#[test]
fn pauses_double_up_to_ten_minutes_and_are_spread() {
    for (attempt, whole) in [(1, 1), (2, 2), (3, 4), (10, 512), (11, 600), (1_000, 600), (i64::MAX, 600)] {
        let whole = Duration::from_secs(whole);
        assert_eq!(
            (pause(attempt, LONGEST_PAUSE, 0), pause(attempt, LONGEST_PAUSE, u16::MAX)),
            (whole / 2, whole),
            "{attempt}"
        );
    }
}

#[tokio::test]
async fn the_loops_send_and_end_with_the_gateway() {
    for gateway in &gateways().await {
        let receiver = Receiver::start().await;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (state, clock) = (gateway.store.state.clone(), gateway.clock.clone());
        let config = vec![config(&receiver, Kind::Webhook, Content::Link)];
        let page = Page::new("https://gateway.example");
        Notifier::new(config, state, clock, Arc::default(), page).unwrap().start(&tasks, &stop);
        ask(gateway, "a1").await;
        while receiver.got().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
