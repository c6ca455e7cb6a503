//! The pages over a real loopback listener, looked at by something that behaves like a browser, with a real issuer.

use super::*;
use crate::demo::issuer::{Account, Application, GroupsClaim, Issuer};
use crate::grant::tests::{Gateway, agent, gateways, policy};
use crate::grant::{HeldOperation, Hold, HoldOutcome, Policy, RequestOutcome, Wish};
use crate::identity::signin::SignInConfig;
use crate::identity::{Approvers, LoopbackHttp};
use crate::state::tests::{at, target};
use carried::Carried;
use chaperone_core::approval::{ApprovalId, Persons, State as Standing};
use chaperone_core::decision::{Finding, HoldTerms};
use chaperone_core::denial::{Denied, DeniedKind};
use chaperone_core::grant::Subject;
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{GroupAlias, ProviderName};
use reqwest::{Method, StatusCode, Url};
use std::collections::BTreeMap;
use std::time::Duration;

mod carried;
mod recordings;
mod roles;
mod searching;
mod seeing;

const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const AGENTS: &str = "aaaaaaaa-2222-4333-8444-555555555555";
const APPROVERS: &str = "eeeeeeee-2222-4333-8444-555555555555";
const CLIENT: &str = "cccccccc-2222-4333-8444-555555555555";
const DBAS: &str = "dddddddd-2222-4333-8444-555555555555";
const ANN: &str = "bbbbbbbb-0000-4333-8444-555555555501";
const BOB: &str = "bbbbbbbb-0000-4333-8444-555555555502";
const EVE: &str = "bbbbbbbb-0000-4333-8444-555555555503";
const BOT: &str = "bbbbbbbb-0000-4333-8444-555555555504";
const OZ: &str = "bbbbbbbb-0000-4333-8444-555555555505";
const AUDREY: &str = "bbbbbbbb-0000-4333-8444-555555555506";
const OPS: &str = "dddddddd-2222-4333-8444-555555555556";
const AUDIT: &str = "dddddddd-2222-4333-8444-555555555557";
const ORIGIN: &str = "https://gateway.example";

/// The statement that is held: markup, a quote that would end an attribute, marks that turn it.
const STATEMENT: &str = "DELETE FROM t -- </pre><script>alert(1)</script> \"><img src=x>\nWHERE id = 1";

struct Scene {
    gateway: Gateway,
    sessions: Arc<Carried>,
    history: Arc<History>,
    recorder: crate::recorder::Recorder,
    folder: tempfile::TempDir,
    _issuer: Issuer,
    base: String,
}

async fn scenes() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for gateway in gateways().await {
        scenes.push(scene(gateway).await);
    }
    scenes
}

async fn scene(gateway: Gateway) -> Scene {
    scene_by(gateway, crate::recorder::Encryption::default()).await
}

