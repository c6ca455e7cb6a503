//! The rows of a COPY TO STDOUT: cut out of what the target sends, read, and written again.
//!
//! PostgreSQL sends a row in each CopyData message, but the protocol does not promise it (manual, "COPY Operations"), so rows
//! are found in the bytes. Only what PostgreSQL writes is read. What may go wrong: the two sides see the borders of a row or
//! a field in different places, and a hidden value passes for a part of its neighbour. So everything that has two readings
//! is refused before ([`Layout::of`]), or ends the session.

pub(super) mod binary;
pub(super) mod csv;
pub(super) mod text;

#[cfg(test)]
mod tests;

use super::super::frame::Malformed;
use chaperone_core::sql::{Column, CopyOut};
use csv::{Marks, Quotes};
use std::rc::Rc;

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    Text { delimiter: u8, null: TextNull, header: bool },
    Csv { marks: Marks, null: Box<[u8]>, header: bool },
    Binary,
}

/// What stands for NULL in the text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextNull {
    /// `\N`, which no value is written as.
    Own,
    /// Nothing, as for a value without characters: every NULL is treated as one. Fails closed: the other way round, a value would
    /// not be masked.
    Empty,
    /// What a value may be written as, too. Who chose it would see which rows have that value, whatever is done about it.
    Ambiguous,
}

/// Letters and digits that PostgreSQL does not take for a delimiter of the text format (its source, `ProcessCopyOptions`).
fn means_something_behind_a_backslash(byte: u8) -> bool {
    byte == b'\\' || byte == b'.' || byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

impl Layout {
    /// The layout of a COPY. None where its rows could be read in more than one way.
    pub(super) fn of(copy: &CopyOut) -> Option<Layout> {
        let form = copy.form.as_ref()?;
        let null = form.null.as_bytes();
        let mark = |byte: u8| byte.is_ascii() && !matches!(byte, 0 | b'\r' | b'\n');
        if !mark(form.delimiter) || null.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return None;
        }
        match copy.format.as_str() {
            "binary" => Some(Layout::Binary),
            _ if null.contains(&form.delimiter) => None,
            "text" if !means_something_behind_a_backslash(form.delimiter) => Some(Layout::Text {
                delimiter: form.delimiter,
                null: match null {
                    b"\\N" => TextNull::Own,
                    b"" => TextNull::Empty,
                    _ => TextNull::Ambiguous,
                },
                header: form.header,
            }),
            "csv"
                if mark(form.quote)
                    && mark(form.escape)
                    && form.quote != form.delimiter
                    && !null.contains(&form.quote) =>
            {
                let marks = Marks { delimiter: form.delimiter, quote: form.quote, escape: form.escape };
                Some(Layout::Csv { marks, null: null.into(), header: form.header })
            }
            _ => None,
        }
    }

    /// Whether values and NULLs can be told apart, as far as masks need it.
    pub(super) fn tells_nulls(&self) -> bool {
        !matches!(self, Layout::Text { null: TextNull::Ambiguous, .. })
    }

    pub(super) fn is_binary(&self) -> bool {
        matches!(self, Layout::Binary)
    }

    fn has_header(&self) -> bool {
        matches!(self, Layout::Text { header: true, .. } | Layout::Csv { header: true, .. })
    }

    /// Walks through a whole row.
    pub(super) fn fields<'a>(&self, row: &'a [u8]) -> Result<Fields<'a>, Malformed> {
        Ok(match self {
            Layout::Text { delimiter, .. } => {
                let line = row.strip_suffix(b"\n").ok_or(Malformed("a copied row that is not whole"))?;
                Fields::Text { rest: Some(line), delimiter: *delimiter }
            }
            Layout::Csv { marks, .. } => Fields::Csv { rest: Some(row), marks: *marks },
            Layout::Binary => {
                let (_, rest, left) = binary::fields(row)?;
                Fields::Binary { rest, left }
            }
        })
    }

    /// The value of a field; none for NULL. `room` is where it is put if it has to be put anywhere.
    pub(super) fn value<'a>(
        &self,
        field: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, Malformed> {
        room.clear();
        match self {
            Layout::Text { null: TextNull::Own, .. } if field == b"\\N" => return Ok(None),
            Layout::Text { .. } if memchr::memchr(b'\\', field).is_none() => return Ok(Some(field)),
            Layout::Text { delimiter, .. } => text::read(field, *delimiter, room)?,
            Layout::Csv { marks, null, .. } if !csv::is_quoted(field, *marks) => {
                return Ok(if *field == **null { None } else { Some(field) });
            }
            Layout::Csv { marks, .. } => csv::read(field, *marks, room)?,
            Layout::Binary => return binary::value(field),
        }
        Ok(Some(room))
    }

    /// Writes a row with some of its fields replaced: `replace` is given the number of each field, and has a value where it is one
    /// of them.
    pub(super) fn rewrite<'v>(
        &self,
        out: &mut Vec<u8>,
        row: &[u8],
        mut replace: impl FnMut(usize) -> Result<Option<Option<&'v [u8]>>, Malformed>,
    ) -> Result<(), Malformed> {
        if self.is_binary() {
            out.extend_from_slice(binary::fields(row)?.0);
        }
        let mut fields = self.fields(row)?;
        let mut index = 0;
        while let Some(field) = fields.next()? {
            match self {
                Layout::Text { delimiter, .. } if index > 0 => out.push(*delimiter),
                Layout::Csv { marks, .. } if index > 0 => out.push(marks.delimiter),
                _ => {}
            }
            match replace(index)? {
                None => out.extend_from_slice(field),
                Some(value) => self.write(out, field, value)?,
            }
            index += 1;
        }
        if !self.is_binary() {
            out.push(b'\n');
        }
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>, old: &[u8], value: Option<&[u8]>) -> Result<(), Malformed> {
        match (self, value) {
            (Layout::Binary, value) => binary::write(value, out)?,
            (Layout::Text { null: TextNull::Own, .. }, None) => out.extend_from_slice(b"\\N"),
            (Layout::Text { null: TextNull::Empty, .. }, None) => {}
            // Fails closed: what was refused before has come all the same.
            (Layout::Text { null: TextNull::Ambiguous, .. }, None) => {
                return Err(Malformed("a NULL that cannot be written"));
            }
            (Layout::Text { delimiter, .. }, Some(value)) => text::write(value, *delimiter, out),
            (Layout::Csv { null, .. }, None) => out.extend_from_slice(null),
            (Layout::Csv { marks, null, .. }, Some(value)) => {
                // What is left as it was looks as it did. Whatever is replaced is quoted: PostgreSQL quotes what holds a delimiter,
                // a quote or the mark of NULL, all of the client's choice, so that the quotes would tell of the value that was there.
                if old == value && old != &**null && !csv::is_quoted(old, *marks) {
                    out.extend_from_slice(old);
                } else {
                    csv::write(value, Quotes::Always, *marks, null, out);
                }
            }
        }
        Ok(())
    }
}

