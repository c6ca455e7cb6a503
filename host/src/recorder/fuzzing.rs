//! Recordings from memory, for the fuzz targets: read, verified, and made.

use super::cipher::{DataKey, EncryptionKey, EncryptionKeys, NONCE_BYTES, TAG_BYTES};
use super::facts::Footer;
use super::footer::Signed;
use super::format::{BlockKind, COMPRESSED, ENCRYPTED, Hash, Header, SIGNED};
use super::reader::ReadError;
use super::sign::PublicKeys;
use super::verify::Scan;

/// What verifying says of bytes: the footer of an intact recording, or why it is none.
pub fn scan(bytes: &[u8]) -> Result<Footer, ReadError> {
    Scan::with_keys(keys()).run(bytes, &mut |_| {})
}

/// RFC 8032, section 7.1, test 1: no corpus holds anything that this key has signed.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// Whether the bytes are a recording that a key signed which nobody here has.
pub fn is_forged(bytes: &[u8]) -> bool {
    let mut trusted = PublicKeys::default();
    let known = trusted.add_pem(KEY.as_bytes()).is_ok();
    let mut scan = Scan::with_keys(keys());
    let whole = scan.run(bytes, &mut |_| {}).is_ok();
    known && whole && scan.footer.is_some_and(|footer| matches!(footer.signed(&trusted), Signed::By(_)))
}

/// The key of everything encrypted here.
fn key() -> Option<EncryptionKey> {
    EncryptionKey::parse("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").ok()
}

/// The key to read what [`chain`] encrypts.
pub fn keys() -> EncryptionKeys {
    key().into_iter().collect()
}

/// A payload as it is compressed.
pub fn compress(payload: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(payload, 1).unwrap_or_default()
}

/// Blocks of events around payloads that nobody has looked at, each with its right place in the chain and its right hash:
/// what a fuzzer would never find. The last may be a footer, and
/// what it ends with a signature.
pub fn chain(payloads: &[(u32, bool, Vec<u8>)], footer: Option<(bool, &[u8])>, encrypted: bool) -> Vec<u8> {
    let (mut out, mut previous, mut sequence) = (Vec::new(), Hash::NONE, 0);
    let events = payloads.iter().map(|(frames, compressed, payload)| {
        (BlockKind::Events, if *compressed { COMPRESSED } else { 0 }, *frames, payload.as_slice())
    });
    let footer =
        footer.map(|(signed, payload)| (BlockKind::Footer, if signed { SIGNED } else { 0 }, 0, payload));
    let data_key = key().filter(|_| encrypted).and_then(|key| DataKey::new(&key).ok());
    let first = data_key.iter().map(|(_, wrapped)| (BlockKind::Key, 0, 0, wrapped.as_slice()));
    for (kind, flags, frames, payload) in first.chain(events).chain(footer) {
        let mut payload = payload.to_vec();
        let mut header = Header::seal_as((kind, flags), sequence, frames, previous, &payload);
        if let (BlockKind::Events, Some((key, _))) = (kind, &data_key) {
            let length = payload.len() + NONCE_BYTES + TAG_BYTES;
            header = Header::before((kind, flags | ENCRYPTED), sequence, frames, previous, length);
            payload = [&[0; NONCE_BYTES], payload.as_slice()].concat();
            let _ = key.seal(sequence, header.bound(), &mut payload, 0);
            header.hash = header.digest(&payload);
        }
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(&payload);
        previous = header.hash;
        sequence += 1;
    }
    out
}
