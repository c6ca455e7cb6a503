//! The compact form of a signed token (RFC 7515 section 3.1), read strictly.
//!
//! [`Unverified`] gives away two things, since they are needed to *select* the key: the issuer and the key's id.
//! Claims come out of [`Unverified::verify`] alone, so that no rule can look at what nobody signed. The signature itself
//! is checked by `jsonwebtoken` (over aws-lc-rs); the algorithm comes from here and never from the header (RFC 8725
//! section 3.1). Keys or links to keys inside the header (`jwk`, `jku`, `x5u`, `x5c`) are never looked at.

use super::MAX_TOKEN_BYTES;
use super::json::{Json, JsonError, MemberError, Object};
use super::jwks::SigningKey;
use super::problem::TokenProblem;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest key id that is accepted, in bytes. Entra's have 27; no provider is known to pass 64.
pub(super) const MAX_KEY_ID_BYTES: usize = 256;

/// Header members that change what the rest means, none of which is supported: critical extensions, compression,
/// encryption, nested tokens and unencoded payloads (RFC 7515 section 4.1.11, RFC 7516, RFC 7797).
const UNSUPPORTED: [&str; 4] = ["crit", "zip", "cty", "b64"];

/// The kinds of tokens by the header's `typ`. Others (`dpop+jwt`, `logout+jwt`, …) must not pass for an access token
/// (RFC 8725 section 3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenType {
    /// `JWT`, or no `typ` at all: what Entra sends.
    Plain,
    /// `at+jwt` (RFC 9068 section 2.1).
    AccessToken,
}

/// A token of the right form whose signature has not been checked.
pub(super) struct Unverified<'a> {
    signed: &'a str,
    signature: &'a str,
    key_id: String,
    issuer: String,
    kind: TokenType,
    claims: Object,
}

/// What a configured provider has signed.
pub(super) struct Verified<'a> {
    pub(super) claims: Object,
    pub(super) kind: TokenType,
    /// As it stands in the token.
    pub(super) signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Reads the form and nothing else.
    pub(super) fn read(token: &'a str) -> Result<Self, TokenProblem> {
        if token.is_empty() {
            return Err(TokenProblem::Absent);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenProblem::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenProblem::NotAToken)?;
        let (header, payload) = match signed.matches('.').count() {
            1 => signed.split_once('.').ok_or(TokenProblem::NotAToken)?,
            // Five parts are an encrypted token (RFC 7516 section 3.1).
            3 => return Err(TokenProblem::Encrypted),
            _ => return Err(TokenProblem::NotAToken),
        };
        let header = object(header)?;
        let (kind, key_id) = check_header(&header)?;
        let claims = object(payload)?;
        // Decoded here so that a second spelling of the same signature is refused as what it is.
        decode(signature)?;
        let issuer = claims.text("iss").map_err(|error| claim_problem("iss", error))?.to_owned();
        Ok(Unverified { signed, signature, key_id, issuer, kind, claims })
    }

    /// Whom the token *says* it is from: only good for selecting a provider, by exact comparison.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Which key the token *says* it is signed with: only good for selecting one of that provider's keys.
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// What `verify` would hand out, unchecked: for the fuzz targets, which no build that is run has.
    #[cfg(feature = "fuzzing")]
    pub(super) fn unchecked(self) -> Verified<'a> {
        Verified { claims: self.claims, kind: self.kind, signature: self.signature }
    }

    /// Checks the signature and hands out what was signed.
    pub(super) fn verify(self, key: &SigningKey) -> Result<Verified<'a>, TokenProblem> {
        match key.verify(self.signed.as_bytes(), self.signature) {
            true => Ok(Verified { claims: self.claims, kind: self.kind, signature: self.signature }),
            false => Err(TokenProblem::Signature),
        }
    }
}

/// The problem that a claim's [`MemberError`] stands for.
pub(super) fn claim_problem(claim: &'static str, error: MemberError) -> TokenProblem {
    match error {
        MemberError::Missing => TokenProblem::ClaimMissing(claim),
        MemberError::WrongType => TokenProblem::ClaimMistyped(claim),
    }
}

/// Checks everything in the header and returns what is used of it.
fn check_header(header: &Object) -> Result<(TokenType, String), TokenProblem> {
    if header.has("enc") {
        return Err(TokenProblem::Encrypted);
    }
    if UNSUPPORTED.iter().any(|name| header.has(name)) {
        return Err(TokenProblem::HeaderUnsupported);
    }
    // The header can only agree with the one configured algorithm, never choose one.
    if header.get("alg") != Some(&Json::Text("RS256".to_owned())) {
        return Err(TokenProblem::Algorithm);
    }
    if header.has("nonce") {
        return Err(TokenProblem::HeaderNonce);
    }
    let kind = match header.optional_text("typ").map_err(|_| TokenProblem::Type)? {
        None => TokenType::Plain,
        Some(typ) if typ.eq_ignore_ascii_case("JWT") => TokenType::Plain,
        Some(typ) if is_access_token_type(typ) => TokenType::AccessToken,
        Some(_) => return Err(TokenProblem::Type),
    };
    let key_id = header.text("kid").map_err(|_| TokenProblem::KeyId)?;
    if key_id.is_empty() || key_id.len() > MAX_KEY_ID_BYTES {
        return Err(TokenProblem::KeyId);
    }
    Ok((kind, key_id.to_owned()))
}

/// `at+jwt`, with or without the media type's prefix (RFC 7515 section 4.1.9).
fn is_access_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}

/// Base64url, canonical: no padding, no line breaks, no stray bits at the end.
fn decode(part: &str) -> Result<Vec<u8>, TokenProblem> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenProblem::Encoding)
}

fn object(part: &str) -> Result<Object, TokenProblem> {
    Object::parse(&decode(part)?).map_err(|error| match error {
        JsonError::NotAnObject => TokenProblem::NotJson,
        JsonError::DuplicateMember => TokenProblem::DuplicateMember,
    })
}

#[cfg(test)]
mod wycheproof;
