//! Whether a new session would get in, as far as this gateway's own means go: its state can be written, its recordings can, and
//! it is not going down. What is others' (providers' keys, targets) is not asked: one of them that is down is no
//! reason to take a gateway away from all the others.
//!
//! It is tried, not concluded: a row is written, and a file. So it is tried once a second at most, whoever asks how often,
//! and a disk that hangs keeps one thread and not one more with every question.
//!
//! What may go wrong: a session is refused in the second before somebody notices. That it is refused is not up to this module.

use super::Gateway;
use crate::recorder::Recorder;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// How old an answer may be that is given again.
const FRESH: Duration = Duration::from_secs(1);

/// How long the state store and the disk have for their answers: less than probes usually wait, so that they get ours.
const PATIENCE: Duration = Duration::from_millis(800);

const DRAINING: &str = "draining: the gateway is being stopped";
const STATE_FAILS: &str = "state: the store cannot be written";
const STATE_SILENT: &str = "state: the store does not answer";
const NO_ROOM: &str = "recordings: there is too little room";
const NOT_WRITABLE: &str = "recordings: the folder cannot be written";
const DISK_SILENT: &str = "recordings: the disk does not answer";

/// Tries, and remembers what it found.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Tried>);

#[derive(Debug, Default)]
struct Tried {
    found: Option<(Instant, Vec<&'static str>)>,
    /// A look at the disk that has not come back.
    looking: Option<JoinHandle<Option<&'static str>>>,
}

impl Readiness {
    /// Why no session would get in; nothing: one would. Words of our own: no path and no error is in them.
    pub(super) async fn reasons(&self, gateway: &Gateway) -> Vec<&'static str> {
        if gateway.draining.is_cancelled() {
            return vec![DRAINING];
        }
        let mut tried = self.0.lock().await;
        if let Some((at, reasons)) = &tried.found
            && at.elapsed() < FRESH
        {
            return reasons.clone();
        }
        let (state, disk) = tokio::join!(state(gateway), disk(&gateway.recorder, &mut tried.looking));
        let reasons: Vec<_> = state.into_iter().chain(disk).collect();
        tried.found = Some((Instant::now(), reasons.clone()));
        reasons
    }
}

async fn state(gateway: &Gateway) -> Option<&'static str> {
    let grants = &gateway.grants;
    // A write that is made from time to time anyway.
    let write = grants.state().clock_has_come_to(grants.clock().now());
    match tokio::time::timeout(PATIENCE, write).await {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some(STATE_FAILS),
        Err(_) => Some(STATE_SILENT),
    }
}

async fn disk(
    recorder: &Recorder,
    looking: &mut Option<JoinHandle<Option<&'static str>>>,
) -> Option<&'static str> {
    let recorder = recorder.clone();
    let look = looking.get_or_insert_with(|| tokio::task::spawn_blocking(move || trouble(&recorder)));
    let Ok(looked) = tokio::time::timeout(PATIENCE, look).await else { return Some(DISK_SILENT) };
    *looking = None;
    // A look that broke has not seen that the disk works: fails closed.
    looked.unwrap_or(Some(NOT_WRITABLE))
}

/// What keeps a recording from being opened. Waits for the disk.
fn trouble(recorder: &Recorder) -> Option<&'static str> {
    match recorder.space() {
        Ok(space) if space.is_below(recorder.watermarks().refuse) => Some(NO_ROOM),
        _ if recorder.is_writable() => None,
        _ => Some(NOT_WRITABLE),
    }
}
