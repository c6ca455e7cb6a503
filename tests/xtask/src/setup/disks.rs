//! Whether tests can have file systems of their own: it is tried.
//!
//! Without, only the tests of disks that fail are left out: they need root, a loop device and e2fsprogs.

use crate::workspace::works;
use std::process::Command;

/// They can.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mountable;

const TRIED: &str = "set -e; folder=$(mktemp -d); trap 'rm -rf \"$folder\"' EXIT; mkdir \"$folder/at\"; \
    truncate -s 1M \"$folder/image\"; mkfs.ext4 -q \"$folder/image\"; \
    mount -o loop \"$folder/image\" \"$folder/at\"; fsfreeze --freeze \"$folder/at\"; fsfreeze --unfreeze \"$folder/at\"; \
    umount \"$folder/at\"";

pub(crate) fn mountable() -> Option<Mountable> {
    works(Command::new("sh").args(["-c", TRIED])).then_some(Mountable)
}
