//! Recordings from memory, for the fuzz targets: read, verified, and made.

use super::facts::Footer;
use super::format::{BlockKind, Hash, Header};
use super::reader::ReadError;
use super::verify::Scan;

/// What verifying says of bytes: the footer of an intact recording, or why it is none.
pub fn scan(bytes: &[u8]) -> Result<Footer, ReadError> {
    Scan::new().run(bytes, &mut |_| {})
}

/// Blocks of events around payloads that nobody has looked at, each with its right place in the chain and its right hash:
/// what a fuzzer would never find. The last may be a footer.
pub fn chain(payloads: &[(u32, &[u8])], footer: Option<&[u8]>) -> Vec<u8> {
    let (mut out, mut previous, mut sequence) = (Vec::new(), Hash::NONE, 0);
    let events = payloads.iter().map(|(frames, payload)| (BlockKind::Events, *frames, *payload));
    for (kind, frames, payload) in events.chain(footer.map(|payload| (BlockKind::Footer, 0, payload))) {
        let header = Header::seal(kind, sequence, frames, previous, payload);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(payload);
        previous = header.hash;
        sequence += 1;
    }
    out
}
