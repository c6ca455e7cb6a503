//! `chaperone check`: every mistake of a configuration at once.

use super::failure::{Exit, Failure};
use super::print::{self, Audience};
use crate::config::{self, LoadError, Outcome};
use std::path::{Path, PathBuf};

/// What warnings amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warnings {
    /// They are shown.
    Allowed,
    /// They refuse, as errors do.
    Refused,
}

/// Checks a file and prints what was found.
pub(crate) fn run(path: &Path, warnings: Warnings, audience: Audience) -> Result<Exit, Failure> {
    let report = config::check(path).map_err(unreadable)?;
    match audience {
        Audience::People => print::out(&report.to_string()),
        Audience::Programs => print::json(&report.to_json()),
    }
    Ok(match (report.outcome(), warnings) {
        (Outcome::Clean, _) | (Outcome::Warned, Warnings::Allowed) => Exit::Done,
        (Outcome::Warned, Warnings::Refused) | (Outcome::Refused, _) => Exit::Refused,
    })
}

/// Loads the configuration for a command that runs with it; what is wrong is printed like `check` does.
pub(crate) fn load(path: &Path, audience: Audience) -> Result<config::Config, Failure> {
    match config::load(path) {
        Ok((config, report)) => {
            for problem in &report.problems {
                let at = format!("{}:{}", problem.mark.line, problem.mark.column);
                tracing::warn!(at, path = problem.path, "{}", problem.message);
            }
            Ok(config)
        }
        Err(error) => Err(not_loaded(error, audience)),
    }
}

/// The folder of recordings that the configuration names; its secrets are not needed for that.
pub(crate) fn recordings_folder(path: &Path, audience: Audience) -> Result<PathBuf, Failure> {
    recording(path, audience).map(|recording| recording.directory)
}

/// What the configuration says about recordings; of its secrets, those that can be read here.
pub(crate) fn recording(path: &Path, audience: Audience) -> Result<config::Recording, Failure> {
    match config::recording(path) {
        Ok(recording) => Ok(recording),
        Err(error @ LoadError::Unreadable { .. }) => Err(Failure::usage(
            error.to_string(),
            "name the folder with `--recordings DIR`, or the configuration with `--config FILE`",
        )),
        Err(error) => Err(not_loaded(error, audience)),
    }
}

pub(super) fn not_loaded(error: LoadError, audience: Audience) -> Failure {
    let LoadError::Refused(report) = error else { return unreadable(error) };
    if audience == Audience::People {
        print::err(&report.to_string());
    }
    let advice = format!("mend it; `chaperone check {}` lists everything again", report.file);
    Failure::new(Exit::Usage, "config-refused", format!("{} is refused", report.file), advice)
}

fn unreadable(error: LoadError) -> Failure {
    Failure::new(
        Exit::Usage,
        "unreadable",
        error.to_string(),
        "name the file: `--config FILE`, or `check FILE`",
    )
}
