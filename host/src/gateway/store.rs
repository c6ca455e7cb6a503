//! The state store, and the clock that goes on from where the store says it was.

use super::run::StartError;
use crate::config::{self, Config};
use crate::grant::SystemClock;
use crate::state::State;
use chaperone_core::Timestamp;
use std::net::SocketAddr;

/// How far the machine's clock may be behind the noted time before somebody has to look at it.
const MOST_SECONDS_BEHIND: i64 = 24 * 3600;

/// Opens the store that the configuration names.
pub(super) async fn open(config: &Config, listens: SocketAddr) -> Result<State, StartError> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let node = format!("{}:{}", name.trim(), listens.port());
    let opened = match &config.state {
        config::State::Sqlite(path) => State::sqlite(path, "local").await,
        config::State::Postgres(url) => State::postgres(&url.expose().into(), &node).await,
    };
    let opened = opened.map(|state| state.telling(super::notify::routes(config)));
    opened.map(|state| state.with_indexing(config.recording.search)).map_err(|error| {
        StartError::new(error, "check `state` in the configuration, and that it can be written")
    })
}

/// A clock that does not go behind where it was before a restart. One that is far behind is not believed: either it is wrong
/// now, or it was then, and somebody has to look at it.
pub(super) async fn clock(state: &State) -> Result<SystemClock, StartError> {
    let read = state.furthest().await;
    let furthest = read.map_err(|error| StartError::new(error, "check `state`, and that it can be read"))?;
    let now = Timestamp::now();
    let Some(furthest) = furthest.filter(|furthest| *furthest > now) else { return Ok(SystemClock::new()) };
    if furthest.duration_since(now).as_secs() > MOST_SECONDS_BEHIND {
        let what = format!(
            "this machine's clock says {now:.0}, and this gateway has run until {furthest:.0}: a clock that is set back \
             would open windows again that are closed"
        );
        return Err(StartError::new(
            what,
            "set the clock right; if it was wrong before, delete this gateway's row of the table `clock` in the state store",
        ));
    }
    tracing::warn!(%now, %furthest, "the clock was set back; this gateway goes on from where it was");
    Ok(SystemClock::not_before(furthest))
}
