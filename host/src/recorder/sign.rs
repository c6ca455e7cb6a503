//! Signatures: that something was sealed by a gateway that holds a certain key.
//!
//! A hash chain shows that nothing was changed since somebody wrote it; whoever writes all of it anew makes a chain that fits
//! as well. So what ends a recording is signed (Ed25519, RFC 8032), and whoever verifies brings the public keys that they trust:
//! a key that lies beside what it signed proves nothing. What is signed begins with what it is ([`Statement`]), so that a
//! signature of one kind never counts as another.
//!
//! - `files`: keys in files: made once, never overwritten, read
//!
//! What may go wrong: whoever can read the private key can sign what they like. It is a secret of the gateway's user, and a key
//! that was lost is replaced by another: recordings name the key that signed them.

mod files;

pub use files::{Kept, keep, make, private, public_half, publish};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of a key's id.
pub(super) const KEY_ID_BYTES: usize = 8;
/// An Ed25519 public key as SubjectPublicKeyInfo (RFC 8410, section 4) is these bytes and then the key's own.
const SPKI_FRONT: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bytes of an Ed25519 public key.
const PUBLIC_BYTES: usize = 32;

/// What a signature is under. Its words are part of the format and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// The footer of a recording: it is complete, and was written by this gateway.
    Footer,
    /// A checkpoint: these are all the recordings that were sealed until then.
    Checkpoint,
    /// A tombstone: this recording was deleted, by the rules.
    Tombstone,
    /// The manifest of a bundle of evidence: who holds the key has put these files together.
    Evidence,
    /// A receipt: this recording is in the store outside.
    Receipt,
}

impl Statement {
    /// What stands in front of the signed bytes, with the zero byte that ends it. None is the beginning of another.
    fn words(self) -> &'static [u8] {
        match self {
            Statement::Footer => b"chaperone recording footer 1\0",
            Statement::Checkpoint => b"chaperone checkpoint 1\0",
            Statement::Tombstone => b"chaperone tombstone 1\0",
            Statement::Evidence => b"chaperone evidence 1\0",
            Statement::Receipt => b"chaperone receipt 1\0",
        }
    }

    fn signed(self, message: &[u8]) -> Vec<u8> {
        [self.words(), message].concat()
    }
}

/// Which key: the first 8 bytes of SHA-256 over its public half as SubjectPublicKeyInfo (DER). 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    /// The id with these bytes.
    pub(super) fn from_bytes(bytes: [u8; KEY_ID_BYTES]) -> Self {
        KeyId(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_ID_BYTES] {
        &self.0
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, bytes);
        let mut id = [0; KEY_ID_BYTES];
        id.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        KeyId(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not 16 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's id is 16 lower-case hexadecimal digits")]
pub struct NoKeyId;

impl FromStr for KeyId {
    type Err = NoKeyId;

    fn from_str(text: &str) -> Result<Self, NoKeyId> {
        let fits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 2 * KEY_ID_BYTES || !text.bytes().all(fits) {
            return Err(NoKeyId);
        }
        u64::from_str_radix(text, 16).map(|number| KeyId(number.to_be_bytes())).map_err(|_| NoKeyId)
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A signature, and by which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The key.
    pub key: KeyId,
    /// Ed25519, as RFC 8032 encodes it.
    pub bytes: [u8; SIGNATURE_BYTES],
}

/// A private key. Cheap to clone. It has no `Debug` that shows anything of it.
#[derive(Clone)]
pub struct Signer {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl Signer {
    /// Reads an Ed25519 private key: PKCS#8 in PEM (RFC 8410), as `openssl genpkey -algorithm ED25519` writes it.
    ///
    /// # Errors
    /// When the text is anything else. The error says nothing of it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::NotPrivate)?;
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| KeyError::NotPrivate)?;
        Signer::new(pair)
    }

    /// Makes a new key. Gives it and its PEM, which is the secret.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn generate() -> Result<(Self, Zeroizing<String>), KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Library)?;
        let der = pair.to_pkcs8v1().map_err(|_| KeyError::Library)?;
        let pem = Zeroizing::new(pem("PRIVATE KEY", der.as_ref()));
        Ok((Signer::new(pair)?, pem))
    }

    fn new(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Library)?;
        Ok(Signer { pair: Arc::new(pair), public: PublicKey { bytes: public } })
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        self.public.id()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `message` as a statement of a kind.
    ///
    /// # Errors
    /// When the library cannot. Nothing is signed then.
    pub fn sign(&self, kind: Statement, message: &[u8]) -> Result<Signature, KeyError> {
        let signed = self.pair.try_sign(&kind.signed(message)).map_err(|_| KeyError::Library)?;
        let bytes = signed.as_ref().try_into().map_err(|_| KeyError::Library)?;
        Ok(Signature { key: self.id(), bytes })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.id()).finish()
    }
}

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    bytes: [u8; PUBLIC_BYTES],
}