/// One that has keys for recordings.
async fn scene_by(gateway: Gateway, encryption: crate::recorder::Encryption) -> Scene {
    let issuer = Issuer::start(TENANT).await.unwrap();
    issuer.set_time(at(0));
    issuer.register(Application {
        client_id: CLIENT.into(),
        secret: None,
        redirects: vec![redirect_uri(ORIGIN)],
        audience: APPROVERS.into(),
    });
    for (name, object_id, group, kind) in [
        ("Ann <b>", ANN, DBAS, CallerKind::Human),
        ("Bob", BOB, DBAS, CallerKind::Human),
        ("Eve", EVE, TENANT, CallerKind::Human),
        ("Bot", BOT, DBAS, CallerKind::AgentUser),
        ("Oz", OZ, OPS, CallerKind::Human),
        ("Audrey", AUDREY, AUDIT, CallerKind::Human),
    ] {
        let groups = GroupsClaim::Listed(vec![group.into()]);
        let (name, object_id) = (name.into(), object_id.into());
        issuer.admit(Account { name, object_id, groups, kind });
    }
    let name = ProviderName::new("corp").unwrap();
    let mut provider = issuer.provider(name.clone(), AGENTS);
    provider.approvers = Some(Approvers { audiences: vec![APPROVERS.into()], clients: vec![CLIENT.into()] });
    let sign_in = SignIn::new(SignInConfig {
        provider: name.clone(),
        client_id: CLIENT.into(),
        secret: None,
        scope: "api://approvers/approve".into(),
        discovery_url: issuer.discovery_url(),
        redirect_uri: redirect_uri(ORIGIN),
        loopback_http: LoopbackHttp::Allowed,
    });
    let alias = GroupAlias::new("dba").unwrap();
    let members = Subject::Group { provider: name.clone(), id: DBAS.into(), alias: alias.clone() };
    let group = |alias: &str, id: &str| Subject::Group {
        provider: name.clone(),
        id: id.into(),
        alias: GroupAlias::new(alias).unwrap(),
    };
    let mut policy = Policy { groups: [(alias, members)].into(), ..policy() };
    policy.operators.push(group("ops", OPS));
    policy.auditors.push(group("audit", AUDIT));
    policy.persons = Persons::new([], [name.clone()].into());
    gateway.grants.replace(policy).unwrap();
    let (sessions, history) = (Arc::new(Carried::default()), Arc::new(History::default()));
    let folder = tempfile::tempdir().unwrap();
    let recorder = recordings::recorder(folder.path(), encryption);
    let keys = recorder.public_key().into();
    let parts = Parts {
        identities: Arc::new(Identities::new(vec![provider]).unwrap()),
        sign_ins: vec![sign_in.unwrap()],
        grants: gateway.grants.clone(),
        sessions: sessions.clone(),
        plant: Plant::default(),
        history: history.clone(),
        archive: Archive { folders: vec![recorder.library()], keys },
    };
    let router = router(parts, ORIGIN);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Scene { gateway, sessions, history, recorder, folder, _issuer: issuer, base }
}

/// Keeps cookies, follows no redirect by itself.
struct Browser {
    client: reqwest::Client,
    base: String,
    cookies: BTreeMap<String, String>,
}

struct Seen {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Seen {
    fn location(&self) -> &str {
        self.headers["location"].to_str().unwrap()
    }

