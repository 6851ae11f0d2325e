//! Drain times against closed formulas, to the microsecond, message by message.

use super::*;

/// A burst and what stands in its way. It is large enough for the connection goal to be the cap
/// whenever connections are opened.
#[derive(Clone, Copy, Debug)]
struct Case {
    messages: u64,
    /// `max_outbound_connections`.
    cap: u64,
    /// What a packet takes one way, and the receiver's thinking over each message.
    latency_ms: u64,
    thinking_ms: u64,
    /// `outbound_throttle_messages`: so many in so many seconds.
    throttle: Option<(u64, u64)>,
}

impl Case {
    /// When each message is delivered, in microseconds after the start.
    fn found(&self) -> Vec<u64> {
        let Self { messages, cap, latency_ms, thinking_ms, throttle } = *self;
        let throttle = throttle.map_or_else(String::new, |(n, seconds)| {
            format!("outbound_throttle_messages = \"{n}/{seconds}\"\n")
        });
        let config = format!(
            "max_outbound_connections = {cap}\nmax_deliveries_per_connection = 0\n{throttle}"
        );
        let reply = "reply = [{ stage = \"body\", reply = \"250 2.0.0 Ok\"";
        let receiver = format!(
            "[[receiver]]\nname = \"a\"\ndomains = [\"a.test\"]\nlatency = \"{latency_ms}ms\"\n\
             {reply}, delay = \"{thinking_ms}ms\" }}]\n"
        );
        let traffic = burst(messages as u32);
        let (_, records) = records(&scenario(&config, &format!("{traffic}{receiver}")));
        let deliveries = records.iter().filter(|one| matches!(one.event, Event::Delivery(_)));
        deliveries.map(|one| one.at.saturating_since(START).as_micros() as u64).collect()
    }

    #[track_caller]
    fn assert(&self, formula: impl Fn(u64) -> u64) {
        let found = self.found();
        assert_eq!(found.len() as u64, self.messages, "{self:?}");
        for (k, at) in (0..).zip(found) {
            assert_eq!(at, formula(k), "message {k} of {self:?}");
        }
    }

    /// The formula. A round trip is two latencies. A connection's first message takes five: the
    /// handshake, the banner, EHLO, the group from MAIL to DATA, the content; each further one the
    /// last two.
    fn formula(&self, k: u64) -> u64 {
        let round_trip = 2_000 * self.latency_ms;
        let each = 2 * round_trip + 1_000 * self.thinking_ms;
        let on_connections = |k: u64| 3 * round_trip + (k / self.cap + 1) * each;
        match self.throttle {
            None => on_connections(k),
            Some((n, seconds)) => {
                // Whichever is slower over a window, the throttle or the connections.
                let window = 1_000_000 * seconds;
                match n.div_ceil(self.cap) * each <= window {
                    true => (k / n) * window + on_connections(k % n),
                    false => on_connections(k),
                }
            }
        }
    }
}

#[test]
fn a_cap_drains_as_the_formula_says() {
    for (messages, cap, latency_ms, thinking_ms) in [
        (1, 1, 20, 0),
        (100, 1, 20, 0),
        (100, 2, 20, 0),
        (100, 7, 35, 0),
        (100, 10, 0, 400),
        (250, 20, 50, 1_500),
        (450, 32, 1, 3),
    ] {
        let case = Case { messages, cap, latency_ms, thinking_ms, throttle: None };
        case.assert(|k| case.formula(k));
    }
}

#[test]
fn a_throttle_drains_as_the_formula_says() {
    for (messages, n, seconds) in
        [(50, 1, 1), (50, 7, 3), (100, 10, 60), (130, 100, 3600), (400, 240, 60), (9, 9, 1)]
    {
        let throttle = Some((n, seconds));
        let case = Case { messages, cap: 4, latency_ms: 0, thinking_ms: 0, throttle };
        case.assert(|k| k / n * seconds * 1_000_000);
    }
}

#[test]
fn a_throttle_and_a_cap_together_drain_as_the_formula_says() {
    for (messages, cap, thinking_ms, throttle) in [
        // Six of ten seconds are enough for a window's messages: the throttle decides.
        (100, 2, 500, (24, 10)),
        (100, 2, 1_000, (10, 60)),
        (60, 1, 1_000, (10, 10)),
        // Twelve are not: the connections decide.
        (100, 2, 1_000, (24, 10)),
        (60, 1, 2_000, (100, 10)),
    ] {
        let throttle = Some(throttle);
        let case = Case { messages, cap, latency_ms: 0, thinking_ms, throttle };
        case.assert(|k| case.formula(k));
    }
}
