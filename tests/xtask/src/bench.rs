//! `cargo xtask bench`: set up the peers, build for speed, and run `benches`.

use crate::setup;
use crate::workspace::{Workspace, run as run_program, say};
use anyhow::{Context, Result};
use std::process::{Command, ExitCode};

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let tools = setup::for_bench(workspace)?;
    say("Chaperone", "building for speed (some minutes the first time)");
    let build = ["build", "--quiet", "--release", "--package", "chaperone", "--package", "chaperone-benches"];
    run_program(&mut workspace.cargo(build))?;
    let release = workspace.programs.with_file_name("release");
    let mut command = Command::new(release.join("chaperone-benches"));
    command
        .args(arguments)
        .current_dir(&workspace.root)
        .env("CHAPERONE_POSTGRES_BIN", tools.postgres)
        .env("CHAPERONE_PGBOUNCER", tools.pgbouncer)
        .env("CHAPERONE_BIN", release.join("chaperone"));
    let status = command.status().context("cannot run the benchmark")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
