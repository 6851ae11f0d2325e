//! Why mail fails, in classes that an operator can count and act on.

mod classify;
pub mod inbound;
mod rules;

pub use classify::{Classified, Memo, Reason, classify};
pub use rules::{RULES, Rule};

use serde::{Deserialize, Serialize};

/// The class of a failure. The numbers are those of Momentum's bounce log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BounceClass {
    /// 1: the reply says nothing that is understood.
    Undetermined,
    /// 10: there is no such mailbox.
    InvalidRecipient,
    /// 20: the exchange could not be talked to.
    Soft,
    /// 21: the DNS has no exchange for the domain, or did not answer.
    Dns,
    /// 22: the mailbox is full.
    MailboxFull,
    /// 23: the message is too large.
    TooLarge,
    /// 24: the exchange did not answer in time, or the message became too old.
    Timeout,
    /// 25: our own configuration, or its operator, failed it.
    Admin,
    /// 30: a bounce that does not say whom it is about.
    NoRecipient,
    /// 40: refused, for a reason of no other class.
    Generic,
    /// 50: the receiver blocks us, or its policy refuses the message.
    Block,
    /// 51: the receiver takes our address or domain for a source of spam.
    SpamSource,
    /// 52: the receiver takes the message for spam.
    SpamContent,
    /// 53: an attachment, or what is in it, is not allowed.
    Attachment,
    /// 54: the exchange does not receive mail for that domain.
    Relay,
    /// 60: somebody's automatic answer.
    AutoReply,
    /// 70: not now: too much, too fast, unknown yet, or busy.
    Transient,
    /// 80: a request to be put on a list.
    Subscribe,
    /// 90: a request to be taken off a list.
    Unsubscribe,
    /// 100: the receiver wants the sender to prove to be a person.
    Challenge,
}

impl BounceClass {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Undetermined,
        Self::InvalidRecipient,
        Self::Soft,
        Self::Dns,
        Self::MailboxFull,
        Self::TooLarge,
        Self::Timeout,
        Self::Admin,
        Self::NoRecipient,
        Self::Generic,
        Self::Block,
        Self::SpamSource,
        Self::SpamContent,
        Self::Attachment,
        Self::Relay,
        Self::AutoReply,
        Self::Transient,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Challenge,
    ];

    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Undetermined => 1,
            Self::InvalidRecipient => 10,
            Self::Soft => 20,
            Self::Dns => 21,
            Self::MailboxFull => 22,
            Self::TooLarge => 23,
            Self::Timeout => 24,
            Self::Admin => 25,
            Self::NoRecipient => 30,
            Self::Generic => 40,
            Self::Block => 50,
            Self::SpamSource => 51,
            Self::SpamContent => 52,
            Self::Attachment => 53,
            Self::Relay => 54,
            Self::AutoReply => 60,
            Self::Transient => 70,
            Self::Subscribe => 80,
            Self::Unsubscribe => 90,
            Self::Challenge => 100,
        }
    }

    /// Its name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Undetermined => "undetermined",
            Self::InvalidRecipient => "invalid recipient",
            Self::Soft => "soft",
            Self::Dns => "DNS",
            Self::MailboxFull => "mailbox full",
            Self::TooLarge => "too large",
            Self::Timeout => "timeout",
            Self::Admin => "admin",
            Self::NoRecipient => "no recipient",
            Self::Generic => "generic",
            Self::Block => "block",
            Self::SpamSource => "spam source",
            Self::SpamContent => "spam content",
            Self::Attachment => "attachment",
            Self::Relay => "relay",
            Self::AutoReply => "auto-reply",
            Self::Transient => "transient",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Challenge => "challenge",
        }
    }

    /// What sort of failure it is: whether the address is to blame, the moment, the sender, or us.
    pub const fn kind(self) -> BounceKind {
        match self {
            Self::InvalidRecipient | Self::NoRecipient | Self::Unsubscribe => BounceKind::Hard,
            Self::Soft
            | Self::Dns
            | Self::MailboxFull
            | Self::TooLarge
            | Self::Timeout
            | Self::Generic
            | Self::AutoReply
            | Self::Transient
            | Self::Challenge => BounceKind::Soft,
            Self::Block | Self::SpamSource | Self::SpamContent | Self::Attachment | Self::Relay => {
                BounceKind::Block
            }
            Self::Admin | Self::Subscribe => BounceKind::Admin,
            Self::Undetermined => BounceKind::Undetermined,
        }
    }
}

/// What sort of failure a class is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BounceKind {
    /// The address: mail to it will never arrive.
    Hard,
    /// The moment or the message: the same mail may arrive another time.
    Soft,
    /// The sender: who sends or what is in it.
    Block,
    /// An operator's doing.
    Admin,
    /// Nobody knows.
    Undetermined,
}

impl BounceKind {
    /// Its name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Block => "block",
            Self::Admin => "admin",
            Self::Undetermined => "undetermined",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_in_order() {
        let numbers = BounceClass::ALL.map(BounceClass::number);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}
