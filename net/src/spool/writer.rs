//! The thread that writes: it takes everything that waits, does it in one turn, and answers.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use traject_engine::io::{SpoolError, SpoolWrite};

use super::disk::Disk;
use super::log::{Log, Op};

/// Bytes taken into one turn, roughly. What is beyond waits for the next: the memory of a turn and
/// the time it takes stay bounded.
const TURN_BYTES: usize = 4 << 20;

/// What a recipient takes in an envelope, roughly.
const RECIPIENT_BYTES: usize = 64;

/// What a throttle takes in a history, at most.
const THROTTLE_BYTES: usize = 1024;

/// What is left of a body when its message is inserted, at most.
const TAIL_BYTES: usize = super::CHUNK_BYTES;

/// The writing thread's handle. Dropping it ends the thread, when all that waits is done.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

/// Bounded by who fills it: each body on its way in has one piece here at most, and the engine
/// one change a message.
#[derive(Debug, Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    stopped: bool,
    /// The thread waits to be notified. To notify it costs a system call even where it does not.
    idle: bool,
}

#[derive(Debug)]
struct Job {
    op: Op,
    answer: oneshot::Sender<Result<(), SpoolError>>,
}

/// The answer to a job, when it comes.
#[derive(Debug)]
pub(super) struct Answer(oneshot::Receiver<Result<(), SpoolError>>);

impl Future for Answer {
    type Output = Result<(), SpoolError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(
            answer.unwrap_or_else(|_| Err(SpoolError::Io("the spool's writer has died".into()))),
        )
    }
}

impl Writer {
    pub(super) fn start<D: Disk>(log: Log<D>) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let its = Arc::clone(&queue);
        let thread = thread::Builder::new().name("spool".to_owned());
        let thread = thread.spawn(move || run(log, &its))?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Takes its place in the order at once, whenever the answer is looked at.
    pub(super) fn submit(&self, op: Op) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.queue.state();
        state.jobs.push_back(Job { op, answer });
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        if idle {
            self.queue.changed.notify_one();
        }
        Answer(receiver)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.state().stopped = true;
        self.queue.changed.notify_one();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs of the next turn. Waits for one unless there is other work; `None` at the end.
    fn take(&self, other_work: bool) -> Option<Vec<Job>> {
        let mut state = self.state();
        while state.jobs.is_empty() && !state.stopped && !other_work {
            state.idle = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.jobs.is_empty() && state.stopped {
            return None;
        }
        let mut bytes = 0;
        let fitting = state.jobs.iter().take_while(|job| {
            bytes += weight(&job.op);
            bytes <= TURN_BYTES
        });
        // Always at least one, or an envelope larger than a turn would never go.
        let count = fitting.count().max(1).min(state.jobs.len());
        Some(state.jobs.drain(..count).collect())
    }
}

/// About how many bytes an operation adds to a turn.
fn weight(op: &Op) -> usize {
    match op {
        Op::Chunk { bytes, .. } => bytes.len(),
        Op::Change(SpoolWrite::Insert(message)) => {
            TAIL_BYTES + message.recipients.len() * RECIPIENT_BYTES
        }
        Op::Change(SpoolWrite::Update { recipients, .. }) => recipients.len() * RECIPIENT_BYTES,
        Op::Change(SpoolWrite::Remove(_) | SpoolWrite::Discard(_)) => RECIPIENT_BYTES,
        Op::Change(SpoolWrite::Shaping(history)) => history.throttles.len() * THROTTLE_BYTES,
    }
}

fn run<D: Disk>(mut log: Log<D>, queue: &Queue) {
    while let Some(jobs) = queue.take(log.needs_maintenance()) {
        let (ops, answers): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.op, job.answer)).unzip();
        if !ops.is_empty() {
            for (answer, result) in answers.into_iter().zip(log.turn(&ops)) {
                // Nobody may be interested any more.
                let _ = answer.send(result);
            }
        }
        log.maintain();
    }
}
