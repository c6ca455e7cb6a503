//! Cancel requests, routed to the one session that they name.
//!
//! A client gets a secret of our own; the target's stays here. The process id is passed through, because drivers compare
//! it with `pg_backend_pid()`. A cancel request is not authenticated otherwise (PostgreSQL manual, "Canceling Requests
//! in Progress"), so the secret is all there is: it is compared whole, and a wrong one is answered by silence.

use super::dial::TargetKey;
use crate::protocol::Goodbye;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, Semaphore};

/// Cancel requests of one session that are passed on at one moment. Each is a connection to the target, and a client that
/// knows its own key may send as many as it likes; more would stop nothing that these do not.
const MAX_AT_ONCE: usize = 2;

/// The keys that live sessions gave to their clients.
#[derive(Default)]
pub(super) struct CancelRegistry {
    by_key: Mutex<HashMap<ClientKey, Arc<Cancel>>>,
}

/// The longest secret of a cancel request, in bytes (PostgreSQL manual, CancelRequest).
pub(super) const MAX_SECRET_BYTES: usize = 256;

/// The secret is as long as the client's version of the protocol has it: 4 bytes before 3.2, then 32. A key counts whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    process: u32,
    secret: Box<[u8]>,
}

/// How a session is cancelled: its held operation is withdrawn, and the target is asked to stop what runs.
pub(super) struct Cancel {
    target: TargetKey,
    asked: Notify,
    passing: Semaphore,
    times: AtomicU64,
}

impl Cancel {
    /// How often the client has asked so far.
    pub(super) fn times_asked(&self) -> u64 {
        self.times.load(Ordering::Acquire)
    }

    /// Resolves when the client has asked more often than `times`: an old request never cancels what came later.
    pub(super) async fn asked_since(&self, times: u64) {
        loop {
            let asked = self.asked.notified();
            if self.times_asked() > times {
                return;
            }
            asked.await;
        }
    }

    /// Asks the target to stop what runs.
    pub(super) async fn cancel_target(&self) -> std::io::Result<()> {
        self.target.cancel().await
    }
}

/// A session's entry; gone with it.
pub(super) struct CancelEntry {
    registry: Arc<CancelRegistry>,
    key: ClientKey,
    pub(super) cancel: Arc<Cancel>,
}

impl CancelEntry {
    pub(super) fn process(&self) -> u32 {
        self.key.process
    }

    pub(super) fn secret(&self) -> &[u8] {
        &self.key.secret
    }
}

impl Drop for CancelEntry {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.key);
    }
}

impl CancelRegistry {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClientKey, Arc<Cancel>>> {
        // The map is whole after any panic: every change is one call.
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a session its own secret of so many bytes. None when no randomness can be had: then the session does not start.
    pub(super) fn enter(self: &Arc<Self>, target: TargetKey, bytes: usize) -> Option<CancelEntry> {
        let cancel = Arc::new(Cancel {
            asked: Notify::new(),
            passing: Semaphore::new(MAX_AT_ONCE),
            times: AtomicU64::new(0),
            target,
        });
        let process = cancel.target.process;
        let mut keys = self.lock();
        // Two targets may give the same process id; then the secret has to differ.
        for _ in 0..8 {
            let mut secret = vec![0u8; bytes];
            aws_lc_rs::rand::fill(&mut secret).ok()?;
            let key = ClientKey { process, secret: secret.into() };
            if let std::collections::hash_map::Entry::Vacant(entry) = keys.entry(key.clone()) {
                entry.insert(Arc::clone(&cancel));
                drop(keys);
                return Some(CancelEntry { registry: Arc::clone(self), key, cancel });
            }
        }
        None
    }

    /// Serves one cancel request (packet without its length).
    pub(super) async fn request(&self, packet: &[u8]) -> Goodbye {
        let Some((process, secret)) = key(packet) else {
            return Goodbye { why: "a cancel request of a wrong length" };
        };
        let key = ClientKey { process, secret: secret.into() };
        let found = self.lock().get(&key).cloned();
        match found {
            None => Goodbye { why: "a cancel request for no session" },
            Some(cancel) => {
                cancel.times.fetch_add(1, Ordering::AcqRel);
                cancel.asked.notify_waiters();
                let Ok(_turn) = cancel.passing.try_acquire() else {
                    return Goodbye { why: "a cancel request while others are on their way" };
                };
                match cancel.cancel_target().await {
                    Ok(()) => Goodbye { why: "a cancel request was passed on" },
                    Err(_) => Goodbye { why: "a cancel request could not be passed on" },
                }
            }
        }
    }
}

/// The process and the secret of a cancel request (packet without its length); none when it has another length.
pub(super) fn key(packet: &[u8]) -> Option<(u32, &[u8])> {
    let (process, secret) = packet.get(4..)?.split_first_chunk::<4>()?;
    (secret.len() <= MAX_SECRET_BYTES).then_some((u32::from_be_bytes(*process), secret))
}
