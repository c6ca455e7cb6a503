//! Every order of what meets a permit: it is listed and judged, the deny list and the policy are replaced and live permits gone
//! through, a look at the store finds its window ended, a newer token comes, time passes, somebody looks whether it has ended.
//!
//! Each step is a call of the code that is run, up to where it lets go of the lock of [`Live`] or changes something that is read
//! under it. All orders of the steps of all that happen at once are tried. That covers what threads can do to each other as far
//! as the list's lock, the deny list and the policy each change as a whole, which is their types' promise and not looked into.

use super::super::Policy;
use super::super::tests::{Gateway, gateways};
use super::*;
use crate::state::tests::{group, person, target};
use chaperone_core::denial::{Denied, DeniedKind};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{DenialId, RequestId};
use chaperone_core::window::{Opened, WindowOf};
use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A login, with the window read as open: the permit is listed.
    List,
    /// It is judged; from then on its session holds it.
    Judge,
    /// The deny list has an entry more.
    Deny,
    /// Live permits are gone through.
    ReviewDenied,
    /// Another policy counts.
    Replace,
    /// Live permits are gone through.
    ReviewPolicy,
    /// A look at the store finds the window ended. Each later look finds it as well.
    Look,
    /// The session's owner sends a newer token.
    Renew,
    /// The first token's time is over.
    Expire,
    /// The session asks whether it has ended.
    See,
}

use Step::{Deny, Expire, Judge, List, Look, Renew, Replace, ReviewDenied, ReviewPolicy, See};

/// What the entry of the deny list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Caller,
    FirstToken,
    NewerToken,
}

struct Stage {
    gateway: Gateway,
    reading: std::cell::Cell<u64>,
}

impl Stage {
    async fn start() -> Self {
        let gateway = gateways().await.swap_remove(0);
        Stage { gateway, reading: std::cell::Cell::new(1_000_000) }
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.gateway.grants.inner
    }

    fn denials(&self, entries: Vec<Denial>) {
        self.reading.set(self.reading.get() + 1);
        self.inner().denials.replace(self.reading.get(), entries);
    }

    fn now(&self) -> Timestamp {
        self.gateway.clock.now()
    }
}

/// One order, and what it has come to.
struct Run<'s> {
    stage: &'s Stage,
    entry: Denial,
    first: Identity,
    newer: Identity,
    window: Window,
    permit: Option<Permit>,
    is_held: bool,
    seen: Option<PermitEnd>,
    done: BTreeSet<Step>,
}

fn stricter() -> Policy {
    let mut policy = super::super::tests::policy();
    policy.grants[0].to = vec![group("other")];
    policy
}

fn token(id: &str, now: Timestamp, seconds: u64) -> Identity {
    let mut facts = person("a1", CallerKind::Agent, &["id-of-team"]);
    facts.credential_id = id.into();
    (facts.issued_at, facts.expires_at) = (now, now + Duration::from_secs(seconds));
    Identity::for_test(facts)
}

impl<'s> Run<'s> {
    fn begin(stage: &'s Stage, entry: Entry) -> Self {
        stage.denials(vec![]);
        stage.inner().policy.store(Arc::new(super::super::tests::policy()));
        let now = stage.now();
        let (kind, id) = match entry {
            Entry::Caller => (DeniedKind::Object, "a1"),
            Entry::FirstToken => (DeniedKind::Credential, "first"),
            Entry::NewerToken => (DeniedKind::Credential, "newer"),
        };
        let first = token("first", now, 100);
        let by = first.facts().principal.clone();
        let of = WindowOf {
            id: WindowId::new(uuid::Uuid::now_v7()),
            principal: by.clone(),
            target: target("db"),
            opened: Opened::Requested,
        };
        let length = Duration::from_secs(900);
        Run {
            stage,
            entry: Denial {
                id: DenialId::new(uuid::Uuid::nil()),
                denied: Denied::new(kind, "t", id).unwrap(),
                reason: "why".into(),
                by,
                made: now,
                until: None,
            },
            first,
            newer: token("newer", now, 500),
            window: Window::open(of, now, length, length).unwrap(),
            permit: None,
            is_held: false,
            seen: None,
            done: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let inner = self.stage.inner();
        let held = self.permit.as_ref().filter(|_| self.is_held);
        match step {
            List => {
                let request = RequestId::new(uuid::Uuid::nil());
                let asked = Asked { request, approved_by: vec![], place: None };
                let policy = super::super::tests::policy();
                let now = self.stage.now().into();
                let backed = policy.backing(self.first.facts(), &self.window, &now).unwrap();
                let (first, window) = (self.first.clone(), self.window.clone());
                self.permit = Some(Permit::listed(inner, first, None, window, backed, asked));
            }
            Judge => {
                self.permit.as_ref().unwrap().judge();
                self.is_held = true;
            }
            Deny => self.stage.denials(vec![self.entry.clone()]),
            ReviewDenied => inner.review_denied(self.stage.now()),
            Replace => inner.policy.store(Arc::new(stricter())),
            ReviewPolicy => inner.review_policy(),
            Look => self.look(),
            // Before it is held there is no session that could be named.
            Renew => drop(held.map(|permit| permit.renew(&self.newer))),
            Expire => self.stage.gateway.clock.pass(Duration::from_secs(100)),
            See => self.seen = held.and_then(Permit::end).or(self.seen.take()),
        }
        self.done.insert(step);
    }

    fn look(&self) {
        let by = self.first.facts().principal.clone();
        let ended = EndedWindow { id: self.window.id(), at: self.stage.now(), by, reason: "incident".into() };
        self.stage.inner().live.ended(vec![ended]);
    }

    /// What is wrong in the end.
    fn wrong(&self) -> Option<&'static str> {
        let permit = self.permit.as_ref()?;
        if self.done.contains(&Look) {
            // The next one.
            self.look();
        }
        let end = permit.end();
        if self.seen.is_some() && self.seen != end {
            return Some("an end that was seen is another one now");
        }
        if end.is_some() {
            return None;
        }
        let renewals = permit.renewals(0);
        let mut tokens = renewals.iter().chain([&self.first]);
        if self.done.contains(&Deny) && tokens.any(|token| self.entry.denied.hits(token.facts())) {
            return Some("a denied caller lives on");
        }
        if self.done.contains(&Replace) {
            return Some("what the policy took back lives on");
        }
        if self.done.contains(&Look) {
            return Some("a permit lives on in a window that was ended");
        }
        let newest = renewals.last().unwrap_or(&self.first);
        (self.stage.now() >= newest.facts().expires_at).then_some("a permit outlives its token")
    }
}

