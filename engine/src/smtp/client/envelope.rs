//! One transaction: MAIL, RCPT, DATA, body and final reply, one command at a time or, where the
//! server offers PIPELINING (RFC 2920), in groups.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use super::end::{End, ExpectEmptyDot, ExpectRset};
use super::{ClientOutput, Link, RecipientResult, SessionOptions, State, Step, Transaction};
use crate::config::effective::DeliveryMethod;
use crate::limits::PIPELINED_COMMANDS_MAX;
use crate::message::Origin;
use crate::smtp::data::{BodyError, BodyInfo};
use crate::smtp::ehlo::SizeLimit;
use crate::smtp::eight_bit::{self, Passage};
use crate::smtp::reply::{EnhancedCode, Reply, ReplyView, Severity};
use crate::smtp::stage::Stage;

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Envelope {
    transaction: Transaction,
    /// RCPT commands sent.
    sent: usize,
    /// RCPT commands answered.
    answered: usize,
    data_sent: bool,
    /// Indexes, ascending, of the recipients that have their result: those refused, and in LMTP
    /// those whose final reply is here. Empty as long as all goes well.
    settled: Vec<u32>,
    /// MAIL was refused, every recipient has its result; replies to commands that were sent ahead
    /// are still to come.
    over: bool,
}

impl Envelope {
    /// A transaction of which nothing is sent.
    pub(super) const fn new(transaction: Transaction) -> Self {
        Self {
            transaction,
            sent: 0,
            answered: 0,
            data_sent: false,
            settled: Vec::new(),
            over: false,
        }
    }

    /// Who handed the message in.
    pub(super) fn origin(&self) -> Option<&Origin> {
        self.transaction.origin.as_deref()
    }

    /// Begins, unless what the server said about itself already decides the outcome.
    pub(super) fn begin(mut self, step: &mut Step<'_>) -> State {
        debug_assert!(step.link.may_carry_mail(), "mail in clear that must not be");
        if let Some(reply) = refuse_unsent(&self.transaction, step.link) {
            self.settle(Stage::MailFrom, RecipientResult::Permanent(reply), step);
            return step.free();
        }
        self.send_group(true, step);
        step.wait(step.link.options.mailfrom_timeout);
        State::ExpectMail(ExpectMail { envelope: self })
    }

    /// Gives every recipient that has no result yet a transient one.
    pub(super) fn fail(&self, stage: Stage, reply: Reply, step: &mut Step<'_>) {
        self.settle(stage, RecipientResult::Transient(reply), step);
    }

    /// Gives every recipient that has no result yet this one.
    fn settle(&self, stage: Stage, result: RecipientResult, step: &mut Step<'_>) {
        if self.over {
            return;
        }
        let mut settled = self.settled.iter().peekable();
        let mut waiting = (0_u32..)
            .zip(&self.transaction.recipients)
            .map(|(index, _)| index)
            .filter(|index| settled.next_if_eq(&index).is_none());
        // Most messages have one recipient, and its result is not copied.
        let Some(mut index) = waiting.next() else { return };
        for next in waiting {
            let result = result.clone();
            step.out.push(ClientOutput::Recipient { index, stage, result });
            index = next;
        }
        step.out.push(ClientOutput::Recipient { index, stage, result });
    }

    /// Gives the first recipient that has no result yet this one. False when it was the last.
    fn settle_next(&mut self, stage: Stage, result: RecipientResult, step: &mut Step<'_>) -> bool {
        let leading = (0..).zip(&self.settled).take_while(|(index, settled)| index == *settled);
        let place = leading.count();
        // What one message may hold always fits.
        let index = place as u32;
        self.settled.insert(place, index);
        step.out.push(ClientOutput::Recipient { index, stage, result });
        self.settled.len() < self.transaction.recipients.len()
    }

    /// Whether a recipient was accepted, of those answered.
    fn any_accepted(&self) -> bool {
        !self.over && self.answered > self.settled.len()
    }