/// A walk through the fields of a row, each as it is written.
pub(super) enum Fields<'a> {
    Text { rest: Option<&'a [u8]>, delimiter: u8 },
    Csv { rest: Option<&'a [u8]>, marks: Marks },
    Binary { rest: &'a [u8], left: usize },
}

impl<'a> Fields<'a> {
    pub(super) fn next(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self {
            Fields::Text { rest, delimiter } => text::field(rest, *delimiter),
            Fields::Csv { rest, marks } => csv::field(rest, *marks),
            Fields::Binary { rest: [], left: 0 } => Ok(None),
            Fields::Binary { left: 0, .. } => Err(Malformed("bytes after the end of a copied row")),
            Fields::Binary { rest, left } => {
                *left -= 1;
                binary::field(rest).map(Some)
            }
        }
    }
}

/// A piece of a COPY that goes to the client in one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Row(&'a [u8]),
    /// The line of the columns' names, or the end of a binary file: it goes on as it is.
    Frame(&'a [u8]),
}

/// Where in a COPY the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Rows,
    /// A binary file has ended.
    Ended,
}

/// Cuts a COPY into rows, however the messages are cut.
pub(super) struct Reader {
    pub(super) layout: Layout,
    columns: Rc<[Column]>,
    longest: usize,
    stage: Stage,
    /// The beginning of a piece whose end has not come yet.
    rest: Vec<u8>,
    text: usize,
    csv: csv::Scan,
    binary: binary::Scan,
}

impl Reader {
    /// Of a COPY of these columns, with rows of at most `longest` bytes.
    pub(super) fn new(layout: Layout, columns: Rc<[Column]>, longest: usize) -> Self {
        let stage = if layout.has_header() || layout.is_binary() { Stage::Header } else { Stage::Rows };
        let (csv, binary) = (csv::Scan::default(), binary::Scan::default());
        Reader { layout, columns, longest, stage, rest: Vec::new(), text: 0, csv, binary }
    }

    /// Takes the next piece off `data` and hands it over; whether there was a whole one. What is left over waits here for
    /// more.
    pub(super) fn take(
        &mut self,
        data: &mut &[u8],
        each: impl FnOnce(&Layout, Piece<'_>) -> Result<(), Malformed>,
    ) -> Result<bool, Malformed> {
        if data.is_empty() {
            return Ok(false);
        }
        let mut rest = std::mem::take(&mut self.rest);
        let carried = rest.len();
        let bytes = if carried > 0 {
            rest.extend_from_slice(data);
            rest.as_slice()
        } else {
            *data
        };
        let Some((end, stage, kind)) = self.find(bytes)? else {
            if bytes.len() > self.longest {
                return Err(TOO_LONG);
            }
            if carried == 0 {
                rest.extend_from_slice(data);
            }
            self.rest = rest;
            *data = &[];
            return Ok(false);
        };
        let piece = bytes.get(..end).filter(|piece| piece.len() <= self.longest).ok_or(TOO_LONG)?;
        match kind {
            Kind::Names => {
                self.check_names(piece)?;
                each(&self.layout, Piece::Frame(piece))?;
            }
            Kind::Trailer => each(&self.layout, Piece::Frame(piece))?,
            Kind::Row => each(&self.layout, Piece::Row(piece))?,
        }
        self.stage = stage;
        // What was carried over was no whole piece, so this one ends in `data`.
        *data = data.get(end - carried..).unwrap_or_default();
        if rest.capacity() <= KEPT_BYTES {
            rest.clear();
            self.rest = rest;
        }
        Ok(true)
    }

    /// Finds the end of the first piece: where, what comes after it, and what it is.
    fn find(&mut self, bytes: &[u8]) -> Result<Option<(usize, Stage, Kind)>, Malformed> {
        let found = match (&self.layout, self.stage) {
            (_, Stage::Ended) => return Err(Malformed("data after the end of a binary COPY")),
            (Layout::Binary, stage) => {
                let header = match stage {
                    Stage::Header => binary::Header::ToCome,
                    _ => binary::Header::Read,
                };
                let Some(part) = binary::part(bytes, header, &mut self.binary)? else { return Ok(None) };
                self.binary = binary::Scan::default();
                return Ok(Some(match part {
                    binary::Part::Row(end) => (end, Stage::Rows, Kind::Row),
                    binary::Part::Trailer(end) => (end, Stage::Ended, Kind::Trailer),
                }));
            }
            (Layout::Text { .. }, _) => text::row(bytes, &mut self.text),
            (Layout::Csv { marks, .. }, _) => csv::row(bytes, *marks, &mut self.csv)?,
        };
        let Some(end) = found else { return Ok(None) };
        self.text = 0;
        let kind = if self.stage == Stage::Header { Kind::Names } else { Kind::Row };
        Ok(Some((end, Stage::Rows, kind)))
    }

    /// The first line is the columns' names, and not a row that somebody took for them. Fails closed: it is not masked.
    fn check_names(&self, line: &[u8]) -> Result<(), Malformed> {
        const OTHER: Malformed = Malformed("a first line that is not the names of the copied columns");
        let mut fields = self.layout.fields(line)?;
        let mut room = Vec::new();
        for column in self.columns.iter() {
            let field = fields.next()?.ok_or(OTHER)?;
            // A name that looks like NULL is one all the same.
            let name = self.layout.value(field, &mut room)?.unwrap_or(field);
            if String::from_utf8_lossy(name) != column.name {
                return Err(OTHER);
            }
        }
        if fields.next()?.is_some() { Err(OTHER) } else { Ok(()) }
    }

    /// The target says that it was all.
    pub(super) fn finish(&self) -> Result<(), Malformed> {
        let ended = match self.layout {
            Layout::Binary => self.stage == Stage::Ended,
            _ => self.stage == Stage::Rows && self.rest.is_empty(),
        };
        if ended { Ok(()) } else { Err(Malformed("the end of a COPY in the middle of a row")) }
    }
}

const TOO_LONG: Malformed = Malformed("a row that is too long to be looked at");

/// What a reader keeps of the room that a row in pieces needed, in bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Names,
    Row,
    Trailer,
}
