//! One side of the relay: a stream, what was read and not yet understood, what is to be written.
//!
//! Reads and writes are polled together, so that neither side can block the other: a proxy that waits to write to a
//! target which itself waits for the proxy to read would stand still for ever. Both buffers are bounded; a side whose
//! output is over [`HIGH_WATER_BYTES`] stops the other side from being read. What goes to the target is held until the
//! session has proved that its events are kept ([`Output::release`]).

use crate::session::Kept;
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
    /// The length of the frame at the front, when it needs more room than usual.
    wanted: usize,
    /// So many bytes at the front are the gateway's own.
    own: usize,
}

/// Bytes to be written.
#[derive(Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    written: usize,
    /// How many of the bytes may be written; `None` where nothing has to be proved before.
    released: Option<usize>,
}

impl Input {
    /// What is there.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The first `count` bytes are done with.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.own = self.own.saturating_sub(count);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Puts frames of the gateway's own in the place of the first `count` bytes.
    pub(super) fn replace(&mut self, count: usize, own: &[u8]) {
        let behind = (self.start + count).min(self.end);
        self.end = self.end - (behind - self.start) + own.len();
        self.bytes.splice(self.start..behind, own.iter().copied());
        self.own = own.len();
    }

    /// Whether the frame at the front is the gateway's own.
    pub(super) fn is_own(&self) -> bool {
        self.own > 0
    }

    /// Lets the input grow to a frame of `total` bytes, as they come: a length field alone gets no memory. Callers have
    /// compared it with a bound.
    pub(super) fn reserve(&mut self, total: usize) {
        self.wanted = total;
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
        self.end - self.start >= LARGE_BYTES.max(self.wanted)
    }

    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.end == self.bytes.len() {
            self.compact();
            if self.end == self.bytes.len() {
                let larger = match self.bytes.len() {
                    0 => SMALL_BYTES,
                    length => (2 * length).min(self.wanted).max(LARGE_BYTES),
                };
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
        if self.start == self.end {
            self.wanted = 0;
        }
        if self.start == self.end && self.bytes.len() > LARGE_BYTES {
            self.bytes = Vec::new();
        }
    }
}

impl Output {
    /// Lets everything go that is there now: its events are kept (invariant 3).
    pub(super) fn release(&mut self, _: Kept<'_>) {
        if let Some(released) = &mut self.released {
            *released = self.bytes.len();
        }
    }

    /// What may be written now.
    fn to_write(&self) -> Option<&[u8]> {
        let end = self.released.unwrap_or(self.bytes.len());
        self.bytes.get(self.written..end).filter(|rest| !rest.is_empty())
    }

