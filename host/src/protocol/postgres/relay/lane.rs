//! One side of the relay: a stream, what was read and not yet understood, what is to be written.
//!
//! Reads and writes are polled together, so that neither side can block the other: a proxy that waits to write to a
//! target which itself waits for the proxy to read would stand still for ever. Both buffers are bounded; a side whose
//! output is over [`HIGH_WATER_BYTES`] stops the other side from being read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Output over this stops reading what would add to it.
pub(super) const HIGH_WATER_BYTES: usize = 256 * 1024;

/// What an idle session keeps for reading.
const SMALL_BYTES: usize = 8 * 1024;

/// What a busy one reads at once.
const LARGE_BYTES: usize = 64 * 1024;

/// A stream with its buffers.
pub(super) struct Lane<S> {
    pub(super) stream: S,
    pub(super) input: Input,
    pub(super) output: Output,
    /// Bytes of a frame that are passed on without being looked at, as they come.
    pub(super) passing: usize,
}

/// Bytes that were read; frames are consumed from the front.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Bytes to be written.
#[derive(Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    written: usize,
}

impl Input {
    /// What is there.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The first `count` bytes are done with.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Makes room for a frame of `total` bytes; callers have compared it with a bound.
    pub(super) fn reserve(&mut self, total: usize) {
        self.compact();
        if self.bytes.len() < total {
            self.bytes.resize(total, 0);
        }
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Whether there is no room, and none shall be made while what is there cannot be consumed.
    fn is_full(&self) -> bool {
        self.end - self.start >= LARGE_BYTES.max(self.bytes.len())
    }

    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.end == self.bytes.len() {
            self.compact();
            if self.end == self.bytes.len() {
                let larger =
                    if self.bytes.is_empty() { SMALL_BYTES } else { LARGE_BYTES.max(self.bytes.len()) };
                self.bytes.resize(larger, 0);
            }
        }
        let mut buffer = ReadBuf::new(self.bytes.get_mut(self.end..).unwrap_or_default());
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// Gives memory back that only an unusually large frame needed.
    pub(super) fn shrink(&mut self) {
        if self.start == self.end && self.bytes.len() > LARGE_BYTES {
            self.bytes = Vec::new();
        }
    }
}

impl Output {
    /// Drops what was added after `length`, unless it is being written already.
    pub(super) fn discard_after(&mut self, length: usize) {
        self.bytes.truncate(length.max(self.written));
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lane<S> {
    pub(super) fn new(stream: S) -> Self {
        Lane { stream, input: Input::default(), output: Output::default(), passing: 0 }
    }

    /// Reads more. Ready(0) means that the other end has closed. Pending without room.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.is_full() { Poll::Pending } else { self.input.poll_fill(&mut self.stream, cx) }
    }

    /// Writes what it can.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.bytes.get(self.output.written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.written += count;
        }
        if self.output.written > 0 {
            self.output.bytes.clear();
            self.output.written = 0;
            if self.output.bytes.capacity() > 2 * HIGH_WATER_BYTES {
                self.output.bytes = Vec::new();
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}
