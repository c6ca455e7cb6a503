//! `cargo xtask demo`: set up, build, and become `chaperone demo`.

use crate::setup;
use crate::workspace::{Workspace, run as run_program, say};
use anyhow::{Error, Result};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Returns only if something failed: the demo takes this process over, so that Ctrl-C and the exit code are its own.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let postgres = setup::for_demo(workspace)?;
    say("Chaperone", "building (some minutes the first time)");
    run_program(&mut workspace.cargo(["build", "--quiet", "--package", "chaperone"]))?;
    let mut demo = Command::new(workspace.programs.join("chaperone"));
    demo.args(["demo", "--postgres-bin"]).arg(postgres).args(arguments).current_dir(&workspace.root);
    Err(Error::from(demo.exec()).context("cannot start the demo"))
}
