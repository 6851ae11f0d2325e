//! What a receiver remembers of those it counts together.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use traject_engine::Timestamp;

use super::Session;
use crate::receiver::spec::{CountedBy, Limited};

/// Those who are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// Everybody at an address, or at those it stands for.
    Source(IpAddr),
    /// A mailbox, or a domain, in lower case.
    Sender(Box<str>),
}

impl Group {
    /// Whom a session counts with; the sender is that of its message.
    pub(super) fn of(per: CountedBy, session: &Session) -> Self {
        match per {
            CountedBy::Source(per) => Self::Source(per.group(session.source)),
            CountedBy::Sender => Self::Sender(session.sender.to_ascii_lowercase().into()),
            CountedBy::SenderDomain => {
                let domain = session.sender.rsplit_once('@').map_or("", |(_, domain)| domain);
                Self::Sender(domain.to_ascii_lowercase().into())
            }
        }
    }
}

/// Something for each group. What says nothing any more is forgotten in time, so that memory is for
/// those who were there lately.
#[derive(Debug)]
pub(super) struct Groups<V, K = Group> {
    known: BTreeMap<K, V>,
    sweep_at: usize,
}

impl<V, K> Default for Groups<V, K> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), sweep_at: SWEEP_GROUPS_MIN }
    }
}

impl<V, K: Ord> Groups<V, K> {
    /// What is known of a group.
    pub(super) fn get(&self, group: &K) -> Option<&V> {
        self.known.get(group)
    }

    /// What is known of a group, to change it. `spent` tells what may be forgotten.
    pub(super) fn of(&mut self, group: K, spent: impl Fn(&V) -> bool) -> &mut V
    where
        V: Default,
    {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, value| !spent(value));
            self.sweep_at = (self.known.len() * 2).max(SWEEP_GROUPS_MIN);
        }
        self.known.entry(group).or_default()
    }
}

/// Groups below which sweeping is not worth it.
const SWEEP_GROUPS_MIN: usize = 1024;

/// What a limit counts.
#[derive(Debug)]
pub(super) enum Counts {
    /// Open connections by group.
    Open(BTreeMap<Group, u32>),
    /// Instants by group.
    Window(Groups<Log>),
    /// The session counts.
    InSession,
}

impl Counts {
    pub(super) fn of(what: Limited) -> Self {
        match what {
            Limited::Connections { .. } => Self::Open(BTreeMap::new()),
            Limited::ConnectionRate { .. } | Limited::MessageRate { .. } => {
                Self::Window(Groups::default())
            }
            Limited::MessagesPerConnection { .. } | Limited::RecipientsPerMessage { .. } => {
                Self::InSession
            }
        }
    }
}

/// The instants of the last window, oldest first; never more than a limit allows.
#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<Timestamp>);

impl Log {
    /// Whether one more event now leaves at most `max` in every stretch of `window`.
    pub(super) fn has_room(&mut self, now: Timestamp, max: u32, window: Duration) -> bool {
        while self.0.front().is_some_and(|first| *first + window <= now) {
            self.0.pop_front();
        }
        self.0.len() < max as usize
    }

    pub(super) fn push(&mut self, now: Timestamp) {
        self.0.push_back(now);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether nothing of it lies within `window`.
    pub(super) fn is_spent(&self, now: Timestamp, window: Duration) -> bool {
        self.0.back().is_none_or(|last| *last + window <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_forgotten_when_they_say_nothing_any_more() {
        let mut groups: Groups<Log> = Groups::default();
        let window = Duration::from_secs(10);
        for n in 0..100_000_u64 {
            let now = Timestamp::from_secs(n);
            let group = Group::Sender(format!("user{n}@a.test").into());
            groups.of(group, |log| log.is_spent(now, window)).push(now);
        }
        assert!(groups.known.len() <= SWEEP_GROUPS_MIN, "{}", groups.known.len());
        let last = Group::Sender("user99999@a.test".into());
        assert!(groups.get(&last).is_some());
    }
}
