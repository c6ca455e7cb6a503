//! What the claims of a verified token must say.
//!
//! This module has what every provider's tokens have in common: the audience, the times, and the signs of a token that
//! was made for something else. `entra`, `oidc` and `mapped` have the rest. Every claim that is looked at has one type; another
//! type is a refusal and never "absent". Names (`email`, `upn`, `preferred_username`) decide nothing anywhere.

mod entra;
mod mapped;
mod oidc;

use super::config::MAX_TOKEN_LIFETIME;
use super::json::{Json, Object};
use super::mapping::ClaimMapping;
use super::problem::TokenProblem;
use super::token::{Verified, claim_problem};
use chaperone_core::Timestamp;
use chaperone_core::identity::{Audience, IdentityFacts};
use chaperone_core::name::ProviderName;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How far clocks may be apart, in seconds.
pub(super) const SKEW_SECONDS: i64 = 60;

/// The longest text of a claim that ends up in records, in bytes (RFC 7519 has no bound; Entra's `sub` has 43).
const MAX_TEXT_BYTES: usize = 255;

/// The longest name for display, in characters.
const MAX_DISPLAY_CHARS: usize = 100;

/// Microsoft Graph (and its retired predecessor) as audiences: tokens that every app of a tenant can get.
const GRAPH_AUDIENCES: [&str; 9] = [
    "00000003-0000-0000-c000-000000000000",
    "00000002-0000-0000-c000-000000000000",
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
    "https://graph.microsoft.de",
    "https://graph.windows.net",
    "https://graph.chinacloudapi.cn",
];

/// Claims that only ID tokens have (OpenID Connect Core 1.0 sections 2 and 3.3.2.11).
const ID_TOKEN_CLAIMS: [&str; 3] = ["nonce", "at_hash", "c_hash"];

/// What the tokens of an issuer look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Entra, version 1.
    EntraV1,
    /// Entra, version 2.
    EntraV2,
    /// RFC 9068.
    AccessTokenProfile,
    /// What a mapping says.
    Mapped(ClaimMapping),
}

/// The registration of approvers.
pub(super) struct Registration {
    pub(super) audiences: BTreeSet<String>,
    pub(super) clients: BTreeSet<String>,
}

/// What all issuers of one provider share.
pub(super) struct Provider {
    pub(super) name: ProviderName,
    pub(super) audiences: BTreeSet<String>,
    /// The registration of approvers, if they have one of their own.
    pub(super) approvers: Option<Registration>,
    pub(super) max_age_seconds: i64,
    /// The clients through which an unmarked user is a person; `None` for all.
    pub(super) human_clients: Option<BTreeSet<String>>,
}

/// What a token of one issuer must say.
pub(super) struct Rules {
    pub(super) provider: Arc<Provider>,
    /// The exact issuer.
    pub(super) issuer: String,
    /// The issuer's tenant.
    pub(super) tenant: String,
    pub(super) form: Form,
    /// The issuers that a key's `issuer` member may name.
    pub(super) key_issuers: Vec<String>,
}

