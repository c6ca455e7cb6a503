//! Tokens and key documents before any signature is checked, for the fuzz targets. Nothing here proves an identity.

use super::claims::{Form, Provider, Rules};
use super::config::MAX_TOKEN_LIFETIME;
use super::jwks;
use super::mapping::{ClaimMapping, ClaimPath, MappedKind, MappedType};
use super::token::Unverified;
use chaperone_core::Timestamp;
use chaperone_core::approval::NO_TENANT;
use chaperone_core::identity::IdentityFacts;
use chaperone_core::name::ProviderName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use super::MAX_TOKEN_BYTES;

/// Issuer and key id that a token names; none when its form is refused.
pub fn read(token: &str) -> Option<(String, String)> {
    let token = Unverified::read(token).ok()?;
    Some((token.issuer().to_owned(), token.key_id().to_owned()))
}

/// The ids of the usable keys of a key document.
pub fn keys(document: &[u8]) -> Option<Vec<String>> {
    jwks::parse(document).ok().map(|keys| keys.into_keys().collect())
}

/// What the claims of a token would prove at a time, in seconds since 1970, under a mapping like a cluster's, had a provider
/// signed them.
pub fn mapped(token: &str, now: i64) -> Option<IdentityFacts> {
    let token = Unverified::read(token).ok()?;
    let set = |text: &str| BTreeSet::from([text.to_owned()]);
    let number = ClaimPath::of(&["number"]);
    let mapping = ClaimMapping {
        form: MappedType::Plain,
        subject: ClaimPath::of(&["kubernetes.io", "serviceaccount", "uid"]),
        actor: ClaimPath::of(&["sub"]),
        kind: MappedKind::Workload,
        groups: Some(ClaimPath::of(&["groups"])),
        roles: Some(ClaimPath::of(&["kubernetes.io", "roles"])),
        numbers: BTreeSet::from([number.clone()]),
        require: BTreeMap::from([
            (ClaimPath::of(&["kubernetes.io", "namespace"]), set("prod")),
            (number, set("7")),
        ]),
    };
    let provider = Provider {
        name: ProviderName::new("ci").ok()?,
        audiences: set("chaperone"),
        approvers: None,
        max_age_seconds: i64::try_from(MAX_TOKEN_LIFETIME.as_secs()).ok()?,
        human_clients: None,
    };
    let rules = Rules {
        provider: Arc::new(provider),
        issuer: token.issuer().to_owned(),
        tenant: NO_TENANT.to_owned(),
        form: Form::Mapped(mapping),
        key_issuers: Vec::new(),
    };
    rules.facts(&token.unchecked(), Timestamp::from_second(now).ok()?).ok()
}
