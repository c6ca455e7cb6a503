//! `sessions`, `replay`, `verify` and `export` on local recording files, and nothing else of the recorder.
//!
//! Each function is one command: it gets the folder and what was asked, prints through [`super::print`], and answers
//! with an exit code. They need no gateway and no token, so that an auditor can run them on a copy.
//!
//! - `list`, `replay`, `proof`, `export`: the commands; `people`, `words`: what [`crate::story`] reads, for people; `lines`: for programs;
//!   `trust`: whose signatures count; `keys`: what encrypted ones are read with; `chain`: checkpoints

mod chain;
mod export;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod keys;
mod lines;
mod list;
mod people;
mod proof;
mod replay;
mod trust;
mod words;

#[cfg(test)]
mod tests;

pub(super) use chain::hash;
pub use export::ExportArgs;
pub(super) use keys::library;
pub(super) use trust::Trust;

use super::failure::{Exit, Failure};
use super::print::{self, Audience};
use crate::recorder::sign::Signer;
use crate::recorder::{Hash, Library, RecorderError};
use chaperone_core::name::SessionId;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where recordings are, when not in the configuration's folder.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The folder of recordings [default: `recording.directory` of the configuration]
    #[arg(long, value_name = "DIR")]
    pub recordings: Option<PathBuf>,
    /// Files with keys that recordings were encrypted with [default: those of the configuration]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub key_file: Vec<PathBuf>,
}

/// What is to be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// One recording.
    One(SessionId),
    /// Every recording of the folder, and that none is missing; one of its checkpoints has this hash, if there is one.
    All(Option<Hash>),
    /// A file.
    File(PathBuf),
}

/// What `verify` is given: a session's id, a file, or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A session of the folder of recordings.
    Session(SessionId),
    /// A file or folder.
    Path(PathBuf),
}

impl std::str::FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(session) => Ok(Given::Session(session)),
            Err(_) if Path::new(text).exists() => Ok(Given::Path(text.into())),
            Err(_) => Err("neither a session's id (`ses_…`) nor a file or folder that is there".into()),
        }
    }
}

/// How a replay runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    /// 1 is real time, 2 twice as fast; over 0 and at most 1000.
    pub(crate) speed: f64,
}

/// Lists recordings, the newest first, at most `limit`.
pub(crate) fn sessions(library: Library, limit: usize, audience: Audience) -> Result<Exit, Failure> {
    list::run(library, limit, audience, &mut Terminal)
}

/// Shows a session as it happened.
pub(crate) fn replay(
    library: Library,
    session: SessionId,
    pace: Pace,
    audience: Audience,
) -> Result<Exit, Failure> {
    replay::run(library, session, pace, audience, &mut Terminal)
}

/// Lists checkpoints, the newest first, at most `limit`.
pub(crate) fn checkpoints(library: &Library, limit: usize, audience: Audience) -> Result<Exit, Failure> {
    chain::list(library.directory(), limit, audience, &mut Terminal)
}

/// Verifies recordings: [`Exit::Unverified`] when any byte was changed, is missing or was cut, or none of the keys signed it.
pub(crate) fn verify(
    library: Library,
    what: &What,
    trust: &Trust,
    audience: Audience,
) -> Result<Exit, Failure> {
    proof::run(library, what, trust, audience, &mut Terminal)
}

/// Puts evidence together: [`Exit::Unverified`] when not all of it verifies; it is there all the same.
pub(crate) fn export(
    library: &Library,
    args: &ExportArgs,
    trust: &Trust,
    signer: Option<&Signer>,
    audience: Audience,
) -> Result<Exit, Failure> {
    export::run(library, args, trust, signer, audience, &mut Terminal)
}

/// Where a command prints and waits; tests have their own.
trait Screen {
    /// For people; colours are stripped where they do not belong.
    fn show(&mut self, text: &str);
    /// For programs; not altered.
    fn data(&mut self, text: &str);
    /// On the side.
    fn aside(&mut self, text: &str);
    /// Waits.
    fn pause(&mut self, time: std::time::Duration);
}

/// The real one.
struct Terminal;

impl Screen for Terminal {
    fn show(&mut self, text: &str) {
        print::out(text);
    }

    fn data(&mut self, text: &str) {
        // A reader that has gone (`| head`) is no failure of the command.
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }

    fn aside(&mut self, text: &str) {
        print::err(text);
    }

    fn pause(&mut self, time: std::time::Duration) {
        std::thread::sleep(time);
    }
}

/// The file of a session's recording.
fn find(library: &Library, session: SessionId) -> Result<PathBuf, Failure> {
    match library.find(session).map_err(|error| unreadable(&error))? {
        Some(path) => Ok(path),
        None => Err(Failure::new(
            Exit::Usage,
            "no-recording",
            format!("there is no recording of {session} in {}", library.directory().display()),
            match library.paths(1) {
                Ok(paths) if paths.is_empty() => ELSEWHERE,
                _ => "`chaperone sessions` lists what is there; `--recordings DIR` looks elsewhere",
            },
        )),
    }
}

/// What to do about a folder without recordings.
const ELSEWHERE: &str = "the folder holds no recordings at all: name the right one with `--recordings DIR`";

/// A folder or a file that cannot be read.
fn unreadable(error: &RecorderError) -> Failure {
    match error {
        RecorderError::Directory { path, cause } => Failure::new(
            Exit::Usage,
            "unreadable",
            format!("the folder of recordings {} cannot be read: {cause}", path.display()),
            "name the folder with `--recordings DIR`, or the configuration with `--config FILE`",
        ),
        RecorderError::NeedsKey { .. } => needs_key(error.to_string()),
        RecorderError::NoHead { .. } => Failure::new(
            Exit::Unverified,
            "damaged",
            error.to_string(),
            "`chaperone verify` says where it breaks; keep the file as it is",
        ),
        _ => Failure::new(
            Exit::Usage,
            "unreadable",
            error.to_string(),
            "recordings belong to the gateway's user: run this as that user, or on a copy",
        ),
    }
}

/// A recording whose key was not given.
fn needs_key(what: String) -> Failure {
    Failure::new(Exit::Usage, "needs-key", what, "name a file with that key: `--key-file FILE`")
}

/// Pretty JSON with its newline.
fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