    /// Sends the next group of commands: a single one without PIPELINING. Only called when
    /// everything sent before is answered, so that neither side's buffers ever fill up with what
    /// the other is too busy writing to read.
    fn send_group(&mut self, with_mail: bool, step: &mut Step<'_>) {
        let link = &*step.link;
        let commands_max = if link.capabilities.pipelining { PIPELINED_COMMANDS_MAX } else { 1 };
        let left = self.transaction.recipients.len() - self.sent;
        let mut commands = 0;
        let mut text = String::with_capacity(128 + 48 * left.min(commands_max));
        if with_mail {
            push_mail(&mut text, &self.transaction, link);
            commands += 1;
        }
        for recipient in
            self.transaction.recipients[self.sent..].iter().take(commands_max - commands)
        {
            push_all(&mut text, &["RCPT TO:<", &recipient.local, "@", &recipient.domain, ">\r\n"]);
            self.sent += 1;
            commands += 1;
        }
        if commands < commands_max && self.sent == self.transaction.recipients.len() {
            text.push_str("DATA\r\n");
            self.data_sent = true;
        }
        step.write(text);
    }

    /// All replies to the commands sent so far have come, or some are still to come: goes on.
    fn go_on(mut self, step: &mut Step<'_>) -> State {
        step.wait(step.link.options.rcptto_timeout);
        if self.answered < self.sent {
            return State::ExpectRcpt(ExpectRcpt { envelope: self });
        }
        if self.data_sent {
            return State::ExpectData(ExpectData { envelope: self });
        }
        let all_sent = self.sent == self.transaction.recipients.len();
        if self.over || (all_sent && !self.any_accepted()) {
            return ExpectRset::begin(step);
        }
        self.send_group(false, step);
        self.go_on(step)
    }
}

/// Decides what needs no dialogue: a message that this server cannot take.
fn refuse_unsent(transaction: &Transaction, link: &Link) -> Option<Reply> {
    match link.capabilities.size {
        SizeLimit::Bytes(limit) if transaction.size_bytes > limit => {
            let text = "message size exceeds the receiver's limit";
            return Some(Reply::local(552, EnhancedCode(5, 3, 4), text));
        }
        SizeLimit::Bytes(_) | SizeLimit::Unknown | SizeLimit::NotOffered => {}
    }
    (passage(transaction, link) == Passage::NeedsConversion).then(|| {
        let text = "8-bit body, and the receiver does not offer 8BITMIME";
        Reply::local(554, EnhancedCode(5, 6, 3), text)
    })
}

fn passage(transaction: &Transaction, link: &Link) -> Passage {
    let SessionOptions { send_8bitmime, transform_8bitmime_content, .. } = link.options;
    let offered = link.capabilities.eight_bit_mime;
    eight_bit::passage(transaction.eight_bit, offered, send_8bitmime, transform_8bitmime_content)
}

fn push_mail(text: &mut String, transaction: &Transaction, link: &Link) {
    match &transaction.reverse_path.0 {
        Some(sender) => {
            push_all(text, &["MAIL FROM:<", &sender.local, "@", &sender.domain, ">"]);
        }
        None => text.push_str("MAIL FROM:<>"),
    }
    if link.capabilities.size != SizeLimit::NotOffered {
        // Unwrap is OK because writing to a string does not fail.
        write!(text, " SIZE={}", transaction.size_bytes).unwrap();
    }
    if passage(transaction, link) == Passage::Announced {
        text.push_str(" BODY=8BITMIME");
    }
    text.push_str("\r\n");
}

fn push_all(text: &mut String, parts: &[&str]) {
    for part in parts {
        text.push_str(part);
    }
}

/// MAIL is sent, perhaps more.
#[derive(Debug)]
pub(super) struct ExpectMail {
    pub(super) envelope: Envelope,
}

impl ExpectMail {
    pub(super) fn on_reply(mut self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        let result = match reply.severity() {
            Severity::Positive => return self.envelope.go_on(step),
            Severity::Transient => RecipientResult::Transient(reply.to_reply()),
            Severity::Permanent => RecipientResult::Permanent(reply.to_reply()),
            Severity::Intermediate => {
                return State::ExpectMail(self).end(End::Violation("3xx to MAIL FROM"), step);
            }
        };
        self.envelope.settle(Stage::MailFrom, result, step);
        self.envelope.over = true;
        self.envelope.go_on(step)
    }
}

/// Some RCPT commands are sent and not all answered.
#[derive(Debug)]
pub(super) struct ExpectRcpt {
    pub(super) envelope: Envelope,
}

