//! Tokens of a local issuer, completed by a local Graph.

mod attacks;
mod standing;
mod vouched;

use super::*;
use crate::demo::graph::{
    Account as Object, AccountKind, Graph as LocalGraph, GraphBehaviour, UnknownGroups,
};
use crate::demo::issuer::{GroupsClaim, Issuer as LocalIssuer, TokenSpec};
use crate::identity::{Credential, ProviderConfig, ProviderKind};
use secrecy::SecretString;

const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const OTHER_TENANT: &str = "99999999-2222-4333-8444-555555555555";
const AUDIENCE: &str = "aaaaaaaa-2222-4333-8444-555555555555";
const CLIENT: &str = "cccccccc-2222-4333-8444-555555555555";
const OBJECT: &str = "bbbbbbbb-2222-4333-8444-555555555555";
const GROUP: &str = "dddddddd-2222-4333-8444-555555555555";
const OTHER_GROUP: &str = "eeeeeeee-2222-4333-8444-555555555555";

fn later(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-21T05:00:00Z".parse().unwrap();
    Timestamp::from_second(start.as_second() + seconds).unwrap()
}

/// An issuer, a Graph, and a gateway that trusts both.
struct Scene {
    issuer: LocalIssuer,
    graph: LocalGraph,
    identities: Arc<Identities>,
}

impl Scene {
    async fn new() -> Self {
        Scene::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut ProviderConfig)) -> Self {
        let issuer = LocalIssuer::start(TENANT).await.unwrap();
        let graph = LocalGraph::start(CLIENT, "s3cret&=% ü").await.unwrap();
        let secret = ClientSecret::new(|| Ok(SecretString::from("s3cret&=% ü")));
        let asking = GraphConfig { url: Some(graph.url()), ..GraphConfig::new(CLIENT.to_owned(), secret) };
        let mut config = issuer.provider(ProviderName::new("corp").unwrap(), AUDIENCE);
        config.graph = Some(asking);
        change(&mut config);
        let identities = Arc::new(Identities::new(vec![config]).unwrap());
        Scene { issuer, graph, identities }
    }

    async fn identify(&self, spec: &TokenSpec) -> Identity {
        let token = Credential::bearer(self.issuer.token(spec).unwrap());
        self.identities.check(&token, later(0)).await.unwrap()
    }

    async fn complete(&self, identity: &Identity, seconds: i64) -> Result<Identity, Refusal> {
        self.identities.complete(identity.clone(), &|_| groups([GROUP, OTHER_GROUP]), later(seconds)).await
    }

    /// Whether the caller is in the group, as far as is known then.
    async fn holds(&self, identity: &Identity, seconds: i64) -> (bool, Completeness) {
        let identity = self.complete(identity, seconds).await.unwrap();
        (identity.facts().groups.contains(GROUP), identity.completeness())
    }
}

fn groups<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn spec(kind: CallerKind) -> TokenSpec {
    TokenSpec::new(kind, OBJECT, AUDIENCE, later(0))
}

const HOLDS: (bool, Completeness) = (true, Completeness::Complete);
const HOLDS_NOT: (bool, Completeness) = (false, Completeness::Complete);
const OPEN: (bool, Completeness) = (false, Completeness::Open);

#[tokio::test]
async fn what_a_token_leaves_open_is_asked_for_and_nothing_else() {
    use CallerKind as C;
    for (told, object, settled) in [
        (spec(C::Agent), AccountKind::Agent, C::Agent),
        (spec(C::Workload), AccountKind::Application, C::Workload),
        (spec(C::Workload), AccountKind::Agent, C::Agent),
        (spec(C::Unknown), AccountKind::Agent, C::Agent),
        (spec(C::Unknown), AccountKind::Member, C::Unknown),
        (spec(C::Human).groups(GroupsClaim::Overage), AccountKind::Member, C::Human),
        (spec(C::Human).groups(GroupsClaim::Overage), AccountKind::AgentUser, C::AgentUser),
        (spec(C::HumanThroughAgent), AccountKind::Guest, C::HumanThroughAgent),
    ] {
        let scene = Scene::new().await;
        scene.graph.put(
            TENANT,
            OBJECT,
            Object::new(object, &[GROUP, "f0000000-2222-4333-8444-555555555555"]),
        );
        let identity = scene.identify(&told).await;
        let complete = scene.complete(&identity, 0).await.unwrap();
        let asked = groups([GROUP, OTHER_GROUP]);
        assert_eq!(complete.facts().groups, Groups::Asked { held: groups([GROUP]), asked }, "{told:?}");
        assert_eq!(complete.facts().kind, settled, "{told:?}");
        assert_eq!(complete.completeness(), Completeness::Complete);
        let facts = IdentityFacts {
            groups: Groups::Unknown,
            kind: identity.facts().kind,
            ..complete.facts().clone()
        };
        assert_eq!(facts, *identity.facts(), "nothing else was changed");
    }
    let scene = Scene::new().await;
    let listed = spec(C::Human).groups(GroupsClaim::Listed(vec![GROUP.to_owned()]));
    let identity = scene.identify(&listed).await;
    assert_eq!(scene.complete(&identity, 0).await.unwrap(), identity);
    assert_eq!(scene.graph.asked(), [""; 0]);
}

