//! The rules of approvals as a table, and as properties of every possible history.

use super::*;
use crate::grant::testing::{facts, group};
use crate::identity::Audience;
use crate::name::{HoldId, ProviderName, TargetName, WindowId};
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn requirement(alias: &str, needed: u8) -> Requirement {
    Requirement {
        approvers: GroupAlias::new(alias).unwrap(),
        members: vec![group("corp", alias, alias), group("partner", alias, alias)],
        needed,
        stage: 0,
    }
}

fn staged(alias: &str, needed: u8, stage: u8) -> Requirement {
    Requirement { stage, ..requirement(alias, needed) }
}

fn matter() -> Matter {
    Matter::Operation(OperationTerms {
        target: TargetName::new("db").unwrap(),
        window: WindowId::new(uuid::Uuid::from_u128(1)),
        summary: "DELETE FROM customers WHERE id = $1".into(),
        digest: Digest([7; 32]),
        risk: 80,
        findings: vec![],
        reason: "deletes".into(),
    })
}

fn ask(requirements: Vec<Requirement>) -> Approval {
    let requester = facts("corp", "agent", CallerKind::Agent, &[]).principal;
    Approval::ask(requester, matter(), requirements, at(0), Duration::from_secs(60)).unwrap()
}

fn human(object: &str, groups: &[&str]) -> IdentityFacts {
    facts("corp", object, CallerKind::Human, groups)
}

/// Nothing is told about persons.
fn nobody_told() -> Persons {
    Persons::default()
}

fn approve(approval: &mut Approval, who: &IdentityFacts, seconds: i64) -> Result<State, ApprovalProblem> {
    approval.decide(who, &nobody_told(), Verdict::Approve, "", at(seconds))
}

#[test]
fn one_of_the_group_is_enough_when_one_is_needed() {
    let mut approval = ask(vec![requirement("dba", 1)]);
    assert_eq!(approval.missing(), 1);
    assert_eq!(approve(&mut approval, &human("ann", &["dba"]), 59), Ok(State::Approved));
    assert_eq!(approval.approved_by(), vec![human("ann", &[]).principal]);
    assert_eq!(
        approve(&mut approval, &human("bob", &["dba"]), 59),
        Err(ApprovalProblem::Final(State::Approved))
    );
}

#[test]
fn a_later_stage_is_asked_when_the_earlier_ones_are_met() {
    let stages = || vec![staged("lead", 1, 2), staged("dba", 2, 1)];
    let (lead, ann, bob) = (human("lee", &["lead"]), human("ann", &["dba"]), human("bob", &["dba", "lead"]));
    let mut approval = ask(stages());
    // Neither yes nor no, and what is not yet theirs to decide is not shown to them.
    for verdict in [Verdict::Approve, Verdict::Reject] {
        let early = approval.decide(&lead, &Persons::default(), verdict, "", at(1));
        assert_eq!(early, Err(ApprovalProblem::NotAnApprover));
    }
    assert_eq!(approve(&mut approval, &bob, 1), Ok(State::Pending));
    assert_eq!(
        approve(&mut approval, &lead, 2),
        Err(ApprovalProblem::NotAnApprover),
        "one of two is missing"
    );
    assert_eq!(approve(&mut approval, &ann, 3), Ok(State::Pending));
    assert_eq!(approval.missing(), 1);
    assert_eq!(
        approve(&mut approval, &bob, 4),
        Err(ApprovalProblem::Twice),
        "one person counts in one stage"
    );
    assert_eq!(approve(&mut approval, &lead, 5), Ok(State::Approved));
    // Who was asked first may still say no while the second stage is asked.
    let mut approval = ask(vec![staged("dba", 1, 1), staged("lead", 1, 2)]);
    assert_eq!(approve(&mut approval, &ann, 1), Ok(State::Pending));
    let dan = human("dan", &["dba"]);
    assert_eq!(approve(&mut approval.clone(), &dan, 2), Ok(State::Pending), "that stage has all it needs");
    assert_eq!(approval.decide(&dan, &Persons::default(), Verdict::Reject, "", at(2)), Ok(State::Rejected));
    // Rows of a version without stages are of one stage.
    let old = r#"{"approvers":"dba","members":[],"needed":1}"#;
    assert_eq!(serde_json::from_str::<Requirement>(old).unwrap().stage, 0);
}

