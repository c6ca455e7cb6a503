//! Answers of Graph that still count, and look-ups under way.
//!
//! - **Nothing stale.** An answer counts for the configured time and is never served after it, whether or not Graph answers then:
//!   who was taken out of a group is out when the time is over.
//! - **One look-up for each caller at a time**, however many of their connections wait for it. It is a task of its own on the
//!   control runtime: a caller who goes away does not take it along, and it has its own time bound.
//! - **A failure counts for a moment**, so that a caller who tries again and again while Graph is down is told so at once.

use super::super::keys::landed;
use super::client::{Client, GraphError, Place};
use super::seen::{Account, Seen};
use chaperone_core::Timestamp;
use chaperone_core::name::ProviderName;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// How many callers of one provider are remembered.
pub(super) const MAX_KNOWN: usize = 10_000;

/// Look-ups of one provider at a time; the others wait, within their own time.
const MAX_AT_ONCE: usize = 32;

/// How long a failed look-up counts, in seconds.
pub(super) const FAILED_SECONDS: i64 = 2;

/// Whom a look-up is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Whom {
    pub(super) tenant: String,
    pub(super) object_id: String,
}

/// A question.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) whom: Whom,
    pub(super) place: Place,
    pub(super) groups: Arc<BTreeSet<String>>,
    /// An answer from before this moment does not count.
    pub(super) not_before: Timestamp,
}

/// Graph has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Silent;

/// The memory of one provider.
pub(super) struct Known {
    pub(super) provider: ProviderName,
    clients: HashMap<String, Client>,
    patience: Duration,
    entries: Mutex<HashMap<Whom, Entry>>,
    places: Semaphore,
}

#[derive(Default)]
struct Entry {
    seen: Option<Arc<Seen>>,
    failed: Option<Timestamp>,
    /// Its sender lives in the task that looks.
    running: Option<watch::Receiver<()>>,
}

/// Whether a look-up was waited for already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    No,
    Yes,
}

/// What a glance at the memory gives.
enum Glance {
    Answer(Result<Arc<Seen>, Silent>),
    UnderWay(watch::Receiver<()>),
}

impl Known {
    pub(super) fn new(provider: ProviderName, clients: HashMap<String, Client>, patience: Duration) -> Self {
        let places = Semaphore::new(MAX_AT_ONCE);
        Known { provider, clients, patience, entries: Mutex::default(), places }
    }

    /// Whether it is about this tenant.
    pub(super) fn asks_in(&self, tenant: &str) -> bool {
        self.clients.contains_key(tenant)
    }

    /// The answer from memory, or a new one.
    pub(super) async fn ask(
        self: &Arc<Self>,
        question: &Question,
        now: Timestamp,
        runtime: &Handle,
    ) -> Result<Arc<Seen>, Silent> {
        // What is under way may have been asked for less, or too long ago: then once more.
        for waited in [Waited::No, Waited::Yes, Waited::Yes] {
            match self.glance(question, waited, now, runtime) {
                Glance::Answer(answer) => return answer,
                Glance::UnderWay(flight) => landed(flight).await,
            }
        }
        Err(Silent)
    }

    fn glance(
        self: &Arc<Self>,
        question: &Question,
        waited: Waited,
        now: Timestamp,
        runtime: &Handle,
    ) -> Glance {
        let mut entries = self.lock();
        if let Some(entry) = entries.get(&question.whom) {
            if let Some(seen) = entry.seen.as_ref().filter(|seen| answers(seen, question)) {
                return Glance::Answer(Ok(Arc::clone(seen)));
            }
            if let Some(running) = entry.under_way() {
                return Glance::UnderWay(running);
            }
            let recent = |at: Timestamp| (now.as_second() - at.as_second()).abs() < FAILED_SECONDS;
            // Who has waited for a look-up that failed does not wait for the next one, too.
            if entry.failed.is_some_and(|at| waited == Waited::Yes || recent(at)) {
                return Glance::Answer(Err(Silent));
            }
        }
        if !make_room(&mut entries, question) {
            return Glance::Answer(Err(Silent));
        }
        let (done, running) = watch::channel(());
        entries.entry(question.whom.clone()).or_default().running = Some(running.clone());
        let (known, question) = (Arc::clone(self), question.clone());
        runtime.spawn(async move {
            let found = known.look(&question, now).await;
            known.keep(question, found, now);
            drop(done);
        });
        Glance::UnderWay(running)
    }

