//! Waits for the end of a session in a task of its own, so that a relay asks one flag at each turn and not four clocks.
//!
//! What may go wrong: the task ends without a word. Then the session ends, too (fails closed).

use chaperone_core::refusal::{Refusal, RefusalCode};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio_util::task::AbortOnDropHandle;

/// Resolves when what it watches has resolved. Holds nothing of the session; gone when dropped.
pub struct Watch {
    flag: Rc<Flag>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Flag {
    is_up: Cell<bool>,
    why: RefCell<Option<Refusal>>,
    waits: RefCell<Option<Waker>>,
}

/// Raises the flag when it is dropped: also when what it waited for is gone without a word.
struct Raise(Rc<Flag>);

impl Drop for Raise {
    fn drop(&mut self) {
        self.0.is_up.set(true);
        if let Some(waits) = self.0.waits.take() {
            waits.wake();
        }
    }
}

impl Watch {
    pub(super) fn over(end: impl Future<Output = Refusal> + 'static) -> Self {
        let flag = Rc::<Flag>::default();
        let raise = Raise(Rc::clone(&flag));
        let task = tokio::task::spawn_local(async move {
            let why = end.await;
            raise.0.why.replace(Some(why));
        });
        Watch { flag, _task: AbortOnDropHandle::new(task) }
    }
}

impl Future for Watch {
    type Output = Refusal;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Refusal> {
        if !self.flag.is_up.get() {
            let mut waits = self.flag.waits.borrow_mut();
            if waits.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
                *waits = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        // Fails closed: a session that nobody watches any more ends.
        let failed = || Refusal::new(RefusalCode::LimitReached, "the watch over this session failed");
        Poll::Ready(self.flag.why.take().unwrap_or_else(failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    async fn watched(end: impl Future<Output = Refusal> + 'static) -> Refusal {
        tokio::task::LocalSet::new().run_until(async { Watch::over(end).await }).await
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
