//! Every order of events: people who decide at two gateways that expire, withdraw and restart, searched whole.
//!
//! The rules are the real [`Approval`]. The steps are those of the store's transactions (`state/approvals.rs` of the host), as
//! PostgreSQL runs them at READ COMMITTED: a row's lock is taken by writing to it and kept until the end, what is not committed is
//! seen by nobody else, and an UPDATE that had to wait looks at its condition once more. SQLite lets one transaction write at a time,
//! which are some of the same orders. Breadth first, so a way to a mistake is as short as it can be.
//!
//! What this cannot find: a mistake in the SQL itself. That the store does take these steps is shown by its own tests on both
//! databases. That this search can find something is shown below, with steps that leave a safeguard out.

use super::*;
use crate::grant::testing::{facts, group};
use crate::name::TargetName;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// The gateways: the first carries what was asked and restarts, the second's clock is one moment behind.
const GATEWAYS: [usize; 2] = [0, 1];

/// Moments: the first is in time, the second is the deadline.
const DEADLINE: u8 = 1;
const LAST_MOMENT: u8 = 2;

fn moment(number: u8) -> Timestamp {
    Timestamp::from_second([10, 60, 70][usize::from(number)]).unwrap()
}

/// Whose decision, through which gateway.
struct Vote {
    who: &'static str,
    provider: &'static str,
    groups: &'static [&'static str],
    gateway: usize,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Opens a window.
    Request,
    /// Its gateway withdraws it when nobody waits any more, or when it restarts.
    Hold,
}

struct Scenario {
    name: &'static str,
    kind: Kind,
    /// Groups and how many of each.
    needed: &'static [(&'static str, u8)],
    votes: [Vote; 3],
}

/// Whether a transaction begins by taking the row's lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locking {
    First,
    Never,
}

/// Whether what settles a row says that it must be pending.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Pending,
    Missing,
}

/// How the store does it.
#[derive(Clone, Copy)]
struct Steps {
    locking: Locking,
    condition: Condition,
}

const AS_THEY_ARE: Steps = Steps { locking: Locking::First, condition: Condition::Pending };

/// A committed decision: whose, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Decision {
    vote: usize,
    at: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Row {
    state: State,
    decisions: Vec<Decision>,
}

/// How far a decision has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    /// Not sent yet, or its gateway went away and it may be sent again.
    Waiting,
    /// The gateway has looked at its clock and begun a transaction.
    Begun { now: u8 },
    /// The transaction has the row's lock, if it takes one.
    Locked { now: u8 },
    /// It has read the row.
    Read { now: u8, row: Row },
    /// The rule has spoken and the decision is written, seen by this transaction alone.
    Written { decision: Decision, standing: State },
    /// The row's state is written as well.
    Settled { decision: Decision, standing: State },
    /// Committed or rolled back.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Process {
    Runs,
    Gone,
    RunsAgain,
}

/// All that can be told apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    clock: u8,
    row: Row,
    windows: u8,
    /// The vote whose transaction has the row's lock.
    lock: Option<usize>,
    votes: [Phase; 3],
    withdrawn: bool,
    first_gateway: Process,
}

impl World {
    fn begin() -> Self {
        World {
            clock: 0,
            row: Row { state: State::Pending, decisions: vec![] },
            windows: 0,
            lock: None,
            votes: [Phase::Waiting, Phase::Waiting, Phase::Waiting],
            withdrawn: false,
            first_gateway: Process::Runs,
        }
    }

    fn now(&self, gateway: usize) -> u8 {
        if gateway == 0 { self.clock } else { self.clock.saturating_sub(1) }
    }

    fn with(&self, change: impl FnOnce(&mut World)) -> World {
        let mut world = self.clone();
        change(&mut world);
        world
    }

    /// A transaction ends: its lock goes with it.
    fn over(&mut self, vote: usize, phase: Phase) {
        self.votes[vote] = phase;
        self.lock = self.lock.filter(|holder| *holder != vote);
    }

    /// An UPDATE of its own transaction, which waits for the lock: so it is one step.
    fn settle(&mut self, condition: Condition, state: State) {
        if condition == Condition::Missing || self.row.state == State::Pending {
            self.row.state = state;
        }
    }
}

