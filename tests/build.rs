//! Builds the plugins that only tests load (`guests/`) to WebAssembly, so that no test run needs another step.

use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

fn main() {
    if let Err(problem) = build() {
        println!("cargo::error={problem}");
    }
}

fn build() -> Result<(), String> {
    let tests = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    for input in ["guests", "../sdk", "../wit", "../rust-toolchain.toml"] {
        println!("cargo::rerun-if-changed={}", tests.join(input).display());
    }
    // The folder of the built-in plugins (host/build.rs), so that what both need is built once.
    let builds = out.ancestors().nth(4).unwrap_or(&out).join("plugins");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(tests.join("guests")).args(["build", "--quiet", "--locked", "--profile", "plugin"]);
    cargo.args(["--target", TARGET]).arg("--target-dir").arg(&builds);
    // Flags and wrappers of the outer build (coverage, clippy) are not meant for the guests.
    for name in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_TARGET_DIR",
    ] {
        cargo.env_remove(name);
    }
    let status = cargo.status().map_err(|error| format!("cargo could not be started: {error}"))?;
    if !status.success() {
        return Err("the plugins for tests could not be built; the messages above say why".into());
    }
    copy(&builds.join(TARGET).join("plugin"), &out, "hostile.wasm")
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<(), String> {
    std::fs::copy(from.join(name), to.join(name)).map_err(|error| format!("{name}: {error}"))?;
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set; build with cargo"))
}
