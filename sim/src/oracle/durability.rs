//! Durability: a client hears a yes for its message, and mail is taken into care, only when the
//! message is on the disk; what was refused never comes, but what a failing disk may have kept, to
//! a new process; a message is forgotten only when every recipient is done.

use std::collections::{BTreeMap, BTreeSet};

use traject_engine::ids::{ConnId, MessageId, SpoolOp};
use traject_engine::io::SpoolWrite;
use traject_engine::record::{Event, Record, Via};
use traject_engine::{Input, Output};

use super::{Book, Finding, Law, ensure};

/// What is on its way to the disk.
#[derive(Debug, Default)]
pub(super) struct Durability {
    /// Bodies that clients send.
    receiving: BTreeMap<ConnId, MessageId>,
    /// Messages that clients have sent and wait for an answer to.
    answering: BTreeMap<ConnId, MessageId>,
    inserts: BTreeMap<SpoolOp, MessageId>,
    /// On the disk, and not yet in care.
    durable: BTreeSet<MessageId>,
    /// Clients heard a no for these.
    refused: BTreeSet<MessageId>,
    /// The disk failed while these were written to it: a new process may find them.
    uncertain: BTreeSet<MessageId>,
}

impl Durability {
    pub(super) fn output(&mut self, output: &Output, book: &Book) -> Result<(), Finding> {
        match output {
            Output::ReceiveBody { conn, message, .. } => {
                self.receiving.insert(*conn, *message);
                Ok(())
            }
            Output::Write { conn, bytes } => match self.answering.remove(conn) {
                Some(message) if bytes.starts_with(b"2") => {
                    let kept = self.durable.contains(&message) || book.knows(message);
                    ensure(LAW, kept, || {
                        format!("{conn} heard a yes for message {message}, which is not durable")
                    })
                }
                Some(message) => {
                    self.refused.insert(message);
                    Ok(())
                }
                None => Ok(()),
            },
            Output::Spool { op, write: SpoolWrite::Insert(message) } => {
                self.inserts.insert(*op, message.id);
                Ok(())
            }
            Output::Spool { write: SpoolWrite::Remove(message), .. } => forget(*message, book),
            Output::Spool { write: SpoolWrite::Discard(message), .. } => {
                let lost = self.durable.contains(message);
                ensure(LAW, !lost, || format!("message {message} is durable and thrown away"))?;
                forget(*message, book)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn input(&mut self, input: &Input<'_>) {
        match input {
            Input::BodyDone { conn, .. } => {
                if let Some(message) = self.receiving.remove(conn) {
                    self.answering.insert(*conn, message);
                }
            }
            Input::Closed { conn, .. } => {
                self.receiving.remove(conn);
                self.answering.remove(conn);
            }
            Input::Spooled { op, result } => match (self.inserts.remove(op), result) {
                (Some(message), Ok(())) => drop(self.durable.insert(message)),
                (Some(message), Err(_)) => drop(self.uncertain.insert(message)),
                (None, _) => {}
            },
            _ => {}
        }
    }

    /// A message is taken into care.
    pub(super) fn record(&mut self, record: &Record) -> Result<(), Finding> {
        let Event::Reception { message, via, .. } = &record.event else { return Ok(()) };
        let survived = matches!(via, Via::Spool) && self.uncertain.contains(message);
        let refused = self.refused.contains(message) && !survived;
        ensure(LAW, !refused, || format!("message {message} was refused, and is sent"))?;
        // What a new process finds is durable.
        let durable = self.durable.remove(message) || matches!(via, Via::Spool);
        ensure(LAW, durable, || format!("message {message} is sent before it is durable"))
    }

    /// The process is gone, and its clients with it.
    pub(super) fn forget(&mut self) {
        let refused = std::mem::take(&mut self.refused);
        let uncertain = std::mem::take(&mut self.uncertain);
        *self = Self { refused, uncertain, ..Self::default() };
    }
}

/// A message is to leave the disk.
fn forget(message: MessageId, book: &Book) -> Result<(), Finding> {
    let left = book.pending_of(message);
    ensure(LAW, left == 0, || {
        format!("message {message} leaves the disk with {left} recipients that are not done")
    })
}

const LAW: Law = Law::Durability;
