//! A provider's published keys (RFC 7517), read strictly.
//!
//! A key that cannot be used is left out and the others stay: providers publish keys for other purposes beside those
//! for RS256. A key without an id, a short or odd RSA key, a key for encryption or another algorithm never gets in.

use super::json::{Json, Object};
use super::token::MAX_KEY_ID_BYTES;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use std::collections::{BTreeMap, BTreeSet};

/// How many keys of one document are looked at. Entra publishes under ten; rotation doubles that for a while.
const MAX_KEYS_PER_DOCUMENT: usize = 256;

/// Bits of an RSA modulus: at least what NIST SP 800-131A asks for, at most what the library verifies.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// One usable RS256 key.
pub(super) struct SigningKey {
    key: DecodingKey,
    /// The modulus, to tell whether two keys of one id are the same.
    modulus: Vec<u8>,
    /// The issuer that the key is for, perhaps with `{tenantid}` in it; Entra adds this member.
    issuer: Option<String>,
}

/// Why a document gives no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum JwksError {
    #[error("the key document is not a JSON object with a list `keys`, or names something twice")]
    NotAKeySet,
    #[error("the key document lists more than {MAX_KEYS_PER_DOCUMENT} keys")]
    TooManyKeys,
    #[error(
        "the key document has no usable key (RSA of 2048 bits or more, for RS256 signatures, with a `kid`)"
    )]
    NoUsableKey,
}

impl SigningKey {
    /// Whether this key made the signature over the message. RS256, whatever the token says.
    pub(super) fn verify(&self, message: &[u8], signature: &str) -> bool {
        // An error of the library is no proof: fails closed.
        jsonwebtoken::crypto::verify(signature, message, &self.key, Algorithm::RS256).unwrap_or(false)
    }

    /// Whether the key may sign for one of these issuers. A key that names none may sign for its whole document.
    pub(super) fn is_for(&self, issuers: &[String], tenant: &str) -> bool {
        match &self.issuer {
            None => true,
            Some(template) => issuers.contains(&template.replace("{tenantid}", tenant)),
        }
    }

    /// Reads a JWK; `None` when it is not a key for RS256 signatures.
    fn read(jwk: &Object) -> Option<(String, Self)> {
        let text = |name: &str| jwk.optional_text(name).ok();
        if text("kty")? != Some("RSA") || !matches!(text("use")?, None | Some("sig")) {
            return None;
        }
        // No `alg` member is normal; another one than ours means another purpose.
        if !matches!(text("alg")?, None | Some("RS256")) {
            return None;
        }
        let operations = jwk.optional_texts("key_ops").ok()?;
        if operations.is_some_and(|operations| !operations.contains(&"verify")) {
            return None;
        }
        let kid = text("kid")?.filter(|kid| !kid.is_empty() && kid.len() <= MAX_KEY_ID_BYTES)?;
        let issuer = text("issuer")?.map(str::to_owned);
        let modulus = URL_SAFE_NO_PAD.decode(text("n")??).ok()?;
        let exponent = URL_SAFE_NO_PAD.decode(text("e")??).ok()?;
        if !RSA_BITS.contains(&bits(&modulus)?) || !is_sound_exponent(&exponent) || is_of_roca(&modulus) {
            return None;
        }
        let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
        Some((kid.to_owned(), SigningKey { key, modulus, issuer }))
    }
}

/// Reads a key document. Ids that stand for two different keys are left out, both of them: fails closed.
pub(super) fn parse(document: &[u8]) -> Result<BTreeMap<String, SigningKey>, JwksError> {
    let document = Object::parse(document).map_err(|_| JwksError::NotAKeySet)?;
    let Some(Json::List(listed)) = document.get("keys") else {
        return Err(JwksError::NotAKeySet);
    };
    if listed.len() > MAX_KEYS_PER_DOCUMENT {
        return Err(JwksError::TooManyKeys);
    }
    let mut keys: BTreeMap<String, SigningKey> = BTreeMap::new();
    let mut ambiguous = BTreeSet::new();
    for jwk in listed {
        let Json::Object(jwk) = jwk else { continue };
        let Some((kid, key)) = SigningKey::read(jwk) else { continue };
        match keys.get(&kid) {
            Some(other) if other.modulus != key.modulus || other.issuer != key.issuer => {
                ambiguous.insert(kid);
            }
            _ => {
                keys.insert(kid, key);
            }
        }
    }
    keys.retain(|kid, _| !ambiguous.contains(kid));
    if keys.is_empty() { Err(JwksError::NoUsableKey) } else { Ok(keys) }
}

/// The length of a big-endian number in bits; `None` when it is empty or has leading zeros (RFC 7518 section 6.3.1.1).
fn bits(number: &[u8]) -> Option<usize> {
    let first = number.first().filter(|byte| **byte != 0)?;
    Some(number.len() * 8 - first.leading_zeros() as usize)
}

