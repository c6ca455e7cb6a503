//! Fuzz targets: for each parser of bytes that somebody else wrote, a function that takes any bytes and asserts.
//!
//! That nothing panics is the least. Each target also says what holds of what was read: no byte more than was there, the
//! same bytes when it is written again, the same answer however the bytes were cut, and a bound of memory
//! ([`memory::peak`]). `cargo xtask fuzz` runs them under libFuzzer; `tests/corpus.rs` runs every kept input as a plain
//! test. What may go wrong: a target that asserts nothing any more because its inputs are all refused. So the corpus
//! test also counts what was accepted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod answers;
mod client;
mod config;
mod copy;
pub mod memory;
mod recording;
mod replay;
mod rows;
mod startup;
mod target;
mod token;

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// Something was read, and what was asserted of it holds.
    Accepted,
    /// It was refused, as it should be.
    Refused,
}

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of its folder in `corpus/`, and for `cargo xtask fuzz NAME`.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]) -> Became,
    /// The most bytes that it may have in use at once, for an input of so many bytes.
    pub memory: fn(usize) -> usize,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "client_frames", run: client::frames, memory: |input| 16 * input + (1 << 20) },
    Target { name: "target_frames", run: target::frames, memory: |input| 64 * input + (1 << 20) },
    Target { name: "catalog", run: target::catalog, memory: |input| 32 * input + (1 << 16) },
    Target { name: "startup", run: startup::startup, memory: |input| 32 * input + (1 << 16) },
    Target { name: "rows", run: rows::rows, memory: |input| 64 * input + (1 << 20) },
    Target { name: "copy", run: copy::copy, memory: |input| 256 * input + (1 << 20) },
    Target { name: "plugin_answers", run: answers::answers, memory: |_| 256 << 20 },
    Target { name: "recording", run: recording::recording, memory: |input| 128 * input + (48 << 20) },
    Target { name: "replay", run: replay::replay, memory: |input| 512 * input + (4 << 20) },
    Target { name: "token", run: token::token, memory: |input| 256 * input + (1 << 18) },
    Target { name: "keys", run: token::keys, memory: |input| 256 * input + (1 << 18) },
    Target { name: "config", run: config::config, memory: |input| 2048 * input + (16 << 20) },
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

/// Runs a target on an input, within its bound of memory.
pub fn run(target: Target, input: &[u8]) -> Became {
    let (became, peak) = memory::peak(|| (target.run)(input));
    let most = (target.memory)(input.len());
    assert!(
        peak <= most,
        "{} had {peak} bytes in use for {} of input, over {most}",
        target.name,
        input.len()
    );
    became
}

/// Takes `count` bytes off the front, or what there is.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}

/// Takes a byte off the front; 0 when there is none.
fn byte(bytes: &mut &[u8]) -> u8 {
    take(bytes, 1).first().copied().unwrap_or(0)
}

/// Takes a number of two bytes off the front.
fn short(bytes: &mut &[u8]) -> usize {
    usize::from(u16::from_be_bytes([byte(bytes), byte(bytes)]))
}

/// A message, as either side writes it.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}
