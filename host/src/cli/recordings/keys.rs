//! The folder of recordings, and the keys that those which are encrypted are read with.

use super::Place;
use crate::cli::check;
use crate::cli::failure::Failure;
use crate::cli::print::Audience;
use crate::config;
use crate::recorder::{EncryptionKey, EncryptionKeys, Library};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest file of a key, in bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// The recordings that are meant: of `directory`, or of where the command line or the configuration says.
pub(crate) fn library(
    place: &Place,
    directory: Option<PathBuf>,
    config: &Path,
    audience: Audience,
) -> Result<Library, Failure> {
    let directory = match directory.or_else(|| place.recordings.clone()) {
        Some(directory) => directory,
        None => check::recordings_folder(config, audience)?,
    };
    let keys = match place.key_file.as_slice() {
        [] => of_configuration(config),
        files => files.iter().map(|file| read(file)).collect::<Result<_, _>>()?,
    };
    Ok(Library::with_keys(directory, keys))
}

/// Those that can be read here. Whoever lacks one is told which, where it is needed.
fn of_configuration(path: &Path) -> EncryptionKeys {
    let recording = config::recording(path).ok();
    let secrets = recording.iter().flat_map(|one| one.encryption_key.iter().chain(&one.old_encryption_keys));
    secrets.filter_map(|secret| EncryptionKey::parse(secret.expose()).ok()).collect()
}

fn read(path: &Path) -> Result<EncryptionKey, Failure> {
    let fail = |why: String| {
        Failure::usage(
            format!("the key in {} cannot be read: {why}", path.display()),
            "name a file that holds the key as `recording.encryption_key` refers to it",
        )
    };
    let file = std::fs::File::open(path).map_err(|error| fail(error.kind().to_string()))?;
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| fail(error.kind().to_string()))?;
    EncryptionKey::parse(&text).map_err(|error| fail(error.to_string()))
}
