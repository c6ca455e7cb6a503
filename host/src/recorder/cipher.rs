//! Encryption of what a recording says.
//!
//! Each file has a random key of its own, with which its blocks are encrypted (AES-256-GCM, NIST SP 800-38D) in the buffer where
//! they are; that key stands in the file's first block, wrapped by a key of the configuration. So the key of the configuration is
//! used once for each file, and a file's key never for two files. The hashes of the chain are over what is stored: whether a
//! recording is whole and signed can be told without any key.
//!
//! A nonce is four random bytes, made anew by each who writes to a file (a session, and perhaps the recovery after it, with
//! the same numbers of blocks), and the block's number. What belongs to a block is bound to it as additional data: the header's first
//! 32 bytes, so that a block's number, kind, flags and length are those that it was encrypted with.
//!
//! What may go wrong: whoever loses the key has lost what the recordings say, though not the proof that they are whole.

use super::sign::KeyId;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes in front of what is encrypted.
pub(super) const NONCE_BYTES: usize = NONCE_LEN;
/// Bytes behind it.
pub(super) const TAG_BYTES: usize = 16;
/// Random bytes of a nonce; the rest is a number.
const PREFIX_BYTES: usize = NONCE_BYTES - size_of::<u64>();
/// Bytes of a key's id.
const ID_BYTES: usize = size_of::<u64>();
/// Bytes of a wrapped key: whose it is wrapped by, nonce, key, tag.
pub(super) const WRAPPED_BYTES: usize = ID_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES;
/// What is bound to a wrapped key.
const WRAPPING: &[u8] = b"chaperone recording key 1";
/// What stands in front of a key where its id is computed.
const NAMING: &[u8] = b"chaperone recording encryption key 1\0";

/// A key of the configuration. Cheap to clone; nothing shows it.
#[derive(Clone)]
pub struct EncryptionKey {
    id: KeyId,
    key: Arc<LessSafeKey>,
}

/// Not 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 random bytes, in base64 or as 64 hexadecimal digits (`openssl rand -base64 32`)")]
pub struct NoEncryptionKey;

impl EncryptionKey {
    /// Reads a key: 32 bytes in base64, or as 64 hexadecimal digits.
    ///
    /// # Errors
    /// When the text is anything else. The error says nothing of it.
    pub fn parse(text: &str) -> Result<Self, NoEncryptionKey> {
        let mut bytes = Zeroizing::new(match text.trim() {
            text if text.len() == 2 * KEY_BYTES => from_hex(text).ok_or(NoEncryptionKey)?,
            text => STANDARD.decode(text).map_err(|_| NoEncryptionKey)?,
        });
        if bytes.len() != KEY_BYTES || bytes.iter().all(|byte| Some(byte) == bytes.first()) {
            return Err(NoEncryptionKey);
        }
        let named = Zeroizing::new([NAMING, &bytes].concat());
        let key = cipher(&bytes).map_err(|_| NoEncryptionKey)?;
        bytes.zeroize();
        Ok(EncryptionKey { id: KeyId::of(&named), key: Arc::new(key) })
    }

    /// Which key: it says nothing of the key itself.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EncryptionKey").field(&self.id).finish()
    }
}

/// Keys that recordings are read with.
#[derive(Debug, Clone, Default)]
pub struct EncryptionKeys {
    keys: Arc<BTreeMap<KeyId, EncryptionKey>>,
}

impl EncryptionKeys {
    pub(super) fn get(&self, id: KeyId) -> Option<&EncryptionKey> {
        self.keys.get(&id)
    }
}

impl FromIterator<EncryptionKey> for EncryptionKeys {
    fn from_iter<I: IntoIterator<Item = EncryptionKey>>(keys: I) -> Self {
        let keys = keys.into_iter().map(|key| (key.id, key));
        EncryptionKeys { keys: Arc::new(keys.collect()) }
    }
}

/// How recordings are encrypted, and with which keys they are read.
#[derive(Debug, Clone, Default)]
pub struct Encryption {
    by: Option<EncryptionKey>,
    keys: EncryptionKeys,
}

