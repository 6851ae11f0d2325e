//! The queues, filtered, sorted and in pages.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::State;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use traject_engine::QueueSnapshot;

use super::answer::{Params, Problem, Shown};
use super::summary::reason_name;
use super::{Daemon, domain_name, instant};
use crate::explain::columns;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    binding: Option<String>,
    domain: Option<String>,
    /// The name of a reason.
    reason: Option<String>,
    sort: Sort,
    limit: usize,
    offset: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        let (binding, domain, reason) = (None, None, None);
        Self { binding, domain, reason, sort: Sort::Waiting, limit: LIMIT_DEFAULT, offset: 0 }
    }
}

/// What queues are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    Waiting,
    Active,
    Delayed,
    Connections,
    Name,
}

#[derive(Debug, Serialize)]
struct Page {
    /// Queues that fit, on this page or not.
    total: usize,
    offset: usize,
    queues: Vec<QueueSnapshot>,
}

pub(super) async fn queues(
    State(daemon): State<Arc<Daemon>>,
    Params(wanted): Params<Wanted>,
) -> Result<Shown, Problem> {
    check_limit(wanted.limit)?;
    let domain = wanted.domain.as_deref().map(domain_name).transpose()?;
    let Wanted { binding, reason, sort, limit, offset, .. } = wanted;
    let page = daemon.look(move |engine| {
        let fits = |queue: &QueueSnapshot| {
            binding.as_ref().is_none_or(|binding| **binding == *queue.pair.binding)
                && domain.as_ref().is_none_or(|domain| **domain == *queue.pair.domain)
                && reason.as_ref().is_none_or(|reason| reason == reason_name(queue.reason))
        };
        page(engine.queue_snapshots().filter(fits).collect(), sort, limit, offset)
    });
    let page = page.await?;
    let text = show(&page);
    Ok(Shown::new(&page, text))
}

/// Answers are bounded.
pub(super) fn check_limit(limit: usize) -> Result<(), Problem> {
    match limit {
        1..=LIMIT_MAX => Ok(()),
        _ => Err(Problem::bad(format!("`limit` must be from 1 to {LIMIT_MAX}"))
            .hint("`offset` begins at a later one")),
    }
}

fn page(mut queues: Vec<QueueSnapshot>, sort: Sort, limit: usize, offset: usize) -> Page {
    // They come in order of their names, and stay so where the number is the same.
    let number = |queue: &QueueSnapshot| match sort {
        Sort::Waiting => queue.active + queue.delayed,
        Sort::Active => queue.active,
        Sort::Delayed => queue.delayed,
        Sort::Connections => u64::from(queue.connections),
        Sort::Name => 0,
    };
    queues.sort_by_key(|queue| Reverse(number(queue)));
    let total = queues.len();
    Page { total, offset, queues: queues.into_iter().skip(offset).take(limit).collect() }
}

fn show(page: &Page) -> String {
    if page.queues.is_empty() {
        return format!("no queues ({} fit)\n", page.total);
    }
    let titles =
        ["BINDING", "DOMAIN", "ACTIVE", "DELAYED", "FLYING", "CONNS", "NEXT DUE", "BECAUSE"];
    let mut rows = vec![titles.map(String::from)];
    rows.extend(page.queues.iter().map(|queue| {
        [
            queue.pair.binding.to_string(),
            queue.pair.domain.to_string(),
            queue.active.to_string(),
            queue.delayed.to_string(),
            queue.in_flight.to_string(),
            queue.connections.to_string(),
            queue.next_due.map_or_else(|| "-".to_owned(), instant),
            reason_name(queue.reason).to_owned(),
        ]
    }));
    let (from, to) = (page.offset + 1, page.offset + page.queues.len());
    columns(&rows) + &format!("{from} to {to} of {}\n", page.total)
}

const LIMIT_DEFAULT: usize = 50;

/// Entries of one answer.
const LIMIT_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use traject_engine::queue::reason::QueueReason;
    use traject_engine::record::Pair;

    use super::*;

    fn queue(domain: &str, active: u64, delayed: u64, connections: u32) -> QueueSnapshot {
        QueueSnapshot {
            pair: Pair { binding: "default".into(), domain: domain.into() },
            active,
            delayed,
            in_flight: 0,
            connections,
            next_due: None,
            reason: QueueReason::ConnectionGoal,
        }
    }

    #[test]
    fn pages_in_every_order() {
        let all = || {
            vec![queue("a", 1, 0, 9), queue("b", 0, 5, 1), queue("c", 3, 1, 2), queue("d", 1, 0, 2)]
        };
        for (sort, limit, offset, names) in [
            (Sort::Waiting, 9, 0, "bcad"),
            (Sort::Active, 9, 0, "cadb"),
            (Sort::Delayed, 9, 0, "bcad"),
            (Sort::Connections, 9, 0, "acdb"),
            (Sort::Name, 9, 0, "abcd"),
            (Sort::Name, 2, 1, "bc"),
            (Sort::Name, 2, 4, ""),
        ] {
            let page = page(all(), sort, limit, offset);
            let found: String = page.queues.iter().map(|queue| &*queue.pair.domain).collect();
            assert_eq!((found.as_str(), page.total), (names, 4), "{sort:?} {limit} {offset}");
        }
        let shown = show(&page(all(), Sort::Name, 2, 1));
        insta::assert_snapshot!(shown, @"
        BINDING  DOMAIN  ACTIVE  DELAYED  FLYING  CONNS  NEXT DUE  BECAUSE
        default  b       0       5        0       1      -         connection_goal
        default  c       3       1        0       2      -         connection_goal
        2 to 3 of 4
        ");
    }
}
