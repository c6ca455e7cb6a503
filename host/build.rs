//! Builds the built-in plugins to WebAssembly and embeds them in the binary, so that `cargo build` and
//! `cargo install --path host` need no other step. A missing wasm target is one line that says how to mend it.

use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
const BUILT_IN: [&str; 3] = ["approval-trigger", "column-mask", "sql-guard"];

fn main() {
    if let Err(problem) = build() {
        println!("cargo::error={problem}");
    }
}

fn build() -> Result<(), String> {
    let host = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let workspace = host.parent().ok_or("the host package has no workspace around it")?;
    for input in ["plugins", "sdk", "wit", "Cargo.lock", "Cargo.toml", "rust-toolchain.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    check_target()?;

    // Beside the profile folders, so that debug and release builds share the plugins. A build folder of its own: the
    // outer cargo holds the lock of the other one.
    let plugin_builds = out.ancestors().nth(4).unwrap_or(&out).join("plugins");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(workspace).args(["build", "--quiet", "--profile", "plugin", "--target", TARGET]);
    cargo.arg("--target-dir").arg(&plugin_builds);
    for name in BUILT_IN {
        cargo.arg("--package").arg(format!("chaperone-plugin-{name}"));
    }
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
    // Every value is searched byte by byte; all engines of the last years know these instructions.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+simd128");
    let status = cargo.status().map_err(|error| format!("cargo could not be started: {error}"))?;
    if !status.success() {
        return Err("the built-in plugins could not be built; the messages above say why".into());
    }
    embed(&plugin_builds.join(TARGET).join("plugin"), &out)
}

/// Copies the components and writes the table that `builtin.rs` includes.
fn embed(built: &Path, out: &Path) -> Result<(), String> {
    let mut table = String::from("pub(super) static BUILT_IN: &[(&str, &[u8])] = &[\n");
    for name in BUILT_IN {
        let file = format!("chaperone_plugin_{}.wasm", name.replace('-', "_"));
        std::fs::copy(built.join(&file), out.join(&file)).map_err(|error| format!("{file}: {error}"))?;
        table
            .push_str(&format!("    ({name:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))),\n"));
    }
    table.push_str("];\n");
    std::fs::write(out.join("builtin.rs"), table).map_err(|error| format!("builtin.rs: {error}"))
}

fn check_target() -> Result<(), String> {
    let rustc = variable("RUSTC")?;
    let answer = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("rustc could not be started: {error}"))?;
    let folder = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    if answer.status.success() && Path::new(&folder).is_dir() {
        return Ok(());
    }
    Err(format!("the built-in plugins need the {TARGET} target; run: rustup target add {TARGET}"))
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set; build with cargo"))
}
