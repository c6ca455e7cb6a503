//! `sessions`, `replay` and `verify` on local recording files, and nothing else of the recorder.
//!
//! Each function is one command: it gets the folder and what was asked, prints through [`super::print`], and answers
//! with an exit code. They need no gateway and no token, so that an auditor can run them on a copy.

use super::failure::{Exit, Failure};
use super::print::Audience;
use super::wiring::not_wired;
use chaperone_core::name::SessionId;
use std::path::{Path, PathBuf};

/// Where recordings are, when not in the configuration's folder.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The folder of recordings [default: `recording.directory` of the configuration]
    #[arg(long, value_name = "DIR")]
    pub recordings: Option<PathBuf>,
}

/// What is to be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// One recording.
    One(SessionId),
    /// Every recording of the folder.
    All,
}

/// How a replay runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    /// 1 is real time, 2 twice as fast; over 0 and at most 1000.
    pub(crate) speed: f64,
}

/// Lists recordings, the newest first, at most `limit`.
pub(crate) fn sessions(_directory: &Path, _limit: usize, _audience: Audience) -> Result<Exit, Failure> {
    Err(not_wired("sessions"))
}

/// Shows a session as it happened.
pub(crate) fn replay(
    _directory: &Path,
    _session: SessionId,
    _pace: Pace,
    _audience: Audience,
) -> Result<Exit, Failure> {
    Err(not_wired("replay"))
}

/// Verifies recordings: [`Exit::Unverified`] when any byte was changed, is missing or was cut.
pub(crate) fn verify(_directory: &Path, _what: &What, _audience: Audience) -> Result<Exit, Failure> {
    Err(not_wired("verify"))
}
