//! The version of the protocol that a target speaks (PostgreSQL manual, "Message Formats", NegotiateProtocolVersion).
//!
//! Nothing that protects the login depends on it; 3.2 has longer cancel keys. What may go wrong: a target that never gets in because
//! of what stands before it. So one that refuses the version, or closes, is asked once more in the oldest.

use super::super::frame::Body;
use super::super::stream::TargetStream;
use super::{DialError, Question, error_code, question, read_frame};
use std::io;

/// The newest version of the protocol that is spoken with targets, and the one that each of them speaks. 3.2 has longer
/// cancel keys (PostgreSQL 18).
pub(super) const NEWEST: u32 = (3 << 16) | 2;
pub(super) const OLDEST: u32 = 3 << 16;

pub(super) fn startup_packet<'a>(
    version: u32,
    settings: impl Iterator<Item = &'a (&'a str, &'a str)>,
) -> Result<Vec<u8>, DialError> {
    let mut packet = vec![0; 4];
    packet.extend_from_slice(&version.to_be_bytes());
    for text in settings.flat_map(|(name, value)| [name, value]) {
        // It would end the text there, and begin another one.
        if text.contains('\0') {
            return Err(DialError::Protocol("a setting with a zero byte"));
        }
        packet.extend_from_slice(text.as_bytes());
        packet.push(0);
    }
    packet.push(0);
    let length =
        u32::try_from(packet.len()).map_err(|_| DialError::Protocol("settings that are too long"))?;
    if let Some(field) = packet.first_chunk_mut::<4>() {
        *field = length.to_be_bytes();
    }
    Ok(packet)
}

/// The answer to the start-up packet: the version that is spoken, and the first question.
pub(super) async fn first_answer(
    stream: &mut TargetStream,
    asked: u32,
) -> Result<(u32, Question), DialError> {
    let mut spoken = None;
    loop {
        let message = match read_frame(stream).await {
            Err(DialError::Connect(error)) if asked > OLDEST && is_an_end(error.kind()) => {
                return Err(DialError::Version);
            }
            read => read?,
        };
        match message.first() {
            // NegotiateProtocolVersion: at most once, an older version than was asked for, and nothing about options,
            // since none were asked for. Any other is made up (fails closed).
            Some(b'v') if spoken.is_none() => {
                let mut body = Body::of(&message);
                let read = body.u32().and_then(|version| Ok((version, body.u32()?)));
                match (read, body.end()) {
                    (Ok((version, 0)), Ok(())) if (OLDEST..asked).contains(&version) => {
                        spoken = Some(version)
                    }
                    _ => return Err(DialError::Protocol("a version of the protocol that nobody asked for")),
                }
            }
            Some(b'E') if asked > OLDEST && is_about_the_version(&error_code(&message)) => {
                return Err(DialError::Version);
            }
            _ => {
                if let Some(question) = question(message)? {
                    return Ok((spoken.unwrap_or(asked), question));
                }
            }
        }
    }
}

/// The other side has closed.
fn is_an_end(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// feature_not_supported and protocol_violation: what servers and poolers say to a version that they do not know.
fn is_about_the_version(sqlstate: &str) -> bool {
    matches!(sqlstate, "0A000" | "08P01")
}
