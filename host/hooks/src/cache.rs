//! Compiled plugins, kept between starts.
//!
//! What lies here is machine code that the gateway will run: whoever can write it owns the gateway. So the folder and each
//! file must belong to our user alone, and a file begins with the SHA-256 of the rest, so that a flipped bit on a disk is
//! compiled again and not run. That digest is no proof of origin; only the ownership is.

use crate::load::hex;
use aws_lc_rs::digest::{SHA256, digest};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Raised when the meaning of a cached file changes without wasmtime noticing (a new stub, a new contract).
const GENERATION: u32 = 2;

/// The largest file that is read, in bytes; machine code is up to ten times as long as its plugin.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A folder that only our user can write to.
pub(crate) struct Cache {
    folder: PathBuf,
    /// Our user.
    owner: u32,
}

impl Cache {
    /// Makes the folder if there is none, and refuses one that others could write to.
    pub(crate) fn open(folder: &Path) -> Result<Self, String> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| format!("it cannot be made: {error}"))?;
        let found =
            std::fs::symlink_metadata(folder).map_err(|error| format!("it cannot be read: {error}"))?;
        if !found.is_dir() {
            return Err("it is not a folder".into());
        }
        if found.permissions().mode() & 0o022 != 0 {
            // Not "change its mode": what others put into it would stay.
            return Err("others may write to it; remove it, it will be made anew".into());
        }
        // A file of our own shows who we are, without a system call that would need `unsafe`.
        let probe =
            tempfile::tempfile_in(folder).map_err(|error| format!("it cannot be written: {error}"))?;
        let owner = probe.metadata().map_err(|error| format!("it cannot be read: {error}"))?.uid();
        if found.uid() != owner {
            return Err("it belongs to another user".into());
        }
        Ok(Cache { folder: folder.to_owned(), owner })
    }

    fn path(&self, engine: &Engine, key: &str) -> PathBuf {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        GENERATION.hash(&mut hasher);
        let name = format!("{key}.{:016x}", hasher.finish());
        self.folder.join(format!("{}.cwasm", hex(digest(&SHA256, name.as_bytes()).as_ref())))
    }

    /// Code that this gateway compiled before under `key`; anything odd means: compile again.
    #[allow(unsafe_code)]
    pub(crate) fn get(&self, engine: &Engine, key: &str) -> Option<Component> {
        let code = match self.read(&self.path(engine, key)) {
            Ok(code) => code,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "a cached plugin is not usable and will be compiled again");
                return None;
            }
        };
        // SAFETY: `read` checked that the file is ours and whole; it was written by `put`. wasmtime checks that it was
        // made by this very version for this very processor.
        match unsafe { Component::deserialize(engine, &code) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%error, "a cached plugin is not usable and will be compiled again");
                None
            }
        }
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let found = std::fs::symlink_metadata(path)?;
        if !found.is_file() || found.uid() != self.owner || found.permissions().mode() & 0o022 != 0 {
            return Err(std::io::Error::other("the file is not ours alone"));
        }
        let mut digest_bytes = [0; 32];
        let mut code = Vec::new();
        let mut file = std::fs::File::open(path)?;
        file.read_exact(&mut digest_bytes)?;
        file.take(MAX_FILE_BYTES).read_to_end(&mut code)?;
        if digest(&SHA256, &code).as_ref() != digest_bytes {
            return Err(std::io::Error::other("the file is damaged"));
        }
        Ok(code)
    }

    /// Keeps compiled code. A failure only makes the next start slower.
    pub(crate) fn put(&self, engine: &Engine, key: &str, component: &Component) {
        let kept = component
            .serialize()
            .map_err(std::io::Error::other)
            .and_then(|code| self.write(&self.path(engine, key), &code));
        if let Err(error) = kept {
            tracing::warn!(%error, "a compiled plugin could not be cached");
        }
    }

    /// Writes beside the goal and renames, so that a crash never leaves half a file under the name.
    fn write(&self, path: &Path, code: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(digest(&SHA256, code).as_ref())?;
        file.write_all(code)?;
        file.persist(path)?;
        Ok(())
    }
}
