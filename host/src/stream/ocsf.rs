//! Events as those of the Open Cybersecurity Schema Framework (OCSF), version 1.8.0.
//!
//! An operation is a Datastore Activity (6005): it has the actor, the query, the database, and by the profile `security_control` what was
//! decided. A session's begin and end are an Authentication (3002), Logon and Logoff: a token was proved, and an access begins that
//! is not a window's grant (Authorize Session, 3003, tells of privileges that a session is given, and has no end).
//! What has no attribute there is under `unmapped`, as the framework wants it.
//!
//! Source: <https://schema.ocsf.io/1.8.0/classes/datastore_activity> and `…/authentication`, with the profile `security_control`; a test
//! holds events against that schema.

use super::event::{Event, Gravity, What, milliseconds};
use crate::recorder::SessionEnd;
use crate::story::Operation;
use chaperone_core::identity::CallerKind;
use serde_json::{Map, Value as Json, json};
use std::net::SocketAddr;

/// The schema's version.
const VERSION: &str = "1.8.0";

/// A class of events.
struct Class {
    category: (u32, &'static str),
    class: (u32, &'static str),
}

const DATASTORE: Class = Class { category: (6, "Application Activity"), class: (6005, "Datastore Activity") };
const AUTHENTICATION: Class =
    Class { category: (3, "Identity & Access Management"), class: (3002, "Authentication") };

/// One event.
pub(super) fn event(event: &Event<'_>) -> Json {
    let mut members = match &event.what {
        What::Begin => base(event, &AUTHENTICATION, (1, "Logon")),
        What::End(_) => base(event, &AUTHENTICATION, (2, "Logoff")),
        What::Operation(operation) => base(event, &DATASTORE, activity(operation)),
        What::LeftOut("operation") => base(event, &DATASTORE, (0, "Unknown")),
        What::LeftOut(_) => base(event, &AUTHENTICATION, (0, "Unknown")),
    };
    let more = match &event.what {
        What::Begin => begin(event),
        What::End(end) => ended(end),
        What::Operation(operation) => done(event, operation),
        What::LeftOut(_) => json!({ "unmapped": { "left_out": true } }),
    };
    if let Json::Object(more) = more {
        members.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Json::Object(members)
}

/// What every event has.
fn base(event: &Event<'_>, class: &Class, activity: (u32, &'static str)) -> Map<String, Json> {
    let head = &event.opening.head;
    let (severity, name) = match event.gravity() {
        Gravity::Usual => (1, "Informational"),
        Gravity::Held => (2, "Low"),
        Gravity::Refused => (3, "Medium"),
        Gravity::Broken => (4, "High"),
    };
    let mut members = Map::new();
    let mut add = |key: &str, value: Json| members.insert(key.to_owned(), value);
    add("category_uid", class.category.0.into());
    add("category_name", class.category.1.into());
    add("class_uid", class.class.0.into());
    add("class_name", class.class.1.into());
    add("activity_id", activity.0.into());
    add("activity_name", activity.1.into());
    add("type_uid", (class.class.0 * 100 + activity.0).into());
    add("severity_id", severity.into());
    add("severity", name.into());
    add("time", milliseconds(event.at).into());
    add("metadata", metadata(event));
    add("src_endpoint", source(&head.client_address));
    add("dst_endpoint", json!({ "svc_name": head.target }));
    match class.class.0 {
        6005 => {
            add(
                "actor",
                json!({ "user": user(event), "session": session(event), "app_uid": head.identity.actor }),
            );
            // Relational.
            add("database", json!({ "name": head.target, "type_id": 1, "type": "Relational" }))
        }
        _ => {
            add("user", user(event));
            add("session", session(event));
            add("service", json!({ "name": head.target }))
        }
    };
    members
}

fn metadata(event: &Event<'_>) -> Json {
    json!({
        "version": VERSION,
        "profiles": ["security_control"],
        // The same however often the event comes.
        "uid": event.id,
        "correlation_uid": event.opening.head.session,
        "log_name": event.kind(),
        "product": { "name": "Chaperone", "vendor_name": "Chaperone", "version": event.opening.head.gateway_version },
    })
}

fn source(address: &str) -> Json {
    match address.parse::<SocketAddr>() {
        Ok(address) => json!({ "ip": address.ip(), "port": address.port() }),
        Err(_) => json!({ "name": address }),
    }
}

fn user(event: &Event<'_>) -> Json {
    let identity = &event.opening.head.identity;
    let (number, kind) = match identity.kind {
        CallerKind::Human | CallerKind::HumanThroughAgent => (1, "User"),
        CallerKind::Agent | CallerKind::AgentUser | CallerKind::Workload => (4, "Service"),
        CallerKind::Unknown => (0, "Unknown"),
    };
    let mut user = json!({
        "uid": identity.principal,
        "uid_alt": identity.object_id,
        "domain": identity.tenant,
        "type_id": number,
        "type": kind,
    });
    if let (Some(name), Json::Object(members)) = (&identity.display_name, &mut user) {
        members.insert("name".to_owned(), name.as_str().into());
    }
    user
}

fn session(event: &Event<'_>) -> Json {
    let Event { opening, .. } = event;
    json!({
        "uid": opening.head.session,
        "created_time": milliseconds(opening.started),
        "is_remote": true,
        "issuer": opening.head.identity.provider,
    })
}

/// A session has begun: the caller was let in.
fn begin(event: &Event<'_>) -> Json {
    let head = &event.opening.head;
    json!({
        "status_id": 1, "status": "Success",
        "action_id": 1, "action": "Allowed",
        "disposition_id": 1, "disposition": "Allowed",
        "auth_protocol_id": 6, "auth_protocol": "OAUTH 2.0",
        "is_remote": true,
        "policy": { "name": head.grant, "uid": head.window },
        "unmapped": {
            "protocol": head.protocol,
            "kind": head.identity.kind,
            "actor": head.identity.actor,
            "target_role": head.target_role,
            "request": head.request,
            "approved_by": head.approved_by,
            "plugins": head.plugins,
        },
    })
}

fn ended(end: &SessionEnd) -> Json {
    json!({
        "status_id": 1, "status": "Success",
        "status_code": end.code,
        "status_detail": (!end.detail.is_empty()).then_some(&end.detail),
        "unmapped": { "reason": end.reason },
    })
}

fn done(event: &Event<'_>, operation: &Operation) -> Json {
    let refused = operation.was_refused();
    let (action, disposition) = match (refused, operation.was_allowed(), operation.was_held()) {
        (true, ..) => ((2, "Denied"), (2, "Blocked")),
        (false, true, true) => ((1, "Allowed"), (8, "Approved")),
        (false, true, false) => ((1, "Allowed"), (1, "Allowed")),
        (false, false, _) => ((0, "Unknown"), (0, "Unknown")),
    };
    let failed = refused || operation.error.is_some() || !operation.faults.is_empty();
    let status = if failed { (2, "Failure") } else { (1, "Success") };
    let code = operation.refusal.as_ref().map(|refusal| refusal.code.as_str());
    let code = code.or(operation.error.as_ref().map(|error| error.sqlstate.as_str()));
    let query = (!operation.text.is_empty()).then(
        || json!({ "uid": event.id, "query_string": operation.text, "bytes": operation.answered_bytes }),
    );
    let risk = operation.decision.as_ref().map(|decided| decided.risk);
    let level = risk.map(|risk| match risk {
        0..20 => (0, "Info"),
        20..40 => (1, "Low"),
        40..70 => (2, "Medium"),
        70..90 => (3, "High"),
        _ => (4, "Critical"),
    });
    let mut rest = json!(operation);
    if let Json::Object(members) = &mut rest {
        members.remove("text");
        members.insert("decisions".to_owned(), operation.decisions().collect());
    }
    json!({
        "status_id": status.0, "status": status.1,
        "status_code": code,
        "status_detail": operation.refusal.as_ref().map(|refusal| &refusal.message),
        "action_id": action.0, "action": action.1,
        "disposition_id": disposition.0, "disposition": disposition.1,
        "risk_score": risk,
        "risk_level_id": level.map(|level| level.0), "risk_level": level.map(|level| level.1),
        "duration": operation.took_us.map(|took| took / 1000),
        "query_info": query,
        "table": operation.tables.first().map(|table| json!({ "name": table })),
        "policy": { "name": event.opening.head.grant, "uid": event.opening.head.window },
        "unmapped": { "operation": rest },
    })
}

/// What kind of operation its first statement is: of several, the classes are all in `unmapped`.
fn activity(operation: &Operation) -> (u32, &'static str) {
    let class = operation.classes.first().map_or("", String::as_str);
    let (family, rest) = class.split_once('.').unwrap_or((class, ""));
    match (family, rest) {
        ("select", _) | ("copy", "out") => (4, "Query"),
        ("insert", _) | ("copy", "in") => (5, "Write"),
        ("update" | "merge", _) => (2, "Update"),
        ("delete" | "truncate", _) | ("ddl", "drop") => (7, "Delete"),
        ("ddl", "create") => (6, "Create"),
        ("ddl", _) => (2, "Update"),
        ("", _) => (0, "Unknown"),
        _ => (99, "Other"),
    }
}
