//! Whom the policy means: groups by alias, and the subjects that grants name.
//!
//! A group or a principal is always a provider's id, never a name or an e-mail address: those can be given to others.

use super::decode::{Item, NAME_HELP, is_plain_name};
use super::names::{Kind, Names};
use super::problem::quote;
use super::provider::{Provider, ProviderKind, guid};
use chaperone_core::approval::NO_TENANT;
use chaperone_core::name::{GroupAlias, Principal, ProviderName};

/// The most group aliases.
pub(crate) const MAX_GROUPS: usize = 2000;

/// An alias of a provider's group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The readable name.
    pub alias: GroupAlias,
    /// Whose group it is.
    pub provider: ProviderName,
    /// The group's id there, in lower case when it is a GUID.
    pub object_id: String,
}

impl Group {
    pub(crate) fn decode<'a>(
        alias: &str,
        item: &Item<'a>,
        entra: &[ProviderName],
        names: &mut Names<'a>,
    ) -> Option<Self> {
        if !is_plain_name(alias) {
            item.invalid(format!("{} is not a group's alias", quote(alias)), NAME_HELP);
            return None;
        }
        names.define(Kind::Group, alias, item);
        let text = item.text("`provider/object-id`")?;
        let Some((provider, id)) = text.split_once('/').filter(|(_, id)| fits_id(id)) else {
            item.invalid(
                format!("{} is not a group", quote(text)),
                "write `provider/object-id`, the id as the provider's portal shows it",
            );
            return None;
        };
        names.refer(Kind::Provider, provider, item);
        let provider = ProviderName::new(provider).ok()?;
        let known = guid(id);
        if known.is_none() && entra.contains(&provider) {
            item.risk(
                format!("{} is a name, and Entra's tokens carry groups by GUID: nobody may match", quote(id)),
                "write the group's object id; a name can also be given to another group",
            );
        }
        let object_id = known.unwrap_or_else(|| id.to_owned());
        Some(Group { alias: GroupAlias::new(alias).ok()?, provider, object_id })
    }
}

fn fits_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && !id.contains('/') && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Who a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Members of a group.
    Group(GroupAlias),
    /// One principal.
    Principal(Principal),
    /// Who holds an app role of a provider.
    Role {
        /// The provider.
        provider: ProviderName,
        /// The role's value in the token.
        name: String,
    },
    /// Everybody whom a provider vouches for.
    Provider(ProviderName),
}

const SUBJECT_HELP: &str =
    "write `group:ALIAS`, `role:PROVIDER/NAME`, `principal:PROVIDER/TENANT/OBJECT-ID` or `provider:NAME`";

impl Subject {
    pub(crate) fn decode<'a>(item: &Item<'a>, providers: &[Provider], names: &mut Names<'a>) -> Option<Self> {
        let text = item.text("a subject such as `group:ALIAS`")?;
        let (kind, rest) = text.split_once(':').unwrap_or(("", text));
        let parts: Vec<&str> = rest.split('/').collect();
        match (kind, parts.as_slice()) {
            ("group", [alias]) if !alias.is_empty() => {
                names.refer(Kind::Group, alias, item);
                GroupAlias::new(*alias).ok().map(Subject::Group)
            }
            ("role", [provider, name]) if fits_id(name) => {
                names.refer(Kind::Provider, provider, item);
                let provider = ProviderName::new(*provider).ok()?;
                Some(Subject::Role { provider, name: (*name).to_owned() })
            }
            ("provider", [provider]) if !provider.is_empty() => {
                names.refer(Kind::Provider, provider, item);
                ProviderName::new(*provider).ok().map(Subject::Provider)
            }
            ("principal", [provider, tenant, object]) if fits_id(tenant) && fits_id(object) => {
                names.refer(Kind::Provider, provider, item);
                Subject::principal(item, providers, provider, tenant, object)
            }
            _ => {
                item.invalid(format!("{} is not a subject", quote(text)), SUBJECT_HELP);
                None
            }
        }
    }

    fn principal(
        item: &Item<'_>,
        providers: &[Provider],
        name: &str,
        tenant: &str,
        object: &str,
    ) -> Option<Self> {
        let canonical = |text: &str| guid(text).unwrap_or_else(|| text.to_owned());
        let (tenant, object) = (canonical(tenant), canonical(object));
        let provider = providers.iter().find(|provider| provider.name.as_str() == name);
        if let Some(provider) = provider
            && !provider.tenants.is_empty()
            && !provider.tenants.contains(&tenant)
        {
            item.invalid(
                format!(
                    "nobody can match this: {} is no tenant of the provider {}",
                    quote(&tenant),
                    quote(name)
                ),
                "add the tenant to the provider, or mend the principal",
            );
            return None;
        }
        if provider.is_some_and(|provider| provider.kind == ProviderKind::Oidc) && *tenant != *NO_TENANT {
            item.invalid(
                format!("nobody can match this: the provider {} has no tenants", quote(name)),
                format!("write `principal:{name}/{NO_TENANT}/SUBJECT`"),
            );
            return None;
        }
        if provider.is_some_and(|provider| provider.kind == ProviderKind::Entra) && guid(&object).is_none() {
            item.invalid(
                format!("nobody can match this: {} is no object id", quote(&object)),
                "Entra's object ids are GUIDs; names and e-mail addresses never stand for anyone",
            );
            return None;
        }
        let name = ProviderName::new(name).ok()?;
        Principal::of(&name, &tenant, &object).ok().map(Subject::Principal)
    }
}

/// Group aliases, where only groups make sense; the `group:` in front may be left out.
pub(crate) fn group_list<'a>(item: &Item<'a>, max: usize, names: &mut Names<'a>) -> Vec<GroupAlias> {
    let mut aliases = Vec::new();
    for item in item.one_or_many(max) {
        let Some(text) = item.text("a group's alias such as `group:dba`") else { continue };
        let alias = text.strip_prefix("group:").unwrap_or(text);
        if !is_plain_name(alias) {
            item.invalid(
                format!("{} is not a group's alias", quote(text)),
                "write `group:ALIAS`; only groups are accepted here",
            );
            continue;
        }
        names.refer(Kind::Group, alias, &item);
        aliases.extend(GroupAlias::new(alias).ok().filter(|alias| !aliases.contains(alias)));
    }
    aliases
}
