//! What may be wrong with a recording, and where.

use super::format::VERSION;
use super::sign::KeyId;
use std::io;

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The file ends inside a block.
    #[error("the file ends inside this block: {missing} bytes at least are missing")]
    Cut {
        /// How many bytes the block lacks, as far as that is known.
        missing: u64,
    },
    /// The file ends in zeros where a block should be: space that was reserved and never written.
    #[error("the file ends in zeros where a block should begin")]
    NeverWritten,
    /// The file ends after a complete block, without a footer.
    #[error("the file ends here without a footer: its end was cut off, or it was never sealed")]
    NoFooter,
    /// No block begins here.
    #[error("no block begins here: the bytes were overwritten, or bytes were removed or put in before")]
    NotABlock,
    /// The version is not known.
    #[error(
        "the block says it has version {0}, and this reader knows only {VERSION}: changed, or written by a newer version"
    )]
    Version(u8),
    /// The length field contradicts itself or is beyond the bound.
    #[error("the block's length field was changed")]
    Length,
    /// The number is not the next.
    #[error(
        "block {found} stands where block {expected} belongs: blocks are missing, repeated or out of order"
    )]
    Sequence {
        /// The number that belongs here.
        expected: u64,
        /// The number that stands here.
        found: u64,
    },
    /// The previous block's hash does not match.
    #[error("the block does not continue the one before it: one of the two was replaced")]
    Chain,
    /// The hash does not match.
    #[error("the block's bytes were changed: its hash does not match")]
    Hash,
    /// The hash matches, but the events in it make no sense.
    #[error("the block is whole, but {0}: it was not written by a recorder")]
    Content(&'static str),
    /// There is something after the footer.
    #[error("there are bytes after the footer")]
    AfterFooter,
    /// The footer's totals are not those of the blocks before it.
    #[error("the footer does not fit the blocks before it: its {0} differs")]
    Footer(&'static str),
    /// The head names another session than the file.
    #[error("the recording is that of {0}: the file was renamed")]
    OtherSession(chaperone_core::name::SessionId),
}

impl Flaw {
    /// Whether the file just stops, as a recording does that is still written or was left by a crash.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Flaw::Cut { .. } | Flaw::NeverWritten | Flaw::NoFooter)
    }
}

/// A flaw and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("block {at_block}, byte {at_byte}: {what}")]
pub struct Damage {
    /// The block's number, from 0. Everything before it is as it was written.
    pub at_block: u64,
    /// Where that block begins, in bytes from the start of the file.
    pub at_byte: u64,
    /// What is wrong.
    pub what: Flaw,
}

/// Why reading stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The recording is damaged, or not finished ([`Flaw::is_unfinished`]).
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The block is whole, but uses what only a newer version knows.
    #[error(
        "block {at_block} uses {what} {code:#x}, which this version does not know: read it with a newer chaperone"
    )]
    Unsupported {
        /// The block's number.
        at_block: u64,
        /// What is not known.
        what: &'static str,
        /// Its code.
        code: u64,
    },
    /// It is encrypted, and the key is missing.
    #[error("the recording is encrypted, and takes the key {key}, which was not given")]
    NeedsKey {
        /// The key.
        key: KeyId,
    },
    /// The file could not be read.
    #[error("the recording cannot be read")]
    Io(#[from] io::Error),
}
