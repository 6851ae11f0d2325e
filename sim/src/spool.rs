//! The simulated spool: bodies that are generated on reading, changes that are durable at once.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use traject_engine::ids::MessageId;
use traject_engine::io::{SpoolError, SpoolWrite};
use traject_engine::message::StoredMessage;
use traject_engine::shaping::history::ShapingHistory;
use traject_net::world::{BodyReader, BodyWriter, Spool};

use crate::body::{Body, BodyFactory, BodyFacts};

/// A spool in memory. Messages that were submitted without a body have a generated one.
#[derive(Clone, Debug)]
pub struct SimSpool {
    bodies: BodyFactory,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Bodies written and not yet inserted or discarded.
    staged: BTreeMap<MessageId, Bytes>,
    messages: BTreeMap<MessageId, Content>,
    /// The envelopes as they are now, if somebody may want them back.
    envelopes: Option<BTreeMap<MessageId, Arc<StoredMessage>>>,
    to_recover: VecDeque<MessageId>,
    shaping: Option<Arc<ShapingHistory>>,
}

/// Where the body of a message comes from.
#[derive(Clone, Debug)]
enum Content {
    Generated { size_bytes: u64, eight_bit: bool },
    Written(Bytes),
}

impl SimSpool {
    /// An empty spool.
    pub fn new(bodies: BodyFactory) -> Self {
        Self { bodies, kept: Arc::default() }
    }

    /// An empty spool that can be [restarted](Self::restart): it keeps envelopes too, which takes
    /// memory.
    pub fn recoverable(bodies: BodyFactory) -> Self {
        let spool = Self::new(bodies);
        spool.kept().envelopes = Some(BTreeMap::new());
        spool
    }

    /// The spool as a new process finds it: what was staged and not inserted is gone, the rest
    /// waits to be recovered, in the order of the messages' ids.
    pub fn restart(&self) -> Self {
        let kept = self.kept();
        let envelopes = kept.envelopes.clone();
        let to_recover = envelopes.iter().flat_map(BTreeMap::keys).copied().collect();
        let kept = Kept {
            staged: BTreeMap::new(),
            messages: kept.messages.clone(),
            envelopes,
            to_recover,
            shaping: kept.shaping.clone(),
        };
        Self { bodies: self.bodies.clone(), kept: Arc::new(Mutex::new(kept)) }
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.kept().messages.len()
    }

    /// Whether no message is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a message is in it.
    pub fn holds(&self, message: MessageId) -> bool {
        self.kept().messages.contains_key(&message)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, change: SpoolWrite) {
        let mut kept = self.kept();
        match change {
            SpoolWrite::Insert(message) => {
                let content = match kept.staged.remove(&message.id) {
                    Some(written) => Content::Written(written),
                    None => {
                        let StoredMessage { size_bytes, eight_bit, .. } = *message;
                        Content::Generated { size_bytes, eight_bit }
                    }
                };
                kept.messages.insert(message.id, content);
                if let Some(envelopes) = &mut kept.envelopes {
                    envelopes.insert(message.id, message);
                }
            }
            SpoolWrite::Update { message, recipients } => {
                let envelopes = kept.envelopes.as_mut();
                if let Some(envelope) = envelopes.and_then(|all| all.get_mut(&message)) {
                    let envelope = Arc::make_mut(envelope);
                    for (index, state) in recipients {
                        envelope.recipients[index as usize].state = state;
                    }
                }
            }
            SpoolWrite::Remove(message) => {
                kept.messages.remove(&message);
                if let Some(envelopes) = &mut kept.envelopes {
                    envelopes.remove(&message);
                }
            }
            SpoolWrite::Discard(message) => drop(kept.staged.remove(&message)),
            SpoolWrite::Shaping(history) => kept.shaping = Some(history),
        }
    }
}

impl Spool for SimSpool {
    type Writer = SimWriter;
    type Reader = SimReader;

    fn stage(
        &self,
        message: MessageId,
    ) -> impl Future<Output = Result<SimWriter, SpoolError>> + Send {
        ready(Ok(SimWriter { spool: self.clone(), message, body: Vec::new() }))
    }

    fn read(
        &self,
        message: MessageId,
    ) -> impl Future<Output = Result<Option<SimReader>, SpoolError>> + Send {
        let kept = self.kept();
        let content = kept.messages.get(&message);
        let reader = match content {
            Some(Content::Generated { size_bytes, eight_bit }) => {
                let (size_bytes, eight_bit) = (*size_bytes, *eight_bit);
                let facts = BodyFacts { message, size_bytes, eight_bit };
                Some(SimReader::Generated { body: self.bodies.body(facts), at: 0 })
            }
            Some(Content::Written(body)) => Some(SimReader::Written(body.clone())),
            None => kept.staged.get(&message).map(|body| SimReader::Written(body.clone())),
        };
        ready(Ok(reader))
    }

    fn write(
        &self,
        change: SpoolWrite,
    ) -> impl Future<Output = Result<(), SpoolError>> + Send + 'static {
        self.apply(change);
        ready(Ok(()))
    }

    fn recover_shaping(
        &self,
    ) -> impl Future<Output = Result<Option<Arc<ShapingHistory>>, SpoolError>> + Send {
        ready(Ok(self.kept().shaping.clone()))
    }

    fn recover(&self) -> impl Future<Output = Result<Option<StoredMessage>, SpoolError>> + Send {
        let mut kept = self.kept();
        let next = kept.to_recover.pop_front();
        let envelope = next.and_then(|id| kept.envelopes.as_ref()?.get(&id).cloned());
        ready(Ok(envelope.map(|envelope| (*envelope).clone())))
    }
}

