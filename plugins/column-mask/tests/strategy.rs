//! How hidden values look: each strategy on each kind of type, in both formats; and content inside texts.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use chaperone_plugin_column_mask::ColumnMasker;
use chaperone_sdk::{ColumnMask, ColumnOf, Format, Treatment};
use common::*;
use serde_json::json;

/// The treatment that the plan gives to a column of the first rule, so that no number is guessed here.
fn treatment(masker: &ColumnMasker, origin: &str, type_oid: u32) -> u32 {
    match plan(masker, vec![], vec![column("x", Some(origin), type_oid)]).remove(0) {
        Treatment::Mask(number) => number,
        other => panic!("not masked: {other:?}"),
    }
}

fn hidden(strategy: &str, type_oid: u32, format: Format, value: &[u8]) -> Option<String> {
    let mut config = json!({"columns": [{"match": "public.customers.ssn", "strategy": strategy}]});
    if strategy == "hash" {
        config["hash_key"] = json!(KEY);
    }
    let masker = masker(config);
    let number = treatment(&masker, "public.customers.ssn", type_oid);
    seen(&masker, number, type_oid, format, value).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn texts_take_every_strategy_in_both_formats() {
    // openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef <<< (without newline) 123-45-6789
    for (strategy, expected) in [
        ("redact", Some("[redacted]")),
        ("partial", Some("***-**-*789")),
        ("hash", Some("c5e5fd81ed3e05504b23ff6146781b13")),
        ("null", None),
    ] {
        // text, varchar, bpchar, name, xml
        for type_oid in [25, 1043, 1042, 19, 142] {
            for format in [Format::Text, Format::Binary] {
                let seen = hidden(strategy, type_oid, format, b"123-45-6789");
                assert_eq!(seen.as_deref(), expected, "{strategy} on {type_oid}");
            }
        }
    }
}

#[test]
fn types_that_cannot_hold_the_masked_text_become_null() {
    for strategy in ["redact", "partial", "hash", "null"] {
        for (type_oid, text, binary) in [
            (INT4, &b"123456789"[..], &[7, 0x5b, 0xcd, 0x15][..]),
            (INT8, b"123456789", &[0, 0, 0, 0, 7, 0x5b, 0xcd, 0x15]),
            (NUMERIC, b"12.5", &[0, 2, 0, 0, 0, 0, 0, 1, 0, 12, 0x13, 0x88]),
            (DATE, b"2024-01-01", &[0, 0, 0, 0]),
            (JSON, b"{\"a\":1}", b"{\"a\":1}"),
            (JSONB, b"{\"a\":1}", b"\x01{\"a\":1}"),
            (TEXT_ARRAY, b"{a,b}", b"\0\0\0\0"),
            (BYTEA, b"\\x00", b"\0"),
            (CITEXT, b"abc", b"abc"),
            (18, b"c", b"c"),
        ] {
            assert_eq!(hidden(strategy, type_oid, Format::Text, text), None, "{strategy} on {type_oid}");
            assert_eq!(hidden(strategy, type_oid, Format::Binary, binary), None, "{strategy} on {type_oid}");
        }
    }
}

#[test]
fn a_uuid_takes_a_hash_that_is_a_uuid() {
    let text = "123e4567-e89b-12d3-a456-426614174000";
    let bytes: Vec<u8> =
        (0..16).map(|i| u8::from_str_radix(&text.replace('-', "")[2 * i..2 * i + 2], 16).unwrap()).collect();
    let hash = hidden("hash", UUID, Format::Text, text.as_bytes()).unwrap();
    assert_eq!(hash.len(), 36);
    assert_eq!((&hash[14..15], hash.matches('-').count()), ("8", 4), "version 8: {hash}");

    let masker = masker(json!({"columns": [{"match": "*.*.id", "strategy": "hash"}], "hash_key": KEY}));
    let number = treatment(&masker, "public.t.id", UUID);
    let binary = seen(&masker, number, UUID, Format::Binary, &bytes).unwrap().unwrap();
    let digits: String = binary.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, hash.replace('-', ""), "both formats show the same");

    for strategy in ["redact", "partial", "null"] {
        assert_eq!(hidden(strategy, UUID, Format::Text, text.as_bytes()), None);
    }
    for broken in
        ["", "123e4567", "123e4567-e89b-12d3-a456-4266141740zz", "123e4567-e89b-12d3-a456-42661417400000"]
    {
        assert_eq!(hidden("hash", UUID, Format::Text, broken.as_bytes()), None, "{broken}");
    }
    assert_eq!(hidden("hash", UUID, Format::Binary, b"short"), None);
}

