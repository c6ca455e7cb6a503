//! The grant module against a real store and a clock that is moved by hand.

use super::*;
use crate::state::tests::{Store, at, group, needs, person, stores, target};
use chaperone_core::approval::{ApprovalId, ApprovalProblem, Persons, State as Standing, Verdict};
use chaperone_core::decision::HoldTerms;
use chaperone_core::grant::{Amounts, Conditions, Grant, Recorded, Subject, Ticket, When};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{GroupAlias, HoldId, ProviderName, WindowId};
use std::sync::{Arc, LazyLock};

mod amounts;
mod approvals;
mod chain;
mod conditions;
mod denials;
mod explain;
mod matrix;
mod policy;
mod recheck;
mod renewal;
mod silent;
mod windows;

static DB: LazyLock<TargetName> = LazyLock::new(|| target("db"));

/// A gateway over one of the stores.
pub(crate) struct Gateway {
    pub(crate) grants: Grants,
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) store: Store,
}

/// A gateway over each store, at the moment 0.
pub(crate) async fn gateways() -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for store in stores().await {
        let clock = Arc::new(SimulatedClock::at(at(0)));
        let grants = Grants::start(policy(), store.state.clone(), clock.clone()).await.unwrap();
        gateways.push(Gateway { grants, clock, store });
    }
    gateways
}

/// `db` for 15 minutes to whoever asks; `vault` for an hour with two of `dba`; `web` to an app role; `bots` to those who come
/// as or through agents.
pub(crate) fn policy() -> Policy {
    let grant = |name: &str, to: Subject, when: When, minutes: u64| Grant {
        target: target(name),
        to: vec![to],
        kinds: None,
        only: Conditions::default(),
        ticket: Ticket::Optional,
        when,
        lifetime: Duration::from_secs(60 * minutes),
        amounts: Amounts::default(),
        recorded: Recorded::Yes,
        roles: vec![],
        line: 1,
    };
    let approved = When::Approved { requirements: vec![needs("dba", 2)], patience: Duration::from_secs(600) };
    let role = Subject::Role { provider: ProviderName::new("corp").unwrap(), role: "Web.Run".into() };
    Policy {
        grants: vec![
            grant("db", group("team"), When::Requested, 15),
            grant("vault", group("team"), approved, 60),
            grant("web", role, When::Requested, 15),
            Grant {
                kinds: Some([CallerKind::Agent, CallerKind::HumanThroughAgent].into()),
                ..grant("bots", group("team"), When::Requested, 15)
            },
        ],
        denies: vec![],
        groups: [("dba", group("dba")), ("security", group("security"))]
            .map(|(alias, subject)| (GroupAlias::new(alias).unwrap(), subject))
            .into(),
        operators: vec![group("ops")],
        auditors: vec![group("audit")],
        persons: Persons::default(),
        api_url: "https://gateway.example:8443/".into(),
    }
}

pub(crate) fn agent(object: &str) -> Identity {
    Identity::for_test(person(object, CallerKind::Agent, &["id-of-team"]))
}

pub(crate) fn human(object: &str, alias: &str) -> Identity {
    Identity::for_test(person(object, CallerKind::Human, &[&format!("id-of-{alias}")]))
}

/// Asks, and gives the id of what is pending.
async fn ask(gateway: &Gateway, identity: &Identity, name: &str) -> ApprovalId {
    let now = gateway.clock.now();
    match gateway.grants.request(identity, Wish::new(&target(name), "ticket 7"), now).await.unwrap() {
        RequestOutcome::New(stored, _) => stored.id,
        other => panic!("{other:?}"),
    }
}

/// A permit on `db`, in a window that is opened for it.
async fn permit_on_db(gateway: &Gateway, identity: &Identity) -> Permit {
    ask(gateway, identity, "db").await;
    gateway.grants.permit(identity, &target("db"), gateway.clock.now()).await.unwrap()
}

/// Waits as long as a busy machine may need: what is tested is that it comes at all.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it never came")
}