#[test]
fn only_a_person_at_a_plain_client_decides() {
    for kind in [
        CallerKind::Agent,
        CallerKind::AgentUser,
        CallerKind::Workload,
        CallerKind::HumanThroughAgent,
        CallerKind::Unknown,
    ] {
        let mut approval = ask(vec![requirement("dba", 1)]);
        let caller = facts("corp", "ann", kind, &["dba"]);
        for verdict in [Verdict::Approve, Verdict::Reject] {
            let answer = approval.decide(&caller, &nobody_told(), verdict, "", at(1));
            assert_eq!(answer, Err(ApprovalProblem::NotAPerson(kind)));
        }
    }
}

#[test]
fn nobody_approves_their_own_request_by_any_road() {
    let requester = human("ann", &[]).principal;
    for mut ann in [
        human("ann", &["dba"]),
        facts("partner", "ann", CallerKind::Human, &["dba"]),
        facts("partner", "ANN", CallerKind::Human, &["dba"]),
    ] {
        ann.actor = "another-client".into();
        let mut approval = Approval::ask(
            requester.clone(),
            matter(),
            vec![requirement("dba", 1)],
            at(0),
            Duration::from_secs(60),
        )
        .unwrap();
        assert_eq!(approve(&mut approval, &ann, 1), Err(ApprovalProblem::OwnRequest));
        assert_eq!(approval.state(at(1)), State::Pending);
    }
}

#[test]
fn one_person_with_several_principals_neither_approves_their_own_nor_counts_twice() {
    let ann = ["corp", "partner", "hub"].map(|provider| {
        let object = if provider == "corp" { "ann" } else { "another-id" };
        facts(provider, object, CallerKind::Human, &["dba"])
    });
    let principals = ann.clone().map(|facts| facts.principal);
    let persons = Persons::new([&principals[..]], Default::default());
    let needed = |needed| {
        let mut requirement = requirement("dba", needed);
        requirement.members.push(group("hub", "dba", "dba"));
        vec![requirement]
    };
    for requester in &principals {
        for who in &ann {
            let patience = Duration::from_secs(60);
            let mut approval =
                Approval::ask(requester.clone(), matter(), needed(1), at(0), patience).unwrap();
            let answer = approval.decide(who, &persons, Verdict::Approve, "", at(1));
            assert_eq!(answer, Err(ApprovalProblem::OwnRequest), "{requester} {}", who.principal);
        }
    }
    let (first, others) = ann.split_first().unwrap();
    let mut approval = ask(needed(2));
    assert_eq!(approval.decide(first, &persons, Verdict::Approve, "", at(1)), Ok(State::Pending));
    for who in others {
        for verdict in [Verdict::Approve, Verdict::Reject] {
            let answer = approval.decide(who, &persons, verdict, "", at(2));
            assert_eq!(answer, Err(ApprovalProblem::Twice), "{}", who.principal);
        }
    }
    let bob = human("bob", &["dba"]);
    assert_eq!(approval.decide(&bob, &persons, Verdict::Approve, "", at(3)), Ok(State::Approved));
}

#[test]
fn a_credential_for_asking_decides_nothing_where_approvers_have_their_own() {
    let persons = Persons::new([], [ProviderName::new("corp").unwrap()].into());
    let asking = human("ann", &["dba"]);
    let approving = IdentityFacts { audience: Audience::Approvers, ..asking.clone() };
    let mut approval = ask(vec![requirement("dba", 1)]);
    for verdict in [Verdict::Approve, Verdict::Reject] {
        let answer = approval.decide(&asking, &persons, verdict, "", at(1));
        assert_eq!(answer, Err(ApprovalProblem::NotForApproving));
    }
    // An agent with the right one is still an agent.
    let agent = IdentityFacts { kind: CallerKind::Agent, ..approving.clone() };
    let answer = approval.decide(&agent, &persons, Verdict::Approve, "", at(1));
    assert_eq!(answer, Err(ApprovalProblem::NotAPerson(CallerKind::Agent)));
    let answer = approval.decide(&approving, &persons, Verdict::Approve, "", at(1));
    assert_eq!(answer, Ok(State::Approved));
}