impl ExpectRcpt {
    pub(super) fn on_reply(mut self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        let result = match reply.severity() {
            Severity::Positive => None,
            Severity::Transient => Some(RecipientResult::Transient(reply.to_reply())),
            Severity::Permanent => Some(RecipientResult::Permanent(reply.to_reply())),
            Severity::Intermediate => {
                return State::ExpectRcpt(self).end(End::Violation("3xx to RCPT TO"), step);
            }
        };
        let envelope = &mut self.envelope;
        if let (Some(result), false) = (result, envelope.over) {
            // Unwrap is OK because a message has RECIPIENTS_PER_MESSAGE_MAX recipients at most.
            let index = u32::try_from(envelope.answered).unwrap();
            envelope.settled.push(index);
            step.out.push(ClientOutput::Recipient { index, stage: Stage::RcptTo, result });
        }
        envelope.answered += 1;
        self.envelope.go_on(step)
    }
}

/// DATA is sent, all RCPT commands are answered.
#[derive(Debug)]
pub(super) struct ExpectData {
    pub(super) envelope: Envelope,
}

impl ExpectData {
    pub(super) fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        let result = match reply.severity() {
            Severity::Intermediate if self.envelope.any_accepted() => {
                step.out.push(ClientOutput::WriteBody(self.envelope.transaction.message));
                step.wait(step.link.options.body_timeout);
                return State::SendingBody(SendingBody { envelope: self.envelope });
            }
            // Nothing would answer the dot: there is a reply for each recipient, and there is none.
            Severity::Intermediate if step.link.options.method == DeliveryMethod::Lmtp => {
                return State::ExpectData(self).end(End::Violation(NOBODY_TO_SEND_TO), step);
            }
            Severity::Intermediate => return ExpectEmptyDot::begin(step),
            Severity::Transient => RecipientResult::Transient(reply.to_reply()),
            Severity::Permanent => RecipientResult::Permanent(reply.to_reply()),
            Severity::Positive => {
                return State::ExpectData(self).end(End::Violation("2xx to DATA"), step);
            }
        };
        self.envelope.settle(Stage::Data, result, step);
        ExpectRset::begin(step)
    }
}

/// The driver is sending the body, with the final dot.
#[derive(Debug)]
pub(super) struct SendingBody {
    pub(super) envelope: Envelope,
}

impl SendingBody {
    pub(super) fn body_done(
        self,
        result: Result<BodyInfo, BodyError>,
        step: &mut Step<'_>,
    ) -> State {
        match result {
            Ok(_) => {
                step.wait(step.link.options.body_timeout);
                State::ExpectFinal(ExpectFinal { envelope: self.envelope })
            }
            Err(BodyError::Lost(_)) => {
                State::SendingBody(self).end(End::Lost { closed: false }, step)
            }
            Err(BodyError::Missing(_)) => {
                let reply = Reply::local(550, EnhancedCode(5, 3, 0), "message body missing");
                self.envelope.settle(Stage::Body, RecipientResult::Permanent(reply), step);
                let envelope = Envelope { over: true, ..self.envelope };
                State::SendingBody(Self { envelope }).end(End::Local(unreadable()), step)
            }
            Err(BodyError::Spool(_) | BodyError::TooLarge | BodyError::StrayControl) => {
                State::SendingBody(self).end(End::Local(unreadable()), step)
            }
        }
    }
}

fn unreadable() -> Reply {
    Reply::local(451, EnhancedCode(4, 3, 0), "message body cannot be read")
}

/// The final dot is sent. From here on a lost connection may mean a second copy (RFC 1047).
#[derive(Debug)]
pub(super) struct ExpectFinal {
    pub(super) envelope: Envelope,
}

impl ExpectFinal {
    pub(super) fn on_reply(mut self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        let result = match reply.severity() {
            Severity::Positive => RecipientResult::Delivered(reply.to_reply()),
            Severity::Transient => RecipientResult::Transient(reply.to_reply()),
            Severity::Permanent => RecipientResult::Permanent(reply.to_reply()),
            Severity::Intermediate => {
                return State::ExpectFinal(self).end(End::Violation("3xx to the final dot"), step);
            }
        };
        match step.link.options.method {
            DeliveryMethod::Esmtp | DeliveryMethod::Smtp => {
                self.envelope.settle(Stage::BodyReply, result, step);
                step.free()
            }
            // One reply for each recipient accepted, in their order (RFC 2033 section 4.2).
            DeliveryMethod::Lmtp => {
                if !self.envelope.settle_next(Stage::BodyReply, result, step) {
                    return step.free();
                }
                step.wait(step.link.options.body_timeout);
                State::ExpectFinal(self)
            }
        }
    }
}

const NOBODY_TO_SEND_TO: &str = "354 to DATA without a recipient";
