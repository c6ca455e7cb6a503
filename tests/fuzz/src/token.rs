//! Tokens and key documents, before any signature is checked: the one parser that anybody on the network reaches with
//! bytes of their own after TLS, and what a provider's server answers.

use crate::Became;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chaperone::fuzzing::token::{MAX_TOKEN_BYTES, keys as read_keys, mapped, read};
use chaperone_core::identity::{CallerKind, IdentityFacts};

/// When tokens are looked at: 2026-11-21 05:00 UTC.
const NOW: i64 = 1_795_237_200;

/// The first byte: an even one, and the rest is a token. Else the rest is two JSON texts with a zero byte between, which
/// are encoded here, so that what is inside is reached.
fn text(input: &[u8]) -> Option<String> {
    let (how, rest) = input.split_first()?;
    Some(match how & 1 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        _ => {
            let mut parts = rest.splitn(2, |byte| *byte == 0);
            let mut part = || URL_SAFE_NO_PAD.encode(parts.next().unwrap_or_default());
            format!("{}.{}.c2ln", part(), part())
        }
    })
}

pub(crate) fn token(input: &[u8]) -> Became {
    let Some(text) = text(input) else { return Became::Refused };
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
    if let Some(facts) = mapped(&text, NOW) {
        holds(&facts, &claims);
    }
    Became::Accepted
}

/// What a mapping may make of claims, whatever they say.
fn holds(facts: &IdentityFacts, claims: &str) {
    assert_eq!(facts.kind, CallerKind::Workload);
    assert_eq!(facts.principal.as_str(), format!("ci/-/{}", facts.object_id));
    assert!(!facts.object_id.contains('/'));
    for text in [&facts.object_id, &facts.actor, &facts.credential_id] {
        assert!((1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if !claims.contains('\\') {
        let texts = facts.roles.iter().chain([&facts.object_id, &facts.actor]);
        assert!(texts.map(|text| format!("\"{text}\"")).all(|text| claims.contains(&text)));
        assert!(claims.contains("\"prod\"") && claims.contains('7'));
    }
    let (issued, expires) = (facts.issued_at.as_second(), facts.expires_at.as_second());
    assert!(issued < expires && expires - issued <= 48 * 3600);
    assert!(issued <= NOW + 60 && expires > NOW - 60);
}

/// A key document.
pub(crate) fn keys(input: &[u8]) -> Became {
    let Some(ids) = read_keys(input) else { return Became::Refused };
    assert!(!ids.is_empty() && ids.len() <= 256);
    assert!(ids.iter().all(|id| !id.is_empty() && id.len() <= 256));
    Became::Accepted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else what is asserted of mapped claims would be asserted of nothing.
    #[test]
    fn some_kept_inputs_fit_the_mapping() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/token");
        let mut fit = 0;
        for file in std::fs::read_dir(corpus).unwrap() {
            let input = std::fs::read(file.unwrap().path()).unwrap();
            fit += usize::from(text(&input).is_some_and(|text| mapped(&text, NOW).is_some()));
        }
        assert!(fit > 1, "{fit}");
    }
}
