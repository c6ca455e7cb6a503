//! The commands about what retention must not delete: `preserve`, `preservations`, `release`.

use super::client::Client;
use super::failure::{Exit, Failure};
use super::print::{self, Audience, Column, cell};
use super::remote::{list, segment};
use crate::state::Preserved;
use chaperone_core::name::{Principal, SessionId, TargetName};
use clap::Args;
use serde_json::json;

/// What is to be preserved, and why.
#[derive(Debug, Args)]
pub struct PreserveArgs {
    #[command(flatten)]
    what: What,
    /// Why; operators and auditors read this
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// One of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The recording of this session
    session: Option<SessionId>,
    /// All recordings of a target
    #[arg(long, value_name = "NAME")]
    target: Option<TargetName>,
    /// All recordings of a principal, as `sessions --json` shows it
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<Principal>,
}

/// `chaperone preserve`.
pub(crate) async fn preserve(
    client: &Client,
    args: PreserveArgs,
    audience: Audience,
) -> Result<Exit, Failure> {
    let PreserveArgs { what: What { session, target, principal }, reason } = args;
    let session = session.map(Preserved::Session);
    let preserved = session.or(target.map(Preserved::Target)).or(principal.map(Preserved::Principal));
    let answer =
        client.post("/api/v1/preservations", &json!({ "preserved": preserved, "reason": reason })).await?;
    let too_late = answer.get("too_late").filter(|moment| !moment.is_null());
    match audience {
        Audience::Programs => print::json(&answer),
        Audience::People => {
            let id = cell(answer.pointer("/preservation/id"));
            print::out(&match too_late {
                None => format!(
                    "Nothing of it will be deleted until it is released.\nTo take that back: chaperone release {id}\n"
                ),
                Some(moment) => format!(
                    "Too late: its deletion began at {}, and there may be only a tombstone left.\n\
                     The entry {id} holds all the same; to take it back: chaperone release {id}\n",
                    cell(Some(moment))
                ),
            });
        }
    }
    Ok(if too_late.is_some() { Exit::Refused } else { Exit::Done })
}

/// `chaperone preservations`.
pub(crate) async fn preservations(client: &Client, audience: Audience) -> Result<Exit, Failure> {
    const COLUMNS: [Column; 6] = [
        Column { title: "ENTRY", pointer: "/id" },
        Column { title: "PRESERVED", pointer: "/preserved/kind" },
        Column { title: "ID", pointer: "/preserved/id" },
        Column { title: "MADE", pointer: "/made" },
        Column { title: "BY", pointer: "/by" },
        Column { title: "REASON", pointer: "/reason" },
    ];
    let answer = client.get("/api/v1/preservations").await?;
    list(&answer, "preservations", &COLUMNS, "Nothing is preserved beyond what the rules keep.", audience)
}

/// `chaperone release`.
pub(crate) async fn release(client: &Client, id: &str, audience: Audience) -> Result<Exit, Failure> {
    let id = segment(id)?;
    if !id.starts_with("keep_") {
        return Err(Failure::usage(
            format!("{} is not a preservation", print::clean(id)),
            "ids start with `keep_`: see `chaperone preservations`",
        ));
    }
    client.delete(&format!("/api/v1/preservations/{id}"), None).await?;
    match audience {
        Audience::Programs => print::json(&json!({ "released": id })),
        Audience::People => {
            let said = "is released. What has been kept for long enough is deleted at the next daily run, at most a day from now.";
            print::out(&format!("{id} {said}\n"));
        }
    }
    Ok(Exit::Done)
}
