//! What a recording says, for whoever shows, searches or streams it: the command line, the console, the feed.
//!
//! Readings of the same events, each in one pass and in order:
//!
//! - `decode`: each event as a value, with the protocol's own bytes read: for a replay, which shows rows as well
//! - `assemble`, `operation`, `said`: whole operations, each with its decision, hold, masks and outcome: for lists, search and
//!   streams, which show no rows. Rows are counted, not read, so that following a large COPY costs next to nothing
//! - `scene`: whole operations with the first of their rows: for a page
//!
//! What may go wrong: a recording may be anybody's work. Nothing here panics, what is remembered is bounded, and every
//! text is handed out as it was written: whoever shows it cleans or escapes it.

mod assemble;
mod decode;
mod operation;
mod said;
mod scene;

#[cfg(test)]
mod tests;

pub use assemble::{
    Assembler, MAX_KEPT_BYTES, MAX_LIVE, MAX_PREPARED, MAX_TEXT_BYTES, Operations, operations,
};
pub(crate) use decode::{Body, Decoder, Masking, Shown, Title, Told};
pub use operation::{Decided, Fault, HoldStory, Operation, Parameters, Refused, TargetError, Terms, Verdict};
pub(crate) use scene::{Act, Answered, MAX_COLUMNS, MAX_ROWS, Scene, Scenes};