    async fn look(&self, question: &Question, now: Timestamp) -> Result<Option<Account>, GraphError> {
        let Whom { tenant, object_id } = &question.whom;
        let client = self.clients.get(tenant).ok_or(GraphError::Answer("no such tenant"))?;
        let look = async {
            // Closed never; an error would be a look-up more at a time.
            let _place = self.places.acquire().await;
            client.look(object_id, question.place, &question.groups, now).await
        };
        tokio::time::timeout(self.patience, look).await.unwrap_or(Err(GraphError::Late))
    }

    fn keep(&self, question: Question, found: Result<Option<Account>, GraphError>, now: Timestamp) {
        let mut entries = self.lock();
        let entry = entries.entry(question.whom).or_default();
        entry.running = None;
        match found {
            Ok(account) => {
                entry.seen = Some(Arc::new(Seen { at: now, asked: question.groups, account }));
                entry.failed = None;
            }
            Err(error) => {
                tracing::warn!(provider = %self.provider, %error, "Microsoft Graph did not answer");
                entry.failed = Some(now);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Whom, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The look-up under way, if any. Its sender is dropped when the task ends, also by a panic or a runtime's end.
    fn under_way(&self) -> Option<watch::Receiver<()>> {
        self.running.clone().filter(|running| running.has_changed().is_ok())
    }
}

fn answers(seen: &Seen, question: &Question) -> bool {
    seen.at >= question.not_before
        && (Arc::ptr_eq(&seen.asked, &question.groups) || question.groups.is_subset(&seen.asked))
}

/// Room for one more. When it is short, first what does not count any more goes, then all that nobody waits for: that costs
/// look-ups and lets nobody in.
fn make_room(entries: &mut HashMap<Whom, Entry>, question: &Question) -> bool {
    if entries.len() < MAX_KNOWN || entries.contains_key(&question.whom) {
        return true;
    }
    let counts = |entry: &Entry| entry.seen.as_ref().is_some_and(|seen| seen.at >= question.not_before);
    entries.retain(|_, entry| entry.under_way().is_some() || counts(entry));
    if entries.len() >= MAX_KNOWN {
        entries.retain(|_, entry| entry.under_way().is_some());
    }
    entries.len() < MAX_KNOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whom(number: usize) -> Whom {
        Whom { tenant: "t".into(), object_id: number.to_string() }
    }

    fn question(number: usize, seconds: i64) -> Question {
        let not_before = Timestamp::from_second(seconds).unwrap();
        Question { whom: whom(number), place: Place::Users, groups: Arc::default(), not_before }
    }

    fn entry(seconds: i64) -> Entry {
        let at = Timestamp::from_second(seconds).unwrap();
        let seen = Seen { at, asked: Arc::default(), account: None };
        Entry { seen: Some(Arc::new(seen)), ..Entry::default() }
    }

    #[test]
    fn the_memory_of_answers_is_bounded() {
        let fill = |seconds| (0..MAX_KNOWN).map(|number| (whom(number), entry(seconds))).collect();
        let mut entries: HashMap<Whom, Entry> = fill(100);
        assert!(make_room(&mut entries, &question(7, 100)), "it has its place already");
        assert_eq!(entries.len(), MAX_KNOWN);

        // Two look-ups under way, one answer that still counts, and the rest too old.
        let (kept, running) = watch::channel(());
        for number in [1, 2] {
            entries.get_mut(&whom(number)).unwrap().running = Some(running.clone());
        }
        entries.insert(whom(3), entry(200));
        assert!(make_room(&mut entries, &question(MAX_KNOWN, 150)));
        let mut left: Vec<_> = entries.keys().map(|whom| whom.object_id.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["1", "2", "3"]);

        // All of them count: they have to be asked for again.
        let mut entries: HashMap<Whom, Entry> = fill(100);
        entries.get_mut(&whom(1)).unwrap().running = Some(running.clone());
        assert!(make_room(&mut entries, &question(MAX_KNOWN, 50)));
        assert_eq!(entries.len(), 1);

        // All of them are under way: no more.
        let mut entries: HashMap<Whom, Entry> = fill(100);
        entries.values_mut().for_each(|entry| entry.running = Some(running.clone()));
        assert!(!make_room(&mut entries, &question(MAX_KNOWN, 50)));
        drop(kept);
        assert!(make_room(&mut entries, &question(MAX_KNOWN, 150)), "a task that is gone is not under way");
    }
}
