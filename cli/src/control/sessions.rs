//! The connections, in both directions.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use traject_engine::Timestamp;
use traject_engine::control::{ClientSession, Exchanging};

use super::answer::{Params, Problem, Shown};
use super::queues::check_limit;
use super::{Daemon, domain_name};
use crate::explain::columns;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    direction: Direction,
    binding: Option<String>,
    domain: Option<String>,
    limit: usize,
    offset: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        let (binding, domain) = (None, None);
        Self { direction: Direction::Both, binding, domain, limit: 100, offset: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    Both,
    Out,
    In,
}

#[derive(Debug, Serialize)]
struct Sessions {
    at: Timestamp,
    /// Those to exchanges that fit, shown or not.
    outbound_total: usize,
    outbound: Vec<Exchanging>,
    /// Those from clients, shown or not.
    inbound_total: usize,
    inbound: Vec<ClientSession>,
}

pub(super) async fn sessions(
    State(daemon): State<Arc<Daemon>>,
    Params(wanted): Params<Wanted>,
) -> Result<Shown, Problem> {
    check_limit(wanted.limit)?;
    let domain = wanted.domain.as_deref().map(domain_name).transpose()?;
    let Wanted { direction, binding, limit, offset, .. } = wanted;
    // Clients have neither.
    let about_queues = binding.is_some() || domain.is_some();
    let both = daemon.look(move |engine| {
        let mut outbound = Vec::new();
        if direction != Direction::In {
            outbound = engine.exchanging();
            outbound.retain(|session| {
                binding.as_ref().is_none_or(|binding| **binding == *session.pair.binding)
                    && domain.as_ref().is_none_or(|domain| **domain == *session.pair.domain)
            });
        }
        let mut inbound = Vec::new();
        if direction != Direction::Out && !about_queues {
            inbound = engine.clients();
        }
        (outbound, inbound)
    });
    let (outbound, inbound) = both.await?;
    let sessions = Sessions {
        at: daemon.now(),
        outbound_total: outbound.len(),
        outbound: outbound.into_iter().skip(offset).take(limit).collect(),
        inbound_total: inbound.len(),
        inbound: inbound.into_iter().skip(offset).take(limit).collect(),
    };
    let text = show(&sessions);
    Ok(Shown::new(&sessions, text))
}

fn show(sessions: &Sessions) -> String {
    let since = |at: Timestamp| format!("{} s", sessions.at.saturating_since(at).as_secs());
    let tls = |tls: bool| if tls { "TLS" } else { "-" }.to_owned();
    let mut text = String::new();
    if !sessions.outbound.is_empty() {
        let titles =
            ["TO", "ADDRESS", "QUEUE", "STAGE", "AGE", "DELIVERED", "OVER", "MESSAGE", "ID"];
        let mut rows = vec![titles.map(String::from)];
        rows.extend(sessions.outbound.iter().map(|one| {
            [
                one.exchange.to_string(),
                one.remote.to_string(),
                format!("{}/{}", one.pair.binding, one.pair.domain),
                one.stage.text().to_owned(),
                since(one.since),
                one.deliveries.to_string(),
                tls(one.tls),
                one.message.map_or_else(|| "-".to_owned(), |message| message.to_string()),
                one.conn.to_string(),
            ]
        }));
        text.push_str(&columns(&rows));
    }
    if !sessions.inbound.is_empty() {
        let mut rows = vec![["FROM", "AT", "AGE", "OVER", "ID"].map(String::from)];
        rows.extend(sessions.inbound.iter().map(|one| {
            let (peer, local) = (one.peer.to_string(), one.local.to_string());
            [peer, local, since(one.since), tls(one.tls), one.conn.to_string()]
        }));
        text.push_str(&columns(&rows));
    }
    let (out, inbound) = (sessions.outbound_total, sessions.inbound_total);
    text + &format!("{out} to exchanges, {inbound} from clients\n")
}
