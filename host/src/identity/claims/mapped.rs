//! Tokens that are read by a mapping of the configuration.
//!
//! Refusals name a claim by what it is to the mapping (`claims.subject`), since the paths are configured values; the log has
//! the path. A claim of the wrong type is a refusal, never absence: a number where a text is expected may be another id.

use super::{Rules, Times, is_plain};
use crate::identity::json::{Json, MemberError};
use crate::identity::mapping::{ClaimMapping, ClaimPath, MappedType};
use crate::identity::problem::TokenProblem;
use crate::identity::token::{TokenType, Verified, claim_problem};
use aws_lc_rs::digest::{SHA256, digest};
use chaperone_core::identity::{Groups, IdentityFacts};
use chaperone_core::name::Principal;
use std::borrow::Cow;
use std::collections::BTreeSet;

const SUBJECT: &str = "claims.subject";
const ACTOR: &str = "claims.actor";
const GROUPS: &str = "claims.groups";
const ROLES: &str = "claims.roles";
const REQUIRE: &str = "claims.require";

/// A token under a mapping.
struct Reader<'a> {
    rules: &'a Rules,
    mapping: &'a ClaimMapping,
    token: &'a Verified<'a>,
}

/// What a token proves under a mapping.
pub(super) fn facts(
    rules: &Rules,
    mapping: &ClaimMapping,
    token: &Verified<'_>,
    times: Times,
) -> Result<IdentityFacts, TokenProblem> {
    let expected = match mapping.form {
        MappedType::AccessToken => TokenType::AccessToken,
        MappedType::Plain => TokenType::Plain,
    };
    if token.kind != expected {
        return Err(TokenProblem::Type);
    }
    let reader = Reader { rules, mapping, token };
    reader.check_required()?;
    let subject = reader.name(SUBJECT, &mapping.subject)?;
    let actor = reader.name(ACTOR, &mapping.actor)?;
    // A slash is refused and never replaced: two subjects must not become one.
    let principal = Principal::of(&rules.provider.name, &rules.tenant, &subject)
        .map_err(|_| reader.refused(&mapping.subject, TokenProblem::ClaimMalformed(SUBJECT)))?;
    Ok(IdentityFacts {
        provider: rules.provider.name.clone(),
        tenant: rules.tenant.clone(),
        object_id: subject.into_owned(),
        principal,
        kind: mapping.kind.into(),
        groups: reader.texts(GROUPS, mapping.groups.as_ref())?.map_or(Groups::Unknown, Groups::Known),
        roles: reader.texts(ROLES, mapping.roles.as_ref())?.unwrap_or_default(),
        actor: actor.into_owned(),
        blueprint: None,
        display_name: None,
        sponsors: Vec::new(),
        audience: Default::default(),
        credential_id: credential_id(token)?,
        issued_at: times.issued_at,
        expires_at: times.expires_at,
    })
}

impl<'a> Reader<'a> {
    /// Every claim that is required says one of the values that are accepted of it.
    fn check_required(&self) -> Result<(), TokenProblem> {
        for (path, accepted) in &self.mapping.require {
            let value = self.value(REQUIRE, path)?;
            if !value.is_some_and(|value| accepted.contains(value.as_ref())) {
                return Err(self.refused(path, TokenProblem::Unaccepted));
            }
        }
        Ok(())
    }

    /// A required text that may stand in records and names.
    fn name(&self, what: &'static str, path: &ClaimPath) -> Result<Cow<'a, str>, TokenProblem> {
        match self.value(what, path)? {
            None => Err(self.refused(path, TokenProblem::ClaimMissing(what))),
            Some(value) if is_plain(&value) => Ok(value),
            Some(_) => Err(self.refused(path, TokenProblem::ClaimMalformed(what))),
        }
    }

    /// A text, or an integer in its one decimal form where the mapping says that the issuer writes one.
    fn value(&self, what: &'static str, path: &ClaimPath) -> Result<Option<Cow<'a, str>>, TokenProblem> {
        let is_number = self.mapping.numbers.contains(path);
        let read = |value: &'a Json| match value {
            Json::Text(text) if !is_number => Ok(Cow::Borrowed(text.as_str())),
            Json::Integer(number) if is_number => Ok(Cow::Owned(number.to_string())),
            _ => Err(MemberError::WrongType),
        };
        let found = self.token.claims.find(path.steps()).and_then(|value| value.map(read).transpose());
        found.map_err(|error| self.refused(path, claim_problem(what, error)))
    }

    /// A list of texts; none when the mapping has no such claim or the token lacks it.
    fn texts(
        &self,
        what: &'static str,
        path: Option<&ClaimPath>,
    ) -> Result<Option<BTreeSet<String>>, TokenProblem> {
        let Some(path) = path else { return Ok(None) };
        let found = self.token.claims.find(path.steps()).and_then(|value| value.map(Json::texts).transpose());
        let texts = found.map_err(|error| self.refused(path, claim_problem(what, error)))?;
        Ok(texts.map(|texts| texts.into_iter().map(str::to_owned).collect()))
    }

    /// Tells the log which claim it was.
    fn refused(&self, path: &ClaimPath, problem: TokenProblem) -> TokenProblem {
        tracing::info!(provider = %self.rules.provider.name, claim = %path, %problem, "a token does not fit the mapping");
        problem
    }
}

/// `jti` (RFC 7519 section 4.1.7); without it the SHA-256 of the signature as it stands in the token, in hexadecimal digits, by
/// which one token can be denied all the same.
fn credential_id(token: &Verified<'_>) -> Result<String, TokenProblem> {
    if token.claims.has("jti") {
        return super::plain_text(&token.claims, "jti").map(str::to_owned);
    }
    let digest = digest(&SHA256, token.signature.as_bytes());
    Ok(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}