#[test]
fn a_person_counts_once() {
    let mut approval = ask(vec![requirement("dba", 2)]);
    assert_eq!(approve(&mut approval, &human("ann", &["dba"]), 1), Ok(State::Pending));
    assert_eq!(approve(&mut approval, &human("ann", &["dba"]), 2), Err(ApprovalProblem::Twice));
    let elsewhere = facts("partner", "ann", CallerKind::Human, &["dba"]);
    assert_eq!(approve(&mut approval, &elsewhere, 2), Err(ApprovalProblem::Twice));
    assert_eq!(
        approval.decide(&elsewhere, &nobody_told(), Verdict::Reject, "", at(2)),
        Err(ApprovalProblem::Twice)
    );
    assert_eq!(approve(&mut approval, &human("bob", &["dba"]), 3), Ok(State::Approved));
}

#[test]
fn a_person_in_two_groups_stands_for_one_of_them() {
    let mut approval = ask(vec![requirement("dba", 1), requirement("security", 1)]);
    assert_eq!(approve(&mut approval, &human("ann", &["dba", "security"]), 1), Ok(State::Pending));
    assert_eq!(approval.missing(), 1);
    // Ann may move to the other group, so a second person of either group completes it.
    let mut other = approval.clone();
    assert_eq!(approve(&mut approval, &human("bob", &["dba"]), 2), Ok(State::Approved));
    assert_eq!(approve(&mut other, &human("bob", &["security"]), 2), Ok(State::Approved));
}

#[test]
fn only_members_of_the_right_group_of_the_right_provider_decide() {
    let mut approval = ask(vec![requirement("dba", 1)]);
    for stranger in
        [human("bob", &["ops"]), human("bob", &[]), facts("elsewhere", "bob", CallerKind::Human, &["dba"])]
    {
        assert_eq!(approve(&mut approval, &stranger, 1), Err(ApprovalProblem::NotAnApprover));
        // An outsider does not even learn that it is over.
        assert_eq!(approve(&mut approval, &stranger, 100), Err(ApprovalProblem::NotAnApprover));
    }
}

#[test]
fn one_rejection_ends_it_and_says_why() {
    let mut approval = ask(vec![requirement("dba", 2)]);
    assert_eq!(approve(&mut approval, &human("ann", &["dba"]), 1), Ok(State::Pending));
    let answer =
        approval.decide(&human("bob", &["dba"]), &nobody_told(), Verdict::Reject, "no ticket", at(2));
    assert_eq!(answer, Ok(State::Rejected));
    assert_eq!(approval.rejection().unwrap().comment, "no ticket");
    let late = approve(&mut approval, &human("eve", &["dba"]), 3);
    assert_eq!(late, Err(ApprovalProblem::Final(State::Rejected)));
}

#[test]
fn the_deadline_is_the_first_moment_that_is_too_late() {
    let mut approval = ask(vec![requirement("dba", 1)]);
    assert_eq!(approval.state(at(60)), State::Expired);
    assert_eq!(approve(&mut approval, &human("ann", &["dba"]), 60), Err(ApprovalProblem::TooLate));
    // Once seen, it stays expired, even if a clock goes back.
    assert_eq!(approval.state(at(1)), State::Expired);
    let mut approval = ask(vec![requirement("dba", 1)]);
    assert_eq!(approve(&mut approval, &human("ann", &["dba"]), 59), Ok(State::Approved));
    assert_eq!(approval.state(at(100)), State::Approved);
}

#[test]
fn what_nobody_could_approve_cannot_be_asked() {
    let requester = human("agent", &[]).principal;
    let ask = |requirements, seconds| {
        let patience = Duration::from_secs(seconds);
        Approval::ask(requester.clone(), matter(), requirements, at(0), patience).unwrap_err()
    };
    assert_eq!(ask(vec![], 60), AskProblem::Requirements);
    assert_eq!(ask(vec![requirement("dba", 0)], 60), AskProblem::Requirements);
    assert_eq!(ask(vec![requirement("dba", 17)], 60), AskProblem::Requirements);
    assert_eq!(ask(vec![requirement("dba", 1); 9], 60), AskProblem::Requirements);
    assert_eq!(ask(vec![requirement("dba", 1)], 0), AskProblem::Deadline);
    assert_eq!(ask(vec![requirement("dba", 1)], 86_401), AskProblem::Deadline);
    let mut nobody = requirement("dba", 1);
    nobody.members.clear();
    assert_eq!(ask(vec![nobody], 60), AskProblem::Requirements);
}

