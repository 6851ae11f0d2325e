//! The one timer of a driver.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use traject_engine::Timestamp;

use crate::world::Clock;

/// Sleeps until the instant wanted last.
///
/// Most instants move away before they come: each command answered in time puts off its timeout.
/// So a timer is set anew only when the wanted instant comes nearer; one that was put off fires
/// once for nothing.
pub(super) struct Alarm<C> {
    clock: C,
    armed: Option<(Timestamp, Sleep)>,
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<C: Clock> Alarm<C> {
    pub(super) const fn new(clock: C) -> Self {
        Self { clock, armed: None }
    }

    /// Completes at `wanted` or earlier; the caller looks at the clock.
    pub(super) fn poll(&mut self, wanted: Option<Timestamp>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(wanted) = wanted else {
            self.armed = None;
            return Poll::Pending;
        };
        let (_, sleep) = match &mut self.armed {
            Some(armed) if armed.0 <= wanted => armed,
            stale => {
                let clock = self.clock.clone();
                let sleep: Sleep = Box::pin(async move { clock.sleep_until(wanted).await });
                stale.insert((wanted, sleep))
            }
        };
        let fired = sleep.as_mut().poll(cx);
        if fired.is_ready() {
            self.armed = None;
        }
        fired
    }
}

impl<C> fmt::Debug for Alarm<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.armed.as_ref().map(|(at, _)| at);
        f.debug_struct("Alarm").field("at", &at).finish_non_exhaustive()
    }
}
