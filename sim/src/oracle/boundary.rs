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
    asked: BTreeMap<Request, Asked>,
    disk: DiskTime,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Timestamp,
    /// How long the disk had been at syncs by then.
    disk: Duration,
}

/// How long the disk has been at syncs that take their time.
#[derive(Clone, Copy, Debug, Default)]
struct DiskTime {
    /// In all, when the last one is done.
    in_all: Duration,
    until: Timestamp,
}

impl DiskTime {
    fn spent(self, now: Timestamp) -> Duration {
        self.in_all - self.until.saturating_since(now)
    }
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
        self.asked.insert(request, Asked { at, disk: self.disk.spent(at) });
    }

    /// The disk begins a sync that takes so long.
    pub(super) fn disk_syncs(&mut self, at: Timestamp, takes: Duration) {
        self.disk = DiskTime { in_all: self.disk.in_all + takes, until: at + takes };
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

    /// Whether anything has waited for its answer for too long. What is to be written stands in
    /// line at the disk, a body in several pieces: while that is at a sync, there is no hurry.
    pub(super) fn overdue(&self, now: Timestamp) -> Result<(), Finding> {
        let disk = self.disk.spent(now);
        let is_late = |request: &Request, asked: &Asked| {
            let excused = match request {
                Request::Spool(_) => disk - asked.disk,
                Request::Connect(_) | Request::Resolve(_) => Duration::ZERO,
            };
            asked.at + excused + ANSWER_MAX < now
        };
        match self.asked.iter().find(|(request, asked)| is_late(request, asked)) {
            None => Ok(()),
            Some((request, Asked { at, .. })) => ensure(Law::Liveness, false, || {
                format!("{request:?}, asked at {at}, has no answer")
            }),
        }
    }

    /// A new process has asked nothing yet.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Longest time an answer may take; longer than any timeout of the simulated world.
const ANSWER_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use traject_engine::dns::Question;
    use traject_engine::ids::MessageId;
    use traject_engine::io::SpoolWrite;

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

    #[test]
    fn a_disk_is_waited_for_while_it_is_at_a_sync_and_nobody_else() {
        let at = Timestamp::from_secs;
        let write = Output::Spool { op: SpoolOp(2), write: SpoolWrite::Discard(MessageId(2)) };
        let question = Question::Addresses("mx.a.test".into());
        let ask = Output::Resolve { query: QueryId(2), question };
        // (syncs: when and how long, asked when, until when it is in time)
        for (output, syncs, asked, last) in [
            (&write, &[][..], 100, 3700),
            (&write, &[(0, 200)], 100, 3800),
            (&write, &[(0, 100)], 100, 3700),
            (&write, &[(0, 1000), (1000, 1000), (2000, 1000)], 100, 6600),
            (&write, &[(200, 9000)], 100, 12_700),
            (&write, &[(0, 50), (200, 9000)], 100, 12_700),
            (&ask, &[(0, 1000)], 100, 3700),
        ] {
            let mut requests = Requests::default();
            let (before, after): (Vec<_>, Vec<_>) = syncs.iter().partition(|(at, _)| *at < asked);
            let sync = |requests: &mut Requests, all: Vec<(u64, u64)>| {
                all.into_iter().for_each(|(begin, takes)| {
                    requests.disk_syncs(at(begin), Duration::from_secs(takes));
                });
            };
            sync(&mut requests, before);
            requests.output(at(asked), output);
            sync(&mut requests, after);
            assert_eq!(requests.overdue(at(last)), Ok(()), "{syncs:?}");
            assert!(requests.overdue(at(last + 1)).is_err(), "{syncs:?}");
            requests.forget();
            requests.output(at(asked), output);
            assert!(requests.overdue(at(3701)).is_err(), "{syncs:?}");
        }
    }
}
