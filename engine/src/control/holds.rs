//! What operators suspended.
//!
//! Kept by the names of queues rather than in the queues: mail that comes in later is held too, and
//! a queue that was empty meanwhile.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Selector;
use crate::record::Pair;
use crate::time::Timestamp;
use crate::timers::TimerHandle;

/// Until when mail is held; `None` until somebody resumes.
pub(crate) type Until = Option<Timestamp>;

/// Mail that an operator suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Whose.
    #[serde(flatten)]
    pub of: Selector,
    /// When it ends of itself.
    pub until: Option<Timestamp>,
}

/// All suspensions in force.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// By binding and domain; `None` for any.
    until: BTreeMap<Name, Until>,
    /// Fires when the first of them ends.
    pub(crate) timer: Option<TimerHandle>,
}

type Name = (Option<Arc<str>>, Option<Arc<str>>);

impl Holds {
    /// Holds mail from now on, instead of until another moment if it was held already.
    pub(crate) fn suspend(&mut self, of: &Selector, until: Until) {
        self.until.insert((of.binding.clone(), of.domain.clone()), until);
    }

    /// Ends the suspensions of mail that is meant; answers with whether there were any.
    pub(crate) fn resume(&mut self, of: &Selector) -> bool {
        self.end(|suspended, _| of.covers(suspended)) > 0
    }

    /// Ends those whose time is over; answers with what they were of.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Selector> {
        let mut over = Vec::new();
        self.end(|suspended, until| {
            let ends = until.is_some_and(|until| until <= now);
            if ends {
                over.push(suspended.clone());
            }
            ends
        });
        over
    }

    fn end(&mut self, mut ends: impl FnMut(&Selector, Until) -> bool) -> usize {
        let before = self.until.len();
        self.until.retain(|name, until| !ends(&selector(name), *until));
        before - self.until.len()
    }

    /// Until when the mail of a queue is held, by the suspension that lasts longest; `None` if it
    /// is not.
    pub(crate) fn on(&self, pair: &Pair) -> Option<Until> {
        self.longest(Some(&pair.binding), Some(&pair.domain))
    }

    /// Whether all mail of a binding is held.
    pub(crate) fn on_binding(&self, binding: &Arc<str>) -> bool {
        self.longest(Some(binding), None).is_some()
    }

    fn longest(&self, binding: Option<&Arc<str>>, domain: Option<&Arc<str>>) -> Option<Until> {
        if self.until.is_empty() {
            return None;
        }
        let (binding, domain) = (binding.cloned(), domain.cloned());
        let names =
            [(None, None), (binding.clone(), None), (None, domain.clone()), (binding, domain)];
        let found = names.iter().filter_map(|name| self.until.get(name).copied());
        found.max_by_key(|until| until.unwrap_or(Timestamp::NEVER))
    }

    /// When the first of them ends of itself.
    pub(crate) fn next_end(&self) -> Until {
        self.until.values().flatten().min().copied()
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<Suspension> {
        let each = self.until.iter();
        each.map(|(name, until)| Suspension { of: selector(name), until: *until }).collect()
    }
}

fn selector((binding, domain): &Name) -> Selector {
    Selector { binding: binding.clone(), domain: domain.clone(), message: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(binding: Option<&str>, domain: Option<&str>) -> Selector {
        Selector { binding: binding.map(Into::into), domain: domain.map(Into::into), message: None }
    }

    fn on(holds: &Holds, binding: &str, domain: &str) -> Option<Until> {
        holds.on(&Pair { binding: binding.into(), domain: domain.into() })
    }

    #[test]
    fn the_longest_suspension_that_applies_counts() {
        let mut holds = Holds::default();
        assert_eq!(on(&holds, "red", "x.test"), None);
        let at = |at| Some(Timestamp(at));
        holds.suspend(&of(Some("red"), None), at(50));
        holds.suspend(&of(None, Some("x.test")), at(70));
        holds.suspend(&of(Some("red"), Some("y.test")), None);
        for (binding, domain, until) in [
            ("red", "x.test", Some(at(70))),
            ("red", "y.test", Some(None)),
            ("red", "z.test", Some(at(50))),
            ("blue", "x.test", Some(at(70))),
            ("blue", "z.test", None),
        ] {
            assert_eq!(on(&holds, binding, domain), until, "{binding} {domain}");
        }
        assert!(holds.on_binding(&"red".into()));
        assert!(!holds.on_binding(&"blue".into()));
        assert_eq!(holds.next_end(), at(50));
        assert_eq!(holds.expire(Timestamp(49)), []);
        assert_eq!(holds.expire(Timestamp(50)), [of(Some("red"), None)]);
        assert_eq!(on(&holds, "red", "z.test"), None);
        assert_eq!(holds.all().len(), 2);
    }

    #[test]
    fn resuming_ends_what_is_meant_and_nothing_wider() {
        let mut holds = Holds::default();
        holds.suspend(&of(None, None), None);
        holds.suspend(&of(Some("red"), Some("x.test")), None);
        assert!(holds.resume(&of(Some("red"), None)));
        assert!(!holds.resume(&of(Some("red"), None)));
        assert_eq!(on(&holds, "red", "x.test"), Some(None), "all mail still is");
        assert!(holds.resume(&of(None, None)));
        assert_eq!(on(&holds, "red", "x.test"), None);
    }

    #[test]
    fn the_last_word_about_the_same_mail_counts() {
        let mut holds = Holds::default();
        holds.suspend(&of(None, None), None);
        holds.suspend(&of(None, None), Some(Timestamp(5)));
        assert_eq!(on(&holds, "red", "x.test"), Some(Some(Timestamp(5))));
    }
}
