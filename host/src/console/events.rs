//! Tells a page that there is something new to see: server-sent events (HTML standard, section 9.2), for the cookie of a sign-in.
//!
//! The stream carries no data: `ready` once, then `changed` whenever what its reader may see has changed, so that a page asks for
//! itself again, by the road and the roles of every page. It ends with the sign-in. What may go wrong: a reader that does not
//! read. Then nothing is looked up for it, and it holds its one place.

use super::Console;
use super::now::Picture;
use super::pages::Page;
use super::roles::{Action, Answer, May, Watch};
use crate::api::{KEEP_ALIVE, Turns, Waiter};
use crate::state::StoredApproval;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};

/// `GET /console/events`.
pub(super) async fn events(State(console): State<Console>, may: May<Answer>) -> Result<Response, Page> {
    let Some(place) = console.waiters.enter(&may.identity.facts().principal) else {
        let text = "Too many pages are live already, of all or of yours.";
        return Err(Page::error(StatusCode::TOO_MANY_REQUESTS, "Not live", text));
    };
    let turns = Turns::new(&console.grants);
    let stream =
        Stream { console, cookie: may.cookie.clone(), turns, seen: None, over: false, _place: place };
    let stream = futures_util::stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

struct Stream {
    console: Console,
    cookie: String,
    turns: Turns,
    /// A digest of what could be seen at the last look.
    seen: Option<u64>,
    over: bool,
    _place: Waiter,
}

impl Stream {
    async fn next(&mut self) -> Option<Event> {
        while !self.over {
            self.turns.next().await;
            let look = match self.look().await {
                Ok(look) => look,
                Err(Lost::Access) => {
                    self.over = true;
                    return Some(said("end"));
                }
                // The browser connects again by itself, and is told all anew.
                Err(Lost::Answer) => return None,
            };
            match self.seen.replace(look) {
                None => return Some(said("ready")),
                Some(before) if before != look => return Some(said("changed")),
                Some(_) => {}
            }
        }
        None
    }

    async fn look(&self) -> Result<u64, Lost> {
        let visitor = self.console.visitor(&self.cookie).await.map_err(|_| Lost::Access)?;
        let mut seen = DefaultHasher::new();
        if Watch::is_for(visitor.roles) {
            let picture = Picture::of(&self.console, &visitor.identity).await.map_err(|_| Lost::Answer)?;
            for session in &picture.sessions {
                (session.id, session.ends, session.activity).hash(&mut seen);
            }
            picture.windows.iter().for_each(|stored| stored.window.id().hash(&mut seen));
            waits(&picture.waits, &mut seen);
        } else {
            let own = self.console.grants.approvals(&visitor.identity).await;
            waits(&own.map_err(|_| Lost::Answer)?, &mut seen);
        }
        Ok(seen.finish())
    }
}

/// Why there is nothing to see.
enum Lost {
    /// The sign-in is over, or its person is not let in any more.
    Access,
    /// Nothing answers.
    Answer,
}

fn waits(all: &[StoredApproval], seen: &mut DefaultHasher) {
    for stored in all {
        (stored.id, stored.approval.decisions().len()).hash(seen);
    }
}

/// An event without data is none to a browser (HTML standard, section 9.2.6).
fn said(name: &'static str) -> Event {
    Event::default().event(name).data("-")
}
