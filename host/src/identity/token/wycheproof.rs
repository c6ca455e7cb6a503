//! Project Wycheproof's vectors for JSON Web Signatures and Keys (Apache-2.0), read from beside the project where they are there.
//!
//! Their payloads are no claims, so that [`Unverified::read`](super::Unverified::read) refuses all of them. Here they go through everything
//! else: the form, the header, the key document, the signature. Of what they call valid only RS256 may pass.

use super::{check_header, decode, object};
use crate::identity::jwks;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// What may pass, by the vectors' numbers: every RS256 signature that they call valid and whose key names itself.
const SIGNATURES: [u64; 8] = [33, 259, 260, 261, 262, 263, 345, 349];

/// The file, or none where it is not.
fn vectors(name: &str) -> Option<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors").join(name);
    let Ok(text) = std::fs::read(&file) else {
        eprintln!("absent: Project Wycheproof's vectors are not at {}", file.display());
        return None;
    };
    Some(serde_json::from_slice(&text).unwrap())
}

/// Whether a token passes as signed by one of the keys.
fn passes(keys: &Value, token: &str) -> bool {
    let document = if keys["keys"].is_array() { keys.clone() } else { json!({ "keys": [keys] }) };
    let Ok(keys) = jwks::parse(&serde_json::to_vec(&document).unwrap()) else { return false };
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { return false };
    let Ok((_, key)) = object(header).and_then(|header| check_header(&header)) else { return false };
    let signed = &token[..header.len() + 1 + payload.len()];
    decode(payload).is_ok() && keys.get(&key).is_some_and(|key| key.verify(signed.as_bytes(), signature))
}

/// The numbers of those that pass, and of those that the vectors call valid.
fn judged(vectors: &Value) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut passed, mut valid) = (BTreeSet::new(), BTreeSet::new());
    for group in vectors["testGroups"].as_array().unwrap() {
        let keys = group.get("public").unwrap_or(&group["private"]);
        for test in group["tests"].as_array().unwrap() {
            let number = test["tcId"].as_u64().unwrap();
            // Some are in the JSON form of a signature, which is none of ours.
            if test["jws"].as_str().is_some_and(|token| passes(keys, token)) {
                passed.insert(number);
            }
            if test["result"] == "valid" {
                valid.insert(number);
            }
        }
    }
    (passed, valid)
}

#[test]
fn of_wycheproofs_signatures_only_the_valid_ones_by_rs256_pass() {
    let Some(vectors) = vectors("json_web_signature_test.json") else { return };
    let (passed, valid) = judged(&vectors);
    assert!(passed.is_subset(&valid), "these are not valid: {:?}", passed.difference(&valid));
    assert_eq!(passed, BTreeSet::from(SIGNATURES));
}

#[test]
fn of_wycheproofs_keys_only_sound_ones_count() {
    let Some(vectors) = vectors("json_web_key_test.json") else { return };
    let (passed, valid) = judged(&vectors);
    assert!(passed.is_subset(&valid), "these are not valid: {:?}", passed.difference(&valid));
    let by_rs256 =
        |group: &&Value| group["comment"].as_str().is_some_and(|comment| comment.contains("rs256"));
    assert!(
        vectors["testGroups"].as_array().unwrap().iter().any(|group| by_rs256(&group)) && !passed.is_empty()
    );
}
