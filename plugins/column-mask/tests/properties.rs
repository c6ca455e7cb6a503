//! What must hold for every value, also for bytes that no PostgreSQL would send.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use chaperone_plugin_column_mask::ColumnMasker;
use chaperone_sdk::{Batch, Change, ColumnMask, ColumnOf, Format, Masked, mask_batches};
use common::*;
use proptest::prelude::*;
use serde_json::json;

const ALL_TYPES: [u32; 12] =
    [TEXT, 1043, INT4, INT8, NUMERIC, DATE, JSON, JSONB, UUID, TEXT_ARRAY, BYTEA, CITEXT];

fn everything() -> ColumnMasker {
    masker(json!({
        "columns": [
            {"match": "*.*.a", "strategy": "redact"},
            {"match": "*.*.b", "strategy": "partial"},
            {"match": "*.*.c", "strategy": "hash"},
            {"match": "*.*.d", "strategy": "null"},
        ],
        "content": [
            {"kind": "card", "strategy": "partial", "confidence": "low"},
            {"kind": "ssn", "strategy": "redact", "confidence": "low"},
            {"kind": "email", "strategy": "hash", "confidence": "low"},
            {"kind": "iban", "strategy": "partial", "confidence": "low"},
            {"kind": "phone", "strategy": "redact", "confidence": "low"},
            {"kind": "regex", "pattern": "(?i)top.?secret", "strategy": "null"},
        ],
        "hash_key": KEY,
    }))
}

/// Texts out of the letters that detectors care about, so that they have something to find.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        "[0-9 .@+()/-]{0,60}".prop_map(String::into_bytes),
        "[A-Z]{2}[0-9]{2}[A-Z0-9 ]{0,40}".prop_map(String::into_bytes),
        "(a|@|\\.|b.io|123-45-6789|4111111111111111|é| ){0,12}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_value_of_any_type_makes_it_panic(value in texts(), kind in 0..ALL_TYPES.len(), number in 0u32..8, binary: bool) {
        let format = if binary { Format::Binary } else { Format::Text };
        let column = ColumnOf { treatment: number, type_oid: ALL_TYPES[kind], format };
        let mut out = Vec::new();
        let change = MASKER.with(|masker| masker.mask_value(column, &value, &mut out)).unwrap();
        let batch = Batch {
            treatment: number,
            type_oid: ALL_TYPES[kind],
            format,
            offsets: vec![0, value.len() as u32],
            nulls: vec![0],
            bytes: value.clone(),
        };
        let masked = MASKER.with(|masker| mask_batches(masker, &[batch])).unwrap().remove(0);
        match change {
            Change::Kept => prop_assert!(is_unchanged(&masked)),
            Change::Replaced => prop_assert_eq!((&masked.bytes, masked.nulls[0], masked.changed), (&out, 0, 1)),
            Change::Null => prop_assert_eq!((masked.bytes.len(), masked.nulls[0], masked.changed), (0, 1, 1)),
        }
        // A column rule never keeps a value.
        prop_assert!(number < 2 || change != Change::Kept);
    }

    #[test]
    fn values_of_a_batch_are_masked_as_each_alone(
        input in prop::collection::vec(prop::option::weighted(0.9, texts()), 0..20),
        kind in 0..ALL_TYPES.len(),
        number in 0u32..6,
        binary: bool,
    ) {
        let format = if binary { Format::Binary } else { Format::Text };
        let column = ColumnOf { treatment: number, type_oid: ALL_TYPES[kind], format };
        let mut batch = Batch {
            treatment: number,
            type_oid: ALL_TYPES[kind],
            format,
            bytes: Vec::new(),
            offsets: vec![0],
            nulls: vec![0; input.len().div_ceil(8)],
        };
        let (mut alone, mut changed) = (Vec::new(), 0);
        for (index, value) in input.iter().enumerate() {
            batch.bytes.extend_from_slice(value.as_deref().unwrap_or_default());
            batch.offsets.push(batch.bytes.len() as u32);
            batch.nulls[index / 8] |= u8::from(value.is_none()) << (index % 8);
            let Some(value) = value else {
                alone.push(None);
                continue;
            };
            let mut out = Vec::new();
            let change = MASKER.with(|masker| masker.mask_value(column, value, &mut out)).unwrap();
            changed += u32::from(change != Change::Kept);
            alone.push(match change {
                Change::Kept => Some(value.clone()),
                Change::Replaced => Some(out),
                Change::Null => None,
            });
        }
        let masked = MASKER.with(|masker| mask_batches(masker, &[batch])).unwrap().remove(0);
        prop_assert_eq!(masked.changed, changed);
        if changed == 0 {
            prop_assert!(is_unchanged(&masked));
        } else {
            let together = (0..input.len()).map(|index| {
                let value = &masked.bytes[masked.offsets[index] as usize..masked.offsets[index + 1] as usize];
                (masked.nulls[index / 8] & (1 << (index % 8)) == 0).then(|| value.to_vec())
            });
            prop_assert_eq!(together.collect::<Vec<_>>(), alone);
        }
    }

    #[test]
    fn partial_never_shows_more_than_four_or_a_third(text in "[a-zA-Z0-9äöü€ -]{0,40}") {
        let seen = MASKER.with(|masker| seen(masker, 3, TEXT, Format::Text, text.as_bytes())).unwrap().unwrap();
        let seen = String::from_utf8(seen).unwrap();
        let secret = |text: &str| text.chars().filter(|one| !" -".contains(*one)).collect::<Vec<_>>();
        let (was, is) = (secret(&text), secret(&seen));
        let shown = is.iter().filter(|one| **one != '*').count();
        prop_assert!(shown <= 4 && shown * 3 <= was.len());
        prop_assert_eq!(was.len(), is.len());
        prop_assert!(is.iter().rev().take(shown).eq(was.iter().rev().take(shown)));
    }

    #[test]
    fn what_was_hidden_is_not_found_again(before in "[a-z ]{0,10}", after in "[a-z ]{0,10}", which in 0usize..4) {
        let secret = ["4111 1111 1111 1111", "123-45-6789", "alice@example.com", "DE44500105175407324931"][which];
        let text = format!("{before} {secret} {after}");
        let seen = MASKER.with(|masker| seen(masker, 0, TEXT, Format::Text, text.as_bytes())).unwrap().unwrap();
        let seen = String::from_utf8(seen).unwrap();
        prop_assert!(!seen.contains(secret));
        prop_assert!(seen.starts_with(&format!("{before} ")) && seen.ends_with(&format!(" {after}")), "{}", seen);
        let digits: Vec<char> = secret.chars().filter(char::is_ascii_digit).collect();
        for window in digits.windows(5) {
            prop_assert!(!seen.contains(&window.iter().collect::<String>()), "{}", seen);
        }
    }

    #[test]
    fn batches_of_any_shape_are_masked_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        offsets in prop::collection::vec(0u32..80, 0..10),
        nulls in prop::collection::vec(any::<u8>(), 0..3),
        number in 0u32..8,
    ) {
        let values = offsets.len().saturating_sub(1);
        let all_null = (0..values).all(|index| nulls.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0));
        let batch = Batch { treatment: number, type_oid: TEXT, format: Format::Text, bytes, offsets, nulls };
        match MASKER.with(|masker| mask_batches(masker, &[batch])) {
            Ok(masked) if is_unchanged(&masked[0]) => prop_assert!(number < 2 || all_null),
            Ok(masked) => {
                prop_assert_eq!(masked[0].offsets.len(), values + 1);
                prop_assert_eq!(masked[0].offsets.last().copied(), Some(masked[0].bytes.len() as u32));
                prop_assert!(masked[0].offsets.is_sorted());
            }
            Err(refusal) => prop_assert!(refusal.rule.starts_with("mask."), "{}", refusal.rule),
        }
    }
}

