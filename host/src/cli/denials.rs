//! The commands about the deny list: `deny`, `denials`, `lift`.

use super::client::Client;
use super::failure::{Exit, Failure};
use super::print::{self, Audience, Column};
use super::remote::{duration, list, segment};
use chaperone_core::denial::{Denied, DeniedKind};
use clap::Args;
use serde_json::{Value, json};

/// Whom to deny access.
#[derive(Debug, Args)]
pub struct DenyArgs {
    /// What the id is of: `object` (a person, agent or workload), `client` (all who come through an application), `blueprint`
    /// (all agents of it) or `credential` (one token)
    #[arg(value_name = "KIND")]
    kind: DeniedKind,
    /// The tenant (`-` where a provider has none) and the id, or of an object its principal as `sessions` shows it
    #[arg(value_name = "TENANT/ID", allow_hyphen_values = true)]
    id: String,
    /// Why; operators read this
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how long, e.g. 24h [default: until it is lifted]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<String>,
}

/// `chaperone deny`.
pub(crate) async fn deny(client: &Client, args: &DenyArgs, audience: Audience) -> Result<Exit, Failure> {
    let (tenant, id) = tenant_and_id(args.kind, &args.id)?;
    let mut body = json!({ "kind": args.kind, "tenant": tenant, "id": id, "reason": args.reason });
    if let (Some(duration), Some(body)) = (&args.duration, body.as_object_mut()) {
        body.insert("duration".into(), json!(duration));
    }
    let answer = client.post("/api/v1/denials", &body).await?;
    match audience {
        Audience::Programs => print::json(&answer),
        Audience::People => {
            let entry = answer.get("id").and_then(Value::as_str).unwrap_or_default();
            let until = match answer.get("until").filter(|until| !until.is_null()) {
                Some(until) => format!("until {}", print::cell(Some(until))),
                None => "until the entry is lifted".to_owned(),
            };
            print::out(&format!(
                "The {} {} is denied access {until}; its sessions are cut.\n\
                 To take that back: chaperone lift {}\n",
                args.kind,
                print::clean(id),
                print::clean(entry)
            ));
        }
    }
    Ok(Exit::Done)
}

/// A principal is `provider/tenant/object`; the provider's name does not count.
fn tenant_and_id(kind: DeniedKind, text: &str) -> Result<(&str, &str), Failure> {
    let text = match kind {
        DeniedKind::Object if text.matches('/').count() == 2 => {
            text.split_once('/').map_or(text, |(_, rest)| rest)
        }
        _ => text,
    };
    let wrong = |why: &str| {
        Failure::usage(
            format!("{} is not a tenant and an id{why}", print::clean(text)),
            "write TENANT/ID; `-` is the tenant of a provider that has none",
        )
    };
    let parts = text.split_once('/').filter(|(tenant, id)| !tenant.is_empty() && !id.is_empty());
    let (tenant, id) = parts.ok_or_else(|| wrong(""))?;
    // The gateway says it as well, and not what to do.
    Denied::new(kind, tenant, id).map_err(|error| wrong(&format!(": {error}")))?;
    Ok((tenant, id))
}

/// `chaperone denials`.
pub(crate) async fn denials(client: &Client, audience: Audience) -> Result<Exit, Failure> {
    const COLUMNS: [Column; 7] = [
        Column { title: "ENTRY", pointer: "/id" },
        Column { title: "DENIED", pointer: "/denied/kind" },
        Column { title: "TENANT", pointer: "/denied/tenant" },
        Column { title: "ID", pointer: "/denied/id" },
        Column { title: "UNTIL", pointer: "/until" },
        Column { title: "BY", pointer: "/by" },
        Column { title: "REASON", pointer: "/reason" },
    ];
    let answer = client.get("/api/v1/denials").await?;
    list(&answer, "denials", &COLUMNS, "Nobody is denied access.", audience)
}

/// `chaperone lift`.
pub(crate) async fn lift(client: &Client, id: &str, audience: Audience) -> Result<Exit, Failure> {
    let id = segment(id)?;
    if !id.starts_with("deny_") {
        return Err(Failure::usage(
            format!("{} is not an entry of the deny list", print::clean(id)),
            "ids start with `deny_`: see `chaperone denials`",
        ));
    }
    client.delete(&format!("/api/v1/denials/{id}"), None).await?;
    match audience {
        Audience::Programs => print::json(&json!({ "lifted": id })),
        Audience::People => {
            print::out(&format!("{id} is lifted. Windows that are still open count again.\n"))
        }
    }
    Ok(Exit::Done)
}
