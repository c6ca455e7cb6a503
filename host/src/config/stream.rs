//! Streams: where a SIEM gets what was done in sessions.
//!
//! What may go wrong: what agents and people have written leaves the house. So a stream tells facts, unless it says otherwise.

use super::decode::Item;
use super::edge::path;
use super::notify::post_url;
use super::problem::{ProblemCode, Severity, quote};
use super::secret::{Secret, Vault};
use crate::stream::{Content, Destination, Format, Of};
use std::path::PathBuf;

/// The most streams.
pub(crate) const MAX_STREAMS: usize = 16;

/// One stream.
#[derive(Clone)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Where it leads.
    pub to: Destination,
    /// How it is written.
    pub format: Format,
    /// How much it says.
    pub content: Content,
    /// What it tells of; empty: of all.
    pub of: Vec<Of>,
    /// What the receiver knows the gateway by.
    pub token: Option<Secret>,
    /// PEM: the authorities of the receiver's certificate; none: the machine's.
    pub ca: Option<PathBuf>,
    /// For tests.
    pub allow_http_loopback: bool,
}

const FORMATS: [(&str, Format); 3] =
    [("jsonl", Format::JsonLines), ("ocsf", Format::Ocsf), ("otlp", Format::Otlp)];

const EVENTS: [(&str, Of); 2] = [("sessions", Of::Sessions), ("operations", Of::Operations)];

impl Stream {
    pub(crate) fn decode(item: &Item<'_>, vault: &Vault<'_>) -> Option<Self> {
        let mut fields = item.fields()?;
        let name =
            fields.need("name", "a short name, by which the gateway remembers how far the stream has come");
        let to = fields.need("to", "`file:PATH`, `stdout`, or an https URL");
        let format = fields.need("format", "`jsonl`, `ocsf` or `otlp`");
        let (content, events) = (fields.get("content"), fields.get("events"));
        let (token, ca) = (fields.get("token"), fields.get("ca"));
        let loopback = fields.get("allow_http_loopback");
        fields.finish();
        let name = name.and_then(|item| item.plain_name("a stream's name"));
        let format = format.and_then(|item| Some((item.choice(&FORMATS)?, item)));
        let tried = loopback.as_ref().map_or(Some(false), Item::yes_no);
        let to = to.and_then(|item| destination(&item, tried?, vault));
        let content = content.map_or(Some(Content::Facts), |item| {
            item.choice(&[("facts", Content::Facts), ("text", Content::Text)])
        });
        if let Some(events) = events.as_ref().filter(|events| events.is_empty_list()) {
            events.no_effect("nothing is told: `events` is empty", "name what is told of, or delete it");
        }
        let of = events.map(|item| item.one_or_many(EVENTS.len())).unwrap_or_default();
        let of = of.iter().map(|item| item.choice(&EVENTS)).collect::<Option<Vec<Of>>>();
        let remote = matches!(to, Some(Destination::Url(_)) | None);
        for item in [&token, &ca, &loopback].into_iter().flatten().filter(|_| !remote) {
            let what = format!("`{}` does nothing: the stream stays on this machine", item.name());
            item.no_effect(what, "delete it");
        }
        let token = token.map(|item| secret(&item, vault));
        let ca = ca.map(|item| path(&item, vault));
        let (format, item) = format?;
        if format == Format::Otlp && !remote {
            item.invalid("OTLP is sent to a receiver", "give `to` its https URL, or write `jsonl` or `ocsf`");
            return None;
        }
        Some(Stream {
            name: name?.to_owned(),
            to: to?,
            format,
            content: content?,
            of: of?,
            token: token.map_or(Some(None), |token| token.map(Some))?,
            ca: ca.map_or(Some(None), |ca| ca.map(Some))?,
            allow_http_loopback: tried?,
        })
    }
}

fn destination(item: &Item<'_>, loopback: bool, vault: &Vault<'_>) -> Option<Destination> {
    let text = item.text("`file:PATH`, `stdout`, or an https URL")?;
    if text == "stdout" {
        return Some(Destination::Stdout);
    }
    if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Some(Destination::File(vault.folder.join(path)));
    }
    match post_url(text, loopback) {
        Ok(url) => Some(Destination::Url(url.to_string())),
        Err(why) => {
            // Not quoted: there may be a password in it.
            let help = "`file:PATH`, `stdout`, or an https URL; http on 127.0.0.1 for a test, with `allow_http_loopback: yes`";
            item.invalid(format!("this is no place for a stream: {why}"), help);
            None
        }
    }
}

fn secret(item: &Item<'_>, vault: &Vault<'_>) -> Option<Secret> {
    let secret = vault.secret(item)?;
    // What a header may hold (RFC 9110, section 5.5); only a check goes on without the value.
    if !secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = format!("what `{}` holds is no token: it goes into a header", secret.reference());
        item.invalid(what, "letters, digits and signs, without spaces and line ends");
        return None;
    }
    Some(secret)
}

/// Streams are told apart by their names, in the store; and each file has one writer.
pub(crate) fn check_repeats(streams: &[(Item<'_>, Stream)]) {
    for (index, (item, stream)) in streams.iter().enumerate() {
        let mut before = streams.iter().take(index).map(|(_, other)| other);
        let duplicate = |message: String, help: &str| {
            item.problem(Severity::Error, ProblemCode::Duplicate, message, help);
        };
        if before.clone().any(|other| other.name == stream.name) {
            duplicate(format!("there are two streams named {}", quote(&stream.name)), "rename one");
        }
        let local = !matches!(stream.to, Destination::Url(_));
        if local && before.any(|other| other.to == stream.to) {
            duplicate("two streams lead to the same place".to_owned(), "give each its own");
        }
    }
}
