//! Rows on their way through the masks: gathered into columns, masked in one call, and put together again.

use super::super::frame::{self, Body, Malformed};
use crate::session::{Batch, Masked};

/// A batch is masked when it holds this much, so that a large result neither waits nor grows.
const FULL_BYTES: usize = 64 * 1024;

/// See [`FULL_BYTES`]; many rows of nothing.
const FULL_ROWS: usize = 1024;

/// Rows that wait to be masked.
#[derive(Default)]
pub(super) struct RowBatch {
    /// Whole DataRow messages, one after the other.
    rows: Vec<u8>,
    count: usize,
    batches: Vec<Batch>,
}

impl RowBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
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

    /// The values to be masked, one batch for each masked column.
    pub(super) fn take_batches(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.batches)
    }

    /// Writes the rows with their new values, and empties the batch.
    pub(super) fn rebuild(
        &mut self,
        out: &mut Vec<u8>,
        masked: &[usize],
        values: &[Masked],
    ) -> Result<(), Malformed> {
        let rows = std::mem::take(&mut self.rows);
        let mut rest = rows.as_slice();
        for number in 0..std::mem::take(&mut self.count) {
            let frame = frame::Frame::at(rest)?.ok_or(Malformed("a row that is not whole"))?;
            let (row, tail) =
                rest.split_at_checked(frame.total).ok_or(Malformed("a row that is not whole"))?;
            rest = tail;
            let mut wrong = None;
            frame::message(out, b'D', |out| wrong = rebuild_row(out, row, number, masked, values).err());
            if let Some(wrong) = wrong {
                return Err(wrong);
            }
        }
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

fn rebuild_row(
    out: &mut Vec<u8>,
    row: &[u8],
    number: usize,
    masked: &[usize],
    values: &[Masked],
) -> Result<(), Malformed> {
    let mut body = Body::of(row);
    let columns = body.i16()?;
    out.extend_from_slice(&columns.to_be_bytes());
    let mut wanted = masked.iter().zip(values).peekable();
    for index in 0..usize::try_from(columns).unwrap_or(0) {
        let mut value = body.value()?;
        if let Some((_, column)) = wanted.next_if(|(masked, _)| **masked == index) {
            // Fails closed: a missing value is never replaced by the one that had to be hidden.
            value = column.value(number).ok_or(Malformed("a row to which a masked value is missing"))?;
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
