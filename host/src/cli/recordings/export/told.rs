//! What is said of a session and of an operation, in words that the page and the tables share.
//!
//! Texts are as they were written: the page and the tables make them harmless, each in its own way.

use super::gather::Item;
use crate::recorder::{Opening, PluginStamp, SessionHead};
use crate::story::{Decided, Operation, Parameters};
use chaperone_core::Timestamp;
use chaperone_core::identity::{Groups, IdentityFacts};
use jiff::SignedDuration;

/// Who, where, when: None of what could not be read.
pub(super) fn opening(item: &Item) -> Option<&Opening> {
    item.glance.as_ref()?.opening.as_ref().ok()
}

/// The moment of something that happened so long after the start.
pub(super) fn at(item: &Item, at_us: u64) -> Option<Timestamp> {
    let since = SignedDuration::from_micros(i64::try_from(at_us).ok()?);
    opening(item)?.started.checked_add(since).ok()
}

/// A moment with as many digits as are known, or nothing.
pub(super) fn moment(moment: Option<Timestamp>) -> String {
    moment.map(|moment| format!("{moment:.6}")).unwrap_or_default()
}

/// Who answers for an agent.
pub(super) fn sponsors(identity: &IdentityFacts) -> String {
    let sponsor = |one: &chaperone_core::identity::Sponsor| match &one.display_name {
        Some(name) => format!("{} \"{name}\" (seen {:.0})", one.id, one.seen),
        None => format!("{} (seen {:.0})", one.id, one.seen),
    };
    listed(identity.sponsors.iter().map(sponsor))
}

/// What is known of the caller's groups.
pub(super) fn groups(identity: &IdentityFacts) -> String {
    let listed = |ids: &std::collections::BTreeSet<String>| {
        if ids.is_empty() { "none".to_owned() } else { self::listed(ids.iter().cloned()) }
    };
    match &identity.groups {
        Groups::Known(ids) => listed(ids),
        Groups::Asked { held, asked } => {
            format!("{} of those that were asked for: {}", listed(held), listed(asked))
        }
        Groups::Unknown => "unknown: the credential does not say".to_owned(),
    }
}

/// Who approved the request that the window came from. Their comments are in the gateway's audit events.
pub(super) fn approved_by(head: &SessionHead) -> String {
    listed(head.approved_by.iter().map(ToString::to_string))
}

/// A plugin with what proves which it was.
pub(super) fn plugin(stamp: &PluginStamp) -> String {
    let PluginStamp { name, version, digest, config_hash, .. } = stamp;
    format!("{name} {version} sha256:{digest} config:{config_hash}")
}

pub(super) fn plugins(head: &SessionHead) -> String {
    listed(head.plugins.iter().map(plugin))
}

/// What became of an operation, in a word.
pub(super) fn outcome(operation: &Operation) -> &'static str {
    let held = operation.hold.as_ref();
    if operation.was_refused() {
        "refused"
    } else if held.is_some_and(|hold| hold.outcome.is_none()) {
        "waits"
    } else if operation.error.is_some() {
        "failed"
    } else if !operation.was_allowed() {
        "not judged"
    } else if held.is_some() {
        "approved"
    } else {
        "allowed"
    }
}

/// The word of the decision that was recorded.
pub(super) fn decision(operation: &Operation) -> String {
    let verdict = operation.decision.as_ref().map(|decided| serde_json::json!(decided.verdict));
    verdict.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned()
}

pub(super) fn findings(decided: &Decided) -> Vec<String> {
    let finding =
        |one: &chaperone_core::decision::Finding| format!("{} (risk {}): {}", one.rule, one.risk, one.detail);
    decided.findings.iter().map(finding).collect()
}

/// Plugins that an operation was stopped by, with what proves which they were.
pub(super) fn named(operation: &Operation, item: &Item) -> Vec<String> {
    let decided = operation.decision.as_ref().and_then(|decided| decided.plugin.as_ref());
    let names = decided.into_iter().chain(operation.faults.iter().map(|fault| &fault.plugin));
    let known = opening(item).map(|opening| opening.head.plugins.as_slice()).unwrap_or_default();
    let mut named: Vec<String> = names
        .map(|name| known.iter().find(|stamp| stamp.name == *name).map_or_else(|| name.clone(), plugin))
        .collect();
    named.dedup();
    named
}

pub(super) fn faults(operation: &Operation) -> String {
    listed(operation.faults.iter().map(|fault| format!("{} in {}: {}", fault.plugin, fault.hook, fault.kind)))
}

/// Values that were bound, as JSON.
pub(super) fn parameters(parameters: &Parameters) -> String {
    let values = serde_json::to_string(&parameters.values).unwrap_or_default();
    match parameters.count.saturating_sub(parameters.values.len() as u64) {
        0 => values,
        more => format!("{values} and {more} more"),
    }
}

/// How an operation waited for people.
pub(super) fn waited_for(operation: &Operation) -> Vec<String> {
    let terms = operation.hold.iter().flat_map(|hold| &hold.terms);
    terms.map(|terms| format!("{} of {}: {}", terms.needed, terms.approvers, terms.reason)).collect()
}

pub(super) fn listed(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join("; ")
}
