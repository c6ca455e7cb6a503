//! How a command fails: one line what, one line what to do, and a documented exit code.

use super::print::clean;
use anstyle::{AnsiColor, Style};
use std::fmt;
use std::process::ExitCode;

/// The exit codes that `--help` documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Done = 0,
    /// The gateway (or `check`) refused.
    Refused = 1,
    /// The command line, a file or the configuration is wrong.
    Usage = 2,
    /// The gateway cannot be reached, or is not to be trusted.
    Unreachable = 3,
    /// A recording does not verify.
    Unverified = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable class, for programs.
    pub code: String,
    /// One line: what happened.
    pub what: String,
    /// One line: what to do.
    pub advice: String,
    /// What the process ends with.
    pub exit: Exit,
}

impl Failure {
    /// A failure of a class.
    pub fn new(exit: Exit, code: &str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Failure { code: code.to_owned(), what: what.into(), advice: advice.into(), exit }
    }

    /// The command line, a file or the configuration is wrong.
    pub fn usage(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, "usage", what, advice)
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": { "code": self.code, "message": self.what, "help": self.advice } })
    }
}

impl fmt::Display for Failure {
    /// With colours; whoever prints it strips them where they do not belong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let bold = Style::new().bold();
        writeln!(f, "{red}error{red:#}: {}", clean(&self.what))?;
        if !self.advice.is_empty() {
            writeln!(f, " {bold}help{bold:#}: {}", clean(&self.advice))?;
        }
        Ok(())
    }
}
