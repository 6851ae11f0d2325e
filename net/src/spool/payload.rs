//! The payloads of `Insert` and `Update` frames.
//!
//! Written by hand rather than derived: what is on a disk must not change because somebody
//! reorders the fields of a type. Taking [`StoredMessage`] apart without `..` makes a new field a
//! compile error here, which asks for a new version below; old versions stay readable.

use std::net::IpAddr;
use std::sync::Arc;

use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::message::{Origin, RecipientState, StoredMessage, StoredRecipient};
use traject_engine::record::Pair;
use traject_engine::smtp::address::{Mailbox, ReversePath};

use super::index::Location;

/// The latest that is read. What is written is the first that can say it: version 1 had no origin,
/// 2 no recipients that were given to another queue.
const INSERT_VERSION: u8 = 3;
/// New states of recipients.
const UPDATE_STATES: u8 = 1;
/// Recipients are given to another queue.
const UPDATE_REROUTED: u8 = 2;

const EIGHT_BIT: u8 = 1 << 0;
const NULL_REVERSE_PATH: u8 = 1 << 1;
const ORIGIN: u8 = 1 << 2;
const ORIGIN_ESMTP: u8 = 1 << 3;
const ORIGIN_HELO: u8 = 1 << 4;

/// The payload does not follow the format, or one of a later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Where the pieces of the body are, and the envelope.
pub(super) fn encode_insert(message: &StoredMessage, chunks: &[Location]) -> Vec<u8> {
    let StoredMessage {
        // The id stands in the frame's header.
        id: _,
        reverse_path,
        recipients,
        received_at,
        size_bytes,
        eight_bit,
        binding,
        origin,
        rerouted,
    } = message;
    let version = if rerouted.is_empty() { 2 } else { INSERT_VERSION };
    let mut out = vec![version];
    push_number(&mut out, chunks.len() as u64);
    for Location { segment, offset, payload_bytes } in chunks {
        push_number(&mut out, u64::from(*segment));
        push_number(&mut out, u64::from(*offset));
        push_number(&mut out, u64::from(*payload_bytes));
    }
    let mut flags = 0;
    flags |= if *eight_bit { EIGHT_BIT } else { 0 };
    flags |= if reverse_path.0.is_none() { NULL_REVERSE_PATH } else { 0 };
    flags |= origin.as_deref().map_or(0, origin_flags);
    out.push(flags);
    push_number(&mut out, received_at.as_micros());
    push_number(&mut out, *size_bytes);
    push_text(&mut out, binding);
    if let Some(mailbox) = &reverse_path.0 {
        push_mailbox(&mut out, mailbox);
    }
    push_number(&mut out, recipients.len() as u64);
    for StoredRecipient { mailbox, state } in recipients {
        push_mailbox(&mut out, mailbox);
        push_state(&mut out, *state);
    }
    if let Some(origin) = origin {
        push_origin(&mut out, origin);
    }
    if !rerouted.is_empty() {
        push_number(&mut out, rerouted.len() as u64);
        for (index, to) in rerouted {
            push_number(&mut out, u64::from(*index));
            push_pair(&mut out, to);
        }
    }
    out
}

/// The places of the body alone; what start-up needs of each message.
pub(super) fn decode_chunks(payload: &[u8]) -> Result<Box<[Location]>, Malformed> {
    let mut reader = Reader::new(payload);
    reader.version()?;
    reader.chunks()
}

/// The envelope.
pub(super) fn decode_insert(id: MessageId, payload: &[u8]) -> Result<StoredMessage, Malformed> {
    let mut reader = Reader::new(payload);
    let version = reader.version()?;
    reader.chunks()?;
    let flags = reader.byte()?;
    let received_at = Timestamp(reader.number()?);
    let size_bytes = reader.number()?;
    let binding = reader.text()?;
    let reverse_path = match flags & NULL_REVERSE_PATH {
        0 => Some(reader.mailbox()?),
        _ => None,
    };
    let count = reader.count()?;
    let recipients = (0..count)
        .map(|_| Ok(StoredRecipient { mailbox: reader.mailbox()?, state: reader.state()? }))
        .collect::<Result<_, _>>()?;
    let origin = match version {
        1 => None,
        _ => reader.origin(flags)?.map(Arc::new),
    };
    let count = if version < 3 { 0 } else { reader.count()? };
    let rerouted =
        (0..count).map(|_| Ok((reader.index()?, reader.pair()?))).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(StoredMessage {
        id,
        reverse_path: ReversePath(reverse_path),
        recipients,
        received_at,
        size_bytes,
        eight_bit: flags & EIGHT_BIT != 0,
        binding,
        origin,
        rerouted,
    })
}

