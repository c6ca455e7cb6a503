//! Scripts with the drivers that most agents use: in Python, JavaScript and Java.

use crate::process::{Ran, run};
use crate::tools;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Runs a Python script with the given environment variables; its own `PG…` variables are not passed on.
pub fn python(script: &str, environment: &[(&str, &str)]) -> Result<Ran> {
    let mut command = Command::new(tools::python()?);
    clean(command.arg("-"), environment);
    run(&mut command, script)
}

/// Likewise by node, with what is in `modules`.
pub fn node(script: &str, modules: &Path, environment: &[(&str, &str)]) -> Result<Ran> {
    let mut command = Command::new("node");
    clean(command.args(["--no-deprecation", "-"]).env("NODE_PATH", modules), environment);
    run(&mut command, script)
}

/// Likewise by Java, which takes one source file and an archive.
pub fn java(file: &Path, archive: &Path, environment: &[(&str, &str)]) -> Result<Ran> {
    let mut command = Command::new("java");
    // A hundred statements do not repay what compiling them well costs.
    clean(command.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(archive).arg(file), environment);
    run(&mut command, "")
}

fn clean(command: &mut Command, environment: &[(&str, &str)]) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
}
