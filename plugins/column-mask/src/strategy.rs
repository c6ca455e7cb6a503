//! How a hidden text looks: redacted, its last characters, a keyed hash, or NULL.

use chaperone_sdk::Change;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

/// What stands for a redacted text.
pub const REDACTED: &str = "[redacted]";
/// `partial` shows at most so many characters …
pub const MAX_SHOWN: usize = 4;
/// … and at most one in so many, so that a short value is not shown whole.
pub const SHOWN_FRACTION: usize = 3;

/// How a hidden value looks. The later in this list, the less it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The last characters, stars before them.
    Partial,
    /// HMAC-SHA-256: equal values stay equal.
    Hash,
    /// [`REDACTED`].
    Redact,
    /// SQL NULL.
    Null,
}

/// The key of [`Strategy::Hash`], made ready. It has no `Debug`: it must not be printed.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

impl HashKey {
    /// Takes a key of any length (RFC 2104, section 2), so that there is always an answer; how long it must be is
    /// checked with the configuration.
    pub fn new(key: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(HashKey)
    }

    /// The first 16 bytes of HMAC-SHA-256 (RFC 2104, section 5 allows the cut): no two values meet by chance.
    pub fn hash(&self, value: &[u8]) -> [u8; 16] {
        let whole = self.0.clone().chain_update(value).finalize().into_bytes();
        let mut first = [0; 16];
        first.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        first
    }
}

/// Writes what stands for `text`.
pub fn apply(strategy: Strategy, key: Option<&HashKey>, text: &[u8], out: &mut Vec<u8>) -> Change {
    match (strategy, key) {
        (Strategy::Redact, _) => out.extend_from_slice(REDACTED.as_bytes()),
        (Strategy::Partial, _) => partial(text, out),
        (Strategy::Hash, Some(key)) => push_hex(&key.hash(text), out),
        // Fails closed: a hash without a key cannot be configured, and would not be shown if it were.
        (Strategy::Null, _) | (Strategy::Hash, None) => return Change::Null,
    }
    Change::Replaced
}

/// A keyed hash in the form of a UUID of version 8 (RFC 9562, section 5.8), so that typed drivers take it.
pub fn hashed_uuid(key: &HashKey, uuid: &[u8; 16]) -> [u8; 16] {
    let mut hash = key.hash(uuid);
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut hash;
    *version = (*version & 0x0f) | 0x80;
    *variant = (*variant & 0x3f) | 0x80;
    hash
}

/// Writes a UUID with its dashes.
pub fn push_uuid(uuid: &[u8; 16], out: &mut Vec<u8>) {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        push_hex(&[*byte], out);
    }
}

fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        let digits = [byte >> 4, byte & 0x0f];
        out.extend(digits.map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }));
    }
}

/// Keeps spaces and dashes, so that a card still looks like one; everything else but the last becomes a star.
fn partial(text: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(text) else {
        // Fails closed: without characters "the last four" has no meaning.
        out.extend_from_slice(REDACTED.as_bytes());
        return;
    };
    let secret = text.chars().filter(|one| !is_separator(*one)).count();
    let mut hidden = secret - (secret / SHOWN_FRACTION).min(MAX_SHOWN);
    for one in text.chars() {
        if !is_separator(one) && hidden > 0 {
            hidden -= 1;
            out.push(b'*');
        } else {
            out.extend_from_slice(one.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

fn is_separator(one: char) -> bool {
    matches!(one, ' ' | '-')
}
