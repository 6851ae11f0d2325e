//! Which of the driver's jobs have something to do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use tokio::task::coop;

/// A queue of slots whose jobs want to be polled, in the order in which they asked.
///
/// Each slot has a waker of its own, so that the driver's one task polls the jobs that were woken
/// and no others. A slot stands in the queue at most once. The waker outlives the slot's job: a
/// late wake-up polls the slot's next job in vain, or finds the slot empty.
#[derive(Debug, Default)]
pub(super) struct ReadySet {
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    queue: VecDeque<usize>,
    /// Entries of `queue` before the wakers are looked at again, so that jobs that keep marking
    /// themselves do not shut out the others.
    round: usize,
}

#[derive(Debug)]
struct Slot {
    state: Arc<SlotState>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Shared {
    woken: Mutex<Woken>,
}

#[derive(Debug, Default)]
struct Woken {
    slots: Vec<usize>,
    /// The driver's task, when it sleeps.
    driver: Option<Waker>,
}

#[derive(Debug)]
struct SlotState {
    slot: usize,
    queued: AtomicBool,
    shared: Arc<Shared>,
}

impl ReadySet {
    /// Queues a slot.
    pub(super) fn mark(&mut self, slot: usize) {
        while self.slots.len() <= slot {
            self.add_slot();
        }
        if !self.slots[slot].state.queued.swap(true, Ordering::AcqRel) {
            self.queue.push_back(slot);
        }
    }

    /// The waker of a slot that was marked before.
    pub(super) fn waker(&self, slot: usize) -> &Waker {
        &self.slots[slot].waker
    }

    /// The next slot to poll. Yields to other tasks from time to time, however much there is to
    /// do.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let budget = ready!(coop::poll_proceed(cx));
        if self.round == 0 {
            let mut woken = self.shared.lock();
            self.queue.extend(woken.slots.drain(..));
            if self.queue.is_empty() {
                match &mut woken.driver {
                    Some(driver) => driver.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                return Poll::Pending;
            }
            self.round = self.queue.len();
        }
        // Unwrap is OK because `round` never exceeds the length of the queue.
        let slot = self.queue.pop_front().unwrap();
        self.round -= 1;
        budget.made_progress();
        self.slots[slot].state.queued.store(false, Ordering::Release);
        Poll::Ready(slot)
    }

    fn add_slot(&mut self) {
        let state = Arc::new(SlotState {
            slot: self.slots.len(),
            queued: AtomicBool::new(false),
            shared: Arc::clone(&self.shared),
        });
        self.slots.push(Slot { waker: Waker::from(Arc::clone(&state)), state });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Woken> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for SlotState {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let driver = {
            let mut woken = self.shared.lock();
            woken.slots.push(self.slot);
            woken.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the wake-ups of the driver's task.
    #[derive(Default)]
    struct Wakes(std::sync::atomic::AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn drain(set: &mut ReadySet, cx: &mut Context<'_>) -> Vec<usize> {
        std::iter::from_fn(|| match set.poll_next(cx) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn each_slot_is_queued_once_in_the_order_of_asking() {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut set = ReadySet::default();
        set.mark(2);
        set.mark(0);
        set.mark(2);
        assert_eq!(drain(&mut set, &mut cx), [2, 0]);

        set.waker(1).wake_by_ref();
        set.waker(2).wake_by_ref();
        set.waker(1).wake_by_ref();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "one wake-up is enough for all");
        assert_eq!(drain(&mut set, &mut cx), [1, 2]);
        assert_eq!(drain(&mut set, &mut cx), [0; 0]);
    }

    #[test]
    fn a_slot_that_keeps_marking_itself_does_not_shut_out_the_others() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut set = ReadySet::default();
        set.mark(1);
        set.mark(0);
        assert_eq!(set.poll_next(&mut cx), Poll::Ready(1));
        assert_eq!(set.poll_next(&mut cx), Poll::Ready(0));
        set.waker(1).wake_by_ref();
        let polled: Vec<_> = (0..4)
            .map(|_| {
                set.mark(0);
                set.poll_next(&mut cx)
            })
            .collect();
        assert!(polled.contains(&Poll::Ready(1)), "{polled:?}");
    }

    #[tokio::test]
    async fn other_tasks_get_their_turn() {
        let mut set = ReadySet::default();
        let polls = std::future::poll_fn(|cx| {
            let mut polls = 0;
            loop {
                set.mark(0);
                if set.poll_next(cx).is_pending() {
                    return Poll::Ready(polls);
                }
                polls += 1;
            }
        })
        .await;
        assert!((1..10_000).contains(&polls), "{polls}");
    }
}
