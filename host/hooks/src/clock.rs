//! Counts time for running plugins: one thread moves the engines' epochs at each tick.
//!
//! It sleeps while no call runs, so that an idle gateway wakes up for nothing and a busy one that remembers its answers is
//! not interrupted two hundred times a second. What may go wrong: a call that begins while the thread falls asleep would
//! run without a deadline. So each side first says what it does and then looks at the other, in one order for both
//! (sequentially consistent): either the call sees that the thread sleeps and wakes it, or the thread sees the call.

use crate::limits::TICK;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;

/// Ticks without a call before the thread sleeps: short calls in a row shall not wake it each time.
const QUIET_TICKS: u32 = 20;

/// The thread. It ends when this is dropped.
pub(crate) struct Clock {
    thread: Thread,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    running: AtomicUsize,
    asleep: AtomicBool,
    over: AtomicBool,
}

/// A call that runs. Time goes on until it is dropped.
#[must_use = "without it the clock stands still, and no deadline is ever reached"]
pub(crate) struct Running<'c>(&'c State);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Clock {
    /// Starts the thread, which calls `tick`.
    pub(crate) fn start(tick: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("plugin-clock".into());
        let thread = thread.spawn(move || shared.count(tick))?.thread().clone();
        Ok(Clock { thread, state })
    }

    /// Lets time pass for a call.
    pub(crate) fn run(&self) -> Running<'_> {
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.state)
    }
}

impl State {
    fn count(&self, tick: impl Fn()) {
        let mut quiet = 0;
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(TICK);
            tick();
            quiet = if self.running.load(Ordering::SeqCst) == 0 { quiet + 1 } else { 0 };
            if quiet >= QUIET_TICKS {
                self.sleep();
                quiet = 0;
            }
        }
    }

    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.over.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    /// Far beyond what a tick takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn it_sleeps_while_nothing_runs_ticks_for_a_call_and_ends_with_its_owner() {
        let (ticks, ticked) = channel();
        let tick = move || {
            let _ = ticks.send(());
        };
        let clock = Clock::start(tick).unwrap();
        let asleep = || clock.state.asleep.load(Ordering::SeqCst);
        for _ in 0..3 {
            while !asleep() {
                std::thread::sleep(TICK);
            }
            while ticked.try_recv().is_ok() {}
            assert!(ticked.recv_timeout(10 * TICK).is_err(), "it ticks while it sleeps");
            let running = clock.run();
            for _ in 0..2 * QUIET_TICKS {
                ticked.recv_timeout(PATIENCE).expect("it stands still while a call runs");
            }
            drop(running);
        }
        while !asleep() {
            std::thread::sleep(TICK);
        }
        drop(clock);
        while ticked.try_recv().is_ok() {}
        let over = ticked.recv_timeout(PATIENCE);
        assert_eq!(over, Err(RecvTimeoutError::Disconnected), "the thread goes on");
    }
}
