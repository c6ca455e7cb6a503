//! FunctionCall: a function called by its OID (PostgreSQL manual, "Function Call"; libpq's `PQfn`, and so its calls on
//! large objects).
//!
//! It is never forwarded. The gateway looks the OID up in the target's catalog and puts, in the place of the message, what
//! a driver would send for a SELECT of that function by its name, with the same parameters. That goes the way of
//! every prepared statement: judged, held, recorded, masked. So what was judged is what runs, whatever the OID means by
//! then. The client gets the one value of the one row as a FunctionCallResponse.
//!
//! What may go wrong: the name means another function than the OID did. The types of the parameters are those of the
//! function that was looked up, so that among overloads the same one is found; and another one was judged by its name, too.
//! Like a Query, a call ends the unnamed statement and the unnamed portal.

use super::super::catalog::Callable;
use super::super::frame::{self, Body, Frame, Malformed};
use super::Relay;
use super::pending::{Asker, Refused};
use super::requests::Step;
use crate::session::SessionStop;
use chaperone_core::refusal::{Refusal, RefusalCode};

impl Relay<'_> {
    /// Replaces the call at the front of the client's input by frames that are judged.
    pub(super) async fn function_call(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        let frames = match self.frames_of_call(frame).await {
            Ok(frames) => frames,
            Err(refusal) => {
                self.client.input.consume(frame.total);
                self.refuse_query(Refused { operation: 0, refusal });
                return Ok(Step::Done);
            }
        };
        self.client.input.replace(frame.total, &frames);
        Ok(Step::Done)
    }

    /// Who sent the frame at the front.
    pub(super) fn asker(&self) -> Asker {
        if self.client.input.is_own() { Asker::Gateway } else { Asker::Client }
    }

    async fn frames_of_call(&self, frame: Frame) -> Result<Vec<u8>, Refusal> {
        let (oid, _) = read(self.front(frame)).map_err(|Malformed(what)| {
            Refusal::new(RefusalCode::NotUnderstood, format!("the client sent {what}"))
                .hint("Report it to those who maintain the client's driver.")
        })?;
        // Fails closed: what cannot be looked up has no name by which it could be judged.
        let function = self.catalog.callable(oid).await.ok_or_else(|| {
            let message = format!("the function with OID {oid} is not known, or cannot be called by its OID");
            Refusal::new(RefusalCode::OperationRefused, message)
                .detail("A call by OID is judged by the function's name, which the gateway looks up in the catalog.")
                .hint("Call the function in a SELECT, where it can be judged.")
        })?;
        let (_, call) = read(self.front(frame)).map_err(|_| misfit(oid))?;
        if call.arguments != function.arguments.len() {
            return Err(misfit(oid));
        }
        frames(&function, &call).ok_or_else(|| misfit(oid))
    }
}

fn misfit(oid: u32) -> Refusal {
    let message = format!("the call of the function with OID {oid} does not fit its arguments");
    Refusal::new(RefusalCode::NotUnderstood, message).hint("Call it with as many arguments as it has.")
}

/// What a FunctionCall asks for, in the wire's own form.
pub(super) struct Call<'a> {
    arguments: usize,
    /// The formats of the arguments, their number and their values: as they stand in a Bind.
    pub(super) bound: &'a [u8],
    result: i16,
}

/// Reads a FunctionCall: the OID, and the call.
pub(super) fn read(frame: &[u8]) -> Result<(u32, Call<'_>), Malformed> {
    let mut body = Body::of(frame);
    let oid = body.u32()?;
    let mut rest = body;
    let formats = body.count()?;
    body.bytes(formats * 2)?;
    let arguments = body.count()?;
    let mut length = 2 + formats * 2 + 2;
    for _ in 0..arguments {
        length += 4 + body.value()?.map_or(0, <[u8]>::len);
    }
    let result = body.i16()?;
    body.end()?;
    // Other codes than text and binary, or another number of formats than values, mean nothing to a server either.
    if formats > 1 && formats != arguments {
        return Err(Malformed("another number of formats than of arguments"));
    }
    Ok((oid, Call { arguments, bound: rest.bytes(length)?, result }))
}

