//! Slack, over HTTP as it comes: who presses decides as who they are proved to be, or not at all.

use super::super::message::card;
use super::super::slack::{Buttons, message};
use super::cards::{HOSTILE, held};
use super::*;
use crate::demo::issuer::{GroupsClaim, Issuer, TokenSpec};
use crate::identity::{Credential, Identities, Identity};
use chaperone_core::Timestamp;
use chaperone_core::approval::State as Standing;
use chaperone_core::denial::{Denied, DeniedKind};
use chaperone_core::grant::Subject;
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{GroupAlias, ProviderName};
use chaperone_core::refusal::{Refusal, RefusalCode};
use serde_json::{Value, json};
use std::sync::Mutex;

const TENANT: &str = "7e570000-0000-4000-8000-000000000001";
const AUDIENCE: &str = "7e570000-0000-4000-8000-0000000000aa";

/// Entra's groups have GUIDs for names.
const DBAS: &str = "7e570000-0000-4000-8000-0000000000b1";
const TEAM: &str = "7e570000-0000-4000-8000-0000000000b2";

/// The grant module's policy, with groups that real tokens can hold as well.
fn real_policy() -> crate::grant::Policy {
    let group = |alias: &str, id: &str| Subject::Group {
        provider: ProviderName::new("corp").unwrap(),
        id: id.to_owned(),
        alias: GroupAlias::new(alias).unwrap(),
    };
    let mut policy = policy();
    policy.groups.insert(GroupAlias::new("dba").unwrap(), group("dba", DBAS));
    policy.grants.iter_mut().for_each(|grant| grant.to.push(group("team", TEAM)));
    policy
}

fn object(number: u8) -> String {
    format!("7e570000-0000-4000-8000-0000000001{number:02x}")
}

fn principal(number: u8) -> Principal {
    Principal::of(&ProviderName::new("corp").unwrap(), TENANT, &object(number)).unwrap()
}

/// Vouches by tokens of the local issuer: real identities, through the real checks.
struct ByIssuer {
    issuer: Issuer,
    identities: Identities,
    /// Who is vouched for in the place of everybody.
    instead: Mutex<Option<(u8, CallerKind)>>,
    /// How long looking somebody up takes.
    takes: Mutex<Duration>,
    clock: Arc<SimulatedClock>,
}

impl ByIssuer {
    async fn start(clock: Arc<SimulatedClock>) -> Arc<Self> {
        let issuer = Issuer::start(TENANT).await.unwrap();
        let provider = issuer.provider(ProviderName::new("corp").unwrap(), AUDIENCE);
        let identities = Identities::new(vec![provider]).unwrap();
        Arc::new(ByIssuer { issuer, identities, instead: Mutex::default(), takes: Mutex::default(), clock })
    }

    /// 1 to 3 are of `dba`, 3 also of `team`, others of nothing.
    async fn identity(&self, number: u8, kind: CallerKind, now: Timestamp) -> Identity {
        let groups: &[&str] = match number {
            1 | 2 => &[DBAS],
            3 => &[DBAS, TEAM],
            _ => &[],
        };
        let groups = GroupsClaim::Listed(groups.iter().map(ToString::to_string).collect());
        let spec = TokenSpec::new(kind, &object(number), AUDIENCE, now).groups(groups);
        let spec = if kind == CallerKind::Human { spec.client(&object(0xc0)) } else { spec };
        let token = Credential::bearer(self.issuer.token(&spec).unwrap());
        self.identities.identify(&token, now).await.unwrap()
    }
}

impl Vouch for ByIssuer {
    fn vouch<'a>(&'a self, who: &'a Principal, now: Timestamp) -> Vouched<'a> {
        Box::pin(async move {
            let mapped =
                (1..=9).find(|number| principal(*number) == *who).map(|number| (number, CallerKind::Human));
            let instead = *self.instead.lock().unwrap();
            let unknown = || Refusal::new(RefusalCode::NotGranted, "nobody knows this person");
            let (number, kind) = instead.or(mapped).ok_or_else(unknown)?;
            self.clock.pass(*self.takes.lock().unwrap());
            Ok(self.identity(number, kind, now).await)
        })
    }
}

