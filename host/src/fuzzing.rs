//! The parsers of untrusted bytes as plain functions, for the fuzz targets in `tests/fuzz`.
//!
//! They are private everywhere else, and stay so: this module exists only with the feature `fuzzing`, which no build
//! that is run has. Nothing here judges; what has to hold is asserted by the targets. What may go wrong: a wrapper that
//! does more than the real path, or less. So each is a call of the function that the path calls, and plain values back.

pub use crate::cli::fuzzing as replay;
pub use crate::config::fuzzing as config;
pub use crate::identity::fuzzing as token;
pub use crate::protocol::postgres::fuzzing as postgres;
pub use crate::recorder::fuzzing as recording;
pub use chaperone_hooks::fuzzing as plugin;
