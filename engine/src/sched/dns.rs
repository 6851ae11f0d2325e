//! The DNS half of scheduling: what a queue asks, and what it does when there is no answer.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::dns::{DnsAnswer, DnsError, Question};
use crate::engine::{Engine, Ids};
use crate::ids::QueryId;
use crate::io::Output;
use crate::marks::Mark;
use crate::mx::hops;
use crate::mx::plan::Plan;
use crate::mx::routes::{DnsPolicy, Lookup};
use crate::queue::reason::QueueReason;
use crate::record::Event;
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::time::Timestamp;
use crate::timers::WakeupReason;

impl Engine {
    /// What is known of where a queue's mail goes; asks for what is not.
    pub(super) fn look_up(&mut self, slot: usize) -> Lookup {
        let policy = self.dns_policy(slot);
        let queue = &self.queues[slot];
        let (domain, options) = (queue.pair.domain.clone(), queue.options.clone());
        let mut asked = Vec::new();
        let (ids, routes, now) = (&mut self.ids, &mut self.routes, self.now);
        let find =
            |target: &_| routes.lookup(target, slot, now, policy, &mut ask_with(ids, &mut asked));
        let lookup = hops::look_up(&domain, &options, find);
        self.ask(asked);
        lookup
    }

    /// Where a queue's mail goes, as far as that is known; asks nobody.
    pub(super) fn known_plan(&self, slot: usize) -> Option<Arc<Plan>> {
        let queue = &self.queues[slot];
        let find = |target: &_| self.routes.known(target, self.now);
        match hops::look_up(&queue.pair.domain, &queue.options, find) {
            Lookup::Ready(plan) | Lookup::Partial(plan) => Some(plan),
            Lookup::InLine | Lookup::Pending | Lookup::Failed { .. } | Lookup::Refused(_) => None,
        }
    }

    /// Whether anything is being looked up for a queue.
    pub(crate) fn is_resolving(&self, slot: usize) -> bool {
        let queue = &self.queues[slot];
        let targets = hops::targets(&queue.pair.domain, &queue.options);
        targets.iter().any(|target| self.routes.is_pending(target, slot))
    }

    fn dns_policy(&self, slot: usize) -> DnsPolicy {
        let options = &self.queues[slot].options;
        let server = self.config.server_options();
        DnsPolicy {
            mx_failures_fallback_to_a: options.mx_failures_fallback_to_a,
            failure_hold: options.retry_interval,
            ttl_min: server.min_dns_ttl,
            ttl_max: server.max_dns_ttl,
            use_ipv6: server.use_ipv6,
            all_first: options.fully_resolve_before_smtp,
            mx_rate_limit: server.mx_rate_limit,
        }
    }

    pub(crate) fn resolved(&mut self, query: QueryId, result: Result<DnsAnswer, DnsError>) {
        let failure = result.as_ref().err().cloned();
        let mut asked = Vec::new();
        let resolved = {
            let ask = &mut ask_with(&mut self.ids, &mut asked);
            self.routes.resolved(query, result, self.now, ask)
        };
        self.ask(asked);
        let Some((question, askers)) = resolved else { return };
        if let Some(error) = failure {
            self.record(Event::DnsFailure { question, error: error.kind, text: error.text });
        }
        self.touch_all(askers.into_iter().collect());
    }

    /// Look-ups that waited for their turn are made.
    pub(crate) fn take_lookup_turns(&mut self) {
        let mut asked = Vec::new();
        self.routes.take_turns(self.now, &mut ask_with(&mut self.ids, &mut asked));
        self.ask(asked);
    }

    fn ask(&mut self, asked: Vec<(QueryId, Question)>) {
        for (query, question) in asked {
            self.emit(Output::Resolve { query, question });
        }
        let turn = self.routes.next_turn(self.now);
        self.timers.adjust(&mut self.lookups_timer, turn, WakeupReason::Lookups);
    }

    /// The DNS failed for a queue. What waits is moved to delayed once a failure; what comes in
    /// before the next look-up waits for that.
    pub(super) fn dns_failed(
        &mut self,
        slot: usize,
        until: Timestamp,
        failures: u32,
        reply: Reply,
    ) -> QueueReason {
        let queue = &mut self.queues[slot];
        let purge = queue.options.dns_failures_to_purge;
        if purge > 0 && failures >= purge {
            self.marks.hit(Mark::Purged);
            let text = "the domain could not be looked up (dns_failures_to_purge)";
            self.fail_active(slot, &Reply::local(554, EnhancedCode(5, 4, 4), text));
            return QueueReason::Empty;
        }
        if queue.dns_failed_until != Some(until) {
            queue.dns_failed_until = Some(until);
            queue.dns_failure = Some(Box::new((failures, reply.clone())));
            self.delay_active(slot, reply, until);
        }
        QueueReason::DnsFailed { until }
    }
}

/// Gives each question an id and notes it.
fn ask_with<'a>(
    ids: &'a mut Ids,
    asked: &'a mut Vec<(QueryId, Question)>,
) -> impl FnMut(Question) -> QueryId + 'a {
    move |question| {
        let query = ids.query();
        asked.push((query, question));
        query
    }
}
