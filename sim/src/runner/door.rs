//! Where mail is handed in: open while there is a process.
//!
//! Those who wait come in in the order in which they came. Tokio's `watch` draws who is woken
//! first, and not from the run's seed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What whoever opens and closes it has. Without it the door stays shut for good.
#[derive(Debug)]
pub(super) struct Doorkeeper<T>(Door<T>);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Door<T> {
    state: Arc<Mutex<State<T>>>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
enum State<T> {
    Shut,
    Open(T),
    /// For good.
    Walled,
}

impl<T> Doorkeeper<T> {
    /// A door that is shut.
    pub(super) fn new() -> Self {
        Self(Door { state: Arc::new(Mutex::new(State::Shut)), changed: Arc::default() })
    }

    /// Opens it: `inside` is who takes mail.
    pub(super) fn open(&self, inside: T) {
        self.0.turn(State::Open(inside));
    }

    /// Shuts it, until it is opened again.
    pub(super) fn shut(&self) {
        self.0.turn(State::Shut);
    }
}

impl<T: Clone> Doorkeeper<T> {
    /// The door itself.
    pub(super) fn door(&self) -> Door<T> {
        self.0.clone()
    }
}

impl<T> Drop for Doorkeeper<T> {
    fn drop(&mut self) {
        self.0.turn(State::Walled);
    }
}

impl<T> Door<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, state: State<T>) {
        *self.state() = state;
        self.changed.notify_waiters();
    }
}

impl<T: Clone> Door<T> {
    /// Waits until somebody takes mail; `None` when nobody ever will.
    pub(super) async fn inside(&self) -> Option<T> {
        loop {
            // It counts from here on.
            let changed = self.changed.notified();
            match &*self.state() {
                State::Open(inside) => return Some(inside.clone()),
                State::Walled => return None,
                State::Shut => {}
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    struct Woken {
        who: usize,
        order: Arc<Mutex<Vec<usize>>>,
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.order.lock().unwrap().push(self.who);
        }
    }

    #[test]
    fn who_waits_comes_in_in_the_order_of_coming() {
        let keeper = Doorkeeper::new();
        let door = keeper.door();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting: Vec<_> = (0..40).map(|_| Box::pin(door.inside())).collect();
        for (who, one) in waiting.iter_mut().enumerate() {
            let waker = Waker::from(Arc::new(Woken { who, order: Arc::clone(&order) }));
            assert_eq!(one.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
        }
        keeper.open("process");
        assert_eq!(*order.lock().unwrap(), (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn it_opens_shuts_and_is_gone_with_its_keeper() {
        let keeper = Doorkeeper::new();
        let door = keeper.door();
        let context = &mut Context::from_waker(Waker::noop());
        let mut first = pin!(door.inside());
        assert_eq!(first.as_mut().poll(context), Poll::Pending);
        keeper.open(1);
        assert_eq!(first.as_mut().poll(context), Poll::Ready(Some(1)));
        assert_eq!(pin!(door.inside()).poll(context), Poll::Ready(Some(1)));
        keeper.shut();
        let mut second = pin!(door.inside());
        assert_eq!(second.as_mut().poll(context), Poll::Pending);
        drop(keeper);
        assert_eq!(second.as_mut().poll(context), Poll::Ready(None));
    }
}