#[test]
fn partial_shows_four_characters_and_a_third_at_most() {
    for (value, expected) in [
        ("4111 1111 1111 1234", "**** **** **** 1234"),
        ("4111-1111-1111-1234", "****-****-****-1234"),
        ("4111111111111234", "************1234"),
        ("123-45-6789", "***-**-*789"),
        ("alice@example.com", "*************.com"),
        ("Ångström", "******öm"),
        ("abcdef", "****ef"),
        ("abc", "**c"),
        ("ab", "**"),
        ("a", "*"),
        ("", ""),
        ("- -", "- -"),
    ] {
        assert_eq!(hidden("partial", TEXT, Format::Text, value.as_bytes()).as_deref(), Some(expected));
    }
    let latin1 = b"Gro\xdfer Text";
    assert_eq!(hidden("partial", TEXT, Format::Text, latin1).as_deref(), Some("[redacted]"));
}

#[test]
fn the_key_and_the_value_make_the_hash() {
    let hash = |key: &str, value: &str| {
        let masker = masker(json!({"columns": [{"match": "*.*.*", "strategy": "hash"}], "hash_key": key}));
        let number = treatment(&masker, "s.t.c", TEXT);
        seen(&masker, number, TEXT, Format::Text, value.as_bytes()).unwrap().unwrap()
    };
    assert_eq!(hash(KEY, "a"), hash(KEY, "a"));
    assert_ne!(hash(KEY, "a"), hash(KEY, "b"));
    assert_ne!(hash(KEY, "a"), hash("another key of enough bytes", "a"));
    assert_eq!(hash(KEY, "a").len(), 32);
}