/// All orders in which these may take their steps, each its own in turn.
fn orders(of: &[&[Step]]) -> Vec<Vec<Step>> {
    if of.iter().all(|steps| steps.is_empty()) {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for (at, steps) in of.iter().enumerate() {
        let Some((first, rest)) = steps.split_first() else { continue };
        let mut left = of.to_vec();
        left[at] = rest;
        all.extend(orders(&left).into_iter().map(|mut order| {
            order.insert(0, *first);
            order
        }));
    }
    all
}

/// Tries all orders; how many they were, or the first that ends badly.
fn search(stage: &Stage, of: &[&[Step]]) -> Result<usize, String> {
    let all = orders(of);
    for entry in [Entry::Caller, Entry::FirstToken, Entry::NewerToken] {
        for order in &all {
            let mut run = Run::begin(stage, entry);
            order.iter().for_each(|step| run.step(*step));
            if let Some(wrong) = run.wrong() {
                return Err(format!("{wrong}: {entry:?} {order:?}"));
            }
        }
    }
    Ok(all.len())
}

const LOGIN: &[Step] = &[List, Judge];
const DENIAL: &[Step] = &[Deny, ReviewDenied];
const POLICY: &[Step] = &[Replace, ReviewPolicy];

#[tokio::test]
async fn in_every_order_nobody_lives_on_whose_right_was_taken_back() {
    let stage = Stage::start().await;
    let mut tried = 0;
    let (one, two): ([&[Step]; 4], [&[Step]; 3]) =
        ([LOGIN, &[Renew], &[Expire], &[See]], [LOGIN, &[Renew], &[See]]);
    for (session, taken) in [
        (&one[..], &[DENIAL][..]),
        (&one, &[POLICY]),
        (&one, &[&[Look]]),
        (&two, &[DENIAL, POLICY]),
        (&two, &[DENIAL, &[Look]]),
        (&two, &[POLICY, &[Look]]),
    ] {
        let all: Vec<&[Step]> = session.iter().chain(taken).copied().collect();
        tried += search(&stage, &all).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    // As many as there are orders of so many steps, of which so many pairs keep theirs: none was left out.
    let count = |steps: usize, pairs: u32| (1..=steps).product::<usize>() / 2usize.pow(pairs);
    assert_eq!(tried, 2 * count(7, 2) + count(6, 1) + count(8, 3) + 2 * count(7, 2));
}

/// The search finds what it is there for: each safeguard left out is found.
#[tokio::test]
async fn in_another_order_somebody_would() {
    let stage = Stage::start().await;
    for (what, of) in [
        ("live permits are gone through before the list is replaced", [LOGIN, &[ReviewDenied, Deny], &[See]]),
        (
            "live permits are gone through before the policy is replaced",
            [LOGIN, &[ReviewPolicy, Replace], &[See]],
        ),
        ("a permit is listed and not judged", [&[List], DENIAL, &[See]]),
        ("a policy is replaced and live permits are not gone through", [LOGIN, &[Replace], &[See]]),
    ] {
        assert!(search(&stage, &of).is_err(), "{what}");
    }
    // And a token that comes between the two.
    let found = search(&stage, &[LOGIN, &[Renew], &[ReviewDenied, Deny]]).unwrap_err();
    assert!(found.starts_with("a denied caller lives on"), "{found}");
}
