//! A Python of our own below `target/tools`: pip to fetch wheels with, the drivers that tests connect
//! with, PostgreSQL's parser, and schemas.

use super::debian;
use crate::workspace::{Workspace, output, say, works};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The drivers that real agents use, each at one version.
const DRIVERS: [&str; 4] =
    ["psycopg[binary]==3.3.9", "asyncpg==0.32.0", "sqlalchemy==2.1.9", "typing-extensions==4.16.0"];

/// PostgreSQL 18's own parser (libpg_query), which `sql-guard` is compared with. A program of its own in the tests, under
/// GPL 3; nothing of it is linked or shipped.
const PARSER: [&str; 1] = ["pglast==8.8"];

/// The schemas of OCSF as it publishes them, what checks JSON against them, and OpenTelemetry's own types.
const SCHEMAS: [&str; 3] = ["ocsf-json-schema==1.2.0", "jsonschema==4.26.0", "opentelemetry-proto==1.45.2"];

/// A server that speaks S3, checks signatures and knows conditions: what recordings are uploaded to.
const STORE: [&str; 3] = ["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];

/// A Python that has pip: ours if it is made, else whatever makes it.
pub(super) fn with_pip(workspace: &Workspace) -> Result<PathBuf> {
    let home = workspace.tools.join("python");
    let python = home.join("bin/python");
    if has_pip(&python) {
        return Ok(python);
    }
    fs::create_dir_all(&workspace.tools)
        .with_context(|| format!("cannot make {}", workspace.tools.display()))?;
    let _ = fs::remove_dir_all(&home);
    if make(&home).is_none() {
        let why = "Python 3 with venv or pip is needed to fetch packages";
        debian::install(&["python3", "python3-venv"], why)?;
        make(&home).context(why)?;
    }
    Ok(python)
}

/// That Python with the drivers installed.
pub(super) fn with_drivers(workspace: &Workspace) -> Result<PathBuf> {
    let why = "cannot install the drivers that the tests connect with";
    install(workspace, &DRIVERS, "drivers").context(why)
}

/// That Python with PostgreSQL's parser.
pub(super) fn with_parser(workspace: &Workspace) -> Result<PathBuf> {
    install(workspace, &PARSER, "parser").context("cannot install the parser that sql-guard is compared with")
}

/// That Python with the schemas that events of streams are held against.
pub(super) fn with_schemas(workspace: &Workspace) -> Result<PathBuf> {
    install(workspace, &SCHEMAS, "schemas")
        .context("cannot install the schemas that events are checked against")
}

/// That Python with a server for S3.
pub(super) fn with_store(workspace: &Workspace) -> Result<PathBuf> {
    install(workspace, &STORE, "store").context("cannot install the store that recordings are uploaded to")
}

/// Packages at their versions, remembered in a file beside them.
fn install(workspace: &Workspace, packages: &[&str], marker: &str) -> Result<PathBuf> {
    let python = with_pip(workspace)?;
    let wanted = packages.join("\n");
    let marker = workspace.tools.join("python").join(marker);
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        say("Python", format!("{} is installed", packages.join(", ")));
        return Ok(python);
    }
    say("Python", format!("installing {} for the tests", packages.join(", ")));
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
    let folder = site(&workspace.tools.join("python"));
    if folder.is_dir() {
        command.arg("--upgrade").arg("--target").arg(&folder);
    }
    output(command.args(packages))?;
    fs::write(&marker, wanted).with_context(|| format!("cannot write {}", marker.display()))?;
    Ok(python)
}

/// A virtual environment, or where Debian's `python3-venv` is missing, a script that adds a folder of packages to the
/// system's Python.
fn make(home: &Path) -> Option<()> {
    let python = home.join("bin/python");
    let _ = output(Command::new("python3").args(["-m", "venv"]).arg(home));
    if has_pip(&python) {
        say("Python", format!("made a virtual environment in {}", home.display()));
        return Some(());
    }
    // A failed attempt leaves half an environment.
    let _ = fs::remove_dir_all(home);
    if !works(Command::new("python3").args(["-m", "pip", "--version"])) {
        return None;
    }
    fs::create_dir_all(home.join("bin")).ok()?;
    fs::create_dir_all(site(home)).ok()?;
    let packages = site(home).display().to_string().replace('\'', r"'\''");
    fs::write(&python, format!("#!/bin/sh\nPYTHONPATH='{packages}' exec python3 \"$@\"\n")).ok()?;
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).ok()?;
    say("Python", format!("packages go to {}", site(home).display()));
    has_pip(&python).then_some(())
}

/// The folder of packages, where there is no virtual environment.
fn site(home: &Path) -> PathBuf {
    home.join("site")
}

fn has_pip(python: &Path) -> bool {
    works(Command::new(python).args(["-m", "pip", "--version"]))
}
