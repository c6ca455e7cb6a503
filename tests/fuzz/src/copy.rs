//! The rows of a COPY TO STDOUT, in all three formats: found in a stream, read, and written again with other values.

use crate::{Became, byte, short, take};
use chaperone::fuzzing::postgres::{Copied, copied};
use chaperone_core::sql::{CopyForm, CopyOut};

/// The names of the columns, for a first line.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// The first bytes say how the rows are written, where the stream is cut, and what every value is replaced by.
pub(crate) fn copy(mut input: &[u8]) -> Became {
    let input = &mut input;
    let (how, form) = (byte(input), byte(input));
    let own = [byte(input), byte(input), byte(input)];
    // Mostly what PostgreSQL takes unless it is told otherwise.
    let [delimiter, quote, escape] = match (form & 1, how % 3) {
        (0, 0) => [b'\t', b'"', b'"'],
        (0, _) => [b',', b'"', b'"'],
        _ => own,
    };
    let null = match (form & 6, how % 3) {
        (0, 0) => "\\N".to_owned(),
        (2, _) => String::from_utf8_lossy(take(input, 2)).into_owned(),
        _ => String::new(),
    };
    let format = ["text", "csv", "binary"][usize::from(how % 3)];
    let header = form & 8 != 0 && format != "binary";
    let empty_null = format == "text" && null.is_empty();
    let form_of = CopyForm { delimiter, quote, escape, null, header, query: None };
    let copy = CopyOut { relation: None, columns: Vec::new(), format: format.into(), form: Some(form_of) };
    let names = &NAMES[..usize::from(form >> 4 & 3) + 1];
    let length = usize::from(byte(input) & 15);
    let value = (how & 0x80 == 0).then(|| take(input, length));
    let (first, second) = (short(input), short(input));
    let stream = *input;

    let Some(whole) = copied(&copy, names, &[stream], value) else { return Became::Refused };
    let mut rest = stream;
    let (a, b) = (take(&mut rest, first), take(&mut rest, second));
    let cut = copied(&copy, names, &[a, b, rest], value).unwrap();
    let Ok(whole) = whole else {
        assert!(cut.is_err(), "cut at {first} and {second} behind that, it is read");
        return Became::Refused;
    };
    assert_eq!(Ok(&whole), cut.as_ref(), "cut at {first} and {second} behind that");
    // With nothing replaced, the same bytes; all of them when the target may end here.
    assert_eq!(whole.written, stream[..whole.written.len()]);
    if whole.whole {
        assert_eq!(whole.written, stream);
    }
    if whole.rows.is_empty() {
        return Became::Refused;
    }
    // No value of the target's is left, and the rows and fields are as many: none passes for a part of its neighbour.
    let again: Copied =
        copied(&copy, names, &[&whole.replaced], None).unwrap().expect("what was written cannot be read");
    let expected = match value {
        None if empty_null => Some(Vec::new()),
        value => value.map(<[u8]>::to_vec),
    };
    let replaced: Vec<Vec<Option<Vec<u8>>>> =
        whole.rows.iter().map(|row| vec![expected.clone(); row.len()]).collect();
    assert_eq!(again.rows, replaced);
    Became::Accepted
}
