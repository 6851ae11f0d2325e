//! What the mail of a domain waited for, most of all first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use traject_engine::smtp::stage::Stage;

use super::flow::Cause;
use super::tally::{DomainTally, ReplyTally};
use super::{Limiter, LimiterKind};

/// Everything mail waited for, the longest first; empty when nobody waited.
pub(super) fn waits(domain: &DomainTally) -> Vec<Limiter> {
    let mut all: BTreeMap<(LimiterKind, Arc<str>), Duration> = BTreeMap::new();
    for tally in domain.replies.iter().filter(|tally| !tally.waited.is_zero()) {
        let detail = tally.reply.to_string().into();
        *all.entry((retry_kind(tally), detail)).or_default() += tally.waited;
    }
    let mut dialogue = domain.flowing;
    for (cause, waited) in &domain.held {
        match known(cause, domain) {
            Some(detail) => *all.entry((cause.kind, detail)).or_default() += *waited,
            None => dialogue += *waited,
        }
    }
    *all.entry((LimiterKind::Dialogue, Arc::default())).or_default() += dialogue;
    let total: Duration = all.values().sum();
    let mut waits: Vec<_> = all.into_iter().filter(|(_, waited)| !waited.is_zero()).collect();
    waits.sort_by_key(|(_, waited)| std::cmp::Reverse(*waited));
    let accepted = domain.counts.accepted.max(1) as f64;
    let limiter = |((kind, detail), waited): ((LimiterKind, Arc<str>), Duration)| Limiter {
        kind,
        detail: detail.to_string(),
        share: waited.as_secs_f64() / total.as_secs_f64(),
        seconds_per_recipient: waited.as_secs_f64() / accepted,
    };
    waits.into_iter().take(WAITS_MAX).map(limiter).collect()
}

/// What the wait for the retry after a reply counts as.
fn retry_kind(tally: &ReplyTally) -> LimiterKind {
    match tally.stage {
        Stage::StartTls | Stage::Handshake => LimiterKind::Tls,
        _ if tally.reply.local => LimiterKind::RetryAfterTrouble,
        _ => LimiterKind::RetryAfterReply,
    }
}

/// Which of its kind a cause is. A connection that was being opened or secured while nothing was
/// known to be wrong counts for what mostly went wrong there; `None` when nothing ever did.
fn known(cause: &Cause, domain: &DomainTally) -> Option<Arc<str>> {
    if !cause.detail.is_empty() {
        return Some(Arc::clone(&cause.detail));
    }
    let of_kind = |other: &&Cause| other.kind == cause.kind && !other.detail.is_empty();
    let waited = |other: &&Cause| domain.held.get(*other).copied().unwrap_or_default();
    let most = domain.causes().filter(of_kind).max_by_key(waited);
    most.map(|cause| Arc::clone(&cause.detail))
}

/// Things waited for that a report tells of.
const WAITS_MAX: usize = 12;
