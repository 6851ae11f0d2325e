//! What mail waits for, told from the engine's words and from records.

use traject_engine::io::NetError;
use traject_engine::shaping::throttle::Rate;
use traject_engine::smtp::reply::{EnhancedCode, Reply};
use traject_engine::smtp::stage::Stage;
use traject_engine::tls::policy::{TlsFault, TlsMode};

use super::*;
use crate::test_records::{at, closed, deferral, opened, pair, record, remote};

fn change(reason: QueueReason, limit: Option<Limit>) -> WaitChange {
    WaitChange { pair: pair("a.test"), reason, limit }
}

fn cap(max: u32) -> WaitChange {
    let option = "max_outbound_connections";
    let limit = Limit { option, stanza: None, allows: Allows::Connections(max) };
    change(QueueReason::MaxOutboundConnections, Some(limit))
}

fn throttle() -> WaitChange {
    let rate = Rate { events: 10, per: Duration::from_secs(60) };
    let stanza = Some("binding \"b\"".into());
    let limit = Limit { option: "outbound_throttle_messages", stanza, allows: Allows::Rate(rate) };
    change(QueueReason::ThrottledMessages { until: at(1000) }, Some(limit))
}

fn seconds(flow: &Flow, from: u64, to: u64) -> Vec<(LimiterKind, String, u64)> {
    let told = flow.between(at(from), at(to));
    told.map(|(cause, lasted)| (cause.kind, cause.detail.to_string(), lasted.as_secs())).collect()
}

#[test]
fn waiting_is_told_apart_by_the_state_of_the_connections() {
    let mut flow = Flow::new(false);
    let failed = Event::ConnectionFailed {
        conn: ConnId(9),
        pair: pair("a.test"),
        remote: remote(1),
        exchange: "mx".into(),
        error: NetError::Refused,
        took: Duration::ZERO,
    };
    flow.waits_for(at(0), &cap(2));
    for record in [
        opened(10, 2, 1, 1),
        opened(20, 4, 1, 2),
        closed(50, 2, 3),
        closed(60, 4, 3),
        record(70, failed),
        opened(100, 6, 1, 1),
    ] {
        flow.apply(record.at, &record.event);
    }
    flow.waits_for(at(100), &change(QueueReason::Empty, None));
    let capped =
        |seconds| (LimiterKind::ConnectionCap, "max_outbound_connections = 2".to_owned(), seconds);
    let refused = |seconds| (LimiterKind::Unreachable, "connection refused".to_owned(), seconds);
    let connecting = |seconds| (LimiterKind::Unreachable, String::new(), seconds);
    assert_eq!(seconds(&flow, 0, 10), [connecting(10)]);
    assert_eq!(seconds(&flow, 0, 200), [connecting(20), capped(50), refused(30)]);
    assert_eq!(seconds(&flow, 30, 40), [capped(10)]);
    assert_eq!(seconds(&flow, 45, 80), [connecting(10), capped(15), refused(10)]);
    assert_eq!(seconds(&flow, 100, 300), []);
}

#[test]
fn a_limit_comes_before_everything_else() {
    let mut flow = Flow::new(false);
    flow.troubled(at(0), "451 No such zone");
    flow.waits_for(at(5), &throttle());
    flow.process_gone(at(20));
    flow.process_came(at(50));
    flow.waits_for(at(60), &change(QueueReason::Suspended, None));
    flow.waits_for(at(61), &change(QueueReason::LookupInLine, None));
    assert_eq!(
        seconds(&flow, 0, 64),
        [
            (LimiterKind::Unreachable, "451 No such zone".to_owned(), 5),
            (
                LimiterKind::Throttle,
                "outbound_throttle_messages = 10 in 1m, set in binding \"b\"".to_owned(),
                15
            ),
            (LimiterKind::NoProcess, "the process is down".to_owned(), 30),
            (LimiterKind::Suspended, "suspend_delivery".to_owned(), 1),
            (LimiterKind::LookupLimit, "dns_rate_limit_mx_queries".to_owned(), 3),
        ]
    );
}

#[test]
fn an_answer_is_waited_for_until_a_connection_stands() {
    let mut flow = Flow::new(false);
    flow.waits_for(at(0), &change(QueueReason::Resolving, None));
    flow.waits_for(at(7), &change(QueueReason::ConnectionGoal, None));
    let opened = opened(10, 2, 1, 1);
    flow.apply(opened.at, &opened.event);
    // Asking for more exchanges while there is a connection is no reason to wait.
    flow.waits_for(at(20), &change(QueueReason::Resolving, None));
    assert_eq!(
        seconds(&flow, 0, 30),
        [(LimiterKind::Dns, "answers".to_owned(), 7), (LimiterKind::Unreachable, String::new(), 3)]
    );
}

#[test]
fn a_handshake_that_takes_long_is_trouble_with_tls() {
    let reply = Reply::local(451, EnhancedCode(4, 7, 5), "no handshake");
    let failed = |second, conn, consequence| {
        let event = Event::TlsFailed {
            conn: ConnId(conn),
            pair: pair("a.test"),
            remote: remote(1),
            exchange: "mx".into(),
            mode: TlsMode::IfAvailable,
            stage: Stage::Handshake,
            fault: TlsFault::Negotiation,
            reply: reply.clone(),
            consequence,
            until: at(1000),
        };
        record(second, event)
    };
    let mut flow = Flow::new(true);
    flow.waits_for(at(0), &cap(1));
    for record in [
        opened(0, 2, 1, 1),
        failed(30, 2, Consequence::Fallback),
        closed(30, 2, 0),
        // In clear: the mail waits for its turn, and no longer for TLS.
        opened(40, 4, 1, 1),
        deferral(45, 1, Stage::RcptTo, reply.clone(), 90),
    ] {
        flow.apply(record.at, &record.event);
    }
    assert_eq!(
        seconds(&flow, 0, 60),
        [
            (LimiterKind::Tls, String::new(), 30),
            (LimiterKind::Tls, "451 4.7.5 no handshake".to_owned(), 10),
            (LimiterKind::ConnectionCap, "max_outbound_connections = 1".to_owned(), 20),
        ]
    );
}
