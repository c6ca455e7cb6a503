//! Access tokens by RFC 9068, for providers that are not Entra.
//!
//! The profile exists so that access tokens and ID tokens can be told apart: the header's `typ` says `at+jwt`, and that
//! is required here. Nothing in it tells people from programs, except that a client that asks for itself has its own id
//! as subject (section 2.2); so a caller is a workload or unknown, and never an approver.

use super::{Rules, Times, display_name, plain_text, roles};
use crate::identity::problem::TokenProblem;
use crate::identity::token::{TokenType, Verified, claim_problem};
use chaperone_core::identity::{CallerKind, Groups, IdentityFacts};
use chaperone_core::name::Principal;

/// What an access token of the profile proves.
pub(super) fn facts(
    rules: &Rules,
    token: &Verified<'_>,
    times: Times,
) -> Result<IdentityFacts, TokenProblem> {
    if token.kind != TokenType::AccessToken {
        // Without the type it might be an ID token: fails closed (section 4).
        return Err(TokenProblem::Type);
    }
    let claims = &token.claims;
    let subject = plain_text(claims, "sub")?;
    let client = plain_text(claims, "client_id")?;
    let principal = Principal::of(&rules.provider.name, &rules.tenant, subject)
        .map_err(|_| TokenProblem::ClaimMalformed("sub"))?;
    let groups = claims.optional_texts("groups").map_err(|error| claim_problem("groups", error))?;
    Ok(IdentityFacts {
        provider: rules.provider.name.clone(),
        tenant: rules.tenant.clone(),
        object_id: subject.to_owned(),
        principal,
        kind: if subject == client { CallerKind::Workload } else { CallerKind::Unknown },
        audience: Default::default(),
        groups: groups
            .map_or(Groups::Unknown, |ids| Groups::Known(ids.into_iter().map(str::to_owned).collect())),
        roles: roles(claims)?,
        actor: client.to_owned(),
        blueprint: None,
        display_name: display_name(claims, "name"),
        sponsors: Vec::new(),
        credential_id: plain_text(claims, "jti")?.to_owned(),
        issued_at: times.issued_at,
        expires_at: times.expires_at,
    })
}
