//! The compiler's target for plugins.

use crate::workspace::{output, say, works};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

/// Adds the target through rustup unless the compiler has it already, from wherever that came.
pub(super) fn install() -> Result<()> {
    if is_installed()? {
        say("wasm target", format!("{TARGET} is installed"));
        return Ok(());
    }
    if !works(Command::new("rustup").arg("--version")) {
        bail!(
            "the compiler cannot build plugins and there is no rustup to mend that: install the standard library \
             for {TARGET} from where your Rust came"
        );
    }
    say("wasm target", format!("adding {TARGET} with rustup"));
    output(Command::new("rustup").args(["target", "add", TARGET]))
        .with_context(|| format!("cannot add the target for plugins; try: rustup target add {TARGET}"))?;
    Ok(())
}

fn is_installed() -> Result<bool> {
    let libraries = output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(Path::new(libraries.trim()).is_dir())
}
