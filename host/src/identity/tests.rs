//! Whole tokens through the whole way, from a local issuer of Entra's shape.

mod approvers;
mod authority;
mod config;
mod documents;
mod keys;
mod mapped;
mod negative;
mod positive;
mod property;

use super::*;
use crate::demo::issuer::{Issuer as LocalIssuer, TokenSpec};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::ProviderName;

const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const OTHER_TENANT: &str = "99999999-2222-4333-8444-555555555555";
const AUDIENCE: &str = "aaaaaaaa-2222-4333-8444-555555555555";
const OBJECT: &str = "bbbbbbbb-2222-4333-8444-555555555555";
const CLIENT: &str = "cccccccc-2222-4333-8444-555555555555";
const GROUP: &str = "dddddddd-2222-4333-8444-555555555555";

fn now() -> Timestamp {
    "2026-11-21T05:00:00Z".parse().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + seconds).unwrap()
}

fn corp() -> ProviderName {
    ProviderName::new("corp").unwrap()
}

/// An issuer, and a gateway that trusts it.
struct Scene {
    issuer: LocalIssuer,
    identities: Arc<Identities>,
}

impl Scene {
    async fn new() -> Self {
        Scene::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut ProviderConfig)) -> Self {
        let issuer = LocalIssuer::start(TENANT).await.unwrap();
        let mut config = issuer.provider(corp(), AUDIENCE);
        change(&mut config);
        let identities = Arc::new(Identities::new(vec![config]).unwrap());
        Scene { issuer, identities }
    }

    fn token(&self, spec: &TokenSpec) -> String {
        self.issuer.token(spec).unwrap()
    }

    async fn check(&self, token: &str) -> Result<Identity, TokenProblem> {
        self.check_at(token, now()).await
    }

    async fn check_at(&self, token: &str, at: Timestamp) -> Result<Identity, TokenProblem> {
        self.identities.check(&Credential::bearer(token.to_owned()), at).await
    }
}

/// A token that is right in every way.
fn agent() -> TokenSpec {
    TokenSpec::new(CallerKind::Agent, OBJECT, AUDIENCE, now())
}
