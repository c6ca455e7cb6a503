//! Follows the recordings, open ones too, and hands what was done in them to a consumer: the search index, or a stream.
//!
//! Nothing of a session waits for it: it reads the files, on the control runtime, as any reader would. How far a consumer has come
//! in a recording stands in the state store as a number of events, which does not change when a file is packed or moved.
//! The cursor moves after the consumer has taken what is before it, or together with it, so everything is handed out at least
//! once whenever the gateway dies; an operation may come again, with more known of it. Several gateways that see the same
//! recordings claim them, so that each is read by one.
//!
//! What may go wrong: more is recorded than can be indexed. The feed leaves the machine to the sessions (`pace`) and
//! falls behind; how far, [`Lag`] says, and it catches up when less happens. What cannot be read
//! is left out, and the log says so: proving is `verify`'s business.

use crate::grant::Clock;
use crate::metrics::Lag;
use crate::recorder::{Library, Opening, RecorderError, SessionEnd};
use crate::state::{Advance, Moved, Standing, State, StateError};
use crate::story::Operation;
use chaperone_core::name::SessionId;
use chaperone_core::window::after;
use follow::{End, Follower, Step, Trouble};
use pace::Pace;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod follow;
mod index;
mod pace;
#[cfg(test)]
mod tests;

pub use index::Index;

/// How often new recordings are looked for, and the shortest time before an open one is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks take at most this part of the time.
const LOOK_SHARE: u32 = 50;

/// The shortest pause between two turns.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// The longest such time, for one in which nothing happens.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How often all days' folders are looked through, not only the newest two.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_secs(600);

/// How long a claim holds; it is renewed three times in that time.
const CLAIM: Duration = Duration::from_secs(60);

/// Recordings that are followed at once; others wait until one of them is over.
const MAX_FOLLOWED: usize = 8192;

/// Recordings that are claimed in one look: each claim is a write that waits for the disk.
const MAX_CLAIMS: usize = 256;

/// Steps in one recording before another has its turn.
const STEPS_IN_A_ROW: usize = 64;

/// Which operations a consumer is handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Each as soon as something is known of it, and again when more is: the newer takes the older's place.
    Changes,
    /// Each when nothing more is to come.
    Settled,
}

/// What a consumer is handed: operations of one recording, in no promised order.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Whose session it is, and on what.
    pub opening: &'a Opening,
    /// What was done.
    pub operations: &'a [Operation],
    /// How the session ended, with the last batch. Also that one may not say it: where a recording is damaged.
    pub end: Option<&'a SessionEnd>,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The store did not take it, or the step.
    #[error(transparent)]
    State(#[from] StateError),
    /// Whoever gets it did not; the consumer has said so in the log.
    #[error("the receiver did not take it")]
    Receiver,
}

/// What a consumer made of a batch.
pub type Taking<'a> = Pin<Box<dyn Future<Output = Result<Moved, NotTaken>> + Send + 'a>>;

/// Takes what was done in sessions.
pub trait Consumer: Send + Sync {
    /// The name of its cursors in the store.
    fn name(&self) -> &str;
    /// Which operations it wants.
    fn wants(&self) -> Wants;
    /// Takes a batch and then makes the step, or both in one transaction. What fails is handed out again.
    fn take<'a>(&'a self, batch: Batch<'a>, step: Advance<'a>) -> Taking<'a>;
    /// How long it has waited for others so far, which is no work of this machine.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }
}

/// Follows recordings for one consumer.
pub struct Feed {
    library: Library,
    state: State,
    clock: Arc<dyn Clock>,
    lag: Arc<Lag>,
    consumer: Arc<dyn Consumer>,
    followed: BTreeMap<SessionId, Follower>,
    /// Those of the newest days that need no look: never again, or not before the claim that another gateway has may be over.
    passed: BTreeMap<SessionId, Option<Instant>>,
    /// Those that cannot be read; tried again at the next start.
    unreadable: BTreeSet<SessionId>,
    /// When all days' folders are looked through next.
    look_at_all: Instant,
    renewed: Instant,
    pace: Pace,
}

/// Which folders are looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Days {
    Newest,
    All,
}

