//! pgjdbc: from Debian's package, pinned, unpacked without installing it. Java itself is the machine's.
//!
//! Without either, only the test that needs it is left out.

use super::{debian, wheel};
use crate::workspace::{Workspace, output, say};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "libpostgresql-jdbc-java";
/// The version that Debian 12 was last released with, so that it stays.
const VERSION: &str = "42.5.5-0+deb12u1";
const SHA256: &str = "2092c08d8ff68fc59434fc32fa75714f38b74bfe4fd78f457765c73d47963832";

/// The driver's archive; `None` when it cannot be used, which is said.
pub(super) fn pgjdbc(workspace: &Workspace) -> Option<PathBuf> {
    fetch(workspace).map_err(|error| say("pgjdbc", format!("left out: {error:#}"))).ok()
}

fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    debian::have_for_ci("java", "default-jdk-headless")?;
    // A Java without a compiler cannot run a source file.
    let modules = output(Command::new("java").arg("--list-modules"))?;
    ensure!(
        modules.contains("jdk.compiler"),
        "this Java has no compiler; try: apt-get install default-jdk-headless"
    );
    let jar = workspace.tools.join(format!("pgjdbc-{VERSION}.jar"));
    if jar.is_file() {
        say("pgjdbc", format!("{VERSION} is in {}", jar.display()));
        return Ok(jar);
    }
    say("pgjdbc", format!("fetching the package {PACKAGE} {VERSION} with apt-get"));
    let partial = workspace.tools.join(format!("pgjdbc.{}", std::process::id()));
    let made = unpack(&partial).and_then(|unpacked| Ok(fs::rename(unpacked, &jar)?));
    let _ = fs::remove_dir_all(&partial);
    made.map(|()| jar)
}

fn unpack(partial: &Path) -> Result<PathBuf> {
    fs::create_dir_all(partial).with_context(|| format!("cannot make {}", partial.display()))?;
    debian::binary(&format!("{PACKAGE}={VERSION}"), partial)?;
    let file = partial.join(format!("{PACKAGE}_{VERSION}_all.deb"));
    wheel::check(&file, SHA256)?;
    output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(partial.join("unpacked")))?;
    Ok(partial.join("unpacked/usr/share/java/postgresql.jar"))
}
