//! Events as log records of OpenTelemetry: OTLP/HTTP 1.x in its JSON encoding.
//!
//! JSON, not Protobuf: it is an official encoding that every receiver of OTLP/HTTP has to take, and needs no generated types and no second
//! serializer in a program that has one. It is about twice as long on the wire. 64-bit numbers are strings in it.
//!
//! Sources: the OTLP specification, "OTLP/HTTP" and "JSON Protobuf Encoding"; `opentelemetry/proto/logs/v1/logs.proto`; names of
//! attributes from the semantic conventions (database client, client, user, session, log).

use super::event::{Event, Gravity, What};
use chaperone_core::Timestamp;
use serde_json::{Value as Json, json};
use std::net::SocketAddr;

/// One `LogRecord`.
pub(super) fn record(event: &Event<'_>) -> Json {
    let (number, text) = match event.gravity() {
        Gravity::Usual => (9, "INFO"),
        Gravity::Held => (10, "INFO2"),
        Gravity::Refused => (13, "WARN"),
        Gravity::Broken => (17, "ERROR"),
    };
    json!({
        "timeUnixNano": nanoseconds(event.at),
        "observedTimeUnixNano": nanoseconds(event.at),
        "severityNumber": number,
        "severityText": text,
        "eventName": format!("chaperone.{}", event.kind()),
        "body": any(&event.json()),
        "attributes": attributes(event),
    })
}

/// The request around records that are texts already.
pub(super) fn request(records: &[String]) -> String {
    let resource = json!({ "attributes": [
        attribute("service.name", "chaperone".into()),
        attribute("service.version", env!("CARGO_PKG_VERSION").into()),
    ] });
    let scope = json!({ "name": "chaperone", "version": env!("CARGO_PKG_VERSION") });
    let records = records.join(",");
    format!(
        r#"{{"resourceLogs":[{{"resource":{resource},"scopeLogs":[{{"scope":{scope},"logRecords":[{records}]}}]}}]}}"#
    )
}

/// What receivers look for without reading the body.
fn attributes(event: &Event<'_>) -> Vec<Json> {
    let head = &event.opening.head;
    let mut list = vec![
        // The same however often the record comes.
        ("log.record.uid", json!(event.id)),
        ("session.id", json!(head.session)),
    ];
    if !matches!(event.what, What::LeftOut(_)) {
        list.push(("user.id", json!(head.identity.principal)));
        list.push(("chaperone.target", json!(head.target)));
        if let Ok(address) = head.client_address.parse::<SocketAddr>() {
            list.push(("client.address", json!(address.ip())));
            list.push(("client.port", json!(address.port())));
        }
    }
    if let What::Operation(operation) = &event.what {
        list.push(("db.system.name", json!("postgresql")));
        list.push(("chaperone.decisions", operation.decisions().collect()));
        list.extend(operation.classes.first().map(|class| ("db.operation.name", json!(class))));
        list.extend(operation.tables.first().map(|table| ("db.collection.name", json!(table))));
        list.push(("db.response.returned_rows", json!(operation.rows)));
        if !operation.text.is_empty() {
            list.push(("db.query.text", json!(operation.text)));
        }
        list.extend(operation.error.iter().map(|error| ("db.response.status_code", json!(error.sqlstate))));
        list.extend(operation.refusal.iter().map(|refusal| ("error.type", json!(refusal.code))));
    }
    list.into_iter().map(|(key, value)| attribute(key, value)).collect()
}

fn attribute(key: &str, value: Json) -> Json {
    json!({ "key": key, "value": any(&value) })
}

/// An `AnyValue`. What is null has none set, as the specification says of empty values.
fn any(value: &Json) -> Json {
    match value {
        Json::Null => json!({}),
        Json::Bool(value) => json!({ "boolValue": value }),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => json!({ "intValue": integer.to_string() }),
            None => json!({ "doubleValue": number }),
        },
        Json::String(text) => json!({ "stringValue": text }),
        Json::Array(values) => {
            json!({ "arrayValue": { "values": values.iter().map(any).collect::<Vec<_>>() } })
        }
        Json::Object(members) => {
            let members = members.iter().map(|(key, value)| json!({ "key": key, "value": any(value) }));
            json!({ "kvlistValue": { "values": members.collect::<Vec<_>>() } })
        }
    }
}

/// Since 1970, as text: 64 bits are too many for a number of JSON.
fn nanoseconds(at: Timestamp) -> String {
    at.as_nanosecond().to_string()
}
