//! Who went too far, and until when nobody speaks with them.

use std::collections::VecDeque;
use std::time::Duration;

use traject_engine::Timestamp;

use super::groups::{Group, Groups, Log};
use crate::receiver::spec::{Block, Escalation, Trip};

/// Until when each group is blocked.
#[derive(Debug, Default)]
pub(super) struct Blocked(Groups<Timestamp>);

impl Blocked {
    pub(super) fn contains(&self, group: &Group, now: Timestamp) -> bool {
        self.0.get(group).is_some_and(|until| now < *until)
    }

    fn add(&mut self, group: Group, now: Timestamp, block: &Block) {
        *self.0.of(group, |until| *until <= now) = now + block.length;
    }
}

/// What an escalation remembers.
#[derive(Debug, Default)]
pub(super) struct Offences {
    logs: Groups<Log>,
    pub(super) blocked: Blocked,
}

impl Offences {
    /// Somebody exceeded the limit.
    pub(super) fn note(&mut self, escalation: &Escalation, group: Group, now: Timestamp) {
        let Escalation { offences, within, block } = escalation;
        if self.blocked.contains(&group, now) {
            return;
        }
        let log = self.logs.of(group.clone(), |log| log.is_spent(now, *within));
        log.has_room(now, *offences, *within);
        log.push(now);
        if !log.has_room(now, *offences, *within) {
            log.clear();
            self.blocked.add(group, now, block);
        }
    }
}

/// What a trip remembers.
#[derive(Debug, Default)]
pub(super) struct Named {
    recipients: Groups<Recipients>,
    pub(super) blocked: Blocked,
}

/// The last recipients somebody named, and how many of them do not exist.
#[derive(Debug, Default)]
struct Recipients {
    last: VecDeque<(Timestamp, bool)>,
    unknown: usize,
}

impl Recipients {
    fn push(&mut self, now: Timestamp, is_unknown: bool) {
        self.last.push_back((now, is_unknown));
        self.unknown += usize::from(is_unknown);
    }

    /// Keeps at most `most`, none of them older than `within`.
    fn shorten(&mut self, now: Timestamp, most: usize, within: Duration) {
        while let Some((at, is_unknown)) = self.last.front().copied()
            && (self.last.len() > most || at + within <= now)
        {
            self.last.pop_front();
            self.unknown -= usize::from(is_unknown);
        }
    }
}

impl Named {
    /// Somebody named a recipient.
    pub(super) fn note(&mut self, trip: &Trip, group: Group, now: Timestamp, is_unknown: bool) {
        if self.blocked.contains(&group, now) {
            return;
        }
        let spent =
            |named: &Recipients| named.last.back().is_none_or(|(at, _)| *at + trip.within <= now);
        let named = self.recipients.of(group.clone(), spent);
        named.push(now, is_unknown);
        named.shorten(now, trip.of as usize, trip.within);
        let is_full = named.last.len() == trip.of as usize;
        if is_full && named.unknown as f64 > trip.share * f64::from(trip.of) {
            *named = Recipients::default();
            self.blocked.add(group, now, &trip.block);
        }
    }
}
