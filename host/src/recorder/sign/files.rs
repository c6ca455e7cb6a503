//! Keys in files.
//!
//! A private key appears under its name whole or not at all, readable by its user alone, and is never overwritten: a key that
//! was replaced by accident cannot be had again. What stands under the name at the end is what counts, whoever put it there
//! first; so two gateways that start at once end up with one key.

use super::{KeyError, PublicKey, PublicKeys, Signer};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The longest key file, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The most files of one folder of public keys.
const MAX_FILES: usize = 1000;
/// Any permission of anyone but the owner.
const ANY_OF_OTHERS: u32 = 0o077;

/// A key that was kept, or is now.
#[derive(Debug)]
pub struct Kept {
    /// The key.
    pub signer: Signer,
    /// Where its public half is.
    pub public: PathBuf,
    /// Whether it was made by this very call.
    pub made: bool,
}

/// The key of a file; made when there is no such file. The public half is beside it, with the ending `.pub.pem`.
///
/// # Errors
/// When it cannot be read or made, is no key, or others may read it.
pub fn keep(path: &Path) -> Result<Kept, KeyError> {
    match private(path) {
        Err(KeyError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => match make(path) {
            Ok(signer) => kept(path, signer, true),
            // Another gateway was quicker: its key is the one.
            Err(KeyError::File { cause, .. }) if cause.kind() == io::ErrorKind::AlreadyExists => {
                kept(path, private(path)?, false)
            }
            Err(error) => Err(error),
        },
        signer => kept(path, signer?, false),
    }
}

/// The key of a file that is there.
///
/// # Errors
/// When it cannot be read, is no key, or others may read it.
pub fn private(path: &Path) -> Result<Signer, KeyError> {
    let text = read(path)?;
    let mode = fs::metadata(path).map_err(|cause| failed(path, cause))?.permissions().mode();
    if mode & ANY_OF_OTHERS != 0 {
        // Fails closed: whoever read it could have signed anything.
        return Err(KeyError::OpenToOthers(path.to_owned()));
    }
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    Signer::from_pem(&text).map_err(|error| of(path, error))
}

/// Where [`keep`] puts the public half.
pub fn public_half(private: &Path) -> PathBuf {
    private.with_extension("pub.pem")
}

fn kept(path: &Path, signer: Signer, made: bool) -> Result<Kept, KeyError> {
    let public = public_half(path);
    put_public(&public, signer.public())?;
    Ok(Kept { signer, public, made })
}

/// Makes a key and puts it into a new file, mode 0600.
///
/// # Errors
/// When the file exists, or cannot be made.
pub fn make(path: &Path) -> Result<Signer, KeyError> {
    let (signer, pem) = Signer::generate()?;
    let write = || -> io::Result<()> {
        let folder = folder_of(path);
        // Mode 0600 from the beginning.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(pem.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|cause| failed(path, cause))?;
    Ok(signer)
}

/// Puts the public half into `<directory>/keys/<key id>.pem`, for those who look for it there. Whether a key is to be trusted
/// is another question.
///
/// # Errors
/// When it cannot be written.
pub fn publish(directory: &Path, key: PublicKey) -> Result<PathBuf, KeyError> {
    let folder = directory.join("keys");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|cause| failed(&folder, cause))?;
    let path = folder.join(format!("{}.pem", key.id()));
    put_public(&path, key)?;
    Ok(path)
}

/// A public half is derived, so one that differs is put right.
fn put_public(path: &Path, key: PublicKey) -> Result<(), KeyError> {
    let pem = key.to_pem();
    if read(path).is_ok_and(|found| *found == pem.as_bytes()) {
        return Ok(());
    }
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder_of(path))?;
        file.write_all(pem.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(0o444))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|cause| failed(path, cause))
}

impl PublicKeys {
    /// The keys of PEM files, and of folders of them (`*.pem`).
    ///
    /// # Errors
    /// When one cannot be read, or holds no key or something else.
    pub fn read(paths: &[PathBuf]) -> Result<Self, KeyError> {
        let mut keys = PublicKeys::default();
        for path in paths {
            let files = if path.is_dir() { pem_files(path)? } else { vec![path.clone()] };
            let mut count = 0;
            for file in files {
                count += keys.add_pem(&read(&file)?).map_err(|error| of(&file, error))?;
            }
            if count == 0 {
                return Err(KeyError::Nothing(path.clone()));
            }
        }
        Ok(keys)
    }
}

fn pem_files(folder: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let entries = fs::read_dir(folder).map_err(|cause| failed(folder, cause))?;
    let mut files = Vec::new();
    for entry in entries.take(MAX_FILES) {
        let path = entry.map_err(|cause| failed(folder, cause))?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let read = || -> io::Result<Zeroizing<Vec<u8>>> {
        // A pipe is opened without waiting for its writer, and is then no file.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::other(format!("it is longer than {MAX_FILE_BYTES} bytes")));
        }
        Ok(bytes)
    };
    read().map_err(|cause| failed(path, cause))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path, cause: io::Error) -> KeyError {
    KeyError::File { path: path.to_owned(), cause }
}

fn of(path: &Path, error: KeyError) -> KeyError {
    KeyError::In { path: path.to_owned(), cause: Box::new(error) }
}
