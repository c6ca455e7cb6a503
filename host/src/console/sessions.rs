//! Sessions: found by what was done in them, or the newest as their recordings lie in the folder.
//!
//! With a filter the search index is asked ([`crate::state::Search`]), which knows operations of all gateways on the store; without one
//! this gateway's folder is listed, which also knows sessions in which nothing was done, and works without an index. All that is asked for stands in the address, so a search can be
//! sent to somebody.
//!
//! What may go wrong: the index is behind, or says what a recording does not. It proves nothing: each session leads to its recording, which does.

use super::Console;
use super::approvals::refused;
use super::pages::Page;
use super::roles::{May, Watch};
use crate::api::SearchAsked;
use crate::grant::AskError;
use crate::recorder::{Library, Listing, RecorderError, session_of};
use crate::state::{Found, Indexing, SearchProblem};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use chaperone_core::Timestamp;
use chaperone_core::name::SessionId;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

mod timeline;
mod view;

/// Recordings of one page.
const PAGE: usize = 25;

/// Operations of one page of a search.
const FOUND: u16 = 100;

/// Searches of pages that run at one time: half of the store's readers, so that whoever is to be let in never waits for those who look.
const SEARCHES: usize = 2;

/// How long a search may take, the wait for others included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Turns of those who search.
#[derive(Clone)]
pub(super) struct Searching(Arc<Semaphore>);

impl Default for Searching {
    fn default() -> Self {
        Searching(Arc::new(Semaphore::new(SEARCHES)))
    }
}

/// The form. Each field may be there and empty.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Filters {
    words: String,
    principal: String,
    target: String,
    table: String,
    finding: String,
    decision: String,
    approver: String,
    session: String,
    since: String,
    until: String,
    /// Where a page of a search goes on.
    cursor: String,
    /// Where a page of the folder goes on: a day and a session.
    before: String,
    /// `break-glass`: the other folder.
    folder: String,
}

impl Filters {
    /// What is asked for, by name, in the form's order.
    fn fields(&self) -> [(&'static str, &str); 10] {
        [
            ("words", &self.words),
            ("target", &self.target),
            ("principal", &self.principal),
            ("table", &self.table),
            ("finding", &self.finding),
            ("decision", &self.decision),
            ("approver", &self.approver),
            ("session", &self.session),
            ("since", &self.since),
            ("until", &self.until),
        ]
    }

    fn is_empty(&self) -> bool {
        self.fields().iter().all(|(_, value)| value.trim().is_empty())
    }

    /// The address of the same with these in addition.
    fn address(&self, more: &[(&str, &str)]) -> String {
        let set = self.fields().into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
        let all = set.chain(more.iter().copied()).filter(|(_, value)| !value.trim().is_empty());
        let Ok(mut url) = reqwest::Url::parse("http://console/console/sessions") else {
            return String::new();
        };
        url.query_pairs_mut().extend_pairs(all.map(|(name, value)| (name, value.trim())));
        format!("{}?{}", url.path(), url.query().unwrap_or_default())
    }

    fn asked(&self) -> Result<SearchAsked, String> {
        let set = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let cursor = set(&self.cursor).map(|text| text.parse()).transpose();
        Ok(SearchAsked {
            words: set(&self.words),
            session: set(&self.session),
            principal: set(&self.principal),
            target: set(&self.target),
            table: set(&self.table),
            finding: set(&self.finding),
            decision: set(&self.decision),
            approver: set(&self.approver),
            since: set(&self.since),
            until: set(&self.until),
            limit: Some(FOUND),
            cursor: cursor.map_err(|_| "This is no place where a search goes on.".to_owned())?,
        })
    }
}

/// What a page lists.
enum Listed {
    /// Recordings of a folder, and where the next page begins.
    Folder { listing: Listing, next: Option<String>, glass: Glass },
    /// Sessions in which something was found, and where the next page begins.
    Search { sessions: Vec<Hits>, next: Option<i64>, indexing: Indexing },
    /// What is asked for is not understood.
    Problem(String),
}

/// Whether there is another folder, for break glass, and whether this is it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Glass {
    None,
    Elsewhere,
    Here,
}

/// What was found in one session, the newest first. Never empty.
struct Hits {
    session: SessionId,
    found: Vec<Found>,
}

