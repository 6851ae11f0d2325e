//! What a run has been through: kinds of records, what mail waited for, and rare branches of the
//! engine. A campaign that never comes by some of it tests less than it seems to.

use traject_engine::dns::DnsErrorKind;
use traject_engine::io::NetError;
use traject_engine::marks::{Mark, Marks};
use traject_engine::queue::reason::QueueReason;
use traject_engine::record::{
    Attempt, ClearReason, CloseReason, Event, GiveUp, Record, Transport, Via,
};
use traject_engine::tls::policy::TlsFault;

macro_rules! passages {
    ($($name:ident = $text:literal,)+) => {
        /// Something a run may come by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Passage { $($name,)+ }

        const PASSAGES: &[&str] = &[$($text,)+];
    };
}

passages! {
    FromClient = "mail from a client",
    FromDriver = "mail from within",
    FromSpool = "mail from the spool",
    Rejection = "a client is rejected",
    DeliveredClear = "delivered in clear",
    DeliveredNotOffered = "delivered in clear: TLS not offered",
    DeliveredRefused = "delivered in clear: TLS refused",
    DeliveredFallback = "delivered in clear: TLS failed",
    DeliveredTls = "delivered under TLS",
    Deferred = "deferred by a reply",
    DeferredLost = "deferred: nobody knows what became of it",
    ChargedForTls = "charged without a connection",
    Bounced = "bounced by a reply",
    BouncedByUs = "failed by us",
    OutOfRetries = "expired: retries over",
    OutOfTime = "expired: too old",
    Untried = "expired without an attempt",
    Refused = "connection refused",
    TimedOut = "connection timed out",
    Unreachable = "host unreachable",
    Migrated = "a connection passes to a sibling",
    ClosedIdle = "closed: idle",
    ClosedLimit = "closed: limit reached",
    ClosedUnavailable = "closed: 421",
    ClosedRefused = "closed: refused",
    ClosedTls = "closed: TLS failed",
    ClosedLost = "closed: lost",
    ClosedTimedOut = "closed: timed out",
    ClosedViolation = "closed: protocol violation",
    ClosedLocal = "closed: an error of ours",
    ClosedDraining = "closed: draining",
    ClosedReconfigured = "closed: reconfigured",
    TlsNotOffered = "TLS not offered",
    TlsRefused = "TLS refused",
    TlsNegotiation = "TLS failed",
    TlsCertificate = "TLS: certificate",
    SetAside = "a host is set aside",
    QueueDelayed = "a queue is moved to delayed",
    Moved = "a reload moves mail",
    NxDomain = "DNS: no such domain",
    NullMx = "DNS: no data, or a null MX",
    DnsTrouble = "DNS: failure",
    Violation = "a protocol violation",
    WaitsDelayed = "waits: delayed",
    WaitsSuspended = "waits: suspended",
    WaitsOperator = "waits: suspended by an operator",
    WaitsDraining = "waits: draining",
    WaitsResolving = "waits: resolving",
    WaitsInLookupLine = "waits: in line for a look-up",
    WaitsDns = "waits: DNS failed",
    WaitsGoal = "waits: connection goal",
    WaitsCap = "waits: max_outbound_connections",
    WaitsServerCap = "waits: server_max_outbound_connections",
    WaitsScopeCap = "waits: scope_max_outbound_connections",
    WaitsHostCap = "waits: cap of a host",
    WaitsMessages = "waits: outbound_throttle_messages",
    WaitsConnections = "waits: outbound_throttle_connections",
    WaitsHosts = "waits: hosts set aside",
    WaitsProbing = "waits: probing",
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    passages: u128,
    marks: Marks,
}

impl Coverage {
    /// Everything there is, and whether it was seen.
    pub fn all(self) -> impl Iterator<Item = (&'static str, bool)> {
        let passages = PASSAGES.iter().enumerate();
        let passages = passages.map(move |(n, name)| (*name, self.passages & (1 << n) != 0));
        passages.chain(Mark::ALL.into_iter().map(move |mark| (mark.name(), self.marks.has(mark))))
    }

    /// Adds what another run has seen.
    pub fn add(&mut self, other: Self) {
        self.passages |= other.passages;
        self.marks.add(other.marks);
    }

    pub(crate) fn mark(&mut self, marks: Marks) {
        self.marks.add(marks);
    }

    pub(crate) fn record(&mut self, record: &Record) {
        if let Some(passage) = of_event(&record.event) {
            self.hit(passage);
        }
    }

    pub(crate) fn wait(&mut self, reason: QueueReason) {
        if let Some(passage) = of_reason(reason) {
            self.hit(passage);
        }
    }

    const fn hit(&mut self, passage: Passage) {
        self.passages |= 1 << passage as u32;
    }
}

