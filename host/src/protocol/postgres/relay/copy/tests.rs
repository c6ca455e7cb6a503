//! Parsers of copied rows, against rows written by hand, every cut, and arbitrary bytes.

use super::*;
use chaperone_core::sql::{CopyForm, Format, Lineage};
use proptest::prelude::*;

const LONGEST: usize = 1 << 20;

fn text() -> Layout {
    Layout::Text { delimiter: b'\t', null: TextNull::Own, header: false }
}

fn csv(delimiter: u8, quote: u8, escape: u8) -> Layout {
    Layout::Csv { marks: Marks { delimiter, quote, escape }, null: Box::default(), header: false }
}

fn columns(names: &[&str]) -> Rc<[Column]> {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        lineage: Lineage::default(),
        type_oid: 25,
        format: Format::Text,
    };
    names.iter().map(column).collect()
}

/// A row's values; a piece that goes on as it is, is one value behind a `=`.
type Read = Vec<Vec<Option<Vec<u8>>>>;

/// Everything that a reader makes of chunks, and what it writes when nothing is replaced.
fn read<'c>(
    layout: &Layout,
    names: &[&str],
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<(Read, Vec<u8>), Malformed> {
    let mut reader = Reader::new(layout.clone(), columns(names), LONGEST);
    let (mut rows, mut written, mut room) = (Vec::new(), Vec::new(), Vec::new());
    for mut chunk in chunks {
        while reader.take(&mut chunk, |layout, piece| {
            match piece {
                Piece::Frame(bytes) => {
                    rows.push(vec![Some([b"=", bytes].concat())]);
                    written.extend_from_slice(bytes);
                }
                Piece::Row(row) => {
                    let mut values = Vec::new();
                    let mut fields = layout.fields(row)?;
                    while let Some(field) = fields.next()? {
                        values.push(layout.value(field, &mut room)?.map(<[u8]>::to_vec));
                    }
                    rows.push(values);
                    layout.rewrite(&mut written, row, |_| Ok(None))?;
                }
            }
            Ok(())
        })? {}
    }
    reader.finish()?;
    Ok((rows, written))
}

fn values(texts: &[Option<&str>]) -> Vec<Option<Vec<u8>>> {
    texts.iter().map(|text| text.map(|text| text.as_bytes().to_vec())).collect()
}

/// The same rows, however the stream is cut in two, and byte by byte; and the same bytes when nothing is replaced.
fn reads(layout: &Layout, names: &[&str], stream: &[u8], expected: &Read) {
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        let (rows, written) = read(layout, names, [first, second]).unwrap();
        assert_eq!(rows, *expected, "cut at {cut}");
        assert_eq!(written, stream, "cut at {cut}");
    }
    let (rows, written) = read(layout, names, stream.chunks(1)).unwrap();
    assert_eq!((&rows, written.as_slice()), (expected, stream));
}

#[test]
fn text_is_read_however_it_is_cut() {
    let stream = b"1\ta\\tb\\\\c\\nd\\re\\bf\\fg\\vh\t\\N\n\t\t\\\\N\nx\t\\\\.\t\\\\\n";
    let rows = vec![
        values(&[Some("1"), Some("a\tb\\c\nd\re\u{8}f\u{c}g\u{b}h"), None]),
        values(&[Some(""), Some(""), Some("\\N")]),
        values(&[Some("x"), Some("\\."), Some("\\")]),
    ];
    reads(&text(), &["a", "b", "c"], stream, &rows);
    let other = Layout::Text { delimiter: b'|', null: TextNull::Empty, header: false };
    let rows = vec![values(&[Some(""), Some("a|b\tc")]), values(&[Some(""), Some("")])];
    reads(&other, &["a", "b"], b"|a\\|b\\tc\n|\n", &rows);
}

