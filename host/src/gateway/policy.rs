//! The policy as it is configured: at start, and whenever the file is read again.

use crate::config::{self, Config};
use crate::grant::Policy;
use chaperone_core::approval::Persons;
use chaperone_core::grant::{self as policy, Requirement};
use chaperone_core::name::{GroupAlias, TargetName};
use std::collections::BTreeMap;

/// What a configuration says about who may open what, and who approves.
pub(crate) fn policy(config: &Config, api_url: &str) -> Policy {
    let groups: BTreeMap<GroupAlias, policy::Subject> = config
        .groups
        .iter()
        .map(|group| {
            let subject = policy::Subject::Group {
                provider: group.provider.clone(),
                id: group.object_id.clone(),
                alias: group.alias.clone(),
            };
            (group.alias.clone(), subject)
        })
        .collect();
    let on = |grant: &config::Grant| {
        let one = |target: &TargetName| one_grant(grant, target, &groups);
        grant.targets.iter().map(one).collect::<Vec<_>>()
    };
    let grants = config.grants.iter().flat_map(on).collect();
    let closed = |rule: &config::Deny| {
        let one = |target: &TargetName| policy::Deny {
            target: target.clone(),
            to: subjects(&rule.to, &groups),
            kinds: rule.kinds.clone(),
            only: rule.only.clone(),
            reason: rule.reason.clone(),
            line: rule.line,
        };
        rule.targets.iter().map(one).collect::<Vec<_>>()
    };
    let denies = config.denies.iter().flat_map(closed).collect();
    let operators = config.operators.iter().filter_map(|alias| groups.get(alias)).cloned().collect();
    let auditors = config.auditors.iter().filter_map(|alias| groups.get(alias)).cloned().collect();
    let (persons, api_url) = (persons(config), api_url.to_owned());
    Policy { grants, denies, operators, auditors, persons, api_url, groups }
}

fn persons(config: &Config) -> Persons {
    let registered = config.providers.iter().filter(|provider| provider.approvers.is_some());
    let registered = registered.map(|provider| provider.name.clone()).collect();
    Persons::new(config.people.iter().map(|person| person.principals.as_slice()), registered)
}

fn subjects(
    list: &[config::Subject],
    groups: &BTreeMap<GroupAlias, policy::Subject>,
) -> Vec<policy::Subject> {
    let one = |subject: &config::Subject| match subject {
        // Configuration has refused aliases that are not defined; one that is missing all the same matches nobody.
        config::Subject::Group(alias) => groups.get(alias).cloned(),
        config::Subject::Principal(principal) => Some(policy::Subject::Principal(principal.clone())),
        config::Subject::Role { provider, name } => {
            Some(policy::Subject::Role { provider: provider.clone(), role: name.clone() })
        }
        config::Subject::Provider(provider) => Some(policy::Subject::Provider(provider.clone())),
    };
    list.iter().filter_map(one).collect()
}

fn one_grant(
    grant: &config::Grant,
    target: &TargetName,
    groups: &BTreeMap<GroupAlias, policy::Subject>,
) -> policy::Grant {
    let when = match &grant.when {
        config::When::Requested => policy::When::Requested,
        config::When::Approved { approvers, expires } => policy::When::Approved {
            requirements: approvers
                .iter()
                .map(|one| Requirement {
                    approvers: one.group.clone(),
                    members: groups.get(&one.group).cloned().into_iter().collect(),
                    needed: one.needed,
                    stage: one.stage,
                })
                .collect(),
            patience: *expires,
        },
    };
    policy::Grant {
        target: target.clone(),
        to: subjects(&grant.to, groups),
        kinds: grant.kinds.clone(),
        only: grant.only.clone(),
        ticket: grant.ticket,
        when,
        lifetime: grant.lifetime,
        amounts: grant.amounts.clone(),
        recorded: grant.recorded,
        roles: grant.roles.clone(),
        line: grant.line,
    }
}