/// Everything that content rules can look for, the way a client would see `value`.
fn scanned(type_oid: u32, format: Format, value: &[u8]) -> Option<Vec<u8>> {
    let masker = masker(json!({"content": [
        {"kind": "card", "strategy": "partial"},
        {"kind": "ssn", "strategy": "redact"},
        {"kind": "email", "strategy": "redact"},
        {"kind": "regex", "pattern": "TOP SECRET", "strategy": "null"},
    ]}));
    let planned = plan(&masker, vec![], vec![column("x", None, type_oid)]).remove(0);
    match planned {
        Treatment::Pass => Some(value.to_vec()),
        Treatment::Mask(number) => seen(&masker, number, type_oid, format, value).unwrap(),
        Treatment::Refuse(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn only_what_was_found_in_a_text_is_hidden() {
    for (value, expected) in [
        ("nothing to see, 42 times", Some("nothing to see, 42 times")),
        ("card 4111 1111 1111 1111, ok", Some("card **** **** **** 1111, ok")),
        ("ssn 123-45-6789 and a@b.io.", Some("ssn [redacted] and [redacted].")),
        ("123-45-6789", Some("[redacted]")),
        ("a@b.io TOP SECRET", None),
        ("", Some("")),
    ] {
        for format in [Format::Text, Format::Binary] {
            for type_oid in [25, 1043, 19, 142] {
                let seen = scanned(type_oid, format, value.as_bytes());
                assert_eq!(seen.as_deref(), expected.map(str::as_bytes), "{value}");
            }
        }
    }
}

#[test]
fn json_stays_json() {
    for (value, expected) in [
        (r#"{"mail":"a@b.io"}"#, Some(r#"{"mail":"[redacted]"}"#)),
        (r#"{"card":"4111111111111111","n":1}"#, Some(r#"{"card":"************1111","n":1}"#)),
        (r#"{"card":4111111111111111}"#, None),
        (r#"{"n":42}"#, Some(r#"{"n":42}"#)),
    ] {
        for type_oid in [JSON, JSONB] {
            let seen = scanned(type_oid, Format::Text, value.as_bytes());
            assert_eq!(seen.as_deref(), expected.map(str::as_bytes), "{value}");
        }
        assert_eq!(scanned(JSON, Format::Binary, value.as_bytes()).as_deref(), expected.map(str::as_bytes));
        let binary = scanned(JSONB, Format::Binary, format!("\u{1}{value}").as_bytes());
        assert_eq!(binary, expected.map(|text| format!("\u{1}{text}").into_bytes()), "{value}");
    }
    assert_eq!(scanned(JSONB, Format::Binary, b"\x02{}"), None, "a version that is not known");
    assert_eq!(scanned(JSONB, Format::Binary, b""), None);
}

fn numeric(groups: &[u16], weight: i16) -> Vec<u8> {
    let head = [groups.len() as u16, weight as u16, 0, 2];
    head.iter().chain(groups).flat_map(|number| number.to_be_bytes()).collect()
}

#[test]
fn a_card_in_a_number_becomes_null() {
    let card = 4_111_111_111_111_111_i64;
    for (type_oid, format, value, shown) in [
        (INT8, Format::Text, b"4111111111111111".to_vec(), false),
        (INT8, Format::Text, b"4111111111111112".to_vec(), true),
        (INT8, Format::Binary, card.to_be_bytes().to_vec(), false),
        (INT8, Format::Binary, (card + 1).to_be_bytes().to_vec(), true),
        (INT8, Format::Binary, vec![1, 2, 3], false),
        (INT4, Format::Text, b"123".to_vec(), true),
        (INT4, Format::Binary, 123_i32.to_be_bytes().to_vec(), true),
        (NUMERIC, Format::Text, b"4111111111111111".to_vec(), false),
        (NUMERIC, Format::Text, b"4111111111111111.00".to_vec(), false),
        (NUMERIC, Format::Text, b"0.4111111111111111".to_vec(), true),
        (NUMERIC, Format::Binary, numeric(&[4111, 1111, 1111, 1111], 3), false),
        (NUMERIC, Format::Binary, numeric(&[4111, 1111, 1111, 1112], 3), true),
        // 3566002020360505, a JCB card with a group that begins with 0
        (NUMERIC, Format::Binary, numeric(&[3566, 20, 2036, 505], 3), false),
        // 30 and thirteen zeros left out at the end
        (NUMERIC, Format::Binary, numeric(&[12], 0), true),
        (NUMERIC, Format::Binary, numeric(&[], 0), true),
        (NUMERIC, Format::Binary, numeric(&[1], i16::MAX), true),
        (NUMERIC, Format::Binary, numeric(&[1], i16::MIN), true),
        (NUMERIC, Format::Binary, vec![0, 9, 0, 0, 0, 0, 0, 0], false),
    ] {
        let expected = shown.then(|| value.clone());
        assert_eq!(scanned(type_oid, format, &value), expected, "{type_oid} {value:?}");
    }
}

#[test]
fn what_cannot_be_rewritten_becomes_null_when_something_is_found() {
    let array_of = |text: &str| {
        [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1][..], &[0, 0, 0, 1, 0, 0, 0, 9], text.as_bytes()]
            .concat()
    };
    assert_eq!(scanned(TEXT_ARRAY, Format::Text, b"{x,a@b.io}").unwrap(), b"{x,[redacted]}");
    assert_eq!(scanned(TEXT_ARRAY, Format::Binary, &array_of("a@b.io.de")), None);
    assert!(scanned(TEXT_ARRAY, Format::Binary, &array_of("nothing..")).is_some());
    assert_eq!(scanned(CITEXT, Format::Text, b"a@b.io").unwrap(), b"[redacted]");
    assert_eq!(scanned(CITEXT, Format::Binary, b"a@b.io"), None);
    assert_eq!(scanned(BYTEA, Format::Binary, b"a@b.io"), None);
    assert_eq!(scanned(BYTEA, Format::Text, b"\\x1234").unwrap(), b"\\x1234");
    // Types that hold no text are not even looked at.
    assert_eq!(scanned(DATE, Format::Text, b"2024-01-01").unwrap(), b"2024-01-01");
    assert_eq!(scanned(UUID, Format::Binary, b"aaa@bbbbb.io.de.").unwrap(), b"aaa@bbbbb.io.de.");
}

#[test]
fn a_treatment_that_was_never_planned_is_refused() {
    let masker = masker(json!({"columns": [{"match": "*.*.ssn", "strategy": "redact"}]}));
    for number in [50, u32::MAX] {
        let column = ColumnOf { treatment: number, type_oid: TEXT, format: Format::Text };
        assert_eq!(
            masker.mask_value(column, b"x", &mut Vec::new()).unwrap_err().rule,
            "mask.unknown-treatment"
        );
    }
}
