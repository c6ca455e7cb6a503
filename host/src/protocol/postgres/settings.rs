//! The two settings that decide how a target reads a statement. The checks read it in one way only, so a target that reads
//! it in another is not served: neither from the login on, where a role or a database may be set up so, nor later.

use super::frame::{Body, Malformed};

/// For users.
pub(super) const ONLY: &str =
    "Statements are judged with client_encoding = UTF8 and standard_conforming_strings = on.";

/// The setting of a ParameterStatus message, if with it the target reads statements differently.
pub(super) fn misread(frame: &[u8]) -> Result<Option<String>, Malformed> {
    let mut body = Body::of(frame);
    let (name, value) = (body.zero_terminated()?, body.zero_terminated()?);
    let fits = match name {
        b"client_encoding" => value.eq_ignore_ascii_case(b"UTF8"),
        b"standard_conforming_strings" => value == b"on",
        _ => true,
    };
    Ok((!fits).then(|| String::from_utf8_lossy(name).into_owned()))
}
