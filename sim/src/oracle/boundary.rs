//! Boundary: each thing the engine asks for is answered once, by nobody unasked, and in time. An
//! answer that does not come is what the engine would wait for until the end of time.

use std::collections::BTreeMap;
use std::time::Duration;

use traject_engine::ids::{ConnId, QueryId, SpoolOp};
use traject_engine::{Input, Output, Timestamp};

use super::{Finding, Law, ensure};

/// What the engine asked for and has no answer to.
#[derive(Debug, Default)]
pub(super) struct Requests {
    asked: BTreeMap<Request, Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Request {
    Connect(ConnId),
    Resolve(QueryId),
    Spool(SpoolOp),
}

impl Requests {
    pub(super) fn output(&mut self, at: Timestamp, output: &Output) {
        let request = match output {
            Output::Connect { conn, .. } => Request::Connect(*conn),
            Output::Resolve { query, .. } => Request::Resolve(*query),
            Output::Spool { op, .. } => Request::Spool(*op),
            _ => return,
        };
        self.asked.insert(request, at);
    }

    pub(super) fn input(&mut self, input: &Input<'_>) -> Result<(), Finding> {
        let request = match input {
            Input::Connected { conn, .. } | Input::ConnectFailed { conn, .. } => {
                Request::Connect(*conn)
            }
            Input::Resolved { query, .. } => Request::Resolve(*query),
            Input::Spooled { op, .. } => Request::Spool(*op),
            _ => return Ok(()),
        };
        let asked = self.asked.remove(&request).is_some();
        ensure(Law::Boundary, asked, || format!("{request:?} is answered unasked"))
    }

    /// Whether anything has waited for its answer for too long.
    pub(super) fn overdue(&self, now: Timestamp) -> Result<(), Finding> {
        let late = self.asked.iter().find(|(_, asked_at)| **asked_at + ANSWER_MAX < now);
        match late {
            None => Ok(()),
            Some((request, asked_at)) => ensure(Law::Liveness, false, || {
                format!("{request:?}, asked at {asked_at}, has no answer")
            }),
        }
    }

    /// A new process has asked nothing yet.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }
}

/// Longest time an answer may take; longer than any timeout of the simulated world.
const ANSWER_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_one_answer_each_and_in_time() {
        let mut requests = Requests::default();
        let conn = ConnId(2);
        let connect =
            Output::Connect { conn, source: None, peer: "198.18.0.1:25".parse().unwrap() };
        let local = "192.0.2.1:1000".parse().unwrap();
        let connected = Input::Connected { conn, local };
        requests.output(Timestamp::from_secs(1), &connect);
        assert_eq!(requests.overdue(Timestamp::from_secs(3601)), Ok(()));
        assert!(requests.overdue(Timestamp::from_secs(3602)).is_err());
        assert_eq!(requests.input(&connected), Ok(()));
        assert_eq!(requests.overdue(Timestamp::from_secs(9999)), Ok(()));
        assert!(requests.input(&connected).is_err());
    }
}
