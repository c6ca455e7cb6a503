//! `cargo xtask`: from a fresh machine to a demo or a test run in one command.
//!
//! Every command first fetches what it lacks, all of it below `target/tools` (or `CHAPERONE_CACHE`), and says so in one
//! line each. What it may not do itself, such as installing a Debian package for a user who is not root, it asks for
//! with the command to run.
//!
//! No C compiler is looked for: without one, cargo could not have linked this program.

mod bench;
mod demo;
mod fuzz;
mod setup;
mod soak;
mod test;
mod workspace;

use anyhow::{Result, bail};
use std::process::ExitCode;
use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [ARGS]   run `chaperone demo ARGS`: the gateway in front of a real PostgreSQL, on this machine only
  test [ARGS]   check format and lints, run every test; --quick leaves out the checks, other ARGS go to the test runner
  fuzz [NAME]   try to break the parsers of untrusted bytes: every target shortly, or NAME for `--seconds N`; `NAME FILE`
                repeats an input, `NAME --keep` keeps those that reach something new
  soak [--minutes N]
                full load with faults against the release build, ten minutes unless said otherwise
  screenshots   take pictures of the console's pages for host/docs/screenshots, in some minutes
  bench [ARGS]  measure against pgbouncer and a direct connection
  setup         fetch what the others need, and nothing else";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    match run(command.as_deref(), arguments.collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Option<&str>, arguments: Vec<String>) -> Result<ExitCode> {
    if let Some(rustc) = command.filter(|command| fuzz::is_compiler(command)) {
        return fuzz::compile(rustc, &arguments);
    }
    let workspace = Workspace::find()?;
    match command {
        Some("demo") => demo::run(&workspace, &arguments),
        Some("test") => test::run(&workspace, arguments),
        Some("fuzz") => fuzz::run(&workspace, &arguments),
        Some("soak") => soak::run(&workspace, &arguments),
        Some("screenshots") => test::screenshots(&workspace),
        Some("bench") => bench::run(&workspace, &arguments),
        Some("setup") => {
            setup::for_tests(&workspace)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => bail!("no command `{other}`\n\n{USAGE}"),
        None => bail!("which command?\n\n{USAGE}"),
    }
}
