//! The policy: who may open which target, how, and for how long.

use super::approving::{ApproverGroup, Asked};
use super::condition::{self, Counted, Given};
use super::decode::Item;
use super::labels;
use super::names::Names;
use super::problem::{ProblemCode, Severity};
use super::provider::{Provider, ProviderKind};
use super::subject::Subject;
use super::target::{Credential, Target, role};
use chaperone_core::grant::{Amounts, Conditions, MAX_LIFETIME, MAX_ROLES, Recorded, Ticket};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{GroupAlias, ProviderName, TargetName};
use chaperone_core::role::RoleName;
use std::collections::BTreeSet;
use std::time::Duration;

/// The most grants.
pub(crate) const MAX_GRANTS: usize = 5000;
/// The most pairs of a rule and a target that labels may make: a bound on the work of each decision.
pub(crate) const MAX_RULES_ON_TARGETS: usize = 20_000;
/// The most subjects of one grant.
pub(crate) const MAX_SUBJECTS: usize = 256;
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
        approvers: Vec<ApproverGroup>,
        /// How long a request waits for them.
        expires: Duration,
    },
}

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Which targets it opens. Never empty.
    pub targets: Vec<TargetName>,
    /// For whom. Never empty.
    pub to: Vec<Subject>,
    /// Of which kinds they have to be; none: any.
    pub kinds: Option<BTreeSet<CallerKind>>,
    /// When, and from where.
    pub only: Conditions,
    /// Whether a request needs a ticket.
    pub ticket: Ticket,
    /// Who decides.
    pub when: When,
    /// The longest window.
    pub lifetime: Duration,
    /// How many windows and sessions.
    pub amounts: Amounts,
    /// Whether its sessions are recorded.
    pub recorded: Recorded,
    /// What a session's role is a member of. Empty unless a target mints.
    pub roles: Vec<RoleName>,
    /// Where it stands in the file.
    pub line: usize,
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
        let on = fields.need("grant", "the target's name, or `{ labels: … }`");
        let to = fields.need("to", "whom it is for, such as `group:ALIAS`");
        let kind = fields.get("kind");
        let when = fields.need("when", "`requested` (the policy decides) or `approved` (a human decides)");
        let lifetime = fields.need("lifetime", "how long a window may be, such as `15m`");
        let (given, counted) = (Given::get(&mut fields), Counted::get(&mut fields));
        let ticket = fields.get("ticket");
        let recorded = fields.get("recorded");
        let approvers = fields.get("approvers");
        let needed = fields.get("needed");
        let expires = fields.get("expires");
        let roles = fields.get("roles");
        fields.finish();
        let on = on.map(|item| labels::targets(&item, targets, names));
        let to = to.map(|item| subjects(&item, providers, names));
        let kinds = kind.map_or(Some(None), |item| condition::kinds(&item).map(Some));
        let (only, amounts, ticket) = (given.decode(), counted.decode(), condition::ticket(ticket.as_ref()));
        let decider = when
            .as_ref()
            .and_then(|item| item.choice(&[("requested", Decider::Policy), ("approved", Decider::Human)]));
        let asked = Asked { approvers, needed, expires };
        let when = decider.and_then(|decider| match decider {
            Decider::Policy => {
                asked.do_nothing();
                Some(When::Requested)
            }
            Decider::Human => {
                let (approvers, expires) = asked.decode(item, default_approvers, names)?;
                Some(When::Approved { approvers, expires })
            }
        });
        let lifetime = lifetime.and_then(|item| decode_lifetime(&item));
        let recorded = recorded.map_or(Some(Recorded::Yes), |item| decode_recorded(&item));
        if let (Some(to), Some(None)) = (&to, &kinds) {
            warn_of_everybody(item, to, providers);
        }
        let on = on.unwrap_or_default();
        let known: Vec<&Target> = targets.iter().filter(|target| on.contains(&target.name)).collect();
        let roles = decode_roles(item, roles.as_ref(), &known);
        let targets = Some(on).filter(|on| !on.is_empty())?;
        Some(Grant {
            targets,
            to: to?,
            kinds: kinds?,
            only: only?,
            ticket: ticket?,
            when: when?,
            lifetime: lifetime?,
            amounts: amounts?,
            recorded: recorded?,
            roles: roles?,
            line: item.node.mark.line,
        })
    }
}

/// Any application of an Entra tenant can get a token for the gateway without anybody's consent (IDENTITY: a valid token is
/// not access).
fn warn_of_everybody(grant: &Item<'_>, to: &[Subject], providers: &[Provider]) {
    let entra = |name: &ProviderName| {
        providers.iter().any(|one| one.name == *name && one.kind == ProviderKind::Entra)
    };
    if to.iter().any(|subject| matches!(subject, Subject::Provider(name) if entra(name))) {
        grant.risk(
            "this grant is for everybody with a token of an Entra tenant, and any application there can get one",
            "name groups, app roles or principals; or narrow it with `kind`",
        );
    }
}

pub(super) fn subjects<'a>(item: &Item<'a>, providers: &[Provider], names: &mut Names<'a>) -> Vec<Subject> {
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

/// What is asked of a grant depends on its targets. Those that are wrong or unknown have their own problem.
fn decode_roles(grant: &Item<'_>, roles: Option<&Item<'_>>, targets: &[&Target]) -> Option<Vec<RoleName>> {
    let minting = |target: &&Target| matches!(target.credential, Credential::Minted { .. });
    let mints = (!targets.is_empty()).then(|| targets.iter().any(minting));
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
            let users: Vec<&str> = targets.iter().map(|target| target.user.as_str()).collect();
            let mut list: Vec<RoleName> = Vec::new();
            for item in item.one_or_many(MAX_ROLES) {
                let role = role(&item, &users, "sessions could make roles themselves");
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

/// The first target of both.
fn shared(one: &Grant, other: &Grant) -> String {
    one.targets
        .iter()
        .find(|target| other.targets.contains(target))
        .map(ToString::to_string)
        .unwrap_or_default()
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
            other.1.targets.iter().any(|target| grant.targets.contains(target))
                && other.1.to.iter().any(|subject| grant.to.contains(subject))
                && share_a_kind(&other.1, grant)
        };
        if let Some(first) = grants.iter().take(index).find(repeats) {
            item.problem(
                Severity::Warning,
                ProblemCode::Risk,
                format!("an earlier grant opens `{}` to the same subject", shared(&first.1, grant)),
                format!(
                    "it is on line {}; keep one, so that nobody has to guess which holds",
                    first.0.node.mark.line
                ),
            );
        }
    }
}
