//! Masked batches that do not have the shape of the batch.

use crate::refusal;
use chaperone_sdk::bindings::column_mask::exports::chaperone::plugin::column_mask::{Batch, Masked};
use chaperone_sdk::bindings::sql_check::chaperone::plugin::types::Refusal;

/// What a treatment's number stands for.
const WORDS: &[&str] = &[
    "mask-same",
    "mask-short",
    "mask-long",
    "mask-unsorted",
    "mask-first-offset",
    "mask-last-offset",
    "mask-no-offsets",
    "mask-nulls-short",
    "mask-null-with-bytes",
    "mask-changed",
    "mask-fewer-batches",
    "mask-more-batches",
    "mask-huge",
    "mask-gigantic",
    "mask-panic",
    "mask-loop",
    "mask-eat",
    "mask-refuse",
    "mask-refuse-novel",
    "mask-unchanged",
    "mask-unchanged-bytes",
    "mask-unchanged-nulls",
    "mask-unchanged-number",
];

pub(crate) fn number(word: &str) -> Option<u32> {
    WORDS.iter().position(|known| *known == word).and_then(|index| u32::try_from(index).ok())
}

pub(crate) fn word(number: u32) -> &'static str {
    WORDS.get(number as usize).copied().unwrap_or_default()
}

pub(crate) fn mask(word: &str, batches: Vec<Batch>) -> Result<Vec<Masked>, Refusal> {
    match word {
        "mask-refuse" => return Err(refusal("not this".into())),
        "mask-refuse-novel" => return Err(refusal("x".repeat(5000))),
        _ => {}
    }
    let mut masked: Vec<Masked> = batches.into_iter().map(same).collect();
    match word {
        "mask-fewer-batches" => drop(masked.pop()),
        "mask-more-batches" => {
            masked.push(Masked { bytes: Vec::new(), offsets: vec![0], nulls: Vec::new(), changed: 0 });
        }
        _ => masked.iter_mut().for_each(|batch| spoil(word, batch)),
    }
    Ok(masked)
}

fn same(batch: Batch) -> Masked {
    Masked { bytes: batch.bytes, offsets: batch.offsets, nulls: batch.nulls, changed: 0 }
}

/// What says that all values are as they were, if `changed` is 0.
fn nothing() -> Masked {
    Masked { bytes: Vec::new(), offsets: Vec::new(), nulls: Vec::new(), changed: 0 }
}

/// The tests send three values, none of them NULL.
fn spoil(word: &str, batch: &mut Masked) {
    match word {
        "mask-short" => drop(batch.offsets.pop()),
        "mask-long" => batch.offsets.push(batch.bytes.len() as u32),
        "mask-unsorted" => batch.offsets.swap(1, 2),
        "mask-first-offset" => batch.offsets[0] = 1,
        "mask-last-offset" => batch.offsets[3] += 1,
        "mask-no-offsets" => batch.offsets.clear(),
        "mask-unchanged" => *batch = nothing(),
        "mask-unchanged-bytes" => *batch = Masked { bytes: b"onetwo2three".to_vec(), ..nothing() },
        "mask-unchanged-nulls" => *batch = Masked { nulls: vec![0], ..nothing() },
        "mask-unchanged-number" => *batch = Masked { changed: 1, ..nothing() },
        "mask-nulls-short" => batch.nulls.clear(),
        "mask-null-with-bytes" => batch.nulls[0] |= 1,
        "mask-changed" => batch.changed = 4,
        "mask-huge" => {
            // One byte over what the host takes: four times as long plus 64 KiB.
            batch.bytes.resize(batch.bytes.len() * 4 + 64 * 1024 + 1, b'x');
            batch.offsets[3] = batch.bytes.len() as u32;
        }
        "mask-gigantic" => {
            batch.bytes.resize(8 << 20, b'x');
            batch.offsets[3] = batch.bytes.len() as u32;
        }
        _ => {}
    }
}
