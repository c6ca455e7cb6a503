//! Chaperone's host: the path from a client's connection to a sealed recording, and what it stands on.
//!
//! `gateway.rs` is the page to read first. `ARCHITECTURE.md` beside `src/` follows a connection through these modules.

pub mod api;
pub mod archive;
pub mod builtin;
pub mod cli;
pub mod config;
pub mod console;
pub mod demo;
pub mod feed;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod gateway;
pub mod grant;
pub mod identity;
pub mod keepalive;
pub mod listener;
pub mod metrics;
pub mod notify;
mod post;
pub mod protocol;
pub mod recorder;
pub mod session;
pub mod state;
pub mod story;
pub mod stream;
pub mod target;
pub mod tls;
