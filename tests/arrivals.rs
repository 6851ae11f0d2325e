//! Who got what how often.

use std::collections::BTreeMap;

use crate::{Delivery, Mail};

/// Copies of each message that reached each of its recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// By number of the message and recipient.
    pub copies: BTreeMap<(u32, String), u32>,
}

impl Arrivals {
    /// Counts deliveries of these messages, and compares every copy with what was sent: sender
    /// and body, byte for byte but for one Received line.
    pub fn count(deliveries: &[Delivery], mails: &[Mail]) -> Self {
        let mails: BTreeMap<u32, &Mail> = mails.iter().map(|mail| (mail.number, mail)).collect();
        let mut copies = BTreeMap::new();
        for Delivery { sender, recipients, body } in deliveries {
            for recipient in recipients {
                let number = number(recipient).unwrap_or_else(|| panic!("whose is {recipient}?"));
                let mail = mails.get(&number).unwrap_or_else(|| panic!("who sent {number}?"));
                assert!(mail.recipients.contains(recipient), "{recipient} is not of {number}");
                assert_eq!(*sender, mail.sender, "sender of {number}");
                let body = without_trace(body);
                let difference = body.iter().zip(&mail.body).position(|(a, b)| a != b);
                assert!(
                    body == mail.body,
                    "{number}: {} bytes sent, {} arrived, first difference at {difference:?}",
                    mail.body.len(),
                    body.len(),
                );
                *copies.entry((number, recipient.clone())).or_default() += 1;
            }
        }
        Self { copies }
    }

    /// Recipients that got nothing.
    pub fn missing(&self, mails: &[Mail]) -> Vec<String> {
        let recipients = mails.iter().flat_map(|mail| {
            mail.recipients.iter().map(|recipient| (mail.number, recipient.clone()))
        });
        recipients.filter(|key| !self.copies.contains_key(key)).map(|(_, name)| name).collect()
    }

    /// Copies beyond the first.
    pub fn duplicates(&self) -> u32 {
        self.copies.values().map(|copies| copies - 1).sum()
    }
}

/// The number of the message in a recipient of [`Mail`].
fn number(recipient: &str) -> Option<u32> {
    recipient.split_once('@')?.0.split_once('.')?.1.parse().ok()
}

/// A message without the Received line that stands in front of it.
///
/// # Panics
///
/// When there is none, or its lines are not those of a folded header.
pub fn without_trace(message: &[u8]) -> &[u8] {
    assert!(message.starts_with(b"Received: "), "no trace header: {:?}", first_line(message));
    let mut rest = after_line(message);
    while rest.starts_with(b"\t") || rest.starts_with(b" ") {
        rest = after_line(rest);
    }
    rest
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text.windows(2).position(|pair| pair == b"\r\n").expect("a line");
    &text[end + 2..]
}

fn first_line(message: &[u8]) -> String {
    String::from_utf8_lossy(&message[..message.len().min(80)]).into_owned()
}