impl Feed {
    /// A feed that has not begun.
    pub fn new(
        library: Library,
        state: State,
        clock: Arc<dyn Clock>,
        lag: Arc<Lag>,
        consumer: Arc<dyn Consumer>,
    ) -> Self {
        Feed {
            library,
            state,
            clock,
            lag,
            consumer,
            followed: BTreeMap::new(),
            passed: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            look_at_all: Instant::now(),
            renewed: Instant::now(),
            pace: Pace::new(),
        }
    }

    /// Follows until `stop`, on the runtime that this is called on.
    pub fn start(mut self, tasks: &TaskTracker, stop: &CancellationToken) {
        let stop = stop.clone();
        tasks.spawn(async move {
            let _ = stop.run_until_cancelled(self.follow()).await;
        });
    }

    async fn follow(&mut self) {
        let mut look = Instant::now();
        loop {
            let began = Instant::now();
            if look <= began {
                if let Err(error) = self.look_round().await {
                    let consumer = self.consumer.name();
                    tracing::warn!(consumer, %error, "the feed could not look for recordings");
                }
                // Large folders are looked through less often.
                let pause = began.elapsed().saturating_mul(LOOK_SHARE);
                look = Instant::now() + pause.clamp(LOOK_EVERY, CLAIM / 3);
            }
            self.turn().await;
            self.measure();
            tokio::time::sleep(LOOK_EVERY.saturating_sub(began.elapsed()).max(SHORTEST_PAUSE)).await;
        }
    }

    /// Looks for recordings that nobody follows, and claims them.
    async fn look_round(&mut self) -> Result<(), FeedError> {
        let now = self.clock.now();
        let until = after(now, CLAIM).unwrap_or(now);
        if self.renewed.elapsed() > CLAIM / 3 {
            self.state.renew_claims(self.consumer.name(), until).await?;
            self.renewed = Instant::now();
        }
        let all = self.look_at_all <= Instant::now();
        let days = if all { Days::All } else { Days::Newest };
        let library = self.library.clone();
        let found = tokio::task::spawn_blocking(move || files(&library, days)).await??;
        let mut newest = BTreeSet::new();
        let mut claims = MAX_CLAIMS;
        for (index, files) in found.iter().enumerate() {
            if index < NEWEST_DAYS {
                newest.extend(files.keys().copied());
            }
            self.claim(files, &mut claims).await?;
        }
        self.passed.retain(|session, _| newest.contains(session));
        if all {
            // What is left over is soon looked for again.
            let left_over = claims == 0 || self.followed.len() >= MAX_FOLLOWED;
            self.look_at_all = Instant::now() + if left_over { LONGEST_PAUSE } else { LOOK_AT_ALL_EVERY };
        }
        Ok(())
    }

    /// Claims what is new among the recordings of a day, as far as there is room.
    async fn claim(
        &mut self,
        files: &BTreeMap<SessionId, PathBuf>,
        claims: &mut usize,
    ) -> Result<(), FeedError> {
        let consumer = Arc::clone(&self.consumer);
        let name = consumer.name();
        let is_new = |session: &SessionId| {
            let again =
                self.passed.get(session).is_none_or(|when| when.is_some_and(|when| when <= Instant::now()));
            again && !self.followed.contains_key(session) && !self.unreadable.contains(session)
        };
        let new: Vec<_> = files.iter().filter(|(session, _)| is_new(session)).collect();
        let (Some((first, _)), Some((last, _))) = (new.first(), new.last()) else { return Ok(()) };
        let done = self.state.recordings_done(name, **first, **last).await?;
        for (session, path) in new {
            if done.contains(session) {
                self.passed.insert(*session, None);
                continue;
            }
            if *claims == 0 || self.followed.len() >= MAX_FOLLOWED {
                return Ok(());
            }
            *claims -= 1;
            let now = self.clock.now();
            let until = after(now, CLAIM).unwrap_or(now);
            match self.state.claim_recording(name, *session, now, until).await? {
                Some(claim) => {
                    self.followed.insert(*session, Follower::new(*session, path.clone(), claim.events));
                }
                None => self.pass_over(*session),
            }
        }
        Ok(())
    }

    /// Another gateway has it. Should that one die, its claim is over soon.
    fn pass_over(&mut self, session: SessionId) {
        self.passed.insert(session, Some(Instant::now() + CLAIM));
    }

