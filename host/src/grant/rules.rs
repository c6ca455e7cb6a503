//! The running policy in words, for those who see everything.

use super::explain::{denies, names, terms};
use super::{AskError, Grants};
use crate::identity::Identity;
use chaperone_core::grant::Match;
use chaperone_core::name::TargetName;

/// All rules that count.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// What lets in, in the order of the configuration.
    pub grants: Vec<Rule>,
    /// What no grant allows.
    pub denies: Vec<Rule>,
    /// Who may see and end everything.
    pub operators: Vec<String>,
    /// Who may see everything.
    pub auditors: Vec<String>,
}

/// One rule on one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// On what.
    pub target: TargetName,
    /// The line of the configuration that it stands on.
    pub line: usize,
    /// Whom it is for.
    pub to: Vec<String>,
    /// What it gives and asks for, or why it denies.
    pub terms: String,
}

impl Grants {
    /// Every rule of the policy that counts now. To who does not see everything there is nothing.
    pub fn rules(&self, identity: &Identity) -> Result<Rules, AskError> {
        if self.sees_everything(identity) == Match::NotProved {
            return Err(AskError::NotFound.to(identity));
        }
        let policy = self.inner.policy.load_full();
        let granted = policy.grants.iter().map(|grant| Rule {
            target: grant.target.clone(),
            line: grant.line,
            to: names(&grant.to),
            terms: terms(grant),
        });
        let denied = policy.denies.iter().map(|rule| {
            let (to, terms) = denies(rule);
            let terms =
                if terms.is_empty() { rule.reason.clone() } else { format!("{terms}: {}", rule.reason) };
            Rule { target: rule.target.clone(), line: rule.line, to, terms }
        });
        Ok(Rules {
            grants: granted.collect(),
            denies: denied.collect(),
            operators: names(&policy.operators),
            auditors: names(&policy.auditors),
        })
    }
}
