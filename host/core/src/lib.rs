//! Values and rules of Chaperone: what things are and what follows from them.
//!
//! Nothing here waits, reads a file, opens a socket or asks for the time: `now` is always an argument, so that every
//! rule can be tested by a table and replayed from a recording. The words are those of `host/ARCHITECTURE.md`.

pub mod approval;
pub mod decision;
pub mod denial;
pub mod grant;
pub mod identity;
pub mod name;
pub mod refusal;
pub mod role;
pub mod sql;
pub mod window;

pub use jiff::Timestamp;
