//! The daemon at a glance.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use traject_engine::control::Suspension;
use traject_engine::queue::reason::QueueReason;
use traject_engine::{Engine, Timestamp};

use super::actions::show_suspensions;
use super::answer::{Problem, Shown};
use super::health::state;
use super::metrics::Totals;
use super::{Daemon, instant};
use crate::explain::columns;

#[derive(Debug, Serialize)]
struct Summary {
    version: &'static str,
    state: &'static str,
    started: Timestamp,
    at: Timestamp,
    #[serde(flatten)]
    now: Now,
    /// Since the start.
    totals: Totals,
    suspensions: Vec<Suspension>,
}

/// What there is at this moment.
#[derive(Debug, Default, Serialize)]
pub(super) struct Now {
    pub(super) messages: usize,
    pub(super) resident_messages: u32,
    pub(super) queues: u64,
    /// Recipients.
    pub(super) active: u64,
    pub(super) delayed: u64,
    pub(super) in_flight: u64,
    pub(super) outbound: usize,
    pub(super) inbound: usize,
    pub(super) spool_writes: usize,
    pub(super) dns_questions: usize,
    /// Queues by why nothing more is going out.
    pub(super) reasons: BTreeMap<&'static str, u64>,
}

impl Now {
    pub(super) fn of(engine: &Engine) -> Self {
        let (resident_messages, spool_writes, dns_questions) = engine.resources();
        let (outbound, inbound) = engine.connection_counts();
        let mut now = Self {
            messages: engine.message_count(),
            resident_messages,
            outbound,
            inbound,
            spool_writes,
            dns_questions,
            ..Self::default()
        };
        for queue in engine.queue_snapshots() {
            now.queues += 1;
            now.active += queue.active;
            now.delayed += queue.delayed;
            now.in_flight += queue.in_flight;
            *now.reasons.entry(reason_name(queue.reason)).or_default() += 1;
        }
        now
    }
}

/// A reason as JSON and metrics call it.
pub(super) const fn reason_name(reason: QueueReason) -> &'static str {
    match reason {
        QueueReason::Empty => "empty",
        QueueReason::Delayed { .. } => "delayed",
        QueueReason::Suspended => "suspended",
        QueueReason::DefaultBindingSuspended => "default_binding_suspended",
        QueueReason::SuspendedByOperator { .. } => "suspended_by_operator",
        QueueReason::SpoolBehind => "spool_behind",
        QueueReason::Draining => "draining",
        QueueReason::Resolving => "resolving",
        QueueReason::LookupInLine => "lookup_in_line",
        QueueReason::DnsFailed { .. } => "dns_failed",
        QueueReason::ConnectionGoal => "connection_goal",
        QueueReason::MaxOutboundConnections => "max_outbound_connections",
        QueueReason::ServerMaxOutboundConnections => "server_max_outbound_connections",
        QueueReason::ScopeMaxOutboundConnections => "scope_max_outbound_connections",
        QueueReason::HostMaxOutboundConnections => "host_max_outbound_connections",
        QueueReason::ThrottledMessages { .. } => "throttled_messages",
        QueueReason::ThrottledConnections { .. } => "throttled_connections",
        QueueReason::HostsSetAside { .. } => "hosts_set_aside",
        QueueReason::Probing => "probing",
    }
}

pub(super) async fn summary(State(daemon): State<Arc<Daemon>>) -> Result<Shown, Problem> {
    let (now, suspensions) = daemon.look(|engine| (Now::of(engine), engine.suspensions())).await?;
    let summary = Summary {
        version: env!("CARGO_PKG_VERSION"),
        state: state(&daemon),
        started: daemon.started,
        at: daemon.now(),
        now,
        totals: daemon.metrics.totals(),
        suspensions,
    };
    let text = show(&summary);
    Ok(Shown::new(&summary, text))
}

fn show(summary: &Summary) -> String {
    let Summary { now, totals, .. } = summary;
    let row = |name: &str, value: String| [name.to_owned(), value];
    let number = |name: &str, value: u64| row(name, value.to_string());
    let connections = format!("{} out, {} in", now.outbound, now.inbound);
    let recipients = format!(
        "{} to be sent, {} for their next attempt, {} in a transaction",
        now.active, now.delayed, now.in_flight
    );
    let rows = vec![
        row("traject", format!("{}, {}", summary.version, summary.state)),
        row("since", instant(summary.started)),
        number("messages", now.messages as u64),
        row("recipients", recipients),
        number("queues", now.queues),
        row("connections", connections),
        number("received", totals.received),
        number("rejected", totals.rejected),
        number("delivered", totals.delivered),
        number("deferred", totals.deferred),
        number("failed", totals.failed),
        number("expired", totals.expired),
    ];
    let mut text = columns(&rows);
    if !now.reasons.is_empty() {
        text.push('\n');
        let mut rows = vec![["QUEUES", "WHY NOTHING MORE GOES OUT"].map(String::from)];
        rows.extend(
            now.reasons.iter().map(|(name, count)| row(&count.to_string(), (*name).into())),
        );
        text.push_str(&columns(&rows));
    }
    if !summary.suspensions.is_empty() {
        text.push('\n');
        text.push_str(&show_suspensions(&summary.suspensions));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_the_names_that_json_gives_them() {
        let until = Timestamp(1);
        for reason in [
            QueueReason::Empty,
            QueueReason::Delayed { until },
            QueueReason::Suspended,
            QueueReason::DefaultBindingSuspended,
            QueueReason::SuspendedByOperator { until: None },
            QueueReason::SpoolBehind,
            QueueReason::Draining,
            QueueReason::Resolving,
            QueueReason::LookupInLine,
            QueueReason::DnsFailed { until },
            QueueReason::ConnectionGoal,
            QueueReason::MaxOutboundConnections,
            QueueReason::ServerMaxOutboundConnections,
            QueueReason::ScopeMaxOutboundConnections,
            QueueReason::HostMaxOutboundConnections,
            QueueReason::ThrottledMessages { until },
            QueueReason::ThrottledConnections { until },
            QueueReason::HostsSetAside { until },
            QueueReason::Probing,
        ] {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json["why"], reason_name(reason));
        }
    }
}
