//! The decision: which rules match an operation, and the one hold that comes of them.
//!
//! The strictest wins: the largest number of approvers and the shortest time of all rules that match. A hold has one
//! group, which is that of the first rule that matches; where two groups have to agree, the plugin is loaded twice, and
//! the host waits for both.

use chaperone_sdk::{Finding, Glob, Hold, OperationRequest};

/// Most findings that a reason names; the recording has them all.
pub const MAX_FINDINGS_SHOWN: usize = 5;
/// Longest reason in characters: it is shown in a terminal and in a notice of the target's protocol.
pub const MAX_REASON_CHARS: usize = 600;

/// When a rule matches: all parts that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The operation is at least so risky.
    pub risk_at_least: Option<u8>,
    /// A finding's rule matches.
    pub finding: Option<Glob>,
    /// A statement's class matches.
    pub class: Option<Glob>,
}

impl Condition {
    fn holds(&self, request: &OperationRequest) -> bool {
        self.risk_at_least.is_none_or(|risk| request.risk >= risk)
            && self
                .finding
                .as_ref()
                .is_none_or(|glob| request.findings.iter().any(|one| glob.matches(&one.rule)))
            && self.class.as_ref().is_none_or(|glob| request.classes.iter().any(|class| glob.matches(class)))
    }
}

/// A rule, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// When it matches.
    pub condition: Condition,
    /// Alias of the group whose members approve.
    pub approvers: String,
    /// How many of them, at least 1.
    pub needed: u8,
    /// How long the operation waits.
    pub timeout_seconds: u32,
    /// What approvers read first.
    pub reason: Option<String>,
}

/// All rules, in the order in which they give their group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Takes rules that were checked.
    pub fn new(rules: Vec<Rule>) -> Self {
        Policy { rules }
    }

    /// None when no rule matches.
    pub fn decide(&self, request: &OperationRequest) -> Option<Hold> {
        let matching: Vec<&Rule> = self.rules.iter().filter(|rule| rule.condition.holds(request)).collect();
        let first = matching.first()?;
        Some(Hold {
            approvers: first.approvers.clone(),
            needed: matching.iter().map(|rule| rule.needed).max().unwrap_or(first.needed),
            timeout_seconds: matching
                .iter()
                .map(|rule| rule.timeout_seconds)
                .min()
                .unwrap_or(first.timeout_seconds),
            reason: reason(&matching, request),
        })
    }
}

/// The operator's own words, then the risk, then the findings, the riskiest first.
fn reason(matching: &[&Rule], request: &OperationRequest) -> String {
    let mut parts: Vec<String> = Vec::new();
    for reason in matching.iter().filter_map(|rule| rule.reason.as_ref()) {
        if !parts.contains(reason) {
            parts.push(reason.clone());
        }
    }
    parts.push(format!("risk {} of 100", request.risk));
    let mut findings: Vec<&Finding> = request.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.risk));
    let shown = findings.iter().take(MAX_FINDINGS_SHOWN);
    parts.extend(shown.map(|finding| format!("{}: {}", finding.rule, finding.detail)));
    let more = findings.len().saturating_sub(MAX_FINDINGS_SHOWN);
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    if findings.is_empty() && !request.classes.is_empty() {
        parts.push(request.classes.join(", "));
    }
    one_line(&parts.join("; "))
}

/// Other plugins' texts end up in terminals: control characters must not get there.
fn one_line(text: &str) -> String {
    let clean = text.chars().map(|one| if one.is_control() { ' ' } else { one });
    let mut line: String = clean.clone().take(MAX_REASON_CHARS).collect();
    if clean.count() > MAX_REASON_CHARS {
        line.pop();
        line.push('…');
    }
    line
}
