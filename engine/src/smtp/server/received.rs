//! The Received line (RFC 5321 section 4.4).

use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::ids::MessageId;
use crate::smtp::date::rfc5322_date;
use crate::time::Timestamp;

/// What a Received line tells.
pub(super) struct Received<'a> {
    /// What the client called itself; the grammar lets only characters through that are safe here.
    pub(super) client_name: Option<&'a str>,
    pub(super) peer: SocketAddr,
    /// Our name.
    pub(super) by: &'a str,
    /// The client said EHLO rather than HELO.
    pub(super) esmtp: bool,
    /// Over TLS (RFC 3848).
    pub(super) tls: bool,
    pub(super) message: MessageId,
    pub(super) at: Timestamp,
}

impl Received<'_> {
    /// The line, folded, with its CRLF.
    pub(super) fn to_header(&self) -> Vec<u8> {
        let name = self.client_name.unwrap_or("unknown");
        // An IPv4 client of an IPv6 socket is an IPv4 client.
        let address = match self.peer.ip().to_canonical() {
            IpAddr::V4(address) => format!("[{address}]"),
            IpAddr::V6(address) => format!("[IPv6:{address}]"),
        };
        let by: &str = self.by;
        // There is no word for HELO under TLS; the protocol is no less protected for it.
        let with = match (self.esmtp, self.tls) {
            (_, true) => "ESMTPS",
            (true, false) => "ESMTP",
            (false, false) => "SMTP",
        };
        let (id, date) = (self.message, rfc5322_date(self.at));
        format!(
            "Received: from {name} ({address})\r\n\tby {by} with {with} id {id};\r\n\t{date}\r\n"
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    #[test]
    fn received_lines() {
        for (client_name, peer, esmtp, tls, expected) in [
            (
                Some("client.example"),
                "192.0.2.1:4000",
                true,
                false,
                "Received: from client.example ([192.0.2.1])\r\n\
                 \tby mx.example with ESMTP id 7f;\r\n\
                 \tSun, 09 Sep 2001 01:46:40 +0000\r\n",
            ),
            (
                None,
                "[2001:db8::1]:4000",
                false,
                false,
                "Received: from unknown ([IPv6:2001:db8::1])\r\n\
                 \tby mx.example with SMTP id 7f;\r\n\
                 \tSun, 09 Sep 2001 01:46:40 +0000\r\n",
            ),
            (
                Some("[192.0.2.1]"),
                "[::ffff:192.0.2.1]:4000",
                true,
                true,
                "Received: from [192.0.2.1] ([192.0.2.1])\r\n\
                 \tby mx.example with ESMTPS id 7f;\r\n\
                 \tSun, 09 Sep 2001 01:46:40 +0000\r\n",
            ),
        ] {
            let received = Received {
                client_name,
                peer: peer.parse().unwrap(),
                by: "mx.example",
                esmtp,
                tls,
                message: MessageId(0x7f),
                at: Timestamp::from_secs(1_000_000_000),
            };
            assert_eq!(String::from_utf8(received.to_header()).unwrap(), expected);
        }
    }
}
