//! Notices to senders: what became of a message (`generate_bounces`), and that it takes long
//! (`generate_delay_dsn`).
//!
//! A notice is ordinary mail with a null reverse-path. The recipients it tells of are not done
//! before it is durable: whatever breaks off in between, the sender hears of every one of them,
//! at worst twice (reliability before tidiness, as with copies of a message).
//!
//! [`NoticeOptions::addressee`] decides whether there is one, `text` writes it, `delays` knows when
//! the next "still trying" is due, and this file sees each notice through.

mod delays;
mod text;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub(crate) use self::delays::Delays;
use self::text::Facts;
use crate::config::effective::{InlineOriginal, NoticeOptions};
use crate::engine::Engine;
use crate::ids::MessageId;
use crate::io::{ComposeError, Output, Quote, SpoolError, SpoolWrite};
use crate::limits::{NOTICE_REPEATED_AFTER, NOTICES_AT_ONCE};
use crate::message::{RecipientState, StoredMessage, StoredRecipient};
use crate::reception::SpoolPurpose;
use crate::record::{Attempt, Event, Via};
use crate::rng::Purpose;
use crate::smtp::address::{Mailbox, ReversePath};
use crate::smtp::data::BodyInfo;
use crate::smtp::reply::Reply;
use crate::smtp::stage::Stage;
use crate::time::Timestamp;
use crate::timers::WakeupReason;

/// What a notice says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum NoticeKind {
    /// That recipients failed for good: a bounce.
    Failed,
    /// That recipients still wait, and are tried again.
    Delayed,
}

/// What became of one recipient, as far as a sender is told.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) recipient: u32,
    pub(crate) mailbox: Mailbox,
    /// How it ended, or how the last attempt did; `None` when there was none.
    pub(crate) end: Option<End>,
    /// Until when it is tried; for delays alone.
    pub(crate) tried_until: Option<Timestamp>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// The reply that decided.
    pub(crate) reply: Reply,
    /// What the last attempt had failed with, when it was given up since.
    pub(crate) last_reply: Option<Reply>,
    pub(crate) stage: Stage,
    /// The name and address of the exchange talked to.
    pub(crate) exchange: Option<(Arc<str>, SocketAddr)>,
    pub(crate) at: Timestamp,
}

impl Outcome {
    /// What a record says for good of a recipient; `None` for other records.
    pub(crate) fn of(event: &Event, exchange: Option<&Arc<str>>, at: Timestamp) -> Option<Self> {
        let (attempt, last_reply) = match event {
            Event::PermanentFailure(attempt) => (attempt, None),
            Event::Expiry { attempt, last_reply, .. } => (attempt, last_reply.clone()),
            _ => return None,
        };
        Some(Self {
            recipient: attempt.recipient,
            mailbox: attempt.mailbox.clone(),
            end: Some(End::of(attempt, last_reply, exchange, at)),
            tried_until: None,
        })
    }
}

impl End {
    fn of(
        attempt: &Attempt,
        last_reply: Option<Reply>,
        exchange: Option<&Arc<str>>,
        at: Timestamp,
    ) -> Self {
        Self {
            reply: attempt.reply.clone(),
            last_reply,
            stage: attempt.stage,
            exchange: exchange.cloned().zip(attempt.remote),
            at,
        }
    }
}

impl NoticeOptions {
    /// Who is told that `failed` failed for good; `None`: nobody. A message without a sender is a
    /// notice itself: it makes another one for `mdn_failures_notify` alone, and none when that
    /// mailbox is what failed.
    pub fn addressee(&self, sender: &ReversePath, failed: &Mailbox) -> Option<Mailbox> {
        match &sender.0 {
            _ if !self.generate_bounces => None,
            Some(sender) => Some(sender.clone()),
            None => self.mdn_failures_notify.clone().filter(|to| to != failed),
        }
    }
}

/// The notices that are not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// Those that are being put together or written, or that wait to be tried again.
    begun: BTreeMap<MessageId, (Notice, Step)>,
    under_way: usize,
    /// Those that wait for others to be done with.
    in_line: VecDeque<Notice>,
}

/// A notice to be sent.
#[derive(Debug)]
pub(crate) struct Notice {
    kind: NoticeKind,
    of: MessageId,
    to: Mailbox,
    binding: Arc<str>,
    outcomes: Vec<Outcome>,
    from: Option<Arc<str>>,
    quoted: InlineOriginal,
}

/// How far a notice has come.
#[derive(Debug)]
enum Step {
    /// The driver puts it together.
    Composed,
    /// It is being made durable.
    Written(Arc<StoredMessage>),
    /// The spool refused it. A timer is set, unless there will be no other attempt.
    Refused,
}

