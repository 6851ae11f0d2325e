//! TLS on outbound connections: whether to try it, and what becomes of mail without it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::delivery::Over;
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::io::Output;
use crate::limits;
use crate::mx::plan::{Plan, Usable};
use crate::record::{ClearReason, Event, Transport};
use crate::sched::tls::{Asked, Incident, Known};
use crate::smtp::client::RecipientResult;
use crate::smtp::stage::Stage;
use crate::tls::info::TlsInfo;
use crate::tls::params::TlsParams;
use crate::tls::policy::{Consequence, TlsFailure, TlsFault};

/// What a pair does about TLS at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsAt {
    /// It goes in clear.
    Clear(ClearReason),
    /// It tries.
    Try(Asked),
    /// It does not go there: this happened.
    Unfit(Incident),
    /// Another connection is finding out.
    Wait(Asked),
}

impl Engine {
    /// What a queue does about TLS at an address now.
    pub(crate) fn tls_at(&self, slot: usize, address: IpAddr) -> TlsAt {
        let queue = &self.queues[slot];
        let Some(demands) = queue.options.tls_demands.clone() else {
            return TlsAt::Clear(ClearReason::NotWanted);
        };
        let asked = Asked { binding: queue.pair.binding.clone(), address, demands };
        let (incident, probed) = match self.tls.known(&asked, self.now) {
            Known::Nothing => return TlsAt::Try(asked),
            Known::Failed(incident) => (incident, false),
            Known::Probed(incident) => (incident, true),
        };
        match queue.options.tls.consequence(incident.fault) {
            Consequence::InClear => TlsAt::Try(asked),
            Consequence::Fallback => TlsAt::Clear(clear_reason(incident.fault)),
            Consequence::Unfit if probed => TlsAt::Wait(asked),
            Consequence::Unfit => TlsAt::Unfit(incident.clone()),
        }
    }

    /// Whether TLS lets a queue use an address now.
    pub(crate) fn usable_with_tls(&self, slot: usize, address: IpAddr) -> Usable {
        if self.tls.is_empty() {
            return Usable::Yes;
        }
        match self.tls_at(slot, address) {
            TlsAt::Clear(_) | TlsAt::Try(_) => Usable::Yes,
            TlsAt::Unfit(_) => Usable::Unfit,
            TlsAt::Wait(_) => Usable::Busy,
        }
    }

    /// What keeps a queue from every exchange that is left, if TLS does: no address can be used,
    /// none will be for its own sake, and at least one is up but unfit.
    pub(crate) fn unfit_everywhere(&self, slot: usize, plan: &Plan) -> Option<Incident> {
        if self.tls.is_empty() || self.queues[slot].ready > 0 {
            return None;
        }
        let mut unfit = None;
        for exchange in &plan.exchanges {
            for address in exchange.addresses.iter().copied() {
                match self.usable(slot, exchange, address) {
                    Usable::Yes | Usable::Busy | Usable::AtCap => return None,
                    Usable::SetAside => {}
                    Usable::Unfit => {
                        let found = || match self.tls_at(slot, address) {
                            TlsAt::Unfit(incident) => Some(incident),
                            _ => None,
                        };
                        unfit = unfit.or_else(found);
                    }
                }
            }
        }
        unfit
    }

    /// Charges everything active of a queue one attempt, without a connection: it would end as
    /// others did a short while ago.
    pub(crate) fn charge_for_tls(&mut self, slot: usize, incident: &Incident) {
        self.queues[slot].trying_since = None;
        let (transport, took) = (Transport::Nothing, Duration::ZERO);
        let over = Over { conn: None, remote: None, exchange: None, transport, took, stray: false };
        for batch in self.queues[slot].take_active() {
            if let Some(why) = self.expired_before_attempt(slot, &batch) {
                self.expire_unattempted(slot, &batch, why);
                continue;
            }
            let result = RecipientResult::Transient(incident.reply.clone());
            let result = match &self.queues[slot].options.response_transcode {
                Some(transcode) => transcode.apply(result),
                None => result,
            };
            let results: Vec<_> =
                batch.recipients.iter().map(|_| Some((incident.stage, result.clone()))).collect();
            self.settle_attempt(slot, batch, results, &over);
        }
    }

    pub(crate) fn start_tls(&mut self, conn: ConnId) {
        let Some(outbound) = self.outbound.get(&conn) else { return };
        let Some(asked) = outbound.asked() else { return };
        let params = TlsParams::Client(Arc::new(asked.demands.with(outbound.exchange())));
        self.emit(Output::StartTls { conn, params });
    }

    pub(crate) fn tls_established(&mut self, conn: ConnId, info: TlsInfo) {
        let info = Arc::new(info);
        let Some(outbound) = self.outbound.get_mut(&conn) else { return };
        outbound.set_transport(Transport::Tls(info.clone()));
        let (remote, exchange) = (outbound.remote(), outbound.exchange().clone());
        let queue = &self.queues[outbound.queue];
        let (pair, mode) = (queue.pair.clone(), queue.options.tls.mode);
        self.record(Event::TlsEstablished { conn, pair, remote, exchange, mode, info });
    }

    /// There is no TLS: that is remembered, and the queue looks for another way at once.
    pub(crate) fn tls_failed(&mut self, conn: ConnId, stage: Stage, failure: &TlsFailure) {
        let Some(outbound) = self.outbound.get(&conn) else { return };
        let Some(asked) = outbound.asked().cloned() else { return };
        let (slot, remote) = (outbound.queue, outbound.remote());
        let exchange = outbound.exchange().clone();
        let queue = &self.queues[slot];
        let (pair, policy) = (queue.pair.clone(), queue.options.tls);
        let until = self.now + queue.options.host_failure_retry.max(limits::HOST_ASIDE_MIN);
        let (fault, reply) = (failure.fault(), failure.reply());
        let incident = Incident { fault, stage, reply: reply.clone() };
        let (until, waiting) = self.tls.failed(asked, incident, self.now, until);
        self.touch_all(waiting);
        self.touch(slot);
        self.record(Event::TlsFailed {
            conn,
            pair,
            remote,
            exchange,
            mode: policy.mode,
            stage,
            fault,
            reply,
            consequence: policy.consequence(fault),
            until,
        });
    }

    /// A connection that was to try TLS is gone.
    pub(crate) fn tls_try_gone(&mut self, conn: ConnId, asked: Option<&Asked>) {
        if let Some(asked) = asked {
            let waiting = self.tls.gone(asked, conn);
            self.touch_all(waiting);
        }
    }

    /// A connection that asked for TLS, or would have, has got as far as to carry mail.
    pub(crate) fn tls_settled(&mut self, asked: &Asked) {
        let waiting = self.tls.succeeded(asked);
        self.touch_all(waiting);
    }
}

/// Why a connection after a fault is in clear.
const fn clear_reason(fault: TlsFault) -> ClearReason {
    match fault {
        TlsFault::NotOffered => ClearReason::NotOffered,
        TlsFault::Refused => ClearReason::Refused,
        // No policy falls back after the last two.
        TlsFault::Negotiation | TlsFault::Certificate | TlsFault::Local => {
            ClearReason::NegotiationFailed
        }
    }
}