/// `GET /console/sessions`.
pub(super) async fn show(
    State(console): State<Console>,
    may: May<Watch>,
    query: Result<Query<Filters>, QueryRejection>,
) -> Result<Page, Page> {
    // Fails closed: a filter that is not understood is not left out.
    let Query(filters) = query.map_err(|_| {
        let text = "The address has a filter that there is not, or one of them twice.";
        Page::error(StatusCode::BAD_REQUEST, "Not understood", text)
    })?;
    let listed = if filters.is_empty() {
        folder(&console, &may, &filters).await?
    } else {
        match filters.asked() {
            Ok(asked) => search(&console, asked, may.now).await?,
            Err(problem) => Listed::Problem(problem),
        }
    };
    Ok(view::sessions(&may, &filters, &listed))
}

async fn search(console: &Console, asked: SearchAsked, now: Timestamp) -> Result<Listed, Page> {
    let search = match asked.read(now) {
        Ok(search) => search,
        Err(problem) => return Ok(Listed::Problem(problem)),
    };
    let state = console.grants.state();
    let looked = tokio::time::timeout(PATIENCE, async {
        // It is never closed; were it, nothing would be looked for.
        let _turn = console.searching.0.acquire().await.ok()?;
        Some(state.search(&search).await)
    });
    let Ok(Some(found)) = looked.await else {
        let text = "The search took too long, or too many others search. Narrow it down, by a time for one, and try again.";
        return Err(Page::error(StatusCode::SERVICE_UNAVAILABLE, "Not found in time", text));
    };
    let found = match found {
        Ok(found) => found,
        Err(problem @ SearchProblem::NoWords) => return Ok(Listed::Problem(format!("{problem}."))),
        Err(SearchProblem::Store(error)) => return Err(refused(AskError::from(error))),
    };
    let full = found.len() >= usize::from(search.limit);
    let next = found.last().filter(|_| full).map(|last| last.id);
    Ok(Listed::Search { sessions: by_session(found), next, indexing: state.indexing() })
}

/// Sessions in the order of their newest operation.
fn by_session(found: Vec<Found>) -> Vec<Hits> {
    let mut sessions: Vec<Hits> = Vec::new();
    for one in found {
        match sessions.iter_mut().find(|hits| hits.session == one.session) {
            Some(hits) => hits.found.push(one),
            None => sessions.push(Hits { session: one.session, found: vec![one] }),
        }
    }
    sessions
}

async fn folder(console: &Console, may: &May<Watch>, filters: &Filters) -> Result<Listed, Page> {
    let here = filters.folder == "break-glass";
    let glass = match (console.archive.folders.len(), here) {
        (_, true) => Glass::Here,
        (0 | 1, false) => Glass::None,
        (_, false) => Glass::Elsewhere,
    };
    let Some(library) = console.archive.folders.get(usize::from(here)).cloned() else {
        return Ok(Listed::Problem("There is no such folder.".into()));
    };
    let before = match filters.before.as_str() {
        "" => None,
        text => match place(text) {
            Some(place) => Some(place),
            None => return Ok(Listed::Problem("This is no place where the list goes on.".into())),
        },
    };
    let principal = &may.identity.facts().principal;
    let listed = console.desk.read(principal, move |_| list(&library, before)).await?;
    let (listing, next) = listed.map_err(|error| {
        Page::error(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be read", &format!("{error}."))
    })?;
    Ok(Listed::Folder { listing, next, glass })
}

/// A day and a session.
fn place(text: &str) -> Option<(String, SessionId)> {
    let (day, session) = text.split_once('/')?;
    let day: jiff::civil::Date = day.parse().ok()?;
    Some((day.to_string(), session.parse().ok()?))
}

/// It reads files: not for a thread of the runtime.
fn list(
    library: &Library,
    before: Option<(String, SessionId)>,
) -> Result<(Listing, Option<String>), RecorderError> {
    let before = before.as_ref().map(|(day, session)| (day.as_str(), *session));
    let mut paths = library.page(before, PAGE + 1)?;
    let more = paths.len() > PAGE;
    paths.truncate(PAGE);
    let next = paths.last().filter(|_| more).and_then(|last| after(last));
    let mut listing = Listing::default();
    for path in paths {
        match library.summary(&path) {
            Ok(summary) => listing.sessions.push(summary),
            // Sealed or deleted since the folder was looked at.
            Err(_) if !path.exists() => {}
            Err(error) => listing.unreadable.push((path, error)),
        }
    }
    Ok((listing, next))
}

fn after(last: &Path) -> Option<String> {
    let day = last.parent()?.file_name()?.to_str()?;
    Some(format!("{day}/{}", session_of(last)?))
}