#[tokio::test]
async fn a_look_up_is_a_token_an_object_and_its_groups_twenty_at_a_time() {
    let scene = Scene::new().await;
    let many: BTreeSet<String> =
        (0..MAX_ASKED + 5).map(|n| format!("{n:08x}-2222-4333-8444-555555555555")).collect();
    let (first, last) = (many.first().unwrap().clone(), many.last().unwrap().clone());
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[&first, &last]));
    let identity = scene.identify(&spec(CallerKind::Agent)).await;
    let ask = |seconds| {
        let by_name = "dba".to_owned();
        let many = many.iter().cloned().chain([by_name]).collect::<BTreeSet<_>>();
        let identity = identity.clone();
        let scene = &scene;
        async move { scene.identities.complete(identity, &|_| many.clone(), later(seconds)).await.unwrap() }
    };
    let complete = ask(0).await;
    let Groups::Asked { held, asked } = &complete.facts().groups else { panic!("{complete:?}") };
    assert_eq!(asked.len(), MAX_ASKED, "what is past the bound is not asked for");
    assert_eq!(held.iter().collect::<Vec<_>>(), [&first], "and held by nobody");
    assert_eq!(scene.graph.calls("checkMemberGroups"), MAX_ASKED.div_ceil(20));
    assert_eq!(
        scene.graph.asked()[..3],
        [
            format!("POST /{TENANT}/oauth2/v2.0/token"),
            format!("GET /v1.0/servicePrincipals/{OBJECT}"),
            format!("POST /v1.0/servicePrincipals/{OBJECT}/checkMemberGroups"),
        ]
    );
    ask(59).await;
    assert_eq!(scene.graph.calls(OBJECT), 1, "the answer counts for a minute");
    ask(60).await;
    assert_eq!((scene.graph.calls(OBJECT), scene.graph.calls("/token")), (2, 1), "the token for an hour");
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_with_a_secret_that_was_rotated() {
    let secret = Arc::new(Mutex::new("old"));
    let read = secret.clone();
    let scene = Scene::with(|config| {
        config.graph.as_mut().unwrap().secret =
            ClientSecret::new(move || Ok(SecretString::from(*read.lock().unwrap())));
    })
    .await;
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Agent, &[GROUP]));
    scene.graph.set_secret("old");
    scene.graph.set_token_life(600);
    let identity = scene.identify(&spec(CallerKind::Agent)).await;
    for (seconds, tokens) in [(0, 1), (480, 1), (540, 2), (1079, 2), (1139, 3)] {
        assert_eq!(scene.holds(&identity, seconds).await, HOLDS, "{seconds}");
        assert_eq!(scene.graph.calls("/token"), tokens, "{seconds}");
    }
    scene.graph.set_secret("new");
    assert_eq!(scene.holds(&identity, 1300).await, OPEN, "the token was taken back");
    assert_eq!(scene.holds(&identity, 1310).await, OPEN, "the secret is the old one");
    *secret.lock().unwrap() = "new";
    assert_eq!(scene.holds(&identity, 1320).await, HOLDS);
}

#[tokio::test]
async fn an_account_that_is_gone_disabled_or_signed_out_does_not_get_in() {
    let scene = Scene::new().await;
    let spec = spec(CallerKind::Human).groups(GroupsClaim::Overage);
    let identity = scene.identify(&spec).await;
    let mut at = 0;
    for (change, said) in [
        (None, "Your account is gone."),
        (Some((false, None)), "Your account is disabled."),
        (Some((true, Some(later(1)))), "Your sign-ins were revoked after your token was issued."),
        (Some((true, Some(later(0)))), ""),
    ] {
        match change {
            None => scene.graph.remove(TENANT, OBJECT),
            Some((enabled, from)) => {
                let sessions_from = from.map(|from: Timestamp| from.to_string());
                let object = Object::new(AccountKind::Member, &[GROUP]);
                scene.graph.put(TENANT, OBJECT, Object { enabled, sessions_from, ..object });
            }
        }
        let complete = scene.complete(&identity, at).await;
        assert_eq!(complete.as_ref().err().map_or("", |refusal| &refusal.detail), said);
        assert!(complete.is_ok_and(|_| said.is_empty()) || !said.is_empty());
        at += 60;
    }
}

