//! Labels: what targets are, so that one rule can mean all that are alike.

use super::decode::Item;
use super::names::{Kind, Names};
use super::node::Value;
use super::target::Target;
use chaperone_core::name::TargetName;
use std::collections::BTreeMap;

/// The most labels of one target, and of one rule.
pub(crate) const MAX_LABELS: usize = 16;

/// Names and values.
pub type Labels = BTreeMap<String, String>;

/// The labels of a target, or those that a rule asks for.
pub(crate) fn decode(item: &Item<'_>) -> Labels {
    let pair = |(name, item): (&str, Item<'_>)| {
        if !super::decode::is_plain_name(name) {
            item.invalid(
                format!("{} is not a label's name", super::problem::quote(name)),
                super::decode::NAME_HELP,
            );
            return None;
        }
        Some((name.to_owned(), item.plain_name("a label's value")?.to_owned()))
    };
    item.named(MAX_LABELS).into_iter().filter_map(pair).collect()
}

/// The targets that a rule is on: the one that it names, or all that have the labels that it asks for.
pub(crate) fn targets<'a>(item: &Item<'a>, all: &[Target], names: &mut Names<'a>) -> Vec<TargetName> {
    if !matches!(item.node.value, Value::Map(_)) {
        let name = item.plain_name("a target's name, or `{ labels: … }`");
        return name
            .into_iter()
            .filter_map(|name| {
                names.refer(Kind::Target, name, item);
                TargetName::new(name).ok()
            })
            .collect();
    }
    let found = labelled(item, all).unwrap_or_default();
    for target in all {
        // A mistake here is one mistake: any target may have been meant then.
        if found.is_empty() || found.contains(&target.name) {
            names.refer(Kind::Target, target.name.as_str(), item);
        }
    }
    found
}

fn labelled(item: &Item<'_>, all: &[Target]) -> Option<Vec<TargetName>> {
    let mut fields = item.fields()?;
    let labels = fields.need("labels", "such as `labels: { env: prod }`");
    fields.finish();
    let item = labels?;
    if matches!(&item.node.value, Value::Map(entries) if entries.is_empty()) {
        item.no_effect(
            "this would mean every target: `labels` is empty",
            "name at least one label, or a target",
        );
    }
    let wanted = Some(decode(&item)).filter(|wanted| !wanted.is_empty())?;
    let has = |target: &&Target| wanted.iter().all(|(name, value)| target.labels.get(name) == Some(value));
    let found: Vec<TargetName> = all.iter().filter(has).map(|target| target.name.clone()).collect();
    if found.is_empty() {
        item.no_effect(
            "no target has these labels",
            "compare them with `labels` of the targets; their case counts",
        );
    }
    Some(found)
}
