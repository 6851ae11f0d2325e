//! The configuration changes while mail is under way (`Input::Reload`).
//!
//! Everything that waits is looked at anew: each queue gets its options, each connection the caps
//! it counts towards, each recipient the queue it belongs to. What has happened has happened:
//! throttles keep their history, addresses set aside stay so, mail keeps its attempts and due
//! times, and no connection is cut.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::config::Config;
use crate::config::effective::ServerOptions;
use crate::config::memo::OptionsMemo;
use crate::delivery::alike_for_life;
use crate::engine::Engine;
use crate::ids::ListenerId;
use crate::marks::Mark;
use crate::queue::{Batch, Indexes};
use crate::record::Event;
use crate::sched::contains;
use crate::time::Timestamp;

impl Engine {
    pub(crate) fn reload(&mut self, config: Arc<Config>) {
        let before = core::mem::replace(&mut self.config, config);
        self.options = OptionsMemo::default();
        self.listeners.find_in(&self.config);
        if !same_answers(before.server_options(), self.config.server_options()) {
            self.routes.forget_answers();
        }
        let Renewed { changed, outdated } = self.renew_queues();
        let config = self.config.clone();
        let server = config.server_options();
        self.renew_connections(|outbound| {
            let address = outbound.remote().ip();
            outdated.contains(&outbound.queue)
                || contains(&server.skip_hosts, address)
                || contains(&server.prohibited_hosts, address)
        });
        self.recount_caps();
        let moved = self.send_strays_home();
        self.record(Event::Reconfigured { queues: changed, moved });
        self.touch_every_queue();
    }

    /// Gives every queue its options. Answers with what has changed.
    fn renew_queues(&mut self) -> Renewed {
        let mut renewed = Renewed::default();
        for (slot, queue) in &mut self.queues {
            let options = self.options.delivery_options(&self.config, &queue.pair);
            renewed.changed += u32::from(*options != *queue.options);
            let known = self.config.has_binding(&queue.pair.binding);
            if !known || !alike_for_life(&queue.options, &options) {
                renewed.outdated.insert(slot);
            }
            queue.options = options;
            queue.from_before = queue.connections;
        }
        renewed
    }

    /// Moves mail that waits in a queue it does not belong to: its binding is no longer
    /// configured, or is again, or another gateway is. Answers with the number of recipients.
    fn send_strays_home(&mut self) -> u64 {
        let slots: Vec<usize> = self.queues.iter().map(|(slot, _)| slot).collect();
        let mut moved = 0;
        for slot in slots {
            if self.is_at_home(slot) {
                continue;
            }
            let waiting = self.queues[slot].take_all();
            for (due, batch) in waiting {
                for (home, batch) in self.homes(batch) {
                    if home != slot {
                        moved += batch.recipients.len() as u64;
                    }
                    self.put(home, batch, due);
                }
            }
        }
        moved
    }

    /// Whether all mail of a queue surely belongs there: it is mail of its very pair, and none of a
    /// gateway's customers.
    fn is_at_home(&self, slot: usize) -> bool {
        let queue = &self.queues[slot];
        !queue.has_guests
            && queue.options.gateway.is_none()
            && self.config.has_binding(&queue.pair.binding)
    }

    /// Puts a batch into the queues it belongs to: delayed until `due`, or active.
    pub(crate) fn send_home(&mut self, batch: Batch, due: Option<Timestamp>) {
        self.marks.hit(Mark::SentHome);
        for (home, batch) in self.homes(batch) {
            self.put(home, batch, due);
            self.touch(home);
        }
    }

    fn put(&mut self, slot: usize, batch: Batch, due: Option<Timestamp>) {
        match due {
            Some(due) => self.enqueue_delayed(slot, due, batch),
            None => self.enqueue_active(slot, batch),
        }
    }

    /// Splits a batch by the queues that its recipients belong to. The first part goes on holding
    /// the envelope open.
    fn homes(&mut self, batch: Batch) -> Vec<(usize, Batch)> {
        let Batch { message, recipients, attempts, mut open } = batch;
        let stored = self.messages.get(message);
        let mut homes: BTreeMap<usize, Indexes> = BTreeMap::new();
        for index in recipients {
            homes.entry(self.queue_for(&stored, index)).or_default().push(index);
        }
        let batch = |(home, recipients)| {
            let open = core::mem::take(&mut open);
            (home, Batch { message, recipients, attempts, open })
        };
        homes.into_iter().map(batch).collect()
    }
}

/// What a reload has changed.
#[derive(Debug, Default)]
struct Renewed {
    /// Queues with other options than before.
    changed: u32,
    /// Queues whose connections are to end.
    outdated: BTreeSet<usize>,
}

/// Whether the DNS would be understood in the same way.
fn same_answers(a: &ServerOptions, b: &ServerOptions) -> bool {
    (a.use_ipv6, a.min_dns_ttl, a.max_dns_ttl) == (b.use_ipv6, b.min_dns_ttl, b.max_dns_ttl)
}

/// The listeners the driver has opened, and where they are in the configuration in force. The
/// driver goes on calling them by their positions in the first one.
#[derive(Debug)]
pub(crate) struct Listeners {
    opened: Vec<Arc<[SocketAddr]>>,
    now: Vec<ListenerId>,
}

impl Listeners {
    /// Those of the configuration the engine starts with.
    pub(crate) fn opened_by(config: &Config) -> Self {
        let endpoints = config.listeners();
        Self {
            opened: endpoints.iter().map(|endpoint| endpoint.addresses.clone()).collect(),
            now: endpoints.iter().map(|endpoint| endpoint.id).collect(),
        }
    }

    /// Where a listener is now. What is nowhere has the options of the global scope.
    pub(crate) fn now(&self, opened: ListenerId) -> ListenerId {
        self.now.get(opened.0 as usize).copied().unwrap_or(NOWHERE)
    }

    fn find_in(&mut self, config: &Config) {
        let endpoints = config.listeners();
        let find = |(position, opened): (usize, &Arc<[SocketAddr]>)| {
            let shares = |at: &usize| {
                endpoints.get(*at).is_some_and(|endpoint| {
                    endpoint.addresses.iter().any(|address| opened.contains(address))
                })
            };
            let same_place = Some(position).filter(shares);
            let found = same_place.or_else(|| (0..endpoints.len()).find(shares));
            found.map_or(NOWHERE, |at| endpoints[at].id)
        };
        self.now = self.opened.iter().enumerate().map(find).collect();
    }
}

/// The listener of no configuration.
const NOWHERE: ListenerId = ListenerId(u32::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ports: &[u16]) -> Config {
        let listen = |port| alloc::format!("listen \"127.0.0.1:{port}\" {{ }} ");
        let listens: alloc::string::String = ports.iter().map(listen).collect();
        Config::from_text(&alloc::format!("esmtp_listener {{ {listens} }}")).unwrap()
    }

    #[test]
    fn listeners_are_found_by_their_addresses() {
        let nowhere = NOWHERE.0;
        let table: &[(&[u16], [u32; 2])] = &[
            (&[25, 26], [0, 1]),
            (&[26, 25], [1, 0]),
            (&[24, 25], [1, nowhere]),
            (&[], [nowhere, nowhere]),
        ];
        let mut listeners = Listeners::opened_by(&config(&[25, 26]));
        for (ports, expected) in table {
            listeners.find_in(&config(ports));
            let now = [0, 1].map(|at| listeners.now(ListenerId(at)).0);
            assert_eq!(now, *expected, "{ports:?}");
            assert_eq!(listeners.now(ListenerId(2)), NOWHERE);
        }
    }
}
