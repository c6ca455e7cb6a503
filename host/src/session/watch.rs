//! Waits for what may come to a session in a task of its own, so that a relay asks one flag at each turn and not four clocks.
//!
//! What may go wrong: the task ends without a word. Who made the watch says what that means; of a session's end, that the
//! session ends, too (fails closed).

use chaperone_core::refusal::{Refusal, RefusalCode};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio_util::task::AbortOnDropHandle;

/// Resolves when what it watches has resolved. Holds nothing of the session; gone when dropped.
pub struct Watch<T = Refusal> {
    flag: Rc<Flag<T>>,
    /// What it means when the task is gone without a word.
    lost: fn() -> T,
    _task: AbortOnDropHandle<()>,
}

struct Flag<T> {
    is_up: Cell<bool>,
    why: RefCell<Option<T>>,
    waits: RefCell<Option<Waker>>,
}

/// Raises the flag when it is dropped: also when what it waited for is gone without a word.
struct Raise<T>(Rc<Flag<T>>);

impl<T> Drop for Raise<T> {
    fn drop(&mut self) {
        self.0.is_up.set(true);
        if let Some(waits) = self.0.waits.take() {
            waits.wake();
        }
    }
}

/// Fails closed: a session that nobody watches any more ends.
pub(super) fn unwatched() -> Refusal {
    Refusal::new(RefusalCode::LimitReached, "the watch over this session failed")
}

impl<T: 'static> Watch<T> {
    pub(super) fn over(end: impl Future<Output = T> + 'static, lost: fn() -> T) -> Self {
        let (is_up, why, waits) = (Cell::new(false), RefCell::new(None), RefCell::new(None));
        let flag = Rc::new(Flag { is_up, why, waits });
        let raise = Raise(Rc::clone(&flag));
        let task = tokio::task::spawn_local(async move {
            let why = end.await;
            raise.0.why.replace(Some(why));
        });
        Watch { flag, lost, _task: AbortOnDropHandle::new(task) }
    }
}

impl<T> Future for Watch<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if !self.flag.is_up.get() {
            let mut waits = self.flag.waits.borrow_mut();
            if waits.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
                *waits = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        Poll::Ready(self.flag.why.take().unwrap_or_else(self.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    async fn watched(end: impl Future<Output = Refusal> + 'static) -> Refusal {
        tokio::task::LocalSet::new().run_until(async { Watch::over(end, unwatched).await }).await
    }

    #[tokio::test]
    async fn it_says_why_as_soon_as_there_is_a_reason() {
        let (say, said) = oneshot::channel();
        let thread = std::thread::spawn(move || say.send(Refusal::new(RefusalCode::Revoked, "because")));
        let why = watched(async { said.await.unwrap() }).await;
        assert_eq!(why.message, "because");
        thread.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_session_that_nobody_watches_any_more_ends() {
        let why = watched(async { panic!("the watch breaks") }).await;
        assert_eq!(why.code, RefusalCode::LimitReached);
    }
}
