//! Events for programs: one JSON object a line, as the recorder's `to_json` has them, with raw bodies decoded.

use crate::protocol::postgres::render::{Answer, Bind, Report, Value};
use crate::recorder::Part;
use crate::story::{Body, Masking, Shown, Told};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

/// An event as one line, without its end.
pub(super) fn line(told: &Told) -> String {
    let mut out = json!({ "kind": told.kind.as_str(), "operation": told.operation, "at_us": told.at_us });
    let (name, value) = match &told.body {
        Body::Json(body) => ("body", body.clone()),
        Body::Statement { form, text } => ("body", json!({ "form": form, "text": text })),
        Body::Parameters(bind) => ("body", parameters(bind)),
        Body::Answers(answers) => ("messages", answers.iter().filter_map(message).collect()),
        Body::Raw(bytes) => ("raw", STANDARD.encode(bytes).into()),
    };
    if let Some(fields) = out.as_object_mut() {
        fields.insert(name.into(), value);
        if told.part == Part::More {
            fields.insert("more".into(), true.into());
        }
    }
    out.to_string()
}

fn parameters(bind: &Bind) -> Json {
    let values: Vec<Json> = bind.values.iter().map(Value::to_json).collect();
    let mut out = json!({ "values": values });
    if let (Some(fields), None) = (out.as_object_mut(), &bind.results) {
        fields.insert("count".into(), bind.count.into());
        fields.insert("cut".into(), true.into());
    }
    out
}

fn message(shown: &Shown) -> Option<Json> {
    Some(match shown {
        Shown::Columns(titles) => {
            let masked = titles.iter().filter(|title| title.masking == Masking::Masked);
            json!({
                "type": "columns",
                "columns": titles.iter().map(|title| &title.name).collect::<Vec<_>>(),
                "masked": masked.map(|title| &title.name).collect::<Vec<_>>(),
            })
        }
        Shown::Row(values) => {
            json!({ "type": "row", "values": values.iter().map(Value::to_json).collect::<Vec<_>>() })
        }
        Shown::Answer(answer) => match answer {
            Answer::Complete(tag) => json!({ "type": "complete", "tag": tag }),
            Answer::Suspended => json!({ "type": "suspended" }),
            Answer::Error(report) => of("error", report),
            Answer::Notice(report) => of("notice", report),
            Answer::Copied(bytes) => {
                let value = Value::new(Some(bytes), crate::protocol::postgres::render::Format::Text);
                json!({ "type": "copy", "data": value.to_json() })
            }
            Answer::Notified { channel, payload } => {
                json!({ "type": "notification", "channel": channel, "payload": payload })
            }
            Answer::Setting { name, value } => json!({ "type": "setting", "name": name, "value": value }),
            Answer::TooLong { kind, bytes } => {
                json!({ "type": "too-long", "message": letter(*kind), "bytes": bytes })
            }
            Answer::Unreadable { kind } => json!({ "type": "unreadable", "message": letter(*kind) }),
            Answer::Columns(_)
            | Answer::Row(_)
            | Answer::Parsed
            | Answer::Asks
            | Answer::Ready
            | Answer::Other(_) => return None,
        },
    })
}

fn of(kind: &str, report: &Report) -> Json {
    let Report { severity, sqlstate, message, detail, hint } = report;
    json!({
        "type": kind, "severity": severity, "sqlstate": sqlstate, "message": message, "detail": detail, "hint": hint,
    })
}

pub(super) fn letter(kind: u8) -> String {
    char::from(kind).escape_default().to_string()
}
