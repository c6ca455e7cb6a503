//! `chaperone approvals watch`: what waits for you, as it is asked and as it ends.
//!
//! Reads the gateway's server-sent events (HTML standard, section 9.2) line by line, bounded. A stream that breaks is begun
//! anew, with a token read or renewed anew; it begins with all that waits, so nothing is missed but what came and went.

use super::client::{Client, GatewayArgs};
use super::failure::{Exit, Failure};
use super::login;
use super::print::{self, Audience, cell};
use super::remote;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// The longest event, in bytes: an operation has 64 KiB, and its JSON a few times as many.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// Rests between two attempts, the longest the last.
const RESTS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

/// Watches until it is stopped. Only a refusal ends it, not a gateway that cannot be reached for a while.
pub(crate) async fn watch(args: &GatewayArgs, audience: Audience) -> Result<Exit, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let mut seen = HashSet::new();
    let mut failed = 0_usize;
    loop {
        let client = login::connect(args, &variable).await?;
        match follow(&client, audience, &mut seen).await {
            Ok(()) => failed = 0,
            Err(failure) if failure.exit == Exit::Unreachable => {
                // What cannot be reached the first time is a mistake of the command line.
                if seen.is_empty() && failed == 0 {
                    return Err(failure);
                }
                print::err(&format!("{}; trying again\n", failure.what));
            }
            Err(failure) => return Err(failure),
        }
        let rest = RESTS.get(failed).or(RESTS.last()).copied().unwrap_or_default();
        failed += 1;
        tokio::time::sleep(rest).await;
    }
}

/// One stream, to its end. `seen` holds what was shown, so that another stream does not show it again.
async fn follow(client: &Client, audience: Audience, seen: &mut HashSet<String>) -> Result<(), Failure> {
    let mut stream = client.stream("/api/v1/events").await?;
    let (mut name, mut data) = (String::new(), String::new());
    while let Some(line) = stream.line(MAX_EVENT_BYTES).await? {
        if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        } else if let Some(part) = line.strip_prefix("data: ") {
            if data.len() + part.len() > MAX_EVENT_BYTES {
                return Err(client.strange("one of its events is too long"));
            }
            data.push_str(part);
        } else if line.is_empty() && !name.is_empty() {
            let value = serde_json::from_str(&data).map_err(|_| client.strange("its events are not JSON"))?;
            if name == "end" {
                return over(client, &value);
            }
            show(&name, &value, audience, seen);
            name.clear();
            data.clear();
        }
    }
    Ok(())
}

/// Why a stream ended: a token's end is no reason to stop while there is a newer one.
fn over(client: &Client, problem: &Value) -> Result<(), Failure> {
    match problem.get("code").and_then(Value::as_str) {
        Some("credential-expired" | "provider-unavailable" | "shutting-down") => Ok(()),
        _ => Err(client.refused(problem)),
    }
}

fn show(name: &str, value: &Value, audience: Audience, seen: &mut HashSet<String>) {
    let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
    if name == "asked" && !seen.insert(id.to_owned()) {
        return;
    }
    if name == "ready" {
        // An empty id: something was seen, though nothing waits.
        seen.insert(String::new());
    }
    match audience {
        Audience::Programs => print::line(&json!({ "event": name, "data": value })),
        Audience::People => print::out(&text(name, value)),
    }
}

fn text(name: &str, value: &Value) -> String {
    let at = |pointer: &str| cell(value.pointer(pointer));
    let id = at("/id");
    match name {
        "asked" => {
            format!(
                "{id}  {} on {}, asked by {} ({} through {}): {}\n    until {}; chaperone approve {id}\n",
                remote::what(value),
                at("/target"),
                at("/requester"),
                at("/caller/kind"),
                at("/caller/actor"),
                at("/matter/reason"),
                at("/deadline"),
            )
        }
        "decided" => format!("{id}  {} more must approve\n", at("/missing")),
        "settled" => format!("{id}  {}\n", at("/state")),
        "gone" => format!("{id}  is not yours to decide any more\n"),
        "ready" => "Watching what waits for you; Ctrl-C ends it.\n".to_owned(),
        _ => String::new(),
    }
}