fn of_event(event: &Event) -> Option<Passage> {
    Some(match event {
        Event::Reception { via: Via::Smtp { .. }, .. } => Passage::FromClient,
        Event::Reception { via: Via::Submission, .. } => Passage::FromDriver,
        Event::Reception { via: Via::Spool, .. } => Passage::FromSpool,
        Event::Rejection { .. } => Passage::Rejection,
        Event::Delivery(attempt) => of_transport(attempt)?,
        Event::TransientFailure { attempt, .. } if attempt.conn.is_none() => Passage::ChargedForTls,
        Event::TransientFailure { attempt, .. } if attempt.reply.local => Passage::DeferredLost,
        Event::TransientFailure { .. } => Passage::Deferred,
        Event::PermanentFailure(attempt) if attempt.reply.local => Passage::BouncedByUs,
        Event::PermanentFailure(_) => Passage::Bounced,
        Event::Expiry { last_reply: None, .. } => Passage::Untried,
        Event::Expiry { why: GiveUp::MaxRetries, .. } => Passage::OutOfRetries,
        Event::Expiry { why: GiveUp::MaxTime, .. } => Passage::OutOfTime,
        Event::ConnectionFailed { error, .. } => match error {
            NetError::Refused => Passage::Refused,
            NetError::TimedOut => Passage::TimedOut,
            NetError::Unreachable => Passage::Unreachable,
            _ => return None,
        },
        Event::ConnectionMigrated { .. } => Passage::Migrated,
        Event::ConnectionClosed { reason, .. } => of_end(*reason),
        Event::TlsFailed { fault, .. } => match fault {
            TlsFault::NotOffered => Passage::TlsNotOffered,
            TlsFault::Refused => Passage::TlsRefused,
            TlsFault::Negotiation => Passage::TlsNegotiation,
            TlsFault::Certificate => Passage::TlsCertificate,
            TlsFault::Local => return None,
        },
        Event::HostSetAside { .. } => Passage::SetAside,
        Event::QueueDelayed { .. } => Passage::QueueDelayed,
        Event::Reconfigured { moved, .. } if *moved > 0 => Passage::Moved,
        Event::DnsFailure { error, .. } => match error {
            DnsErrorKind::NxDomain => Passage::NxDomain,
            DnsErrorKind::NoData => Passage::NullMx,
            _ => Passage::DnsTrouble,
        },
        Event::ProtocolViolation { .. } => Passage::Violation,
        _ => return None,
    })
}

fn of_transport(attempt: &Attempt) -> Option<Passage> {
    Some(match &attempt.transport {
        Transport::Tls(_) => Passage::DeliveredTls,
        Transport::Clear { why } => match why {
            ClearReason::NotWanted => Passage::DeliveredClear,
            ClearReason::NotOffered => Passage::DeliveredNotOffered,
            ClearReason::Refused => Passage::DeliveredRefused,
            ClearReason::NegotiationFailed => Passage::DeliveredFallback,
        },
        Transport::Nothing => return None,
    })
}

const fn of_end(reason: CloseReason) -> Passage {
    match reason {
        CloseReason::Idle => Passage::ClosedIdle,
        CloseReason::LimitReached => Passage::ClosedLimit,
        CloseReason::ServiceUnavailable => Passage::ClosedUnavailable,
        CloseReason::Refused => Passage::ClosedRefused,
        CloseReason::TlsFailed => Passage::ClosedTls,
        CloseReason::Lost => Passage::ClosedLost,
        CloseReason::TimedOut => Passage::ClosedTimedOut,
        CloseReason::ProtocolViolation => Passage::ClosedViolation,
        CloseReason::LocalError => Passage::ClosedLocal,
        CloseReason::Draining => Passage::ClosedDraining,
        CloseReason::Reconfigured => Passage::ClosedReconfigured,
    }
}

const fn of_reason(reason: QueueReason) -> Option<Passage> {
    Some(match reason {
        // Thousands of messages on a broken disk; the engine's tests have them.
        QueueReason::Empty | QueueReason::SpoolBehind => return None,
        QueueReason::Delayed { .. } => Passage::WaitsDelayed,
        QueueReason::Suspended | QueueReason::DefaultBindingSuspended => Passage::WaitsSuspended,
        QueueReason::SuspendedByOperator { .. } => Passage::WaitsOperator,
        QueueReason::Draining => Passage::WaitsDraining,
        QueueReason::Resolving => Passage::WaitsResolving,
        QueueReason::LookupInLine => Passage::WaitsInLookupLine,
        QueueReason::DnsFailed { .. } => Passage::WaitsDns,
        QueueReason::ConnectionGoal => Passage::WaitsGoal,
        QueueReason::MaxOutboundConnections => Passage::WaitsCap,
        QueueReason::ServerMaxOutboundConnections => Passage::WaitsServerCap,
        QueueReason::ScopeMaxOutboundConnections => Passage::WaitsScopeCap,
        QueueReason::HostMaxOutboundConnections => Passage::WaitsHostCap,
        QueueReason::ThrottledMessages { .. } => Passage::WaitsMessages,
        QueueReason::ThrottledConnections { .. } => Passage::WaitsConnections,
        QueueReason::HostsSetAside { .. } => Passage::WaitsHosts,
        QueueReason::Probing => Passage::WaitsProbing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_records::{delivery, reception};

    #[test]
    fn what_was_seen_is_known_and_added_up() {
        let mut one = Coverage::default();
        one.record(&reception(0, 2, &["x@a.test"]));
        let mut other = Coverage::default();
        other.record(&delivery(1, 1));
        other.wait(QueueReason::Probing);
        one.add(other);
        let seen: Vec<&str> = one.all().filter(|(_, seen)| *seen).map(|(name, _)| name).collect();
        assert_eq!(seen, ["mail from within", "delivered in clear", "waits: probing"]);
        assert!(PASSAGES.len() <= 128);
    }
}
