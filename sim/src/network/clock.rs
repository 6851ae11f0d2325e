//! Virtual time for the driver and the fake hosts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use traject_engine::Timestamp;
use traject_net::world::Clock;

use super::agenda::TimerId;
use super::world::Shared;

/// The clock of one [`SimWorld`](super::SimWorld). It moves only when every task waits.
#[derive(Clone, Debug)]
pub struct SimClock {
    shared: Arc<Shared>,
}

impl SimClock {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.shared.now()
    }

    fn sleep_until(&self, at: Timestamp) -> impl Future<Output = ()> + Send {
        Sleep { shared: Arc::clone(&self.shared), at, timer: None }
    }
}

/// Completes at `at`.
struct Sleep {
    shared: Arc<Shared>,
    at: Timestamp,
    timer: Option<TimerId>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.now() >= self.at {
            return Poll::Ready(());
        }
        if self.at == Timestamp::NEVER {
            return Poll::Pending;
        }
        let mut wire = self.shared.wire();
        match self.timer {
            Some(timer) => wire.timers.rewake(timer, cx.waker()),
            None => {
                let timer = wire.timers.set(self.at, cx.waker());
                drop(wire);
                self.timer = Some(timer);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer
            && self.shared.now() < self.at
        {
            self.shared.wire().timers.cancel(timer);
        }
    }
}
