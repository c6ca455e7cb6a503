//! Why somebody is let onto a target, or not: every rule on it, with its answer.
//!
//! Made of the judgements that let people in, so that it cannot say something else than what happens. What may go wrong is that
//! it says too much: who is neither operator nor auditor is told of the rules that mean them, and of nothing where none does.

use super::policy::Access;
use super::{AskError, Grants, Policy, may_ask};
use crate::identity::Identity;
use chaperone_core::Timestamp;
use chaperone_core::grant::{
    Amounts, Choice, Denied, Deny, Grant, Match, Mismatch, Occasion, Subject, Ticket, Unmet, When, choose,
};
use chaperone_core::identity::{Audience, CallerKind, Groups, IdentityFacts};
use chaperone_core::name::{GroupAlias, Principal, ProviderName, TargetName};
use serde::Serialize;
use std::collections::BTreeSet;

/// Whom an explanation is about, as far as it is told.
#[derive(Debug, Clone)]
pub struct About {
    /// Who.
    pub principal: Principal,
    /// Of which kind.
    pub kind: CallerKind,
    /// In which groups; not known when none are told.
    pub groups: Option<Vec<GroupAlias>>,
    /// With which app roles.
    pub roles: Vec<String>,
}

/// What cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AboutProblem {
    /// Not a principal.
    #[error("a principal is `provider/tenant/object-id`")]
    Principal,
    /// Not a configured group.
    #[error("no group is called `{0}` in the configuration")]
    Group(GroupAlias),
    /// A group of another provider.
    #[error("the group `{0}` is of another provider than the principal")]
    Elsewhere(GroupAlias),
}

/// What happens when they ask for a window, or connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The policy opens a window.
    Requested,
    /// People are asked.
    Approved,
    /// A rule denies it.
    Denied,
    /// A grant means them, but not now or not from there.
    NotNow,
    /// No grant means them.
    NotGranted,
}

/// Why somebody is let onto a target, or not.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Who.
    pub principal: Principal,
    /// Of which kind.
    pub kind: CallerKind,
    /// On what.
    pub target: TargetName,
    /// What happens.
    pub outcome: Outcome,
    /// In a sentence.
    pub summary: String,
    /// Every rule on the target: those that deny first, each as in the configuration.
    pub rules: Vec<Ruled>,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ruled {
    /// `grant` or `deny`.
    pub rule: &'static str,
    /// The line of the configuration that it stands on.
    pub line: usize,
    /// Whom it is for.
    pub to: Vec<String>,
    /// What it gives.
    pub terms: String,
    /// Whether it holds for them now.
    pub holds: bool,
    /// Why, or why not.
    pub why: String,
    /// Whether it means them at all: others are told of these only.
    #[serde(skip)]
    means_them: bool,
}

impl Policy {
    /// The facts that are told of somebody, as a credential would prove them.
    ///
    /// # Errors
    /// What of it cannot be.
    pub fn facts_of(&self, about: &About) -> Result<IdentityFacts, AboutProblem> {
        let mut parts = about.principal.as_str().split('/');
        let (Some(provider), Some(tenant), Some(object), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(AboutProblem::Principal);
        };
        let provider = ProviderName::new(provider).map_err(|_| AboutProblem::Principal)?;
        let mut ids = BTreeSet::new();
        for alias in about.groups.iter().flatten() {
            match self.groups.get(alias) {
                Some(Subject::Group { provider: of, id, .. }) if *of == provider => {
                    ids.insert(id.clone());
                }
                Some(_) => return Err(AboutProblem::Elsewhere(alias.clone())),
                None => return Err(AboutProblem::Group(alias.clone())),
            }
        }
        Ok(IdentityFacts {
            tenant: tenant.to_owned(),
            object_id: object.to_owned(),
            principal: about.principal.clone(),
            kind: about.kind,
            groups: about.groups.as_ref().map_or(Groups::Unknown, |_| Groups::Known(ids)),
            roles: about.roles.iter().cloned().collect(),
            provider,
            actor: String::new(),
            blueprint: None,
            display_name: None,
            sponsors: Default::default(),
            audience: Audience::Agents,
            credential_id: String::new(),
            issued_at: Timestamp::MIN,
            expires_at: Timestamp::MAX,
        })
    }

