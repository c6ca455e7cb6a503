//! What the fuzz targets call of the relay: frames off a stream, bodies of both sides, rows on their way through masks.

use super::super::frame::{Frame, Malformed};
use super::copy::{Layout, Piece, Reader};
use super::functions;
use super::lane::Lane;
use super::messages::{BindMessage, execute_portal, kind_and_name, parse_text, query_text};
use super::rows::RowBatch;
use super::{judging, plans, words as targets_words};
use crate::session::{Batch, Masked};
use chaperone_core::sql::{Column, CopyOut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A frame longer than this is not waited for, as in the relay; shorter, so that a fuzzer reaches it.
const MAX_WALKED_BYTES: usize = 1 << 20;

/// The frames of a stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Those that were whole.
    pub frames: Vec<Vec<u8>>,
    /// Why it ended before the stream did.
    pub wrong: Option<&'static str>,
}

/// Walks the frames of a stream that comes in pieces, as `client_burst` and `target_burst` do.
pub fn walk(pieces: &[&[u8]]) -> Walked {
    let pieces = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| piece.to_vec()).collect();
    let mut lane = Lane::new(Pieces(pieces));
    let mut walked = Walked::default();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok(1..)) = lane.poll_fill(&mut cx) {
        loop {
            let available = lane.input.bytes();
            let frame = match Frame::at(available) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(Malformed(what)) => {
                    walked.wrong = Some(what);
                    return walked;
                }
            };
            if let Some(whole) = available.get(..frame.total) {
                walked.frames.push(whole.to_vec());
                lane.input.consume(frame.total);
                continue;
            }
            if frame.total > MAX_WALKED_BYTES {
                walked.wrong = Some("a frame that is too long");
                return walked;
            }
            lane.input.reserve(frame.total);
            break;
        }
        lane.input.shrink();
    }
    walked
}

/// A stream that gives one piece for each read, and then ends.
struct Pieces(std::collections::VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A message of a client as the relay reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// Query: the text that is judged.
    Query(&'a str),
    /// Parse: the name, and the text that is judged.
    Parse(&'a [u8], &'a str),
    /// Bind: portal, statement, formats of the result.
    Bind(&'a [u8], &'a [u8], Box<[i16]>),
    /// Describe or Close: `S` or `P`, and the name.
    Named(u8, &'a [u8]),
    /// Execute: the portal.
    Execute(&'a [u8]),
    /// FunctionCall: the OID, and the arguments as they stand in a Bind.
    Call(u32, &'a [u8]),
}

/// Reads a whole frame of a client; none when it is refused, or of a type whose body is not read.
pub fn client_message(frame: &[u8]) -> Option<ClientMessage<'_>> {
    Some(match frame.first()? {
        b'Q' => ClientMessage::Query(query_text(frame).ok()?),
        b'P' => {
            let (name, text) = parse_text(frame).ok()?;
            ClientMessage::Parse(name, text)
        }
        b'B' => {
            let BindMessage { portal, statement, result_formats } = BindMessage::read(frame).ok()?;
            ClientMessage::Bind(portal, statement, result_formats)
        }
        b'D' | b'C' => {
            let (kind, name) = kind_and_name(frame).ok()?;
            ClientMessage::Named(kind, name)
        }
        b'E' => ClientMessage::Execute(execute_portal(frame).ok()?),
        b'F' => {
            let (oid, call) = functions::read(frame).ok()?;
            ClientMessage::Call(oid, call.bound)
        }
        _ => return None,
    })
}

/// A column as a RowDescription has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name, invalid UTF-8 replaced.
    pub name: String,
    /// The relation's OID and the attribute's number.
    pub origin: (u32, i16),
    /// The type.
    pub type_oid: u32,
}

/// Reads a RowDescription.
pub fn description(frame: &[u8]) -> Option<Vec<Field>> {
    let fields = plans::read_fields(frame).ok()?;
    let field = |field: plans::Field| Field {
        name: field.name,
        origin: (field.relation, field.attribute),
        type_oid: field.type_oid,
    };
    Some(fields.into_iter().map(field).collect())
}

/// The fields of an ErrorResponse or NoticeResponse.
pub fn words(frame: &[u8]) -> Vec<(u8, Vec<u8>)> {
    targets_words::read_words(frame)
}

/// The SQLSTATE that is recorded of an ErrorResponse.
pub fn error_code(frame: &[u8]) -> String {
    targets_words::error_code(frame)
}

/// Gathers rows, has the values of the masked columns answered, and puts the rows together again.
pub fn mask_rows(
    rows: &[&[u8]],
    columns: usize,
    masked: &[usize],
    answer: impl FnOnce(Vec<Batch>) -> Option<Vec<Masked>>,
) -> Result<Vec<u8>, &'static str> {
    let mut batch = RowBatch::default();
    for row in rows {
        batch.push(row, columns, masked).map_err(|wrong| wrong.0)?;
    }
    let values = answer(batch.take_batches()).ok_or("no answer")?;
    let mut out = Vec::new();
    batch.rebuild(&mut out, masked, &values, None).map_err(|wrong| wrong.0)?;
    Ok(out)
}

/// The longest row of a COPY here; in the relay it is longer.
const MAX_COPIED_BYTES: usize = 64 * 1024;

/// What a COPY to the client held.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The values of each row.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// The rows and what stands around them, written again with nothing replaced.
    pub written: Vec<u8>,
    /// The same with every value replaced by the one that was asked for.
    pub replaced: Vec<u8>,
    /// Whether the target may end here.
    pub whole: bool,
}

/// Reads the rows of a COPY whose data comes in pieces; none when it cannot be read, or the layout has two readings.
pub fn copied(
    copy: &CopyOut,
    names: &[&str],
    pieces: &[&[u8]],
    value: Option<&[u8]>,
) -> Option<Result<Copied, &'static str>> {
    let layout = Layout::of(copy).filter(Layout::tells_nulls)?;
    let column = |name: &&str| Column { name: (*name).into(), ..judging::computed() };
    let mut reader = Reader::new(layout, names.iter().map(column).collect(), MAX_COPIED_BYTES);
    let mut copied = Copied::default();
    for piece in pieces {
        let mut data = *piece;
        loop {
            match reader.take(&mut data, |layout, piece| copied.add(layout, piece, value)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Malformed(what)) => return Some(Err(what)),
            }
        }
    }
    copied.whole = reader.finish().is_ok();
    Some(Ok(copied))
}

impl Copied {
    fn add(&mut self, layout: &Layout, piece: Piece<'_>, value: Option<&[u8]>) -> Result<(), Malformed> {
        let row = match piece {
            Piece::Row(row) => row,
            Piece::Frame(frame) => {
                self.written.extend_from_slice(frame);
                self.replaced.extend_from_slice(frame);
                return Ok(());
            }
        };
        let (mut fields, mut room, mut values) = (layout.fields(row)?, Vec::new(), Vec::new());
        while let Some(field) = fields.next()? {
            values.push(layout.value(field, &mut room)?.map(<[u8]>::to_vec));
        }
        self.rows.push(values);
        layout.rewrite(&mut self.written, row, |_| Ok(None))?;
        layout.rewrite(&mut self.replaced, row, |_| Ok(Some(value)))
    }
}
