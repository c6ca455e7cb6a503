//! From the plugins' assessments to the host's one decision.
//!
//! Check plugins are asked in order and any refusal ends it; then approval triggers see the highest risk and all
//! findings; the strictest hold wins. No bool stands for a verdict anywhere.

use crate::name::GroupAlias;
use serde::{Deserialize, Serialize};

/// The highest risk there is.
pub const MAX_RISK: u8 = 100;

/// Something a human should know about an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Dotted stable id of the rule.
    pub rule: String,
    /// One sentence without data values.
    pub detail: String,
    /// 0 to [`MAX_RISK`].
    pub risk: u8,
}

/// A plugin's reason to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRefusal {
    /// Dotted stable id of the rule.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// What to do instead.
    pub hint: String,
}

/// One plugin's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The plugin has nothing against it.
    Allow,
    /// It must not run.
    Refuse(RuleRefusal),
}

/// One plugin's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// Whether it may run.
    pub verdict: Verdict,
    /// 0 to [`MAX_RISK`].
    pub risk: u8,
    /// What a human should know.
    pub findings: Vec<Finding>,
}

/// What a held operation waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldTerms {
    /// Whose members may approve.
    pub approvers: GroupAlias,
    /// Distinct persons needed, at least 1.
    pub needed: u8,
    /// Seconds until it is refused.
    pub timeout_seconds: u32,
    /// Why a human has to look.
    pub reason: String,
}

/// The host's combined answer about one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It runs.
    Allow,
    /// It does not run; which plugin said so, and why.
    Refuse(RuleRefusal),
    /// It waits for all of these.
    Hold(Vec<HoldTerms>),
}

/// Merges holds: terms for the same approvers become one, with the larger number and the shorter timeout.
pub fn merge_holds(holds: Vec<HoldTerms>) -> Vec<HoldTerms> {
    let mut merged: Vec<HoldTerms> = Vec::with_capacity(holds.len());
    for hold in holds {
        match merged.iter_mut().find(|other| other.approvers == hold.approvers) {
            Some(other) => {
                other.needed = other.needed.max(hold.needed);
                other.timeout_seconds = other.timeout_seconds.min(hold.timeout_seconds);
                if other.reason != hold.reason {
                    other.reason = format!("{}; {}", other.reason, hold.reason);
                }
            }
            None => merged.push(hold),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(approvers: &str, needed: u8, timeout_seconds: u32) -> HoldTerms {
        HoldTerms {
            approvers: GroupAlias::new(approvers).unwrap(),
            needed,
            timeout_seconds,
            reason: "r".into(),
        }
    }

    #[test]
    fn the_strictest_hold_of_a_group_wins_and_no_group_is_lost() {
        let merged = merge_holds(vec![hold("dba", 1, 600), hold("security", 1, 60), hold("dba", 2, 900)]);
        assert_eq!(merged, vec![hold("dba", 2, 600), hold("security", 1, 60)]);
    }
}