    /// The hidden value of the page's forms.
    fn token(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"token\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Browser {
    fn at(scene: &Scene) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        Browser { client: client.build().unwrap(), base: scene.base.clone(), cookies: BTreeMap::new() }
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Seen {
        let all: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if all.is_empty() { request } else { request.header("cookie", all.join("; ")) };
        let answer = request.send().await.unwrap();
        for line in answer.headers().get_all("set-cookie") {
            let line = line.to_str().unwrap();
            assert!(
                line.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
                    || line.contains("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age="),
                "{line}"
            );
            assert!(line.starts_with("__Host-"), "{line}");
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => drop(self.cookies.remove(name)),
                _ => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        Seen { status, headers, text: answer.text().await.unwrap() }
    }

    async fn get(&mut self, path: &str) -> Seen {
        self.send(self.client.get(format!("{}{path}", self.base))).await
    }

    async fn post(&mut self, path: &str, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Seen {
        let mut url = Url::parse("http://x/").unwrap();
        url.query_pairs_mut().extend_pairs(form);
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request.body(url.query().unwrap_or_default().to_owned())).await
    }

    /// Goes to the provider and chooses; the path and query that the browser is sent back with.
    async fn choose(&mut self, login: &str, who: &str) -> String {
        let seen = self.get(login).await;
        assert_eq!(seen.status, StatusCode::SEE_OTHER, "{}", seen.text);
        let mut url = Url::parse(seen.location()).unwrap();
        url.query_pairs_mut().append_pair("as", who);
        let answer = self.client.get(url).send().await.unwrap();
        let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        assert_eq!(back.origin().ascii_serialization(), ORIGIN);
        format!("{}?{}", back.path(), back.query().unwrap())
    }

    /// Signs somebody in; what is shown first.
    async fn sign_in(&mut self, who: &str) -> Seen {
        let back = self.choose("/console/login", who).await;
        self.get(&back).await
    }

    async fn approve(&mut self, id: ApprovalId, token: &str) -> Seen {
        let form = [("token", token), ("verdict", "approve"), ("comment", "seen")];
        self.post(&format!("/console/approvals/{id}"), &form, &[]).await
    }
}

impl Scene {
    async fn signed_in(&self, who: &str) -> Browser {
        let mut browser = Browser::at(self);
        let seen = browser.sign_in(who).await;
        assert_eq!((seen.status, seen.location()), (StatusCode::SEE_OTHER, "/console"));
        browser
    }

    /// An operation of an agent that waits for one of the approvers.
    async fn hold(&self) -> (Hold, ApprovalId) {
        let (grants, caller) = (&self.gateway.grants, agent("a1"));
        grants.request(&caller, Wish::new(&target("db"), "why"), at(0)).await.unwrap();
        let permit = grants.permit(&caller, &target("db"), at(0)).await.unwrap();
        let operation = HeldOperation {
            summary: STATEMENT.into(),
            digest: [3; 32],
            risk: 80,
            findings: vec![Finding {
                rule: "delete.rows".into(),
                detail: "it <i>deletes</i>".into(),
                risk: 80,
            }],
            terms: vec![HoldTerms {
                approvers: GroupAlias::new("dba").unwrap(),
                needed: 1,
                timeout_seconds: 600,
                reason: "it deletes".into(),
            }],
        };
        let hold = grants.hold(&permit, operation, at(0)).await.unwrap();
        let id = ApprovalId::Hold(hold.id());
        (hold, id)
    }

    async fn standing(&self, id: ApprovalId) -> Standing {
        self.gateway.grants.state().approval(id).await.unwrap().unwrap().approval.state(at(1))
    }
}

#[tokio::test]
async fn a_person_signs_in_sees_exactly_what_runs_and_decides() {
    for scene in scenes().await {
        let (mut hold, id) = scene.hold().await;
        let mut ann = scene.signed_in(ANN).await;
        let list = ann.get("/console/approvals").await;
        assert!(list.text.contains(&format!("/console/approvals/{id}")), "{}", list.text);
        let page = ann.get(&format!("/console/approvals/{id}")).await;
        // The rest of its first line is a comment, and its marks are around words alone.
        let shown = STATEMENT.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        let (comment, _) = shown.split_once('\n').unwrap();
        let comment = comment.strip_prefix("DELETE FROM t ").unwrap();
        for part in [
            "<span class=\"strong\">DELETE</span> <span class=\"word\">FROM</span> t ",
            &format!("<span class=\"comment\">{comment}</span>\n<span class=\"word\">WHERE</span> id = "),
            "it &lt;i&gt;deletes&lt;/i&gt;",
            "80 of 100",
            "an agent",
            "corp/t/a1",
            "Ann &lt;b&gt;",
        ] {
            assert!(page.text.contains(part), "{part}: {}", page.text);
        }
        for part in ["<script>", "<img", "<b>", "<i>", " style=", "onclick", "http://", "https://"] {
            assert!(!page.text.contains(part), "{part}: {}", page.text);
        }
        assert_eq!(page.text.matches("<script").count(), 2, "ours, and nothing in them");
        assert_eq!(page.text.matches(" defer></script>").count(), 2);
        let seen = ann.approve(id, &page.token()).await;
        assert_eq!(
            (seen.status, seen.location()),
            (StatusCode::SEE_OTHER, &*format!("/console/approvals/{id}"))
        );
        let outcome = tokio::time::timeout(Duration::from_secs(60), hold.outcome()).await.unwrap();
        assert!(matches!(outcome, HoldOutcome::Approved { .. }));
        let page = ann.get(&format!("/console/approvals/{id}")).await;
        assert!(page.text.contains("Approved.") && page.text.contains("seen"), "{}", page.text);
        assert!(!page.text.contains("verdict"), "what is over has no form");
        let events = scene.gateway.grants.state().audit_events().await.unwrap();
        assert!(events.iter().any(|event| event.event == "console.signed-in" && event.actor.ends_with(ANN)));
    }
}

#[tokio::test]
async fn a_rejection_carries_its_comment_with_its_lines() {
    for scene in scenes().await {
        let (mut hold, id) = scene.hold().await;
        let mut ann = scene.signed_in(ANN).await;
        let token = ann.get(&format!("/console/approvals/{id}")).await.token();
        let form = [("token", token.as_str()), ("verdict", "reject"), ("comment", "no\r\nticket")];
        let seen = ann.post(&format!("/console/approvals/{id}"), &form, &[]).await;
        assert_eq!(seen.status, StatusCode::SEE_OTHER);
        let outcome = tokio::time::timeout(Duration::from_secs(60), hold.outcome()).await.unwrap();
        assert!(matches!(outcome, HoldOutcome::Rejected { comment, .. } if comment == "no\nticket"));
    }
}

#[tokio::test]
async fn a_link_decides_nothing() {
    for scene in scenes().await {
        let (_hold, id) = scene.hold().await;
        let mut ann = scene.signed_in(ANN).await;
        let token = ann.get(&format!("/console/approvals/{id}")).await.token();
        for query in ["", "?verdict=approve", &format!("?token={token}&verdict=approve&comment=x")] {
            let path = format!("{}/console/approvals/{id}{query}", ann.base);
            for method in [Method::GET, Method::HEAD] {
                let seen = ann.send(ann.client.request(method, &path)).await;
                assert_eq!(seen.status, StatusCode::OK, "{query}");
            }
            for method in [Method::PUT, Method::PATCH, Method::DELETE] {
                let seen = ann.send(ann.client.request(method.clone(), &path)).await;
                assert_eq!(seen.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {query}");
            }
        }
        assert_eq!(scene.standing(id).await, Standing::Pending);
    }
}

#[tokio::test]
async fn a_form_counts_only_from_the_page_of_its_own_sign_in() {
    for scene in scenes().await {
        let (_hold, id) = scene.hold().await;
        let path = format!("/console/approvals/{id}");
        let (mut ann, mut bob) = (scene.signed_in(ANN).await, scene.signed_in(BOB).await);
        let (own, others) = (ann.get(&path).await.token(), bob.get(&path).await.token());
        assert_ne!(own, others);
        let cookie = ann.cookies[visitor::SIGNED_IN].clone();
        for token in [others.as_str(), "", "x", &own[1..], &cookie] {
            let seen = ann.approve(id, token).await;
            assert_eq!(seen.status, StatusCode::FORBIDDEN, "{token}");
        }
        let good = [("token", own.as_str()), ("verdict", "approve")];
        let mut wrongly = Vec::new();
        for (form, headers, status) in [
            (&[("verdict", "approve")][..], &[][..], StatusCode::BAD_REQUEST),
            (&[("token", own.as_str())], &[], StatusCode::BAD_REQUEST),
            (&[("token", own.as_str()), ("verdict", "yes")], &[], StatusCode::BAD_REQUEST),
            (&[good[0], good[1], ("verdict", "reject")], &[], StatusCode::BAD_REQUEST),
            (&[good[0], good[1], ("more", "x")], &[], StatusCode::BAD_REQUEST),
            (&good, &[("origin", "https://evil.example")], StatusCode::FORBIDDEN),
            (&good, &[("origin", "null")], StatusCode::FORBIDDEN),
            (&good, &[("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
            (&good, &[("sec-fetch-site", "same-site")], StatusCode::FORBIDDEN),
            (&good, &[("authorization", "Bearer x")], StatusCode::BAD_REQUEST),
        ] {
            let seen = ann.post(&path, form, headers).await;
            if seen.status != status {
                wrongly.push(format!("{form:?} {headers:?}: {}", seen.status));
            }
        }
        assert!(wrongly.is_empty(), "{wrongly:#?}");
        let json = ann.client.post(format!("{}{path}", ann.base)).header("content-type", "application/json");
        let seen = ann.send(json.body(format!(r#"{{"token":"{own}","verdict":"approve"}}"#))).await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST);
        let long = "x".repeat(20_000);
        let seen = ann.post(&path, &[good[0], good[1], ("comment", &long)], &[]).await;
        assert_eq!(seen.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(scene.standing(id).await, Standing::Pending);
        // As a browser sends it.
        let headers = [("origin", ORIGIN), ("sec-fetch-site", "same-origin")];
        assert_eq!(ann.post(&path, &good, &headers).await.status, StatusCode::SEE_OTHER);
        assert_eq!(scene.standing(id).await, Standing::Approved);
    }
}

#[tokio::test]
async fn a_sign_in_belongs_to_the_browser_that_began_it_and_ends_once() {
    for scene in scenes().await {
        let mut ann = Browser::at(&scene);
        let back = ann.choose("/console/login", ANN).await;
        // Somebody got hold of the whole address, and tries it in a browser with and without a sign-in of its own.
        let mut thief = Browser::at(&scene);
        let seen = thief.get(&back).await;
        assert_eq!((seen.status, thief.cookies.len()), (StatusCode::BAD_REQUEST, 0), "{}", seen.text);
        let own = thief.choose("/console/login", EVE).await;
        let seen = thief.get(&back).await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST, "{}", seen.text);
        // Nor may the thief have Ann's code under the thief's own state.
        let pairs = |text: &str| -> BTreeMap<String, String> {
            Url::parse(&format!("http://x{text}")).unwrap().query_pairs().into_owned().collect()
        };
        let mixed = own.replace(&pairs(&own)["code"], &pairs(&back)["code"]);
        assert_eq!(thief.get(&mixed).await.status, StatusCode::BAD_REQUEST);
        assert!(!thief.cookies.contains_key(visitor::SIGNED_IN));

        let back = ann.choose("/console/login", ANN).await;
        let seen = ann.get(&back).await;
        assert_eq!(seen.status, StatusCode::SEE_OTHER, "{}", seen.text);
        let before = ann.cookies.clone();
        let seen = ann.get(&back).await;
        assert_eq!((seen.status, &ann.cookies), (StatusCode::BAD_REQUEST, &before), "{}", seen.text);
        for path in ["/console/callback", "/console/callback?state=x&code=y", "/console/callback?error=x"] {
            assert_eq!(ann.get(path).await.status, StatusCode::BAD_REQUEST, "{path}");
        }
        assert_eq!(ann.get("/console/callback?state=a&state=b").await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn who_gives_up_at_the_provider_is_told_and_not_signed_in() {
    for scene in scenes().await {
        let mut ann = Browser::at(&scene);
        let seen = ann.sign_in("nobody").await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST);
        assert!(seen.text.contains("access_denied"), "{}", seen.text);
        assert!(!ann.cookies.contains_key(visitor::SIGNED_IN));
    }
}

#[tokio::test]
async fn where_a_browser_comes_back_to_is_configured_whatever_host_it_names() {
    for scene in scenes().await {
        let browser = &mut Browser::at(&scene);
        for (name, value) in [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
        ] {
            let request = browser.client.get(format!("{}/console/login", browser.base)).header(name, value);
            let seen = browser.send(request).await;
            let asked: BTreeMap<_, _> =
                Url::parse(seen.location()).unwrap().query_pairs().into_owned().collect();
            assert_eq!(asked["redirect_uri"], "https://gateway.example/console/callback", "{name}");
        }
    }
}

#[tokio::test]
async fn after_signing_in_an_approval_is_shown_and_nothing_else_that_a_link_could_ask_for() {
    for scene in scenes().await {
        let (_hold, id) = scene.hold().await;
        let path = format!("/console/approvals/{id}");
        let mut ann = Browser::at(&scene);
        let seen = ann.get(&path).await;
        assert_eq!(seen.location(), format!("/console/login?then={id}"));
        let back = ann.choose(&format!("/console/login?then={id}"), ANN).await;
        assert_eq!(ann.get(&back).await.location(), path);
        for then in ["https://evil.example", "//evil.example", "/\\evil.example", "..", "req_1"] {
            let mut url = Url::parse("http://x/console/login").unwrap();
            url.query_pairs_mut().append_pair("then", then);
            let back = ann.choose(&format!("{}?{}", url.path(), url.query().unwrap()), ANN).await;
            assert_eq!(ann.get(&back).await.location(), "/console", "{then}");
        }
        // A form that comes too late is not sent again by itself.
        let mut gone = Browser::at(&scene);
        let seen = gone.approve(id, "x").await;
        assert!(seen.text.contains("Nothing was decided"), "{}", seen.text);
        assert_eq!(scene.standing(id).await, Standing::Pending);
    }
}

#[tokio::test]
async fn only_people_who_may_approve_are_signed_in_and_see_only_what_they_may_decide() {
    for scene in scenes().await {
        let (_hold, id) = scene.hold().await;
        let mut bot = Browser::at(&scene);
        let seen = bot.sign_in(BOT).await;
        assert_eq!(seen.status, StatusCode::FORBIDDEN);
        assert!(seen.text.contains("of kind agent-user"), "{}", seen.text);
        assert!(!bot.cookies.contains_key(visitor::SIGNED_IN));
        // Eve is in none of the groups: what there is and what there is not look alike.
        let mut eve = scene.signed_in(EVE).await;
        assert!(!eve.get("/console/approvals").await.text.contains(&id.to_string()));
        let nothing = ApprovalId::Hold(chaperone_core::name::HoldId::new(uuid::Uuid::now_v7()));
        let (found, missing) = (
            eve.get(&format!("/console/approvals/{id}")).await,
            eve.get(&format!("/console/approvals/{nothing}")).await,
        );
        assert_eq!((found.status, &found.text), (StatusCode::NOT_FOUND, &missing.text));
        let token = eve.get("/console/approvals").await.token();
        let (found, missing) = (eve.approve(id, &token).await, eve.approve(nothing, &token).await);
        assert_eq!((found.status, &found.text), (StatusCode::NOT_FOUND, &missing.text));
        assert_eq!(scene.standing(id).await, Standing::Pending);
    }
}

#[tokio::test]
async fn a_sign_in_ends_with_the_hour_with_signing_out_and_with_a_denial() {
    for scene in scenes().await {
        let (_hold, id) = scene.hold().await;
        let path = format!("/console/approvals/{id}");
        let (mut ann, mut bob, mut late) =
            (scene.signed_in(ANN).await, scene.signed_in(BOB).await, scene.signed_in(EVE).await);
        let token = ann.get(&path).await.token();
        let kept = ann.cookies.clone();
        let seen = ann.post("/console/logout", &[("token", "x")], &[]).await;
        assert_eq!(seen.status, StatusCode::FORBIDDEN);
        assert_eq!(ann.get(&path).await.status, StatusCode::OK);
        ann.post("/console/logout", &[("token", &token)], &[]).await;
        assert!(!ann.cookies.contains_key(visitor::SIGNED_IN));
        ann.cookies = kept;
        assert_eq!(
            ann.get(&path).await.status,
            StatusCode::SEE_OTHER,
            "the cookie of before is worth nothing"
        );

        // Signing in anew ends what was before in this browser.
        let before = bob.cookies.clone();
        bob.sign_in(BOB).await;
        let after = std::mem::replace(&mut bob.cookies, before);
        assert_eq!(bob.get(&path).await.status, StatusCode::SEE_OTHER);
        bob.cookies = after;

        let denied = Denied::new(DeniedKind::Object, TENANT, BOB).unwrap();
        let token = bob.get(&path).await.token();
        let operator = crate::grant::tests::human("oz", "ops");
        // The operator's provider has a registration of its own, too; ending and denying are not approving.
        scene.gateway.grants.deny(&operator, denied, "gone", None, at(0)).await.unwrap();
        assert_eq!(bob.approve(id, &token).await.status, StatusCode::FORBIDDEN);
        assert_eq!(bob.get(&path).await.status, StatusCode::SEE_OTHER);
        assert_eq!(scene.standing(id).await, Standing::Pending);

        let hour = Duration::from_secs(SIGNED_IN_SECONDS.unsigned_abs());
        scene.gateway.clock.pass(hour - Duration::from_secs(1));
        assert_eq!(late.get("/console/approvals").await.status, StatusCode::OK);
        scene.gateway.clock.pass(Duration::from_secs(1));
        assert_eq!(late.get("/console/approvals").await.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    for scene in scenes().await {
        let mut ann = scene.signed_in(ANN).await;
        for path in [
            "/console",
            "/console/approvals",
            "/console/approvals/x",
            "/console/style.css",
            "/console/live.js",
            "/console/keys.js",
            "/console/replay.js",
            "/console/sessions",
            "/console/now",
            "/console/policy",
            "/console/callback",
            "/console/login",
            "/console/nothing/here",
        ] {
            let seen = ann.get(path).await;
            let header = |name: &str| seen.headers[name].to_str().unwrap();
            assert_eq!(
                header("content-security-policy"),
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; \
                 base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
                "{path}"
            );
            assert_eq!(header("cache-control"), "no-store", "{path}");
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(header("x-frame-options"), "DENY", "{path}");
            assert_eq!(header("referrer-policy"), "same-origin", "{path}");
        }
        let seen = ann.send(ann.client.get(format!("{}/console/approvals", ann.base)).bearer_auth("x")).await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST, "a token beside the cookie");
    }
}

#[test]
fn an_origin_is_written_as_browsers_write_it() {
    for url in ["https://gateway.example", "https://gateway.example:443", "https://GATEWAY.example"] {
        assert_eq!(origin(url), ORIGIN);
    }
    assert_eq!(origin("https://gateway.example:8443"), "https://gateway.example:8443");
}
