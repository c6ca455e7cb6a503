//! `cargo xtask soak`: the end-to-end test of load with faults, for long and with the release build.

use crate::setup;
use crate::workspace::{Workspace, run as run_program, say};
use anyhow::{Context, Result, bail};
use std::process::ExitCode;

/// What `--minutes` is when it is not given: long enough that what leaks a page for each session shows.
const MINUTES: u64 = 10;

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let minutes = match words.as_slice() {
        [] => MINUTES,
        ["--minutes", minutes] => minutes.parse().context("--minutes takes a number")?,
        _ => bail!("usage: cargo xtask soak [--minutes N]"),
    };
    let postgres = setup::for_demo(workspace)?;
    // An operator's build can be named; else it is made as the benchmark makes it.
    let program = match std::env::var_os("CHAPERONE_BIN") {
        Some(program) => program,
        None => {
            say("build", "release");
            run_program(&mut workspace.cargo(["build", "--quiet", "--release", "--package", "chaperone"]))?;
            workspace.programs.with_file_name("release").join("chaperone").into()
        }
    };
    // Not by a test runner that ends what takes long.
    let mut test = workspace.cargo(["test", "--quiet", "--workspace", "--test", "e2e", "--"]);
    test.args(["--exact", "soak::under_faults_nothing_is_lost_and_nothing_leaks", "--nocapture"]);
    test.env("CHAPERONE_BIN", program).env("CHAPERONE_POSTGRES_BIN", postgres);
    test.env("CHAPERONE_SOAK_MINUTES", minutes.to_string());
    say("soak", format!("{minutes} minutes"));
    let status = test.status().context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
