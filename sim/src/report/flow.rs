//! What state the connections of a pair were in, integrated over time: the answer to "why did this
//! mail wait".

use std::collections::BTreeMap;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::record::{CloseReason, Event};

/// The state of a pair's connections over time.
#[derive(Clone, Debug)]
pub struct Flow {
    /// `max_outbound_connections`.
    cap: u32,
    open: u32,
    /// Why the last attempt to connect failed; `None` when it did not.
    trouble: Option<String>,
    since: Timestamp,
    totals: Totals,
    /// The totals at each change of state, to integrate over any time.
    history: Vec<(Timestamp, State, Totals)>,
    /// How long no connection could be made, by what was the matter.
    troubles: BTreeMap<String, Duration>,
}

/// A state of a pair's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Mail flows, or there is none.
    Flowing,
    /// As many connections as are allowed are open.
    AtCap,
    /// No connection can be made.
    Down,
}

/// How long a pair was in a state that holds mail back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// At its cap.
    pub at_cap: Duration,
    /// Without a connection, after a failure to make one.
    pub down: Duration,
}

impl Flow {
    /// A pair without connections.
    pub fn new(start: Timestamp, cap: u32) -> Self {
        let totals = Totals::default();
        let history = vec![(start, State::Flowing, totals)];
        let troubles = BTreeMap::new();
        Self { cap, open: 0, trouble: None, since: start, totals, history, troubles }
    }

    /// Follows a record of the pair.
    pub fn apply(&mut self, at: Timestamp, event: &Event) {
        let before = self.state();
        let trouble = self.trouble.clone();
        match event {
            Event::ConnectionOpened { .. } => {
                self.open += 1;
                self.trouble = None;
            }
            Event::ConnectionFailed { error, .. } => self.trouble = Some(error.text().to_owned()),
            Event::ConnectionClosed { reason, deliveries, .. } => {
                self.open = self.open.saturating_sub(1);
                if *deliveries == 0 && is_trouble(*reason) && self.trouble.is_none() {
                    self.trouble = Some("connections break off".to_owned());
                }
            }
            _ => return,
        }
        self.change(at, before, trouble);
    }

    /// Another cap is in force.
    pub fn set_cap(&mut self, at: Timestamp, cap: u32) {
        let before = self.state();
        self.cap = cap;
        self.change(at, before, self.trouble.clone());
    }

    /// A sibling passed a connection on.
    pub fn connection_came(&mut self, at: Timestamp) {
        let before = self.state();
        self.open += 1;
        let trouble = self.trouble.take();
        self.change(at, before, trouble);
    }

    /// A connection passed on to a sibling.
    pub fn connection_went(&mut self, at: Timestamp) {
        let (before, trouble) = (self.state(), self.trouble.clone());
        self.open = self.open.saturating_sub(1);
        self.change(at, before, trouble);
    }

    /// Something is the matter: the DNS does not tell where to connect to, or an exchange refuses
    /// us before any message.
    pub fn troubled(&mut self, at: Timestamp, what: &str) {
        let before = self.state();
        let trouble = self.trouble.replace(what.to_owned());
        self.change(at, before, trouble);
    }

    /// How long no connection could be made until `now`, by what was the matter.
    pub fn troubles(&self, now: Timestamp) -> BTreeMap<String, Duration> {
        let mut troubles = self.troubles.clone();
        if let (State::Down, Some(trouble)) = (self.state(), &self.trouble) {
            *troubles.entry(trouble.clone()).or_default() += now.saturating_since(self.since);
        }
        troubles
    }

    /// What held mail back between two instants; `to` is not in the past.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Totals {
        let (start, end) = (self.totals_at(from), self.totals_at(to));
        Totals {
            at_cap: end.at_cap.saturating_sub(start.at_cap),
            down: end.down.saturating_sub(start.down),
        }
    }

    fn state(&self) -> State {
        match (self.open, &self.trouble) {
            (0, Some(_)) => State::Down,
            (open, _) if open > 0 && open >= self.cap => State::AtCap,
            _ => State::Flowing,
        }
    }

    /// The state was `before`, because of `trouble`, until now.
    fn change(&mut self, at: Timestamp, before: State, trouble: Option<String>) {
        let after = self.state();
        if after != before || (after == State::Down && trouble != self.trouble) {
            let lasted = at.saturating_since(self.since);
            self.totals = advance(self.totals, before, lasted);
            if let (State::Down, Some(trouble)) = (before, trouble) {
                *self.troubles.entry(trouble).or_default() += lasted;
            }
            self.since = at;
            self.history.push((at, after, self.totals));
        }
    }

    fn totals_at(&self, at: Timestamp) -> Totals {
        let next = self.history.partition_point(|(since, ..)| *since <= at);
        let (since, state, totals) = self.history[next.saturating_sub(1)];
        advance(totals, state, at.saturating_since(since))
    }
}

fn advance(mut totals: Totals, state: State, time: Duration) -> Totals {
    match state {
        State::Flowing => {}
        State::AtCap => totals.at_cap += time,
        State::Down => totals.down += time,
    }
    totals
}

/// Whether a connection that delivered nothing ended because something is wrong.
fn is_trouble(reason: CloseReason) -> bool {
    match reason {
        CloseReason::ServiceUnavailable
        | CloseReason::Refused
        | CloseReason::TlsFailed
        | CloseReason::Lost
        | CloseReason::TimedOut
        | CloseReason::ProtocolViolation
        | CloseReason::LocalError => true,
        CloseReason::Idle
        | CloseReason::LimitReached
        | CloseReason::Draining
        | CloseReason::Reconfigured => false,
    }
}

#[cfg(test)]
mod tests {
    use traject_engine::ids::ConnId;
    use traject_engine::io::NetError;

    use super::*;
    use crate::test_records::{START, at, closed, opened, pair, record, remote};

    #[test]
    fn waiting_is_told_apart_by_the_state_of_the_connections() {
        let mut flow = Flow::new(START, 2);
        let failed = Event::ConnectionFailed {
            conn: ConnId(9),
            pair: pair("a.test"),
            remote: remote(1),
            exchange: "mx".into(),
            error: NetError::Refused,
            took: Duration::ZERO,
        };
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
        let seconds = |from, to| {
            let totals = flow.between(at(from), at(to));
            (totals.at_cap.as_secs(), totals.down.as_secs())
        };
        assert_eq!(seconds(0, 10), (0, 0));
        assert_eq!(seconds(0, 200), (30, 30));
        assert_eq!(seconds(30, 40), (10, 0));
        assert_eq!(seconds(45, 80), (5, 10));
        assert_eq!(seconds(100, 300), (0, 0));
        let refused = ("connection refused".to_owned(), Duration::from_secs(30));
        assert_eq!(flow.troubles(at(300)), BTreeMap::from([refused]));
    }
}
