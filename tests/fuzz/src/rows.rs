//! Rows through the masks: gathered, answered by a plugin that may say anything, put together again.
//!
//! The claim: the client gets the answer's values in the masked columns, the target's in the others, and nothing else;
//! a value that had to be hidden is never there because the answer lacked one.

use crate::{Became, byte, message, take};
use chaperone::fuzzing::plugin::{Source, masked as checked, most_bytes};
use chaperone::fuzzing::postgres::mask_rows;
use chaperone::session::{Batch, Masked};

/// The first bytes say how many columns there are, which are masked and how the plugin answers; rows follow: a count of
/// bytes and a body.
pub(crate) fn rows(mut input: &[u8]) -> Became {
    let input = &mut input;
    let (columns, mask, answers) = (usize::from(byte(input) & 15), byte(input), byte(input));
    let masked: Vec<usize> = (0..columns).filter(|column| mask & (1 << (column % 8)) != 0).collect();
    let own_count = usize::from(byte(input));
    let own = take(input, own_count);
    let mut rows: Vec<Vec<u8>> = Vec::new();
    while !input.is_empty() && rows.len() < 64 {
        let count = usize::from(byte(input));
        rows.push(message(b'D', take(input, count)));
    }
    let given: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    let mut answered = None;
    let out = mask_rows(&given, columns, &masked, |batches| {
        let values = answer(batches, answers, own)?;
        answered = Some(values.clone());
        Some(values)
    });
    // What the target sent, read by a second reader.
    let read: Option<Vec<Values>> = rows.iter().map(|row| values(&row[5..], columns)).collect();
    let Ok(out) = out else { return Became::Refused };
    let (read, answered) = (read.expect("rows that are none were put together"), answered.unwrap());
    let mut rest = out.as_slice();
    for (number, row) in read.iter().enumerate() {
        let mut body = (u16::try_from(columns).unwrap()).to_be_bytes().to_vec();
        for (index, value) in row.iter().enumerate() {
            let value = match masked.iter().position(|column| *column == index) {
                Some(place) => answered[place].value(number).expect("an answer for every row"),
                None => value.as_deref(),
            };
            body.extend_from_slice(
                &value.map_or(-1, |value| i32::try_from(value.len()).unwrap()).to_be_bytes(),
            );
            body.extend_from_slice(value.unwrap_or_default());
        }
        let expected = message(b'D', &body);
        assert_eq!(take(&mut rest, expected.len()), expected, "row {number}");
    }
    assert!(rest.is_empty(), "more rows than there were");
    if rows.is_empty() { Became::Refused } else { Became::Accepted }
}

type Values = Vec<Option<Vec<u8>>>;

/// A second reader of DataRow bodies.
fn values(mut body: &[u8], columns: usize) -> Option<Values> {
    let body = &mut body;
    let count = i16::from_be_bytes(take(body, 2).try_into().ok()?);
    if usize::try_from(count).ok()? != columns {
        return None;
    }
    let mut values = Vec::new();
    for _ in 0..columns {
        let length = i32::from_be_bytes(take(body, 4).try_into().ok()?);
        values.push(match length {
            -1 => None,
            length => {
                let length = usize::try_from(length).ok()?;
                let value = take(body, length);
                (value.len() == length).then_some(Some(value.to_vec()))?
            }
        });
    }
    body.is_empty().then_some(values)
}

/// The plugin's part: an honest answer, or one of any shape, as long as the border lets it through.
fn answer(batches: Vec<Batch>, how: u8, own: &[u8]) -> Option<Vec<Masked>> {
    let mut source = Source::new(own);
    let answer = |batch: &Batch| {
        let honest = |batch: Batch| (batch.bytes, batch.offsets, batch.nulls);
        let (bytes, offsets, nulls) = match how & 3 {
            // Back as it was.
            0 => honest(batch.clone()),
            // Every value replaced.
            1 => {
                let mut other = Batch::new();
                let value = source.bytes();
                (0..batch.len()).for_each(|_| other.push(Some(&value)));
                honest(other)
            }
            // Every value gone.
            2 => {
                let mut other = Batch::new();
                (0..batch.len()).for_each(|_| other.push(None));
                honest(other)
            }
            // Whatever.
            _ => {
                let offsets = (0..source.byte() & 31).map(|_| u32::from(source.byte())).collect();
                (source.bytes(), offsets, source.bytes())
            }
        };
        let cost = bytes.len();
        let masked = checked(batch, bytes, offsets, nulls, u32::from(how >> 4))?;
        assert!(cost <= most_bytes(batch));
        for index in 0..batch.len() {
            assert!(masked.value(index).is_some(), "an answer was let through that lacks value {index}");
        }
        Some(masked)
    };
    batches.iter().map(answer).collect()
}
