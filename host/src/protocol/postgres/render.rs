//! Recorded bytes of a session, made readable: what the target answered, and what was bound to a statement.
//!
//! Knows messages and nothing of recordings, so whoever shows a session (a terminal today, a page tomorrow) gets the
//! same values. Bytes come from a file that anybody may have written: nothing here panics or believes a length field.
//! Memory is bounded by [`MAX_MESSAGE_BYTES`] whatever arrives; a longer message is named and passed over.
//!
//! What may go wrong: a cap cut the bytes in the middle of a message. [`Answers::abandon`] begins anew at the next.

use super::frame::{Body, Frame, HEADER_BYTES, Malformed};
use std::fmt::Write;

/// The longest message that is decoded, in bytes: a page of values; one longer is nothing that a person reads.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The most values of one row or Bind that are decoded. PostgreSQL has at most 1664 columns and 65535 parameters.
const MAX_VALUES: usize = 65_535;

/// A column as the target described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name; not cleaned.
    pub(crate) name: String,
    /// The OID of its type.
    pub(crate) type_oid: u32,
    /// How its values are encoded.
    pub(crate) format: Format,
}

/// How a value is encoded on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As text.
    Text,
    /// In the type's own binary form.
    Binary,
}

impl Format {
    fn of(code: i16) -> Self {
        if code == 0 { Format::Text } else { Format::Binary }
    }

    /// The format of value `index` under a list as Bind has it: none (all text), one for all, or one each.
    pub(crate) fn at(formats: &[Format], index: usize) -> Format {
        match formats {
            [all] => *all,
            each => each.get(index).copied().unwrap_or(Format::Text),
        }
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// NULL.
    Null,
    /// Text; not cleaned.
    Text(String),
    /// Bytes: a binary format, or text that is not UTF-8.
    Binary(Vec<u8>),
}

impl Value {
    /// Reads a value; text that is not UTF-8 is kept as bytes rather than altered.
    pub(crate) fn new(bytes: Option<&[u8]>, format: Format) -> Self {
        match (bytes, format) {
            (None, _) => Value::Null,
            (Some(bytes), Format::Binary) => Value::Binary(bytes.to_vec()),
            (Some(bytes), Format::Text) => match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => Value::Binary(bytes.to_vec()),
            },
        }
    }

    /// For people: at most `width` characters, an ellipsis where it was cut. Control characters are still in it.
    pub(crate) fn show(&self, width: usize) -> String {
        match self {
            Value::Null => "NULL".into(),
            Value::Text(text) => cut(text, width),
            Value::Binary(bytes) => {
                let shown = bytes.get(..width).unwrap_or(bytes);
                cut(&format!("\\x{}", hex(shown)), width)
            }
        }
    }

    /// For programs: whole. A string, `null`, or `{"hex": "…"}`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Text(text) => text.as_str().into(),
            Value::Binary(bytes) => serde_json::json!({ "hex": hex(bytes) }),
        }
    }
}

/// A statement with its parameters, as an approver has to see it: whole, each parameter on a line of its own and quoted
/// so that none can pass for another line. `bound` is the body of the Bind message, if there was one.
pub(crate) fn statement(text: &str, bound: Option<&[u8]>) -> String {
    let mut shown = text.to_owned();
    let Some(bound) = bound.map(bind) else { return shown };
    for (index, value) in bound.values.iter().enumerate() {
        shown.push_str(&format!("\n${} = ", index + 1));
        match value {
            Value::Null => shown.push_str("NULL"),
            Value::Text(text) => shown.push_str(&serde_json::Value::from(text.as_str()).to_string()),
            Value::Binary(bytes) => shown.push_str(&format!("\\x{} (binary)", hex(bytes))),
        }
    }
    shown
}

/// At most `width` characters of a text.
pub(crate) fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// An error or a notice (PostgreSQL manual, "Error and Notice Message Fields").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// `ERROR`, `NOTICE`, …
    pub(crate) severity: String,
    /// The SQLSTATE.
    pub(crate) sqlstate: String,
    /// What.
    pub(crate) message: String,
    /// More; may be empty.
    pub(crate) detail: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

