//! Recordings from memory, for the fuzz targets: read, verified, and made.

use super::facts::Footer;
use super::footer::Signed;
use super::format::{BlockKind, COMPRESSED, Hash, Header, SIGNED};
use super::reader::ReadError;
use super::sign::PublicKeys;
use super::verify::Scan;

/// What verifying says of bytes: the footer of an intact recording, or why it is none.
pub fn scan(bytes: &[u8]) -> Result<Footer, ReadError> {
    Scan::new().run(bytes, &mut |_| {})
}

/// RFC 8032, section 7.1, test 1: no corpus holds anything that this key has signed.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// Whether the bytes are a recording that a key signed which nobody here has.
pub fn is_forged(bytes: &[u8]) -> bool {
    let mut keys = PublicKeys::default();
    let known = keys.add_pem(KEY.as_bytes()).is_ok();
    let mut scan = Scan::new();
    let whole = scan.run(bytes, &mut |_| {}).is_ok();
    known && whole && scan.footer.is_some_and(|footer| matches!(footer.signed(&keys), Signed::By(_)))
}

/// A payload as it is compressed.
pub fn compress(payload: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(payload, 1).unwrap_or_default()
}

/// Blocks of events around payloads that nobody has looked at, each with its right place in the chain and its right hash:
/// what a fuzzer would never find. The last may be a footer, and
/// what it ends with a signature.
pub fn chain(payloads: &[(u32, bool, Vec<u8>)], footer: Option<(bool, &[u8])>) -> Vec<u8> {
    let (mut out, mut previous, mut sequence) = (Vec::new(), Hash::NONE, 0);
    let events = payloads.iter().map(|(frames, compressed, payload)| {
        (BlockKind::Events, if *compressed { COMPRESSED } else { 0 }, *frames, payload.as_slice())
    });
    let footer =
        footer.map(|(signed, payload)| (BlockKind::Footer, if signed { SIGNED } else { 0 }, 0, payload));
    for (kind, flags, frames, payload) in events.chain(footer) {
        let header = Header::seal_as((kind, flags), sequence, frames, previous, payload);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(payload);
        previous = header.hash;
        sequence += 1;
    }
    out
}
