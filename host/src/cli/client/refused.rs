//! What the gateway refuses, in two lines: what it says, and what to do about it.

use crate::cli::failure::{Exit, Failure};
use reqwest::StatusCode;
use serde_json::Value;

/// An RFC 9457 body as one line what and one line what to do.
pub(super) fn refused(status: StatusCode, problem: &Value) -> Failure {
    let text = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let (title, detail, code) = (text("title"), text("detail"), text("code"));
    let what = if detail.is_empty() { title } else { format!("{} {detail}", ended(&title)) };
    // What the gateway itself says to do next goes before what this program thinks.
    let next =
        problem.pointer("/request/command").and_then(Value::as_str).map(|command| format!("run: {command}"));
    let advice = next.unwrap_or_else(|| advice_for(&code, status).to_owned());
    Failure { code, what, advice, exit: Exit::Refused }
}

fn ended(sentence: &str) -> String {
    if sentence.ends_with(['.', '!', '?']) { sentence.to_owned() } else { format!("{sentence}.") }
}

fn advice_for(code: &str, status: StatusCode) -> &'static str {
    match code {
        "credential-expired" => {
            "sign in again with `chaperone login`; or get a new token for CHAPERONE_TOKEN or the token file"
        }
        "credential-missing" | "credential-invalid" => {
            "check that the token is whole, and was issued for the audience that this gateway accepts"
        }
        "denied" => "ask an operator to lift the entry",
        "policy-refused" => "mend it on the gateway's machine, and try it with `chaperone check` there",
        "policy-changed" => "let it be asked for again",
        "denies-itself" => "ask another operator",
        "other-node" => "name that gateway with `--gateway URL`, and try again",
        "other-caller" | "older-token" => "get a new token as the session's own caller",
        "fewer-groups" => "get a token with all your groups, or connect again",
        "already-over" => {
            "`chaperone windows` lists what is open; a session that is over cannot be renewed: connect again"
        }
        "not-granted" => "check the target's name, or ask an operator for a grant",
        "no-window" => "request one: `chaperone request TARGET --reason TEXT`",
        "not-for-approving" => {
            "get a token of the application that approvers sign in with, or decide in the browser"
        }
        "own-request" => "ask another member of the approvers' group",
        "not-a-person" => "ask a member of the approvers' group to decide; agents never do",
        "comment-invalid" => "say it in one short text: `--comment TEXT`",
        "already-settled" | "already-decided" | "too-late" => {
            "`chaperone approvals` lists what is still open"
        }
        "not-found" => {
            "check the id; `chaperone windows`, `approvals` and `sessions --live` list what you may see. The deny list, \
             deliveries and `reload` are for operators"
        }
        "reason-invalid" => "say why in one short text: `--reason TEXT`",
        "ticket-invalid" => "name it as its system does: `--ticket TEXT`",
        "idempotency-key-reused" => {
            "take another key for another request; or send the first one again as it was"
        }
        "limit-reached" => "wait a little, and ask less often",
        "provider-unavailable" | "shutting-down" => "try again in a minute",
        _ if status.is_server_error() => "try again; if it stays, the gateway's log says more",
        _ => "see `chaperone --help`",
    }
}
