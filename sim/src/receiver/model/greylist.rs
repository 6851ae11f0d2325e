//! Whom a greylist lets in (RFC 6647).

use traject_engine::Timestamp;
use traject_engine::rng::entity;

use super::Session;
use crate::receiver::spec::Greylist;

/// What a greylist knows of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The first attempt; the last message once admitted.
    pub(super) since: Timestamp,
    pub(super) admitted: bool,
}

impl Known {
    /// Whether it makes no difference any more.
    pub(super) fn is_over(&self, greylist: &Greylist, now: Timestamp) -> bool {
        let lasts = if self.admitted { greylist.pass } else { greylist.window };
        now > self.since + lasts
    }
}

/// Whether somebody is let in now, and what is remembered.
pub(super) fn meet(greylist: &Greylist, known: Option<Known>, now: Timestamp) -> (bool, Known) {
    let stranger = (false, Known { since: now, admitted: false });
    let friend = (true, Known { since: now, admitted: true });
    match known {
        None => stranger,
        Some(known) if known.is_over(greylist, now) => stranger,
        Some(known) if known.admitted || now >= known.since + greylist.hold => friend,
        Some(known) => (false, known),
    }
}

/// A name for what makes a sender known.
pub(super) fn name(greylist: &Greylist, session: &Session, recipient: &str) -> u64 {
    let key = greylist.key;
    let source = entity(key.source.group(session.source).to_string().as_bytes());
    let sender = if key.sender { entity(session.sender.as_bytes()) } else { 0 };
    let recipient = if key.recipient { entity(recipient.as_bytes()) } else { 0 };
    source ^ sender.rotate_left(21) ^ recipient.rotate_left(42)
}
