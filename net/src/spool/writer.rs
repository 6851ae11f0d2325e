//! Who writes: takes everything that waits, does it in one turn, and answers. A thread of its own,
//! or whoever owns the [`Turns`].

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
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

/// The handle. Dropping it ends the thread, when all that waits is done.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    /// `None` when somebody else takes the turns.
    thread: Option<JoinHandle<()>>,
}

/// The turns of a journal, for those who take them themselves: a simulator, whose disk takes
/// simulated time. Dropping it fails all that waits.
#[derive(Debug)]
pub struct Turns<D: Disk> {
    log: Log<D>,
    queue: Arc<Queue>,
    /// What the next turn is about.
    taken: Vec<Job>,
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
    /// There may be upkeep to do that nobody knew of before.
    upkeep: bool,
    /// The thread waits to be notified. To notify it costs a system call even where it does not.
    idle: bool,
    /// Who waits for jobs without a thread.
    waker: Option<Waker>,
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
        let (mut writer, turns) = Self::in_turns(log);
        let thread = thread::Builder::new().name("spool".to_owned());
        writer.thread = Some(thread.spawn(move || turns.run())?);
        Ok(writer)
    }

    /// One without a thread, and its turns.
    pub(super) fn in_turns<D: Disk>(log: Log<D>) -> (Self, Turns<D>) {
        let queue = Arc::new(Queue::default());
        let turns = Turns { log, queue: Arc::clone(&queue), taken: Vec::new() };
        (Self { queue, thread: None }, turns)
    }

    /// Takes its place in the order at once, whenever the answer is looked at.
    pub(super) fn submit(&self, op: Op) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.queue.state();
        state.jobs.push_back(Job { op, answer });
        self.queue.tell(state);
        Answer(receiver)
    }

    /// Has it look for upkeep again.
    pub(super) fn look_for_upkeep(&self) {
        let mut state = self.queue.state();
        state.upkeep = true;
        self.queue.tell(state);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.stopped = true;
        self.queue.tell(state);
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

    /// Has whoever waits look again.
    fn tell(&self, mut state: MutexGuard<'_, QueueState>) {
        let (idle, waker) = (std::mem::take(&mut state.idle), state.waker.take());
        drop(state);
        if idle {
            self.changed.notify_one();
        }
        waker.into_iter().for_each(Waker::wake);
    }

    /// The jobs of the next turn. Waits for one unless there is other work; `None` at the end.
    fn take(&self, other_work: bool) -> Option<Vec<Job>> {
        let mut state = self.state();
        while !state.has_work() && !other_work {
            state.idle = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.take()
    }

    /// The same without a thread.
    fn poll_take(&self, other_work: bool, context: &Context<'_>) -> Poll<Option<Vec<Job>>> {
        let mut state = self.state();
        if !state.has_work() && !other_work {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(state.take())
    }
}

impl QueueState {
    fn has_work(&self) -> bool {
        !self.jobs.is_empty() || self.stopped || self.upkeep
    }

    /// The jobs of the next turn; `None` at the end.
    fn take(&mut self) -> Option<Vec<Job>> {
        if self.jobs.is_empty() && self.stopped {
            return None;
        }
        self.upkeep = false;
        let mut bytes = 0;
        let fitting = self.jobs.iter().take_while(|job| {
            bytes += weight(&job.op);
            bytes <= TURN_BYTES
        });
        // Always at least one, or an envelope larger than a turn would never go.
        let count = fitting.count().max(1).min(self.jobs.len());
        Some(self.jobs.drain(..count).collect())
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
        Op::Change(SpoolWrite::Reroute { recipients, .. }) => recipients.len() * RECIPIENT_BYTES,
        Op::Change(SpoolWrite::Remove(_) | SpoolWrite::Discard(_)) => RECIPIENT_BYTES,
        Op::Change(SpoolWrite::Shaping(history)) => history.throttles.len() * THROTTLE_BYTES,
    }
}

impl<D: Disk> Turns<D> {
    fn run(mut self) {
        while let Some(jobs) = self.queue.take(self.log.needs_maintenance()) {
            self.taken = jobs;
            self.perform();
        }
    }

    /// Waits for work and takes all there is: what comes later is for the turn after. False at the
    /// end, when the journal is no longer used and all is done.
    pub async fn next(&mut self) -> bool {
        let other_work = self.log.needs_maintenance();
        let taken = poll_fn(|context| self.queue.poll_take(other_work, context)).await;
        let more = taken.is_some();
        self.taken = taken.unwrap_or_default();
        more
    }

    /// The same without waiting. False when there is nothing to do now.
    pub fn next_now(&mut self) -> bool {
        let other_work = self.log.needs_maintenance();
        self.taken = self.queue.state().take().unwrap_or_default();
        other_work || !self.taken.is_empty()
    }

    /// Whether the turn that was taken waits for a sync.
    pub fn syncs(&self) -> bool {
        let waits =
            |op: &Op| matches!(op, Op::Change(change) if !matches!(change, SpoolWrite::Discard(_)));
        self.taken.iter().any(|job| waits(&job.op))
    }

    /// Does what was taken: one write, one sync, the answers; then a piece of the upkeep.
    pub fn perform(&mut self) {
        let jobs = std::mem::take(&mut self.taken);
        let (ops, answers): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.op, job.answer)).unzip();
        if !ops.is_empty() {
            for (answer, result) in answers.into_iter().zip(self.log.turn(&ops)) {
                // Nobody may be interested any more.
                let _ = answer.send(result);
            }
        }
        self.log.maintain();
    }
}

/// Nobody else will answer.
impl<D: Disk> Drop for Turns<D> {
    fn drop(&mut self) {
        self.queue.state().jobs.clear();
    }
}
