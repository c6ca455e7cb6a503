//! How much room there is where recordings are kept, and where too little of it begins.
//!
//! A disk that is full ends the sessions that are live, in the middle of what they do. So sessions are refused while there
//! is still some room for those, and operators hear of it before either.
//!
//! What may go wrong: others fill the same disk, faster than anybody looks. Then live sessions end when they cannot be recorded
//! any more, as ever. A file system that does not tell its size is never below a share of it.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// An amount of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// So many hundredths of the file system.
    Percent(u8),
    /// So many bytes.
    Bytes(u64),
}

/// Where too little begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Operators are warned below this.
    pub warn: Mark,
    /// No session begins below this.
    pub refuse: Mark,
}

impl Default for Watermarks {
    fn default() -> Self {
        Watermarks { warn: Mark::Percent(10), refuse: Mark::Percent(2) }
    }
}

/// What a file system has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free to the gateway's user.
    pub free: u64,
    /// In all.
    pub size: u64,
}

impl Space {
    /// Of the file system that a path lies on (statvfs(3)). This may wait for the disk, where it is a remote one.
    ///
    /// # Errors
    /// When there is nothing at the path, or the file system does not say.
    pub fn at(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space { free: bytes(found.f_bavail), size: bytes(found.f_blocks) })
    }

    /// What there is when so many bytes more are written.
    pub fn less(self, bytes: u64) -> Self {
        Space { free: self.free.saturating_sub(bytes), ..self }
    }

    /// Whether less is free.
    pub fn is_below(self, mark: Mark) -> bool {
        match mark {
            Mark::Percent(share) => u128::from(self.free) * 100 < u128::from(self.size) * u128::from(share),
            Mark::Bytes(bytes) => self.free < bytes,
        }
    }
}

/// Whether two paths lie on one file system, and so fail together.
///
/// # Errors
/// When there is nothing at one of them.
pub fn on_one_disk(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(one)?.dev() == std::fs::metadata(other)?.dev())
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::Percent(share) => write!(f, "{share}%"),
            Mark::Bytes(bytes) => write!(f, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_share_or_an_amount() {
        let disk = |free| Space { free, size: 1000 };
        for (free, percent, bytes) in
            [(99, true, true), (100, false, true), (149, false, true), (150, false, false)]
        {
            let below = |mark| disk(free).is_below(mark);
            assert_eq!((below(Mark::Percent(10)), below(Mark::Bytes(150))), (percent, bytes), "{free}");
        }
        let huge = Space { free: u64::MAX / 20, size: u64::MAX };
        assert_eq!((huge.is_below(Mark::Percent(4)), huge.is_below(Mark::Percent(6))), (false, true));
        assert!(!Space { free: 0, size: 0 }.is_below(Mark::Percent(90)), "no size is told");
    }

    #[test]
    #[allow(clippy::unwrap_used)]
    fn a_folder_has_the_room_of_its_disk() {
        let space = Space::at(Path::new("/")).unwrap();
        assert!(space.free <= space.size && space.size > 1 << 20, "{space:?}");
        assert!(Space::at(Path::new("/no/such/folder")).is_err());
    }
}
