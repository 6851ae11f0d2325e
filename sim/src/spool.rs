//! The simulated spool: bodies that are generated on reading, changes that are durable at once. Or
//! the daemon's own journal on a simulated disk, where that matters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use traject_engine::ids::MessageId;
use traject_engine::io::{SpoolError, SpoolWrite};
use traject_engine::message::StoredMessage;
use traject_engine::rng::{Purpose, Seed};
use traject_engine::shaping::history::ShapingHistory;
use traject_net::spool::{Journal, OpenError, Options, Reading, Staging, Turns};
use traject_net::world::{BodyReader, BodyWriter, Spool};

use crate::body::{Body, BodyFactory, BodyFacts};
use crate::disk::{Blow, SimDisk};
use crate::notices::{NoticeLedger, NoticeWatch};

/// A spool in memory. Messages that were submitted without a body have a generated one.
#[derive(Clone, Debug)]
pub struct SimSpool {
    bodies: BodyFactory,
    kept: Arc<Mutex<Kept>>,
    journal: Option<Arc<OnDisk>>,
}

/// A journal, instead of what is kept otherwise.
#[derive(Debug)]
pub struct OnDisk {
    journal: Journal<SimDisk>,
    disk: SimDisk,
    /// Until somebody takes them.
    turns: Mutex<Option<Turns<SimDisk>>>,
    /// Bodies that were written and not yet inserted or discarded.
    staged: Mutex<BTreeSet<MessageId>>,
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
        Self { bodies, kept: Arc::default(), journal: None }
    }

    /// An empty spool that can be [restarted](Self::restart): it keeps envelopes too, which takes
    /// memory.
    pub fn recoverable(bodies: BodyFactory) -> Self {
        let spool = Self::new(bodies);
        spool.kept().envelopes = Some(BTreeMap::new());
        spool
    }

    /// The daemon's journal on a disk. Somebody must take its [turns](Self::take_turns).
    ///
    /// # Errors
    ///
    /// The disk does not do what it is asked to.
    pub fn on_disk(bodies: BodyFactory, disk: SimDisk, seed: Seed) -> Result<Self, OpenError> {
        let salt = seed.draw(Purpose::Disk, 0, 0);
        let options = Options { segment_bytes: SEGMENT_BYTES, salt };
        let (journal, turns) = Journal::open_in_turns(disk.clone(), options)?;
        let on_disk =
            OnDisk { journal, disk, turns: Mutex::new(Some(turns)), staged: Mutex::default() };
        Ok(Self { bodies, kept: Arc::default(), journal: Some(Arc::new(on_disk)) })
    }

    /// Who writes to the disk; once.
    pub fn take_turns(&self) -> Option<Turns<SimDisk>> {
        lock(&self.journal.as_ref()?.turns).take()
    }

    /// The disk it is on, as the next process finds it.
    pub fn disk_after(&self, blow: Blow) -> Option<SimDisk> {
        Some(self.journal.as_ref()?.disk.after(blow))
    }

    /// The spool in memory as a new process finds it: what was staged and not inserted is gone, the
    /// rest waits to be recovered, in the order of the messages' ids.
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
        Self { bodies: self.bodies.clone(), kept: Arc::new(Mutex::new(kept)), journal: None }
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        match &self.journal {
            Some(on_disk) => on_disk.journal.messages(),
            None => self.kept().messages.len(),
        }
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
        lock(&self.kept)
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
            SpoolWrite::Reroute { message, recipients, to } => {
                let envelopes = kept.envelopes.as_mut();
                if let Some(envelope) = envelopes.and_then(|all| all.get_mut(&message)) {
                    Arc::make_mut(envelope).reroute(&recipients, &to);
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

impl OnDisk {
    /// A change, after the body if nobody has written one.
    fn write(self: &Arc<Self>, change: SpoolWrite, bodies: &BodyFactory) -> Writing {
        match change {
            SpoolWrite::Insert(message) if !lock(&self.staged).remove(&message.id) => {
                Box::pin(Arc::clone(self).insert_generated(message, bodies.clone()))
            }
            change => {
                if let SpoolWrite::Discard(message) = &change {
                    lock(&self.staged).remove(message);
                }
                Box::pin(self.journal.write(change))
            }
        }
    }

    async fn insert_generated(
        self: Arc<Self>,
        message: Arc<StoredMessage>,
        bodies: BodyFactory,
    ) -> Done {
        let StoredMessage { id, size_bytes, eight_bit, .. } = *message;
        let body = bodies.body(BodyFacts { message: id, size_bytes, eight_bit });
        let mut writer = self.journal.stage(id).await?;
        let mut at = 0;
        while at < size_bytes {
            let piece = body.piece(at);
            at += piece.len() as u64;
            writer.append(&piece).await?;
        }
        writer.finish().await?;
        self.journal.write(SpoolWrite::Insert(message)).await
    }
}

type Writing = Pin<Box<dyn Future<Output = Done> + Send>>;

type Done = Result<(), SpoolError>;

impl Spool for SimSpool {
    type Writer = SimWriter;
    type Reader = SimReader;

    async fn stage(&self, message: MessageId) -> Result<SimWriter, SpoolError> {
        Ok(match &self.journal {
            None => SimWriter::Memory { spool: Box::new(self.clone()), message, body: Vec::new() },
            Some(on_disk) => {
                let staging = Box::new(on_disk.journal.stage(message).await?);
                let (on_disk, notices) = (Arc::clone(on_disk), self.bodies.notices.clone());
                let watch = Box::default();
                SimWriter::Journal { on_disk, message, staging, notices, watch }
            }
        })
    }

    async fn read(&self, message: MessageId) -> Result<Option<SimReader>, SpoolError> {
        if let Some(on_disk) = &self.journal {
            return Ok(on_disk.journal.read(message).await?.map(SimReader::Journal));
        }
        let kept = self.kept();
        let content = kept.messages.get(&message);
        Ok(match content {
            Some(Content::Generated { size_bytes, eight_bit }) => {
                let (size_bytes, eight_bit) = (*size_bytes, *eight_bit);
                let facts = BodyFacts { message, size_bytes, eight_bit };
                Some(SimReader::Generated { body: self.bodies.body(facts), at: 0 })
            }
            Some(Content::Written(body)) => Some(SimReader::Written(body.clone())),
            None => kept.staged.get(&message).map(|body| SimReader::Written(body.clone())),
        })
    }

    fn write(&self, change: SpoolWrite) -> impl Future<Output = Done> + Send + 'static {
        let written: Writing = match &self.journal {
            None => {
                self.apply(change);
                Box::pin(ready(Ok(())))
            }
            Some(on_disk) => on_disk.write(change, &self.bodies),
        };
        written
    }

    async fn recover_shaping(&self) -> Result<Option<Arc<ShapingHistory>>, SpoolError> {
        match &self.journal {
            None => Ok(self.kept().shaping.clone()),
            Some(on_disk) => on_disk.journal.recover_shaping().await,
        }
    }

    async fn recover(&self) -> Result<Option<StoredMessage>, SpoolError> {
        if let Some(on_disk) = &self.journal {
            let found = on_disk.journal.recover().await?;
            if found.is_none() {
                on_disk.disk.machine().recovered();
            }
            return Ok(found);
        }
        let mut kept = self.kept();
        let next = kept.to_recover.pop_front();
        let envelope = next.and_then(|id| kept.envelopes.as_ref()?.get(&id).cloned());
        Ok(envelope.map(|envelope| (*envelope).clone()))
    }
}

/// Writes one body.
#[derive(Debug)]
pub enum SimWriter {
    /// To memory.
    Memory {
        /// Where it goes when it is complete.
        spool: Box<SimSpool>,
        /// Whose it is.
        message: MessageId,
        /// What there is of it.
        body: Vec<u8>,
    },
    /// To a journal.
    Journal {
        /// Which.
        on_disk: Arc<OnDisk>,
        /// Whose it is.
        message: MessageId,
        /// The journal's own writer.
        staging: Box<Staging<SimDisk>>,
        /// Who remembers notices.
        notices: NoticeLedger,
        /// It may be one.
        watch: Box<NoticeWatch>,
    },
}

impl BodyWriter for SimWriter {
    async fn append(&mut self, bytes: &[u8]) -> Done {
        match self {
            Self::Memory { body, .. } => {
                body.extend_from_slice(bytes);
                Ok(())
            }
            Self::Journal { staging, watch, .. } => {
                watch.update(bytes);
                staging.append(bytes).await
            }
        }
    }

    async fn finish(self) -> Done {
        match self {
            Self::Memory { spool, message, body } => {
                let mut watch = NoticeWatch::default();
                watch.update(&body);
                spool.bodies.notices.staged(message, &watch);
                spool.kept().staged.insert(message, body.into());
                Ok(())
            }
            Self::Journal { on_disk, message, staging, notices, watch } => {
                notices.staged(message, &watch);
                staging.finish().await?;
                lock(&on_disk.staged).insert(message);
                Ok(())
            }
        }
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
    /// One of a journal.
    Journal(Reading<SimDisk>),
}

impl BodyReader for SimReader {
    async fn next(&mut self) -> Result<Option<Bytes>, SpoolError> {
        let piece = match self {
            Self::Generated { body, at } => {
                let piece = body.piece(*at);
                *at += piece.len() as u64;
                piece
            }
            Self::Written(rest) => std::mem::take(rest),
            Self::Journal(reading) => return reading.next().await,
        };
        Ok((!piece.is_empty()).then_some(piece))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one call that does not panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Segments of a simulated journal: so short that small scenarios see them come and go.
const SEGMENT_BYTES: u32 = 256 << 10;

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
            rerouted: Vec::new(),
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
