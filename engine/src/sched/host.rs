//! Addresses that failed lately: set aside for a while, then tried again with one connection.
//!
//! An address fails when it cannot be connected to, or refuses us before any message (banner,
//! EHLO). A binding then leaves it alone for `host_failure_retry`. After that one connection
//! probes it; only when that gets through EHLO is the address used freely again. So an outage
//! costs each binding one attempt a period, and its end is not met by a herd. A failure after
//! which nobody tried again is forgotten after `address_metrics_lifetime`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::net::IpAddr;

use crate::ids::ConnId;
use crate::limits;
use crate::mx::plan::Usable;
use crate::smtp::reply::Reply;
use crate::time::Timestamp;

/// Failed addresses, by binding.
#[derive(Debug, Default)]
pub(crate) struct HostHealth {
    failed: BTreeMap<(Arc<str>, IpAddr), Failed>,
    /// How many are left after the last cleaning.
    left: usize,
}

#[derive(Debug)]
struct Failed {
    aside_until: Timestamp,
    /// When the failures are forgotten, unless a probe is under way.
    forgotten_at: Timestamp,
    /// Consecutive failures; those that end while it is set aside count as one.
    failures: u32,
    /// Its words.
    reply: Option<Reply>,
    /// When the last of them came.
    failed_at: Timestamp,
    /// The connection that probes it.
    probe: Option<ConnId>,
    /// Queues that wait for the probe's result.
    waiting: BTreeSet<usize>,
}

impl HostHealth {
    /// Whether a binding may connect to an address now.
    pub(crate) fn usable(&self, binding: &Arc<str>, address: IpAddr, now: Timestamp) -> Usable {
        match self.get(binding, address, now) {
            None => Usable::Yes,
            Some(host) if now < host.aside_until => Usable::SetAside,
            Some(host) if host.probe.is_some() => Usable::Busy,
            Some(_) => Usable::Yes,
        }
    }

    /// Notes that a connection begins: the probe, if the address had failed.
    pub(crate) fn connecting(
        &mut self,
        binding: &Arc<str>,
        address: IpAddr,
        conn: ConnId,
        now: Timestamp,
    ) {
        let key = (binding.clone(), address);
        match self.failed.get_mut(&key) {
            Some(host) if host.is_forgotten(now) => {
                self.failed.remove(&key);
            }
            Some(host) => host.probe = Some(conn),
            None => {}
        }
    }

    /// Notes that a queue waits for the probe of an address.
    pub(crate) fn wait(&mut self, binding: &Arc<str>, address: IpAddr, queue: usize) {
        if let Some(host) = self.failed.get_mut(&(binding.clone(), address)) {
            host.waiting.insert(queue);
        }
    }

    /// Notes that the address works. Returns the queues that waited for that.
    pub(crate) fn succeeded(&mut self, binding: &Arc<str>, address: IpAddr) -> BTreeSet<usize> {
        let host = self.failed.remove(&(binding.clone(), address));
        host.map(|host| host.waiting).unwrap_or_default()
    }

    /// Notes a failure: the address is set aside `until` then, and the failure is remembered up to
    /// `forgotten_at`. Returns until when the address is set aside now, unless it was set aside
    /// already, and the queues that waited for the probe.
    pub(crate) fn failed(
        &mut self,
        binding: &Arc<str>,
        address: IpAddr,
        conn: ConnId,
        now: Timestamp,
        until: Timestamp,
        forgotten_at: Timestamp,
    ) -> (Option<Timestamp>, BTreeSet<usize>) {
        self.make_room(now);
        let key = (binding.clone(), address);
        let host = self.failed.entry(key).or_insert_with(|| Failed {
            aside_until: Timestamp::default(),
            forgotten_at: Timestamp::NEVER,
            failures: 0,
            reply: None,
            failed_at: now,
            probe: None,
            waiting: BTreeSet::new(),
        });
        if host.failures > 0 && now < host.aside_until {
            return (None, BTreeSet::new());
        }
        // A connection from before the failure may end badly while the probe is under way: that is
        // news about the address as well.
        if host.probe == Some(conn) {
            host.probe = None;
        }
        host.failures = if host.is_forgotten(now) { 1 } else { host.failures + 1 };
        host.failed_at = now;
        host.aside_until = until;
        host.forgotten_at = forgotten_at.max(until);
        (Some(until), core::mem::take(&mut host.waiting))
    }

