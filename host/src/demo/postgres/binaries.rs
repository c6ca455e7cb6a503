//! Finding PostgreSQL's programs, and the user to run them as.

use super::{PostgresError, io_error};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environment variable that names the folder of PostgreSQL's programs.
pub const BIN_VARIABLE: &str = "CHAPERONE_POSTGRES_BIN";

/// What a folder must hold to be used.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "psql"];

/// Where Debian keeps each major version, the newest last after sorting.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";

/// The programs' folder: `given` if there is one, else `CHAPERONE_POSTGRES_BIN`, else the first of `PATH`'s folders
/// and Debian's that holds them. What is given explicitly is not silently replaced by what is found.
pub fn find_binaries(given: Option<&Path>) -> Result<PathBuf, PostgresError> {
    let named = given.map(Path::to_owned).or_else(|| std::env::var_os(BIN_VARIABLE).map(PathBuf::from));
    let candidates = match named {
        Some(folder) => vec![folder],
        None => usual_folders(std::env::var_os("PATH"), Path::new(DEBIAN_FOLDER)),
    };
    candidates.iter().find(|folder| is_complete(folder)).cloned().ok_or_else(|| {
        let folders: Vec<String> = candidates.iter().map(|folder| folder.display().to_string()).collect();
        PostgresError::NoBinaries { looked: folders.join(", ") }
    })
}

fn is_complete(folder: &Path) -> bool {
    PROGRAMS.iter().all(|program| folder.join(program).is_file())
}

fn usual_folders(path: Option<OsString>, debian: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = path.iter().flat_map(std::env::split_paths).collect();
    let versions = std::fs::read_dir(debian).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by(|left, right| right.cmp(left));
    folders.extend(versions.into_iter().map(|(_, folder)| folder));
    folders
}

/// Who runs the server: ourselves, or an unprivileged user when we are root.
#[derive(Debug, Clone, Copy)]
pub enum Account {
    /// The user that we are.
    Ourselves,
    /// `postgres`, or else `nobody`.
    Other {
        /// Its user id.
        uid: u32,
        /// Its group's id.
        gid: u32,
    },
}

impl Account {
    /// Ourselves unless we are root.
    pub fn current() -> Result<Self, PostgresError> {
        if id("-u", None) != Some(0) {
            return Ok(Account::Ourselves);
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Some(Account::Other { uid: id("-u", Some(name))?, gid: id("-g", Some(name))? }))
            .ok_or(PostgresError::NoAccount)
    }

    /// A command that runs as this account, in a folder it can enter, with an environment that cannot redirect it.
    pub fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).env("LC_ALL", "C").stdin(Stdio::null());
        for variable in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGPASSWORD", "PGSSLMODE", "PGOPTIONS"] {
            command.env_remove(variable);
        }
        if let Account::Other { uid, gid } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Hands a file or folder to this account.
    pub fn own(&self, path: &Path) -> Result<(), PostgresError> {
        match self {
            Account::Ourselves => Ok(()),
            Account::Other { uid, gid } => chown(path, Some(*uid), Some(*gid))
                .map_err(io_error(format!("hand {} to PostgreSQL's user", path.display()))),
        }
    }

    /// As `own`, readable by nobody else. The file must be in a folder that nobody else can enter already.
    pub fn own_privately(&self, path: &Path) -> Result<(), PostgresError> {
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mode).map_err(io_error(format!("protect {}", path.display())))?;
        self.own(path)
    }
}

