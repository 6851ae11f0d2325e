//! Stages of an outbound SMTP dialogue.

use serde::{Deserialize, Serialize};

/// How far an outbound dialogue had come, as records name it.
///
/// The numbers in the doc comments are the stage numbers of Momentum's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Stage {
    /// Looking for an exchange (0: not connected).
    Dns,
    /// Opening the connection (0: not connected).
    Connect,
    /// Waiting for the banner (12).
    Banner,
    /// EHLO or HELO (10, 11).
    Ehlo,
    /// Waiting for the go-ahead to STARTTLS (15, 16).
    #[serde(rename = "starttls")]
    StartTls,
    /// The TLS handshake (17).
    Handshake,
    /// Waiting for work (1).
    Idle,
    /// XCLIENT (19, 20).
    Xclient,
    /// MAIL FROM (2, 3).
    MailFrom,
    /// RCPT TO (4, 5).
    RcptTo,
    /// DATA, before the 354 (6, 7).
    Data,
    /// Sending the body (8).
    Body,
    /// Waiting for the reply to the final dot (9).
    BodyReply,
    /// RSET (13, 14).
    Rset,
    /// QUIT.
    Quit,
    /// In our own queue, without a dialogue (0: not connected).
    Queue,
}

impl Stage {
    /// The stage's number in Momentum's logs (22 is "unknown" there).
    pub const fn momentum_number(self) -> u8 {
        match self {
            Self::Dns | Self::Connect | Self::Queue => 0,
            Self::Idle => 1,
            Self::MailFrom => 3,
            Self::RcptTo => 5,
            Self::Data => 7,
            Self::Body => 8,
            Self::BodyReply => 9,
            Self::Ehlo => 11,
            Self::Banner => 12,
            Self::Rset => 14,
            Self::StartTls => 16,
            Self::Handshake => 17,
            Self::Xclient => 20,
            Self::Quit => 22,
        }
    }

    /// The stage in the words of reports.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Connect => "connect",
            Self::Banner => "banner",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Handshake => "TLS handshake",
            Self::Idle => "idle",
            Self::Xclient => "XCLIENT",
            Self::MailFrom => "MAIL FROM",
            Self::RcptTo => "RCPT TO",
            Self::Data => "DATA",
            Self::Body => "body",
            Self::BodyReply => "reply to body",
            Self::Rset => "RSET",
            Self::Quit => "QUIT",
            Self::Queue => "queue",
        }
    }
}