#[test]
fn csv_is_read_however_it_is_cut() {
    let stream = b"1,\"a,\"\"b\"\"\nc\",\n\"\",,\"\\.\"\n\"\"\"\",\"\"\"\"\"\",\"x\"\n";
    let rows = vec![
        values(&[Some("1"), Some("a,\"b\"\nc"), None]),
        values(&[Some(""), None, Some("\\.")]),
        values(&[Some("\""), Some("\"\""), Some("x")]),
    ];
    reads(&csv(b',', b'"', b'"'), &["a", "b", "c"], stream, &rows);
    // Another escape, which is also the delimiter.
    let rows = vec![values(&[Some("a;b"), Some("'"), Some("\\")])];
    reads(&csv(b';', b'\'', b';'), &["a", "b", "c"], b"'a;;b';';'';\\\n", &rows);
    let rows = vec![values(&[Some("a\"b\\c"), Some("\\")])];
    reads(&csv(b',', b'"', b'\\'), &["a", "b"], b"\"a\\\"b\\\\c\",\\\n", &rows);
}

fn binary(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
    let mut stream = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        stream.extend_from_slice(&i16::try_from(row.len()).unwrap().to_be_bytes());
        row.iter().for_each(|value| binary::write(*value, &mut stream).unwrap());
    }
    stream.extend_from_slice(&[0xff, 0xff]);
    stream
}

#[test]
fn binary_is_read_however_it_is_cut() {
    let stream = binary(&[&[Some(b"a"), None, Some(b"")], &[None, None, Some(b"PGCOPY\n")]]);
    let rows = vec![
        values(&[Some("a"), None, Some("")]),
        values(&[None, None, Some("PGCOPY\n")]),
        vec![Some(b"=\xff\xff".to_vec())],
    ];
    reads(&Layout::Binary, &["a", "b", "c"], &stream, &rows);
    // Without rows the header comes with the trailer.
    let stream = binary(&[]);
    reads(&Layout::Binary, &["a"], &stream, &vec![vec![Some([b"=", stream.as_slice()].concat())]]);
}

#[test]
fn a_header_is_the_names_of_the_columns_and_nothing_else() {
    let with_header = |mut layout: Layout| {
        if let Layout::Text { header, .. } | Layout::Csv { header, .. } = &mut layout {
            *header = true;
        }
        layout
    };
    let (text, csv) = (with_header(text()), with_header(csv(b',', b'"', b'"')));
    let rows = vec![values(&[Some("=id\ta\\\\b\n")]), values(&[Some("1"), Some("x")])];
    reads(&text, &["id", "a\\b"], b"id\ta\\\\b\n1\tx\n", &rows);
    let rows = vec![values(&[Some("=id,\"a,b\"\n")]), values(&[Some("1"), Some("x")])];
    reads(&csv, &["id", "a,b"], b"id,\"a,b\"\n1,x\n", &rows);
    for line in [&b"1\t743-61-4657\n"[..], b"id\n", b"id\tssn\tx\n", b"id\tss\\n\n"] {
        assert!(read(&text, &["id", "ssn"], [line]).is_err(), "{}", String::from_utf8_lossy(line));
    }
    assert!(read(&text, &["id"], [&b""[..]]).is_err(), "no header at all");
}

#[test]
fn what_postgresql_does_not_write_is_refused() {
    for row in ["a\\x41\n", "a\\\n", "a\\\\\\\n", "\\M\n", "\\101\n", "a\\.\n", "half"] {
        assert!(read(&text(), &["a"], [row.as_bytes()]).is_err(), "{row:?}");
    }
    for row in ["a\"b\n", "\"a\"b\n", "\"a\n", "a,\"\n", "\"a\"\"\n", "half"] {
        assert!(read(&csv(b',', b'"', b'"'), &["a"], [row.as_bytes()]).is_err(), "{row:?}");
    }
    for row in ["\"a\\b\"\n", "\"a\"\"b\"\n", "\"a\\\"\n"] {
        assert!(read(&csv(b',', b'"', b'\\'), &["a"], [row.as_bytes()]).is_err(), "{row:?}");
    }
    let good = binary(&[&[Some(b"abc")]]);
    for (at, byte) in [(0, b'Q'), (7, 0), (12, 1), (14, 1), (18, 1), (19, 0x80), (21, 0x80), (24, 4)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(read(&Layout::Binary, &["a"], [bad.as_slice()]).is_err(), "{at}");
    }
    let longer = [good.as_slice(), b"x"].concat();
    assert!(read(&Layout::Binary, &["a"], [longer.as_slice()]).is_err());
    assert!(read(&Layout::Binary, &["a"], [&good[..good.len() - 2]]).is_err(), "no trailer");
}

