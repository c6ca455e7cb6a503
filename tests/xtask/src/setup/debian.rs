//! Debian packages. Installing is for root only: everybody else is told the command.

use crate::workspace::{output, say, works};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Installs packages, or says how to. `why` begins the message: "pgbouncer is needed".
pub(super) fn install(packages: &[&str], why: &str) -> Result<()> {
    let list = packages.join(" ");
    if !works(Command::new("apt-get").arg("--version")) {
        bail!("{why}: install {list} as this system does it");
    }
    if !is_root() {
        bail!("{why}; run: sudo apt-get install {list}");
    }
    say("packages", format!("installing {list} with apt-get"));
    let install = || output(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages));
    // A fresh machine has no package lists, and then `install` finds nothing.
    let installed = install().or_else(|_| output(apt_get().arg("update")).and_then(|_| install()));
    installed.with_context(|| format!("{why}; try: apt-get update && apt-get install {list}"))?;
    Ok(())
}

/// A program from `PATH` or where daemons are, installed from `package` when it is missing.
pub(super) fn program(name: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = find(name) {
        say(name, format!("found {}", found.display()));
        return Ok(found);
    }
    install(&[package], &format!("{name} is needed"))?;
    find(name).with_context(|| format!("{package} is installed, but {name} is not to be found"))
}

/// A program that some tests need and that is on the machine, or installed by CI; nobody else's machine gets one as a side
/// effect of a test run.
pub(super) fn have_for_ci(name: &str, package: &str) -> Result<()> {
    if find(name).is_some() {
        return Ok(());
    }
    if std::env::var_os("CI").is_some() && is_root() {
        return install(&[package], &format!("{name} is needed"));
    }
    bail!("there is no {name} here; try: sudo apt-get install {package}")
}

/// Fetches a source package into a folder, from where this system gets its packages.
pub(super) fn source(package: &str, folder: &Path) -> Result<()> {
    fetch(package, Kind::Source, folder)
}

/// Fetches a package into a folder, likewise.
pub(super) fn binary(package: &str, folder: &Path) -> Result<()> {
    fetch(package, Kind::Binary, folder)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Source,
    Binary,
}

/// Needs no root: lists and cache are in that folder too, because a system's own lists may be missing and seldom know of
/// sources.
fn fetch(package: &str, kind: Kind, folder: &Path) -> Result<()> {
    let places = folder.join("sources");
    fs::create_dir_all(&places)?;
    for place in fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .chain([PathBuf::from("/etc/apt/sources.list")])
    {
        let (Ok(text), Some(name)) = (fs::read_to_string(&place), place.file_name()) else { continue };
        let as_wanted = |line: &str| match line.split_once(' ') {
            Some(("Types:", _)) if kind == Kind::Source => "Types: deb-src".to_owned(),
            Some(("deb", rest)) if kind == Kind::Source => format!("deb-src {rest}"),
            _ => line.to_owned(),
        };
        let lines: Vec<String> = text.lines().map(as_wanted).collect();
        fs::write(places.join(name), lines.join("\n") + "\n")?;
    }
    for folder in [folder.join("lists/partial"), folder.join("cache/archives/partial")] {
        fs::create_dir_all(folder)?;
    }
    let apt = |arguments: &[&str]| {
        let mut command = apt_get();
        command.current_dir(folder).args(["-o", "Dir::Etc::sourcelist=/dev/null"]);
        for (key, path) in [("Etc::sourceparts", &places), ("State::lists", &folder.join("lists"))] {
            command.arg("-o").arg(format!("Dir::{key}={}", path.display()));
        }
        command.arg("-o").arg(format!("Dir::Cache={}", folder.join("cache").display()));
        output(command.args(arguments))
    };
    apt(&["update"]).context("this system's package lists cannot be read")?;
    let (what, arguments): (_, &[&str]) = match kind {
        Kind::Source => ("source package", &["source", "--download-only", package]),
        Kind::Binary => ("package", &["download", package]),
    };
    apt(arguments).with_context(|| format!("there is no {what} {package} here"))?;
    Ok(())
}

pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| Path::is_file(program))
}

pub(super) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
