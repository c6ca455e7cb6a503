//! Callers and groups for the tests of this crate.

use super::Subject;
use crate::Timestamp;
use crate::identity::{CallerKind, Groups, IdentityFacts};
use crate::name::{GroupAlias, Principal, ProviderName};

/// A caller of tenant `t`.
pub(crate) fn facts(provider: &str, object: &str, kind: CallerKind, groups: &[&str]) -> IdentityFacts {
    let provider = ProviderName::new(provider).unwrap();
    IdentityFacts {
        principal: Principal::of(&provider, "t", object).unwrap(),
        provider,
        tenant: "t".into(),
        object_id: object.into(),
        kind,
        audience: Default::default(),
        groups: Groups::Known(groups.iter().map(ToString::to_string).collect()),
        roles: Default::default(),
        actor: "client".into(),
        blueprint: None,
        display_name: None,
        sponsors: Vec::new(),
        credential_id: "uti".into(),
        issued_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::MAX,
    }
}

/// A group of a provider.
pub(crate) fn group(provider: &str, id: &str, alias: &str) -> Subject {
    Subject::Group {
        provider: ProviderName::new(provider).unwrap(),
        id: id.into(),
        alias: GroupAlias::new(alias).unwrap(),
    }
}
