//! The `chaperone` binary.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    chaperone::cli::run(chaperone::cli::Cli::parse())
}
