//! The `chaperone` binary.

use clap::Parser;
use std::process::ExitCode;

/// Sessions allocate small things all the time, each on one thread: this allocator needs no lock for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    chaperone::cli::run(chaperone::cli::Cli::parse())
}