#[tokio::test]
async fn an_agents_sponsors_are_shown_where_the_gateway_may_know_them() {
    let scene = Scene::new().await;
    let sponsor =
        |number: u8| (format!("{number:08x}-0000-4000-8000-000000000000"), format!("Ann {number}\u{202e}\n"));
    let agent = Object::new(AccountKind::Agent, &[GROUP]);
    scene.graph.put(
        TENANT,
        OBJECT,
        Object { sponsors: Some((0..9).map(sponsor).collect()), ..agent.clone() },
    );
    let identity = scene.identify(&spec(CallerKind::Workload)).await;
    let sponsors = async |seconds| scene.complete(&identity, seconds).await.unwrap().facts().sponsors.clone();
    let seen = sponsors(0).await;
    assert_eq!(seen.len(), 5);
    assert_eq!((seen[1].id.as_str(), seen[1].seen), ("00000001-0000-4000-8000-000000000000", later(0)));
    assert_eq!(seen[1].display_name.as_deref(), Some("Ann 1"), "nothing in it steers a terminal");

    let strange = vec![("not-a-guid".to_owned(), "Eve".to_owned()), sponsor(3)];
    scene.graph.put(TENANT, OBJECT, Object { sponsors: Some(strange), ..agent.clone() });
    assert_eq!(sponsors(60).await.len(), 1);

    // Without the right everything else is as before, and nobody is asked again soon.
    scene.graph.put(TENANT, OBJECT, agent.clone());
    assert_eq!(sponsors(120).await, []);
    assert_eq!(scene.holds(&identity, 120).await, HOLDS);
    let asked = scene.graph.calls("/sponsors");
    scene.graph.put(TENANT, OBJECT, Object { sponsors: Some(vec![sponsor(4)]), ..agent });
    assert_eq!(sponsors(180).await, []);
    assert_eq!(scene.graph.calls("/sponsors"), asked);
    assert_eq!(sponsors(120 + 3600).await.len(), 1);

    // Nobody but agents has any.
    scene.graph.put(TENANT, OBJECT, Object::new(AccountKind::Application, &[GROUP]));
    let asked = scene.graph.calls("/sponsors");
    assert_eq!(sponsors(5000).await, []);
    assert_eq!(scene.graph.calls("/sponsors"), asked);
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_at_the_start() {
    let client = "not-a-guid".to_owned();
    let secret = || ClientSecret::new(|| Err("nowhere".into()));
    let entra = ProviderKind::Entra { cloud: Cloud::Public, tenants: vec![TENANT.into()] };
    let good = || GraphConfig::new(CLIENT.to_owned(), secret());
    let long = Duration::from_secs(301);
    let url = |url: &str| GraphConfig { url: Some(url.to_owned()), ..good() };
    for (graph, kind, loopback, said) in [
        (good(), entra.clone(), LoopbackHttp::Refused, ""),
        (url("http://127.0.0.1:9"), entra.clone(), LoopbackHttp::Allowed, ""),
        (GraphConfig { client_id: client, ..good() }, entra.clone(), LoopbackHttp::Refused, "is not a GUID"),
        (GraphConfig { cache: long, ..good() }, entra.clone(), LoopbackHttp::Refused, "5 minutes at most"),
        (url("https://graph.example"), entra.clone(), LoopbackHttp::Allowed, "for tests on loopback"),
        (url("http://127.0.0.1:9"), entra.clone(), LoopbackHttp::Refused, "for tests on loopback"),
        (url("http://graph.example"), entra, LoopbackHttp::Allowed, "must be https"),
        (good(), ProviderKind::Oidc, LoopbackHttp::Refused, "only Microsoft Entra has it"),
    ] {
        let mut config = ProviderConfig::new(ProviderName::new("corp").unwrap(), kind, vec![AUDIENCE.into()]);
        (config.graph, config.loopback_http) = (Some(graph), loopback);
        let built = Identities::new(vec![config]);
        let found = built.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(found.contains(said) && found.is_empty() == said.is_empty(), "{said}: {found}");
    }
}
