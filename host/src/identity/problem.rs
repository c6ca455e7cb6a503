//! Why a credential proves nothing, and what its sender is told.
//!
//! [`TokenProblem`] is exact: it goes to the log and the audit trail. The [`Refusal`] made from it is what the client
//! sees, and follows two rules. What is wrong with the token *itself* is named, since its holder can read it anyway.
//! What the gateway *trusts* is not: an unknown issuer, an unknown key and a wrong signature all get one text, so that
//! nobody can probe for configured tenants. Claims are named only after the signature proved that a configured provider
//! issued the token. No text carries a byte of the token or a configured value.

use super::MAX_TOKEN_BYTES;
use chaperone_core::refusal::{Refusal, RefusalCode};
use std::fmt;

/// Why a credential proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenProblem {
    /// Nothing was presented.
    Absent,
    /// Longer than the bound on tokens.
    TooLong,
    /// Not three parts with dots between them.
    NotAToken,
    /// An encrypted token (JWE).
    Encrypted,
    /// A part is not canonical base64url without padding.
    Encoding,
    /// The header or the claims are not one JSON object.
    NotJson,
    /// A member of the header or the claims occurs twice.
    DuplicateMember,
    /// The header asks for something that is not supported (`crit`, `zip`, `cty`, `b64`).
    HeaderUnsupported,
    /// The header's `nonce` marks a token for Microsoft Graph, which nobody else can verify.
    HeaderNonce,
    /// The header's `alg` is not the configured one.
    Algorithm,
    /// The header's `typ` is that of another kind of token.
    Type,
    /// The header names no key, or not in a usable form.
    KeyId,
    /// No configured provider has this issuer.
    IssuerUnknown,
    /// The provider does not publish this key.
    KeyUnknown,
    /// The key belongs to another issuer than the one that the token names.
    KeyOfOtherIssuer,
    /// The signature does not verify.
    Signature,
    /// The provider's keys cannot be fetched now.
    KeysUnavailable,
    /// A required claim is missing.
    ClaimMissing(&'static str),
    /// A claim has the wrong type.
    ClaimMistyped(&'static str),
    /// A claim has the right type and a value that cannot be.
    ClaimMalformed(&'static str),
    /// The token is bound to a key (`cnf`), whose possession is not checked here.
    ProofOfPossession,
    /// An ID token: it says who signed in, not what may be called.
    IdToken,
    /// A token for Microsoft Graph.
    AudienceGraph,
    /// A token for something else.
    AudienceOther,
    /// A token for asking and for approving at once.
    AudienceBoth,
    /// A token for approving, through a client that approvers do not sign in with.
    ApproversClient,
    /// The tenant in the claims is not the issuer's.
    TenantMismatch,
    /// The version in the claims is not the issuer's.
    VersionMismatch,
    /// Issued in the future.
    IssuedInFuture,
    /// Not valid yet.
    NotYetValid,
    /// Past its time.
    Expired,
    /// Valid for longer than any provider's tokens are.
    LifetimeTooLong,
    /// Issued longer ago than the provider's configuration allows.
    TooOld,
    /// Groups are given by name; names decide nothing.
    GroupsByName,
    /// A claim that the mapping requires is missing, or says something else than what is accepted.
    Unaccepted,
}

/// How a problem is told.
struct Told {
    code: RefusalCode,
    message: &'static str,
    hint: &'static str,
}

const ASK_FOR_ACCESS_TOKEN: &str = "Present an access token for this gateway's application.";
const ASK_AGAIN: &str = "Ask the identity provider for a new token.";
const UNTRUSTED: &str = "the token is not signed by an identity provider that this gateway trusts";
const MANIFEST: &str =
    "Ask for this claim in the application's manifest, as docs/identity.md of the gateway has it.";

impl TokenProblem {
    /// The stable word for logs, recordings and the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenProblem::Absent => "absent",
            TokenProblem::TooLong => "too-long",
            TokenProblem::NotAToken => "not-a-token",
            TokenProblem::Encrypted => "encrypted",
            TokenProblem::Encoding => "encoding",
            TokenProblem::NotJson => "not-json",
            TokenProblem::DuplicateMember => "duplicate-member",
            TokenProblem::HeaderUnsupported => "header-unsupported",
            TokenProblem::HeaderNonce => "header-nonce",
            TokenProblem::Algorithm => "algorithm",
            TokenProblem::Type => "type",
            TokenProblem::KeyId => "key-id",
            TokenProblem::IssuerUnknown => "issuer-unknown",
            TokenProblem::KeyUnknown => "key-unknown",
            TokenProblem::KeyOfOtherIssuer => "key-of-other-issuer",
            TokenProblem::Signature => "signature",
            TokenProblem::KeysUnavailable => "keys-unavailable",
            TokenProblem::ClaimMissing(_) => "claim-missing",
            TokenProblem::ClaimMistyped(_) => "claim-mistyped",
            TokenProblem::ClaimMalformed(_) => "claim-malformed",
            TokenProblem::ProofOfPossession => "proof-of-possession",
            TokenProblem::IdToken => "id-token",
            TokenProblem::AudienceGraph => "audience-graph",
            TokenProblem::AudienceOther => "audience-other",
            TokenProblem::AudienceBoth => "audience-both",
            TokenProblem::ApproversClient => "approvers-client",
            TokenProblem::TenantMismatch => "tenant-mismatch",
            TokenProblem::VersionMismatch => "version-mismatch",
            TokenProblem::IssuedInFuture => "issued-in-future",
            TokenProblem::NotYetValid => "not-yet-valid",
            TokenProblem::Expired => "expired",
            TokenProblem::LifetimeTooLong => "lifetime-too-long",
            TokenProblem::TooOld => "too-old",
            TokenProblem::GroupsByName => "groups-by-name",
            TokenProblem::Unaccepted => "unaccepted",
        }
    }

    /// The claim that the problem is about, if it is about one.
    pub fn claim(self) -> Option<&'static str> {
        match self {
            TokenProblem::ClaimMissing(claim)
            | TokenProblem::ClaimMistyped(claim)
            | TokenProblem::ClaimMalformed(claim) => Some(claim),
            _ => None,
        }
    }

    /// What the client is told. `token_bytes` is the length of what it presented, for the hint about cut tokens.
    pub fn refusal(self, token_bytes: usize) -> Refusal {
        let told = self.told();
        let mut refusal = Refusal::new(told.code, told.message).hint(told.hint);
        if let Some(claim) = self.claim() {
            refusal = refusal.detail(format!("The claim is `{claim}`."));
        }
        if self == TokenProblem::TooLong {
            refusal = refusal.detail(format!("At most {MAX_TOKEN_BYTES} bytes are accepted."));
        }
        if self.may_be_a_cut() && super::looks_cut(token_bytes) {
            refusal = refusal.hint(
                "Set PGPASSWORD, or use a password file: the token is exactly 4095 bytes long, where psql's password prompt cuts.",
            );
        }
        refusal
    }

    /// Whether a token that lost its end would show this problem.
    fn may_be_a_cut(self) -> bool {
        matches!(
            self,
            TokenProblem::NotAToken
                | TokenProblem::Encoding
                | TokenProblem::NotJson
                | TokenProblem::Signature
        )
    }

    /// The one table of texts.
    fn told(self) -> Told {
        use RefusalCode::{CredentialExpired, CredentialInvalid, CredentialMissing, ProviderUnavailable};
        use TokenProblem as P;
        let (code, message, hint) = match self {
            P::Absent => (CredentialMissing, "no token was presented", ASK_FOR_ACCESS_TOKEN),
            P::NotAToken => (CredentialMissing, "what was presented is not a token", ASK_FOR_ACCESS_TOKEN),
            P::TooLong => {
                (CredentialInvalid, "the token is too long", "Ask for a token with fewer groups in it.")
            }
            P::Encrypted => {
                (CredentialInvalid, "the token is encrypted", "Present a signed, unencrypted token.")
            }
            P::Encoding | P::NotJson => (CredentialInvalid, "the token is damaged", ASK_AGAIN),
            P::DuplicateMember => (CredentialInvalid, "the token names something twice", ASK_AGAIN),
            P::HeaderUnsupported => {
                (CredentialInvalid, "the token's header asks for something unsupported", ASK_FOR_ACCESS_TOKEN)
            }
            P::Algorithm => (
                CredentialInvalid,
                "the token's algorithm is not accepted",
                "Present a token signed with RS256.",
            ),
            P::Type => (CredentialInvalid, "the token is of another kind", ASK_FOR_ACCESS_TOKEN),
            P::KeyId => (CredentialInvalid, "the token names no usable signing key", ASK_AGAIN),
            // One text for all four, or the gateway could be asked which tenants it trusts.
            P::IssuerUnknown | P::KeyUnknown | P::KeyOfOtherIssuer | P::Signature => {
                (CredentialInvalid, UNTRUSTED, ASK_FOR_ACCESS_TOKEN)
            }
            P::KeysUnavailable => (
                ProviderUnavailable,
                "the identity provider's keys cannot be fetched now",
                "Try again in a few minutes.",
            ),
            P::ClaimMissing("idtyp") => (CredentialInvalid, "the token lacks a required claim", MANIFEST),
            P::ClaimMissing(_) => {
                (CredentialInvalid, "the token lacks a required claim", ASK_FOR_ACCESS_TOKEN)
            }
            P::ClaimMistyped(_) => (CredentialInvalid, "a claim of the token has the wrong type", ASK_AGAIN),
            P::ClaimMalformed(_) => {
                (CredentialInvalid, "a claim of the token has an impossible value", ASK_AGAIN)
            }
            P::ProofOfPossession => (
                CredentialInvalid,
                "the token is bound to a key, which this gateway cannot check",
                "Present a bearer token.",
            ),
            P::IdToken => (
                CredentialInvalid,
                "this is an ID token, which says who signed in and opens nothing",
                ASK_FOR_ACCESS_TOKEN,
            ),
            P::AudienceGraph | P::HeaderNonce => (
                CredentialInvalid,
                "the token is for Microsoft Graph, not for this gateway",
                ASK_FOR_ACCESS_TOKEN,
            ),
            P::AudienceOther => {
                (CredentialInvalid, "the token is for another application", ASK_FOR_ACCESS_TOKEN)
            }
            P::AudienceBoth => (
                CredentialInvalid,
                "the token is for asking and for approving at once",
                "Ask the identity provider for a token for one of the two applications.",
            ),
            P::ApproversClient => (
                CredentialInvalid,
                "the token is for approving, and came through a client that approvers do not sign in with",
                "Sign in as approvers do.",
            ),
            P::TenantMismatch => (CredentialInvalid, "the token's tenant is not its issuer's", ASK_AGAIN),
            P::VersionMismatch => (CredentialInvalid, "the token's version is not its issuer's", ASK_AGAIN),
            P::IssuedInFuture | P::NotYetValid => {
                (CredentialInvalid, "the token is not valid yet", "Check the clocks, or wait until it is.")
            }
            P::Expired => (CredentialExpired, "the token has expired", ASK_AGAIN),
            P::LifetimeTooLong => (CredentialInvalid, "the token is valid for too long", ASK_AGAIN),
            P::TooOld => (CredentialExpired, "the token was issued too long ago", ASK_AGAIN),
            P::GroupsByName => (
                CredentialInvalid,
                "the token gives groups by name",
                "Ask for group ids in the application's manifest.",
            ),
            // Which claim it was is not told: anybody can get a token of a public issuer, and could ask whom it is meant for.
            P::Unaccepted => (
                CredentialInvalid,
                "the token is not one of those that this gateway takes from its issuer",
                "Run the job where it is allowed to; its repository, branch or environment may be another.",
            ),
        };
        Told { code, message, hint }
    }
}

