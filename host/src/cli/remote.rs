//! The commands that ask a gateway: `request`, `windows`, `approvals`, `approve`, `reject`, `revoke`, `reload`,
//! `renew`, `sessions --live`.

use super::client::Client;
use super::failure::{Exit, Failure};
use super::print::{self, Audience, Column, cell};
use crate::grant::MAX_KEY_BYTES;
use chaperone_core::name::SessionId;
use serde_json::{Value, json};
use std::time::Duration;

/// How long one long poll lasts.
const POLL: Duration = Duration::from_secs(30);
/// The most polls of one `--wait`: a day, since no request stays open longer.
const MAX_POLLS: usize = 24 * 60 * 2;

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct RequestArgs {
    /// The target, by its name
    pub target: String,
    /// Why you need it; approvers and auditors read this
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// How long, such as `15m`; at most the grant's lifetime [default: the grant's lifetime]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub duration: Option<String>,
    /// The ticket that it is for, such as `INC-4711`; some grants want one
    #[arg(long, value_name = "TEXT")]
    pub ticket: Option<String>,
    /// Wait until somebody has decided
    #[arg(long)]
    pub wait: bool,
    /// For scripts that may run this again: the same key is the same request [default: a new one each time]
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub idempotency_key: Option<String>,
}

/// Checked here, so that a typing error does not need a gateway to be found.
pub(super) fn duration(text: &str) -> Result<String, String> {
    match humantime::parse_duration(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("write a number and a unit, such as `90s`, `15m` or `1h`".into()),
    }
}

/// The gateway checks it as well; here because it travels in a header, which takes less than a body does.
fn key(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("write 1 to {MAX_KEY_BYTES} printable ASCII characters without spaces"))
}

/// A verdict on an access request or a held operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may go on.
    Approve,
    /// It may not.
    Reject,
}

/// `chaperone reload`.
pub(crate) async fn reload(client: &Client, audience: Audience) -> Result<Exit, Failure> {
    let answer = client.post("/api/v1/policy/reload", &json!({})).await?;
    match audience {
        Audience::Programs => print::json(&answer),
        Audience::People => {
            let changed =
                answer.get("changed").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let names: Vec<String> = changed.iter().map(|name| cell(Some(name))).collect();
            print::out(&match names.is_empty() {
                true => "The policy was read again; nothing in it has changed.\n".to_owned(),
                false => format!(
                    "The policy was read again; changed: {}. Sessions that it would not let in again are cut.\n",
                    names.join(", ")
                ),
            });
        }
    }
    Ok(Exit::Done)
}

/// `chaperone request`.
pub(crate) async fn request(
    client: &Client,
    args: &RequestArgs,
    audience: Audience,
) -> Result<Exit, Failure> {
    let mut body = json!({ "target": args.target, "reason": args.reason });
    for (name, value) in [("duration", &args.duration), ("ticket", &args.ticket)] {
        if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
            body.insert(name.to_owned(), json!(value));
        }
    }
    let key = args.idempotency_key.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let mut answer = client.post_once("/api/v1/requests", &body, &key).await?;
    for _ in 0..MAX_POLLS {
        let Some(id) =
            answer.get("id").and_then(Value::as_str).filter(|_| args.wait && state(&answer) == "pending")
        else {
            break;
        };
        let polled = client.wait(&format!("/api/v1/requests/{}", segment(id)?), POLL).await?;
        answer = polled.get("request").cloned().unwrap_or(polled);
    }
    let exit = match state(&answer) {
        "rejected" | "expired" | "withdrawn" => Exit::Refused,
        "approved" if is_over(&answer) => Exit::Refused,
        _ => Exit::Done,
    };
    match audience {
        Audience::Programs => print::json(&answer),
        Audience::People => print::out(&request_text(&args.target, &answer)),
    }
    Ok(exit)
}

fn state(answer: &Value) -> &str {
    answer.get("state").and_then(Value::as_str).unwrap_or("unknown")
}

/// Whether a request's window was open once: an old key, or one that was ended at once.
fn is_over(answer: &Value) -> bool {
    answer.pointer("/window/state").and_then(Value::as_str) == Some("closed")
}

