//! The values of one column as the host sends them, and the answer made of them.
//!
//! Most values stay as they are: nothing is copied before the first that changes, runs of kept values are copied as one, and
//! a batch without a change goes back empty, as the contract's `masked` allows. What may go wrong: offsets that do not fit
//! the bytes. They are refused, never sliced: the host checks as well, neither trusts the other.

use crate::hooks::{Batch, Change, ColumnMask, ColumnOf, Masked, Refusal};

/// Runs a plugin over batches, as the host sends them; also what native tests call.
///
/// A batch of which nothing is changed comes back without bytes, offsets and nulls.
pub fn mask_batches<P: ColumnMask>(plugin: &P, batches: &[Batch]) -> Result<Vec<Masked>, Refusal> {
    batches
        .iter()
        .map(|batch| {
            let column =
                ColumnOf { treatment: batch.treatment, type_oid: batch.type_oid, format: batch.format };
            plugin.mask_column(column, Values::of(batch)?)
        })
        .collect()
}

/// The values of one column of a few rows.
pub struct Values<'b> {
    batch: &'b Batch,
}

impl<'b> Values<'b> {
    fn of(batch: &'b Batch) -> Result<Self, Refusal> {
        let values = batch.offsets.len().checked_sub(1).ok_or_else(malformed)?;
        let whole = batch.offsets.first() == Some(&0)
            && batch.offsets.is_sorted()
            && batch.offsets.last().is_some_and(|end| usize::try_from(*end) == Ok(batch.bytes.len()))
            && batch.nulls.len() == values.div_ceil(8);
        let values = Values { batch };
        if whole && !values.has_null_with_bytes() { Ok(values) } else { Err(malformed()) } // fails closed
    }

    fn has_null_with_bytes(&self) -> bool {
        let eights = self.batch.nulls.iter().enumerate().filter(|(_, byte)| **byte != 0);
        eights.map(|(at, _)| at * 8).any(|first| {
            (first..first + 8).any(|index| {
                self.is_null(index) && self.batch.offsets.get(index) != self.batch.offsets.get(index + 1)
            })
        })
    }

    fn len(&self) -> usize {
        self.batch.offsets.len().saturating_sub(1)
    }

    fn is_null(&self, index: usize) -> bool {
        index < self.len()
            && self.batch.nulls.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    fn offset(&self, index: usize) -> Result<usize, Refusal> {
        self.batch.offsets.get(index).and_then(|offset| usize::try_from(*offset).ok()).ok_or_else(malformed)
    }

    /// The bytes of all values, one after the other: what no value can have, they have not either.
    pub fn bytes(&self) -> &'b [u8] {
        &self.batch.bytes
    }

    /// The client sees every value as it is.
    pub fn unchanged(self) -> Masked {
        Masked { bytes: Vec::new(), offsets: Vec::new(), nulls: Vec::new(), changed: 0 }
    }

    /// Asks about each value that is not NULL. The buffer is empty each time; what is in it counts for
    /// [`Change::Replaced`] alone.
    pub fn each(
        self,
        mut mask: impl FnMut(&[u8], &mut Vec<u8>) -> Result<Change, Refusal>,
    ) -> Result<Masked, Refusal> {
        let mut answer = Answer { masked: None, done: 0 };
        // A buffer of its own, so that no plugin can reach the values that are done.
        let mut out = Vec::new();
        let mut start = 0;
        for index in 0..self.len() {
            let end = self.offset(index + 1)?;
            let value = self.batch.bytes.get(start..end).ok_or_else(malformed)?;
            start = end;
            if self.is_null(index) {
                continue;
            }
            out.clear();
            match mask(value, &mut out)? {
                Change::Kept => {}
                Change::Replaced => answer.replace(&self, index, Some(&out))?,
                Change::Null => answer.replace(&self, index, None)?,
            }
        }
        answer.end(self)
    }
}

/// The new values so far.
struct Answer {
    /// None while nothing is changed.
    masked: Option<Masked>,
    /// How many values it has.
    done: usize,
}

impl Answer {
    fn replace(&mut self, values: &Values<'_>, index: usize, new: Option<&[u8]>) -> Result<(), Refusal> {
        let masked = self.with_kept(values, index)?;
        masked.changed += 1;
        match new {
            Some(new) => masked.bytes.extend_from_slice(new),
            None => {
                let byte = masked.nulls.get_mut(index / 8).ok_or_else(malformed)?;
                *byte |= 1 << (index % 8);
            }
        }
        masked.offsets.push(u32::try_from(masked.bytes.len()).map_err(|_| malformed())?);
        self.done = index + 1;
        Ok(())
    }

    /// The answer, with the values up to `index` that were kept.
    fn with_kept(&mut self, values: &Values<'_>, index: usize) -> Result<&mut Masked, Refusal> {
        let batch = values.batch;
        let masked = self.masked.get_or_insert_with(|| {
            let mut offsets = Vec::with_capacity(batch.offsets.len());
            offsets.push(0);
            let bytes = Vec::with_capacity(batch.bytes.len());
            Masked { bytes, offsets, nulls: batch.nulls.clone(), changed: 0 }
        });
        let (start, end) = (values.offset(self.done)?, values.offset(index)?);
        let moved = masked.bytes.len();
        masked.bytes.extend_from_slice(batch.bytes.get(start..end).ok_or_else(malformed)?);
        for offset in batch.offsets.get(self.done + 1..=index).ok_or_else(malformed)? {
            let here = usize::try_from(*offset).map_err(|_| malformed())? - start + moved;
            masked.offsets.push(u32::try_from(here).map_err(|_| malformed())?);
        }
        self.done = index;
        Ok(masked)
    }

    fn end(mut self, values: Values<'_>) -> Result<Masked, Refusal> {
        if self.masked.is_some() {
            self.with_kept(&values, values.len())?;
        }
        Ok(self.masked.unwrap_or_else(|| values.unchanged()))
    }
}

fn malformed() -> Refusal {
    Refusal {
        rule: "mask.malformed-batch".into(),
        reason: "a batch of values did not have the shape that the contract promises".into(),
        hint: "This is a fault of the gateway; report it.".into(),
    }
}
