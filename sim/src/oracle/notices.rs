//! Notices: whoever is to hear of a failure does, once, and nobody hears of a notice that failed
//! (but `mdn_failures_notify`). Delays are told of while they last.

use std::collections::{BTreeMap, BTreeSet};

use traject_engine::config::effective::NoticeOptions;
use traject_engine::ids::MessageId;
use traject_engine::notice::NoticeKind;
use traject_engine::record::{Attempt, Event, Record, Via};
use traject_engine::smtp::address::{Mailbox, ReversePath};

use super::{Book, Finding, Law, State, ensure};

/// What is known of notices.
#[derive(Debug, Default)]
pub(super) struct NoticeLaw {
    /// Those that the engine began, and that are not accepted yet.
    begun: BTreeSet<MessageId>,
    /// Recipients that failed, and who has not heard of it yet.
    owed: BTreeMap<(MessageId, u32), Mailbox>,
    /// Notices that are being put together and written, each with the deliveries before it began.
    under_way: BTreeMap<MessageId, u64>,
    /// Recipients that were delivered while there are any, by the same count.
    delivered: BTreeMap<(MessageId, u32), u64>,
    deliveries: u64,
}

impl NoticeLaw {
    /// The engine puts a notice together.
    pub(super) fn begins(&mut self, message: MessageId) {
        self.begun.insert(message);
        self.under_way.entry(message).or_insert(self.deliveries);
    }

    /// The process is gone: what it was putting together is not said any more.
    pub(super) fn process_gone(&mut self) {
        self.under_way.clear();
        self.delivered.clear();
    }

    /// Whether a message that comes in is a notice: after a crash nothing else tells.
    pub(super) fn is_begun(&self, message: MessageId) -> bool {
        self.begun.contains(&message)
    }

    /// Whether everybody has heard.
    pub(super) fn is_settled(&self) -> bool {
        self.owed.is_empty()
    }

    /// A message is back after a crash: of its failures, those nobody has heard of are not to be
    /// heard of any more, since their recipients are tried again. Tells whether there are any.
    pub(super) fn forgive(&mut self, message: MessageId) -> bool {
        let before = self.owed.len();
        self.owed.retain(|(of, _), _| *of != message);
        self.owed.len() < before
    }

    /// Judges a record.
    pub(super) fn judge(&mut self, record: &Record, book: &mut Book) -> Result<(), Finding> {
        match &record.event {
            Event::PermanentFailure(attempt) | Event::Expiry { attempt, .. } => {
                let pair = book.pair_id(&attempt.pair);
                if let Some(to) = addressee(&book.options(pair).notices, attempt) {
                    self.owed.insert((attempt.message, attempt.recipient), to);
                }
                Ok(())
            }
            Event::Reception { message, via: Via::Notice { of, kind, told }, .. } => {
                self.begun.remove(message);
                let began = self.under_way.remove(message);
                let Event::Reception { reverse_path, recipients, .. } = &record.event else {
                    return Ok(());
                };
                let [to] = &recipients[..] else {
                    return broken(format!("notice {message} is for {} people", recipients.len()));
                };
                ensure(LAW, *reverse_path == ReversePath(None) && !told.is_empty(), || {
                    format!("notice {message} has the sender {reverse_path}")
                })?;
                let judged = match kind {
                    NoticeKind::Failed => self.told_of_failures(*of, told, to),
                    NoticeKind::Delayed => self.told_of_delays(*of, told, began, book),
                };
                if self.under_way.is_empty() {
                    self.delivered.clear();
                }
                judged
            }
            Event::Delivery(attempt) => {
                self.deliveries += 1;
                if !self.under_way.is_empty() {
                    self.delivered.insert((attempt.message, attempt.recipient), self.deliveries);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn told_of_failures(
        &mut self,
        of: MessageId,
        told: &[u32],
        to: &Mailbox,
    ) -> Result<(), Finding> {
        for index in told {
            match self.owed.remove(&(of, *index)) {
                Some(owed) => ensure(LAW, owed == *to, || {
                    format!("{to} hears of recipient {index} of message {of} instead of {owed}")
                })?,
                None => {
                    return broken(format!(
                        "{to} hears of recipient {index} of message {of}, and need not"
                    ));
                }
            }
        }
        Ok(())
    }

    /// A recipient may be delivered while a notice about it is on its way to the disk; what was
    /// done before it was begun it must not speak of.
    fn told_of_delays(
        &self,
        of: MessageId,
        told: &[u32],
        began: Option<u64>,
        book: &Book,
    ) -> Result<(), Finding> {
        for index in told {
            let row = book.row(of, *index)?;
            let meanwhile = || {
                let delivered = self.delivered.get(&(of, *index));
                delivered.zip(began).is_some_and(|(delivered, began)| *delivered > began)
            };
            ensure(LAW, row.state != State::Delivered || meanwhile(), || {
                format!("recipient {index} of message {of} is delivered, and said to be late")
            })?;
            ensure(LAW, !row.notice, || format!("notice {of} is said to be late"))?;
        }
        Ok(())
    }
}

/// Who is to hear that a recipient failed.
fn addressee(options: &NoticeOptions, attempt: &Attempt) -> Option<Mailbox> {
    if attempt.quiet || !options.generate_bounces {
        return None;
    }
    if let Some(sender) = &attempt.reverse_path.0 {
        return Some(sender.clone());
    }
    let inspector = options.mdn_failures_notify.clone()?;
    (inspector != attempt.mailbox).then_some(inspector)
}

fn broken(details: String) -> Result<(), Finding> {
    Err(Finding { law: LAW, details })
}

const LAW: Law = Law::Notices;
