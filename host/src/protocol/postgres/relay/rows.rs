//! Rows on their way through the masks: gathered into columns, masked in one call, and put together again.

use super::super::frame::{self, Body, Malformed};
use super::copy::{Layout, Piece, Reader};
use crate::session::{Batch, Masked};

/// A batch is masked when it holds this much, so that a large result neither waits nor grows.
const FULL_BYTES: usize = 64 * 1024;

/// See [`FULL_BYTES`]; many rows of nothing.
const FULL_ROWS: usize = 1024;

/// What a message of copied data is that holds no row, while it waits among rows. No message of the protocol is called so.
const NO_ROW: u8 = b'-';

/// Rows that wait to be masked.
#[derive(Default)]
pub(super) struct RowBatch {
    /// Whole DataRow messages, one after the other; or of a COPY, CopyData messages of one row each, and [`NO_ROW`].
    rows: Vec<u8>,
    count: usize,
    batches: Vec<Batch>,
    /// Where a copied value is put together.
    room: Vec<u8>,
}

impl RowBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= FULL_BYTES || self.count >= FULL_ROWS
    }

    /// Adds a row; `masked` are the indexes of the masked columns, rising.
    pub(super) fn push(&mut self, row: &[u8], columns: usize, masked: &[usize]) -> Result<(), Malformed> {
        let mut body = Body::of(row);
        if body.count()? != columns {
            return Err(Malformed("a row with another number of columns than its description"));
        }
        self.batches.resize_with(masked.len(), Batch::new);
        let mut wanted = masked.iter().zip(&mut self.batches).peekable();
        for index in 0..columns {
            let value = body.value()?;
            if let Some((_, batch)) = wanted.next_if(|(masked, _)| **masked == index) {
                batch.push(value);
            }
        }
        body.end()?;
        self.rows.extend_from_slice(row);
        self.count += 1;
        Ok(())
    }

    /// Adds the rows at the front of copied data until the batch is full: how many bytes of it were taken.
    pub(super) fn push_copied(
        &mut self,
        reader: &mut Reader,
        data: &[u8],
        columns: usize,
        masked: &[usize],
    ) -> Result<usize, Malformed> {
        let mut rest = data;
        self.batches.resize_with(masked.len(), Batch::new);
        while !self.is_full()
            && reader.take(&mut rest, |layout, piece| self.push_piece(layout, piece, columns, masked))?
        {
        }
        Ok(data.len() - rest.len())
    }

    fn push_piece(
        &mut self,
        layout: &Layout,
        piece: Piece<'_>,
        columns: usize,
        masked: &[usize],
    ) -> Result<(), Malformed> {
        let row = match piece {
            Piece::Row(row) => row,
            Piece::Frame(bytes) => {
                frame::message(&mut self.rows, NO_ROW, |out| out.extend_from_slice(bytes));
                return Ok(());
            }
        };
        let mut wanted = masked.iter().zip(&mut self.batches).peekable();
        let mut fields = layout.fields(row)?;
        let mut found = 0;
        while let Some(field) = fields.next()? {
            if let Some((_, batch)) = wanted.next_if(|(masked, _)| **masked == found) {
                batch.push(layout.value(field, &mut self.room)?);
            }
            found += 1;
        }
        if found != columns {
            return Err(Malformed("a copied row with another number of columns than was described"));
        }
        frame::message(&mut self.rows, b'd', |out| out.extend_from_slice(row));
        self.count += 1;
        Ok(())
    }

    /// The values to be masked, one batch for each masked column.
    pub(super) fn take_batches(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.batches)
    }

    /// How many rows wait.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Writes the rows with their new values, and empties the batch. `layout` is that of copied rows.
    pub(super) fn rebuild(
        &mut self,
        out: &mut Vec<u8>,
        masked: &[usize],
        values: &[Masked],
        layout: Option<&Layout>,
    ) -> Result<(), Malformed> {
        if self.count > 0 && values.len() != masked.len() {
            // Fails closed: a column without new values would show its own.
            return Err(Malformed("rows to which a masked column is missing"));
        }
        let rows = std::mem::take(&mut self.rows);
        // A column of which nothing is changed goes on as it came.
        let new: Vec<NewColumn<'_>> = masked
            .iter()
            .zip(values)
            .filter(|(_, values)| !values.is_same())
            .map(|(index, values)| NewColumn { index: *index, values })
            .collect();
        if layout.is_none() && new.is_empty() {
            out.extend_from_slice(&rows);
            self.count = 0;
            self.rows = rows;
            self.rows.clear();
            return Ok(());
        }
        let mut rest = rows.as_slice();
        let mut number = 0;
        while let Some(frame) = frame::Frame::at(rest)? {
            let (row, tail) =
                rest.split_at_checked(frame.total).ok_or(Malformed("a row that is not whole"))?;
            rest = tail;
            let mut wrong = None;
            match (frame.kind, layout) {
                (b'D', _) => frame::message(out, b'D', |out| {
                    wrong = rebuild_row(out, row, number, &new).err();
                }),
                (b'd', Some(layout)) => frame::message(out, b'd', |out| {
                    wrong = rebuild_copied(out, row, layout, number, &new).err();
                }),
                (NO_ROW, _) => {
                    let bytes = row.get(frame::HEADER_BYTES..).unwrap_or_default();
                    frame::message(out, b'd', |out| out.extend_from_slice(bytes));
                    continue;
                }
                _ => return Err(Malformed("a row of another kind than its result")),
            }
            if let Some(wrong) = wrong {
                return Err(wrong);
            }
            number += 1;
        }
        self.count = 0;
        self.rows = rows;
        self.rows.clear();
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.batches.clear();
        self.count = 0;
    }
}

/// A column of which some values are new.
struct NewColumn<'v> {
    index: usize,
    values: &'v Masked,
}

fn rebuild_row(out: &mut Vec<u8>, row: &[u8], number: usize, new: &[NewColumn<'_>]) -> Result<(), Malformed> {
    let mut body = Body::of(row);
    let columns = body.i16()?;
    out.extend_from_slice(&columns.to_be_bytes());
    let mut wanted = new.iter().peekable();
    for index in 0..usize::try_from(columns).unwrap_or(0) {
        let mut value = body.value()?;
        if let Some(column) = wanted.next_if(|column| column.index == index) {
            // Fails closed: a missing value is never replaced by the one that had to be hidden.
            value =
                column.values.value(number).ok_or(Malformed("a row to which a masked value is missing"))?;
        }
        match value {
            None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(value) => {
                let length = i32::try_from(value.len()).map_err(|_| Malformed("a value that is too long"))?;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
    Ok(())
}

fn rebuild_copied(
    out: &mut Vec<u8>,
    row: &[u8],
    layout: &Layout,
    number: usize,
    new: &[NewColumn<'_>],
) -> Result<(), Malformed> {
    let mut wanted = new.iter().peekable();
    layout.rewrite(out, row.get(frame::HEADER_BYTES..).unwrap_or_default(), |index| {
        match wanted.next_if(|column| column.index == index) {
            None => Ok(None),
            // Fails closed, as above.
            Some(column) => column
                .values
                .value(number)
                .map(Some)
                .ok_or(Malformed("a row to which a masked value is missing")),
        }
    })
}
