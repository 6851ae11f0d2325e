//! What a receiver allows, and what it does about those who want more.

use std::net::IpAddr;
use std::time::Duration;

use super::{Curve, ReplyText, Response, Stage, Uncertain};
use crate::glob::Glob;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Connections open at once.
    Connections {
        /// That many are allowed.
        max: u32,
    },
    /// New connections in any stretch of time.
    ConnectionRate {
        /// That many are allowed.
        max: u32,
        /// The length of the stretch.
        window: Duration,
    },
    /// Messages begun (MAIL accepted) in any stretch of time.
    MessageRate {
        /// That many are allowed.
        max: u32,
        /// The length of the stretch.
        window: Duration,
    },
    /// Messages of one connection.
    MessagesPerConnection {
        /// That many are allowed.
        max: u32,
    },
    /// Recipients of one message.
    RecipientsPerMessage {
        /// That many are allowed.
        max: u32,
    },
}

/// Which source addresses are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Each source address for itself.
    Address,
    /// Each /24 (IPv4) or /64 (IPv6).
    Network,
    /// Everybody.
    All,
}

impl Per {
    /// The address that stands for everybody who is counted together with `source`.
    pub fn group(self, source: IpAddr) -> IpAddr {
        match (self, source) {
            (Self::Address, _) => source,
            (Self::Network, IpAddr::V4(v4)) => IpAddr::V4((u32::from(v4) & !0xff).into()),
            (Self::Network, IpAddr::V6(v6)) => {
                IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into())
            }
            (Self::All, _) => IpAddr::V4(0.into()),
        }
    }
}

/// Whose connections and messages are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedBy {
    /// By where they come from.
    Source(Per),
    /// By the mailbox in MAIL FROM. Only messages have one.
    Sender,
    /// By the domain in MAIL FROM. Only messages have one.
    SenderDomain,
}

/// One limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// What is limited.
    pub what: Limited,
    /// Where its number is not known for sure.
    pub range: Option<Uncertain<u32>>,
    /// Whose counts are added up.
    pub per: CountedBy,
    /// Where an excess shows.
    pub stage: Stage,
    /// What is done about it.
    pub response: Response,
    /// What the limit is multiplied by, rounded down.
    pub load: Curve,
    /// What becomes of those who go on.
    pub escalation: Option<Escalation>,
}

impl Limit {
    /// What it is called: `connections per address`.
    pub fn name(&self) -> String {
        let what = match self.what {
            Limited::Connections { .. } => "connections",
            Limited::ConnectionRate { .. } => "new connections",
            Limited::MessageRate { .. } => "messages",
            Limited::MessagesPerConnection { .. } => return "messages per connection".to_owned(),
            Limited::RecipientsPerMessage { .. } => return "recipients per message".to_owned(),
        };
        let per = match self.per {
            CountedBy::Source(Per::Address) => "per address",
            CountedBy::Source(Per::Network) => "per network",
            CountedBy::Source(Per::All) => "of everybody",
            CountedBy::Sender => "per sender",
            CountedBy::SenderDomain => "per sender domain",
        };
        format!("{what} {per}")
    }
}

/// Who exceeds a limit too often is not spoken with for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// That many times,
    pub offences: u32,
    /// within so long.
    pub within: Duration,
    /// What follows.
    pub block: Block,
}

/// A time in which somebody gets nothing but this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// For so long; offences meanwhile do not count.
    pub length: Duration,
    /// Where that is not known for sure.
    pub range: Option<Uncertain<Duration>>,
    /// Where it shows.
    pub stage: Stage,
    /// What is done.
    pub response: Response,
}

/// Mailboxes that do not exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Unknown {
    /// This share of all mailboxes; which ones, the seed decides, once and for all.
    pub share: f64,
    /// And these.
    pub recipients: Vec<Glob>,
    /// What is said about them at RCPT.
    pub reply: ReplyText,
    /// What becomes of those who name too many.
    pub trip: Option<Trip>,
}

/// Who names too many mailboxes that do not exist is not spoken with for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Trip {
    /// More than this share
    pub share: f64,
    /// of the last recipients, so many,
    pub of: u32,
    /// all of them named within this time.
    pub within: Duration,
    /// Who is counted together.
    pub per: Per,
    /// What follows.
    pub block: Block,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_sources() {
        let source: IpAddr = "192.0.2.77".parse().unwrap();
        assert_eq!(Per::Address.group(source), source);
        assert_eq!(Per::Network.group(source).to_string(), "192.0.2.0");
        assert_eq!(Per::All.group(source), Per::All.group("2001:db8::1".parse().unwrap()));
        let v6: IpAddr = "2001:db8:1:2:3::4".parse().unwrap();
        assert_eq!(Per::Network.group(v6).to_string(), "2001:db8:1:2::");
    }
}