/// The short answer: every value is as it was.
fn is_unchanged(masked: &Masked) -> bool {
    masked.bytes.is_empty() && masked.offsets.is_empty() && masked.nulls.is_empty() && masked.changed == 0
}

thread_local! {
    /// Built once for each test: it has no state.
    static MASKER: ColumnMasker = everything();
}

#[test]
fn a_batch_is_masked_value_by_value_and_malformed_ones_are_refused() {
    let good = || Batch {
        treatment: 0,
        type_oid: TEXT,
        format: Format::Text,
        bytes: b"plainmail a@b.io".to_vec(),
        offsets: vec![0, 5, 5, 16],
        nulls: vec![0b10],
    };
    let masker = masker(json!({"content": [{"kind": "email", "strategy": "redact"}]}));
    let masked = mask_batches(&masker, &[good()]).unwrap().remove(0);
    assert_eq!((masked.bytes.as_slice(), masked.changed), (&b"plainmail [redacted]"[..], 1));
    assert_eq!((masked.offsets, masked.nulls), (vec![0, 5, 5, 20], vec![0b10]));
    for offsets in
        [vec![], vec![0], vec![0, 5, 4, 16], vec![0, 5, 5, 17], vec![1, 5, 5, 16], vec![0, 5, 5, u32::MAX]]
    {
        let refusal = mask_batches(&masker, &[Batch { offsets, ..good() }]).unwrap_err();
        assert_eq!(refusal.rule, "mask.malformed-batch");
    }
}