    /// Every rule on the target with its answer, and what follows from all of them.
    pub fn explain(&self, facts: &IdentityFacts, target: &TargetName, occasion: &Occasion) -> Explanation {
        let denies = self.denies.iter().filter(|rule| rule.target == *target).map(|rule| {
            let (holds, why) = match rule.hits(facts, target, occasion) {
                Denied::Now => (true, rule.reason.clone()),
                Denied::From(begin) => (false, format!("it begins at {begin}: {}", rule.reason)),
                Denied::Never => (false, "it does not mean them, or not from there".to_owned()),
            };
            let (to, terms) = denies(rule);
            Ruled { rule: "deny", line: rule.line, to, terms, holds, why, means_them: holds }
        });
        let grants = self.grants.iter().filter(|grant| grant.target == *target).map(|grant| {
            let answer = grant.judge(facts, target, occasion);
            let why = match answer {
                Ok(None) => "it means them".to_owned(),
                Ok(Some(until)) => format!("it means them, until {until}"),
                Err(mismatch) => against(grant, facts, occasion, mismatch),
            };
            let means_them = matches!(answer, Ok(_) | Err(Mismatch::Unmet(_)));
            let (holds, terms) = (answer.is_ok(), terms(grant));
            Ruled { rule: "grant", line: grant.line, to: names(&grant.to), terms, holds, why, means_them }
        });
        let rules: Vec<Ruled> = denies.chain(grants).collect();
        let (outcome, summary) = self.outcome(facts, target, occasion);
        let principal = facts.principal.clone();
        Explanation { principal, kind: facts.kind, target: target.clone(), outcome, summary, rules }
    }

    fn outcome(&self, facts: &IdentityFacts, target: &TargetName, occasion: &Occasion) -> (Outcome, String) {
        match self.access(facts, target, occasion) {
            Access::Granted { grants, .. } => {
                match choose(grants.iter().map(|(grant, _)| *grant), None, occasion.at) {
                    Choice::Grant(grant) => {
                        let longest = humantime::format_duration(grant.longest(occasion.at));
                        let by = format!("the grant on line {} lets a window of up to {longest}", grant.line);
                        match grant.when {
                            When::Requested => {
                                (Outcome::Requested, format!("{by} open as soon as it is asked for."))
                            }
                            When::Approved { .. } => {
                                (Outcome::Approved, format!("{by} open when people approve."))
                            }
                        }
                    }
                    Choice::NoGrant | Choice::TooLong(_) => (
                        Outcome::NotNow,
                        "the hours of the grants are over in less than a second.".to_owned(),
                    ),
                }
            }
            Access::Denied(rule) => {
                (Outcome::Denied, format!("the rule on line {} denies it, whatever grants say.", rule.line))
            }
            Access::NotNow(grants) => {
                let lines: Vec<String> = grants.iter().map(|grant| grant.line.to_string()).collect();
                let lines = lines.join(", ");
                (Outcome::NotNow, format!("they are meant by line {lines}, but not now or not from there."))
            }
            Access::NotGranted => (Outcome::NotGranted, "no grant on this target means them.".to_owned()),
        }
    }
}

