//! What the fuzz targets call of the protocol: start-up, cancel requests, settings, catalog replies.

use super::frame::Frame;
use super::{cancel, catalog, greet, oauth, settings, startup};

pub use super::relay::fuzzing::{
    ClientMessage, Copied, Field, Walked, client_message, copied, description, error_code, mask_rows, walk,
    words,
};

/// What a start-up packet asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// `user`.
    pub user: String,
    /// `database`, or the user where there is none.
    pub database: String,
    /// What is passed on to the target.
    pub settings: Vec<(String, String)>,
    /// Protocol options that are not known here, and the answer that says so.
    pub negotiate: Option<(Vec<String>, Vec<u8>)>,
}

/// A start-up packet without its length; none when it is refused.
pub fn startup(packet: &[u8]) -> Option<Startup> {
    let startup::Startup { user, database, settings, negotiation, .. } = startup::startup(packet).ok()?;
    let negotiate = negotiation.map(|negotiation| {
        let mut out = Vec::new();
        greet::negotiate(&mut out, &negotiation);
        (negotiation.unknown, out)
    });
    Some(Startup { user, database, settings, negotiate })
}

/// The token of a first message by OAUTHBEARER; an inner none asks where to get one.
pub fn bearer(message: &[u8]) -> Option<Option<&str>> {
    oauth::said(message)
}

/// Process and secret of a cancel request, without its length.
pub fn cancel_key(packet: &[u8]) -> Option<(u32, &[u8])> {
    cancel::key(packet)
}

/// Type and length of the frame at the front: `Ok(None)` when its header is not there yet.
pub fn frame(bytes: &[u8]) -> Result<Option<(u8, usize)>, &'static str> {
    Frame::at(bytes).map(|frame| frame.map(|frame| (frame.kind, frame.total))).map_err(|wrong| wrong.0)
}

/// Whether a ParameterStatus says that statements are read in the one way in which they are judged; none when it is no
/// such message.
pub fn setting_fits(frame: &[u8]) -> Option<bool> {
    settings::misread(frame).ok().map(|misread| misread.is_none())
}

/// The texts of a row of the catalog.
pub fn catalog_row(frame: &[u8]) -> Option<Vec<String>> {
    catalog::texts(frame).ok()
}

/// Relation and attribute of each column of a query that was only described.
pub fn catalog_origins(frame: &[u8]) -> Option<Vec<(u32, i16)>> {
    catalog::origins(frame).ok()
}
