//! The CSV format of COPY TO (PostgreSQL manual, COPY, "CSV Format"): a field that holds a delimiter, a quote or the end of
//! a line stands in quotes, and so does one that could be taken for NULL.
//!
//! Only what PostgreSQL writes is read (its source, `CopyAttributeOutCSV`): quotes stand around a whole field, an escape
//! before a quote or another escape. Anything else ends the session: two readers could read it in two ways.

use super::super::super::frame::Malformed;
use memchr::{memchr2, memchr3};

/// The characters of a COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    pub(crate) escape: u8,
}

/// How far a row was looked at, so that one that comes in many pieces is looked at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    at: usize,
    inside: Inside,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Inside {
    /// At the start of a field.
    #[default]
    Start,
    /// In a field without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind an escape between quotes.
    Escaped,
    /// Behind a quote that ends the field, or is half of one, where a quote escapes itself.
    Closed,
}

const STRAY: Malformed = Malformed("a quote or an escape where PostgreSQL writes none in copied rows");

/// The end of the field that `scan` is in, and whether it is the last of its row. None: it is not whole.
fn field_end(bytes: &[u8], marks: Marks, scan: &mut Scan) -> Result<Option<(usize, bool)>, Malformed> {
    loop {
        let rest = bytes.get(scan.at..).unwrap_or_default();
        let Some(first) = rest.first().copied() else { return Ok(None) };
        match scan.inside {
            Inside::Start if first == marks.quote => {
                scan.at += 1;
                scan.inside = Inside::Quoted;
            }
            Inside::Start => scan.inside = Inside::Plain,
            Inside::Plain => match memchr3(marks.delimiter, b'\n', marks.quote, rest) {
                None => scan.at = bytes.len(),
                Some(found) => {
                    let (end, byte) = (scan.at + found, rest.get(found).copied());
                    if byte == Some(marks.quote) {
                        return Err(STRAY);
                    }
                    *scan = Scan { at: end + 1, inside: Inside::Start };
                    return Ok(Some((end, byte == Some(b'\n'))));
                }
            },
            Inside::Quoted => match memchr2(marks.quote, marks.escape, rest) {
                None => scan.at = bytes.len(),
                Some(found) => {
                    let closes = rest.get(found) == Some(&marks.quote);
                    scan.at += found + 1;
                    scan.inside = if closes { Inside::Closed } else { Inside::Escaped };
                }
            },
            Inside::Escaped if first == marks.quote || first == marks.escape => {
                scan.at += 1;
                scan.inside = Inside::Quoted;
            }
            Inside::Closed if first == marks.quote && marks.escape == marks.quote => {
                scan.at += 1;
                scan.inside = Inside::Quoted;
            }
            Inside::Closed if first == marks.delimiter || first == b'\n' => {
                let end = scan.at;
                *scan = Scan { at: end + 1, inside: Inside::Start };
                return Ok(Some((end, first == b'\n')));
            }
            Inside::Escaped | Inside::Closed => return Err(STRAY),
        }
    }
}

/// The length of the first row, its newline included; none when it is not whole.
pub(crate) fn row(bytes: &[u8], marks: Marks, scan: &mut Scan) -> Result<Option<usize>, Malformed> {
    while let Some((end, last)) = field_end(bytes, marks, scan)? {
        if last {
            *scan = Scan::default();
            return Ok(Some(end + 1));
        }
    }
    Ok(None)
}

/// Takes the first field off what is left of a whole row: as it is written. None: that was the last.
pub(crate) fn field<'a>(rest: &mut Option<&'a [u8]>, marks: Marks) -> Result<Option<&'a [u8]>, Malformed> {
    let Some(bytes) = *rest else { return Ok(None) };
    let Some((end, last)) = field_end(bytes, marks, &mut Scan::default())? else {
        return Err(Malformed("a copied row that is not whole"));
    };
    let (field, tail) = bytes.split_at_checked(end).ok_or(STRAY)?;
    *rest = if last { None } else { tail.get(1..) };
    Ok(Some(field))
}

/// Whether a field stands in quotes. Without them it may be NULL.
pub(crate) fn is_quoted(field: &[u8], marks: Marks) -> bool {
    field.first() == Some(&marks.quote)
}

/// Appends the value that a field stands for.
pub(crate) fn read(field: &[u8], marks: Marks, value: &mut Vec<u8>) -> Result<(), Malformed> {
    if !is_quoted(field, marks) {
        value.extend_from_slice(field);
        return Ok(());
    }
    let mut rest = field.get(1..).unwrap_or_default();
    loop {
        let at = memchr2(marks.quote, marks.escape, rest).ok_or(STRAY)?;
        let (plain, mark) = rest.split_at(at);
        value.extend_from_slice(plain);
        match mark {
            [mark] if *mark == marks.quote => return Ok(()),
            [mark, same, tail @ ..]
                if *mark == marks.escape && (*same == marks.quote || *same == marks.escape) =>
            {
                value.push(*same);
                rest = tail;
            }
            _ => return Err(STRAY),
        }
    }
}

/// Whether a field may stand in quotes that does not need to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// As few as PostgreSQL writes.
    Needed,
    /// As `FORCE_QUOTE` has them.
    Always,
}

/// Writes a value as PostgreSQL would. `null` is what would be taken for NULL.
pub(crate) fn write(value: &[u8], quotes: Quotes, marks: Marks, null: &[u8], out: &mut Vec<u8>) {
    let Marks { delimiter, quote, escape } = marks;
    let needed = value == null
        || value == b"\\."
        || value.iter().any(|byte| [delimiter, quote, b'\n', b'\r'].contains(byte));
    if quotes == Quotes::Needed && !needed {
        return out.extend_from_slice(value);
    }
    out.push(quote);
    for byte in value {
        if *byte == quote || *byte == escape {
            out.push(escape);
        }
        out.push(*byte);
    }
    out.push(quote);
}
