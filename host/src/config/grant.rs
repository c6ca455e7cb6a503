//! The policy: who may open which target, how, and for how long.

use super::decode::Item;
use super::names::{Kind, Names};
use super::problem::{ProblemCode, Severity};
use super::provider::Provider;
use super::subject::{Subject, group_list};
use super::target::{Credential, Target, role};
use chaperone_core::grant::{MAX_LIFETIME, MAX_NEEDED, MAX_PATIENCE, MAX_REQUIREMENTS, MAX_ROLES, Recorded};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{GroupAlias, TargetName};
use chaperone_core::role::RoleName;
use std::collections::BTreeSet;
use std::time::Duration;

/// The most grants.
pub(crate) const MAX_GRANTS: usize = 5000;
/// The most subjects of one grant.
pub(crate) const MAX_SUBJECTS: usize = 256;
/// The most groups of approvers of one grant: each is a requirement.
pub(crate) const MAX_APPROVER_GROUPS: usize = MAX_REQUIREMENTS;
/// How long a request waits for approvers when nothing else is said.
const EXPIRES: Duration = Duration::from_secs(3600);
/// From here on a lifetime gets a warning.
pub(crate) const NOT_JUST_IN_TIME: Duration = Duration::from_secs(24 * 3600);

/// Who decides a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The policy: a request that fits opens a window at once.
    Requested,
    /// A human.
    Approved {
        /// Whose members may approve. Never empty.
        approvers: Vec<GroupAlias>,
        /// Distinct persons needed, at least 1.
        needed: u8,
        /// How long a request waits for them.
        expires: Duration,
    },
}

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Which target it opens.
    pub target: TargetName,
    /// For whom. Never empty.
    pub to: Vec<Subject>,
    /// Of which kinds they have to be; none: any.
    pub kinds: Option<BTreeSet<CallerKind>>,
    /// Who decides.
    pub when: When,
    /// The longest window.
    pub lifetime: Duration,
    /// Whether its sessions are recorded.
    pub recorded: Recorded,
    /// What a session's role is a member of. Empty unless the target mints.
    pub roles: Vec<RoleName>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Decider {
    Policy,
    Human,
}

impl Grant {
    pub(crate) fn decode<'a>(
        item: &Item<'a>,
        providers: &[Provider],
        default_approvers: &[GroupAlias],
        targets: &[Target],
        names: &mut Names<'a>,
    ) -> Option<Self> {
        let mut fields = item.fields()?;
        let target = fields.need("grant", "the target's name");
        let to = fields.need("to", "whom it is for, such as `group:ALIAS`");
        let kind = fields.get("kind");
        let when = fields.need("when", "`requested` (the policy decides) or `approved` (a human decides)");
        let lifetime = fields.need("lifetime", "how long a window may be, such as `15m`");
        let recorded = fields.get("recorded");
        let approvers = fields.get("approvers");
        let needed = fields.get("needed");
        let expires = fields.get("expires");
        let roles = fields.get("roles");
        fields.finish();
        let target = target.and_then(|item| {
            let name = item.plain_name("a target's name")?;
            names.refer(Kind::Target, name, &item);
            TargetName::new(name).ok()
        });
        let to = to.map(|item| subjects(&item, providers, names));
        let kinds = kind.map_or(Some(None), |item| decode_kinds(&item).map(Some));
        let decider = when
            .as_ref()
            .and_then(|item| item.choice(&[("requested", Decider::Policy), ("approved", Decider::Human)]));
        let when = decider.and_then(|decider| {
            let asked =
                Asked { approvers: approvers.as_ref(), needed: needed.as_ref(), expires: expires.as_ref() };
            decode_when(item, decider, &asked, default_approvers, names)
        });
        let lifetime = lifetime.and_then(|item| decode_lifetime(&item));
        let recorded = recorded.map_or(Some(Recorded::Yes), |item| decode_recorded(&item));
        let known = target.as_ref().and_then(|name| targets.iter().find(|known| known.name == *name));
        let roles = decode_roles(item, roles.as_ref(), known);
        let (target, to, kinds, when) = (target?, to?, kinds?, when?);
        Some(Grant { target, to, kinds, when, lifetime: lifetime?, recorded: recorded?, roles: roles? })
    }
}

/// What is not known of a caller opens nothing, so there is no word for the unknown kind.
fn decode_kinds(item: &Item<'_>) -> Option<BTreeSet<CallerKind>> {
    let known = CallerKind::ALL.into_iter().filter(|kind| *kind != CallerKind::Unknown);
    let words: Vec<(&str, CallerKind)> = known.map(|kind| (kind.as_str(), kind)).collect();
    if item.is_empty_list() {
        item.no_effect("nobody can match this grant: `kind` is empty", "name a kind of caller, or delete it");
        return None;
    }
    let mut kinds = BTreeSet::new();
    for item in item.one_or_many(words.len()) {
        if let Some(kind) = item.choice(&words)
            && !kinds.insert(kind)
        {
            item.no_effect("this kind is listed twice", "one is enough: delete this one");
        }
    }
    Some(kinds)
}

