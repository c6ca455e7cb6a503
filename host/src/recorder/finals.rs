//! Files of the folder of recordings that are final: they never change any more, so they may be copied elsewhere.
//!
//! A name of one is also what an object in a store outside is called, so it comes from there too, and from whoever may write
//! there: only names of the forms below are believed. None of them leads out of a folder.

use super::library::{EXTENSION, Library, entries, is_day};
use super::{RecorderError, SessionId, checkpoint, tombstone};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where final files stand, and how their names end. Another kind of them needs a line here, and nothing else.
const FINAL: &[(Folder, &str)] =
    &[(Folder::Day, EXTENSION), (Folder::Day, tombstone::EXTENSION), (Folder::Checkpoints, "")];

/// A folder in the folder of recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    /// One for each day, `2026-12-01`. Files in it are called by their session.
    Day,
    /// The one of the checkpoints, which are called by their number.
    Checkpoints,
}

/// A final file, by its folder and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Final {
    folder: String,
    name: String,
}

impl Final {
    /// Such a file, if it can be one.
    pub fn new(folder: &str, name: &str) -> Option<Self> {
        let fits = |(kind, ending): &(Folder, &str)| {
            name.strip_suffix(ending).is_some_and(|stem| kind.holds(folder, stem))
        };
        let known = FINAL.iter().any(fits);
        known.then(|| Final { folder: folder.to_owned(), name: name.to_owned() })
    }

    /// The recording of a session that began on a day.
    pub fn recording(day: &str, session: SessionId) -> Option<Self> {
        Final::new(day, &format!("{session}{EXTENSION}"))
    }

    /// The tombstone of a session that began on a day.
    pub fn tombstone(day: &str, session: SessionId) -> Option<Self> {
        Final::new(day, &format!("{session}{}", tombstone::EXTENSION))
    }

    /// The session, if it is the recording of one.
    pub fn session(&self) -> Option<SessionId> {
        self.name.strip_suffix(EXTENSION)?.parse().ok()
    }

    /// The session, if it is what is left of one that was deleted.
    pub fn buried(&self) -> Option<SessionId> {
        self.name.strip_suffix(tombstone::EXTENSION)?.parse().ok()
    }

    /// The folder's name.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The file's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands below a folder of recordings.
    pub fn path(&self, directory: &Path) -> PathBuf {
        directory.join(&self.folder).join(&self.name)
    }
}

impl Folder {
    fn holds(self, folder: &str, stem: &str) -> bool {
        match self {
            // As it is written, not only as it is read: upper and lower case may be one name to a file system, and are two to a store.
            Folder::Day => {
                is_day(Path::new(folder))
                    && !folder.contains('/')
                    && stem.parse::<SessionId>().is_ok_and(|id| id.to_string() == stem)
            }
            Folder::Checkpoints => {
                folder == checkpoint::FOLDER
                    && !stem.contains('/')
                    && checkpoint::number_of(Path::new(stem)).is_some()
            }
        }
    }
}

impl fmt::Display for Final {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.folder, self.name)
    }
}

impl Library {
    /// The folders that final files stand in: that of the checkpoints, then the days', newest first.
    ///
    /// # Errors
    /// When the folder of recordings cannot be read.
    pub fn final_folders(&self) -> Result<Vec<PathBuf>, RecorderError> {
        let checkpoints = self.directory().join(checkpoint::FOLDER);
        let days = self.days()?.into_iter();
        Ok(checkpoints.is_dir().then_some(checkpoints).into_iter().chain(days).collect())
    }

    /// The final files of such a folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn finals_of(&self, folder: &Path) -> Result<Vec<Final>, RecorderError> {
        let Some(own) = folder.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
        let files = entries(folder)?.into_iter().filter(|path| !path.is_symlink());
        Ok(files.filter_map(|path| Final::new(own, path.file_name()?.to_str()?)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SESSION: &str = "ses_019a3b5c000070008000000000000001";

    #[test]
    fn only_names_of_what_never_changes_are_final() {
        let name = format!("{SESSION}.chrec");
        let file = Final::new("2026-12-01", &name).unwrap();
        assert_eq!(file.to_string(), format!("2026-12-01/{name}"));
        assert_eq!(Final::recording("2026-12-01", SESSION.parse().unwrap()), Some(file));
        let tombstone = Final::tombstone("2026-12-01", SESSION.parse().unwrap()).unwrap();
        assert_eq!((tombstone.session(), tombstone.buried()), (None, SESSION.parse().ok()));
        assert_eq!(
            Final::new("checkpoints", "00000001.json").unwrap().to_string(),
            "checkpoints/00000001.json"
        );
        let upper = name.to_uppercase();
        for (folder, name) in [
            ("2026-12-01", "../../etc/passwd"),
            ("2026-12-01", "..chrec"),
            ("2026-12-01", ".chrec"),
            ("2026-12-01", &format!("../{name}")),
            ("2026-12-01", &format!("{name}.open")),
            ("2026-12-01", &format!("{SESSION}.chrec.packing")),
            ("2026-12-01", &format!("{SESSION}/x.chrec")),
            ("2026-12-01", &upper),
            ("..", &name),
            ("", &name),
            ("2026-12-01/..", &name),
            ("../2026-12-01", &name),
            ("/2026-12-01", &name),
            ("2026-13-01", &name),
            ("uploading", &name),
            ("checkpoints", &name),
            ("2026-12-01", "00000001.json"),
            ("checkpoints", "1.json"),
            ("checkpoints", "../00000001.json"),
            ("checkpoints", "000000001.json"),
            ("2026-12-01", &format!("{SESSION}.chstored")),
        ] {
            assert_eq!(Final::new(folder, name), None, "{folder} {name}");
        }
    }
}
