//! A file system of a test's own: one that can be full, read-only, hang, break, or lose its power.
//!
//! ext4 on a file. Mounting it needs root, so tests that use one are left out elsewhere.

use crate::process::run;
use crate::scripts::python;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends the file system at once and without writing anything back (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH, in the
/// kernel's `include/uapi/linux/ext4.h`): what was not synced is lost, and every access fails from then on.
const CUT_POWER: &str = r#"
import fcntl, os, struct
fcntl.ioctl(os.open(os.environ["DISK"], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
"#;

/// A mounted file system; gone when dropped.
pub struct Disk {
    at: PathBuf,
    image: PathBuf,
}

impl Disk {
    /// Mounts a new one of so many MiB at a folder, which is made if it is missing. `None` where nothing can be mounted: then the
    /// test has nothing to run on, and `cargo xtask test` says that it was left out.
    pub fn mount(at: &Path, mebibytes: u64) -> Result<Option<Self>> {
        if std::env::var_os("CHAPERONE_TEST_DISKS").is_none() {
            return Ok(None);
        }
        let image = at.with_extension("disk");
        std::fs::create_dir_all(at)?;
        std::fs::File::create(&image)?.set_len(mebibytes << 20)?;
        // No room for root alone: tests are root, and the disk shall be full for them, too.
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image), "")?.success()?;
        let disk = Disk { at: at.to_owned(), image };
        disk.mount_again()?;
        Ok(Some(disk))
    }

    /// Mounts what was unmounted.
    pub fn mount_again(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at), "")?.success()?;
        Ok(())
    }

    /// Unmounts it: nobody may use it then.
    pub fn unmount(&self) -> Result<()> {
        run(Command::new("umount").arg(&self.at), "")?.success()?;
        Ok(())
    }

    /// What was not synced is lost, and everything fails from now on.
    pub fn cut_power(&self) -> Result<()> {
        python(CUT_POWER, &[("DISK", self.at.to_str().context("a path that is no text")?)])?.success()?;
        Ok(())
    }

    /// As after an error of its medium: read-only at once, also for files that are open (ext4(5), `abort`).
    pub fn turn_read_only(&self) -> Result<()> {
        // It says that it failed, since the file system is read-only by then.
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.at), "")?;
        let written = std::fs::write(self.at.join("written"), "");
        anyhow::ensure!(written.is_err(), "it can be written");
        Ok(())
    }

    /// Whoever writes to it waits, until [`Disk::thaw`].
    pub fn freeze(&self) -> Result<()> {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.at), "")?.success()?;
        Ok(())
    }

    /// Lets those go on who wait.
    pub fn thaw(&self) -> Result<()> {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.at), "")?.success()?;
        Ok(())
    }

    /// Fills it with a file until so many bytes are free, at most; removing the file makes room again.
    pub fn fill(&self, but: u64) -> Result<PathBuf> {
        let path = self.at.join("filling");
        run(Command::new("dd").args(["if=/dev/zero", "bs=4096"]).arg(format!("of={}", path.display())), "")?;
        let file = std::fs::OpenOptions::new().write(true).open(&path)?;
        file.set_len(file.metadata()?.len().saturating_sub(but))?;
        file.sync_all()?;
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What hangs would hang for ever.
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.at).output();
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).output();
    }
}
