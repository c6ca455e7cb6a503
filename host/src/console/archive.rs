//! The recordings that pages are made of: where they are, whose signature counts, and who may read how much of them at once.
//!
//! Reading takes the disk and a processor, so it never runs on a thread that answers others: at most [`READERS`] read at one
//! time, one person waits at most as often as for a live page ([`Waiters`]), and who has left is not read for any longer.
//!
//! What may go wrong: a recording that is very long. Its reading is given up when its reader leaves; nothing else waits for it
//! but other readers, who are told after [`PATIENCE`].

use super::pages::Page;
use crate::api::Waiters;
use crate::recorder::sign::PublicKeys;
use crate::recorder::{Library, RecorderError, Tombstone};
use axum::http::StatusCode;
use chaperone_core::name::{Principal, SessionId};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Recordings that are read at one time, by all.
pub const READERS: usize = 2;

/// How long somebody waits for others to have read.
const PATIENCE: Duration = Duration::from_secs(20);

/// The recordings of this gateway.
#[derive(Debug, Default)]
pub struct Archive {
    /// The usual folder first, then that of break glass.
    pub folders: Vec<Library>,
    /// Keys whose signatures count: this gateway's own.
    pub keys: PublicKeys,
}

/// What there is of a session.
pub(super) enum Found {
    /// Its recording.
    Recording(Library, PathBuf),
    /// A note that it was deleted by the rules; else what is wrong with the note.
    Tombstone(Result<Tombstone, String>),
    Nothing,
}

impl Archive {
    /// Looks for a session's recording. It reads folders: not for a thread of the runtime.
    pub(super) fn find(&self, session: SessionId) -> Result<Found, RecorderError> {
        for library in &self.folders {
            if let Some(path) = library.find(session)? {
                return Ok(Found::Recording(library.clone(), path));
            }
        }
        for library in &self.folders {
            if let Some(tombstone) = library.tombstone(session, &self.keys)? {
                return Ok(Found::Tombstone(tombstone));
            }
        }
        Ok(Found::Nothing)
    }
}

/// Where recordings are read.
#[derive(Clone)]
pub(super) struct Desk {
    waiting: Waiters,
    places: Arc<Semaphore>,
}

impl Default for Desk {
    fn default() -> Self {
        Desk { waiting: Waiters::default(), places: Arc::new(Semaphore::new(READERS)) }
    }
}

/// Whether whoever asked has left.
#[derive(Debug, Clone, Default)]
pub(super) struct Left(Arc<AtomicBool>);

impl Left {
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says so when it is dropped.
struct Asking(Left);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Desk {
    /// Does something for somebody that takes the disk, when it is their turn.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        who: &Principal,
        work: impl FnOnce(&Left) -> T + Send + 'static,
    ) -> Result<T, Page> {
        let Some(waiting) = self.waiting.enter(who) else {
            let text = "You are reading as much at once as one person may. Wait for one of your pages, and load this one again.";
            return Err(Page::error(StatusCode::TOO_MANY_REQUESTS, "Not now", text));
        };
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let text = "Others are reading long recordings. Load the page again in a moment.";
            return Err(Page::error(StatusCode::SERVICE_UNAVAILABLE, "Not now", text));
        };
        let left = Left::default();
        let asking = Asking(left.clone());
        // The place is taken until the work is over, also when nobody waits for it any more.
        let done = tokio::task::spawn_blocking(move || {
            let _kept = (waiting, place);
            work(&left)
        });
        let done = done.await;
        drop(asking);
        done.map_err(|_| {
            Page::error(StatusCode::INTERNAL_SERVER_ERROR, "Not shown", "The recording could not be read.")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(number: usize) -> Principal {
        Principal::try_from(format!("corp/t/{number}")).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn few_read_at_once_and_who_has_left_is_not_read_for() {
        let desk = Desk::default();
        let (told, mut telling) = tokio::sync::mpsc::unbounded_channel();
        let reading: Vec<_> = (0..READERS)
            .map(|number| {
                let (desk, told) = (desk.clone(), told.clone());
                tokio::spawn(async move {
                    let work = move |left: &Left| {
                        told.send("reads").unwrap();
                        while !left.is_so() {
                            std::thread::yield_now();
                        }
                        told.send("left").unwrap();
                    };
                    drop(desk.read(&principal(number), work).await);
                })
            })
            .collect();
        for _ in 0..READERS {
            assert_eq!(telling.recv().await, Some("reads"));
        }
        assert_eq!(desk.places.available_permits(), 0, "another one waits");
        reading.iter().for_each(tokio::task::JoinHandle::abort);
        for _ in 0..READERS {
            assert_eq!(telling.recv().await, Some("left"));
        }
        assert!(desk.read(&principal(9), |_| 7).await.is_ok_and(|seven| seven == 7));
    }
}
