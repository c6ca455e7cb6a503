//! A receiver over HTTPS.

use super::{Failure, Format};
use crate::post::{Connections, LoopbackHttp, Message, SendError, Sender};
use crate::target::SecretSource;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::path::Path;

/// What the answer says of what it did not take is cut here, in characters.
const MAX_WORDS: usize = 300;

/// POSTs batches to one address.
pub(super) struct Receiver {
    url: String,
    format: Format,
    token: Option<Box<dyn SecretSource>>,
    sender: Sender,
}

impl Receiver {
    pub(super) fn new(
        url: String,
        format: Format,
        token: Option<Box<dyn SecretSource>>,
        ca: Option<&Path>,
        loopback_http: LoopbackHttp,
    ) -> Result<Self, String> {
        Ok(Receiver { url, format, token, sender: Sender::new(ca, loopback_http, Connections::Kept)? })
    }

    pub(super) async fn take(&self, body: &[u8]) -> Result<(), Failure> {
        let failure = |error: SendError| Failure { wait: error.wait(), why: error.to_string() };
        let url = self.sender.checked(&self.url).map_err(failure)?;
        let message = Message { headers: self.headers()?, body: body.to_vec() };
        let answer = self.sender.ask(url, message).await.map_err(failure)?;
        if self.format == Format::Otlp
            && let Some(Partly { rejected, why }) = partly(&answer)
        {
            // As the specification wants it: what was rejected is not sent again.
            tracing::error!(
                rejected,
                why,
                "a receiver of OTLP took a batch, and rejected records of it for good"
            );
        }
        Ok(())
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let media = match self.format {
            Format::JsonLines | Format::Ocsf => "application/x-ndjson",
            Format::Otlp => "application/json",
        };
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media))]);
        if let Some(token) = &self.token {
            let token = token.read().map_err(|why| format!("its token cannot be read: {why}"))?;
            let value = format!("Bearer {}", token.expose_secret());
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| "its token holds a character that no header may".to_owned())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

/// What a receiver of OTLP took a part of.
#[derive(Debug, PartialEq, Eq)]
struct Partly {
    rejected: u64,
    why: String,
}

/// The partial success of an `ExportLogsServiceResponse`; an answer that is none, or nothing, is a whole one.
fn partly(answer: &[u8]) -> Option<Partly> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        partial_success: Option<Partial>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Partial {
        #[serde(default)]
        rejected_log_records: serde_json::Value,
        #[serde(default)]
        error_message: String,
    }
    let partial = serde_json::from_slice::<Response>(answer).ok()?.partial_success?;
    let rejected = partial.rejected_log_records;
    // A number of 64 bits is text in this encoding, and some write it as a number.
    let rejected = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0);
    let why = partial.error_message.chars().filter(|char| !char.is_control()).take(MAX_WORDS).collect();
    (rejected > 0).then_some(Partly { rejected, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rejected_is_read_however_it_is_written() {
        for (answer, rejected) in [
            (r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too\u001b[2J old"}}"#, Some(3)),
            (r#"{"partialSuccess":{"rejectedLogRecords":3}}"#, Some(3)),
            (r#"{"partialSuccess":{}}"#, None),
            ("{}", None),
            ("", None),
            ("<html>", None),
        ] {
            let found = partly(answer.as_bytes());
            assert_eq!(found.as_ref().map(|partly| partly.rejected), rejected, "{answer}");
            assert!(found.is_none_or(|partly| !partly.why.contains('\u{1b}')));
        }
    }
}