/// One message of the target, as far as it matters to whoever looks on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// RowDescription.
    Columns(Vec<Column>),
    /// DataRow, or the one value of a function: values as they were on the wire; [`Value::new`] reads them.
    Row(Vec<Option<Vec<u8>>>),
    /// CommandComplete, with its tag; EmptyQueryResponse has an empty one.
    Complete(String),
    /// PortalSuspended: there are more rows, which were not fetched.
    Suspended,
    /// ErrorResponse.
    Error(Report),
    /// NoticeResponse.
    Notice(Report),
    /// CopyData.
    Copied(Vec<u8>),
    /// ParseComplete.
    Parsed,
    /// ParameterDescription.
    Asks,
    /// ReadyForQuery.
    Ready,
    /// NotificationResponse.
    Notified {
        /// The channel.
        channel: String,
        /// The payload.
        payload: String,
    },
    /// ParameterStatus.
    Setting {
        /// The setting.
        name: String,
        /// Its value.
        value: String,
    },
    /// A message that says nothing to a reader.
    Other(u8),
    /// A message that is longer than [`MAX_MESSAGE_BYTES`].
    TooLong {
        /// The message's type.
        kind: u8,
        /// Its length.
        bytes: usize,
    },
    /// A message that cannot be read.
    Unreadable {
        /// The message's type.
        kind: u8,
    },
}

/// Reads messages from bytes that come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The beginning of a message: under [`MAX_MESSAGE_BYTES`].
    partial: Vec<u8>,
    /// Bytes of a message that is too long and still to come.
    passing: usize,
    /// What follows cannot be divided into messages.
    lost: bool,
}

impl Answers {
    /// The messages that end in `bytes`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Answer)) {
        while !bytes.is_empty() && !self.lost {
            let passed = self.passing.min(bytes.len());
            self.passing -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            bytes = self.message(bytes, each);
        }
    }

    /// Forgets an unfinished message; tells how many bytes of it there were.
    pub(crate) fn abandon(&mut self) -> usize {
        let forgotten = self.partial.len();
        *self = Answers::default();
        forgotten
    }

    /// Takes one message, or what there is of it, and returns the rest.
    fn message<'a>(&mut self, bytes: &'a [u8], each: &mut dyn FnMut(Answer)) -> &'a [u8] {
        // The header first, so that a length is known before anything more is kept.
        let bytes = self.take(HEADER_BYTES, bytes);
        let frame = match Frame::at(&self.partial) {
            Ok(Some(frame)) => frame,
            Ok(None) => return bytes,
            Err(Malformed(_)) => {
                each(Answer::Unreadable { kind: self.partial.first().copied().unwrap_or(0) });
                self.lost = true;
                return &[];
            }
        };
        if frame.total > MAX_MESSAGE_BYTES {
            each(Answer::TooLong { kind: frame.kind, bytes: frame.total });
            self.passing = frame.total.saturating_sub(self.partial.len());
            self.partial.clear();
            return bytes;
        }
        let bytes = self.take(frame.total, bytes);
        if self.partial.len() == frame.total {
            let read = read(frame.kind, Body::of(&self.partial));
            each(read.unwrap_or(Answer::Unreadable { kind: frame.kind }));
            self.partial.clear();
        }
        bytes
    }

    /// Fills `partial` up to `length` and returns what is left of `bytes`.
    fn take<'a>(&mut self, length: usize, bytes: &'a [u8]) -> &'a [u8] {
        let missing = length.saturating_sub(self.partial.len()).min(bytes.len());
        let (now, later) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        self.partial.extend_from_slice(now);
        later
    }
}

fn read(kind: u8, mut body: Body<'_>) -> Result<Answer, Malformed> {
    Ok(match kind {
        b'T' => Answer::Columns(columns(&mut body)?),
        b'D' => {
            let mut values = Vec::new();
            for _ in 0..body.count()?.min(MAX_VALUES) {
                values.push(body.value()?.map(<[u8]>::to_vec));
            }
            Answer::Row(values)
        }
        // FunctionCallResponse.
        b'V' => Answer::Row(vec![body.value()?.map(<[u8]>::to_vec)]),
        b'C' => Answer::Complete(text(&mut body)?),
        b'I' => Answer::Complete(String::new()),
        b's' => Answer::Suspended,
        b'E' => Answer::Error(report(&mut body)?),
        b'N' => Answer::Notice(report(&mut body)?),
        b'd' => Answer::Copied(rest(body)),
        b'1' => Answer::Parsed,
        b't' => Answer::Asks,
        b'Z' => Answer::Ready,
        b'A' => {
            body.i32()?;
            Answer::Notified { channel: text(&mut body)?, payload: text(&mut body)? }
        }
        b'S' => Answer::Setting { name: text(&mut body)?, value: text(&mut body)? },
        other => Answer::Other(other),
    })
}