impl fmt::Display for TokenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self.claim() {
            Some(claim) => write!(f, " ({claim})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_trusts_cannot_be_probed() {
        let texts = [
            TokenProblem::IssuerUnknown,
            TokenProblem::KeyUnknown,
            TokenProblem::KeyOfOtherIssuer,
            TokenProblem::Signature,
        ]
        .map(|problem| problem.refusal(900).to_string());
        assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:?}");
    }

    #[test]
    fn a_cut_token_is_told_so() {
        let cut = TokenProblem::Encoding.refusal(4095).to_string();
        assert!(cut.contains("psql") && cut.contains("PGPASSWORD"), "{cut}");
        assert!(!TokenProblem::Encoding.refusal(4094).to_string().contains("psql"));
        assert!(!TokenProblem::Expired.refusal(4095).to_string().contains("psql"));
    }

    #[test]
    fn the_texts_are_stable() {
        let text = |problem: TokenProblem| problem.refusal(900).to_string();
        assert_eq!(
            text(TokenProblem::ClaimMissing("idtyp")),
            "The token lacks a required claim. The claim is `idtyp`. Ask for this claim in the application's manifest, \
             as docs/identity.md of the gateway has it."
        );
        assert_eq!(
            text(TokenProblem::Expired),
            "The token has expired. Ask the identity provider for a new token."
        );
        assert_eq!(
            text(TokenProblem::TooLong),
            "The token is too long. At most 16384 bytes are accepted. Ask for a token with fewer groups in it."
        );
    }
}
