//! Approvals: one model for access requests and for held operations.
//!
//! Somebody asked (the requester), something exact was asked for (the matter), some people have to say yes (the
//! requirements) before a deadline. The rules are here and nowhere else; the store only makes them happen one at a time:
//!
//! - only a person at a plain client decides, never an agent, never a workload, never what is unknown;
//! - where approvers have a registration of their own, only with a credential for that;
//! - never the requester, also not through another provider of the same tenant, nor by another of their principals;
//! - one person counts once, for one requirement, however many groups they are in;
//! - where approvers come in stages, nobody of a later one decides before the earlier ones are met;
//! - one rejection ends it; after the deadline nothing is decided; a final state never changes.

use crate::Timestamp;
use crate::grant::{MAX_NEEDED, MAX_PATIENCE, MAX_REQUIREMENTS, Match, Requirement, Subject, any_matches};
use crate::identity::{CallerKind, IdentityFacts};
use crate::name::{GroupAlias, Principal};
use crate::window::{after, microseconds};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

mod count;
mod matter;
#[cfg(test)]
mod model;
mod persons;
#[cfg(test)]
mod tests;
mod told;

pub use matter::{ApprovalId, Digest, DigestError, Matter, OperationTerms, WindowTerms};
pub use persons::{NO_TENANT, Persons, person, person_key};
pub use told::{Told, ToldError};

/// The longest comment of an approver, in characters.
pub const MAX_COMMENT_CHARS: usize = 500;

/// Decisions kept on one approval: more than any requirement needs, and a bound for its row and its counting.
pub const MAX_DECISIONS: usize = 64;

/// Where an approval stands. All but `Pending` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for people.
    Pending,
    /// All requirements are met.
    Approved,
    /// Somebody said no.
    Rejected,
    /// The deadline passed.
    Expired,
    /// Nobody waits for it any more.
    Withdrawn,
}

impl State {
    /// The word in records, in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Approved => "approved",
            State::Rejected => "rejected",
            State::Expired => "expired",
            State::Withdrawn => "withdrawn",
        }
    }

    /// The state of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [State::Pending, State::Approved, State::Rejected, State::Expired, State::Withdrawn]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No; this ends it.
    Reject,
}

impl Verdict {
    /// The word in records, in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Approve => "approve",
            Verdict::Reject => "reject",
        }
    }
}

/// What one person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Who.
    pub by: Principal,
    /// What.
    pub verdict: Verdict,
    /// In their words; may be empty.
    pub comment: String,
    /// When.
    pub at: Timestamp,
    /// The requirements that they were proved to belong to when they decided.
    pub through: Vec<GroupAlias>,
}

/// Why a decision was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalProblem {
    /// Agents, workloads and unknown callers.
    #[error("only a person may decide, signed in with a plain client; this credential is of kind {0}")]
    NotAPerson(CallerKind),
    /// A credential for asking, where approvers have one of their own.
    #[error("this credential is for asking, not for approving; sign in as approvers do")]
    NotForApproving,
    /// The requester.
    #[error("nobody decides on their own request")]
    OwnRequest,
    /// Somebody else.
    #[error("you are not one of its approvers")]
    NotAnApprover,
    /// A final state.
    #[error("it is already {0}")]
    Final(State),
    /// After the deadline.
    #[error("its deadline has passed")]
    TooLate,
    /// The second decision of one person.
    #[error("you have already decided; one person counts once")]
    Twice,
    /// Too long, or with control characters.
    #[error("a comment has at most 500 characters and no control characters")]
    Comment,
    /// More approvals than anybody needs.
    #[error("it already has as many decisions as it can hold")]
    TooMany,
}

/// Why an approval cannot be asked for. It would wait for nobody, for ever, or for too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskProblem {
    /// No requirement, or one that cannot be counted.
    #[error("it needs 1 to 8 approver groups, each with 1 to 16 persons")]
    Requirements,
    /// No deadline.
    #[error("it must end after 1 second to 24 hours")]
    Deadline,
}

