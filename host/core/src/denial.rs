//! The deny list: who gets nowhere, whatever tokens and grants say.
//!
//! An entry names one id of one tenant. Providers' names do not count, since a tenant may be configured under several. What
//! may go wrong: an entry that does not hit because it is written otherwise. So ids are compared without regard to case,
//! which at worst hits one more.

use crate::Timestamp;
use crate::identity::IdentityFacts;
use crate::name::{DenialId, Principal};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest tenant or id of an entry, in bytes: Entra's are GUIDs, those of others may be paths or addresses.
pub const MAX_DENIED_BYTES: usize = 256;

/// What an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeniedKind {
    /// One token, by its `uti` or `jti`.
    Credential,
    /// A person, an agent or a workload, by its object id (`oid`, or `sub`).
    Object,
    /// An application, by its client id (`azp` or `appid`): whoever comes through it.
    Client,
    /// All agents of a blueprint.
    Blueprint,
}

impl DeniedKind {
    /// All of them.
    pub const ALL: [DeniedKind; 4] =
        [DeniedKind::Credential, DeniedKind::Object, DeniedKind::Client, DeniedKind::Blueprint];

    /// The word used in the API, on the command line and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            DeniedKind::Credential => "credential",
            DeniedKind::Object => "object",
            DeniedKind::Client => "client",
            DeniedKind::Blueprint => "blueprint",
        }
    }
}

impl fmt::Display for DeniedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for DeniedKind {
    type Err = DeniedError;

    fn from_str(word: &str) -> Result<Self, DeniedError> {
        DeniedKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or(DeniedError::Kind)
    }
}

/// Why something cannot be an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeniedError {
    /// No kind.
    #[error("what is denied is `credential`, `object`, `client` or `blueprint`")]
    Kind,
    /// No tenant.
    #[error("a tenant is 1 to 256 printable ASCII characters without spaces and slashes")]
    Tenant,
    /// No id.
    #[error("an id is 1 to 256 printable ASCII characters without spaces")]
    Id,
}

/// One id of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denied {
    kind: DeniedKind,
    tenant: String,
    id: String,
}

impl Denied {
    /// Checks and wraps.
    pub fn new(
        kind: DeniedKind,
        tenant: impl Into<String>,
        id: impl Into<String>,
    ) -> Result<Self, DeniedError> {
        let (tenant, id) = (tenant.into(), id.into());
        let is_name = |text: &str| {
            (1..=MAX_DENIED_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !is_name(&tenant) || tenant.contains('/') {
            return Err(DeniedError::Tenant);
        }
        if !is_name(&id) {
            return Err(DeniedError::Id);
        }
        Ok(Denied { kind, tenant, id })
    }

    /// What it names.
    pub fn kind(&self) -> DeniedKind {
        self.kind
    }

    /// Of which tenant.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Which.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is about this caller.
    pub fn hits(&self, facts: &IdentityFacts) -> bool {
        let id = match self.kind {
            DeniedKind::Credential => Some(facts.credential_id.as_str()),
            DeniedKind::Object => Some(facts.object_id.as_str()),
            DeniedKind::Client => Some(facts.actor.as_str()),
            DeniedKind::Blueprint => facts.blueprint.as_deref(),
        };
        self.tenant.eq_ignore_ascii_case(&facts.tenant)
            && id.is_some_and(|id| id.eq_ignore_ascii_case(&self.id))
    }
}

/// An entry of the deny list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// Its id.
    pub id: DenialId,
    /// Whom it keeps out.
    pub denied: Denied,
    /// Why; for operators, not for those who are denied.
    pub reason: String,
    /// Who made it.
    pub by: Principal,
    /// When.
    pub made: Timestamp,
    /// When it ends by itself; none: when it is lifted.
    pub until: Option<Timestamp>,
}

impl Denial {
    /// Whether it keeps this caller out now.
    pub fn holds_against(&self, facts: &IdentityFacts, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until) && self.denied.hits(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{CallerKind, Groups};
    use crate::name::ProviderName;

    const TENANT: &str = "8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn facts(provider: &str) -> IdentityFacts {
        let provider = ProviderName::new(provider).unwrap();
        IdentityFacts {
            principal: Principal::of(&provider, TENANT, "oid-1").unwrap(),
            provider,
            tenant: TENANT.into(),
            object_id: "oid-1".into(),
            kind: CallerKind::HumanThroughAgent,
            audience: Default::default(),
            groups: Groups::Unknown,
            roles: Default::default(),
            actor: "client-1".into(),
            blueprint: Some("print-1".into()),
            display_name: Some("oid-2".into()),
            sponsors: Vec::new(),
            credential_id: "uti-1".into(),
            issued_at: at(0),
            expires_at: at(3600),
        }
    }

    #[test]
    fn an_entry_hits_its_own_fact_in_its_own_tenant_and_no_other() {
        use DeniedKind::*;
        for (kind, id, expected) in [
            (Credential, "uti-1", true),
            (Object, "oid-1", true),
            (Client, "client-1", true),
            (Blueprint, "print-1", true),
            // Written otherwise, the same.
            (Object, "OID-1", true),
            (Credential, "oid-1", false),
            (Object, "oid-2", false),
            (Object, "oid-10", false),
            (Object, "oid-", false),
            (Client, "oid-1", false),
            (Blueprint, "client-1", false),
        ] {
            let hits =
                |tenant: &str, facts: &IdentityFacts| Denied::new(kind, tenant, id).unwrap().hits(facts);
            assert_eq!(hits(TENANT, &facts("corp")), expected, "{kind} {id}");
            assert_eq!(hits(&TENANT.to_uppercase(), &facts("other-name")), expected, "{kind} {id}");
            assert!(!hits("another-tenant", &facts("corp")), "{kind} {id}");
        }
        let without = IdentityFacts { blueprint: None, ..facts("corp") };
        assert!(!Denied::new(Blueprint, TENANT, "print-1").unwrap().hits(&without));
    }

    #[test]
    fn an_entry_ends_at_its_time_or_never() {
        let denial = |until| Denial {
            id: DenialId::new(uuid::Uuid::nil()),
            denied: Denied::new(DeniedKind::Object, TENANT, "oid-1").unwrap(),
            reason: "incident".into(),
            by: facts("corp").principal,
            made: at(0),
            until,
        };
        assert!(denial(None).holds_against(&facts("corp"), at(1_000_000)));
        assert!(denial(Some(at(10))).holds_against(&facts("corp"), at(9)));
        assert!(!denial(Some(at(10))).holds_against(&facts("corp"), at(10)));
    }

    #[test]
    fn what_is_denied_is_written_in_plain_characters() {
        for (tenant, id, expected) in [
            ("", "x", DeniedError::Tenant),
            ("a/b", "x", DeniedError::Tenant),
            ("a b", "x", DeniedError::Tenant),
            ("é", "x", DeniedError::Tenant),
            ("t", "", DeniedError::Id),
            ("t", "a b", DeniedError::Id),
            ("t", "a\u{1b}[31m", DeniedError::Id),
            ("t", &"x".repeat(MAX_DENIED_BYTES + 1), DeniedError::Id),
        ] {
            assert_eq!(Denied::new(DeniedKind::Object, tenant, id), Err(expected), "{tenant:?} {id:?}");
        }
        assert!(Denied::new(DeniedKind::Object, "t", "system:serviceaccount/x").is_ok());
        for kind in DeniedKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("Object".parse::<DeniedKind>(), Err(DeniedError::Kind));
    }
}
