//! `chaperone explain`: why somebody is let onto a target, or not; by the file, or by the policy of a running gateway.

use super::client::Client;
use super::failure::{Exit, Failure};
use super::print::{self, Audience, Column, cell, table};
use crate::config;
use crate::gateway;
use crate::grant::About;
use chaperone_core::Timestamp;
use chaperone_core::grant::Occasion;
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{GroupAlias, Principal, TargetName};
use clap::Args;
use reqwest::Url;
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;

/// Whom to explain, and on what.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The target, by its name
    #[arg(long, value_name = "NAME")]
    pub target: TargetName,
    /// The principal, as `sessions` shows it: PROVIDER/TENANT/OBJECT-ID [default with --live: yourself]
    #[arg(long, value_name = "PRINCIPAL", required_unless_present = "live")]
    pub who: Option<Principal>,
    /// Of which kind: human, human-through-agent, agent, agent-user, workload or unknown
    #[arg(long, default_value = "agent", value_name = "KIND", value_parser = kind)]
    pub kind: CallerKind,
    /// A group they are in, by its alias; may be repeated [default: it is not known]
    #[arg(long, value_name = "ALIAS", requires = "who")]
    pub group: Vec<GroupAlias>,
    /// An app role that they have; may be repeated
    #[arg(long, value_name = "ROLE", requires = "who")]
    pub role: Vec<String>,
    /// From which address they come [default: it is not known]
    #[arg(long, value_name = "ADDRESS", requires = "who")]
    pub from: Option<IpAddr>,
    /// At which moment, such as 2026-12-24T18:00:00Z [default: now]
    #[arg(long, value_name = "MOMENT", requires = "who")]
    pub at: Option<Timestamp>,
    /// Ask the running gateway instead of the file
    #[arg(long)]
    pub live: bool,
}

fn kind(text: &str) -> Result<CallerKind, String> {
    let known = CallerKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| "one of human, human-through-agent, agent, agent-user, workload, unknown".into())
}

/// Explains by the file. None of its secrets is needed.
pub(crate) fn by_file(path: &Path, args: &ExplainArgs, audience: Audience) -> Result<Exit, Failure> {
    let config = config::without_secrets(path).map_err(|error| super::check::not_loaded(error, audience))?;
    if !config.targets.iter().any(|target| target.name == args.target) {
        let names: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
        return Err(Failure::usage(
            format!("there is no target named {} in the file", print::clean(args.target.as_str())),
            format!("it has: {}", names.join(", ")),
        ));
    }
    let Some(who) = &args.who else {
        return Err(Failure::usage("nobody is named", "say who: `--who PROVIDER/TENANT/OBJECT-ID`"));
    };
    let about = About {
        principal: who.clone(),
        kind: args.kind,
        groups: (!args.group.is_empty()).then(|| args.group.clone()),
        roles: args.role.clone(),
    };
    let policy = gateway::policy(&config, "");
    let facts = policy
        .facts_of(&about)
        .map_err(|problem| Failure::usage(problem.to_string(), "compare it with the configuration"))?;
    let occasion = Occasion { at: args.at.unwrap_or_else(Timestamp::now), from: args.from };
    let explanation = policy.explain(&facts, &args.target, &occasion);
    let value = serde_json::to_value(explanation).unwrap_or_default();
    Ok(show(&value, audience))
}

/// Asks a gateway.
pub(crate) async fn by_gateway(
    client: &Client,
    args: &ExplainArgs,
    audience: Audience,
) -> Result<Exit, Failure> {
    let path = "/api/v1/explain";
    let mut url = Url::parse("https://gateway.invalid").map_err(|error| {
        Failure::usage(format!("a question cannot be made: {error}"), "report this as a fault of chaperone")
    })?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("target", args.target.as_str());
        if let Some(who) = &args.who {
            query.append_pair("who", who.as_str()).append_pair("kind", args.kind.as_str());
        }
        if !args.group.is_empty() {
            let groups: Vec<&str> = args.group.iter().map(GroupAlias::as_str).collect();
            query.append_pair("groups", &groups.join(","));
        }
        if !args.role.is_empty() {
            query.append_pair("roles", &args.role.join(","));
        }
        if let Some(from) = args.from {
            query.append_pair("from", &from.to_string());
        }
        if let Some(at) = args.at {
            query.append_pair("at", &at.to_string());
        }
    }
    let answer = client.get(&format!("{path}?{}", url.query().unwrap_or_default())).await?;
    Ok(show(&answer, audience))
}

fn show(explanation: &Value, audience: Audience) -> Exit {
    const COLUMNS: [Column; 6] = [
        Column { title: "LINE", pointer: "/line" },
        Column { title: "RULE", pointer: "/rule" },
        Column { title: "TO", pointer: "/to" },
        Column { title: "TERMS", pointer: "/terms" },
        Column { title: "HOLDS", pointer: "/holds" },
        Column { title: "WHY", pointer: "/why" },
    ];
    let at = |pointer: &str| cell(explanation.pointer(pointer));
    match audience {
        Audience::Programs => print::json(explanation),
        Audience::People => {
            let rules =
                explanation.get("rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            print::out(&format!(
                "{} ({}) on {}: {}\n{}\n",
                at("/principal"),
                at("/kind"),
                at("/target"),
                at("/outcome"),
                chaperone_core::refusal::sentence(&at("/summary"))
            ));
            print::out(&table(rules, &COLUMNS, "There is no rule on this target."));
        }
    }
    match at("/outcome").as_str() {
        "requested" | "approved" => Exit::Done,
        _ => Exit::Refused,
    }
}