fn columns(body: &mut Body<'_>) -> Result<Vec<Column>, Malformed> {
    let mut columns = Vec::new();
    for _ in 0..body.count()? {
        let name = text(body)?;
        // The relation and the attribute.
        body.bytes(6)?;
        let type_oid = body.u32()?;
        // The type's size and modifier.
        body.bytes(6)?;
        columns.push(Column { name, type_oid, format: Format::of(body.i16()?) });
    }
    Ok(columns)
}

fn report(body: &mut Body<'_>) -> Result<Report, Malformed> {
    let mut report = Report::default();
    loop {
        let field = match body.u8()? {
            0 => return Ok(report),
            field => field,
        };
        let text = text(body)?;
        match field {
            b'S' => report.severity = text,
            b'C' => report.sqlstate = text,
            b'M' => report.message = text,
            b'D' => report.detail = text,
            b'H' => report.hint = text,
            _ => {}
        }
    }
}

fn text(body: &mut Body<'_>) -> Result<String, Malformed> {
    Ok(String::from_utf8_lossy(body.zero_terminated()?).into_owned())
}

fn rest(mut body: Body<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(byte) = body.u8() {
        bytes.push(byte);
    }
    bytes
}

/// What a Bind message bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bind {
    /// The parameters, as far as they are there.
    pub(crate) values: Vec<Value>,
    /// How many there were.
    pub(crate) count: usize,
    /// In which formats the result was asked for; None when the bytes end before that.
    pub(crate) results: Option<Vec<Format>>,
}

/// Reads the body of a Bind message; when it was cut, as much of it as is there.
pub(crate) fn bind(bytes: &[u8]) -> Bind {
    // A cursor begins behind a header.
    let mut framed = vec![0; HEADER_BYTES];
    framed.extend_from_slice(bytes);
    let mut bind = Bind::default();
    bind.results = fill(&mut Body::of(&framed), &mut bind).ok();
    bind
}

fn fill(body: &mut Body<'_>, bind: &mut Bind) -> Result<Vec<Format>, Malformed> {
    body.zero_terminated()?;
    body.zero_terminated()?;
    let formats = formats(body)?;
    bind.count = body.count()?;
    for index in 0..bind.count {
        bind.values.push(Value::new(body.value()?, Format::at(&formats, index)));
    }
    self::formats(body)
}