pub(super) fn request_text(target: &str, answer: &Value) -> String {
    let target = print::clean(target);
    let at = |pointer: &str| cell(answer.pointer(pointer));
    let (window, closes, id) = (at("/window/id"), at("/window/closes"), at("/id"));
    match state(answer) {
        "already-open" => {
            format!("Your window {window} on {target} is open already. It closes at {closes}.\n")
        }
        "approved" if is_over(answer) => format!(
            "Request {id} was approved, and its window {window} is over. To ask for another: \
             chaperone request {target} --reason TEXT\n"
        ),
        "approved" => format!(
            "Window {window} on {target} is open until {closes}.\nConnect with your token as the password and \
             `{target}` as the database. To end it early: chaperone revoke {window}\n"
        ),
        "pending" => {
            let approvers =
                answer.pointer("/approvers").and_then(Value::as_array).cloned().unwrap_or_default();
            let groups: Vec<String> = approvers.iter().map(|one| cell(one.get("approvers"))).collect();
            format!(
                "Request {id} waits for approval by {} until {}.\nIts window will show in `chaperone windows`; \
                 `--wait` waits for it.\n",
                groups.join(" and "),
                at("/deadline"),
            )
        }
        "rejected" => {
            let last = answer.pointer("/decisions").and_then(Value::as_array).and_then(|all| all.last());
            match last.and_then(|one| one.get("comment")).filter(|comment| comment.as_str() != Some("")) {
                Some(comment) => format!("Request {id} was rejected: {}\n", cell(Some(comment))),
                None => format!("Request {id} was rejected, and no reason was given.\n"),
            }
        }
        other => format!("Request {id} is {}. No window is open.\n", print::clean(other)),
    }
}

/// `chaperone windows`.
pub(crate) async fn windows(client: &Client, audience: Audience) -> Result<Exit, Failure> {
    const COLUMNS: [Column; 8] = [
        Column { title: "WINDOW", pointer: "/id" },
        Column { title: "TARGET", pointer: "/target" },
        Column { title: "PRINCIPAL", pointer: "/principal" },
        Column { title: "STATE", pointer: "/state" },
        Column { title: "OPENS", pointer: "/opens" },
        Column { title: "CLOSES", pointer: "/closes" },
        Column { title: "ENDED BY", pointer: "/ended/by" },
        Column { title: "WHY", pointer: "/ended/reason" },
    ];
    let answer = client.get("/api/v1/windows").await?;
    let mut all = answer.get("windows").and_then(Value::as_array).into_iter().flatten();
    let columns = match all.any(|window| window.get("ended").is_some()) {
        true => COLUMNS.as_slice(),
        false => COLUMNS.split_at(6).0,
    };
    list(
        &answer,
        "windows",
        columns,
        "No window is open. To ask for one: chaperone request TARGET --reason TEXT",
        audience,
    )
}

/// `chaperone approvals`.
pub(crate) async fn approvals(client: &Client, audience: Audience) -> Result<Exit, Failure> {
    const COLUMNS: [Column; 10] = [
        Column { title: "ID", pointer: "/id" },
        Column { title: "TARGET", pointer: "/target" },
        Column { title: "ASKED BY", pointer: "/requester" },
        Column { title: "NAME", pointer: "/caller/display_name" },
        Column { title: "KIND", pointer: "/caller/kind" },
        Column { title: "THROUGH", pointer: "/caller/actor" },
        Column { title: "WHAT", pointer: "/matter/summary" },
        Column { title: "WHY", pointer: "/matter/reason" },
        Column { title: "UNTIL", pointer: "/deadline" },
        Column { title: "SPONSORS", pointer: "/sponsors" },
    ];
    let mut columns = COLUMNS.as_slice();
    let mut answer = client.get("/api/v1/approvals").await?;
    if audience == Audience::People {
        let mut all = answer.get_mut("approvals").and_then(Value::as_array_mut).into_iter().flatten();
        let mut sponsored = false;
        for one in all.by_ref() {
            let sponsors = sponsors(one);
            sponsored |= !sponsors.is_empty();
            if let Some(one) = one.as_object_mut() {
                one.insert("sponsors".into(), json!(sponsors));
            }
            let what = what(one);
            if let Some(matter) = one.get_mut("matter").and_then(Value::as_object_mut) {
                matter.insert("summary".into(), json!(what));
            }
        }
        if let Some((_, others)) = COLUMNS.split_last().filter(|_| !sponsored) {
            columns = others;
        }
    }
    list(&answer, "approvals", columns, "Nothing waits for you.", audience)
}

/// What is asked for. A window has no summary: it is its length, and the ticket that it is for.
pub(super) fn what(approval: &Value) -> String {
    if let Some(summary) = approval.pointer("/matter/summary") {
        return cell(Some(summary));
    }
    let ticket = approval.pointer("/matter/ticket").map(|ticket| format!(" (ticket {})", cell(Some(ticket))));
    format!("a window of {}{}", cell(approval.get("duration")), ticket.unwrap_or_default())
}

/// Who answers for the agent that asks: by name, or else by id.
fn sponsors(approval: &Value) -> String {
    let all = approval.pointer("/caller/sponsors").and_then(Value::as_array);
    let named = all.into_iter().flatten().map(|one| cell(one.get("display_name").or_else(|| one.get("id"))));
    named.collect::<Vec<_>>().join(", ")
}