/// `id` knows every source of users that this machine has, not only `/etc/passwd`.
fn id(option: &str, user: Option<&str>) -> Option<u32> {
    let output = Command::new("id").arg(option).args(user).stderr(Stdio::null()).output().ok()?;
    output.status.success().then_some(())?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The programs' folder as `account` can reach it: itself, or a copy of the installation in `dir`.
pub(super) fn reachable(bin_dir: &Path, account: &Account, dir: &Path) -> Result<PathBuf, PostgresError> {
    let bin_dir = bin_dir.canonicalize().map_err(io_error(format!("read {}", bin_dir.display())))?;
    let try_out = account.command(&bin_dir.join("postgres"), dir).arg("--version").output();
    match try_out {
        Ok(output) if output.status.success() => return Ok(bin_dir),
        Ok(output) => {
            let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(PostgresError::Program { program: "postgres", output });
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        Err(error) => return Err(io_error(format!("run {}/postgres", bin_dir.display()))(error)),
    }
    // PostgreSQL finds `share` and `lib` beside the folder of its programs, and the wheel's libraries lie beside
    // the package: `package/pginstall/bin` and `package.libs`. Copying keeps these places relative to each other.
    let install = bin_dir.parent().unwrap_or(&bin_dir);
    let package = install.parent().unwrap_or(install);
    let home = dir.join("programs");
    let copied = home.join(relative(install, package)).join("bin");
    for part in ["bin", "lib", "share"] {
        copy_tree(&install.join(part), &home.join(relative(install, package)).join(part), account)?;
    }
    let mut libraries = package.as_os_str().to_owned();
    libraries.push(".libs");
    if Path::new(&libraries).is_dir() {
        let name = Path::new(&libraries).file_name().unwrap_or_default();
        copy_tree(Path::new(&libraries), &home.join(name), account)?;
    }
    Ok(copied)
}

/// `package/install` without what is above the package.
fn relative(install: &Path, package: &Path) -> PathBuf {
    let above = package.parent().unwrap_or(package);
    install.strip_prefix(above).unwrap_or(install).to_owned()
}

/// Copies files and folders; links are followed. Everything belongs to `account`, so that it can remove them too.
fn copy_tree(from: &Path, to: &Path, account: &Account) -> Result<(), PostgresError> {
    let failed = |path: &Path| io_error(format!("copy {}", path.display()));
    if from.is_dir() {
        std::fs::create_dir_all(to).map_err(failed(to))?;
        for entry in std::fs::read_dir(from).map_err(failed(from))? {
            let name = entry.map_err(failed(from))?.file_name();
            copy_tree(&from.join(&name), &to.join(&name), account)?;
        }
    } else {
        std::fs::copy(from, to).map_err(failed(from))?;
    }
    account.own(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(programs: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for program in programs {
            std::fs::write(dir.path().join(program), "").unwrap();
        }
        dir
    }

    #[test]
    fn a_named_folder_is_taken_or_refused_but_never_replaced() {
        let whole = folder_with(&PROGRAMS);
        assert_eq!(find_binaries(Some(whole.path())).unwrap(), whole.path());
        let part = folder_with(&["initdb", "psql"]);
        let message = find_binaries(Some(part.path())).unwrap_err().to_string();
        assert!(message.contains(&part.path().display().to_string()), "{message}");
        assert!(message.contains("cargo xtask setup"), "{message}");
    }

    #[test]
    fn path_comes_first_and_then_debians_newest() {
        let debian = tempfile::tempdir().unwrap();
        for version in ["9", "15", "18", "common"] {
            std::fs::create_dir(debian.path().join(version)).unwrap();
        }
        let folders = usual_folders(Some("/one:/two".into()), debian.path());
        let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let debian = debian.path().display();
        assert_eq!(
            names,
            [
                "/one".to_owned(),
                "/two".into(),
                format!("{debian}/18/bin"),
                format!("{debian}/15/bin"),
                format!("{debian}/9/bin")
            ]
        );
    }

    #[test]
    fn a_copy_keeps_the_libraries_where_the_programs_look_for_them() {
        let top = tempfile::tempdir().unwrap();
        let bin = top.path().join("package/pginstall/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let install = bin.parent().unwrap();
        let package = install.parent().unwrap();
        assert_eq!(relative(install, package), Path::new("package/pginstall"));
    }
}