fn formats(body: &mut Body<'_>) -> Result<Vec<Format>, Malformed> {
    (0..body.count()?).map(|_| body.i16().map(Format::of)).collect()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use super::super::frame::message;
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]]) -> Vec<Answer> {
        let (mut answers, mut found) = (Answers::default(), Vec::new());
        for piece in pieces {
            answers.push(piece, &mut |answer| found.push(answer));
        }
        found
    }

    /// A small result: a description, two rows, an error with fields, the end.
    fn result() -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, b'T', |out| {
            out.extend_from_slice(b"\0\x02id\0\0\0\0\x01\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01");
            out.extend_from_slice(b"name\0\0\0\0\x01\0\x02\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        });
        message(&mut out, b'D', |out| out.extend_from_slice(b"\0\x02\0\0\0\x02\x01\x02\0\0\0\x03ann"));
        message(&mut out, b'D', |out| out.extend_from_slice(b"\0\x02\0\0\0\0\xff\xff\xff\xff"));
        message(&mut out, b'E', |out| out.extend_from_slice(b"SERROR\0C42501\0Mno\0Hask\0\0"));
        message(&mut out, b'C', |out| out.extend_from_slice(b"SELECT 2\0"));
        out
    }

    #[test]
    fn a_result_is_read_whole_whatever_its_pieces_are() {
        let bytes = result();
        let whole = all(&[&bytes]);
        let column = |name: &str, type_oid, format| Column { name: name.into(), type_oid, format };
        assert_eq!(
            whole,
            [
                Answer::Columns(vec![column("id", 23, Format::Binary), column("name", 25, Format::Text)]),
                Answer::Row(vec![Some(vec![1, 2]), Some(b"ann".to_vec())]),
                Answer::Row(vec![Some(vec![]), None]),
                Answer::Error(Report {
                    severity: "ERROR".into(),
                    sqlstate: "42501".into(),
                    message: "no".into(),
                    hint: "ask".into(),
                    ..Report::default()
                }),
                Answer::Complete("SELECT 2".into()),
            ]
        );
        for at in 0..bytes.len() {
            assert_eq!(all(&[&bytes[..at], &bytes[at..]]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(all(&single), whole);
    }

    #[test]
    fn a_cut_result_gives_what_is_there_and_begins_anew() {
        let bytes = result();
        let mut answers = Answers::default();
        let mut found = 0;
        answers.push(&bytes[..bytes.len() - 1], &mut |_| found += 1);
        assert_eq!((found, answers.abandon()), (4, 13));
        answers.push(&bytes, &mut |_| found += 1);
        assert_eq!((found, answers.abandon()), (9, 0));
    }

    #[test]
    fn a_message_that_is_too_long_is_named_and_passed_over() {
        let mut bytes = vec![b'D'];
        bytes.extend_from_slice(&(u32::try_from(MAX_MESSAGE_BYTES).unwrap()).to_be_bytes());
        bytes.resize(1 + MAX_MESSAGE_BYTES, 0);
        let long = Answer::TooLong { kind: b'D', bytes: 1 + MAX_MESSAGE_BYTES };
        bytes.extend_from_slice(b"Z\0\0\0\x05I");
        assert_eq!(all(&[&bytes]), [long.clone(), Answer::Ready]);
        let pieces: Vec<&[u8]> = bytes.chunks(1000).collect();
        assert_eq!(all(&pieces), [long, Answer::Ready]);
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_reading() {
        assert_eq!(all(&[b"D\0\0\0\x03", b"Z\0\0\0\x05I"]), [Answer::Unreadable { kind: b'D' }]);
    }

    #[test]
    fn values_are_shown_short_and_told_whole() {
        let long = Value::Text("x".repeat(100));
        assert_eq!(long.show(5), "xxxx…");
        assert_eq!(long.to_json().as_str().map(str::len), Some(100));
        assert_eq!(Value::new(Some(&[0, 255]), Format::Binary).show(10), "\\x00ff");
        assert_eq!(Value::new(Some(&[0xff]), Format::Text).show(10), "\\xff", "not UTF-8");
        assert_eq!(Value::new(Some(&[7; 100]), Format::Binary).show(6), "\\x070…");
        assert_eq!(Value::new(None, Format::Text).show(10), "NULL");
        assert_eq!(Value::Binary(vec![1]).to_json(), serde_json::json!({ "hex": "01" }));
    }

    const BIND: &[u8] =
        b"p\0s\0\0\x02\0\0\0\x01\0\x03\0\0\0\x01a\0\0\0\x02\x00\x07\xff\xff\xff\xff\0\x01\0\x01";

    #[test]
    fn parameters_are_read_each_in_its_format() {
        let bind = bind(BIND);
        assert_eq!(bind.values, [Value::Text("a".into()), Value::Binary(vec![0, 7]), Value::Null]);
        assert_eq!((bind.count, bind.results), (3, Some(vec![Format::Binary])));
    }

    #[test]
    fn of_a_cut_bind_what_is_there_is_read() {
        let bind = bind(&BIND[..20]);
        assert_eq!((bind.values, bind.count, bind.results), (vec![Value::Text("a".into())], 3, None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(pieces in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..200), 0..8))
        {
            let mut answers = Answers::default();
            for piece in &pieces {
                answers.push(piece, &mut |_| {});
                prop_assert!(answers.partial.len() <= MAX_MESSAGE_BYTES);
                let bind = bind(piece);
                prop_assert!(bind.values.len() <= piece.len());
            }
        }

        /// Bytes behind a plausible header get further than noise.
        #[test]
        fn no_body_makes_it_panic(kind in proptest::sample::select(b"TDCEsNdAStZ1".to_vec()),
            body in proptest::collection::vec(any::<u8>(), 0..200))
        {
            let mut bytes = Vec::new();
            message(&mut bytes, kind, |out| out.extend_from_slice(&body));
            prop_assert_eq!(all(&[&bytes]).len(), 1);
        }
    }

    #[test]
    fn an_approver_sees_every_parameter_and_none_can_pass_for_a_line() {
        let mut body = b"\0s\0".to_vec();
        // Formats: text, text, binary. Then three values and no result formats.
        for number in [3i16, 0, 0, 1, 3] {
            body.extend(number.to_be_bytes());
        }
        for value in [Some(&b"5\n$2 = \"7\""[..]), None, Some(&[0, 42][..])] {
            body.extend(value.map_or(-1, |value| i32::try_from(value.len()).unwrap()).to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        body.extend(0i16.to_be_bytes());
        let shown = statement("DELETE FROM t WHERE a = $1", Some(&body));
        assert_eq!(
            shown,
            "DELETE FROM t WHERE a = $1\n$1 = \"5\\n$2 = \\\"7\\\"\"\n$2 = NULL\n$3 = \\x002a (binary)"
        );
        assert_eq!(statement("SELECT 1", None), "SELECT 1");
    }
}
