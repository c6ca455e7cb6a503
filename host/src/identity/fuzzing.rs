//! Tokens and key documents before any signature is checked, for the fuzz targets. Nothing here proves an identity.

use super::jwks;
use super::token::Unverified;

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