impl Notices {
    /// The recipients that are done as soon as their sender is told, by message.
    pub(crate) fn held(&self) -> impl Iterator<Item = (MessageId, impl Iterator<Item = u32>)> {
        let begun = self.begun.values().map(|(notice, _)| notice);
        let failed = |notice: &&Notice| notice.kind == NoticeKind::Failed;
        begun
            .chain(&self.in_line)
            .filter(failed)
            .map(|notice| (notice.of, notice.outcomes.iter().map(|outcome| outcome.recipient)))
    }

    /// Notices that are being put together by the driver.
    pub(crate) fn composing(&self) -> usize {
        self.begun.values().filter(|(_, step)| matches!(step, Step::Composed)).count()
    }

    /// One is counted that is not under way.
    #[cfg(test)]
    pub(crate) const fn plant(&mut self) {
        self.under_way += 1;
    }

    /// Whether counters agree with what they count, and whoever waits in line waits for somebody.
    pub(crate) fn is_sound(&self) -> bool {
        let refused = |step: &Step| matches!(step, Step::Refused);
        let under_way = self.begun.values().filter(|(_, step)| !refused(step)).count();
        self.under_way == under_way && (self.in_line.is_empty() || under_way >= NOTICES_AT_ONCE)
    }
}

impl Engine {
    /// Draws the last consequences of results: new states become durable, and the message goes
    /// when all its recipients are done. Those that failed are done when their sender, if it is
    /// to be, is told.
    pub(crate) fn settle_recipients(
        &mut self,
        slot: usize,
        message: MessageId,
        mut updates: Vec<(u32, RecipientState)>,
        failures: Vec<Outcome>,
    ) {
        for (recipient, _) in updates.iter().filter(is_done) {
            self.stop_delay_notices(message, *recipient);
        }
        let told = self.tell_sender(slot, message, failures);
        updates.retain(|(recipient, _)| !told.contains(recipient));
        self.settle_done(message, updates);
    }

    /// Makes new states of a message's recipients durable, and lets go of the message when all
    /// are done.
    fn settle_done(&mut self, message: MessageId, updates: Vec<(u32, RecipientState)>) {
        if updates.is_empty() {
            return;
        }
        let done = updates.iter().filter(is_done).count();
        if done > 0 && self.messages.finish(message, done as u32) {
            self.spool(message, SpoolWrite::Remove(message));
        } else {
            self.spool(message, SpoolWrite::Update { message, recipients: updates });
        }
    }

    /// Has a notice made of those failures that somebody is to hear of; answers with their
    /// recipients.
    fn tell_sender(
        &mut self,
        slot: usize,
        message: MessageId,
        failures: Vec<Outcome>,
    ) -> BTreeSet<u32> {
        if failures.is_empty() {
            return BTreeSet::new();
        }
        let sender = self.messages.get(message).reverse_path.clone();
        let queue = &self.queues[slot];
        let options = queue.options.clone();
        let binding = queue.pair.binding.clone();
        let mut by_addressee: BTreeMap<Mailbox, Vec<Outcome>> = BTreeMap::new();
        for failure in failures {
            if let Some(to) = options.notices.addressee(&sender, &failure.mailbox) {
                by_addressee.entry(to).or_default().push(failure);
            }
        }
        let mut told = BTreeSet::new();
        for (to, outcomes) in by_addressee {
            told.extend(outcomes.iter().map(|outcome| outcome.recipient));
            self.owe(Notice {
                kind: NoticeKind::Failed,
                of: message,
                to,
                binding: binding.clone(),
                outcomes,
                from: options.notices.mailerdaemon.clone(),
                quoted: options.notices.bounces_inline_original,
            });
        }
        told
    }

    /// Takes a notice on. Only so many are worked at: a whole domain may fail at once.
    fn owe(&mut self, notice: Notice) {
        self.notices.in_line.push_back(notice);
        self.begin_notices();
    }

    fn begin_notices(&mut self) {
        while self.notices.under_way < NOTICES_AT_ONCE
            && let Some(mut notice) = self.notices.in_line.pop_front()
        {
            if self.has_something_to_say(&mut notice) {
                self.notices.under_way += 1;
                self.compose(notice);
            }
        }
    }