    /// Notes the words of the last failure.
    pub(crate) fn said(&mut self, binding: &Arc<str>, address: IpAddr, reply: Reply) {
        if let Some(host) = self.failed.get_mut(&(binding.clone(), address)) {
            host.reply = Some(reply);
        }
    }

    /// Failures of an address in a row, and the words of the last.
    pub(crate) fn story(
        &self,
        binding: &Arc<str>,
        address: IpAddr,
        now: Timestamp,
    ) -> Option<(u32, Option<&Reply>)> {
        self.get(binding, address, now).map(|host| (host.failures, host.reply.as_ref()))
    }

    /// Notes that a connection is gone. If it was a probe without a result, another may follow;
    /// returns the queues that waited.
    pub(crate) fn gone(
        &mut self,
        binding: &Arc<str>,
        address: IpAddr,
        conn: ConnId,
    ) -> BTreeSet<usize> {
        match self.failed.get_mut(&(binding.clone(), address)) {
            Some(host) if host.probe == Some(conn) => {
                host.probe = None;
                core::mem::take(&mut host.waiting)
            }
            _ => BTreeSet::new(),
        }
    }

    /// Consecutive failures of an address, if one of them came at `since` or later.
    pub(crate) fn failures_since(
        &self,
        binding: &Arc<str>,
        address: IpAddr,
        now: Timestamp,
        since: Timestamp,
    ) -> u32 {
        let host = self.get(binding, address, now).filter(|host| host.failed_at >= since);
        host.map_or(0, |host| host.failures)
    }

    /// Until when an address is set aside, if it is.
    pub(crate) fn aside_until(
        &self,
        binding: &Arc<str>,
        address: IpAddr,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.get(binding, address, now).map(|host| host.aside_until).filter(|until| now < *until)
    }

    fn get(&self, binding: &Arc<str>, address: IpAddr, now: Timestamp) -> Option<&Failed> {
        if self.failed.is_empty() {
            return None;
        }
        self.failed.get(&(binding.clone(), address)).filter(|host| !host.is_forgotten(now))
    }

    /// Forgets failures that are over once there are a great many, and twice as many as the last
    /// time left.
    fn make_room(&mut self, now: Timestamp) {
        if self.failed.len() >= limits::FAILED_HOSTS_KEPT.max(2 * self.left) {
            self.failed.retain(|_, host| now < host.aside_until || host.probe.is_some());
            self.left = self.failed.len();
        }
    }
}

