//! A spool in memory, for tests and for the simulator.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use traject_engine::ids::MessageId;
use traject_engine::io::{SpoolError, SpoolWrite};
use traject_engine::message::StoredMessage;
use traject_engine::shaping::history::ShapingHistory;

use crate::world::{BodyReader, BodyWriter, Spool};

/// Keeps messages as long as one of its clones lives. Changes are durable at once, in the sense
/// that [`MemorySpool::restart`] finds them.
#[derive(Clone, Debug, Default)]
pub struct MemorySpool {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    bodies: BTreeMap<MessageId, Bytes>,
    messages: BTreeMap<MessageId, StoredMessage>,
    to_recover: VecDeque<MessageId>,
    shaping: Option<Arc<ShapingHistory>>,
}

impl MemorySpool {
    /// Stages a body without copying it. Many messages may share one body.
    pub fn stage_bytes(&self, message: MessageId, body: Bytes) {
        self.lock().bodies.insert(message, body);
    }

    /// The spool as a new process finds it: what was staged and not inserted is gone, the rest
    /// waits to be recovered, in the order of the messages' ids.
    pub fn restart(&self) -> Self {
        let state = self.lock();
        let messages = state.messages.clone();
        let bodies = state.bodies.iter().filter(|(id, _)| messages.contains_key(id));
        let bodies = bodies.map(|(id, body)| (*id, body.clone())).collect();
        let to_recover = messages.keys().copied().collect();
        let shaping = state.shaping.clone();
        Self { state: Arc::new(Mutex::new(State { bodies, messages, to_recover, shaping })) }
    }

    /// The body of a message, inserted or staged.
    pub fn body(&self, message: MessageId) -> Option<Bytes> {
        self.lock().bodies.get(&message).cloned()
    }

    /// The inserted messages in the order of their ids, as they are now.
    pub fn messages(&self) -> Vec<StoredMessage> {
        self.lock().messages.values().cloned().collect()
    }

    /// Bodies held, staged ones included: none when nothing is left to do.
    pub fn body_count(&self) -> usize {
        self.lock().bodies.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool for MemorySpool {
    type Writer = MemoryWriter;
    type Reader = MemoryReader;

    async fn stage(&self, message: MessageId) -> Result<MemoryWriter, SpoolError> {
        Ok(MemoryWriter { spool: self.clone(), message, body: Vec::new() })
    }

    async fn read(&self, message: MessageId) -> Result<Option<MemoryReader>, SpoolError> {
        Ok(self.body(message).map(|body| MemoryReader { body: Some(body) }))
    }

    fn write(
        &self,
        change: SpoolWrite,
    ) -> impl Future<Output = Result<(), SpoolError>> + Send + 'static {
        let result = self.lock().apply(change);
        std::future::ready(result)
    }

    async fn recover_shaping(&self) -> Result<Option<Arc<ShapingHistory>>, SpoolError> {
        Ok(self.lock().shaping.clone())
    }

    async fn recover(&self) -> Result<Option<StoredMessage>, SpoolError> {
        let mut state = self.lock();
        while let Some(id) = state.to_recover.pop_front() {
            if let Some(message) = state.messages.get(&id) {
                return Ok(Some(message.clone()));
            }
        }
        Ok(None)
    }
}

impl State {
    fn apply(&mut self, change: SpoolWrite) -> Result<(), SpoolError> {
        match change {
            SpoolWrite::Insert(message) => {
                if !self.bodies.contains_key(&message.id) {
                    let text = format!("message {} has no body", message.id);
                    return Err(SpoolError::Io(text.into()));
                }
                self.messages.insert(message.id, (*message).clone());
            }
            SpoolWrite::Update { message, recipients } => {
                let Some(stored) = self.messages.get_mut(&message) else {
                    let text = format!("message {message} is not in the spool");
                    return Err(SpoolError::Io(text.into()));
                };
                for (index, state) in recipients {
                    if let Some(recipient) = stored.recipients.get_mut(index as usize) {
                        recipient.state = state;
                    }
                }
            }
            SpoolWrite::Reroute { message, recipients, to } => {
                let Some(stored) = self.messages.get_mut(&message) else {
                    let text = format!("message {message} is not in the spool");
                    return Err(SpoolError::Io(text.into()));
                };
                stored.reroute(&recipients, &to);
            }
            SpoolWrite::Remove(message) => {
                self.messages.remove(&message);
                self.bodies.remove(&message);
            }
            SpoolWrite::Discard(message) => {
                if !self.messages.contains_key(&message) {
                    self.bodies.remove(&message);
                }
            }
            SpoolWrite::Shaping(history) => self.shaping = Some(history),
        }
        Ok(())
    }
}

/// Gathers a body.
#[derive(Debug)]
pub struct MemoryWriter {
    spool: MemorySpool,
    message: MessageId,
    body: Vec<u8>,
}

impl BodyWriter for MemoryWriter {
    async fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    async fn finish(self) -> Result<(), SpoolError> {
        self.spool.stage_bytes(self.message, self.body.into());
        Ok(())
    }
}

/// Hands out a body in one piece.
#[derive(Debug)]
pub struct MemoryReader {
    body: Option<Bytes>,
}

impl BodyReader for MemoryReader {
    async fn next(&mut self) -> Result<Option<Bytes>, SpoolError> {
        Ok(self.body.take().filter(|body| !body.is_empty()))
    }
}