    /// The message it is about is in care: a recipient waits, or is done when this is told.
    fn compose(&mut self, notice: Notice) {
        let id = self.ids.message();
        let of = notice.of;
        let original = self.messages.get(of);
        let mark = self.seed.draw(Purpose::NoticeBoundary, id.0, 0);
        let facts = Facts {
            id,
            mark,
            now: self.now,
            hostname: &self.config.server_options().hostname,
            kind: notice.kind,
            to: &notice.to,
            from: notice.from.as_deref(),
            outcomes: &notice.outcomes,
            arrived_at: original.received_at,
            eight_bit: original.eight_bit,
            quote: quote(notice.quoted).map(|quote| (of, quote)),
        };
        let parts = facts.to_parts();
        self.notices.begun.insert(id, (notice, Step::Composed));
        self.emit(Output::Compose { message: id, parts });
    }

    /// The driver has put a notice together, or could not.
    pub(crate) fn composed(&mut self, id: MessageId, result: Result<BodyInfo, ComposeError>) {
        let Some((notice, step)) = self.notices.begun.get_mut(&id) else { return };
        match result {
            Ok(info) => {
                let state = RecipientState::new(self.now);
                let message = Arc::new(StoredMessage {
                    id,
                    reverse_path: ReversePath(None),
                    recipients: vec![StoredRecipient { mailbox: notice.to.clone(), state }],
                    received_at: self.now,
                    size_bytes: info.size_bytes,
                    eight_bit: info.eight_bit,
                    binding: notice.binding.clone(),
                    origin: None,
                    rerouted: Vec::new(),
                });
                *step = Step::Written(message.clone());
                self.spool_for(SpoolPurpose::Notice(id), SpoolWrite::Insert(message));
            }
            // A sender who sees nothing of the message is better off than one who hears nothing.
            Err(ComposeError::Original(error)) if notice.quoted != InlineOriginal::None => {
                let Some((mut notice, _)) = self.notices.begun.remove(&id) else { return };
                // A message that waits no longer is gone for a good reason.
                if !self.has_something_to_say(&mut notice) {
                    self.notices.under_way -= 1;
                    return self.begin_notices();
                }
                self.record(Event::SpoolFailure { message: notice.of, error });
                notice.quoted = InlineOriginal::None;
                self.compose(notice);
            }
            Err(ComposeError::Original(error) | ComposeError::Spool(error)) => {
                self.notice_refused(id, error);
            }
        }
    }

    /// A notice is durable, or the spool refused it.
    pub(crate) fn notice_spooled(&mut self, id: MessageId, result: Result<(), SpoolError>) {
        if let Err(error) = result {
            self.spool(id, SpoolWrite::Discard(id));
            return self.notice_refused(id, error);
        }
        let Some((notice, Step::Written(message))) = self.notices.begun.remove(&id) else { return };
        self.notices.under_way -= 1;
        self.notice_is_over(&notice);
        let recipients: Vec<u32> =
            notice.outcomes.iter().map(|outcome| outcome.recipient).collect();
        let told = recipients.clone();
        self.take_into_care(message, Via::Notice { of: notice.of, kind: notice.kind, told });
        if notice.kind == NoticeKind::Failed {
            let done = recipients.into_iter().map(|index| (index, RecipientState::Done));
            self.settle_done(notice.of, done.collect());
        }
        self.begin_notices();
    }

    /// Failures that cannot be told of stay as they are, and are told of later. When there is no
    /// later, the next process finds them in the spool. A delay may be over by then: that notice is
    /// left out.
    fn notice_refused(&mut self, id: MessageId, error: SpoolError) {
        self.record(Event::SpoolFailure { message: id, error });
        let Some((notice, _)) = self.notices.begun.remove(&id) else { return };
        self.notices.under_way -= 1;
        self.notice_is_over(&notice);
        if notice.kind == NoticeKind::Failed {
            self.notices.begun.insert(id, (notice, Step::Refused));
            if !self.draining {
                self.timers.set(self.now + NOTICE_REPEATED_AFTER, WakeupReason::Notice(id));
            }
        }
        self.begin_notices();
    }

    /// It is time to try a refused notice again, from the beginning.
    pub(crate) fn repeat_notice(&mut self, id: MessageId) {
        if !self.draining
            && let Some((notice, _)) = self.notices.begun.remove(&id)
        {
            self.owe(notice);
        }
    }
}

fn is_done((_, state): &&(u32, RecipientState)) -> bool {
    *state == RecipientState::Done
}

/// What to quote of the original.
const fn quote(inline: InlineOriginal) -> Option<Quote> {
    match inline {
        InlineOriginal::None => None,
        InlineOriginal::Headers => Some(Quote::Headers),
        InlineOriginal::All => Some(Quote::All),
    }
}