#[test]
fn a_row_in_pieces_is_bounded_and_looked_at_once() {
    for layout in [text(), csv(b',', b'"', b'"'), csv(b',', b'"', b'\\')] {
        let mut reader = Reader::new(layout, columns(&["a"]), LONGEST);
        let mut taken = 0;
        let refused = loop {
            let mut chunk = &[b'x'; 1024][..];
            match reader.take(&mut chunk, |_, _| Ok(())) {
                Ok(whole) => assert!(!whole),
                Err(refused) => break refused,
            }
            taken += 1024;
        };
        assert_eq!((refused, taken), (TOO_LONG, LONGEST));
    }
    // A length alone gets no memory.
    let mut reader = Reader::new(Layout::Binary, columns(&["a"]), LONGEST);
    let start = [&binary(&[])[..19], &[0, 1, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3]].concat();
    assert_eq!(reader.take(&mut start.as_slice(), |_, _| Ok(())), Ok(false));
    assert!(reader.rest.capacity() < 4096);
}

#[test]
fn new_values_are_written_so_that_they_can_be_read_again() {
    let all = ["", "a", "\\N", "\\.", "\"", "a\tb", "a,b", "a\nb\r", "[redacted]", "\\", "é"];
    for layout in [text(), csv(b',', b'"', b'"'), csv(b'\t', b'"', b'\\'), csv(b'*', b'[', b']')] {
        let old: &[u8] = if matches!(layout, Layout::Text { .. }) { b"q\n" } else { b"\n" };
        for value in all.iter().map(|text| Some(text.as_bytes())).chain([None]) {
            let mut out = Vec::new();
            layout.rewrite(&mut out, old, |_| Ok(Some(value))).unwrap();
            let (rows, _) = read(&layout, &["a"], [out.as_slice()]).unwrap();
            assert_eq!(rows, [[value.map(<[u8]>::to_vec)]], "{layout:?}");
        }
    }
}

#[test]
fn what_is_replaced_is_quoted_and_null_has_no_quotes() {
    let layout = csv(b',', b'"', b'"');
    let mut out = Vec::new();
    let new = [Some(&b"[redacted]"[..]), Some(b"x"), None];
    layout.rewrite(&mut out, b"\"1\",2,\"3\"\n", |index| Ok(Some(new[index]))).unwrap();
    assert_eq!(out, b"\"[redacted]\",\"x\",\n");
}

fn form(delimiter: u8, quote: u8, escape: u8, null: &str) -> CopyForm {
    CopyForm { delimiter, quote, escape, null: null.into(), header: false, query: None }
}

#[test]
fn a_layout_with_two_readings_is_none() {
    let of = |format: &str, form: CopyForm| {
        Layout::of(&CopyOut { relation: None, columns: vec![], format: format.into(), form: Some(form) })
    };
    assert_eq!(of("text", form(b'\t', b'"', b'"', "\\N")), Some(text()));
    assert_eq!(of("csv", form(b',', b'"', b'"', "")), Some(csv(b',', b'"', b'"')));
    for (delimiter, null) in
        [(b'\\', "\\N"), (b'n', "\\N"), (b'.', ""), (b'N', "\\N"), (b'\n', ""), (0xe9, ""), (0, "")]
    {
        assert_eq!(of("text", form(delimiter, b'"', b'"', null)), None, "{delimiter} {null}");
    }
    for (delimiter, quote, escape, null) in [
        (b'"', b'"', b'"', ""),
        (b',', b'\n', b'"', ""),
        (b',', b'"', b'\r', ""),
        (b',', b'"', b'"', "a\"b"),
        (b',', b'"', b'"', "a,b"),
        (b',', b'"', b'"', "a\nb"),
        (b',', 0xe9, b'"', ""),
    ] {
        assert_eq!(of("csv", form(delimiter, quote, escape, null)), None, "{null:?}");
    }
    assert_eq!(of("json", form(b',', b'"', b'"', "")), None);
    // A NULL that a value may look like is no NULL that can be left alone.
    let ambiguous = of("text", form(b'\t', b'"', b'"', "743-61-4657")).unwrap();
    assert!(!ambiguous.tells_nulls() && text().tells_nulls());
}

