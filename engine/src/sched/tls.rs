//! What is known of TLS at addresses where it failed lately.
//!
//! What an exchange did is remembered for `host_failure_retry`, for each binding and for each way
//! of asking for TLS; what follows from it is each pair's own matter (`tls`,
//! `tls_ifavailable_fallback`). Then one connection tries TLS anew, and until its result is there
//! what was remembered holds for the others. So a broken or stalling handshake costs one
//! connection a period, not every message.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::net::IpAddr;

use crate::ids::ConnId;
use crate::limits;
use crate::smtp::reply::Reply;
use crate::smtp::stage::Stage;
use crate::time::Timestamp;
use crate::tls::params::TlsDemands;
use crate::tls::policy::TlsFault;

/// Who was asked, by whom and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    /// The binding.
    pub(crate) binding: Arc<str>,
    /// The address.
    pub(crate) address: IpAddr,
    /// What was asked for.
    pub(crate) demands: Arc<TlsDemands>,
}

/// What happened, and what is said to mail that has to wait because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incident {
    /// What decides.
    pub(crate) fault: TlsFault,
    /// How far it came.
    pub(crate) stage: Stage,
    /// In words.
    pub(crate) reply: Reply,
}

/// Where TLS failed.
#[derive(Debug, Default)]
pub(crate) struct TlsHealth {
    failed: BTreeMap<Asked, Failed>,
}

#[derive(Debug)]
struct Failed {
    incident: Incident,
    until: Timestamp,
    /// The connection that tries anew.
    probe: Option<ConnId>,
    /// Queues that wait for its result.
    waiting: BTreeSet<usize>,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known<'a> {
    /// Nothing bad, or nothing that still counts.
    Nothing,
    /// It failed, and that counts.
    Failed(&'a Incident),
    /// It failed some time ago, and a connection is trying anew.
    Probed(&'a Incident),
}

impl TlsHealth {
    /// What is known.
    pub(crate) fn known(&self, asked: &Asked, now: Timestamp) -> Known<'_> {
        match self.failed.get(asked) {
            None => Known::Nothing,
            Some(failed) if now < failed.until => Known::Failed(&failed.incident),
            Some(failed) if failed.probe.is_some() => Known::Probed(&failed.incident),
            Some(_) => Known::Nothing,
        }
    }

    /// Whether nothing is known of any address.
    pub(crate) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    /// Notes that a connection will try TLS.
    pub(crate) fn trying(&mut self, asked: &Asked, conn: ConnId) {
        if let Some(failed) = self.failed.get_mut(asked) {
            failed.probe.get_or_insert(conn);
        }
    }

    /// Notes that a queue waits for the connection that tries anew.
    pub(crate) fn wait(&mut self, asked: &Asked, queue: usize) {
        if let Some(failed) = self.failed.get_mut(asked) {
            failed.waiting.insert(queue);
        }
    }

    /// Notes that TLS works. Returns the queues that waited for that.
    pub(crate) fn succeeded(&mut self, asked: &Asked) -> BTreeSet<usize> {
        self.failed.remove(asked).map(|failed| failed.waiting).unwrap_or_default()
    }

    /// Notes that TLS failed. Returns until when that counts, and the queues that waited.
    pub(crate) fn failed(
        &mut self,
        asked: Asked,
        incident: Incident,
        now: Timestamp,
        until: Timestamp,
    ) -> (Timestamp, BTreeSet<usize>) {
        self.make_room(now);
        let failed = self.failed.entry(asked).or_insert_with(|| Failed {
            incident: incident.clone(),
            until: Timestamp::default(),
            probe: None,
            waiting: BTreeSet::new(),
        });
        // Connections that began together fail together: the first of them sets the time. Another
        // fault is news, and may lead elsewhere.
        if failed.until <= now || failed.incident.fault != incident.fault {
            failed.until = until;
            failed.incident = incident;
        }
        failed.probe = None;
        (failed.until, core::mem::take(&mut failed.waiting))
    }

    /// Notes that a connection is gone. If it was to try anew and came to no result, another may;
    /// returns the queues that waited.
    pub(crate) fn gone(&mut self, asked: &Asked, conn: ConnId) -> BTreeSet<usize> {
        match self.failed.get_mut(asked) {
            Some(failed) if failed.probe == Some(conn) => {
                failed.probe = None;
                core::mem::take(&mut failed.waiting)
            }
            _ => BTreeSet::new(),
        }
    }

    /// The connections that try anew, for recounts.
    pub(crate) fn probes(&self) -> impl Iterator<Item = ConnId> {
        self.failed.values().filter_map(|failed| failed.probe)
    }

    /// Forgets what is over once there is a great deal of it.
    fn make_room(&mut self, now: Timestamp) {
        if self.failed.len() >= limits::FAILED_HOSTS_KEPT {
            self.failed.retain(|_, failed| now < failed.until || failed.probe.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::params::{TlsOffer, TlsVerify};
    use crate::tls::policy::TlsFailure;

    fn asked(binding: &str, verify: TlsVerify) -> Asked {
        let offer = TlsOffer::new("+ALL", None);
        let demands = TlsDemands { verify, ca: None, identity: None, offer, domain: None };
        let address = IpAddr::from([192, 0, 2, 1]);
        Asked { binding: binding.into(), address, demands: Arc::new(demands) }
    }

    fn incident(failure: &TlsFailure) -> Incident {
        Incident { fault: failure.fault(), stage: Stage::Handshake, reply: failure.reply() }
    }

    #[test]
    fn a_failure_counts_for_a_while_then_one_connection_tries() {
        let mut health = TlsHealth::default();
        let one = asked("b", TlsVerify::No);
        let (stalled, refused) =
            (incident(&TlsFailure::Stalled), incident(&TlsFailure::NotOffered));
        let at = Timestamp;
        assert_eq!(health.known(&one, at(0)), Known::Nothing);

        health.failed(one.clone(), stalled.clone(), at(10), at(110));
        // The second of a bunch does not prolong it.
        assert_eq!(health.failed(one.clone(), stalled.clone(), at(20), at(120)).0, at(110));
        assert_eq!(health.known(&one, at(109)), Known::Failed(&stalled));
        for other in [asked("other", TlsVerify::No), asked("b", TlsVerify::Host)] {
            assert_eq!(health.known(&other, at(109)), Known::Nothing);
        }

        assert_eq!(health.known(&one, at(110)), Known::Nothing);
        health.trying(&one, ConnId(2));
        health.trying(&one, ConnId(4));
        assert_eq!(health.known(&one, at(111)), Known::Probed(&stalled));
        health.wait(&one, 7);
        assert_eq!(health.gone(&one, ConnId(4)), BTreeSet::new());
        assert_eq!(health.gone(&one, ConnId(2)), BTreeSet::from([7]));
        assert_eq!(health.known(&one, at(112)), Known::Nothing);

        health.trying(&one, ConnId(6));
        health.wait(&one, 8);
        let (until, waiting) = health.failed(one.clone(), refused.clone(), at(120), at(220));
        assert_eq!((until, waiting), (at(220), BTreeSet::from([8])));
        assert_eq!(health.known(&one, at(121)), Known::Failed(&refused));
        // Another fault is news.
        assert_eq!(health.failed(one.clone(), stalled.clone(), at(130), at(230)).0, at(230));
        assert_eq!(health.known(&one, at(229)), Known::Failed(&stalled));

        health.trying(&one, ConnId(8));
        assert_eq!(health.probes().collect::<BTreeSet<_>>(), BTreeSet::from([ConnId(8)]));
        health.succeeded(&one);
        assert!(health.is_empty());
    }
}
