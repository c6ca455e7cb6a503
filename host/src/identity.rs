//! Who is calling: a credential becomes an [`Identity`], or a refusal.
//!
//! One function, [`Identities::check`], is the whole way: read the form, select the issuer by its exact text, take the
//! key from that issuer's own store, verify, and only then look at the claims. Each step returns what the next one
//! needs, and [`Identity`] can be made nowhere else but in `graph`, which adds what a token leaves open. Signature checks are a
//! library's; everything around them is strict reading, since that is where token checks go wrong in practice.
//!
//! What may go wrong: a valid token is not access. Any application of a trusted tenant can get a token for ours, so an
//! identity only says *who*; grants say what for. Tokens cannot be revoked: no session outlives
//! [`IdentityFacts::expires_at`]. That time may already lie up to a minute back when clocks differ (the skew); such a
//! session ends as soon as it starts.

mod build;
mod caller;
mod claims;
mod config;
pub mod device;
mod fetch;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod graph;
mod json;
mod jwks;
mod keys;
mod mapping;
mod presets;
mod problem;
pub mod signin;
#[cfg(test)]
mod tests;
mod token;

pub use config::{
    Approvers, Cloud, IdentityConfigError, LoopbackHttp, MAX_PROVIDER_NAME_BYTES, MAX_PROVIDERS, MAX_TENANTS,
    MAX_TOKEN_LIFETIME, MIN_TOKEN_AGE, ProviderConfig, ProviderKind, ProviderProblem, UnmarkedUsers,
};
pub use fetch::UrlError;
pub use graph::{ClientSecret, GraphConfig, MAX_ASKED, PolicyGroups};
pub use mapping::{
    ClaimMapping, ClaimPath, MAX_ACCEPTED, MAX_PATH_BYTES, MAX_PATH_STEPS, MAX_REQUIRED, MappedKind,
    MappedType, MappingProblem, PathError,
};
pub use presets::Preset;
pub use problem::TokenProblem;

pub(crate) use claims::is_graph_audience;

use build::{Built, Issuer};
use chaperone_core::Timestamp;
use chaperone_core::identity::IdentityFacts;
use chaperone_core::name::ProviderName;
use chaperone_core::refusal::Refusal;
use graph::Graph;
use keys::{BACKGROUND_INTERVAL, BACKGROUND_RETRY, KeyStore, NoKey, Outcome};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use token::{Unverified, Verified};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The longest token that is accepted, in bytes. Entra's have 7 to 10 kB when they carry 200 groups.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Whether keys may be fetched from an address.
pub(crate) fn is_document_address(url: &str, loopback: LoopbackHttp) -> Result<(), UrlError> {
    fetch::DocumentUrl::parse(url, loopback).map(drop)
}

/// Whether a tenant is that of personal Microsoft accounts, where anybody in the world gets a token.
pub(crate) fn is_everybodys_tenant(tenant: &str) -> bool {
    tenant.eq_ignore_ascii_case(build::CONSUMER_TENANT)
}

/// Where psql's password prompt cuts, in bytes.
const PSQL_PROMPT_BYTES: usize = 4095;

/// Whether a token of this length was probably cut by psql's password prompt.
pub fn looks_cut(token_bytes: usize) -> bool {
    token_bytes == PSQL_PROMPT_BYTES
}

/// What a client presented. Wiped from memory when dropped; it cannot be printed.
pub struct Credential(SecretString);

impl Credential {
    /// A bearer token, without the word `Bearer`.
    pub fn bearer(token: String) -> Self {
        Credential(SecretString::from(token))
    }

    /// Its length in bytes, for [`TokenProblem::refusal`].
    pub fn token_bytes(&self) -> usize {
        self.text().len()
    }

    fn text(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A validated credential. Only this module can make one, so whoever holds one knows that all checks passed. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    facts: Arc<IdentityFacts>,
    completeness: Completeness,
}

/// Whether all is known of a caller that could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// What the token proves, and what its provider says where it was asked.
    Complete,
    /// The provider should have been asked for more, and did not answer: what does not match may match in a moment.
    Open,
}

impl Identity {
    /// What was proved.
    pub fn facts(&self) -> &IdentityFacts {
        &self.facts
    }

    /// Whether a provider that did not answer could have added to it.
    pub fn completeness(&self) -> Completeness {
        self.completeness
    }