/// What changes about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// New states of some recipients.
    States(Vec<(u32, RecipientState)>),
    /// Some recipients are given to another queue.
    Rerouted(Vec<u32>, Pair),
}

impl Change {
    /// Makes the change. False when the message has no such recipient.
    pub(super) fn apply(self, message: &mut StoredMessage) -> bool {
        match self {
            Self::States(states) => states.into_iter().all(|(index, state)| {
                let recipient = message.recipients.get_mut(index as usize);
                recipient.map(|recipient| recipient.state = state).is_some()
            }),
            Self::Rerouted(recipients, to) => {
                let count = message.recipients.len();
                let known = recipients.iter().all(|index| (*index as usize) < count);
                if known {
                    message.reroute(&recipients, &to);
                }
                known
            }
        }
    }
}

pub(super) fn encode_states(recipients: &[(u32, RecipientState)]) -> Vec<u8> {
    let mut out = vec![UPDATE_STATES];
    push_number(&mut out, recipients.len() as u64);
    for (index, state) in recipients {
        push_number(&mut out, u64::from(*index));
        push_state(&mut out, *state);
    }
    out
}

pub(super) fn encode_rerouted(recipients: &[u32], to: &Pair) -> Vec<u8> {
    let mut out = vec![UPDATE_REROUTED];
    push_number(&mut out, recipients.len() as u64);
    for index in recipients {
        push_number(&mut out, u64::from(*index));
    }
    push_pair(&mut out, to);
    out
}

pub(super) fn decode_update(payload: &[u8]) -> Result<Change, Malformed> {
    let mut reader = Reader::new(payload);
    let kind = reader.byte()?;
    let count = reader.count()?;
    let change = match kind {
        UPDATE_STATES => {
            let states = (0..count).map(|_| Ok((reader.index()?, reader.state()?)));
            Change::States(states.collect::<Result<_, _>>()?)
        }
        UPDATE_REROUTED => {
            let recipients = (0..count).map(|_| reader.index()).collect::<Result<_, _>>()?;
            Change::Rerouted(recipients, reader.pair()?)
        }
        _ => return Err(Malformed),
    };
    reader.end()?;
    Ok(change)
}

/// LEB128.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn push_mailbox(out: &mut Vec<u8>, Mailbox { local, domain }: &Mailbox) {
    push_text(out, local);
    push_text(out, domain);
}

fn push_pair(out: &mut Vec<u8>, Pair { binding, domain }: &Pair) {
    push_text(out, binding);
    push_text(out, domain);
}

fn push_state(out: &mut Vec<u8>, state: RecipientState) {
    match state {
        RecipientState::Done => out.push(0),
        RecipientState::Pending { attempts, next_attempt_at } => {
            out.push(1);
            push_number(out, u64::from(attempts));
            push_number(out, next_attempt_at.as_micros());
        }
    }
}

const fn origin_flags(origin: &Origin) -> u8 {
    ORIGIN
        | if origin.esmtp { ORIGIN_ESMTP } else { 0 }
        | if origin.helo.is_some() { ORIGIN_HELO } else { 0 }
}

/// Address, behind its length, and port, then the name if there is one.
fn push_origin(out: &mut Vec<u8>, Origin { address, port, helo, esmtp: _ }: &Origin) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(16);
            out.extend_from_slice(&address.octets());
        }
    }
    push_number(out, u64::from(*port));
    if let Some(helo) = helo {
        push_text(out, helo);
    }
}

