//! The reserve: connections beyond the cap of the server, for queues that have none at all
//! (`server_reserve_outbound_connections`).
//!
//! A few long queues can hold every connection for hours. So every `reserve_maintenance_interval`
//! those who wait at the cap without a connection get one each, longest waiting first, until the
//! reserve is used up. Caps of domains, bindings and groups hold all the same.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::engine::Engine;
use crate::marks::Mark;
use crate::shaping::gates::{GateKey, GateKind};
use crate::timers::{TimerHandle, WakeupReason};

/// The state of the sweep.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// The gate of the whole server.
    gate: GateKey,
    /// Set while somebody waits there.
    timer: Option<TimerHandle>,
    /// The queue whose turn it is in a sweep.
    favoured: Option<usize>,
}

impl Default for Reserve {
    fn default() -> Self {
        let gate = GateKey { kind: GateKind::ServerMax, scope: Arc::from("") };
        Self { gate, timer: None, favoured: None }
    }
}

impl Engine {
    /// Sets the timer of the next sweep while somebody waits at the cap of the server.
    pub(crate) fn schedule_sweep(&mut self) {
        let server = self.config.server_options();
        let wanted = server.server_reserve_outbound_connections > 0
            && self.gates.has_line(&self.reserve.gate);
        match self.reserve.timer {
            None if wanted => {
                let at = self.now + server.reserve_maintenance_interval;
                self.reserve.timer = Some(self.timers.set(at, WakeupReason::Reserve));
            }
            Some(timer) if !wanted => {
                self.timers.cancel(timer);
                self.reserve.timer = None;
            }
            _ => {}
        }
    }

    /// Gives a connection to each queue that waits at the cap of the server and has none.
    pub(crate) fn sweep_reserve(&mut self) {
        self.reserve.timer = None;
        let waiting: Vec<usize> = self.gates.line(&self.reserve.gate).collect();
        for slot in waiting {
            if self.gates.open(&self.reserve.gate) >= self.server_ceiling() {
                break;
            }
            if self.queues.get(slot).is_some_and(|queue| queue.connections == 0) {
                self.marks.hit(Mark::ReserveSwept);
                self.reserve.favoured = Some(slot);
                self.maintain(slot);
                self.reserve.favoured = None;
            }
        }
    }

    /// What a queue may take a gate's count to, out of turn: only the one whose turn it is in a
    /// sweep, only as long as it has no connection, and only at the gate of the server.
    pub(crate) fn reserved_for(&self, slot: usize, key: &GateKey) -> Option<u32> {
        let favoured = self.reserve.favoured == Some(slot) && self.queues[slot].connections == 0;
        (favoured && *key == self.reserve.gate).then(|| self.server_ceiling())
    }

    /// The most connections that may ever count towards a cap of `max`.
    pub(crate) fn ceiling(&self, key: &GateKey, max: u32) -> u32 {
        if *key == self.reserve.gate { self.server_ceiling() } else { max }
    }

    /// Whether a sweep will come if somebody waits for one.
    pub(crate) fn is_sweep_scheduled(&self) -> bool {
        let reserve = self.config.server_options().server_reserve_outbound_connections;
        let waiting = reserve > 0 && self.gates.has_line(&self.reserve.gate);
        waiting == self.reserve.timer.is_some()
    }

    fn server_ceiling(&self) -> u32 {
        let server = self.config.server_options();
        let reserve = server.server_reserve_outbound_connections;
        server.server_max_outbound_connections.saturating_add(reserve)
    }
}
