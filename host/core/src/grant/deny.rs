//! Rules that deny: what they hit is allowed by no grant.
//!
//! A grant asks what is proved; a rule that denies asks what cannot be ruled out. Unknown groups, an unknown kind and an
//! unknown address are therefore hit, or leaving something out of a token would be the way round the rule.

use super::condition::{Conditions, Denied, Occasion};
use super::subject::Subject;
use crate::identity::{CallerKind, IdentityFacts};
use crate::name::TargetName;
use std::collections::BTreeSet;

/// A rule that denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    /// The target that it closes.
    pub target: TargetName,
    /// Whom it means; everybody when there is nobody named.
    pub to: Vec<Subject>,
    /// Of which kinds; none: of any kind.
    pub kinds: Option<BTreeSet<CallerKind>>,
    /// When, and from where.
    pub only: Conditions,
    /// Why, for those whom it hits.
    pub reason: String,
    /// The line of the configuration that it stands on.
    pub line: usize,
}

impl Deny {
    /// Whether it denies this caller the target, now or later.
    pub fn hits(&self, facts: &IdentityFacts, target: &TargetName, occasion: &Occasion) -> Denied {
        let meant = self.to.is_empty() || self.to.iter().any(|subject| subject.may_mean(facts));
        let kind = self
            .kinds
            .as_ref()
            .is_none_or(|kinds| kinds.contains(&facts.kind) || facts.kind == CallerKind::Unknown);
        if self.target == *target && meant && kind { self.only.deny(occasion) } else { Denied::Never }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::grant::testing::{facts, group};
    use crate::identity::Groups;
    use crate::name::ProviderName;

    #[test]
    fn what_cannot_be_ruled_out_is_hit() {
        let target = TargetName::new("db").unwrap();
        let rule = |to: Vec<Subject>, kinds: Option<&[CallerKind]>| Deny {
            target: target.clone(),
            to,
            kinds: kinds.map(|kinds| kinds.iter().copied().collect()),
            only: Conditions::default(),
            reason: "freeze".into(),
            line: 1,
        };
        let hits = |rule: &Deny, facts: &IdentityFacts| {
            rule.hits(facts, &target, &Timestamp::UNIX_EPOCH.into()) == Denied::Now
        };
        let team = rule(vec![group("corp", "g1", "team")], None);
        let agents = rule(vec![], Some(&[CallerKind::Agent]));
        let role =
            |name: &str| Subject::Role { provider: ProviderName::new("corp").unwrap(), role: name.into() };
        let of_role = rule(vec![role("Run")], None);

        let member = facts("corp", "a", CallerKind::Agent, &["g1"]);
        let other = facts("corp", "a", CallerKind::Human, &["g2"]);
        let unknown = IdentityFacts { groups: Groups::Unknown, ..member.clone() };
        let elsewhere = IdentityFacts { provider: ProviderName::new("other").unwrap(), ..unknown.clone() };
        assert_eq!(
            [&member, &other, &unknown, &elsewhere].map(|facts| hits(&team, facts)),
            [true, false, true, false]
        );
        let kind = |kind| IdentityFacts { kind, ..member.clone() };
        for known in CallerKind::ALL {
            let expected = matches!(known, CallerKind::Agent | CallerKind::Unknown);
            assert_eq!(hits(&agents, &kind(known)), expected, "{known}");
            let mut with_role = kind(known);
            assert!(!hits(&of_role, &with_role));
            with_role.roles.insert("Run".into());
            let expected = matches!(known, CallerKind::Agent | CallerKind::Workload | CallerKind::Unknown);
            assert_eq!(hits(&of_role, &with_role), expected, "role of {known}");
        }
        assert!(hits(&rule(vec![], None), &other), "everybody");
        let there = TargetName::new("other").unwrap();
        assert_eq!(team.hits(&member, &there, &Timestamp::UNIX_EPOCH.into()), Denied::Never);
    }
}
