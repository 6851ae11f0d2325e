//! Notices as the simulator knows them: mail whose bodies the engine wrote and nobody can generate
//! again. What a receiver gets is compared with what was spooled by size and hash, so that a
//! million of them need little memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use traject_engine::ids::MessageId;
use twox_hash::xxhash3_128;

/// What every notice that was spooled looks like. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct NoticeLedger {
    known: Arc<Mutex<BTreeMap<MessageId, NoticeFacts>>>,
}

/// What is known of a notice's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeFacts {
    /// Its size.
    pub size_bytes: u64,
    /// Whether it holds bytes above 127.
    pub eight_bit: bool,
    hash: u128,
}

impl NoticeLedger {
    /// A body was staged. It counts when it is a notice.
    pub fn staged(&self, message: MessageId, body: &NoticeWatch) {
        if message_named(&body.start) == Some(message) {
            self.known().insert(message, body.digest.facts());
        }
    }

    /// What the body of a notice must be like.
    pub fn facts(&self, message: MessageId) -> Option<NoticeFacts> {
        self.known().get(&message).copied()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<MessageId, NoticeFacts>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The message that a notice says it is; `None` when this is no notice, or not enough of it.
pub fn message_named(start: &[u8]) -> Option<MessageId> {
    let rest = start.strip_prefix(NAME)?;
    let end = rest.iter().take(ID_CHARS_MAX + 1).position(|byte| *byte == b'.')?;
    let digits = std::str::from_utf8(&rest[..end]).ok()?;
    u64::from_str_radix(digits, 16).ok().map(MessageId)
}

/// Looks at a body as it is staged: perhaps it is a notice's.
#[derive(Debug, Default)]
pub struct NoticeWatch {
    start: Vec<u8>,
    digest: NoticeDigest,
}

impl NoticeWatch {
    /// Some of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        let room = START_BYTES.saturating_sub(self.start.len());
        self.start.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.digest.update(bytes);
    }
}

/// Looks at a notice's body as it arrives.
#[derive(Default)]
pub struct NoticeDigest {
    hasher: xxhash3_128::Hasher,
    size_bytes: u64,
    eight_bit: bool,
}

impl NoticeDigest {
    /// Some of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
        self.size_bytes += bytes.len() as u64;
        self.eight_bit |= !bytes.is_ascii();
    }

    /// What it is like, now that all of it is there.
    pub fn facts(&self) -> NoticeFacts {
        let (size_bytes, eight_bit) = (self.size_bytes, self.eight_bit);
        NoticeFacts { size_bytes, eight_bit, hash: self.hasher.finish_128() }
    }
}

impl std::fmt::Debug for NoticeDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoticeDigest").field("facts", &self.facts()).finish()
    }
}

/// How a notice begins.
pub const NAME: &[u8] = b"Message-ID: <";

/// Enough of a body to tell whether it is a notice.
const START_BYTES: usize = NAME.len() + ID_CHARS_MAX + 1;

/// Of a message's id.
const ID_CHARS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_known_by_its_name_and_its_bytes() {
        let ledger = NoticeLedger::default();
        let (id, other) = (MessageId(0x1f), MessageId(0x2f));
        let body = b"Message-ID: <1f.abc@host>\r\n\r\ntext\r\n";
        for (message, text) in [(id, &body[..]), (other, body), (other, b"Received: from x\r\n")] {
            let mut watch = NoticeWatch::default();
            text.chunks(7).for_each(|piece| watch.update(piece));
            ledger.staged(message, &watch);
        }
        assert_eq!(ledger.facts(other), None);
        let digest = |parts: &[&[u8]]| {
            let mut digest = NoticeDigest::default();
            parts.iter().for_each(|part| digest.update(part));
            digest.facts()
        };
        let facts = ledger.facts(id).unwrap();
        assert_eq!(digest(&[&body[..9], &body[9..]]), facts);
        assert_ne!(digest(&[&body[..9]]), facts);
        for (start, named) in [
            (&b"Message-ID: <1f."[..], Some(id)),
            (b"Message-ID: <1f", None),
            (b"Message-ID: <xyz.", None),
            (b"Subject: 1f.", None),
        ] {
            assert_eq!(message_named(start), named);
        }
    }
}