#[test]
fn a_comment_is_short_plain_text() {
    for bad in ["x".repeat(501), "\u{1b}[2J".into(), "a\0b".into(), "\u{202e}gpj".into()] {
        let mut approval = ask(vec![requirement("dba", 1)]);
        let answer = approval.decide(&human("ann", &["dba"]), &nobody_told(), Verdict::Approve, &bad, at(1));
        assert_eq!(answer, Err(ApprovalProblem::Comment));
        assert_eq!(approval.missing(), 1);
    }
}

#[test]
fn ids_and_digests_have_one_spelling() {
    let digest = Digest([0xab; 32]);
    assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
    for bad in ["", &"A".repeat(64), &"é".repeat(32), &"0".repeat(63), &"0".repeat(65)] {
        assert!(Digest::try_from(bad.to_owned()).is_err(), "{bad}");
    }
    let hold = HoldId::new(uuid::Uuid::from_u128(5));
    assert_eq!(hold.to_string().parse(), Ok(ApprovalId::Hold(hold)));
    assert!("win_00000000000000000000000000000005".parse::<ApprovalId>().is_err());
}

/// Whether the voters can be spread over the places, by trying everything.
fn spread(voters: &[Vec<usize>], open: &mut [usize]) -> bool {
    if open.iter().all(|needed| *needed == 0) {
        return true;
    }
    let Some((first, rest)) = voters.split_first() else { return false };
    for &group in first {
        if open[group] > 0 {
            open[group] -= 1;
            if spread(rest, open) {
                return true;
            }
            open[group] += 1;
        }
    }
    spread(rest, open)
}

proptest! {
    #[test]
    fn no_history_breaks_a_rule(
        needed in proptest::collection::vec(1u8..3, 1..4),
        steps in proptest::collection::vec((0u8..6, 0u8..8, 0u8..6, any::<bool>(), 0u8..12, 0i64..70), 0..14),
    ) {
        let aliases = ["g0", "g1", "g2"];
        let requirements: Vec<_> =
            needed.iter().zip(aliases).map(|(needed, alias)| requirement(alias, *needed)).collect();
        let requester = facts("corp", "p0", CallerKind::Human, &[]).principal;
        let mut approval =
            Approval::ask(requester, matter(), requirements, at(0), Duration::from_secs(60)).unwrap();
        let kinds = [
            CallerKind::Human, CallerKind::Human, CallerKind::Human, CallerKind::Agent, CallerKind::AgentUser,
            CallerKind::HumanThroughAgent,
        ];
        let mut yes: Vec<(String, Vec<usize>)> = Vec::new();
        let mut clock = 0;
        for (person, member, kind, partner, verdict, moment) in steps {
            clock = clock.max(moment);
            let groups: Vec<&str> =
                aliases.iter().enumerate().filter(|(bit, _)| member >> bit & 1 == 1).map(|(_, g)| *g).collect();
            let provider = if partner { "partner" } else { "corp" };
            let caller = facts(provider, &format!("p{person}"), kinds[usize::from(kind)], &groups);
            let verdict = if verdict == 0 { Verdict::Reject } else { Verdict::Approve };
            let before = approval.clone();
            match approval.decide(&caller, &nobody_told(), verdict, "", at(clock)) {
                Err(_) => prop_assert_eq!(approval.decisions(), before.decisions()),
                Ok(state) => {
                    prop_assert_eq!(before.state(at(clock)), State::Pending);
                    prop_assert!(person != 0 && caller.kind == CallerKind::Human && clock < 60);
                    let name = format!("p{person}");
                    prop_assert!(yes.iter().all(|(other, _)| *other != name));
                    if verdict == Verdict::Reject {
                        prop_assert_eq!(state, State::Rejected);
                    } else {
                        let through = (0..needed.len()).filter(|group| member >> group & 1 == 1).collect();
                        yes.push((name, through));
                        let voters: Vec<_> = yes.iter().map(|(_, through)| through.clone()).collect();
                        let mut open: Vec<usize> = needed.iter().map(|needed| usize::from(*needed)).collect();
                        let met = spread(&voters, &mut open);
                        prop_assert_eq!(state, if met { State::Approved } else { State::Pending });
                    }
                }
            }
            let final_before = before.state(at(clock)) != State::Pending;
            prop_assert!(!final_before || before.state(at(clock)) == approval.state(at(clock)));
        }
    }
}
