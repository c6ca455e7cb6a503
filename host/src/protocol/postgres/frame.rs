//! Framing of the PostgreSQL wire protocol (PostgreSQL manual, "Message Formats"): type byte, 32-bit length, body.
//!
//! The hot path walks frames in place with [`Frame::at`]; nothing here allocates, and a length field is compared with a
//! bound before anything is done with it. A body is read with [`Body`], which never looks past its frame.

/// Bytes before the body of a message: the type and the length.
pub(super) const HEADER_BYTES: usize = 5;

/// What is wrong with a frame or a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// The message's type.
    pub(super) kind: u8,
    /// Of the whole message, type and length included.
    pub(super) total: usize,
}

impl Frame {
    /// Reads the header at the start of `bytes`; none when it is not whole yet.
    pub(super) fn at(bytes: &[u8]) -> Result<Option<Frame>, Malformed> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [kind, length @ ..] = *header;
        // The length counts itself but not the type. PostgreSQL reads it as signed and never sends 1 GiB or more.
        let length = u32::from_be_bytes(length);
        if !(4..=0x4000_0000).contains(&length) {
            return Err(Malformed("a length outside 4 bytes to 1 GiB"));
        }
        let length = usize::try_from(length).map_err(|_| Malformed("a length too large for this machine"))?;
        Ok(Some(Frame { kind, total: length + 1 }))
    }
}

/// A cursor over the body of one frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    /// Of a whole frame, header included.
    pub(super) fn of(frame: &'a [u8]) -> Self {
        Body(frame.get(HEADER_BYTES..).unwrap_or_default())
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(Malformed("a message shorter than it says"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array::<1>()?;
        Ok(byte)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// A count, which must not be negative.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.i16()?).map_err(|_| Malformed("a negative count"))
    }

    /// A text that ends with a zero byte.
    pub(super) fn zero_terminated(&mut self) -> Result<&'a [u8], Malformed> {
        let end = memchr::memchr(0, self.0).ok_or(Malformed("a text without its final zero byte"))?;
        let text = self.bytes(end)?;
        self.bytes(1)?;
        Ok(text)
    }

    /// A value: its length (-1 is NULL), then its bytes.
    pub(super) fn value(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("a negative length"))?;
                self.bytes(length).map(Some)
            }
        }
    }

    /// What is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left: bytes past the end would be read by one side and not by the other.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("bytes after the end of a message")) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) =
            self.0.split_first_chunk::<N>().ok_or(Malformed("a message shorter than it says"))?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// Appends one message; `body` writes what comes after the header.
pub(super) fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    // Only our own short messages and rebuilt rows come through here; rows are bounded far below 1 GiB.
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// `ReadyForQuery` with a transaction status.
pub(super) fn ready(out: &mut Vec<u8>, status: u8) {
    message(out, b'Z', |out| out.push(status));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_outside_the_protocol_are_refused_before_anything_is_read() {
        for length in [0u32, 3, 0x4000_0001, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let mut bytes = vec![b'Q'];
            bytes.extend_from_slice(&length.to_be_bytes());
            assert!(Frame::at(&bytes).is_err(), "{length}");
        }
        assert_eq!(Frame::at(b"Q\0\0\0\x04"), Ok(Some(Frame { kind: b'Q', total: 5 })));
        assert_eq!(Frame::at(b"Q\0\0\0"), Ok(None));
    }

    proptest! {
        #[test]
        fn a_body_never_reads_past_its_frame(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut body = Body::of(&bytes);
            let inside = bytes.len().saturating_sub(HEADER_BYTES);
            let mut seen = 0;
            while let Ok(value) = body.value() {
                seen += 4 + value.map_or(0, <[u8]>::len);
                prop_assert!(seen <= inside);
            }
            let _ = Body::of(&bytes).zero_terminated();
        }
    }
}
