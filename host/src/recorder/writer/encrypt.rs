//! Blocks that are encrypted, in the buffer in which they were gathered: nothing is copied and nothing allocated for it.
//!
//! Between the header and the frames the buffer has room for the nonce, from the key's block on.

use super::super::RecorderError;
use super::super::cipher::{DataKey, EncryptionKey, NONCE_BYTES, TAG_BYTES};
use super::super::format::{BlockKind, ENCRYPTED, HEADER_BYTES, Header};
use super::Recording;
use aws_lc_rs::error::Unspecified;
use std::io;
use std::sync::Arc;

/// What a recording fails with that cannot be encrypted: nothing of it is written in the clear.
pub(super) fn impossible() -> io::Error {
    io::Error::other("it cannot be encrypted")
}

impl Recording {
    /// Writes the block with the key that all others are encrypted with.
    pub(super) fn encrypt(&mut self, by: &EncryptionKey) -> Result<(), RecorderError> {
        let (key, wrapped) = DataKey::new(by).map_err(|_| self.write_error(&Arc::new(impossible())))?;
        self.buffer.extend_from_slice(&wrapped);
        self.write_block(BlockKind::Key, 0);
        self.cipher = Some(key);
        self.clear();
        self.check()
    }

    /// Bytes of the buffer in front of what waits: room for the header and, where it is encrypted, for the nonce.
    pub(super) fn front(&self) -> usize {
        HEADER_BYTES + if self.cipher.is_some() { NONCE_BYTES } else { 0 }
    }

    /// Empties the buffer for the next block.
    pub(super) fn clear(&mut self) {
        let front = self.front();
        self.buffer.truncate(HEADER_BYTES);
        self.buffer.resize(front, 0);
    }

    /// Encrypts the block that waits where it is, and gives its header. None where nothing is encrypted.
    pub(super) fn encrypted(&mut self, flags: u16) -> Option<Result<Header, Unspecified>> {
        let cipher = self.cipher.as_ref()?;
        let length = self.buffer.len().saturating_sub(HEADER_BYTES) + TAG_BYTES;
        let (sequence, previous) = (self.totals.blocks, self.totals.last_hash);
        let kind = (BlockKind::Events, flags | ENCRYPTED);
        let mut header = Header::before(kind, sequence, self.frames, previous, length);
        let sealed = cipher.seal(sequence, header.bound(), &mut self.buffer, HEADER_BYTES);
        header.hash = header.digest(self.buffer.get(HEADER_BYTES..).unwrap_or_default());
        Some(sealed.map(|()| header))
    }
}
