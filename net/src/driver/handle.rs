//! Talking to a running driver from outside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::control::{Control, Reach, Refusal};
use traject_engine::ids::MessageId;
use traject_engine::io::SpoolError;
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient, Submission};
use traject_engine::smtp::address::{Mailbox, ReversePath};

use crate::world::{BodyWriter as _, Clock, Spool};

/// A driver's outside: submits messages, looks at the engine, ends the run. Cheap to clone.
#[derive(Debug)]
pub struct Handle<M, P, C> {
    commands: mpsc::Sender<Command<M>>,
    spool: P,
    clock: C,
    message_ids: Arc<AtomicU64>,
    phase: Arc<AtomicU8>,
}

/// How far a driver has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It reads what is in the spool: nobody can connect yet.
    Recovering,
    /// Clients can connect.
    Running,
    /// It accepts nothing more, or has ended.
    Draining,
}

/// Where a driver says how far it has come.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    pub(super) fn is_now(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }
}

/// Who a submitted message is from and for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The envelope sender.
    pub reverse_path: ReversePath,
    /// The envelope recipients; at least one.
    pub recipients: Vec<Mailbox>,
    /// The binding that is to send it.
    pub binding: Arc<str>,
}

/// Why a request to a driver failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// The driver has ended.
    #[error("the driver has ended")]
    Ended,
    /// The body could not be staged.
    #[error("the spool failed: {0:?}")]
    Spool(SpoolError),
}

/// What came of a [`Control`].
pub type Answer = Result<Reach, Refusal>;

/// What a [`Handle`] asks of its driver.
pub(super) enum Command<M> {
    Submit(Box<Submission>),
    Inspect(Box<dyn FnOnce(&M) + Send>),
    Reload(Arc<Config>),
    Control(Box<Control>, oneshot::Sender<Answer>),
    Drain,
    Stop,
}

impl<M: 'static, P: Spool, C: Clock> Handle<M, P, C> {
    pub(super) fn new(spool: P, clock: C) -> (Self, mpsc::Receiver<Command<M>>, Progress) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let first = MessageId::first(clock.now().as_micros());
        let message_ids = Arc::new(AtomicU64::new(first));
        let phase = Arc::new(AtomicU8::new(Phase::Recovering as u8));
        let progress = Progress(Arc::clone(&phase));
        (Self { commands, spool, clock, message_ids, phase }, inbox, progress)
    }

    /// Stages `body` and submits it as a message received now. Completes when the engine will
    /// have it next; its record tells when it is durable.
    pub async fn submit(&self, envelope: Envelope, body: &[u8]) -> Result<MessageId, HandleError> {
        let id = self.next_message_id();
        self.stage(id, body).await.map_err(HandleError::Spool)?;
        let facts = (body.len() as u64, !body.is_ascii());
        self.submit_staged(envelope.into_message(id, self.clock.now(), facts)).await?;
        Ok(id)
    }

    /// Submits a message whose body is in the spool under its id, a [`Self::next_message_id`].
    pub async fn submit_staged(&self, message: StoredMessage) -> Result<(), HandleError> {
        self.send(Command::Submit(Box::new(Submission { message }))).await
    }

    /// How far the driver has come.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            _ if self.commands.is_closed() => Phase::Draining,
            phase if phase == Phase::Recovering as u8 => Phase::Recovering,
            phase if phase == Phase::Running as u8 => Phase::Running,
            _ => Phase::Draining,
        }
    }

    /// An id that no other message has.
    pub fn next_message_id(&self) -> MessageId {
        MessageId::by_driver(self.message_ids.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs `look` on the engine between two inputs.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Result<T, HandleError> {
        let (answer, answered) = oneshot::channel();
        let look = Box::new(move |machine: &M| {
            // A caller that gave up does not want the answer.
            let _ = answer.send(look(machine));
        });
        self.send(Command::Inspect(look)).await?;
        answered.await.map_err(|_| HandleError::Ended)
    }

    /// Puts another configuration in force, between two inputs. Listeners, spool and resolver stay
    /// as they are.
    pub async fn reload(&self, config: Arc<Config>) -> Result<(), HandleError> {
        self.send(Command::Reload(config)).await
    }

    /// Does something with waiting mail, between two inputs. Answers with how much that was about,
    /// or why it was refused.
    pub async fn control(&self, control: Control) -> Result<Answer, HandleError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Control(Box::new(control), answer)).await?;
        answered.await.map_err(|_| HandleError::Ended)
    }

    /// Stops accepting connections and lets the engine finish what is under way;
    /// [`Driver::run`](super::Driver::run) returns when nothing is.
    pub async fn drain(&self) -> Result<(), HandleError> {
        self.send(Command::Drain).await
    }

    /// Makes [`Driver::run`](super::Driver::run) return between two inputs, whatever is under
    /// way.
    pub async fn stop(&self) -> Result<(), HandleError> {
        self.send(Command::Stop).await
    }

    async fn send(&self, command: Command<M>) -> Result<(), HandleError> {
        self.commands.send(command).await.map_err(|_| HandleError::Ended)
    }

    async fn stage(&self, id: MessageId, body: &[u8]) -> Result<(), SpoolError> {
        let mut writer = self.spool.stage(id).await?;
        writer.append(body).await?;
        writer.finish().await
    }
}

impl<M, P: Clone, C: Clone> Clone for Handle<M, P, C> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            spool: self.spool.clone(),
            clock: self.clock.clone(),
            message_ids: Arc::clone(&self.message_ids),
            phase: Arc::clone(&self.phase),
        }
    }
}

impl Envelope {
    /// The message as it is received at `now`; `facts` are the size of its body in bytes and
    /// whether that holds a byte above 127.
    pub fn into_message(
        self,
        id: MessageId,
        now: Timestamp,
        (size_bytes, eight_bit): (u64, bool),
    ) -> StoredMessage {
        let state = RecipientState::new(now);
        StoredMessage {
            id,
            reverse_path: self.reverse_path,
            recipients: self
                .recipients
                .into_iter()
                .map(|mailbox| StoredRecipient { mailbox, state })
                .collect(),
            received_at: now,
            size_bytes,
            eight_bit,
            binding: self.binding,
            origin: None,
            rerouted: Vec::new(),
        }
    }
}

impl<M> fmt::Debug for Command<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Submit(_) => "Submit",
            Self::Inspect(_) => "Inspect",
            Self::Reload(_) => "Reload",
            Self::Control(..) => "Control",
            Self::Drain => "Drain",
            Self::Stop => "Stop",
        })
    }
}

/// Requests that wait for the driver; whoever asks for more waits itself.
const COMMANDS_MAX: usize = 1024;
