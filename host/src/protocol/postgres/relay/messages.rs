//! The bodies of a client's messages, read whole: a byte more or less than the format says is refused.

use super::super::frame::{Body, Malformed};
use super::violation;
use crate::session::SessionStop;
use chaperone_core::refusal::{Refusal, RefusalCode};

/// Statements are judged as UTF-8, whole: anything else could be read differently by the target.
fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| {
        Refusal::new(RefusalCode::NotUnderstood, "the statement is not valid UTF-8, so it cannot be judged")
            .hint("Send it in UTF-8.")
    })
}

fn malformed(wrong: Malformed) -> Refusal {
    Refusal::new(RefusalCode::NotUnderstood, format!("the client sent {}", wrong.0))
        .hint("Report it to those who maintain the client's driver.")
}

pub(super) fn query_text(frame: &[u8]) -> Result<&str, Refusal> {
    let mut body = Body::of(frame);
    let text = body.zero_terminated().map_err(malformed)?;
    body.end().map_err(malformed)?;
    utf8(text)
}

pub(super) fn parse_text(frame: &[u8]) -> Result<(&[u8], &str), Refusal> {
    let mut body = Body::of(frame);
    let name = body.zero_terminated().map_err(malformed)?;
    let text = body.zero_terminated().map_err(malformed)?;
    let types = body.count().map_err(malformed)?;
    body.bytes(types * 4).map_err(malformed)?;
    body.end().map_err(malformed)?;
    Ok((name, utf8(text)?))
}

pub(super) fn kind_and_name(frame: &[u8]) -> Result<(u8, &[u8]), SessionStop> {
    let mut body = Body::of(frame);
    let read = (|| {
        let kind = body.u8()?;
        let name = body.zero_terminated()?;
        body.end()?;
        Ok((kind, name))
    })();
    read.map_err(|Malformed(what)| violation(what))
}

pub(super) struct BindMessage<'a> {
    pub(super) portal: &'a [u8],
    pub(super) statement: &'a [u8],
    pub(super) result_formats: Box<[i16]>,
}

impl<'a> BindMessage<'a> {
    pub(super) fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut body = Body::of(frame);
        let portal = body.zero_terminated()?;
        let statement = body.zero_terminated()?;
        let formats = body.count()?;
        body.bytes(formats * 2)?;
        for _ in 0..body.count()? {
            body.value()?;
        }
        let results = body.count()?;
        let mut result_formats = Vec::with_capacity(results.min(64));
        for _ in 0..results {
            result_formats.push(body.i16()?);
        }
        body.end()?;
        Ok(BindMessage { portal, statement, result_formats: result_formats.into() })
    }
}

/// Execute: the portal's name. The row limit is the target's business.
pub(super) fn execute_portal(frame: &[u8]) -> Result<&[u8], SessionStop> {
    let mut body = Body::of(frame);
    let name = body.zero_terminated().and_then(|name| body.i32().map(|_| name));
    let name = name.and_then(|name| body.end().map(|()| name));
    name.map_err(|Malformed(what)| violation(what))
}