fn subjects<'a>(item: &Item<'a>, providers: &[Provider], names: &mut Names<'a>) -> Vec<Subject> {
    if item.is_empty_list() {
        item.no_effect("nobody can match this grant: `to` is empty", "name somebody, or delete the grant");
    }
    let mut list: Vec<Subject> = Vec::new();
    for item in item.one_or_many(MAX_SUBJECTS) {
        let Some(subject) = Subject::decode(&item, providers, names) else { continue };
        if list.contains(&subject) {
            item.no_effect("this subject is listed twice", "one is enough: delete this one");
        } else {
            list.push(subject);
        }
    }
    list
}

/// What is asked of a grant depends on its target. One that is wrong or unknown has its own problem.
fn decode_roles(
    grant: &Item<'_>,
    roles: Option<&Item<'_>>,
    target: Option<&Target>,
) -> Option<Vec<RoleName>> {
    let mints = target.map(|target| matches!(target.credential, Credential::Minted { .. }));
    match (mints, roles) {
        (Some(true), None) => {
            grant.missing("roles", "the target mints a role for each session: list what it is a member of");
            None
        }
        (Some(true), Some(item)) if item.is_empty_list() => {
            item.no_effect(
                "a session could do nothing: `roles` is empty",
                "list what its role is a member of",
            );
            None
        }
        (Some(false), Some(item)) => {
            item.no_effect(
                "`roles` does nothing: the target's credential is static",
                "write `credential: minted` at the target, or delete it",
            );
            None
        }
        (_, None) => Some(Vec::new()),
        (_, Some(item)) => {
            let user = target.map(|target| target.user.as_str());
            let mut list: Vec<RoleName> = Vec::new();
            for item in item.one_or_many(MAX_ROLES) {
                let role = role(&item, user, "sessions could make roles themselves");
                match role {
                    Some(role) if list.contains(&role) => {
                        item.no_effect("this role is listed twice", "one is enough: delete this one");
                    }
                    Some(role) => list.push(role),
                    None => {}
                }
            }
            Some(list)
        }
    }
}

fn decode_lifetime(item: &Item<'_>) -> Option<Duration> {
    let lifetime = item.duration(Duration::from_secs(1), MAX_LIFETIME)?;
    if lifetime >= NOT_JUST_IN_TIME {
        let text = humantime::format_duration(lifetime);
        item.risk(
            format!("a lifetime of {text} is not just in time"),
            "minutes or hours are usual: a new request is cheap",
        );
    }
    Some(lifetime)
}

fn decode_recorded(item: &Item<'_>) -> Option<Recorded> {
    Some(match item.yes_no()? {
        true => Recorded::Yes,
        false => {
            item.risk(
                "recordings under this grant have no parameters, rows or copied data",
                "write `recorded: yes`; `recording` bounds how much of the responses is kept",
            );
            Recorded::No
        }
    })
}

/// What only people's approval needs.
struct Asked<'i, 'a> {
    approvers: Option<&'i Item<'a>>,
    needed: Option<&'i Item<'a>>,
    expires: Option<&'i Item<'a>>,
}

fn decode_when<'a>(
    grant: &Item<'a>,
    decider: Decider,
    &Asked { approvers, needed, expires }: &Asked<'_, 'a>,
    default_approvers: &[GroupAlias],
    names: &mut Names<'a>,
) -> Option<When> {
    let own = approvers.map(|item| group_list(item, MAX_APPROVER_GROUPS, names));
    let count = needed.map_or(Some(1), |item| item.number(1, u64::from(MAX_NEEDED)));
    let waits = expires.map_or(Some(EXPIRES), |item| item.duration(Duration::from_secs(1), MAX_PATIENCE));
    if decider == Decider::Policy {
        for item in [approvers, needed, expires].into_iter().flatten() {
            item.no_effect(
                format!("`{}` does nothing under `when: requested`: no human is asked", item.name()),
                "write `when: approved`, or delete it",
            );
        }
        return Some(When::Requested);
    }
    if let Some(item) = approvers.filter(|item| item.is_empty_list()) {
        item.no_effect("nobody could approve: `approvers` is empty", "name at least one group");
        return None;
    }
    let item_given = approvers;
    let approvers = own.unwrap_or_else(|| default_approvers.to_vec());
    if approvers.is_empty() {
        // When a list was given and none of it was good, that is what is reported.
        if item_given.is_none() {
            grant.missing("approvers", "name the groups that decide, here or once for all at the top level");
        }
        return None;
    }
    Some(When::Approved { approvers, needed: u8::try_from(count?).ok()?, expires: waits? })
}

fn share_a_kind(one: &Grant, other: &Grant) -> bool {
    match (&one.kinds, &other.kinds) {
        (Some(one), Some(other)) => !one.is_disjoint(other),
        _ => true,
    }
}

/// Warns about grants that repeat an earlier one: which of two lifetimes holds would be a surprise.
pub(crate) fn check_repeats(grants: &[(Item<'_>, Grant)]) {
    for (index, (item, grant)) in grants.iter().enumerate() {
        let repeats = |other: &&(Item<'_>, Grant)| {
            other.1.target == grant.target
                && other.1.to.iter().any(|subject| grant.to.contains(subject))
                && share_a_kind(&other.1, grant)
        };
        if let Some((first, _)) = grants.iter().take(index).find(repeats) {
            item.problem(
                Severity::Warning,
                ProblemCode::Risk,
                format!("an earlier grant opens `{}` to the same subject", grant.target),
                format!(
                    "it is on line {}; keep one, so that nobody has to guess which holds",
                    first.node.mark.line
                ),
            );
        }
    }
}