/// Writes one body.
#[derive(Debug)]
pub struct SimWriter {
    spool: SimSpool,
    message: MessageId,
    body: Vec<u8>,
}

impl BodyWriter for SimWriter {
    fn append(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), SpoolError>> + Send {
        self.body.extend_from_slice(bytes);
        ready(Ok(()))
    }

    fn finish(self) -> impl Future<Output = Result<(), SpoolError>> + Send {
        self.spool.kept().staged.insert(self.message, self.body.into());
        ready(Ok(()))
    }
}

/// Reads one body.
#[derive(Debug)]
pub enum SimReader {
    /// One that is made as it is read.
    Generated {
        /// The body.
        body: Body,
        /// How far it was read.
        at: u64,
    },
    /// One that was written; empty when it was read.
    Written(Bytes),
}

impl BodyReader for SimReader {
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, SpoolError>> + Send {
        let piece = match self {
            Self::Generated { body, at } => {
                let piece = body.piece(*at);
                *at += piece.len() as u64;
                piece
            }
            Self::Written(rest) => std::mem::take(rest),
        };
        ready(Ok((!piece.is_empty()).then_some(piece)))
    }
}

#[cfg(test)]
mod tests {
    use traject_engine::Timestamp;
    use traject_engine::message::{RecipientState, StoredRecipient};
    use traject_engine::rng::Seed;
    use traject_engine::smtp::address::{Mailbox, ReversePath};

    use super::*;

    fn message(id: u64) -> Arc<StoredMessage> {
        let mailbox = Mailbox { local: "x".into(), domain: "a.test".into() };
        let recipient = StoredRecipient { mailbox, state: RecipientState::new(Timestamp(0)) };
        Arc::new(StoredMessage {
            id: MessageId(id),
            reverse_path: ReversePath(None),
            recipients: vec![recipient],
            received_at: Timestamp(0),
            size_bytes: 100_000,
            eight_bit: false,
            binding: "default".into(),
            origin: None,
        })
    }

    async fn body(spool: &SimSpool, id: u64) -> Option<Vec<u8>> {
        let mut reader = spool.read(MessageId(id)).await.unwrap()?;
        let mut whole = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            whole.extend_from_slice(&piece);
        }
        Some(whole)
    }

    #[tokio::test]
    async fn bodies_live_as_long_as_their_messages() {
        let bodies = BodyFactory::new(Seed::from_u64(1));
        let spool = SimSpool::new(bodies.clone());
        assert_eq!(body(&spool, 2).await, None);
        spool.write(SpoolWrite::Insert(message(2))).await.unwrap();
        let facts = BodyFacts { message: MessageId(2), size_bytes: 100_000, eight_bit: false };
        let read = body(&spool, 2).await.unwrap();
        assert_eq!(read.len(), 100_000);
        assert!(read.starts_with(bodies.body(facts).at(0)));
        assert!(spool.holds(MessageId(2)));
        spool.write(SpoolWrite::Remove(MessageId(2))).await.unwrap();
        assert_eq!((body(&spool, 2).await, spool.is_empty()), (None, true));
    }

    #[tokio::test]
    async fn a_new_process_finds_what_was_inserted_as_it_was_left() {
        let spool = SimSpool::recoverable(BodyFactory::new(Seed::from_u64(1)));
        for id in [8, 4, 6] {
            spool.write(SpoolWrite::Insert(message(id))).await.unwrap();
        }
        let state = RecipientState::Pending { attempts: 3, next_attempt_at: Timestamp(9) };
        let update = SpoolWrite::Update { message: MessageId(8), recipients: vec![(0, state)] };
        spool.write(update).await.unwrap();
        spool.write(SpoolWrite::Remove(MessageId(6))).await.unwrap();
        let mut writer = spool.stage(MessageId(10)).await.unwrap();
        writer.append(b"never inserted").await.unwrap();
        writer.finish().await.unwrap();
        let again = spool.restart();
        let mut found = Vec::new();
        while let Some(message) = again.recover().await.unwrap() {
            found.push((message.id.0, message.recipients[0].state));
        }
        assert_eq!(found, [(4, RecipientState::new(Timestamp(0))), (8, state)]);
        assert_eq!(body(&again, 8).await.unwrap().len(), 100_000);
        assert_eq!(body(&again, 10).await, None);
    }

    #[tokio::test]
    async fn written_bodies_are_kept_as_written() {
        let spool = SimSpool::new(BodyFactory::new(Seed::from_u64(1)));
        for id in [4, 6] {
            let mut writer = spool.stage(MessageId(id)).await.unwrap();
            writer.append(b"one ").await.unwrap();
            writer.append(b"two").await.unwrap();
            writer.finish().await.unwrap();
        }
        assert_eq!(body(&spool, 4).await.unwrap(), b"one two");
        spool.write(SpoolWrite::Insert(message(4))).await.unwrap();
        spool.write(SpoolWrite::Discard(MessageId(6))).await.unwrap();
        assert_eq!(body(&spool, 4).await.unwrap(), b"one two");
        assert_eq!(body(&spool, 6).await, None);
    }
}