impl Scenario {
    fn requirements(&self) -> Vec<Requirement> {
        let requirement = |(alias, needed): &(&str, u8)| Requirement {
            approvers: GroupAlias::new(*alias).unwrap(),
            members: vec![group("corp", alias, alias), group("partner", alias, alias)],
            needed: *needed,
            stage: 0,
        };
        self.needed.iter().map(requirement).collect()
    }

    fn facts(&self, vote: usize) -> IdentityFacts {
        let Vote { who, provider, groups, .. } = &self.votes[vote];
        facts(provider, who, CallerKind::Human, groups)
    }

    /// As the store reads it.
    fn restored(&self, row: &Row) -> Approval {
        let decided = |decision: &Decision| Decided {
            by: self.facts(decision.vote).principal,
            verdict: self.votes[decision.vote].verdict,
            comment: String::new(),
            at: moment(decision.at),
            through: self.votes[decision.vote]
                .groups
                .iter()
                .map(|one| GroupAlias::new(*one).unwrap())
                .collect(),
        };
        let matter = Matter::Window(WindowTerms {
            target: TargetName::new("db").unwrap(),
            seconds: 900,
            reason: "ticket 7".into(),
            ticket: None,
        });
        Approval::restore(ApprovalParts {
            requester: facts("corp", "rob", CallerKind::Human, &[]).principal,
            matter,
            requirements: self.requirements(),
            asked: Timestamp::UNIX_EPOCH,
            deadline: moment(DEADLINE),
            decisions: row.decisions.iter().map(decided).collect(),
            state: row.state,
        })
    }

    /// What a vote's next step makes of the world, if it can be taken now.
    fn step(&self, world: &World, vote: usize, steps: Steps) -> Option<(&'static str, World)> {
        let gateway = self.votes[vote].gateway;
        if gateway == 0 && world.first_gateway == Process::Gone {
            return None;
        }
        let is_free = world.lock.is_none_or(|holder| holder == vote);
        let to = |phase| world.with(|world| world.votes[vote] = phase);
        Some(match world.votes[vote].clone() {
            Phase::Waiting => ("begins", to(Phase::Begun { now: world.now(gateway) })),
            Phase::Begun { now } if steps.locking == Locking::Never => ("looks", to(Phase::Locked { now })),
            Phase::Begun { .. } if !is_free => return None,
            Phase::Begun { now } => {
                let locked = |world: &mut World| {
                    (world.lock, world.votes[vote]) = (Some(vote), Phase::Locked { now });
                };
                ("locks", world.with(locked))
            }
            Phase::Locked { now } => ("reads", to(Phase::Read { now, row: world.row.clone() })),
            Phase::Read { now, row } => {
                let verdict = self.votes[vote].verdict;
                match self.restored(&row).decide(
                    &self.facts(vote),
                    &Persons::default(),
                    verdict,
                    "",
                    moment(now),
                ) {
                    Err(_) => ("is refused", world.with(|world| world.over(vote, Phase::Over))),
                    Ok(standing) => {
                        ("writes", to(Phase::Written { decision: Decision { vote, at: now }, standing }))
                    }
                }
            }
            Phase::Written { decision, standing: State::Pending } => (
                "commits",
                world.with(|world| {
                    world.row.decisions.push(decision);
                    world.over(vote, Phase::Over);
                }),
            ),
            Phase::Written { .. } if !is_free => return None,
            Phase::Written { .. }
                if steps.condition == Condition::Pending && world.row.state != State::Pending =>
            {
                ("rolls back", world.with(|world| world.over(vote, Phase::Over)))
            }
            Phase::Written { decision, standing } => (
                "settles",
                world.with(|world| {
                    world.lock = Some(vote);
                    world.votes[vote] = Phase::Settled { decision, standing };
                }),
            ),
            Phase::Settled { decision, standing } => (
                "commits",
                world.with(|world| {
                    world.row.decisions.push(decision);
                    world.row.state = standing;
                    world.windows += u8::from(standing == State::Approved && self.kind == Kind::Request);
                    world.over(vote, Phase::Over);
                }),
            ),
            Phase::Over => return None,
        })
    }

