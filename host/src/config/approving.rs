//! Who approves under a grant: groups, how many of each, and in which order.

use super::decode::{Item, is_plain_name};
use super::names::{Kind, Names};
use super::node::Value;
use super::problem::quote;
use chaperone_core::grant::{MAX_NEEDED, MAX_PATIENCE, MAX_REQUIREMENTS};
use chaperone_core::name::GroupAlias;
use std::collections::BTreeSet;
use std::time::Duration;

/// The most groups of approvers of one grant: each is a requirement.
pub(crate) const MAX_APPROVER_GROUPS: usize = MAX_REQUIREMENTS;

/// How long a request waits for approvers when nothing else is said.
const EXPIRES: Duration = Duration::from_secs(3600);

/// A group that has to approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApproverGroup {
    /// Whose members may.
    pub group: GroupAlias,
    /// Distinct persons needed, at least 1.
    pub needed: u8,
    /// When they are asked, from 1: after all groups of smaller stages have approved.
    pub stage: u8,
}

/// What only people's approval needs.
pub(super) struct Asked<'a> {
    pub(super) approvers: Option<Item<'a>>,
    pub(super) needed: Option<Item<'a>>,
    pub(super) expires: Option<Item<'a>>,
}

/// A group with what stands beside it.
type Listed = (GroupAlias, Option<u8>, u8);

impl<'a> Asked<'a> {
    /// Under `when: requested` no human is asked.
    pub(super) fn do_nothing(&self) {
        for item in [&self.approvers, &self.needed, &self.expires].into_iter().flatten() {
            item.no_effect(
                format!("`{}` does nothing under `when: requested`: no human is asked", item.name()),
                "write `when: approved`, or delete it",
            );
        }
    }

    /// Who has to approve, and how long a request waits for them.
    pub(super) fn decode(
        &self,
        grant: &Item<'a>,
        default: &[GroupAlias],
        names: &mut Names<'a>,
    ) -> Option<(Vec<ApproverGroup>, Duration)> {
        let own = self.approvers.as_ref().map(|item| list(item, names));
        let needed = self.needed.as_ref().map_or(Some(1), needed);
        let waits = self
            .expires
            .as_ref()
            .map_or(Some(EXPIRES), |item| item.duration(Duration::from_secs(1), MAX_PATIENCE));
        if let Some(item) = self.approvers.as_ref().filter(|item| item.is_empty_list()) {
            item.no_effect("nobody could approve: `approvers` is empty", "name at least one group");
            return None;
        }
        let listed = match own {
            // When none of the list was good, that is what is reported.
            Some(own) => own,
            None if default.is_empty() => {
                grant.missing(
                    "approvers",
                    "name the groups that decide, here or once for all at the top level",
                );
                return None;
            }
            None => default.iter().map(|group| (group.clone(), None, 1)).collect(),
        };
        if let Some(item) = self.needed.as_ref().filter(|_| listed.iter().all(|(_, own, _)| own.is_some())) {
            item.no_effect("`needed` does nothing: each group has its own", "delete one of them");
            return None;
        }
        check_stages(self.approvers.as_ref(), &listed)?;
        let needed = needed?;
        let one = |(group, own, stage): Listed| ApproverGroup { group, needed: own.unwrap_or(needed), stage };
        let approvers: Vec<ApproverGroup> = listed.into_iter().map(one).collect();
        Some((approvers, waits?)).filter(|(approvers, _)| !approvers.is_empty())
    }
}

fn needed(item: &Item<'_>) -> Option<u8> {
    item.number(1, u64::from(MAX_NEEDED)).and_then(|number| u8::try_from(number).ok())
}

/// A stage that nobody is in would never be over, or never begin: one of the numbers is a mistake.
fn check_stages(item: Option<&Item<'_>>, listed: &[Listed]) -> Option<()> {
    let stages: BTreeSet<u8> = listed.iter().map(|(.., stage)| *stage).collect();
    let whole = stages.iter().zip(1..).all(|(stage, number)| *stage == number);
    if let Some(item) = item.filter(|_| !whole) {
        item.invalid("there is a gap between the stages", "number them 1, 2, 3, without leaving one out");
        return None;
    }
    Some(())
}

fn list<'a>(item: &Item<'a>, names: &mut Names<'a>) -> Vec<Listed> {
    let mut listed: Vec<Listed> = Vec::new();
    for item in item.one_or_many(MAX_APPROVER_GROUPS) {
        let Some(one) = one(&item, names) else { continue };
        if listed.iter().any(|other| other.0 == one.0) {
            item.no_effect("this group is listed twice", "one is enough: delete this one");
            continue;
        }
        listed.push(one);
    }
    listed
}

/// `group:dba`, or `{ group: dba, needed: 2, stage: 1 }`.
fn one<'a>(item: &Item<'a>, names: &mut Names<'a>) -> Option<Listed> {
    if !matches!(item.node.value, Value::Map(_)) {
        return group(item, names).map(|group| (group, None, 1));
    }
    let mut fields = item.fields()?;
    let named = fields.need("group", "whose members approve");
    let own = fields.get("needed");
    let stage = fields.get("stage");
    fields.finish();
    let group = named.and_then(|item| group(&item, names));
    let own = own.map_or(Some(None), |item| needed(&item).map(Some));
    let most = u64::try_from(MAX_APPROVER_GROUPS).unwrap_or(u64::MAX);
    let stage = stage.map_or(Some(1), |item| item.number(1, most).and_then(|stage| u8::try_from(stage).ok()));
    Some((group?, own?, stage?))
}

fn group<'a>(item: &Item<'a>, names: &mut Names<'a>) -> Option<GroupAlias> {
    let text = item.text("a group's alias such as `group:dba`")?;
    let alias = text.strip_prefix("group:").unwrap_or(text);
    if !is_plain_name(alias) {
        item.invalid(
            format!("{} is not a group's alias", quote(text)),
            "write `group:ALIAS`; only groups are accepted here",
        );
        return None;
    }
    names.refer(Kind::Group, alias, item);
    GroupAlias::new(alias).ok()
}
