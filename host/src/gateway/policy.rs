//! The policy as it is configured: at start, and whenever the file is read again.

use crate::config::{self, Config};
use crate::grant::Policy;
use chaperone_core::grant::{self as policy, Requirement};
use chaperone_core::name::GroupAlias;
use std::collections::BTreeMap;

/// What a configuration says about who may open what, and who approves.
pub(super) fn policy(config: &Config, api_url: &str) -> Policy {
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
    let grants = config.grants.iter().map(|grant| one_grant(grant, &groups)).collect();
    let operators = config.operators.iter().filter_map(|alias| groups.get(alias)).cloned().collect();
    Policy { grants, operators, api_url: api_url.to_owned(), groups }
}

fn one_grant(grant: &config::Grant, groups: &BTreeMap<GroupAlias, policy::Subject>) -> policy::Grant {
    let subject = |subject: &config::Subject| match subject {
        // Configuration has refused aliases that are not defined; one that is missing all the same matches nobody.
        config::Subject::Group(alias) => groups.get(alias).cloned(),
        config::Subject::Principal(principal) => Some(policy::Subject::Principal(principal.clone())),
        config::Subject::Role { provider, name } => {
            Some(policy::Subject::Role { provider: provider.clone(), role: name.clone() })
        }
    };
    let when = match &grant.when {
        config::When::Requested => policy::When::Requested,
        config::When::Approved { approvers, needed, expires } => policy::When::Approved {
            requirements: approvers
                .iter()
                .map(|alias| Requirement {
                    approvers: alias.clone(),
                    members: groups.get(alias).cloned().into_iter().collect(),
                    needed: *needed,
                })
                .collect(),
            patience: *expires,
        },
    };
    policy::Grant {
        target: grant.target.clone(),
        to: grant.to.iter().filter_map(subject).collect(),
        kinds: grant.kinds.clone(),
        when,
        lifetime: grant.lifetime,
        recorded: grant.recorded,
        roles: grant.roles.clone(),
    }
}
