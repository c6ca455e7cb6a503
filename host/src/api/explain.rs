//! Why somebody is let onto a target, or not.

use super::Api;
use super::caller::Caller;
use super::problem::Problem;
use crate::grant::About;
use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use chaperone_core::Timestamp;
use chaperone_core::grant::Occasion;
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{GroupAlias, Principal, TargetName};
use serde::Deserialize;
use std::net::IpAddr;

/// Values in one list of the query.
const MAX_LISTED: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    target: TargetName,
    who: Option<Principal>,
    kind: Option<CallerKind>,
    groups: Option<String>,
    roles: Option<String>,
    from: Option<IpAddr>,
    at: Option<Timestamp>,
}

/// `GET /api/v1/explain?target=…`: about the caller; with `who` about anybody, for operators.
pub(super) async fn explain(
    State(api): State<Api>,
    caller: Caller,
    query: Result<Query<Question>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(question) = query.map_err(|error| Problem::malformed(format!("{}.", error.body_text())))?;
    let Question { target, who, kind, groups, roles, from, at } = question;
    let Some(principal) = who else {
        if kind.is_some() || groups.is_some() || roles.is_some() || from.is_some() || at.is_some() {
            return Err(Problem::malformed(
                "Without `who` it is about you, as you are: only `target` is read then.",
            ));
        }
        let own = api.grants.explain(&caller.identity, None, &target, &caller.occasion())?;
        return Ok(Json(own).into_response());
    };
    let groups = groups.map(|text| listed(&text)?.into_iter().map(alias).collect::<Result<Vec<_>, _>>());
    let about = About {
        principal,
        kind: kind.unwrap_or(CallerKind::Agent),
        groups: groups.transpose()?,
        roles: roles.as_deref().map_or(Ok(Vec::new()), listed)?,
    };
    let occasion = Occasion { at: at.unwrap_or(caller.now), from };
    Ok(Json(api.grants.explain(&caller.identity, Some(&about), &target, &occasion)?).into_response())
}

/// Parted by commas.
fn listed(text: &str) -> Result<Vec<String>, Problem> {
    let parts: Vec<String> = text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    match parts.len() <= MAX_LISTED {
        true => Ok(parts),
        false => Err(Problem::malformed("A list has at most 100 values.")),
    }
}

fn alias(text: String) -> Result<GroupAlias, Problem> {
    GroupAlias::new(text).map_err(|error| Problem::malformed(format!("A group's alias: {error}.")))
}
