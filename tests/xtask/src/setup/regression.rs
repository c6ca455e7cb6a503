//! PostgreSQL's own regression tests, as SQL to check `sql-guard` with: from Debian's source package, pinned.
//!
//! Without it, only the tests that need it are left out: on a system that is not Debian 12.

use super::{debian, python};
use crate::workspace::{Workspace, output, say};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "postgresql-15";
const VERSION: &str = "15.18";
/// The version of the package that has it: the one that Debian 12 was last released with, so that it stays.
const PACKAGE_VERSION: &str = "15.18-0+deb12u1";
const SHA256: &str = "11df0df97fe3ea4ba9a791faaf39cee1d2fe571e78885b5b55d8517d27c323b4";

/// The folder of scripts; `None` when they cannot be fetched, which is said.
pub(super) fn install(workspace: &Workspace) -> Option<PathBuf> {
    fetch(workspace).map_err(|error| say("regression", format!("left out: {error:#}"))).ok()
}

fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    let home = workspace.tools.join(format!("postgres-regression-{VERSION}"));
    if home.is_dir() {
        say("regression", format!("the tests of PostgreSQL {VERSION} are in {}", home.display()));
        return Ok(home);
    }
    say("regression", format!("fetching the source package {PACKAGE} with apt-get (23 MB)"));
    // Filled beside its place and moved there whole, so that an interrupted run leaves nothing that looks finished.
    let partial = workspace.tools.join(format!("postgres-regression-{VERSION}.{}", std::process::id()));
    let made = fill(workspace, &partial).and_then(|scripts| {
        // Another run may have been faster; its result is as good as ours.
        if home.is_dir() { Ok(()) } else { Ok(fs::rename(scripts, &home)?) }
    });
    let _ = fs::remove_dir_all(&partial);
    made.map(|()| home)
}

/// Fetches the package into `partial` and takes the scripts out of it.
fn fill(workspace: &Workspace, partial: &Path) -> Result<PathBuf> {
    let scripts = partial.join("sql");
    fs::create_dir_all(&scripts).with_context(|| format!("cannot make {}", scripts.display()))?;
    debian::source(&format!("{PACKAGE}={PACKAGE_VERSION}"), partial)?;
    let archive = partial.join(format!("{PACKAGE}_{VERSION}.orig.tar.bz2"));
    let mut script = Command::new(python::with_pip(workspace)?);
    output(script.args(["-c", include_str!("regression.py")]).arg(archive).arg(SHA256).arg(&scripts))?;
    Ok(scripts)
}
