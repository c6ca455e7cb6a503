//! The text format of COPY TO (PostgreSQL manual, COPY, "Text Format"): fields with a delimiter between them, a newline at
//! the end of a row, and a backslash before every byte of a value that could be taken for either.
//!
//! Only what PostgreSQL writes is read (its source, `CopyAttributeOutText`): six letters stand for control characters, and
//! a backslash or the delimiter stands for itself behind a backslash. Anything else ends the session.

use super::super::super::frame::Malformed;
use memchr::{memchr, memchr2};

/// The length of the first row, its newline included; none when it is not whole. `seen` bytes were looked at before.
pub(crate) fn row(bytes: &[u8], seen: &mut usize) -> Option<usize> {
    let found = memchr(b'\n', bytes.get(*seen..).unwrap_or_default());
    let end = found.map(|at| *seen + at + 1);
    if end.is_none() {
        *seen = bytes.len();
    }
    end
}

/// Takes the first field off what is left of a row without its newline: as it is written. None: that was the last.
pub(crate) fn field<'a>(rest: &mut Option<&'a [u8]>, delimiter: u8) -> Result<Option<&'a [u8]>, Malformed> {
    let Some(bytes) = *rest else { return Ok(None) };
    let mut at = 0;
    while let Some(found) = memchr2(delimiter, b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes.get(at) == Some(&delimiter) {
            let (field, tail) = bytes.split_at(at);
            *rest = tail.get(1..);
            return Ok(Some(field));
        }
        at += 2;
        if at > bytes.len() {
            return Err(Malformed("a copied row that ends with half an escape"));
        }
    }
    *rest = None;
    Ok(Some(bytes))
}

/// Appends the value that a field stands for.
pub(crate) fn read(field: &[u8], delimiter: u8, value: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut rest = field;
    while let Some(at) = memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        value.extend_from_slice(plain);
        let (byte, tail) = match escape {
            [_, byte, tail @ ..] => (*byte, tail),
            _ => return Err(Malformed("a copied row that ends with half an escape")),
        };
        value.push(match byte {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            same if same == b'\\' || same == delimiter => same,
            _ => return Err(Malformed("an escape that PostgreSQL does not write in copied rows")),
        });
        rest = tail;
    }
    value.extend_from_slice(rest);
    Ok(())
}

/// Writes a value as PostgreSQL would.
pub(crate) fn write(value: &[u8], delimiter: u8, out: &mut Vec<u8>) {
    for byte in value {
        let letter = match *byte {
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            same if same == b'\\' || same == delimiter => same,
            plain => {
                out.push(plain);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', letter]);
    }
}