impl Grants {
    /// Why the caller, or for operators and auditors anybody, is let onto a target, or not.
    pub fn explain(
        &self,
        identity: &Identity,
        about: Option<&About>,
        target: &TargetName,
        occasion: &Occasion,
    ) -> Result<Explanation, AskError> {
        let policy = self.inner.policy.load_full();
        let sees_everything = self.sees_everything(identity) == Match::Proved;
        let Some(about) = about else {
            may_ask(identity.facts()).map_err(AskError::Failed)?;
            let mut own = policy.explain(identity.facts(), target, occasion);
            if !sees_everything {
                own.rules.retain(|rule| rule.means_them);
                // Whoever no grant means learns as much of this target as of one that does not exist.
                if matches!(own.outcome, Outcome::NotGranted) {
                    return Err(AskError::NotGranted.to(identity));
                }
            }
            return Ok(own);
        };
        if !sees_everything {
            return Err(AskError::NotFound);
        }
        let facts = policy.facts_of(about).map_err(AskError::About)?;
        Ok(policy.explain(&facts, target, occasion))
    }
}

/// Whom a rule that denies means, and when.
pub(super) fn denies(rule: &Deny) -> (Vec<String>, String) {
    let to = if rule.to.is_empty() { vec!["everybody".to_owned()] } else { names(&rule.to) };
    (to, with_kinds(rule.kinds.as_ref(), rule.only.to_string()))
}

pub(super) fn names(subjects: &[Subject]) -> Vec<String> {
    subjects.iter().map(ToString::to_string).collect()
}

fn against(grant: &Grant, facts: &IdentityFacts, occasion: &Occasion, mismatch: Mismatch) -> String {
    match mismatch {
        Mismatch::Target => "it is on another target".to_owned(),
        Mismatch::Subject if facts.groups == Groups::Unknown => {
            "nothing proves that it means them: their groups are not known".to_owned()
        }
        Mismatch::Subject => "nothing proves that it means them".to_owned(),
        Mismatch::Kind => format!("it is not for the kind {}", facts.kind),
        Mismatch::Unmet(Unmet::Hours) => match &grant.only.hours {
            Some(hours) => format!("it is not in its hours, {hours}, at {}", occasion.at),
            None => "it is not in its hours".to_owned(),
        },
        Mismatch::Unmet(Unmet::Networks) => match occasion.from {
            Some(from) => format!("{from} is not in its networks"),
            None => "from where they come is not known, and it is for some networks".to_owned(),
        },
    }
}

fn with_kinds(kinds: Option<&BTreeSet<CallerKind>>, rest: String) -> String {
    let kinds: Vec<&str> = kinds.into_iter().flatten().map(|kind| kind.as_str()).collect();
    let kinds = (!kinds.is_empty()).then(|| format!("kind {}", kinds.join(" or ")));
    kinds.into_iter().chain((!rest.is_empty()).then_some(rest)).collect::<Vec<_>>().join("; ")
}

/// What a grant gives and asks for.
pub(super) fn terms(grant: &Grant) -> String {
    let mut parts =
        vec![format!("{} up to {}", grant.when.as_str(), humantime::format_duration(grant.lifetime))];
    if let When::Approved { requirements, .. } = &grant.when {
        let by: Vec<String> =
            requirements.iter().map(|one| format!("{} of {}", one.needed, one.approvers)).collect();
        parts.push(format!("by {}", by.join(" and ")));
    }
    if grant.ticket == Ticket::Required {
        parts.push("with a ticket".to_owned());
    }
    let Amounts { cool_down, windows_per_day, max_sessions } = &grant.amounts;
    parts.extend(windows_per_day.map(|count| format!("{count} windows a day")));
    parts.extend(cool_down.map(|pause| format!("a pause of {}", humantime::format_duration(pause))));
    parts.extend(max_sessions.map(|count| format!("{count} sessions at one time")));
    parts.extend((!grant.roles.is_empty()).then(|| {
        let roles: Vec<String> = grant.roles.iter().map(ToString::to_string).collect();
        format!("as {}", roles.join(", "))
    }));
    let only = with_kinds(grant.kinds.as_ref(), grant.only.to_string());
    parts.extend((!only.is_empty()).then_some(only));
    parts.join("; ")
}