fn layouts() -> impl Strategy<Value = Layout> {
    let marks = (any::<u8>(), any::<u8>(), any::<u8>(), "[a-z\\\\]{0,3}", any::<bool>());
    let some = (marks, proptest::sample::select(vec!["text", "csv"]));
    let parsed =
        some.prop_filter_map("two readings", |((delimiter, quote, escape, null, header), format)| {
            let form = CopyForm { delimiter, quote, escape, null, header, query: None };
            Layout::of(&CopyOut { relation: None, columns: vec![], format: format.into(), form: Some(form) })
        });
    prop_oneof![Just(Layout::Binary), Just(text()), Just(csv(b',', b'"', b'"')), parsed]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_what_is_read_is_written_again(
        layout in layouts(),
        bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(b"\\\n\t,\"N.;".to_vec())], 0..200),
        cuts in proptest::collection::vec(0..200usize, 0..4),
        with_header in any::<bool>(),
    ) {
        let mut stream = bytes;
        if with_header && layout.is_binary() {
            stream.splice(..0, binary(&[])[..19].iter().copied());
        }
        let mut reader = Reader::new(layout.clone(), columns(&["a", "b"]), LONGEST);
        let mut written = Vec::new();
        let mut ends: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        ends.extend([0, stream.len()]);
        ends.sort_unstable();
        let mut sound = true;
        'all: for pair in ends.windows(2) {
            let mut chunk = &stream[pair[0]..pair[1]];
            loop {
                let taken = reader.take(&mut chunk, |layout, piece| match piece {
                    Piece::Frame(bytes) => { written.extend_from_slice(bytes); Ok(()) }
                    Piece::Row(row) => layout.rewrite(&mut written, row, |_| Ok(None)),
                });
                match taken {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => { sound = false; break 'all; }
                }
            }
        }
        if sound {
            written.extend_from_slice(&reader.rest);
            prop_assert_eq!(written, stream);
        }
    }

    #[test]
    fn values_come_back_as_they_were(
        layout in layouts(),
        row in proptest::collection::vec(proptest::option::of(
            proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"\\\n\t,\"N.;".to_vec())], 0..20)), 1..5),
    ) {
        prop_assume!(layout.tells_nulls());
        let names: Vec<&str> = row.iter().map(|_| "a").collect();
        let shape = match &layout {
            Layout::Text { delimiter, .. } => empty_row(row.len(), *delimiter),
            Layout::Csv { marks, .. } => empty_row(row.len(), marks.delimiter),
            Layout::Binary => {
                let nulls = vec![None; row.len()];
                let stream = binary(&[&nulls]);
                stream[19..stream.len() - 2].to_vec()
            }
        };
        let mut out = Vec::new();
        layout.rewrite(&mut out, &shape, |index| Ok(Some(row[index].as_deref()))).unwrap();
        if layout.is_binary() {
            out.splice(..0, binary(&[])[..19].iter().copied());
            out.extend_from_slice(&[0xff, 0xff]);
        }
        let mut plain = layout.clone();
        if let Layout::Text { header, .. } | Layout::Csv { header, .. } = &mut plain {
            *header = false;
        }
        let (rows, _) = read(&plain, &names, [out.as_slice()]).unwrap();
        let empty = matches!(layout, Layout::Text { null: TextNull::Empty, .. });
        // Where nothing stands for NULL, it is read as a text without characters, and masked as one.
        let expected: Vec<_> =
            row.into_iter().map(|value| if empty { Some(value.unwrap_or_default()) } else { value }).collect();
        prop_assert_eq!(&rows[0], &expected);
    }
}

fn empty_row(fields: usize, delimiter: u8) -> Vec<u8> {
    let mut row = vec![delimiter; fields - 1];
    row.push(b'\n');
    row
}