/// Reads what the `push_` functions wrote.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    /// A number of things that follow, each of at least one byte: never more than bytes are left.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if count > self.rest.len() { Err(Malformed) } else { Ok(count) }
    }

    pub(super) fn text(&mut self) -> Result<Arc<str>, Malformed> {
        let length = self.count()?;
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(str::from_utf8(text).map_err(|_| Malformed)?.into())
    }

    fn mailbox(&mut self) -> Result<Mailbox, Malformed> {
        Ok(Mailbox { local: self.text()?, domain: self.text()? })
    }

    fn pair(&mut self) -> Result<Pair, Malformed> {
        Ok(Pair { binding: self.text()?, domain: self.text()? })
    }

    /// A recipient's position.
    fn index(&mut self) -> Result<u32, Malformed> {
        self.number()?.try_into().map_err(|_| Malformed)
    }

    fn state(&mut self) -> Result<RecipientState, Malformed> {
        match self.byte()? {
            0 => Ok(RecipientState::Done),
            1 => Ok(RecipientState::Pending {
                attempts: self.number()?.try_into().map_err(|_| Malformed)?,
                next_attempt_at: Timestamp(self.number()?),
            }),
            _ => Err(Malformed),
        }
    }

    /// Of an insert.
    fn version(&mut self) -> Result<u8, Malformed> {
        self.byte().ok().filter(|version| (1..=INSERT_VERSION).contains(version)).ok_or(Malformed)
    }

    fn octets<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (octets, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*octets)
    }

    fn origin(&mut self, flags: u8) -> Result<Option<Origin>, Malformed> {
        if flags & ORIGIN == 0 {
            return Ok(None);
        }
        let address = match self.byte()? {
            4 => IpAddr::from(self.octets::<4>()?),
            16 => IpAddr::from(self.octets::<16>()?),
            _ => return Err(Malformed),
        };
        let port = self.number()?.try_into().map_err(|_| Malformed)?;
        let helo = match flags & ORIGIN_HELO {
            0 => None,
            _ => Some(Box::from(&*self.text()?)),
        };
        Ok(Some(Origin { address, port, helo, esmtp: flags & ORIGIN_ESMTP != 0 }))
    }

    fn chunks(&mut self) -> Result<Box<[Location]>, Malformed> {
        let count = self.count()?;
        let mut word = || self.number()?.try_into().map_err(|_| Malformed);
        (0..count)
            .map(|_| Ok(Location { segment: word()?, offset: word()?, payload_bytes: word()? }))
            .collect()
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = Arc<str>> {
        "\\PC{0,20}".prop_map(Arc::from)
    }

    fn mailbox() -> impl Strategy<Value = Mailbox> {
        (text(), text()).prop_map(|(local, domain)| Mailbox { local, domain })
    }

    fn state() -> impl Strategy<Value = RecipientState> {
        prop_oneof![
            Just(RecipientState::Done),
            (any::<u16>(), any::<u64>()).prop_map(|(attempts, due)| RecipientState::Pending {
                attempts,
                next_attempt_at: Timestamp(due)
            }),
        ]
    }

    fn origin() -> impl Strategy<Value = Arc<Origin>> {
        let helo = proptest::option::of(text());
        (any::<IpAddr>(), any::<u16>(), helo, any::<bool>()).prop_map(
            |(address, port, helo, esmtp)| {
                let helo = helo.map(|helo| Box::from(&*helo));
                Arc::new(Origin { address, port, helo, esmtp })
            },
        )
    }

    prop_compose! {
        fn message()(
            id in any::<u64>(),
            reverse_path in proptest::option::of(mailbox()),
            recipients in proptest::collection::vec((mailbox(), state()), 0..5),
            (received_at, size_bytes) in any::<(u64, u64)>(),
            eight_bit in any::<bool>(),
            binding in text(),
            origin in proptest::option::of(origin()),
            rerouted in rerouted(),
        ) -> StoredMessage {
            StoredMessage {
                id: MessageId(id),
                reverse_path: ReversePath(reverse_path),
                recipients: recipients
                    .into_iter()
                    .map(|(mailbox, state)| StoredRecipient { mailbox, state })
                    .collect(),
                received_at: Timestamp(received_at),
                size_bytes,
                eight_bit,
                binding,
                origin,
                rerouted,
            }
        }
    }

    fn pair() -> impl Strategy<Value = Pair> {
        (text(), text()).prop_map(|(binding, domain)| Pair { binding, domain })
    }

    fn rerouted() -> impl Strategy<Value = Vec<(u32, Pair)>> {
        let some = proptest::collection::btree_map(any::<u32>(), pair(), 0..4);
        some.prop_map(|some| some.into_iter().collect())
    }

    fn location() -> impl Strategy<Value = Location> {
        any::<(u32, u32, u32)>().prop_map(|(segment, offset, payload_bytes)| Location {
            segment,
            offset,
            payload_bytes,
        })
    }

    proptest! {
        #[test]
        fn an_insert_reads_as_written(
            message in message(),
            chunks in proptest::collection::vec(location(), 0..4),
        ) {
            let payload = encode_insert(&message, &chunks);
            prop_assert_eq!(decode_chunks(&payload), Ok(chunks.into()));
            prop_assert_eq!(decode_insert(message.id, &payload), Ok(message.clone()));
            for cut in 0..payload.len() {
                prop_assert_eq!(decode_insert(message.id, &payload[..cut]), Err(Malformed));
            }
        }

        #[test]
        fn an_update_reads_as_written(
            states in proptest::collection::vec((any::<u32>(), state()), 0..5),
        ) {
            let payload = encode_states(&states);
            prop_assert_eq!(decode_update(&payload), Ok(Change::States(states)));
        }

        #[test]
        fn a_route_reads_as_written(
            recipients in proptest::collection::vec(any::<u32>(), 0..5),
            to in pair(),
        ) {
            let payload = encode_rerouted(&recipients, &to);
            prop_assert_eq!(decode_update(&payload), Ok(Change::Rerouted(recipients, to)));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), tame in 0..4_u8) {
            let mut bytes = bytes;
            if tame > 0 && !bytes.is_empty() {
                bytes[0] = tame;
            }
            let _ = (decode_chunks(&bytes), decode_insert(MessageId(1), &bytes));
            let _ = decode_update(&bytes);
        }
    }

    /// These bytes are on disks. When one of them changes, so must the version.
    #[test]
    fn the_bytes_of_each_version() {
        let mailbox =
            |local: &str, domain: &str| Mailbox { local: local.into(), domain: domain.into() };
        let mut message = StoredMessage {
            id: MessageId(1),
            reverse_path: ReversePath(Some(mailbox("a", "b.c"))),
            recipients: vec![
                StoredRecipient { mailbox: mailbox("d", "e"), state: RecipientState::Done },
                StoredRecipient {
                    mailbox: mailbox("f", "g"),
                    state: RecipientState::Pending {
                        attempts: 300,
                        next_attempt_at: Timestamp(128),
                    },
                },
            ],
            received_at: Timestamp(1),
            size_bytes: 2,
            eight_bit: true,
            binding: "x".into(),
            origin: None,
            rerouted: Vec::new(),
        };
        let chunks = [Location { segment: 1, offset: 200, payload_bytes: 3 }];
        let version_1 = "010101c801030101020178016103622e630201640165000166016701ac028001";
        assert_eq!(decode_insert(message.id, &bytes(version_1)), Ok(message.clone()));
        assert_eq!(decode_chunks(&bytes(version_1)), Ok(chunks.into()));
        let without_origin = hex(&encode_insert(&message, &chunks));
        assert_eq!(without_origin[2..], version_1[2..]);
        let origin = |address: &str, helo: Option<&str>, esmtp| Origin {
            address: address.parse().unwrap(),
            port: 4000,
            helo: helo.map(Box::from),
            esmtp,
        };
        message.origin = Some(Arc::new(origin("192.0.2.1", Some("h"), true)));
        assert_snapshot!(hex(&encode_insert(&message, &chunks)), @"020101c801031d01020178016103622e630201640165000166016701ac02800104c0000201a01f0168");
        message.origin = Some(Arc::new(origin("2001:db8::1", None, false)));
        assert_snapshot!(hex(&encode_insert(&message, &chunks)), @"020101c801030501020178016103622e630201640165000166016701ac0280011020010db8000000000000000000000001a01f");
        let states = [(3, RecipientState::Done), (4, RecipientState::new(Timestamp(5)))];
        assert_snapshot!(hex(&encode_states(&states)), @"0102030004010005");
        let to = Pair { binding: "y".into(), domain: "z.c".into() };
        assert_snapshot!(hex(&encode_rerouted(&[1], &to)), @"0201010179037a2e63");
        assert!(Change::Rerouted(vec![1], to.clone()).apply(&mut message));
        assert_snapshot!(hex(&encode_insert(&message, &chunks)), @"030101c801030501020178016103622e630201640165000166016701ac0280011020010db8000000000000000000000001a01f01010179037a2e63");
        assert_eq!(message.rerouted(1), Some(&to));
        assert!(!Change::Rerouted(vec![2], to).apply(&mut message));
        assert!(!Change::States(vec![(2, RecipientState::Done)]).apply(&mut message));
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