    /// Takes back what was added after `length`.
    pub(super) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length.max(self.written));
    }

    /// Forgets what was written, or a reader that is never quite done would make it grow for ever.
    fn compact(&mut self) {
        if self.written >= HIGH_WATER_BYTES {
            self.bytes.drain(..self.written);
            self.released = self.released.map(|released| released - self.written);
            self.written = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lane<S> {
    pub(super) fn new(stream: S) -> Self {
        Lane { stream, input: Input::default(), output: Output::default(), passing: 0 }
    }

    /// One whose output is held until it is released.
    pub(super) fn held(stream: S) -> Self {
        let mut lane = Lane::new(stream);
        lane.output.released = Some(0);
        lane
    }

    /// Gives the buffers back, where nothing is in them.
    pub(super) fn rest(&mut self) {
        if self.input.start == self.input.end {
            self.input = Input::default();
        }
        if self.output.bytes.is_empty() {
            self.output.bytes = Vec::new();
        }
    }

    /// Reads more. Ready(0) means that the other end has closed. Pending without room.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.is_full() { Poll::Pending } else { self.input.poll_fill(&mut self.stream, cx) }
    }

    /// Writes what it can.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.to_write() {
            let Poll::Ready(count) = Pin::new(&mut self.stream).poll_write(cx, rest)? else {
                self.output.compact();
                return Poll::Pending;
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.written += count;
        }
        if self.output.len() > 0 {
            // The rest is held.
            self.output.compact();
        } else if self.output.written > 0 {
            self.output.bytes.clear();
            self.output.written = 0;
            self.output.released = self.output.released.map(|_| 0);
            if self.output.bytes.capacity() > 2 * HIGH_WATER_BYTES {
                self.output.bytes = Vec::new();
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream};

    #[tokio::test]
    async fn a_reader_that_is_never_quite_done_makes_nothing_grow() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut lane = Lane::new(ours);
        let mut taken = vec![0; 1024];
        for _ in 0..4096 {
            // Kept at the high-water mark, as the relay does.
            while lane.output.len() < HIGH_WATER_BYTES {
                lane.output.bytes.extend_from_slice(&[7; 4096]);
            }
            // A task that has used up its turn would find the pipe full while it is empty.
            tokio::task::yield_now().await;
            let _ = std::future::poll_fn(|cx| Poll::Ready(lane.poll_drain(cx))).await;
            theirs.read_exact(&mut taken).await.unwrap();
        }
        assert!(lane.output.bytes.len() < 3 * HIGH_WATER_BYTES, "{}", lane.output.bytes.len());
    }

    /// What the other end has got when everything was written that may be.
    async fn arrived(lane: &mut Lane<DuplexStream>, theirs: &mut DuplexStream) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            // A task that has used up its turn would find the pipe full while it is empty.
            tokio::task::yield_now().await;
            let drained = std::future::poll_fn(|cx| Poll::Ready(lane.poll_drain(cx))).await;
            let mut taken = vec![0; 1024];
            let read = std::future::poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut taken);
                let read = Pin::new(&mut *theirs).poll_read(cx, &mut buffer);
                Poll::Ready(read.map(|_| buffer.filled().len()))
            });
            let Poll::Ready(count) = read.await else {
                assert!(drained.is_ready(), "nothing is there, and nothing can be written");
                return all;
            };
            all.extend_from_slice(&taken[..count]);
        }
    }

    #[tokio::test]
    async fn what_is_held_goes_when_its_events_are_kept_and_not_before() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut lane = Lane::held(ours);
        lane.output.bytes.extend_from_slice(b"one");
        assert_eq!(arrived(&mut lane, &mut theirs).await, b"");
        lane.output.release(Kept::of_nothing());
        lane.output.bytes.extend_from_slice(b"two");
        assert_eq!(arrived(&mut lane, &mut theirs).await, b"one");
        assert_eq!((arrived(&mut lane, &mut theirs).await, lane.output.len()), (vec![], 3));
        lane.output.release(Kept::of_nothing());
        assert_eq!(arrived(&mut lane, &mut theirs).await, b"two");
        // Also where what was written before it was forgotten in between.
        lane.output.bytes.resize(HIGH_WATER_BYTES, 7);
        lane.output.release(Kept::of_nothing());
        lane.output.bytes.extend_from_slice(b"three");
        assert_eq!(arrived(&mut lane, &mut theirs).await, vec![7; HIGH_WATER_BYTES]);
        assert_eq!(lane.output.bytes, b"three", "what was written is forgotten");
        lane.output.release(Kept::of_nothing());
        assert_eq!(arrived(&mut lane, &mut theirs).await, b"three");
    }

    #[test]
    fn what_takes_the_place_of_a_frame_ends_where_it_ends() {
        let mut input = Input { bytes: b"..one.two..".to_vec(), start: 2, end: 9, ..Input::default() };
        input.replace(3, b"three");
        assert_eq!(input.bytes(), b"three.two");
        assert!(input.is_own());
        input.consume(4);
        assert!(input.is_own());
        input.consume(1);
        assert!(!input.is_own());
        assert_eq!(input.bytes(), b".two");
        input.replace(4, b"");
        assert_eq!((input.bytes(), input.is_own()), (&b""[..], false));
    }

    #[tokio::test]
    async fn a_length_field_alone_gets_no_memory() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut lane = Lane::new(ours);
        lane.input.reserve(64 << 20);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &[1; 100_000]).await.unwrap();
        while lane.input.bytes().len() < 100_000 {
            std::future::poll_fn(|cx| lane.poll_fill(cx)).await.unwrap();
        }
        assert!(lane.input.bytes.len() <= 2 * 128 * 1024, "{}", lane.input.bytes.len());
    }
}
