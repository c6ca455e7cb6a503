//! Python scripts with psycopg and asyncpg, the drivers that most agents use.

use crate::process::{Ran, run};
use crate::tools;
use anyhow::Result;
use std::process::Command;

/// Runs a script with the given environment variables; its own `PG…` variables are not passed on.
pub fn python(script: &str, environment: &[(&str, &str)]) -> Result<Ran> {
    let mut command = Command::new(tools::python()?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command.arg("-").envs(environment.iter().copied());
    run(&mut command, script)
}
