//! Whose signatures count: the keys that were named, or that of the configuration's own gateway.
//!
//! Never a key because it lies beside the recordings: whoever wrote them anew would put theirs there. The configuration is that of
//! `--config`, and what is printed says so, since it may be any file.

use crate::cli::failure::Failure;
use crate::cli::recording_key;
use crate::config;
use crate::recorder::sign::PublicKeys;
use std::fmt;
use std::path::{Path, PathBuf};

/// Keys, and where they are from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    pub(super) keys: PublicKeys,
    from: Option<String>,
}

impl Trust {
    /// The keys of files and folders.
    pub(crate) fn given(paths: &[PathBuf]) -> Result<Self, Failure> {
        let keys = PublicKeys::read(paths).map_err(|error| {
            Failure::usage(
                error.to_string(),
                "name the public half, as `chaperone recording-key` shows it, or a folder of such files",
            )
        })?;
        Ok(Trust { keys, from: Some("--public-key".into()) })
    }

    /// The keys.
    pub(crate) fn keys(&self) -> &PublicKeys {
        &self.keys
    }

    /// The key of a configuration. Nobody's, where there is none that can be read: then no signature counts.
    pub(crate) fn of_configuration(path: &Path) -> Self {
        let own = config::without_secrets(path).ok().and_then(|config| recording_key::own(&config).ok());
        match own {
            Some(key) => Trust { keys: key.into(), from: Some(path.display().to_string()) },
            None => Trust::default(),
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(from) = &self.from else { return f.write_str("no key: none was given") };
        let ids: Vec<String> = self.keys.ids().map(|id| id.to_string()).collect();
        write!(f, "{} of {from}", ids.join(", "))
    }
}
