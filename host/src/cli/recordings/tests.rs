//! The commands on recordings that are written here through the recorder itself.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]