/// The times of a token, checked.
struct Times {
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl Rules {
    /// What the token proves.
    pub(super) fn facts(&self, token: &Verified<'_>, now: Timestamp) -> Result<IdentityFacts, TokenProblem> {
        let claims = &token.claims;
        let audience = self.audience(claims)?;
        if ID_TOKEN_CLAIMS.iter().any(|claim| claims.has(claim)) {
            return Err(TokenProblem::IdToken);
        }
        if claims.has("cnf") {
            // Possession of the key is not checked here, so the binding would be ignored: fails closed.
            return Err(TokenProblem::ProofOfPossession);
        }
        let times = self.check_times(claims, now)?;
        let mut facts = match &self.form {
            Form::EntraV1 | Form::EntraV2 => entra::facts(self, claims, times),
            Form::AccessTokenProfile => oidc::facts(self, token, times),
            Form::Mapped(mapping) => mapped::facts(self, mapping, token, times),
        }?;
        if audience == Audience::Approvers && !self.is_approvers_client(&facts.actor) {
            return Err(TokenProblem::ApproversClient);
        }
        facts.audience = audience;
        Ok(facts)
    }

    fn is_approvers_client(&self, client: &str) -> bool {
        self.provider.approvers.as_ref().is_some_and(|approvers| approvers.clients.contains(client))
    }

    /// What the token was issued for.
    fn audience(&self, claims: &Object) -> Result<Audience, TokenProblem> {
        let audiences = match (claims.get("aud"), &self.form) {
            (None, _) => return Err(TokenProblem::ClaimMissing("aud")),
            (Some(Json::Text(audience)), _) => vec![audience.as_str()],
            // Entra's is always one text; RFC 7519 section 4.1.3 allows a list.
            (Some(Json::List(_)), Form::AccessTokenProfile | Form::Mapped(_)) => {
                claims.optional_texts("aud").map_err(|error| claim_problem("aud", error))?.unwrap_or_default()
            }
            _ => return Err(TokenProblem::ClaimMistyped("aud")),
        };
        if audiences.iter().any(|audience| is_graph_audience(audience)) {
            return Err(TokenProblem::AudienceGraph);
        }
        let any_of = |known: &BTreeSet<String>| audiences.iter().any(|audience| known.contains(*audience));
        let approvers = self.provider.approvers.as_ref();
        match (any_of(&self.provider.audiences), approvers.is_some_and(|own| any_of(&own.audiences))) {
            (true, false) => Ok(Audience::Agents),
            (false, true) => Ok(Audience::Approvers),
            // For both: whoever handed it out did not part them. Fails closed.
            (true, true) => Err(TokenProblem::AudienceBoth),
            (false, false) => Err(TokenProblem::AudienceOther),
        }
    }

    fn check_times(&self, claims: &Object, now: Timestamp) -> Result<Times, TokenProblem> {
        let number = |claim| claims.integer(claim).map_err(|error| claim_problem(claim, error));
        let (issued, expires) = (number("iat")?, number("exp")?);
        // Required of Entra; RFC 9068 leaves it out, and RFC 7519 leaves it to the issuer.
        let not_before = match self.form {
            Form::AccessTokenProfile | Form::Mapped(_) if !claims.has("nbf") => issued,
            _ => number("nbf")?,
        };
        let time =
            |claim, seconds| Timestamp::from_second(seconds).map_err(|_| TokenProblem::ClaimMalformed(claim));
        let times = Times { issued_at: time("iat", issued)?, expires_at: time("exp", expires)? };
        time("nbf", not_before)?;
        // From here on all are within jiff's years, so that no difference overflows.
        let now = now.as_second();
        let max_lifetime = i64::try_from(MAX_TOKEN_LIFETIME.as_secs()).unwrap_or(0);
        if expires <= issued {
            return Err(TokenProblem::ClaimMalformed("exp"));
        }
        if expires - issued > max_lifetime {
            return Err(TokenProblem::LifetimeTooLong);
        }
        if issued > now + SKEW_SECONDS {
            return Err(TokenProblem::IssuedInFuture);
        }
        if not_before > now + SKEW_SECONDS {
            return Err(TokenProblem::NotYetValid);
        }
        if now >= expires + SKEW_SECONDS {
            return Err(TokenProblem::Expired);
        }
        if now - issued > self.provider.max_age_seconds + SKEW_SECONDS {
            return Err(TokenProblem::TooOld);
        }
        Ok(times)
    }
}

/// Whether an audience is Microsoft Graph's, in any of the forms that Entra writes audiences in.
pub(crate) fn is_graph_audience(audience: &str) -> bool {
    let audience = audience.strip_prefix("spn:").unwrap_or(audience).trim_end_matches('/');
    GRAPH_AUDIENCES.iter().any(|graph| graph.eq_ignore_ascii_case(audience))
}

/// Whether the text is a GUID in its one spelling: lower case, with hyphens. One identity must have one name.
pub(super) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// A required text that may stand in records and names.
fn plain_text<'a>(claims: &'a Object, claim: &'static str) -> Result<&'a str, TokenProblem> {
    let text = claims.text(claim).map_err(|error| claim_problem(claim, error))?;
    if is_plain(text) { Ok(text) } else { Err(TokenProblem::ClaimMalformed(claim)) }
}

/// Whether a text may stand in records and names: printable ASCII, bounded.
fn is_plain(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// App roles; none when the claim is absent.
fn roles(claims: &Object) -> Result<BTreeSet<String>, TokenProblem> {
    let roles = claims.optional_texts("roles").map_err(|error| claim_problem("roles", error))?;
    Ok(roles.unwrap_or_default().into_iter().map(str::to_owned).collect())
}

/// A name for people to read, made safe to print. It decides nothing, so a wrong type only means that there is none.
pub(super) fn display_name(claims: &Object, claim: &str) -> Option<String> {
    let name = claims.optional_text(claim).ok().flatten()?;
    let name: String = name.chars().filter(|letter| is_printable(*letter)).take(MAX_DISPLAY_CHARS).collect();
    if name.is_empty() { None } else { Some(name) }
}

/// No controls, no marks that turn or hide text on a terminal (Unicode's bidirectional and zero-width characters).
fn is_printable(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_has_one_spelling() {
        assert!(is_guid("8f14e45f-ceea-467f-ab3d-0123456789ab"));
        for bad in [
            "",
            "8F14E45F-CEEA-467F-AB3D-0123456789AB",
            "8f14e45fceea467fab3d0123456789ab",
            "{8f14e45f-ceea-467f-ab3d-0123456789ab}",
            "8f14e45f-ceea-467f-ab3d-0123456789a",
            "8f14e45f-ceea-467f-ab3d-0123456789ag",
            "8f14e45f-ceea-467f-ab3d0-123456789ab",
        ] {
            assert!(!is_guid(bad), "{bad}");
        }
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        let claims = Object::parse("{\"name\":\"A\\u001b[31m\\u202eB\\n\",\"x\":7}".as_bytes()).unwrap();
        assert_eq!(display_name(&claims, "name").as_deref(), Some("A[31mB"));
        assert_eq!(display_name(&claims, "x"), None);
    }
}