/// As the gateway does it, of a provider that has no directory to ask.
struct NoDirectory(Arc<ByIssuer>);

impl Vouch for NoDirectory {
    fn vouch<'a>(&'a self, who: &'a Principal, now: Timestamp) -> Vouched<'a> {
        Box::pin(async move { self.0.identities.vouched(who, &|_| Default::default(), now).await })
    }
}

/// A gateway whose hook is served.
struct Hooked {
    gateway: Gateway,
    receiver: Receiver,
    vouch: Arc<ByIssuer>,
    sending: Sending,
    base: String,
    client: reqwest::Client,
}

/// Users `U1` to `U9` are the principals of that number.
fn slack(receiver: &Receiver) -> ChannelConfig {
    let people = (1..=9).map(|number| (format!("U{number}"), principal(number))).collect();
    ChannelConfig { people, ..config(receiver, Kind::Slack, Content::Link) }
}

async fn hooked(change: impl Fn(&mut ChannelConfig), nobody: bool) -> Vec<Hooked> {
    let mut all = Vec::new();
    for gateway in gateways().await {
        gateway.grants.replace(real_policy()).unwrap();
        let receiver = Receiver::start().await;
        let other = ChannelConfig {
            route: route("other"),
            secret: Some(Box::new(Fixed("the secret of another app".into()))),
            ..slack(&receiver)
        };
        let mut own = slack(&receiver);
        change(&mut own);
        let vouch = ByIssuer::start(gateway.clock.clone()).await;
        let notifier = Notifier::new(
            vec![
                own,
                other,
                ChannelConfig { route: route("hook"), ..config(&receiver, Kind::Webhook, Content::Link) },
            ],
            gateway.store.state.clone(),
            gateway.clock.clone(),
            Arc::default(),
            Page::new("https://gateway.example"),
        );
        let notifier = notifier.unwrap();
        let voucher: Arc<dyn Vouch> =
            if nobody { Arc::new(NoDirectory(vouch.clone())) } else { vouch.clone() };
        let router = notifier.hooks(gateway.grants.clone(), voucher);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/api/v1/hooks/slack", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let sending = Sending { around: notifier.around, channel: notifier.channels[0].clone() };
        all.push(Hooked { gateway, receiver, vouch, sending, base, client: reqwest::Client::new() });
    }
    all
}

/// A press, as Slack would send it.
#[derive(Clone)]
struct Press {
    channel: &'static str,
    secret: &'static str,
    time: i64,
    body: Vec<u8>,
}

