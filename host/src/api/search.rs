//! What was done, in all sessions: the search index, read.

use super::Api;
use super::caller::Caller;
use super::handlers::parse_duration;
use super::problem::Problem;
use crate::grant::AskError;
use crate::state::{Facet, Found, MAX_FOUND, Search, SearchProblem, snippet};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use chaperone_core::Timestamp;
use chaperone_core::grant::Match;
use serde::Deserialize;
use serde_json::{Value, json};

/// What a search returns when it does not say how much.
const USUAL_LIMIT: u16 = 50;

/// The longest text of a parameter, in bytes.
const MAX_PARAMETER_BYTES: usize = 1024;

/// What is asked for, as it comes in a query.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) words: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) principal: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) table: Option<String>,
    pub(crate) finding: Option<String>,
    pub(crate) decision: Option<String>,
    pub(crate) approver: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) limit: Option<u16>,
    pub(crate) cursor: Option<i64>,
}

/// `GET /api/v1/search`: the newest operations that match all that is asked for, and where the next page begins.
pub(super) async fn search(
    State(api): State<Api>,
    caller: Caller,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    may_search(&api, &caller)?;
    let Query(asked) = query.map_err(|_| {
        Problem::malformed(
            "The parameters are `words`, `session`, `principal`, `target`, `table`, `finding`, `decision`, `approver`, \
             `since`, `until`, `limit` and `cursor`, each once; the last two are numbers.",
        )
    })?;
    let search = asked.read(caller.now).map_err(Problem::malformed)?;
    let state = api.grants.state();
    let found = state.search(&search).await.map_err(|problem| match problem {
        SearchProblem::NoWords => Problem::malformed(format!("{problem}.")),
        SearchProblem::Store(error) => AskError::from(error).into(),
    })?;
    let full = found.len() >= usize::from(search.limit);
    // A number in JSON may lose digits on the way.
    let next = found.last().filter(|_| full).map(|last| last.id.to_string());
    let shown: Vec<Value> = found.iter().map(|found| view(found, &search.words)).collect();
    Ok(Json(json!({ "operations": shown, "next": next, "indexing": state.indexing() })).into_response())
}

/// The one place that says who may: operators and auditors. For others it does not exist.
fn may_search(api: &Api, caller: &Caller) -> Result<(), Problem> {
    match api.grants.sees_everything(&caller.identity) {
        Match::Proved => Ok(()),
        _ => Err(Problem::not_found()),
    }
}

impl Asked {
    /// What is looked for, or what of it is not understood.
    pub(crate) fn read(self, now: Timestamp) -> Result<Search, String> {
        let limit = self.limit.unwrap_or(USUAL_LIMIT);
        if !(1..=MAX_FOUND).contains(&limit) {
            return Err(format!("`limit` is 1 to {MAX_FOUND}."));
        }
        if let Some(decision) = &self.decision
            && !["allowed", "refused", "held"].contains(&decision.as_str())
        {
            return Err("`decision` is `allowed`, `refused` or `held`.".into());
        }
        let facets = [
            (Facet::Session, self.session),
            (Facet::Principal, self.principal),
            (Facet::Target, self.target),
            (Facet::Table, self.table),
            (Facet::Finding, self.finding),
            (Facet::Decision, self.decision),
            (Facet::Approver, self.approver),
        ];
        let facets: Vec<_> = facets.into_iter().filter_map(|(facet, value)| Some((facet, value?))).collect();
        let words = self.words.unwrap_or_default();
        if facets.iter().map(|(_, value)| value).chain([&words]).any(|text| text.len() > MAX_PARAMETER_BYTES)
        {
            return Err(format!("A parameter has at most {MAX_PARAMETER_BYTES} bytes."));
        }
        let moment = |text: Option<String>| text.map(|text| moment(&text, now)).transpose();
        let (since, until) = (moment(self.since)?, moment(self.until)?);
        Ok(Search { words, facets, since, until, before: self.cursor, limit })
    }
}

/// A moment, or how long ago it was.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let wrong = || "A moment is like `2026-12-24T18:00:00Z`, or how long ago it was, like `7d`.".to_owned();
    let ago = parse_duration(text).map_err(|_| wrong())?;
    now.checked_sub(ago).map_err(|_| wrong())
}

/// The story without its whole texts, and the part of them that was found.
fn view(found: &Found, words: &str) -> Value {
    let mut story = found.story.clone();
    let text = story.pointer_mut("/operation/text").map(Value::take);
    let snippet = snippet(text.as_ref().and_then(Value::as_str).unwrap_or_default(), words);
    if let Some(operation) = story.pointer_mut("/operation").and_then(Value::as_object_mut) {
        operation.remove("text");
    }
    let mut view = json!({
        "session": found.session,
        "number": found.operation,
        "at": found.at,
        "principal": found.principal,
        "target": found.target,
        "snippet": snippet,
    });
    if let (Some(view), Value::Object(story)) = (view.as_object_mut(), story) {
        view.extend(story);
    }
    view
}
