//! Tasks whose panics surface.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls `task`; a panic inside becomes its message.
pub(super) fn poll_caught<F: Future + ?Sized>(
    task: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Result<Poll<F::Output>, String> {
    catch_unwind(AssertUnwindSafe(|| task.poll(cx))).map_err(|panic| message(panic.as_ref()))
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

/// Wakes the run's main future, and remembers that it wants to be polled.
pub(super) struct MainWaker {
    wanted: Arc<AtomicBool>,
    runtime: Waker,
}

impl MainWaker {
    pub(super) fn waker(wanted: Arc<AtomicBool>, runtime: Waker) -> Waker {
        Waker::from(Arc::new(Self { wanted, runtime }))
    }
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wanted.store(true, Ordering::Relaxed);
        self.runtime.wake_by_ref();
    }
}