    /// Goes on in every recording that is due, those first that wait longest, until it is time to look round again.
    async fn turn(&mut self) {
        let began = Instant::now();
        let mut due: Vec<_> = self.followed.iter().map(|(session, one)| (one.due(), *session)).collect();
        due.retain(|(due, _)| *due <= began);
        due.sort_unstable();
        for (_, session) in due {
            for _ in 0..STEPS_IN_A_ROW {
                let (worked, waited) = (Instant::now(), self.consumer.waited());
                let went = self.step(session).await;
                let waited = self.consumer.waited().saturating_sub(waited);
                let rest = self.pace.rest_after(worked.elapsed().saturating_sub(waited));
                tokio::time::sleep(rest).await;
                if went == Went::NoFurther {
                    break;
                }
            }
            if began.elapsed() > LOOK_EVERY {
                break;
            }
        }
    }

    /// One step in one recording.
    async fn step(&mut self, session: SessionId) -> Went {
        let Some(mut follower) = self.followed.remove(&session) else { return Went::NoFurther };
        let (library, wants) = (self.library.clone(), self.consumer.wants());
        let read = tokio::task::spawn_blocking(move || {
            let read = follower.read(&library, wants);
            (follower, read)
        });
        // A task that was cancelled or broke has nothing to go on with.
        let Ok((mut follower, read)) = read.await else { return Went::NoFurther };
        let Step { operations, end } = match read {
            Ok(step) => step,
            // Deleted, with its rows: whoever deleted it sees to them.
            Err(Trouble::Gone) => return Went::NoFurther,
            Err(Trouble::Io(error)) => {
                tracing::warn!(%session, %error, "a recording cannot be read now");
                follower.pause();
                self.followed.insert(session, follower);
                return Went::NoFurther;
            }
        };
        let standing = if end == End::Over { Standing::Done } else { Standing::Open };
        if !self.hand_out(&mut follower, &operations, standing).await {
            return Went::NoFurther;
        }
        match end {
            End::More => {
                self.followed.insert(session, follower);
                Went::Further
            }
            End::CaughtUp => {
                follower.pause();
                self.followed.insert(session, follower);
                Went::NoFurther
            }
            End::Over => {
                self.passed.insert(session, None);
                Went::NoFurther
            }
            End::Broken(why) => {
                tracing::warn!(%session, why, "a recording is not followed any further: verify it");
                self.unreadable.insert(session);
                Went::NoFurther
            }
        }
    }

    /// Whether the recording is still this gateway's to follow.
    async fn hand_out(
        &mut self,
        follower: &mut Follower,
        operations: &[Operation],
        standing: Standing,
    ) -> bool {
        let (from, to) = follower.unmoved();
        let Some(opening) = follower.opening().filter(|_| from != to || standing == Standing::Done) else {
            // Nothing new; or no head, without which nobody knows whose it is.
            return true;
        };
        let now = self.clock.now();
        let (consumer, session, until) =
            (self.consumer.name(), follower.session(), after(now, CLAIM).unwrap_or(now));
        let step = Advance { consumer, session, from, to, standing, until };
        let end = follower.end().filter(|_| standing == Standing::Done);
        match self.consumer.take(Batch { opening, operations, end }, step).await {
            Ok(Moved::Yes) => {
                self.lag.operations.add(operations.len() as u64);
                follower.moved(to);
                true
            }
            Ok(Moved::No) => {
                tracing::debug!(%session, consumer, "another gateway has gone on with a recording");
                self.pass_over(session);
                false
            }
            Err(error) => {
                if let NotTaken::State(error) = error {
                    self.lag.failures.count();
                    tracing::warn!(%session, consumer, %error, "what was done in a session could not be handed on now");
                }
                // What was read is read again, from the cursor on.
                self.followed.insert(session, follower.again(from));
                false
            }
        }
    }

    fn measure(&self) {
        self.lag.set(self.followed.values().map(Follower::caught_up).min());
    }
}

/// Whether a recording had more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    Further,
    NoFurther,
}

/// Days in which recordings begin: today, and yesterday around midnight.
const NEWEST_DAYS: usize = 2;

/// The recordings of each day, newest day first.
fn files(library: &Library, days: Days) -> Result<Vec<BTreeMap<SessionId, PathBuf>>, RecorderError> {
    let most = if days == Days::All { usize::MAX } else { NEWEST_DAYS };
    let folders = library.days()?.into_iter().take(most);
    folders.map(|day| Ok(library.of_day(&day)?.into_iter().collect())).collect()
}

#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Recordings(#[from] RecorderError),
    #[error("the look was cut off")]
    Cut(#[from] tokio::task::JoinError),
}