/// Parse, Bind, Execute, Close and Sync of a SELECT of the function. None: more arguments than the wire can count.
fn frames(function: &Callable, call: &Call<'_>) -> Option<Vec<u8>> {
    let count = i16::try_from(call.arguments).ok()?;
    let mut out = Vec::with_capacity(call.bound.len() + 256);
    frame::message(&mut out, b'P', |out| {
        out.push(0);
        out.extend_from_slice(text(function).as_bytes());
        out.push(0);
        out.extend_from_slice(&count.to_be_bytes());
        for oid in &function.arguments {
            out.extend_from_slice(&oid.to_be_bytes());
        }
    });
    frame::message(&mut out, b'B', |out| {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(call.bound);
        out.extend_from_slice(&1i16.to_be_bytes());
        out.extend_from_slice(&call.result.to_be_bytes());
    });
    frame::message(&mut out, b'E', |out| out.extend_from_slice(&[0; 5]));
    frame::message(&mut out, b'C', |out| out.extend_from_slice(b"S\0"));
    frame::message(&mut out, b'S', |_| {});
    Some(out)
}

/// The call as SQL: names in quotes, so that they mean what they say.
fn text(function: &Callable) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let parameters: Vec<String> = (1..=function.arguments.len()).map(|number| format!("${number}")).collect();
    format!("SELECT {}.{}({})", quoted(&function.schema), quoted(&function.name), parameters.join(", "))
}

/// Turns the row at the end of `out`, from `start`, into a FunctionCallResponse.
pub(super) fn response(out: &mut Vec<u8>, start: usize) -> Result<(), Malformed> {
    let Some(row) = out.get(start..).filter(|row| !row.is_empty()) else { return Ok(()) };
    let mut body = Body::of(row);
    if body.count()? != 1 {
        return Err(Malformed("a function's answer that is not one value"));
    }
    let value = body.value()?.map(<[u8]>::to_vec);
    body.end()?;
    out.truncate(start);
    frame::message(out, b'V', |out| match &value {
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(value) => {
            out.extend_from_slice(&i32::try_from(value.len()).unwrap_or(-1).to_be_bytes());
            out.extend_from_slice(value);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn callable(arguments: &[u32]) -> Callable {
        Callable { schema: "a\"b".into(), name: "F".into(), arguments: arguments.into() }
    }

    fn call(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame::message(&mut out, b'F', |out| out.extend_from_slice(body));
        out
    }

    #[test]
    fn a_call_becomes_a_select_by_name_with_the_same_parameters() {
        let frame = call(b"\0\0\x03\xbc\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01");
        let (oid, call) = read(&frame).unwrap();
        assert_eq!((oid, call.arguments, call.result), (956, 2, 1));
        let frames = frames(&callable(&[26, 23]), &call).unwrap();
        let expected = [
            &b"P\0\0\0\x29\0SELECT \"a\"\"b\".\"F\"($1, $2)\0\0\x02\0\0\0\x1a\0\0\0\x17"[..],
            b"B\0\0\0\x19\0\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01",
            b"E\0\0\0\x09\0\0\0\0\0C\0\0\0\x06S\0S\0\0\0\x04",
        ];
        assert_eq!(String::from_utf8_lossy(&frames), String::from_utf8_lossy(&expected.concat()));
    }

    #[test]
    fn every_cut_of_a_call_is_refused() {
        let whole = b"\0\0\x03\xbc\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01";
        for length in 0..whole.len() {
            assert!(read(&call(&whole[..length])).is_err(), "{length} bytes");
        }
        assert!(read(&call(&[&whole[..], b"\0"].concat())).is_err(), "a byte more");
        // Three formats for two arguments.
        assert!(
            read(&call(b"\0\0\0\x01\0\x03\0\0\0\0\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff\0\0")).is_err()
        );
    }

    #[test]
    fn a_row_of_one_value_becomes_a_response_and_no_other_does() {
        let mut out = b"beforeD\0\0\0\x0b\0\x01\0\0\0\x01x".to_vec();
        response(&mut out, 6).unwrap();
        assert_eq!(out, b"beforeV\0\0\0\x09\0\0\0\x01x");
        let mut null = b"D\0\0\0\x0a\0\x01\xff\xff\xff\xff".to_vec();
        response(&mut null, 0).unwrap();
        assert_eq!(null, b"V\0\0\0\x08\xff\xff\xff\xff");
        assert!(response(&mut b"D\0\0\0\x0e\0\x02\0\0\0\0\0\0\0\0".to_vec(), 0).is_err());
    }

    proptest! {
        #[test]
        fn any_call_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((_, read)) = read(&call(&bytes)) {
                let types = vec![25; read.arguments];
                prop_assert!(frames(&callable(&types), &read).is_some());
            }
        }
    }
}
