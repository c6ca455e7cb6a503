//! The one integration binary: real clients, real servers, and the shape of the sources.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attack;
mod bad_input;
mod bad_target;
mod browser;
mod copying;
mod drivers;
mod engine;
mod graph;
mod holds;
mod leaks;
mod limits;
mod login;
mod logs;
mod main_job;
mod masking;
mod metrics;
mod minting;
mod mistakes;
mod notify;
mod postgres;
mod protocol;
mod recordings;
mod refusals;
mod reload;
mod renewal;
mod resting;
mod samples;
mod search;
mod soak;
mod structure;
mod target_side;
mod tour;
mod watching;
mod windows;
mod wording;