/// Something that people have to approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    requester: Principal,
    matter: Matter,
    requirements: Vec<Requirement>,
    asked: Timestamp,
    deadline: Timestamp,
    decisions: Vec<Decided>,
    state: State,
}

/// The parts of a stored approval.
#[derive(Debug, Clone)]
pub struct ApprovalParts {
    /// Who asked.
    pub requester: Principal,
    /// For what.
    pub matter: Matter,
    /// Who has to say yes.
    pub requirements: Vec<Requirement>,
    /// When.
    pub asked: Timestamp,
    /// Until when.
    pub deadline: Timestamp,
    /// What was decided, in order.
    pub decisions: Vec<Decided>,
    /// Where it stands.
    pub state: State,
}

impl Approval {
    /// Asks. Something that needs nobody's approval cannot be asked for: fails closed.
    pub fn ask(
        requester: Principal,
        matter: Matter,
        requirements: Vec<Requirement>,
        now: Timestamp,
        patience: Duration,
    ) -> Result<Self, AskProblem> {
        let countable =
            requirements.iter().all(|one| (1..=MAX_NEEDED).contains(&one.needed) && !one.members.is_empty());
        if !countable || !(1..=MAX_REQUIREMENTS).contains(&requirements.len()) {
            return Err(AskProblem::Requirements);
        }
        if patience < Duration::from_secs(1) || patience > MAX_PATIENCE {
            return Err(AskProblem::Deadline);
        }
        let asked = microseconds(now);
        let deadline = after(asked, patience).ok_or(AskProblem::Deadline)?;
        let decisions = Vec::new();
        Ok(Approval { requester, matter, requirements, asked, deadline, decisions, state: State::Pending })
    }

    /// What the policy answered itself, kept in the same form as what people answer.
    pub fn by_policy(requester: Principal, matter: Matter, now: Timestamp) -> Self {
        let asked = microseconds(now);
        let (requirements, decisions) = (Vec::new(), Vec::new());
        Approval {
            requester,
            matter,
            requirements,
            asked,
            deadline: asked,
            decisions,
            state: State::Approved,
        }
    }

    /// An approval as it was stored.
    pub fn restore(parts: ApprovalParts) -> Self {
        let ApprovalParts { requester, matter, requirements, asked, deadline, decisions, state } = parts;
        Approval { requester, matter, requirements, asked, deadline, decisions, state }
    }

    /// Who asked.
    pub fn requester(&self) -> &Principal {
        &self.requester
    }

    /// For what.
    pub fn matter(&self) -> &Matter {
        &self.matter
    }

    /// Who has to say yes.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Takes the members of every requirement from today's policy, by its alias: who has left a group since it was asked, or
    /// whose group was taken out of the policy, decides no more. An alias without members is met by nobody: fails closed.
    pub fn renew_members(&mut self, members: impl Fn(&GroupAlias) -> Vec<Subject>) {
        self.requirements.iter_mut().for_each(|one| one.members = members(&one.approvers));
    }

    /// When it was asked.
    pub fn asked(&self) -> Timestamp {
        self.asked
    }

    /// The first moment at which nothing is decided any more.
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// What was decided, in order.
    pub fn decisions(&self) -> &[Decided] {
        &self.decisions
    }

    /// Where it stands: what is pending after its deadline has expired, whether or not anybody noted it.
    pub fn state(&self, now: Timestamp) -> State {
        if self.state == State::Pending && now >= self.deadline { State::Expired } else { self.state }
    }

    /// Whether this caller could decide, apart from time and state: what a list of approvals may show them.
    pub fn may_decide(&self, approver: &IdentityFacts, persons: &Persons) -> Result<(), ApprovalProblem> {
        persons.may_approve(approver)?;
        if persons.may_be_same(&self.requester, &approver.principal) {
            return Err(ApprovalProblem::OwnRequest);
        }
        if self.through(approver).is_empty() {
            return Err(ApprovalProblem::NotAnApprover);
        }
        Ok(())
    }