/// `chaperone sessions --live`.
pub(crate) async fn sessions(client: &Client, audience: Audience) -> Result<Exit, Failure> {
    const COLUMNS: [Column; 7] = [
        Column { title: "SESSION", pointer: "/id" },
        Column { title: "PRINCIPAL", pointer: "/principal" },
        Column { title: "KIND", pointer: "/caller/kind" },
        Column { title: "THROUGH", pointer: "/caller/actor" },
        Column { title: "TARGET", pointer: "/target" },
        Column { title: "STARTED", pointer: "/started" },
        Column { title: "ENDS", pointer: "/ends" },
    ];
    let answer = client.get("/api/v1/sessions").await?;
    list(&answer, "live", &COLUMNS, "No session is live.", audience)
}

pub(super) fn list(
    answer: &Value,
    key: &str,
    columns: &[Column],
    nothing: &str,
    audience: Audience,
) -> Result<Exit, Failure> {
    match audience {
        Audience::Programs => print::json(answer),
        Audience::People => {
            let rows = answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            print::out(&print::table(&rows, columns, nothing));
        }
    }
    Ok(Exit::Done)
}

/// `chaperone approve` and `chaperone reject`.
pub(crate) async fn decide(
    client: &Client,
    id: &str,
    verdict: Verdict,
    comment: Option<&str>,
    audience: Audience,
) -> Result<Exit, Failure> {
    let (word, done) = match verdict {
        Verdict::Approve => ("approve", "approved"),
        Verdict::Reject => ("reject", "rejected"),
    };
    let id = segment(id)?;
    if !id.starts_with("req_") && !id.starts_with("hold_") {
        return Err(Failure::usage(
            format!("{} names neither a request nor a held operation", print::clean(id)),
            "ids start with `req_` or `hold_`: see `chaperone approvals`",
        ));
    }
    let path = format!("/api/v1/approvals/{id}");
    let answer =
        client.post(&path, &json!({ "verdict": word, "comment": comment.unwrap_or_default() })).await?;
    match audience {
        Audience::Programs => print::json(&answer),
        Audience::People => {
            let missing = answer.get("missing").and_then(Value::as_u64).unwrap_or(0);
            let rest = match (state(&answer), missing) {
                ("pending", 1) => "; 1 more person has to approve".to_owned(),
                ("pending", n) => format!("; {n} more persons have to approve"),
                _ => String::new(),
            };
            let unsaid = match (verdict, comment) {
                (Verdict::Reject, None) => "Its requester reads no reason: `--comment TEXT` gives one.\n",
                _ => "",
            };
            print::out(&format!("You {done} {id}{rest}.\n{unsaid}"));
        }
    }
    Ok(Exit::Done)
}

/// `chaperone revoke`: a window or a live session, told apart by the id.
pub(crate) async fn revoke(
    client: &Client,
    id: &str,
    reason: Option<&str>,
    audience: Audience,
) -> Result<Exit, Failure> {
    let id = segment(id)?;
    let (path, said) = if id.starts_with("win_") {
        (format!("/api/v1/windows/{id}"), "is closed; its sessions are cut")
    } else if id.starts_with("ses_") {
        (format!("/api/v1/sessions/{id}"), "is cut")
    } else {
        return Err(Failure::usage(
            format!("{} names neither a window nor a session", print::clean(id)),
            "ids start with `win_` or `ses_`: see `chaperone windows` and `chaperone sessions --live`",
        ));
    };
    let reason = reason.map(|reason| ("reason", reason));
    client.delete(&path, reason).await?;
    match audience {
        Audience::Programs => print::json(&json!({ "revoked": id })),
        Audience::People => print::out(&format!("{id} {said}.\n")),
    }
    Ok(Exit::Done)
}

/// `chaperone renew`: the token that the call is made with is the session's new one.
pub(crate) async fn renew(client: &Client, session: SessionId, audience: Audience) -> Result<Exit, Failure> {
    let answer = client.put_token(&format!("/api/v1/sessions/{session}/token")).await?;
    match audience {
        Audience::Programs => print::json(&answer),
        Audience::People => {
            let ends = cell(answer.get("ends"));
            print::out(&format!("{session} has your new token and ends at {ends} at the latest.\n"));
        }
    }
    Ok(Exit::Done)
}

/// An id as a path's segment: nothing that could lead to another path.
pub(super) fn segment(id: &str) -> Result<&str, Failure> {
    let fits =
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    fits.then_some(id).ok_or_else(|| {
        Failure::usage(
            format!("{} is not an id", print::clean(id)),
            "copy it from `chaperone windows` or `chaperone approvals`",
        )
    })
}
