//! The ID token: that this sign-in is the one that was begun, and who it is about (OpenID Connect Core 1.0, section 3.1.3.7).
//!
//! It opens nothing and approves nothing. Its signature is checked with the same keys as every other token's, although it comes
//! straight from the provider.

use super::SignInError;
use crate::identity::claims::{Form, SKEW_SECONDS};
use crate::identity::token::{TokenType, Verified};
use crate::identity::{Credential, Identities};
use chaperone_core::Timestamp;
use chaperone_core::identity::IdentityFacts;

/// What it has to say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
}

/// Whom it is about.
pub(super) struct Subject<'a> {
    /// Whether it is Entra's.
    entra: bool,
    tenant: String,
    token: Verified<'a>,
}

impl Expected<'_> {
    /// Who signed in. Nobody is told which of the rules it breaks; the log is.
    pub(super) async fn check<'a>(
        &self,
        identities: &'a Identities,
        id_token: &'a Credential,
        now: Timestamp,
    ) -> Result<Subject<'a>, SignInError> {
        let refused = |why: &dyn std::fmt::Display| {
            tracing::warn!(%why, "an ID token is not of its sign-in");
            SignInError::IdToken
        };
        let verified = identities.verified(id_token, now).await;
        let (token, issuer) = verified.map_err(|problem| refused(&problem))?;
        if issuer.rules.issuer != self.issuer {
            return Err(refused(&"another issuer"));
        }
        self.check_claims(&token, now).map_err(|why| refused(&why))?;
        let entra = matches!(issuer.rules.form, Form::EntraV1 | Form::EntraV2);
        Ok(Subject { entra, tenant: issuer.rules.tenant.clone(), token })
    }

    fn check_claims(&self, token: &Verified<'_>, now: Timestamp) -> Result<(), &'static str> {
        let claims = &token.claims;
        if token.kind != TokenType::Plain {
            return Err("typ");
        }
        // One audience, in either form: with a second one somebody else could have asked for it.
        let alone = match claims.optional_texts("aud") {
            Ok(Some(audiences)) => audiences == [self.client_id],
            _ => claims.text("aud") == Ok(self.client_id),
        };
        if !alone {
            return Err("aud");
        }
        if claims.has("azp") && claims.text("azp") != Ok(self.client_id) {
            return Err("azp");
        }
        if claims.text("nonce") != Ok(self.nonce) {
            return Err("nonce");
        }
        let now = now.as_second();
        match (claims.integer("iat"), claims.integer("exp")) {
            (Ok(issued), Ok(expires)) => {
                let begun = issued <= now.saturating_add(SKEW_SECONDS);
                let over = now >= expires.saturating_add(SKEW_SECONDS);
                if begun && !over { Ok(()) } else { Err("iat, exp") }
            }
            _ => Err("iat, exp"),
        }
    }
}

impl Subject<'_> {
    /// Whether an access token is about the same subject. At Entra `sub` differs for each application, so it is the object.
    pub(super) fn is_of(&self, facts: &IdentityFacts, access: &Verified<'_>) -> bool {
        let says = |claim: &str, text: &str| !text.is_empty() && self.token.claims.text(claim) == Ok(text);
        self.tenant == facts.tenant
            && match self.entra {
                true => says("oid", &facts.object_id) && says("tid", &facts.tenant),
                false => access.claims.text("sub").is_ok_and(|subject| says("sub", subject)),
            }
    }
}