    /// Everything that may happen next.
    fn next(&self, world: &World, steps: Steps) -> Vec<(String, World)> {
        let mut next = Vec::new();
        for vote in 0..self.votes.len() {
            if let Some((what, after)) = self.step(world, vote, steps) {
                next.push((
                    format!("{} at gateway {} {what}", self.votes[vote].who, self.votes[vote].gateway),
                    after,
                ));
            }
        }
        if world.clock < LAST_MOMENT {
            next.push(("time passes".into(), world.with(|world| world.clock += 1)));
        }
        let settle = |state| world.with(|world| world.settle(steps.condition, state));
        let is_free = world.lock.is_none();
        for gateway in GATEWAYS {
            let runs = gateway == 1 || world.first_gateway != Process::Gone;
            if runs && is_free && world.now(gateway) >= DEADLINE {
                next.push((format!("gateway {gateway} expires"), settle(State::Expired)));
            }
        }
        if self.kind == Kind::Hold && is_free && !world.withdrawn && world.first_gateway == Process::Runs {
            let after = World { withdrawn: true, ..settle(State::Withdrawn) };
            next.push(("gateway 0 withdraws".into(), after));
        }
        match world.first_gateway {
            Process::Runs => next.push((
                "gateway 0 is killed".into(),
                world.with(|world| {
                    world.first_gateway = Process::Gone;
                    for vote in 0..self.votes.len() {
                        if self.votes[vote].gateway == 0 && world.votes[vote] != Phase::Over {
                            world.over(vote, Phase::Waiting);
                        }
                    }
                }),
            )),
            Process::Gone if self.kind == Kind::Request || is_free => {
                let after = match self.kind {
                    Kind::Request => world.clone(),
                    Kind::Hold => settle(State::Withdrawn),
                };
                let after = World { first_gateway: Process::RunsAgain, ..after };
                next.push(("gateway 0 starts again".into(), after));
            }
            Process::Gone | Process::RunsAgain => {}
        }
        next
    }

    /// Whether these people can fill all places, each one of them.
    fn is_met(&self, people: &BTreeSet<(&str, &[&str])>) -> bool {
        fn seat(places: &[&str], people: &[(&str, &[&str])], taken: &mut Vec<usize>) -> bool {
            let Some((place, rest)) = places.split_first() else { return true };
            (0..people.len()).any(|person| {
                if taken.contains(&person) || !people[person].1.contains(place) {
                    return false;
                }
                taken.push(person);
                let seated = seat(rest, people, taken);
                taken.pop();
                seated
            })
        }
        let places: Vec<&str> = self
            .needed
            .iter()
            .flat_map(|(alias, needed)| std::iter::repeat_n(*alias, usize::from(*needed)))
            .collect();
        seat(&places, &people.iter().copied().collect::<Vec<_>>(), &mut Vec::new())
    }

    /// What is wrong with a step.
    fn wrong(&self, before: &World, what: &str, after: &World) -> Option<&'static str> {
        let Row { state, decisions } = &after.row;
        let verdicts = |wanted| {
            let all = decisions.iter().map(|decision| &self.votes[decision.vote]);
            all.filter(move |vote| vote.verdict == wanted).map(|vote| (vote.who, vote.groups)).collect()
        };
        let (yes, no): (BTreeSet<_>, BTreeSet<_>) = (verdicts(Verdict::Approve), verdicts(Verdict::Reject));
        let was_final = before.row.state != State::Pending;
        let is_approved = *state == State::Approved;
        if was_final && *state != before.row.state {
            return Some("a final state changed");
        }
        if was_final && decisions.len() != before.row.decisions.len() {
            return Some("something was decided after the end");
        }
        if decisions.len() != yes.len() + no.len() {
            return Some("one person counts twice");
        }
        if yes.iter().chain(&no).any(|(who, _)| *who == "rob") {
            return Some("the requester has decided");
        }
        if decisions.iter().any(|decision| decision.at >= DEADLINE) {
            return Some("something was decided after the deadline");
        }
        if after.windows != u8::from(is_approved && self.kind == Kind::Request) {
            return Some("there is not one window for one approval");
        }
        if is_approved && (!self.is_met(&yes) || !no.is_empty()) {
            return Some("it is approved without the people who are needed");
        }
        if *state == State::Pending && (self.is_met(&yes) || !no.is_empty()) {
            return Some("all is said and nothing follows");
        }
        if (*state == State::Rejected) == no.is_empty() {
            return Some("a rejection and a rejected approval do not come together");
        }
        (what.ends_with("expires") && *state == State::Pending).then_some("it is pending after its end")
    }

    /// Looks at everything that can happen.
    fn search(&self, steps: Steps) -> Seen {
        let mut known = HashMap::from([(World::begin(), 0)]);
        let mut from: Vec<Option<(usize, String)>> = vec![None];
        let mut left = VecDeque::from([World::begin()]);
        let mut seen = Seen::default();
        while let Some(world) = left.pop_front() {
            let number = known[&world];
            for (what, after) in self.next(&world, steps) {
                if let Some(wrong) = self.wrong(&world, &what, &after) {
                    // What follows from a mistake is not looked into.
                    seen.wrong.entry(wrong).or_insert_with(|| way(&from, number, what));
                    continue;
                }
                seen.states.insert(after.row.state.as_str());
                if !known.contains_key(&after) {
                    known.insert(after.clone(), from.len());
                    from.push(Some((number, what)));
                    left.push_back(after);
                }
            }
        }
        seen.worlds = from.len();
        seen
    }
}

