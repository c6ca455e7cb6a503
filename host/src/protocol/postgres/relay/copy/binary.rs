//! The binary format of COPY TO (PostgreSQL manual, COPY, "Binary Format"): a header, rows of values with their lengths, and a
//! trailer.
//!
//! Only what PostgreSQL writes is read: no flag is set, for none is defined any more, and the header has no extension.
//! PostgreSQL sends the header in front of the first row or, without rows, of the trailer, and drivers count on it.

use super::super::super::frame::Malformed;

/// What a file starts with: the signature, no flags, an extension of no bytes.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// How far a row was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    at: usize,
    /// Fields to come; none before their number was read.
    left: Option<usize>,
}

/// What comes next in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A row of this many bytes.
    Row(usize),
    /// The trailer, of this many bytes.
    Trailer(usize),
}

/// Whether the header was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// It comes first.
    ToCome,
    /// It is done with.
    Read,
}

/// The first row, with the header in front of it where that is to come, or the trailer; none when it is not whole.
pub(crate) fn part(bytes: &[u8], header: Header, scan: &mut Scan) -> Result<Option<Part>, Malformed> {
    let left = match scan.left {
        Some(left) => left,
        None => {
            let start = match header {
                Header::ToCome => HEADER.len(),
                Header::Read => 0,
            };
            let head = bytes.get(..start).unwrap_or(bytes);
            if start > 0 && !HEADER.starts_with(head) {
                return Err(Malformed("a binary COPY with another header"));
            }
            let Some(count) = array(bytes, start).map(i16::from_be_bytes) else { return Ok(None) };
            scan.at = start + 2;
            if count == -1 {
                return Ok(Some(Part::Trailer(scan.at)));
            }
            usize::try_from(count).map_err(|_| Malformed("a negative count"))?
        }
    };
    scan.left = Some(left);
    for done in 1..=left {
        let Some(length) = array(bytes, scan.at).map(i32::from_be_bytes) else { return Ok(None) };
        let end = scan.at + 4 + value_length(length)?.unwrap_or(0);
        if end > bytes.len() {
            return Ok(None);
        }
        scan.at = end;
        scan.left = Some(left - done);
    }
    Ok(Some(Part::Row(scan.at)))
}

/// What of a row comes before its fields, and these; and how many there are.
pub(crate) fn fields(row: &[u8]) -> Result<(&[u8], &[u8], usize), Malformed> {
    let start = if row.starts_with(HEADER) { HEADER.len() } else { 0 };
    let count = array(row, start).map(i16::from_be_bytes);
    let count = count.and_then(|count| usize::try_from(count).ok()).ok_or(SHORT)?;
    let (lead, rest) = row.split_at_checked(start + 2).ok_or(SHORT)?;
    Ok((lead, rest, count))
}

const SHORT: Malformed = Malformed("a copied row that is not whole");

/// Takes the first field off the rest of a row: as it is written, with its length.
pub(crate) fn field<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = array(rest, 0).map(i32::from_be_bytes).ok_or(SHORT)?;
    let (field, tail) = rest.split_at_checked(4 + value_length(length)?.unwrap_or(0)).ok_or(SHORT)?;
    *rest = tail;
    Ok(field)
}

/// The value that a field stands for.
pub(crate) fn value(field: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let length = array(field, 0).map(i32::from_be_bytes).ok_or(SHORT)?;
    Ok(value_length(length)?.and_then(|_| field.get(4..)))
}

/// Writes a value with its length.
pub(crate) fn write(value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let Some(value) = value else {
        out.extend_from_slice(&(-1i32).to_be_bytes());
        return Ok(());
    };
    let length = i32::try_from(value.len()).map_err(|_| Malformed("a value that is too long"))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// None is NULL.
fn value_length(length: i32) -> Result<Option<usize>, Malformed> {
    match length {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| Malformed("a negative length")),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}
