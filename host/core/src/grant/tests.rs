//! Grants, by tables.

use super::*;
use crate::grant::testing::{facts, group};
use crate::identity::Groups;
use crate::name::{Principal, ProviderName};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

const NOW: Occasion = Occasion { at: Timestamp::UNIX_EPOCH, from: None };

fn grant(to: Vec<Subject>, when: When, minutes: u64) -> Grant {
    Grant {
        target: TargetName::new("db").unwrap(),
        to,
        kinds: None,
        only: Conditions::default(),
        ticket: Ticket::Optional,
        when,
        lifetime: Duration::from_secs(60 * minutes),
        amounts: Amounts::default(),
        recorded: Recorded::Yes,
        roles: vec![],
        line: 1,
    }
}

#[test]
fn a_grant_for_some_kinds_means_callers_that_are_proved_to_be_of_one() {
    let caller = |kind| IdentityFacts { kind, ..facts("corp", "ann", CallerKind::Human, &["g1"]) };
    let target = TargetName::new("db").unwrap();
    let of = |kinds: &[CallerKind]| Grant {
        kinds: Some(kinds.iter().copied().collect()),
        ..grant(vec![group("corp", "g1", "team")], When::Requested, 15)
    };
    for kinds in [&[CallerKind::Agent] as &[CallerKind], &[CallerKind::Agent, CallerKind::Workload]] {
        for kind in CallerKind::ALL {
            let expected = if kinds.contains(&kind) { Match::Proved } else { Match::NotProved };
            assert_eq!(of(kinds).covers(&caller(kind), &target, &NOW), expected, "{kinds:?} {kind}");
        }
    }
    // The kind alone is not enough.
    let stranger = facts("corp", "bot", CallerKind::Agent, &["g2"]);
    assert_eq!(of(&[CallerKind::Agent]).covers(&stranger, &target, &NOW), Match::NotProved);
    assert_eq!(of(&[]).check(), Err(GrantProblem::NoKind(target)));
}

#[test]
fn several_grants_give_only_the_roles_that_all_of_them_name() {
    let role = |name: &str| RoleName::new(name).unwrap();
    let with = |names: &[&str]| Grant {
        roles: names.iter().map(|name| role(name)).collect(),
        ..grant(vec![group("corp", "g1", "team")], When::Requested, 15)
    };
    let (reads, writes, both) = (with(&["read"]), with(&["write"]), with(&["read", "write"]));
    assert_eq!(roles_of_all(&[&both]), both.roles);
    assert_eq!(roles_of_all(&[&both, &reads]), [role("read")]);
    assert_eq!(roles_of_all(&[&writes, &both]), [role("write")]);
    assert_eq!(roles_of_all(&[&reads, &writes]), []);
    assert_eq!(roles_of_all(&[]), []);
}

fn approved() -> When {
    When::Approved {
        requirements: vec![Requirement {
            approvers: GroupAlias::new("dba").unwrap(),
            members: vec![group("corp", "g-dba", "dba")],
            needed: 1,
            stage: 0,
        }],
        patience: Duration::from_secs(600),
    }
}

#[test]
fn a_group_of_another_provider_and_unknown_groups_prove_nothing() {
    let subject = group("corp", "g1", "team");
    let mut caller = facts("corp", "alice", CallerKind::Agent, &["g1"]);
    assert_eq!(subject.matches(&caller), Match::Proved);
    assert_eq!(group("other", "g1", "team").matches(&caller), Match::NotProved);
    assert_eq!(group("corp", "G1", "team").matches(&caller), Match::NotProved);
    caller.groups = Groups::Unknown;
    assert_eq!(subject.matches(&caller), Match::NotProved);
}

