//! Where things are, and running programs.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The folder for what is fetched, when it is to outlive `target`: CI points it to a cache.
pub(crate) const CACHE_VARIABLE: &str = "CHAPERONE_CACHE";

/// The places that every command needs.
pub(crate) struct Workspace {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Where fetched tools live.
    pub(crate) tools: PathBuf,
    /// Where cargo puts the dev profile's programs: the folder of this one.
    pub(crate) programs: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root =
            here.ancestors().nth(2).context("tests/xtask is two folders below the workspace")?.to_owned();
        let tools = match std::env::var_os(CACHE_VARIABLE) {
            Some(cache) => std::path::absolute(cache)?.join("tools"),
            None => root.join("target/tools"),
        };
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let programs = program.parent().context("this program is in no folder")?.to_owned();
        Ok(Workspace { root, tools, programs })
    }

    /// This program, as cargo has built it last: a build of the workspace may have put another file in its place, and then the
    /// system names the one that runs as deleted.
    pub(crate) fn this_program(&self) -> PathBuf {
        self.programs.join(format!("xtask{}", std::env::consts::EXE_SUFFIX))
    }

    /// The cargo that runs us, in the workspace.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(&self.root);
        command
    }
}

/// One line on what is there or being done.
pub(crate) fn say(what: &str, state: impl std::fmt::Display) {
    println!("{what:>12}  {state}");
}

/// Runs a program that talks to the person; an error when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = program(command);
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Runs a program and returns what it prints; an error with the last lines that it wrote when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = program(command);
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        let said = String::from_utf8_lossy(if stderr.is_empty() { &stdout } else { &stderr }).into_owned();
        bail!("{name} failed: {}", last_lines(&said));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Whether a program is there and runs.
pub(crate) fn works(command: &mut Command) -> bool {
    output(command).is_ok()
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn last_lines(text: &str) -> String {
    const LINES: usize = 3;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.split_at(lines.len().saturating_sub(LINES)).1.join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_with_its_last_words() {
        let error = output(Command::new("sh").args(["-c", "echo a; echo no room >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh failed: no room");
        let error = format!("{:#}", output(&mut Command::new("/no/such/program")).unwrap_err());
        assert!(error.starts_with("cannot run /no/such/program: No such file"), "{error}");
    }

    #[test]
    fn the_workspace_is_found_from_anywhere() {
        assert!(Workspace::find().unwrap().root.join("wit").is_dir());
    }
}