impl Failed {
    fn is_forgotten(&self, now: Timestamp) -> bool {
        self.forgotten_at <= now && self.probe.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));

    fn usable(health: &HostHealth, at: u64) -> Usable {
        health.usable(&"b".into(), HOST, Timestamp(at))
    }

    fn failures(health: &HostHealth, at: Timestamp) -> u32 {
        health.failures_since(&"b".into(), HOST, at, Timestamp::default())
    }

    #[test]
    fn only_failures_after_an_instant_count_from_there() {
        let binding: Arc<str> = "b".into();
        let mut health = HostHealth::default();
        let since = |health: &HostHealth, since| {
            health.failures_since(&"b".into(), HOST, Timestamp(900), Timestamp(since))
        };
        for at in [0, 100] {
            let (until, forgotten) = (Timestamp(at + 100), Timestamp(at + 1000));
            health.failed(&binding, HOST, ConnId(2), Timestamp(at), until, forgotten);
        }
        assert_eq!([0, 100, 101].map(|at| since(&health, at)), [2, 2, 0]);
    }

    #[test]
    fn a_failed_address_is_set_aside_probed_once_and_freed_by_success() {
        let binding: Arc<str> = "b".into();
        let mut health = HostHealth::default();
        let (first, second, probe) = (ConnId(2), ConnId(4), ConnId(6));
        assert_eq!(usable(&health, 0), Usable::Yes);

        let fail = |health: &mut HostHealth, conn, at: u64| {
            let (until, forgotten) = (Timestamp(at + 100), Timestamp(at + 1000));
            health.failed(&binding, HOST, conn, Timestamp(at), until, forgotten)
        };
        assert_eq!(fail(&mut health, first, 0).0, Some(Timestamp(100)));
        // The second of a bunch fails a little later: no news.
        assert_eq!(fail(&mut health, second, 5).0, None);
        assert_eq!(failures(&health, Timestamp(5)), 1);
        assert_eq!(usable(&health, 99), Usable::SetAside);
        assert_eq!(health.usable(&"other".into(), HOST, Timestamp(99)), Usable::Yes);

        assert_eq!(usable(&health, 100), Usable::Yes);
        health.connecting(&binding, HOST, probe, Timestamp(100));
        assert_eq!(usable(&health, 101), Usable::Busy);
        health.wait(&binding, HOST, 3);
        let (until, waiting) = fail(&mut health, probe, 110);
        assert_eq!((until, waiting), (Some(Timestamp(210)), BTreeSet::from([3])));
        assert_eq!(failures(&health, Timestamp(110)), 2);

        health.connecting(&binding, HOST, probe, Timestamp(210));
        health.wait(&binding, HOST, 3);
        assert_eq!(health.succeeded(&binding, HOST), BTreeSet::from([3]));
        assert_eq!(usable(&health, 211), Usable::Yes);
        assert_eq!(failures(&health, Timestamp(211)), 0);
    }

    #[test]
    fn a_probe_that_ends_without_a_result_makes_room_for_the_next() {
        let binding: Arc<str> = "b".into();
        let mut health = HostHealth::default();
        let until = Timestamp(10);
        health.failed(&binding, HOST, ConnId(2), Timestamp(0), until, Timestamp(100));
        health.connecting(&binding, HOST, ConnId(4), until);
        health.wait(&binding, HOST, 1);
        assert_eq!(health.gone(&binding, HOST, ConnId(8)), BTreeSet::new());
        assert_eq!(health.gone(&binding, HOST, ConnId(4)), BTreeSet::from([1]));
        assert_eq!(usable(&health, 10), Usable::Yes);
    }

    #[test]
    fn old_failures_are_forgotten_but_never_before_their_time_aside_is_over() {
        let binding: Arc<str> = "b".into();
        // (remembered for, asked at, still known); the address is set aside for 100.
        for (lifetime, at, known) in
            [(300, 299, true), (300, 300, false), (0, 99, true), (0, 100, false)]
        {
            let mut health = HostHealth::default();
            let fail = |health: &mut HostHealth, at: u64| {
                let (until, forgotten) = (Timestamp(at + 100), Timestamp(at + lifetime));
                health.failed(&binding, HOST, ConnId(2), Timestamp(at), until, forgotten);
            };
            fail(&mut health, 0);
            let case = alloc::format!("{lifetime} at {at}");
            assert_eq!(failures(&health, Timestamp(at)), u32::from(known), "{case}");
            // What is forgotten needs no probe: the second connection need not wait.
            health.connecting(&binding, HOST, ConnId(4), Timestamp(at.max(100)));
            let second = usable(&health, at.max(100));
            assert_eq!(second == Usable::Busy, known && at >= 100, "{case}");
            // Counting begins anew.
            let mut health = HostHealth::default();
            fail(&mut health, 0);
            fail(&mut health, at.max(100));
            let failures = failures(&health, Timestamp(at.max(100)));
            assert_eq!(failures, if known && at >= 100 { 2 } else { 1 }, "{case}");
        }
    }

    #[test]
    fn a_probe_under_way_keeps_the_memory_alive() {
        let binding: Arc<str> = "b".into();
        let mut health = HostHealth::default();
        let until = Timestamp(10);
        health.failed(&binding, HOST, ConnId(2), Timestamp(0), until, Timestamp(20));
        health.connecting(&binding, HOST, ConnId(4), Timestamp(15));
        assert_eq!(usable(&health, 30), Usable::Busy);
        health.wait(&binding, HOST, 7);
        assert_eq!(health.gone(&binding, HOST, ConnId(4)), BTreeSet::from([7]));
        assert_eq!(failures(&health, Timestamp(30)), 0);
    }
}
