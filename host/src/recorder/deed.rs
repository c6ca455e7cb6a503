//! Small signed files: checkpoints and tombstones.
//!
//! Two lines: a JSON object, and who signed it. What is signed are the bytes of the first line, so that nobody has to agree on
//! how JSON is spelled, and `head -n 1` shows what it says. A deed appears under its name whole or not at all, is never
//! overwritten and never changed: that a name is free is also how gateways that share a folder agree who writes next.
//!
//! What may go wrong: the disk. Then there is no deed, and what it would have allowed does not happen.

use super::format::Hash;
use super::sign::{Distrust, KeyError, KeyId, PublicKeys, Signature, Signer, Statement};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest deed, in bytes: more than a checkpoint of the most entries can have, with the longest names.
pub(super) const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Nobody has a reason to write one. This stops accidents, not attackers.
const MODE: u32 = 0o400;

/// Why a checkpoint or a tombstone cannot be made or read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DeedError {
    /// The file.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: Arc<io::Error>,
    },
    /// Somebody else was quicker, or it was made before.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// It is not what this program writes.
    #[error("{}: it cannot be read as what its name says", .0.display())]
    Content(PathBuf),
    /// It cannot be signed.
    #[error("{}: it cannot be signed: {why}", path.display())]
    Unsigned {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl DeedError {
    pub(super) fn file(path: &Path, cause: io::Error) -> Self {
        DeedError::File { path: path.to_owned(), cause: Arc::new(cause) }
    }
}

/// The second line.
#[derive(Serialize, Deserialize)]
struct Seal {
    key: KeyId,
    signature: String,
}

/// What was read, with what proves it.
#[derive(Debug, Clone)]
pub(super) struct Deed<T> {
    pub(super) body: T,
    /// The bytes that were signed.
    json: Vec<u8>,
    pub(super) signature: Signature,
}

impl<T: DeserializeOwned> Deed<T> {
    /// Reads both lines. Nothing may stand behind them.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
        let (json, seal, None) = (lines.next()?, lines.next()?, lines.next()) else { return None };
        let seal: Seal = serde_json::from_slice(seal).ok()?;
        let bytes = STANDARD.decode(&seal.signature).ok()?.try_into().ok()?;
        let signature = Signature { key: seal.key, bytes };
        Some(Deed { body: serde_json::from_slice(json).ok()?, json: json.to_owned(), signature })
    }

    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<(Self, Hash), DeedError> {
        let bytes = read(path)?;
        let deed = Deed::parse(&bytes).ok_or_else(|| DeedError::Content(path.to_owned()))?;
        Ok((deed, Hash::of(&bytes)))
    }
}

impl<T> Deed<T> {
    /// Whether one of these keys signed it, as this kind.
    pub(super) fn signed(&self, kind: Statement, keys: &PublicKeys) -> Result<(), Distrust> {
        keys.verify(kind, &self.json, &self.signature)
    }
}

/// The bytes of a file, at most [`MAX_BYTES`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, DeedError> {
    let read = || -> io::Result<Vec<u8>> {
        // A pipe is opened without waiting for its writer, and is then no file.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes")));
        }
        Ok(bytes)
    };
    read().map_err(|cause| DeedError::file(path, cause))
}

/// Signs and writes a new file. It is on the medium, with its name, when this returns.
///
/// # Errors
/// [`DeedError::Exists`] when the name is taken, else when it cannot be written or signed. There is a whole file then, or none.
pub(super) fn make(
    path: &Path,
    kind: Statement,
    body: &impl Serialize,
    signer: &Signer,
) -> Result<Hash, DeedError> {
    let text = text(kind, body, signer)
        .map_err(|error| DeedError::Unsigned { path: path.to_owned(), why: error.to_string() })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&text)?;
        file.as_file().set_permissions(Permissions::from_mode(MODE))?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        sync_folder(folder)
    };
    match write() {
        Ok(()) => Ok(Hash::of(&text)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(DeedError::Exists(path.to_owned())),
        Err(error) => Err(DeedError::file(path, error)),
    }
}

fn text(kind: Statement, body: &impl Serialize, signer: &Signer) -> Result<Vec<u8>, KeyError> {
    // serde_json writes no line feed, whatever is in the texts.
    let mut text = serde_json::to_vec(body).map_err(|_| KeyError::Library)?;
    let signature = signer.sign(kind, &text)?;
    let seal = Seal { key: signature.key, signature: STANDARD.encode(signature.bytes) };
    text.push(b'\n');
    serde_json::to_writer(&mut text, &seal).map_err(|_| KeyError::Library)?;
    text.push(b'\n');
    Ok(text)
}

/// Waits until the names in a folder are on the medium.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
