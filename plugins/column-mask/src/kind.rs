//! What a type can hold: whether a text can stand in for its value, and whether it can hide a text.
//!
//! Driven by `pg_type.oid` of PostgreSQL's built-in types, which never change (`src/include/catalog/pg_type.dat`).
//! Everything else is treated as something that may hold text and cannot be rewritten: the careful middle.

use chaperone_sdk::Format;

/// The first oid of types that are not built in (`FirstNormalObjectId` in PostgreSQL's `access/transam.h`).
const FIRST_USER_OID: u32 = 16384;

/// How values of a type are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text in both formats: any other text can stand in its place.
    Text,
    /// Text that has to stay JSON.
    Json,
    /// As [`Kind::Json`], with a version byte in front in the binary format.
    Jsonb,
    /// 16 bytes; a keyed hash fits.
    Uuid,
    /// int2 and int4: ten digits at most.
    ShortInteger,
    /// int8.
    Integer,
    /// Decimal digits; groups of four of them in the binary format.
    Numeric,
    /// Cannot hold what content rules look for: flags, floats, times, addresses of machines.
    Scalar,
    /// Arrays of text, and types that are not built in (citext, enums, hstore, composites): a part of their text form
    /// can be rewritten, their binary form cannot.
    TextInside,
    /// Everything else: may hold text, cannot be rewritten.
    Other,
}

impl Kind {
    /// The kind of a type.
    pub fn of(type_oid: u32) -> Kind {
        match type_oid {
            // name, text, xml, unknown, bpchar, varchar
            19 | 25 | 142 | 705 | 1042 | 1043 => Kind::Text,
            114 => Kind::Json,
            3802 => Kind::Jsonb,
            2950 => Kind::Uuid,
            // int2, int4
            21 | 23 => Kind::ShortInteger,
            20 => Kind::Integer,
            1700 => Kind::Numeric,
            // bool, "char", oid, tid, xid, cid, float4, float8, macaddr8, money, macaddr, cidr, inet
            16 | 18 | 26 | 27 | 28 | 29 | 700 | 701 | 774 | 790 | 829 | 650 | 869 => Kind::Scalar,
            // date, time, timestamp, timestamptz, interval, timetz, xid8, void
            1082 | 1083 | 1114 | 1184 | 1186 | 1266 | 5069 | 2278 => Kind::Scalar,
            // _xml, _name, _text, _bpchar, _varchar
            143 | 1003 | 1009 | 1014 | 1015 => Kind::TextInside,
            oid if oid >= FIRST_USER_OID => Kind::TextInside,
            _ => Kind::Other,
        }
    }
}

/// Most digits of int4, the longer of the short integers.
pub const SHORT_INTEGER_DIGITS: usize = 10;

/// The decimal text of an integer in PostgreSQL's binary format; None when the width is none that exists.
pub fn integer_text(value: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 8]>::try_from(value) {
        return Some(i64::from_be_bytes(bytes).to_string());
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(value) {
        return Some(i32::from_be_bytes(bytes).to_string());
    }
    <[u8; 2]>::try_from(value).ok().map(|bytes| i16::from_be_bytes(bytes).to_string())
}

/// Groups of four digits before the point that are written out; numbers that are longer hold no card (19 digits).
const MAX_GROUPS: i32 = 10;

/// The digits before the point of a `numeric` in PostgreSQL's binary format (`numeric_send` in `numeric.c`): number of
/// groups, weight of the first, sign and scale as 16-bit integers, then the groups of base 10000. None when malformed.
pub fn numeric_text(value: &[u8]) -> Option<String> {
    let (head, groups) = value.split_first_chunk::<8>()?;
    let [count_high, count_low, weight_high, weight_low, ..] = *head;
    let count = usize::from(u16::from_be_bytes([count_high, count_low]));
    let weight = i32::from(i16::from_be_bytes([weight_high, weight_low]));
    if groups.len() != count.checked_mul(2)? {
        return None;
    }
    let mut text = String::new();
    if weight >= MAX_GROUPS {
        return Some(text);
    }
    let mut groups = groups.as_chunks::<2>().0.iter();
    for _ in 0..=weight {
        let group = groups.next().map_or(0, |bytes| u16::from_be_bytes(*bytes));
        let four = if text.is_empty() { group.to_string() } else { format!("{group:04}") };
        text.push_str(&four);
    }
    Some(text)
}

/// The 16 bytes of a uuid in either format; None when it is none.
pub fn uuid_bytes(format: Format, value: &[u8]) -> Option<[u8; 16]> {
    if format == Format::Binary {
        return value.try_into().ok();
    }
    let mut bytes = [0u8; 16];
    let mut digits = value.iter().filter(|byte| **byte != b'-').map(|byte| char::from(*byte).to_digit(16));
    for byte in &mut bytes {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}