/// The steps from the beginning up to the last one.
fn way(from: &[Option<(usize, String)>], mut number: usize, last: String) -> String {
    let mut way = vec![last];
    while let Some((before, what)) = &from[number] {
        way.push(what.clone());
        number = *before;
    }
    way.reverse();
    way.join(", ")
}

/// What a search came past.
#[derive(Default)]
struct Seen {
    worlds: usize,
    states: BTreeSet<&'static str>,
    /// What is wrong, and the shortest way to it.
    wrong: BTreeMap<&'static str, String>,
}

const fn vote(who: &'static str, groups: &'static [&'static str], gateway: usize) -> Vote {
    Vote { who, provider: "corp", groups, gateway, verdict: Verdict::Approve }
}

fn scenarios() -> Vec<Scenario> {
    let of = |kind| {
        [
            Scenario {
                name: "three approve at once, two are needed",
                kind,
                needed: &[("dba", 2)],
                votes: [vote("ann", &["dba"], 0), vote("bob", &["dba"], 1), vote("cid", &["dba"], 0)],
            },
            Scenario {
                name: "one of them under two providers' names",
                kind,
                needed: &[("dba", 2)],
                votes: [
                    vote("ann", &["dba"], 0),
                    Vote { provider: "partner", ..vote("ann", &["dba"], 1) },
                    vote("bob", &["dba"], 1),
                ],
            },
            Scenario {
                name: "one rejects, and the requester approves by another road",
                kind,
                needed: &[("dba", 1)],
                votes: [
                    vote("ann", &["dba"], 0),
                    Vote { verdict: Verdict::Reject, ..vote("bob", &["dba"], 1) },
                    Vote { provider: "partner", ..vote("rob", &["dba"], 1) },
                ],
            },
            Scenario {
                name: "one is in both groups",
                kind,
                needed: &[("dba", 1), ("security", 1)],
                votes: [
                    vote("ann", &["dba", "security"], 0),
                    vote("bob", &["dba"], 1),
                    vote("cid", &["security"], 1),
                ],
            },
        ]
    };
    of(Kind::Request).into_iter().chain(of(Kind::Hold)).collect()
}

#[test]
fn every_order_of_events_has_one_end() {
    let mut states = BTreeSet::new();
    for scenario in scenarios() {
        let seen = scenario.search(AS_THEY_ARE);
        assert_eq!(seen.wrong, BTreeMap::new(), "{} {:?}", scenario.name, scenario.kind);
        // Less would mean that something never happens.
        assert!(seen.worlds > 2_000, "{} {:?}: {} worlds", scenario.name, scenario.kind, seen.worlds);
        states.extend(seen.states);
    }
    assert_eq!(states, ["approved", "expired", "pending", "rejected", "withdrawn"].into());
}

/// What goes wrong somewhere when the store takes other steps.
fn wrong(steps: Steps) -> BTreeSet<&'static str> {
    scenarios().into_iter().flat_map(|scenario| scenario.search(steps).wrong.into_keys()).collect()
}

#[test]
fn without_the_lock_a_mistake_is_found() {
    let found = wrong(Steps { locking: Locking::Never, ..AS_THEY_ARE });
    for expected in
        ["one person counts twice", "all is said and nothing follows", "something was decided after the end"]
    {
        assert!(found.contains(expected), "{found:?}");
    }
}

#[test]
fn without_the_condition_a_mistake_is_found() {
    let found = wrong(Steps { condition: Condition::Missing, ..AS_THEY_ARE });
    assert_eq!(found, ["a final state changed"].into());
}