impl Encryption {
    /// New recordings are encrypted by one key, if any; it and others are there to read them.
    pub fn new(by: Option<EncryptionKey>, others: impl IntoIterator<Item = EncryptionKey>) -> Self {
        let keys = others.into_iter().chain(by.clone()).collect();
        Encryption { by, keys }
    }

    /// Whether new recordings are encrypted.
    pub(super) fn encrypts(&self) -> bool {
        self.by.is_some()
    }

    /// The keys to read with.
    pub fn keys(&self) -> &EncryptionKeys {
        &self.keys
    }

    /// The key of a new file. What was encrypted is never written in the clear again, also where new recordings are not encrypted
    /// any more: `before` is the key of what it is made from.
    pub(super) fn of_new_file(&self, before: Option<&DataKey>) -> Option<&EncryptionKey> {
        self.by.as_ref().or_else(|| self.keys.get(before?.wrapped_by))
    }
}

/// Why a wrapped key cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapped {
    /// The key that wrapped it is not there.
    By(KeyId),
    /// It is none, or was changed.
    Wrong,
}

/// The key of a file.
pub(super) struct DataKey {
    key: LessSafeKey,
    prefix: [u8; PREFIX_BYTES],
    wrapped_by: KeyId,
}

impl DataKey {
    /// Makes a key, and gives what stands for it in the file.
    pub(super) fn new(by: &EncryptionKey) -> Result<(Self, Vec<u8>), Unspecified> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *bytes)?;
        let mut nonce = [0; NONCE_BYTES];
        rand::fill(&mut nonce)?;
        let mut wrapped = bytes.to_vec();
        let tag = by.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(WRAPPING),
            &mut wrapped,
        )?;
        let payload = [&by.id.as_bytes()[..], &nonce, &wrapped, tag.as_ref()].concat();
        Ok((DataKey::of(bytes.as_slice(), by.id)?, payload))
    }

    /// Unwraps a file's key.
    pub(super) fn unwrap(payload: &[u8], keys: &EncryptionKeys) -> Result<Self, Wrapped> {
        if payload.len() != WRAPPED_BYTES {
            return Err(Wrapped::Wrong);
        }
        let (id, rest) = payload.split_first_chunk::<ID_BYTES>().ok_or(Wrapped::Wrong)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Wrapped::Wrong)?;
        let id = KeyId::from_bytes(*id);
        let by = keys.get(id).ok_or(Wrapped::By(id))?;
        let mut room = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let bytes =
            by.key.open_in_place(nonce, Aad::from(WRAPPING), &mut room).map_err(|_| Wrapped::Wrong)?;
        DataKey::of(bytes, id).map_err(|_| Wrapped::Wrong)
    }

    fn of(bytes: &[u8], wrapped_by: KeyId) -> Result<Self, Unspecified> {
        let mut prefix = [0; PREFIX_BYTES];
        rand::fill(&mut prefix)?;
        Ok(DataKey { key: cipher(bytes)?, prefix, wrapped_by })
    }

    /// Encrypts what stands in `buffer` behind `start` and the nonce's room, where it is, and puts nonce and tag around it.
    pub(super) fn seal(
        &self,
        sequence: u64,
        bound: [u8; 32],
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), Unspecified> {
        let (_, payload) = buffer.split_at_mut_checked(start).ok_or(Unspecified)?;
        let (room, plain) = payload.split_first_chunk_mut::<NONCE_BYTES>().ok_or(Unspecified)?;
        let (prefix, number) = room.split_at_mut(PREFIX_BYTES);
        prefix.copy_from_slice(&self.prefix);
        number.copy_from_slice(&sequence.to_le_bytes());
        let nonce = Nonce::assume_unique_for_key(*room);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(bound), plain)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts a payload where it is; None unless it is what was encrypted with this key and this header.
    pub(super) fn open<'a>(&self, bound: [u8; 32], payload: &'a mut [u8]) -> Option<&'a [u8]> {
        let (nonce, sealed) = payload.split_first_chunk_mut::<NONCE_BYTES>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.key.open_in_place(nonce, Aad::from(bound), sealed).ok().map(|plain| &*plain)
    }
}

fn cipher(bytes: &[u8]) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().as_chunks::<2>().0.iter();
    pairs.map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
