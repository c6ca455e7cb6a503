//! Accepts connections and spreads them over the session threads.
//!
//! Each session thread runs a runtime of its own and one task for each session, so that a session never moves and
//! never wakes another thread. What may go wrong: a flood. So the number of connections is bounded, the ones still
//! greeting are bounded apart (a slow handshake must not use up the places of sessions), and accepting never waits
//! for a handshake.

use crate::keepalive::keep_alive;
use crate::metrics::{self, Metrics};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Connections that wait in one thread's queue; over it, new ones are closed at once.
const QUEUE_PER_THREAD: usize = 1024;

/// A client's transport connection, not yet trusted with anything.
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its place among all connections; given back when it is dropped.
    pub place: OwnedSemaphorePermit,
    /// Its place among those that have not logged in; given back when it is admitted.
    pub greeting: OwnedSemaphorePermit,
}

/// Bounds of a listener.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// Connections of all kinds at one moment.
    pub connections: usize,
    /// From accept to credential.
    pub greet_timeout: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        ListenerLimits { connections: 10_000, greet_timeout: Duration::from_secs(10) }
    }
}

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The threads that carry sessions.
pub struct SessionThreads {
    queues: Vec<mpsc::Sender<Job>>,
    handles: Vec<std::thread::JoinHandle<()>>,
}

impl SessionThreads {
    /// Starts `count` threads, each with a runtime of its own.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let mut threads = SessionThreads { queues: Vec::new(), handles: Vec::new() };
        for number in 0..count.max(1) {
            let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE_PER_THREAD);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let handle = std::thread::Builder::new().name(format!("session-{number}")).spawn(move || {
                let tasks = tokio::task::LocalSet::new();
                runtime.block_on(tasks.run_until(async move {
                    let running = tokio_util::task::TaskTracker::new();
                    while let Some(job) = jobs.recv().await {
                        running.spawn_local(job());
                    }
                    running.close();
                    running.wait().await;
                }));
            })?;
            threads.queues.push(queue);
            threads.handles.push(handle);
        }
        Ok(threads)
    }

    /// Hands a job to one of the threads; refused when its queue is full.
    pub fn spawn<F, Fut>(&self, number: usize, job: F) -> Result<(), QueueFull>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let queue = self.queues.get(number % self.queues.len().max(1)).ok_or(QueueFull)?;
        queue.try_send(Box::new(move || Box::pin(job()))).map_err(|_| QueueFull)
    }

    /// Waits until all sessions have ended. Blocks the calling thread.
    pub fn join(self) {
        drop(self.queues);
        for handle in self.handles {
            // A thread that panicked has nothing left to wait for; its sessions' recordings are recovered at the next start.
            let _ = handle.join();
        }
    }
}

/// The thread cannot take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// Accepts until `stop`, and hands each connection to `serve` on a session thread.
pub async fn accept<F, Fut>(
    listener: TcpListener,
    limits: &ListenerLimits,
    threads: Arc<SessionThreads>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    serve: F,
) where
    F: Fn(Connection) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    // Half of the places at most: strangers that never finish a login leave the other half to sessions.
    let greetings = Arc::new(Semaphore::new(limits.connections.div_ceil(2)));
    let mut next = 0usize;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, usually: waiting gives sessions time to end, spinning would not.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Fails closed: over the bound a connection is dropped without a word, which costs us nothing.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics.refused.count(metrics::CONNECTION_LIMIT);
            tracing::warn!(%peer, "refused a connection: the bound of {} is reached", limits.connections);
            continue;
        };
        let Ok(greeting) = Arc::clone(&greetings).try_acquire_owned() else {
            metrics.refused.count(metrics::LOGIN_LIMIT);
            tracing::warn!(%peer, "refused a connection: too many others have not logged in yet");
            continue;
        };
        let Ok(stream) = stream.into_std() else { continue };
        let serve = serve.clone();
        next = next.wrapping_add(1);
        let job = move || async move {
            // The socket is registered with the runtime that will use it.
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            // Small messages go back and forth; waiting to fill a segment would cost 40 ms each.
            let _ = stream.set_nodelay(true);
            keep_alive(&stream);
            serve(Connection { stream, peer, place, greeting }).await;
        };
        if threads.spawn(next, job).is_err() {
            metrics.refused.count(metrics::THREAD_QUEUE);
            tracing::warn!(%peer, "refused a connection: a session thread's queue is full");
        }
    }
}