    /// Whether a decision of this caller would count now, whatever its comment. The order of the checks is that of
    /// [`Approval::decide`].
    pub fn could_decide(
        &self,
        approver: &IdentityFacts,
        persons: &Persons,
        now: Timestamp,
    ) -> Result<(), ApprovalProblem> {
        self.may_decide(approver, persons)?;
        match self.state(now) {
            State::Pending => {}
            State::Expired => return Err(ApprovalProblem::TooLate),
            state => return Err(ApprovalProblem::Final(state)),
        }
        if self.decisions.iter().any(|decided| persons.may_be_same(&decided.by, &approver.principal)) {
            return Err(ApprovalProblem::Twice);
        }
        Ok(())
    }

    /// One person decides. The order of the checks is what an outsider may learn: who is no approver does not even learn
    /// whether it is still pending.
    pub fn decide(
        &mut self,
        approver: &IdentityFacts,
        persons: &Persons,
        verdict: Verdict,
        comment: &str,
        now: Timestamp,
    ) -> Result<State, ApprovalProblem> {
        let could = self.could_decide(approver, persons, now);
        if could == Err(ApprovalProblem::TooLate) {
            self.state = State::Expired;
        }
        could?;
        if !is_text(comment, MAX_COMMENT_CHARS) {
            return Err(ApprovalProblem::Comment);
        }
        // A rejection ends it, so it always fits.
        if verdict == Verdict::Approve && self.decisions.len() >= MAX_DECISIONS {
            return Err(ApprovalProblem::TooMany);
        }
        self.decisions.push(Decided {
            by: approver.principal.clone(),
            verdict,
            comment: comment.to_owned(),
            at: microseconds(now),
            through: self.through(approver),
        });
        self.state = match verdict {
            Verdict::Reject => State::Rejected,
            Verdict::Approve if self.missing() == 0 => State::Approved,
            Verdict::Approve => State::Pending,
        };
        Ok(self.state)
    }

    /// Persons who still have to say yes, at the least.
    pub fn missing(&self) -> usize {
        let voters = self.voters();
        let needed: usize = self.requirements.iter().map(|one| usize::from(one.needed)).sum();
        needed - count::places_filled(&self.requirements, &voters).min(needed)
    }

    /// Who said yes.
    pub fn approved_by(&self) -> Vec<Principal> {
        let yes = self.decisions.iter().filter(|decided| decided.verdict == Verdict::Approve);
        yes.map(|decided| decided.by.clone()).collect()
    }

    /// The one rejection, if any.
    pub fn rejection(&self) -> Option<&Decided> {
        self.decisions.iter().find(|decided| decided.verdict == Verdict::Reject)
    }

    /// The first stage of which a requirement is not met; none when all are.
    fn stage(&self) -> Option<u8> {
        let voters = self.voters();
        let mut stages: Vec<u8> = self.requirements.iter().map(|one| one.stage).collect();
        stages.sort_unstable();
        stages.into_iter().find(|stage| {
            let of_it: Vec<_> = self.requirements.iter().filter(|one| one.stage == *stage).cloned().collect();
            count::places_filled(&of_it, &voters) < of_it.iter().map(|one| usize::from(one.needed)).sum()
        })
    }

    /// The requirements of each who said yes.
    fn voters(&self) -> Vec<&[GroupAlias]> {
        let yes = self.decisions.iter().filter(|decided| decided.verdict == Verdict::Approve);
        yes.map(|decided| decided.through.as_slice()).collect()
    }

    /// The requirements that this caller is proved to belong to, up to the stage it is in: those of later ones are not asked yet.
    fn through(&self, approver: &IdentityFacts) -> Vec<GroupAlias> {
        let stage = self.stage();
        self.requirements
            .iter()
            .filter(|one| stage.is_none_or(|stage| one.stage <= stage))
            .filter(|one| any_matches(&one.members, approver) == Match::Proved)
            .map(|one| one.approvers.clone())
            .collect()
    }
}

/// Whether a text of a person is short enough and cannot play tricks on a terminal: no control characters but line
/// breaks, and none of the marks that make text read in another order than it is written.
pub fn is_text(text: &str, max_chars: usize) -> bool {
    let tricky = |char: char| {
        (char.is_control() && char != '\n')
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().count() <= max_chars && !text.chars().any(tricky)
}