impl PublicKey {
    /// Reads SubjectPublicKeyInfo. The only encoding of an Ed25519 key is accepted, so that a key has one id.
    fn from_der(der: &[u8]) -> Option<Self> {
        let bytes = der.strip_prefix(&SPKI_FRONT)?.try_into().ok()?;
        Some(PublicKey { bytes })
    }

    fn to_der(self) -> Vec<u8> {
        [&SPKI_FRONT[..], &self.bytes].concat()
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.to_der())
    }

    /// PEM (`-----BEGIN PUBLIC KEY-----`), as every tool reads it.
    pub fn to_pem(self) -> String {
        pem("PUBLIC KEY", &self.to_der())
    }
}

/// Public keys that somebody trusts.
#[derive(Debug, Clone, Default)]
pub struct PublicKeys {
    keys: BTreeMap<KeyId, PublicKey>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Whether it is right cannot be told.
    #[error("it is signed by the key {0}, which is not among those that were given")]
    UnknownKey(KeyId),
    /// It is not of this key over these bytes as a statement of this kind.
    #[error("it is not a signature of the key {0}, which it names: somebody else wrote it")]
    Wrong(KeyId),
}

impl PublicKeys {
    /// Trusts one more key.
    pub fn add(&mut self, key: PublicKey) {
        self.keys.insert(key.id(), key);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = PublicKey> {
        self.keys.values().copied()
    }

    /// The ids.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.keys().copied()
    }

    /// Trusts every public key of a PEM text. How many that were.
    ///
    /// # Errors
    /// When one of them is no Ed25519 key: who gives a key means that it counts.
    pub fn add_pem(&mut self, text: &[u8]) -> Result<usize, KeyError> {
        let mut count = 0;
        for der in SubjectPublicKeyInfoDer::pem_slice_iter(text) {
            let der = der.map_err(|_| KeyError::NotPublic)?;
            self.add(PublicKey::from_der(&der).ok_or(KeyError::NotPublic)?);
            count += 1;
        }
        Ok(count)
    }

    /// Whether `signature` is that of a trusted key over `message` as a statement of this kind.
    ///
    /// # Errors
    /// When it is not, or the key is not among these.
    pub fn verify(&self, kind: Statement, message: &[u8], signature: &Signature) -> Result<(), Distrust> {
        let key = self.keys.get(&signature.key).ok_or(Distrust::UnknownKey(signature.key))?;
        UnparsedPublicKey::new(&ED25519, &key.bytes)
            .verify(&kind.signed(message), &signature.bytes)
            .map_err(|_| Distrust::Wrong(signature.key))
    }
}

impl From<PublicKey> for PublicKeys {
    fn from(key: PublicKey) -> Self {
        let mut keys = PublicKeys::default();
        keys.add(key);
        keys
    }
}

/// PEM (RFC 7468): lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut out = format!("-----BEGIN {label}-----\n");
    // Base64 is ASCII, so no character is cut.
    for line in text.as_bytes().chunks(64) {
        let _ = writeln!(out, "{}", std::str::from_utf8(line).unwrap_or_default());
    }
    let _ = writeln!(out, "-----END {label}-----");
    out
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is not a private key.
    #[error("it is no Ed25519 private key (PKCS#8 in PEM: `-----BEGIN PRIVATE KEY-----`)")]
    NotPrivate,
    /// It is not a public key.
    #[error("it holds what is no Ed25519 public key (PEM: `-----BEGIN PUBLIC KEY-----`)")]
    NotPublic,
    /// A file or folder without any.
    #[error("{} holds no public key (PEM: `-----BEGIN PUBLIC KEY-----`)", .0.display())]
    Nothing(PathBuf),
    /// A file's key.
    #[error("{}: {cause}", path.display())]
    In {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<KeyError>,
    },
    /// A file that cannot be read or made.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A private key that others may read.
    #[error("others may read this private key: run `chmod go-rwx {}`, or make a new one", .0.display())]
    OpenToOthers(PathBuf),
    /// The library failed.
    #[error("the cryptographic library failed")]
    Library,
}