#[test]
fn a_role_is_only_held_by_an_application() {
    let role = Subject::Role { provider: ProviderName::new("corp").unwrap(), role: "Run".into() };
    for (kind, expected) in [
        (CallerKind::Agent, Match::Proved),
        (CallerKind::Workload, Match::Proved),
        (CallerKind::AgentUser, Match::NotProved),
        (CallerKind::Human, Match::NotProved),
        (CallerKind::HumanThroughAgent, Match::NotProved),
        (CallerKind::Unknown, Match::NotProved),
    ] {
        let mut caller = facts("corp", "app", kind, &[]);
        caller.roles.insert("Run".into());
        assert_eq!(role.matches(&caller), expected, "{kind}");
        caller.provider = ProviderName::new("other").unwrap();
        assert_eq!(role.matches(&caller), Match::NotProved, "{kind} of another provider");
    }
}

#[test]
fn a_principal_is_matched_whole() {
    let subject = Subject::Principal(Principal::new("corp/t/alice").unwrap());
    assert_eq!(subject.matches(&facts("corp", "alice", CallerKind::Agent, &[])), Match::Proved);
    assert_eq!(subject.matches(&facts("other", "alice", CallerKind::Agent, &[])), Match::NotProved);
}

#[test]
fn the_grant_that_asks_nobody_is_chosen_then_the_longer_one() {
    let to = vec![group("corp", "g1", "team")];
    let grants = [
        grant(to.clone(), approved(), 240),
        grant(to.clone(), When::Requested, 15),
        grant(to, When::Requested, 30),
    ];
    let caller = facts("corp", "a", CallerKind::Agent, &["g1"]);
    let target = TargetName::new("db").unwrap();
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    let covering = |facts: &IdentityFacts, target: &TargetName| -> Vec<&Grant> {
        grants.iter().filter(|grant| grant.covers(facts, target, &NOW) == Match::Proved).collect()
    };
    assert_eq!(choose(covering(&caller, &target), None, NOW.at), Choice::Grant(&grants[2]));
    assert_eq!(choose(covering(&caller, &target), minutes(10), NOW.at), Choice::Grant(&grants[2]));
    assert_eq!(choose(covering(&caller, &target), minutes(31), NOW.at), Choice::Grant(&grants[0]));
    assert_eq!(
        choose(covering(&caller, &target), minutes(241), NOW.at),
        Choice::TooLong(Duration::from_secs(240 * 60))
    );
    let other = TargetName::new("other").unwrap();
    assert_eq!(choose(covering(&caller, &other), None, NOW.at), Choice::NoGrant);
    let stranger = facts("corp", "b", CallerKind::Agent, &["g2"]);
    assert_eq!(choose(covering(&stranger, &target), None, NOW.at), Choice::NoGrant);
}

#[test]
fn a_window_is_backed_by_what_would_open_it_again() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let window = |opened, target: &str, length| {
        let of = crate::window::WindowOf {
            id: crate::name::WindowId::new(uuid::Uuid::from_u128(1)),
            principal: Principal::new("corp/t/a").unwrap(),
            target: TargetName::new(target).unwrap(),
            opened,
        };
        Window::open(of, crate::Timestamp::UNIX_EPOCH, length, length).unwrap()
    };
    let to = || vec![group("corp", "g1", "team")];
    for (when, opened, target, length, expected) in [
        (When::Requested, Opened::Requested, "db", 15, Backing::Backed),
        (When::Requested, Opened::Approved, "db", 15, Backing::Backed),
        (approved(), Opened::Approved, "db", 15, Backing::Backed),
        (approved(), Opened::Requested, "db", 15, Backing::NotBacked),
        (When::Requested, Opened::Requested, "db", 16, Backing::NotBacked),
        (When::Requested, Opened::Requested, "other", 15, Backing::NotBacked),
    ] {
        let grant = grant(to(), when, 15);
        assert_eq!(grant.backs(&window(opened, target, minutes(length))), expected, "{opened:?} {length}");
    }
}