impl Press {
    fn sign(&self) -> String {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.secret.as_bytes());
        let text = [format!("v0:{}:", self.time).as_bytes(), &self.body].concat();
        let tag = aws_lc_rs::hmac::sign(&key, &text);
        tag.as_ref().iter().fold("v0=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }
}

/// Waits as long as a busy machine may need: what is tested is that it comes at all.
async fn soon<F: Future<Output = bool>>(is_there: impl Fn() -> F) {
    let looking = async {
        while !is_there().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.expect("it never came");
}

impl Hooked {
    fn press(&self, user: &str, action: &str, id: ApprovalId) -> Press {
        self.press_answered_at(&self.receiver.url.replace("/services/in", "/actions/7"), user, action, id)
    }

    fn press_answered_at(&self, url: &str, user: &str, action: &str, id: ApprovalId) -> Press {
        let payload = json!({
            "type": "block_actions",
            "user": { "id": user, "team_id": "T1" },
            "team": { "id": "T1" },
            "response_url": url,
            "actions": [{ "action_id": action, "value": id.to_string() }],
        });
        let encoded: String = payload.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
        let body = format!("payload={encoded}").into_bytes();
        Press { channel: "siem", secret: SECRET, time: self.gateway.clock.now().as_second(), body }
    }

    async fn send(&self, press: &Press) -> u16 {
        let request = self.client.post(format!("{}/{}", self.base, press.channel));
        let request = request.header("x-slack-request-timestamp", press.time);
        let request = request.header("x-slack-signature", press.sign()).body(press.body.clone());
        request.send().await.unwrap().status().as_u16()
    }

    /// Presses, and what Slack is told at the address for the answer.
    async fn answered(&self, press: &Press) -> Value {
        let before = self.receiver.got().len();
        assert_eq!(self.send(press).await, 200);
        soon(|| async { self.receiver.got().len() > before }).await;
        self.receiver.got().remove(before).json()
    }

    /// What only the person who pressed is told.
    async fn told(&self, press: &Press) -> String {
        let answer = self.answered(press).await;
        assert_eq!(
            (&answer["response_type"], &answer["replace_original"]),
            (&json!("ephemeral"), &json!(false))
        );
        answer["text"].as_str().unwrap().to_owned()
    }

    async fn stored(&self, id: ApprovalId) -> (Standing, Vec<String>) {
        let stored = self.gateway.store.state.approval(id).await.unwrap().unwrap().approval;
        let by = stored.decisions().iter().map(|decided| decided.by.to_string()).collect();
        (stored.state(self.gateway.clock.now()), by)
    }

    async fn untouched(&self, id: ApprovalId) {
        assert_eq!(self.stored(id).await, (Standing::Pending, vec![]));
    }
}

#[tokio::test]
async fn people_decide_by_buttons_as_who_they_are_and_once() {
    for hooked in &hooked(|_| {}, false).await {
        let id = ask(&hooked.gateway, "a1").await;
        assert_eq!(hooked.sending.look().await, 1);
        let message = hooked.receiver.got().remove(0).json();
        let buttons = message["blocks"][1]["elements"].as_array().unwrap();
        let actions: Vec<_> = buttons.iter().map(|button| button["action_id"].as_str().unwrap()).collect();
        assert_eq!(actions, ["approve", "reject", "open"]);
        assert!(buttons.iter().all(|button| button["value"] == id.to_string()));
        assert_eq!(buttons[2]["url"], format!("https://gateway.example/console/approvals/{id}"));

        // The link tells Slack that it was opened: that is all.
        assert_eq!(hooked.send(&hooked.press("U1", "open", id)).await, 200);
        hooked.untouched(id).await;
        let first = hooked.press("U1", "approve", id);
        assert_eq!(hooked.told(&first).await, "Counted. Persons who still have to say yes: 1.");
        // The same bytes once more, and the same person by another press.
        for again in [&first, &hooked.press("U1", "reject", id)] {
            let said = hooked.told(again).await;
            assert!(said.contains("you have already decided; one person counts once"), "{said}");
        }
        assert_eq!(hooked.stored(id).await, (Standing::Pending, vec![principal(1).to_string()]));

        let done = hooked.answered(&hooked.press("U2", "approve", id)).await;
        assert_eq!(
            (&done["replace_original"], &done["text"]),
            (&json!(true), &json!("Approved: a window on vault"))
        );
        assert!(!done.to_string().contains("\"approve\""), "there is nothing to press any more: {done}");
        let (standing, by) = hooked.stored(id).await;
        assert_eq!((standing, by.len()), (Standing::Approved, 2));
        let late = hooked.told(&hooked.press("U3", "reject", id)).await;
        assert!(late.contains("it is already approved"), "{late}");
        let events = hooked.gateway.store.state.audit_events().await.unwrap();
        let presses: Vec<_> = events.iter().filter(|event| event.event == "slack.pressed").collect();
        assert_eq!(presses.len(), 5);
        assert_eq!(presses[4].detail, json!({ "channel": "siem", "user": "U1", "verdict": "approve" }));
        assert_eq!(presses[4].actor, principal(1).to_string());
    }
}

#[tokio::test]
async fn what_slack_has_not_signed_lately_for_this_channel_decides_nothing() {
    for hooked in &hooked(|_| {}, false).await {
        let id = ask(&hooked.gateway, "a1").await;
        let good = hooked.press("U1", "approve", id);
        let forged = Press { secret: "guessed", ..good.clone() };
        let of_another = Press { secret: "the secret of another app", ..good.clone() };
        let to_another = Press { channel: "other", ..good.clone() };
        let unknown = Press { channel: "unheard-of", ..good.clone() };
        let no_slack = Press { channel: "hook", ..good.clone() };
        let early = Press { time: good.time + 301, ..good.clone() };
        for press in [&forged, &of_another, &to_another, &unknown, &no_slack, &early] {
            assert_eq!(hooked.send(press).await, 401, "{} {}", press.channel, press.secret);
        }
        let url = format!("{}/siem", hooked.base);
        let bare =
            |request: reqwest::RequestBuilder| async move { request.send().await.unwrap().status().as_u16() };
        assert_eq!(bare(hooked.client.post(&url).body(good.body.clone())).await, 401);
        let twice = hooked.client.post(&url).body(good.body.clone());
        let twice = twice
            .header("x-slack-request-timestamp", good.time)
            .header("x-slack-request-timestamp", good.time);
        assert_eq!(bare(twice.header("x-slack-signature", good.sign())).await, 401);
        // A link that somebody follows, or that a program fetches for a preview.
        let signed = hooked.client.get(format!("{url}?payload=x")).body(good.body.clone());
        let signed = signed.header("x-slack-request-timestamp", good.time);
        assert_eq!(bare(signed.header("x-slack-signature", good.sign())).await, 405);
        let long = Press { body: vec![b'x'; 300 * 1024], ..good.clone() };
        assert_eq!(hooked.send(&long).await, 413);
        let no_form = Press { body: b"payload=%7B%7D".to_vec(), ..good.clone() };
        assert_eq!(hooked.send(&no_form).await, 400);
        // What was good once, five minutes later.
        hooked.gateway.clock.pass(Duration::from_secs(301));
        assert_eq!(hooked.send(&good).await, 401);
        hooked.untouched(id).await;
        assert_eq!(hooked.receiver.got().len(), 0);
    }
}

#[tokio::test]
async fn who_is_not_proved_to_be_an_approver_decides_nothing_by_slack() {
    for hooked in &hooked(|_| {}, false).await {
        let id = ask(&hooked.gateway, "a1").await;
        let nothing = "There is nothing of this id that you may see.";
        let approve = async |user: &str, id| hooked.told(&hooked.press(user, "approve", id)).await;
        let stranger = approve("U99", id).await;
        assert!(stranger.starts_with("The gateway does not know who you are."), "{stranger}");
        // In no group today, whatever the channel's members are.
        assert!(approve("U4", id).await.starts_with(nothing));
        let absent = ApprovalId::Request(chaperone_core::name::RequestId::new(uuid::Uuid::now_v7()));
        assert_eq!(approve("U1", absent).await, nothing);
        // Whoever is vouched for has to be who is mapped, and a person.
        for (instead, said) in [
            ((2, CallerKind::Human), nothing),
            ((1, CallerKind::Agent), "This cannot be decided: only a person may decide"),
            ((1, CallerKind::HumanThroughAgent), "This cannot be decided: only a person may decide"),
        ] {
            *hooked.vouch.instead.lock().unwrap() = Some(instead);
            let told = approve("U1", id).await;
            assert!(told.starts_with(said), "{instead:?}: {told}");
        }
        *hooked.vouch.instead.lock().unwrap() = None;
        // On the deny list.
        let grants = &hooked.gateway.grants;
        let denied = Denied::new(DeniedKind::Object, TENANT, object(1)).unwrap();
        grants.deny(&human("oz", "ops"), denied, "incident", None, at(0)).await.unwrap();
        assert!(approve("U1", id).await.starts_with("An operator has denied you access."));
        hooked.untouched(id).await;

        // The requester, who is an approver as well.
        let asker = hooked.vouch.identity(3, CallerKind::Human, at(0)).await;
        let own = grants.request(&asker, Wish::new(&target("vault"), "mine"), at(0)).await.unwrap();
        let RequestOutcome::New(own, _) = own else { panic!() };
        let told = approve("U3", own.id).await;
        assert!(told.contains("nobody decides on their own request"), "{told}");
        hooked.untouched(own.id).await;
    }
}

#[tokio::test]
async fn without_somebody_who_vouches_buttons_only_lead_to_the_page() {
    for hooked in &hooked(|_| {}, true).await {
        let id = ask(&hooked.gateway, "a1").await;
        let told = hooked.told(&hooked.press("U1", "approve", id)).await;
        assert!(
            told.ends_with("nobody decides without a token of theirs. Open the page to decide."),
            "{told}"
        );
        hooked.untouched(id).await;
    }
}

#[tokio::test]
async fn a_deadline_that_passes_while_somebody_is_looked_up_has_passed() {
    for hooked in &hooked(|_| {}, false).await {
        let id = ask(&hooked.gateway, "a1").await;
        *hooked.vouch.takes.lock().unwrap() = Duration::from_secs(600);
        let told = hooked.told(&hooked.press("U1", "approve", id)).await;
        assert!(told.contains("its deadline has passed"), "{told}");
        assert_eq!(hooked.stored(id).await, (Standing::Expired, vec![]));
    }
}

#[tokio::test]
async fn a_channel_is_of_no_use_for_targets_that_it_is_not_told_of() {
    for hooked in &hooked(|own| own.route.targets = vec![target("db")], false).await {
        let id = ask(&hooked.gateway, "a1").await;
        let told = hooked.told(&hooked.press("U1", "approve", id)).await;
        assert_eq!(told, "There is nothing of this id that you may see.");
        hooked.untouched(id).await;
    }
}

#[tokio::test]
async fn answers_go_to_the_server_of_the_channel_alone() {
    for hooked in &hooked(|_| {}, false).await {
        let elsewhere = hooked.receiver.beside().await;
        for (user, url) in [
            ("U1", elsewhere.url.clone()),
            ("U2", hooked.receiver.url.replace("https:", "http:")),
            ("U3", hooked.receiver.url.replace("https://", "https://u:p@")),
        ] {
            let id = ask(&hooked.gateway, &format!("a{user}")).await;
            assert_eq!(hooked.send(&hooked.press_answered_at(&url, user, "reject", id)).await, 200);
            soon(|| async { hooked.stored(id).await.0 == Standing::Rejected }).await;
        }
        // The next answer that may be sent comes behind those that may not.
        let id = ask(&hooked.gateway, "a9").await;
        hooked.answered(&hooked.press("U1", "reject", id)).await;
        assert_eq!((elsewhere.got().len(), hooked.receiver.got().len()), (0, 1));
    }
}

/// Every text object of a message.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            if value["type"] == "plain_text" || value["type"] == "mrkdwn" {
                found.push(value);
            }
            members.values().for_each(|value| texts(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        _ => {}
    }
}

#[test]
fn nothing_in_a_message_of_slack_is_a_mention_a_link_or_markup() {
    let stored = held(HOSTILE);
    let card = |content| {
        card(&stored, &Page::new("https://gateway.example"), content, super::super::slack::ROOM, at(0))
    };
    let full = message(&card(Content::Full), "hold_7", Buttons::Decide);
    let mut found = Vec::new();
    texts(&full, &mut found);
    assert!(found.len() >= 5);
    for text in found {
        assert_eq!((&text["type"], &text["emoji"]), (&json!("plain_text"), &json!(false)));
        let text = text["text"].as_str().unwrap();
        assert!(!text.contains(['<', '>']), "{text}");
    }
    let all = full.to_string();
    assert!(!all.contains("<!channel>") && !all.contains("<@U012AB3CD>"), "{all}");
    // Whole, once the entities are read.
    let shown = full["blocks"][1]["text"]["text"].as_str().unwrap();
    let read = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    assert_eq!(read, format!("Operation:\n{HOSTILE}"));
    assert_eq!((&full["unfurl_links"], &full["unfurl_media"]), (&json!(false), &json!(false)));

    let link = message(&card(Content::Link), "hold_7", Buttons::Open);
    let text = link.to_string();
    assert!(!text.contains("DELETE") && !text.contains("\"approve\""), "{text}");

    // Entities make it too long: none of it is shown.
    let amps = held(&"&".repeat(1_500));
    let page = Page::new("https://gateway.example");
    let amps = message(
        &super::super::message::card(&amps, &page, Content::Full, super::super::slack::ROOM, at(0)),
        "x",
        Buttons::Open,
    );
    assert!(!amps.to_string().contains("&amp;"), "{amps}");
    assert!(amps.to_string().contains("open the page"), "{amps}");
}
