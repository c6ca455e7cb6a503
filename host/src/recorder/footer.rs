//! The last block of a sealed recording: totals as JSON, the signature over them, and the tail by which it is found.
//!
//! The totals name the session and the hash of the block before, and that block the one before it: so what is signed are a few
//! hundred bytes, and they stand for all of the recording. A footer without a signature is read, since recordings of earlier
//! versions have none; but whoever can take a signature off can do so, so it proves as little as none.

use super::facts::Footer;
use super::format::{HEADER_BYTES, SIGNED, TAIL_BYTES, TAIL_MAGIC, take};
use super::sign::{KeyError, KeyId, PublicKeys, SIGNATURE_BYTES, Signature, Signer, Statement};

/// Bytes of a signature with the key's id.
const SIGNED_BYTES: usize = SIGNATURE_BYTES + size_of::<u64>();

/// Whether a recording is that of a gateway whose key was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signed {
    /// It is.
    By(KeyId),
    /// It names a key that was not given: nobody can tell.
    ByUnknown(KeyId),
    /// It names a key that was given, and that key did not sign it.
    Wrong(KeyId),
    /// Not at all: by an earlier version, or the signature was taken off.
    Not,
}

/// A footer as it was read.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) footer: Footer,
    /// The bytes that were signed.
    json: Vec<u8>,
    signature: Option<Signature>,
}

impl Parsed {
    /// Reads a footer's payload.
    pub(super) fn new(payload: &[u8], flags: u16) -> Option<Self> {
        let front = payload.get(..payload.len().checked_sub(TAIL_BYTES)?)?;
        let (json, signature) = match flags & SIGNED {
            0 => (front, None),
            _ => {
                let (json, mut rest) = front.split_at_checked(front.len().checked_sub(SIGNED_BYTES)?)?;
                let bytes = take(&mut rest)?;
                (json, Some(Signature { key: KeyId::from_bytes(take(&mut rest)?), bytes }))
            }
        };
        let footer = serde_json::from_slice(json).ok()?;
        Some(Parsed { footer, json: json.to_owned(), signature })
    }

    /// Whether one of these keys signed it. That it fits the blocks in front of it is another question.
    pub(super) fn signed(&self, keys: &PublicKeys) -> Signed {
        use super::sign::Distrust;
        let Some(signature) = &self.signature else { return Signed::Not };
        match keys.verify(Statement::Footer, &self.json, signature) {
            Ok(()) => Signed::By(signature.key),
            Err(Distrust::UnknownKey(key)) => Signed::ByUnknown(key),
            Err(Distrust::Wrong(key)) => Signed::Wrong(key),
        }
    }
}

/// Makes a signed footer's payload of the JSON behind `start`.
///
/// # Errors
/// When it cannot be signed: then it is not sealed.
pub(super) fn finish(buffer: &mut Vec<u8>, start: usize, signer: &Signer) -> Result<(), KeyError> {
    let signature = signer.sign(Statement::Footer, buffer.get(start..).unwrap_or_default())?;
    buffer.extend_from_slice(&signature.bytes);
    buffer.extend_from_slice(signature.key.as_bytes());
    let length = HEADER_BYTES + buffer.len().saturating_sub(start) + TAIL_BYTES;
    buffer.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    buffer.extend_from_slice(&TAIL_MAGIC);
    Ok(())
}

/// The length of the whole footer block, as the last bytes of its payload say.
pub(super) fn tail_length(payload: &[u8]) -> Option<u64> {
    let mut tail = payload.get(payload.len().checked_sub(TAIL_BYTES)?..)?;
    let length = u32::from_le_bytes(take(&mut tail)?);
    (take(&mut tail)? == TAIL_MAGIC).then_some(length.into())
}
