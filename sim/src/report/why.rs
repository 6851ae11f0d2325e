//! Why mail waits, as a person reads it.

use std::fmt::Write as _;

use traject_engine::queue::reason::QueueReason;
use traject_engine::record::Pair;
use traject_engine::why::{Behind, CapStory, HostState, HostStory, ThrottleStory, Why};
use traject_engine::{QueueSnapshot, Timestamp};

use super::text::grouped;
use crate::scenario::units::show_duration;

/// How instants are shown.
pub type ShowInstant<'a> = &'a dyn Fn(Timestamp) -> String;

/// The answer for some queues, all at one instant.
pub fn render(whys: &[Why], domain: &str, at: Timestamp, show: ShowInstant<'_>) -> String {
    let at = show(at);
    if whys.is_empty() {
        return format!("Nothing waits for {domain} at {at}.\n");
    }
    let blocks: Vec<String> = whys.iter().map(|why| block(why, &at, show)).collect();
    blocks.join("\n")
}

fn block(why: &Why, at: &str, show: ShowInstant<'_>) -> String {
    let mut text = format!("{} at {at}\n", name(&why.queue.pair));
    let mut line = |label: &str, words: &str| {
        // Unwrap is OK because writing to a String cannot fail.
        writeln!(text, "  {label:<10}  {words}").unwrap();
    };
    line("waiting", &waiting(&why.queue, show));
    line("because", &because(why.queue.reason, show));
    match &why.behind {
        Behind::Nothing => {}
        Behind::Goal { goal, transactions, max } => line(
            "goal",
            &format!(
                "{goal} connections for {} transactions, of at most {max} \
                 (max_outbound_connections, connection_allocation_aggressiveness)",
                grouped(*transactions)
            ),
        ),
        Behind::Cap(cap) => {
            line("cap", &cap_words(cap));
            for holder in &cap.holders {
                let words = format!("{} by {}", holder.connections, name(&holder.pair));
                line("held", &words);
            }
        }
        Behind::Throttle(throttle) => {
            line("throttle", &throttle_words(throttle, show));
            for sharer in &throttle.shared_with {
                let active = grouped(sharer.active);
                line("shared", &format!("with {}, {active} to be sent", name(&sharer.pair)));
            }
        }
        Behind::Hosts { hosts } => {
            for host in hosts {
                line("exchange", &host_words(host, show));
            }
        }
        Behind::Dns { failures, reply } => {
            line("look-ups", &format!("{failures} failed in a row, the last with {reply}"));
        }
    }
    text
}

fn name(pair: &Pair) -> String {
    format!("{} to {}", pair.binding, pair.domain)
}

fn waiting(queue: &QueueSnapshot, show: ShowInstant<'_>) -> String {
    let mut parts = Vec::new();
    if queue.active > 0 {
        parts.push(format!("{} to be sent", grouped(queue.active)));
    }
    if let (1.., Some(due)) = (queue.delayed, queue.next_due) {
        let delayed = grouped(queue.delayed);
        parts.push(format!("{delayed} for their next attempt, the first at {}", show(due)));
    }
    if queue.in_flight > 0 {
        parts.push(format!("{} in a transaction", grouped(queue.in_flight)));
    }
    match queue.connections {
        0 => parts.push("no connection".to_owned()),
        1 => parts.push("1 connection".to_owned()),
        n => parts.push(format!("{n} connections")),
    }
    parts.join(", ")
}

/// A reason, in words.
pub fn because(reason: QueueReason, show: ShowInstant<'_>) -> String {
    let at = show;
    match reason {
        QueueReason::Delayed { until } => format!("delayed, the first until {}", at(until)),
        QueueReason::DnsFailed { until } => {
            format!("the DNS failed; next look-up at {}", at(until))
        }
        QueueReason::HostsSetAside { until } => {
            format!("every address failed; next try at {} (host_failure_retry)", at(until))
        }
        QueueReason::ThrottledMessages { until } => {
            format!("outbound_throttle_messages; the next may pass at {}", at(until))
        }
        QueueReason::ThrottledConnections { until } => {
            format!("outbound_throttle_connections; the next may pass at {}", at(until))
        }
        QueueReason::SuspendedByOperator { until: Some(until) } => {
            format!("suspended by the operator until {}", at(until))
        }
        QueueReason::Empty
        | QueueReason::Suspended
        | QueueReason::SuspendedByOperator { until: None }
        | QueueReason::DefaultBindingSuspended
        | QueueReason::SpoolBehind
        | QueueReason::Draining
        | QueueReason::Resolving
        | QueueReason::LookupInLine
        | QueueReason::ConnectionGoal
        | QueueReason::MaxOutboundConnections
        | QueueReason::ServerMaxOutboundConnections
        | QueueReason::ScopeMaxOutboundConnections
        | QueueReason::HostMaxOutboundConnections
        | QueueReason::Probing => reason.to_string(),
    }
}

fn stanza(scope: &str) -> String {
    match scope {
        "" => "set in the global scope".to_owned(),
        scope => format!("set in {scope}"),
    }
}

fn in_line(ahead: u32) -> String {
    match ahead {
        0 => "first in line".to_owned(),
        1 => "1 queue comes first".to_owned(),
        n => format!("{n} queues come first"),
    }
}

fn cap_words(cap: &CapStory) -> String {
    let CapStory { option, stanza: scope, max, ahead, .. } = cap;
    match scope {
        None => format!("{option} = {max}"),
        Some(scope) => format!("{option} = {max}, {}; {}", stanza(scope), in_line(*ahead)),
    }
}

fn throttle_words(throttle: &ThrottleStory, show: ShowInstant<'_>) -> String {
    let ThrottleStory { option, stanza: scope, rate, clears_at, ahead, .. } = throttle;
    let per = show_duration(rate.per);
    let clears = show(*clears_at);
    let events = grouped(u64::from(rate.events));
    format!(
        "{option} = {events} in {per}, {}; clears at {clears}; {}",
        stanza(scope),
        in_line(*ahead)
    )
}

fn host_words(host: &HostStory, show: ShowInstant<'_>) -> String {
    let HostStory { exchange, address, state, until, failures, reply } = host;
    let state = match (state, until) {
        (HostState::SetAside, Some(until)) => format!("set aside until {}", show(*until)),
        (HostState::SetAside, None) => "not to be used".to_owned(),
        (HostState::Probing, _) => "being tried with one connection".to_owned(),
        (HostState::AtCap, _) => "at the cap of its host stanza".to_owned(),
        (HostState::UnfitForTls, _) => "unfit for the TLS that is asked for".to_owned(),
        (HostState::Usable, _) => "usable".to_owned(),
    };
    let story = match (failures, reply) {
        (0, _) => String::new(),
        (n, None) => format!(", {n} failures in a row"),
        (1, Some(reply)) => format!(", after {reply}"),
        (n, Some(reply)) => format!(", {n} failures in a row, the last: {reply}"),
    };
    format!("{exchange} [{address}] {state}{story}")
}
