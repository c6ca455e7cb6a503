//! The parts of the SDK that stand between the wire and a policy: batches, patterns, session facts.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use chaperone_sdk::{
    Batch, CallerKind, Change, ColumnMask, ColumnOf, Format, Glob, Masked, PlanRequest, Refusal, Session,
    SessionFacts, Treatment, configure, mask_batches,
};

#[derive(serde::Deserialize)]
struct Sample {}

chaperone_sdk::plugin!(Sample);
chaperone_sdk::export!(Sample: column_mask);

impl ColumnMask for Sample {
    fn plan(&self, _: &Session<'_>, request: &PlanRequest) -> Vec<Treatment> {
        request.columns.iter().map(|_| Treatment::Mask(0)).collect()
    }

    fn mask_value(&self, _: ColumnOf, value: &[u8], out: &mut Vec<u8>) -> Result<Change, Refusal> {
        assert!(out.is_empty(), "what was written for another value can be seen");
        out.extend_from_slice(b"***");
        Ok(match value {
            b"keep" => Change::Kept,
            b"null" => Change::Null,
            b"stop" => return Err(Refusal { rule: "t.stop".into(), reason: "r".into(), hint: "h".into() }),
            _ => Change::Replaced,
        })
    }
}

fn batch(values: &[Option<&str>]) -> Batch {
    let (mut bytes, mut offsets) = (Vec::new(), vec![0]);
    let mut nulls = vec![0u8; values.len().div_ceil(8)];
    for (index, value) in values.iter().enumerate() {
        match value {
            Some(text) => bytes.extend_from_slice(text.as_bytes()),
            None => nulls[index / 8] |= 1 << (index % 8),
        }
        offsets.push(bytes.len() as u32);
    }
    Batch { treatment: 0, type_oid: 25, format: Format::Text, bytes, offsets, nulls }
}

fn values(masked: &Masked) -> Vec<Option<String>> {
    (0..masked.offsets.len() - 1)
        .map(|index| {
            let range = masked.offsets[index] as usize..masked.offsets[index + 1] as usize;
            let null = masked.nulls[index / 8] & (1 << (index % 8)) != 0;
            assert!(!null || range.is_empty(), "a NULL with bytes");
            (!null).then(|| String::from_utf8(masked.bytes[range].to_vec()).unwrap())
        })
        .collect()
}

fn sample() -> Sample {
    configure::<Sample>("{}").unwrap()
}

#[test]
fn batches_go_through_value_by_value_and_keep_their_shape() {
    let long: Vec<Option<&str>> =
        (0..20).map(|i| [None, Some("keep"), Some("x"), Some("null")][i % 4]).collect();
    for (input, changed) in [
        (vec![], 0),
        (vec![None], 0),
        (vec![Some("")], 1),
        (vec![Some("keep"), Some("secret"), Some("keep")], 1),
        (long, 10),
        (vec![Some("keep"), None, Some("keep")], 0),
        (
            vec![None, Some("keep"), Some("keep"), Some("x"), None, Some("keep"), Some("null"), Some("keep")],
            2,
        ),
    ] {
        let masked = mask_batches(&sample(), &[batch(&input)]).unwrap().remove(0);
        let expected: Vec<Option<String>> = input
            .iter()
            .map(|value| match value {
                None | Some("null") => None,
                Some("keep") => Some("keep".to_owned()),
                Some(_) => Some("***".to_owned()),
            })
            .collect();
        assert_eq!(masked.changed, changed, "{input:?}");
        if changed == 0 {
            let lengths = (masked.bytes.len(), masked.offsets.len(), masked.nulls.len());
            assert_eq!(lengths, (0, 0, 0), "what is as it was is not sent back");
        } else {
            assert_eq!(values(&masked), expected);
        }
    }
}

#[test]
fn one_value_that_cannot_be_masked_refuses_the_batches() {
    let refusal = mask_batches(&sample(), &[batch(&[Some("a")]), batch(&[Some("stop")])]).unwrap_err();
    assert_eq!(refusal.rule, "t.stop");
}

#[test]
fn malformed_batches_are_refused_never_sliced() {
    let good = || batch(&[Some("ab"), None, Some("cd")]);
    assert!(mask_batches(&sample(), &[good()]).is_ok());
    type Spoil = fn(&mut Batch);
    let cases: [(&str, Spoil); 9] = [
        ("no offsets", |b| b.offsets.clear()),
        ("does not begin at 0", |b| b.offsets[0] = 1),
        ("backwards", |b| b.offsets[1] = 4),
        ("past the bytes", |b| b.offsets[3] = 5),
        ("far past the bytes", |b| b.offsets[3] = u32::MAX),
        ("bytes after the last value", |b| b.bytes.push(b'x')),
        ("no null bitmap", |b| b.nulls.clear()),
        ("too long a null bitmap", |b| b.nulls.push(0)),
        ("a NULL with bytes", |b| b.nulls[0] |= 1),
    ];
    for (name, spoil) in cases {
        let mut bad = good();
        spoil(&mut bad);
        let refusal = mask_batches(&sample(), &[good(), bad]).unwrap_err();
        assert_eq!(refusal.rule, "mask.malformed-batch", "{name}");
    }
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, name, matches) in [
        ("ssn", "ssn", true),
        ("ssn", "SSN", true),
        ("SSN", "ssn", true),
        ("ssn", "ssn2", false),
        ("ssn", "", false),
        ("*", "", true),
        ("*", "anything", true),
        ("*ssn*", "us_ssn_hash", true),
        ("*ssn", "us_ssn_hash", false),
        ("ddl.*", "ddl.drop", true),
        ("ddl.*", "ddl", false),
        ("a*b*c", "aXbbYbc", true),
        ("a*b*c", "aXbbYb", false),
        ("a**", "a", true),
        ("*a*a*a*", "aa", false),
        ("gr*ße", "größe", true),
        ("gr*ße", "grösse", false),
        ("größe", "größe", true),
        ("gr*e", "größe", true),
    ] {
        assert_eq!(Glob::new(pattern).unwrap().matches(name), matches, "{pattern} on {name}");
    }
}

#[test]
fn patterns_that_cannot_be_meant_are_errors() {
    for pattern in ["", "a b", &"x".repeat(201)] {
        assert_eq!(Glob::new(pattern).unwrap_err(), "a pattern has 1 to 200 bytes and no spaces");
    }
    assert!(Glob::new("**").unwrap().is_anything() && !Glob::new("a*").unwrap().is_anything());
}

#[test]
fn a_slow_pattern_is_still_done() {
    let pattern = Glob::new(&"a*".repeat(100)).unwrap();
    assert!(!pattern.matches(&"b".repeat(100_000)));
}

#[test]
fn native_tests_have_a_session_too() {
    let facts = SessionFacts { groups: vec!["dba".into()], ..SessionFacts::default() };
    let session = Session::from(&facts);
    assert_eq!(session.groups(), ["dba"]);
    assert_eq!(session.caller_kind(), CallerKind::Agent);
    assert_eq!(
        (session.principal(), session.target(), session.requested_role()),
        ("test/tenant/agent".into(), "test-target".into(), "app".into())
    );
}
