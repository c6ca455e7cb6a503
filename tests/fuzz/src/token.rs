//! Tokens and key documents, before any signature is checked: the one parser that anybody on the network reaches with
//! bytes of their own after TLS, and what a provider's server answers.

use crate::Became;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chaperone::fuzzing::token::{MAX_TOKEN_BYTES, keys as read_keys, read};

/// The first byte: an even one, and the rest is a token. Else the rest is two JSON texts with a zero byte between, which
/// are encoded here, so that what is inside is reached.
pub(crate) fn token(input: &[u8]) -> Became {
    let Some((how, rest)) = input.split_first() else { return Became::Refused };
    let text = match how & 1 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        _ => {
            let mut parts = rest.splitn(2, |byte| *byte == 0);
            let mut part = || URL_SAFE_NO_PAD.encode(parts.next().unwrap_or_default());
            format!("{}.{}.c2ln", part(), part())
        }
    };
    let Some((issuer, key_id)) = read(&text) else { return Became::Refused };
    assert!(text.len() <= MAX_TOKEN_BYTES);
    assert!(!key_id.is_empty() && key_id.len() <= 256);
    // Each part has one spelling: a second one of the same token would pass a list of tokens that were seen.
    let parts: Vec<&str> = text.split('.').collect();
    assert_eq!(parts.len(), 3);
    for part in &parts {
        assert_eq!(URL_SAFE_NO_PAD.encode(URL_SAFE_NO_PAD.decode(part).unwrap()), **part);
    }
    // What selects the key stands in the signed part.
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    if !claims.contains('\\') {
        assert!(claims.contains(&issuer));
    }
    Became::Accepted
}

/// A key document.
pub(crate) fn keys(input: &[u8]) -> Became {
    let Some(ids) = read_keys(input) else { return Became::Refused };
    assert!(!ids.is_empty() && ids.len() <= 256);
    assert!(ids.iter().all(|id| !id.is_empty() && id.len() <= 256));
    Became::Accepted
}