#[test]
fn a_grant_that_could_not_work_is_no_grant() {
    let to = || vec![group("corp", "g1", "team")];
    assert_eq!(grant(to(), approved(), 15).check(), Ok(()));
    let text = |grant: Grant| grant.check().unwrap_err().to_string();
    assert!(text(grant(vec![], When::Requested, 15)).contains("to nobody"));
    assert!(text(grant(to(), When::Requested, 0)).contains("lifetime"));
    assert!(text(grant(to(), When::Requested, 7 * 24 * 60 + 1)).contains("lifetime"));
    let when = When::Approved { requirements: vec![], patience: Duration::from_secs(60) };
    assert!(text(grant(to(), when, 15)).contains("approver groups"));
    let When::Approved { mut requirements, .. } = approved() else { unreachable!() };
    let role = RoleName::new("reads").unwrap();
    let many = Grant { roles: vec![role; MAX_ROLES + 1], ..grant(to(), When::Requested, 15) };
    assert!(text(many).contains("roles"));
    requirements[0].needed = 0;
    let when = When::Approved { requirements, patience: Duration::from_secs(60) };
    assert!(text(grant(to(), when, 15)).contains("approver groups"));
}

#[test]
fn everybody_of_a_provider_is_whom_it_vouches_for() {
    let all = Subject::Provider(ProviderName::new("corp").unwrap());
    assert_eq!(all.matches(&facts("corp", "a", CallerKind::Workload, &[])), Match::Proved);
    assert_eq!(all.matches(&facts("other", "a", CallerKind::Workload, &[])), Match::NotProved);
    assert_eq!(all.to_string(), "provider:corp");
}

/// 1970-01-01 was a Thursday.
#[test]
fn a_window_by_policy_ends_with_the_hours_and_people_may_decide_later() {
    let hours = Hours::new(TimeZone::UTC, &[Weekday::Thursday], 0, 10).unwrap();
    let only = || Conditions { hours: Some(hours.clone()), ..Conditions::default() };
    let to = || vec![group("corp", "g1", "team")];
    let by_policy = Grant { only: only(), ..grant(to(), When::Requested, 15) };
    let by_people = Grant { only: only(), ..grant(to(), approved(), 15) };
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    assert_eq!(by_policy.longest(at(0)), minutes(10));
    assert_eq!(by_policy.longest(at(60)), minutes(9));
    assert_eq!(by_policy.longest(at(600)), Duration::ZERO);
    assert_eq!(by_people.longest(at(60)), minutes(15));
    let wanted = Some(minutes(10));
    assert_eq!(choose([&by_policy], wanted, at(0)), Choice::Grant(&by_policy));
    assert_eq!(choose([&by_policy], wanted, at(1)), Choice::TooLong(Duration::from_secs(599)));
    let last = Timestamp::from_millisecond(599_500).unwrap();
    assert_eq!(
        choose([&by_policy], None, last),
        Choice::TooLong(Duration::ZERO),
        "not even a second is left"
    );
    assert_eq!(choose([&by_policy, &by_people], wanted, at(1)), Choice::Grant(&by_people));
    let member = facts("corp", "a", CallerKind::Agent, &["g1"]);
    let judge = |seconds| by_policy.judge(&member, &by_policy.target, &at(seconds).into());
    assert_eq!(judge(1), Ok(Some(at(600))));
    assert_eq!(judge(600), Err(Mismatch::Unmet(Unmet::Hours)));
    assert_eq!(by_people.covers(&member, &by_people.target, &at(600).into()), Match::NotProved);
}

#[test]
fn amounts_and_networks_have_bounds() {
    let to = || vec![group("corp", "g1", "team")];
    let text = |grant: Grant| grant.check().unwrap_err().to_string();
    let none = Amounts { windows_per_day: Some(0), ..Amounts::default() };
    assert!(text(Grant { amounts: none, ..grant(to(), When::Requested, 15) }).contains("counts windows"));
    let networks = vec!["10.0.0.0/8".parse().unwrap(); MAX_NETWORKS + 1];
    let only = Conditions { networks, ..Conditions::default() };
    assert!(text(Grant { only, ..grant(to(), When::Requested, 15) }).contains("networks"));
}