    /// An identity out of nothing, for the tests of other modules of this crate.
    #[cfg(test)]
    #[allow(dead_code, reason = "for modules whose tests need an identity and no token")]
    pub(crate) fn for_test(facts: IdentityFacts) -> Self {
        Identity { facts: Arc::new(facts), completeness: Completeness::Complete }
    }

    /// The same, as it is while its provider does not answer.
    #[cfg(test)]
    pub(crate) fn open_for_test(facts: IdentityFacts) -> Self {
        Identity { facts: Arc::new(facts), completeness: Completeness::Open }
    }
}

/// The configured providers and their keys.
pub struct Identities {
    issuers: HashMap<String, Issuer>,
    stores: Vec<Arc<KeyStore>>,
    graphs: HashMap<ProviderName, Graph>,
    /// The runtime that carries fetches, once [`Identities::spawn_refresh`] named it.
    control: OnceLock<Handle>,
}

impl Identities {
    /// Checks the configuration. Nothing is fetched yet.
    pub fn new(providers: Vec<ProviderConfig>) -> Result<Self, IdentityConfigError> {
        // Said explicitly, since the library could otherwise panic at its first use. An error says "already done".
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let Built { issuers, stores, graphs } = build::build(providers)?;
        Ok(Identities { issuers, stores, graphs, control: OnceLock::new() })
    }

    /// Whether [`Identities::new`] would take these providers, all but the files that they name: so that a check of the
    /// configuration refuses what a start would.
    pub fn would_take(providers: Vec<ProviderConfig>) -> Result<(), IdentityConfigError> {
        build::check(providers)
    }

    /// What the credential proves, or what its sender is told.
    ///
    /// Waits only when the token names an unknown key: then for one fetch, at most ten seconds. Must run within a tokio
    /// runtime.
    pub async fn identify(&self, credential: &Credential, now: Timestamp) -> Result<Identity, Refusal> {
        self.check(credential, now).await.map_err(|problem| {
            tracing::info!(%problem, "a credential proves no identity");
            problem.refusal(credential.token_bytes())
        })
    }

    /// As [`Identities::identify`], with the exact problem: for records and the audit trail, not for clients.
    pub async fn check(&self, credential: &Credential, now: Timestamp) -> Result<Identity, TokenProblem> {
        let (verified, issuer) = self.verified(credential, now).await?;
        let facts = Arc::new(issuer.rules.facts(&verified, now)?);
        Ok(Identity { facts, completeness: Completeness::Complete })
    }

    /// What a configured provider has signed, whatever it says.
    async fn verified<'a>(
        &'a self,
        credential: &'a Credential,
        now: Timestamp,
    ) -> Result<(Verified<'a>, &'a Issuer), TokenProblem> {
        let token = Unverified::read(credential.text())?;
        let issuer = self.issuers.get(token.issuer()).ok_or(TokenProblem::IssuerUnknown)?;
        let key =
            issuer.keys.find(token.key_id(), now, &self.runtime()).await.map_err(
                |missing| match missing {
                    NoKey::Unknown => TokenProblem::KeyUnknown,
                    NoKey::Unavailable => TokenProblem::KeysUnavailable,
                },
            )?;
        if !key.is_for(&issuer.rules.key_issuers, &issuer.rules.tenant) {
            return Err(TokenProblem::KeyOfOtherIssuer);
        }
        Ok((token.verify(&key)?, issuer))
    }

    /// What carries fetches: the control runtime, once it is known.
    fn runtime(&self) -> Handle {
        self.control.get().cloned().unwrap_or_else(Handle::current)
    }

    /// Keeps all keys fresh on the control runtime until `stop`: at once, then hourly, and sooner after a failure.
    /// Fetches that unknown keys force run there too from now on.
    pub fn spawn_refresh(&self, control: &Handle, stop: &CancellationToken) {
        let _ = self.control.set(control.clone());
        for store in &self.stores {
            let (store, stop, runtime) = (Arc::clone(store), stop.clone(), control.clone());
            control.spawn(async move {
                let _ = stop.run_until_cancelled(refresh_forever(&store, &runtime)).await;
            });
        }
    }
}

/// The only place of this module that asks for the time.
async fn refresh_forever(store: &Arc<KeyStore>, runtime: &Handle) {
    loop {
        let pause = match store.refresh(Timestamp::now(), runtime).await {
            Outcome::Succeeded => BACKGROUND_INTERVAL,
            Outcome::NeverTried | Outcome::Failed => BACKGROUND_RETRY,
        };
        tokio::time::sleep(pause).await;
    }
}