/// Odd and at least 65537 (FIPS 186-5 section A.1.1), and short enough for the library (33 bits).
fn is_sound_exponent(exponent: &[u8]) -> bool {
    bits(exponent).is_some_and(|bits| (17..=33).contains(&bits))
        && exponent.last().is_some_and(|byte| byte & 1 == 1)
}

/// Primes by which a modulus of the broken kind leaves remainders that are powers of 65537.
const ROCA_PRIMES: [u64; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a modulus has the fingerprint of the keys that Infineon's library made, which can be factored (CVE-2017-15361; Nemec and
/// others, "The Return of Coppersmith's Attack", section 3.2). Another modulus has it with a chance below one in a hundred million.
fn is_of_roca(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|prime| {
        let remainder =
            modulus.iter().fold(0, |remainder, byte| (remainder * 256 + u64::from(*byte)) % prime);
        let mut power = 1;
        (0..*prime).any(|_| {
            power = power * 65_537 % prime;
            power == remainder
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn number(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xffu8; bytes])
    }

    fn jwk(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Value {
        let mut jwk =
            json!({"kty": "RSA", "use": "sig", "kid": "k", "n": number(256), "e": "AQAB", "x5c": [7]});
        change(jwk.as_object_mut().unwrap());
        jwk
    }

    fn ids(keys: &[Value]) -> Result<Vec<String>, JwksError> {
        parse(json!({ "keys": keys }).to_string().as_bytes()).map(|keys| keys.into_keys().collect())
    }

    #[test]
    fn only_rs256_keys_of_a_sound_size_get_in() {
        assert_eq!(ids(&[jwk(|_| ())]), Ok(vec!["k".to_owned()]));
        let changes: [(&str, Value); 17] = [
            ("kty", json!("EC")),
            ("kty", json!("oct")),
            ("use", json!("enc")),
            ("use", json!(1)),
            ("alg", json!("HS256")),
            ("alg", json!("PS256")),
            ("key_ops", json!(["sign"])),
            ("key_ops", json!("verify")),
            ("kid", json!("")),
            ("kid", json!(5)),
            ("n", json!(number(255))),
            ("n", json!(number(1025))),
            ("n", json!(format!("AAAA{}", number(255)))),
            ("e", json!("Aw")),
            ("e", json!("AQAA")),
            ("e", json!("AAEAAQ")),
            ("issuer", json!(["x"])),
        ];
        for (name, value) in changes {
            let bad = jwk(|jwk| drop(jwk.insert(name.to_owned(), value.clone())));
            assert_eq!(ids(&[bad]), Err(JwksError::NoUsableKey), "{name} = {value}");
        }
        for name in ["kty", "kid", "n", "e"] {
            assert_eq!(ids(&[jwk(|jwk| drop(jwk.remove(name)))]), Err(JwksError::NoUsableKey), "no {name}");
        }
        for (name, value) in [("alg", json!("RS256")), ("key_ops", json!(["verify"]))] {
            assert!(ids(&[jwk(|jwk| drop(jwk.insert(name.to_owned(), value)))]).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_unusable_key_does_not_spoil_the_others_and_an_ambiguous_one_is_left_out() {
        let other = |kid: &str| jwk(|jwk| drop(jwk.insert("kid".to_owned(), json!(kid))));
        let elliptic = json!({"kty": "EC", "kid": "e", "crv": "P-256"});
        assert_eq!(ids(&[elliptic, json!(7), other("a")]), Ok(vec!["a".to_owned()]));
        let twin = jwk(|jwk| drop(jwk.insert("n".to_owned(), json!(number(257)))));
        assert_eq!(ids(&[jwk(|_| ()), twin, other("a")]), Ok(vec!["a".to_owned()]));
        assert_eq!(ids(&[jwk(|_| ()), jwk(|_| ())]), Ok(vec!["k".to_owned()]));
    }

    #[test]
    fn a_document_of_another_shape_gives_nothing() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(parse(text.as_bytes()).err(), Some(JwksError::NotAKeySet), "{text}");
        }
        assert_eq!(ids(&vec![jwk(|_| ()); MAX_KEYS_PER_DOCUMENT + 1]), Err(JwksError::TooManyKeys));
    }

    #[test]
    fn a_key_of_one_issuer_is_not_for_another() {
        let read = |issuer: &str| {
            let bad = jwk(|jwk| drop(jwk.insert("issuer".to_owned(), json!(issuer))));
            parse(json!({ "keys": [bad] }).to_string().as_bytes()).unwrap().remove("k").unwrap()
        };
        let issuers = ["https://issuer/t1/v2.0".to_owned()];
        assert!(read("https://issuer/{tenantid}/v2.0").is_for(&issuers, "t1"));
        assert!(read("https://issuer/t1/v2.0").is_for(&issuers, "t1"));
        assert!(!read("https://issuer/t2/v2.0").is_for(&issuers, "t1"));
        assert!(!read("").is_for(&issuers, "t1"));
    }
}
