//! TLS: mail goes in clear only as the configuration lets it, and never after a certificate that
//! did not pass; what is charged without a connection has a failure behind it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use traject_engine::Timestamp;
use traject_engine::config::effective::DeliveryOptions;
use traject_engine::ids::ConnId;
use traject_engine::record::{Attempt, ClearReason, Event, Pair, Record, Transport};
use traject_engine::tls::info::{TlsInfo, Verification};
use traject_engine::tls::params::TlsVerify;
use traject_engine::tls::policy::{TlsFault, TlsMode};

use super::{Book, Finding, Law, ensure};

/// What is known of connections, and where TLS failed.
#[derive(Debug, Default)]
pub(super) struct TlsLaw {
    open: BTreeMap<ConnId, Open>,
    /// By binding and address.
    failures: BTreeMap<(Arc<str>, IpAddr), Vec<Failure>>,
    begun: Begun,
}

/// Connections to addresses where TLS has failed, from when they are begun: one of them tries
/// anew, and what was remembered holds for those that begin meanwhile.
#[derive(Debug, Default)]
struct Begun {
    /// Those without a result so far, and where they go.
    under_way: BTreeMap<ConnId, IpAddr>,
    /// For those, and those that stand: which others were under way when they were begun.
    beside: BTreeMap<ConnId, Vec<ConnId>>,
    /// Whose each was, and whether it was to try TLS, once that is known.
    whose: BTreeMap<ConnId, (Arc<str>, TlsMode)>,
}

impl Begun {
    fn connects(&mut self, conn: ConnId, address: IpAddr) {
        let others = self.under_way.iter().filter(|(_, to)| **to == address);
        self.beside.insert(conn, others.map(|(other, _)| *other).collect());
        self.under_way.insert(conn, address);
    }

    /// A connection has got as far as to show whose it is.
    fn shows(&mut self, conn: ConnId, binding: &Arc<str>, mode: TlsMode) {
        if self.under_way.contains_key(&conn) {
            self.whose.insert(conn, (Arc::clone(binding), mode));
        }
    }

    /// A connection has carried mail: whatever it tried has come to a result.
    fn settled(&mut self, conn: ConnId) {
        self.under_way.remove(&conn);
    }

    /// A connection is gone.
    fn ended(&mut self, conn: ConnId) {
        self.under_way.remove(&conn);
        self.beside.remove(&conn);
        if self.beside.is_empty() {
            self.whose.clear();
        }
    }

    /// Whether another may have been trying TLS for the binding when this one was begun.
    fn had_company(&self, conn: ConnId, binding: &Arc<str>) -> bool {
        let beside = self.beside.get(&conn).into_iter().flatten();
        // Of one that still connects nobody knows.
        beside
            .map(|other| self.whose.get(other))
            .any(|other| other.is_none_or(|(whose, mode)| whose == binding && *mode != TlsMode::No))
    }
}

/// A connection that stands.
#[derive(Debug)]
struct Open {
    /// When it was begun: what was known by then decided.
    begun_at: Timestamp,
    mode: TlsMode,
    fallback: bool,
    verify: TlsVerify,
    secured: Option<Arc<TlsInfo>>,
}

#[derive(Debug)]
struct Failure {
    fault: TlsFault,
    at: Timestamp,
    until: Timestamp,
}

impl TlsLaw {
    /// A connection is begun.
    pub(super) fn connects(&mut self, conn: ConnId, address: IpAddr) {
        if self.failures.keys().any(|(_, failed)| *failed == address) {
            self.begun.connects(conn, address);
        }
    }

    /// The process is gone, and with it what it knew.
    pub(super) fn process_gone(&mut self) {
        self.failures.clear();
        self.begun = Begun::default();
    }

    pub(super) fn judge(&mut self, record: &Record, book: &mut Book) -> Result<(), Finding> {
        match &record.event {
            Event::ConnectionOpened { conn, pair, took, .. } => {
                let begun_at = Timestamp(record.at.0.saturating_sub(took.as_micros() as u64));
                let id = book.pair_id(pair);
                let open = Open::new(begun_at, book.options(id));
                self.begun.shows(*conn, &pair.binding, open.mode);
                self.open.insert(*conn, open);
                Ok(())
            }
            Event::ConnectionFailed { conn, pair, .. } => {
                let id = book.pair_id(pair);
                self.begun.shows(*conn, &pair.binding, book.options(id).tls.mode);
                self.begun.ended(*conn);
                Ok(())
            }
            Event::ConnectionClosed { conn, .. } => {
                self.open.remove(conn);
                self.begun.ended(*conn);
                Ok(())
            }
            Event::TlsEstablished { conn, info, .. } => self.established(*conn, info),
            Event::TlsFailed { conn, pair, remote, fault, until, .. } => {
                let wanted = self.open.get(conn).is_some_and(|open| open.mode != TlsMode::No);
                ensure(LAW, wanted, || format!("{conn} failed at TLS that nobody wanted"))?;
                let failure = Failure { fault: *fault, at: record.at, until: *until };
                let key = (Arc::clone(&pair.binding), remote.ip());
                self.failures.entry(key).or_default().push(failure);
                Ok(())
            }
            Event::Delivery(attempt)
            | Event::TransientFailure { attempt, .. }
            | Event::PermanentFailure(attempt)
            | Event::Expiry { attempt, .. } => {
                let charged = matches!(record.event, Event::TransientFailure { .. });
                self.attempt(record.at, attempt, charged, book)?;
                if let Some(conn) = attempt.conn {
                    self.begun.settled(conn);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn established(&mut self, conn: ConnId, info: &Arc<TlsInfo>) -> Result<(), Finding> {
        let Some(open) = self.open.get_mut(&conn) else {
            return ensure(LAW, false, || format!("TLS on {conn}, which does not stand"));
        };
        ensure(LAW, open.mode != TlsMode::No, || format!("TLS on {conn} in spite of tls = no"))?;
        let checked = match open.verify {
            TlsVerify::Ca | TlsVerify::Host => info.verification == Verification::Verified,
            TlsVerify::No | TlsVerify::Optional => true,
        };
        ensure(LAW, checked, || format!("TLS on {conn} with a certificate that did not pass"))?;
        open.secured = Some(Arc::clone(info));
        Ok(())
    }

    fn attempt(
        &self,
        at: Timestamp,
        attempt: &Attempt,
        charged: bool,
        book: &mut Book,
    ) -> Result<(), Finding> {
        let Some(conn) = attempt.conn else {
            let nothing = attempt.transport == Transport::Nothing;
            ensure(LAW, nothing, || "a transport without a connection".into())?;
            let id = book.pair_id(&attempt.pair);
            let wanted = book.options(id).tls.mode != TlsMode::No;
            return ensure(LAW, !charged || (wanted && self.is_unfit(at, &attempt.pair)), || {
                format!("{} was charged without a connection for nothing", attempt.mailbox)
            });
        };
        let Some(open) = self.open.get(&conn) else {
            return ensure(LAW, false, || format!("a result over {conn}, which does not stand"));
        };
        match (&attempt.transport, &open.secured) {
            (Transport::Tls(info), Some(secured)) => {
                ensure(LAW, info == secured, || format!("{conn} is not under the TLS on record"))
            }
            (Transport::Clear { why }, None) => {
                let address = attempt.remote.map(|remote| remote.ip());
                let allowed = self.may_be_clear((conn, open), *why, &attempt.pair, address);
                ensure(LAW, allowed, || {
                    format!(
                        "{} went in clear ({why:?}) with tls = {:?}",
                        attempt.mailbox, open.mode
                    )
                })
            }
            (transport, _) => {
                ensure(LAW, false, || format!("{transport:?} on {conn}, which is something else"))
            }
        }
    }

    fn may_be_clear(
        &self,
        (conn, open): (ConnId, &Open),
        why: ClearReason,
        pair: &Pair,
        address: Option<IpAddr>,
    ) -> bool {
        let fault = match (open.mode, why) {
            (TlsMode::No, why) => return why == ClearReason::NotWanted,
            (TlsMode::IfAvailable, ClearReason::NotOffered) => return true,
            (TlsMode::IfAvailable, ClearReason::Refused) => TlsFault::Refused,
            (TlsMode::IfAvailable, ClearReason::NegotiationFailed) => TlsFault::Negotiation,
            (TlsMode::IfAvailable, ClearReason::NotWanted) | (TlsMode::Required, _) => {
                return false;
            }
        };
        let key = address.map(|address| (Arc::clone(&pair.binding), address));
        let failures = key.and_then(|key| self.failures.get(&key)).into_iter().flatten();
        let before = |failure: &&Failure| failure.fault == fault && failure.at <= open.begun_at;
        let counts = |failure: &Failure| {
            // What is being tried anew holds until the result of that is there.
            open.begun_at < failure.until || self.begun.had_company(conn, &pair.binding)
        };
        open.fallback && failures.filter(before).any(counts)
    }

    /// Whether TLS failed lately at some address for the binding.
    fn is_unfit(&self, at: Timestamp, pair: &Pair) -> bool {
        let of_binding = self.failures.iter().filter(|((binding, _), _)| *binding == pair.binding);
        of_binding.flat_map(|(_, failures)| failures).any(|one| one.at <= at && at <= one.until)
    }
}

impl Open {
    fn new(begun_at: Timestamp, options: &DeliveryOptions) -> Self {
        Self {
            begun_at,
            mode: options.tls.mode,
            fallback: options.tls.fallback,
            verify: options.tls_demands.as_ref().map_or(TlsVerify::No, |demands| demands.verify),
            secured: None,
        }
    }
}

const LAW: Law = Law::Tls;

#[cfg(test)]
mod tests {
    use traject_engine::config::Config;
    use traject_engine::record::CloseReason;
    use traject_engine::smtp::reply::{EnhancedCode, Reply};
    use traject_engine::smtp::stage::Stage;
    use traject_engine::tls::info::{CipherSuite, TlsVersion};
    use traject_engine::tls::policy::Consequence;

    use super::*;
    use crate::test_records::{at, attempt, opened, pair, record, remote, reply};

    fn info(verification: Verification) -> Arc<TlsInfo> {
        Arc::new(TlsInfo {
            version: TlsVersion::Tls13,
            cipher: CipherSuite::Aes128GcmSha256,
            verification,
            issuer: None,
            subject: None,
            resumed: false,
        })
    }

    fn secured(second: u64, conn: u64, verification: Verification) -> Record {
        let event = Event::TlsEstablished {
            conn: ConnId(conn),
            pair: pair("a.test"),
            remote: remote(1),
            exchange: "mx1.a.test".into(),
            mode: TlsMode::Required,
            info: info(verification),
        };
        record(second, event)
    }

    fn failed(second: u64, conn: u64, fault: TlsFault) -> Record {
        let event = Event::TlsFailed {
            conn: ConnId(conn),
            pair: pair("a.test"),
            remote: remote(1),
            exchange: "mx1.a.test".into(),
            mode: TlsMode::Required,
            stage: Stage::Handshake,
            fault,
            reply: Reply::local(451, EnhancedCode(4, 7, 5), "TLS failed"),
            consequence: Consequence::Unfit,
            until: at(second + 120),
        };
        record(second, event)
    }

    fn gone(second: u64, conn: u64) -> Record {
        let event = Event::ConnectionClosed {
            conn: ConnId(conn),
            pair: pair("a.test"),
            remote: remote(1),
            reason: CloseReason::TlsFailed,
            deliveries: 0,
        };
        record(second, event)
    }

    fn delivered(second: u64, transport: Transport) -> Record {
        let attempt = attempt(second, 1, Stage::BodyReply, reply("250 Ok"));
        record(second, Event::Delivery(Attempt { transport, ..attempt }))
    }

    fn charged(second: u64) -> Record {
        let reply = Reply::local(451, EnhancedCode(4, 7, 5), "TLS failed");
        let attempt = attempt(second, 1, Stage::Handshake, reply);
        let transport = Transport::Nothing;
        let attempt = Attempt { conn: None, remote: None, transport, ..attempt };
        record(second, Event::TransientFailure { attempt, next_attempt_at: at(second + 60) })
    }

    const fn clear(why: ClearReason) -> Transport {
        Transport::Clear { why }
    }

    /// What the law says to the records, in words.
    fn judge(config: &str, records: &[Record]) -> String {
        let mut book = Book::new(Arc::new(Config::from_text(config).unwrap()));
        let mut law = TlsLaw::default();
        let found = records.iter().find_map(|record| law.judge(record, &mut book).err());
        found.map_or_else(|| "fine".into(), |finding| finding.details)
    }

    fn begun(rest: impl IntoIterator<Item = Record>) -> Vec<Record> {
        [opened(0, 2, 1, 1)].into_iter().chain(rest).collect()
    }

    #[test]
    fn nothing_goes_in_clear_that_must_not() {
        use ClearReason::{NegotiationFailed, NotOffered, NotWanted, Refused};
        for (config, why, fine) in [
            ("", NotWanted, true),
            ("", NotOffered, false),
            ("tls = ifavailable", NotOffered, true),
            ("tls = ifavailable", NotWanted, false),
            ("tls = ifavailable", Refused, false),
            ("tls = ifavailable", NegotiationFailed, false),
            ("tls = required", NotOffered, false),
            ("tls = required", NotWanted, false),
            ("tls = required", NegotiationFailed, false),
        ] {
            let found = judge(config, &begun([delivered(1, clear(why))]));
            assert_eq!(found == "fine", fine, "{config} {why:?}: {found}");
        }
    }

    #[test]
    fn a_fallback_needs_its_failure() {
        let stream = |fault, second| {
            let before = [opened(0, 4, 1, 1), failed(1, 4, fault), gone(1, 4)];
            let after = [opened(second, 2, 1, 1)];
            let mail = [delivered(second + 1, clear(ClearReason::NegotiationFailed))];
            before.into_iter().chain(after).chain(mail).collect::<Vec<_>>()
        };
        let may = "tls = ifavailable";
        for (config, fault, second, fine) in [
            (may, TlsFault::Negotiation, 2, true),
            (may, TlsFault::Negotiation, 120, true),
            (may, TlsFault::Negotiation, 121, false),
            (may, TlsFault::Refused, 2, false),
            (may, TlsFault::Certificate, 2, false),
            ("tls = ifavailable tls_ifavailable_fallback = false", TlsFault::Negotiation, 2, false),
        ] {
            let found = judge(config, &stream(fault, second));
            assert_eq!(found == "fine", fine, "{config} {fault:?} {second}: {found}");
        }
    }

    #[test]
    fn what_was_remembered_holds_for_those_that_begin_beside_a_new_try() {
        enum Seen {
            Begins(u64),
            Says(Box<Record>),
            Dies,
        }
        use Seen::{Begins, Dies};
        let says = |record| Seen::Says(Box::new(record));
        let in_clear = || says(delivered(203, clear(ClearReason::Refused)));
        let refused = |second| says(failed(second, 4, TlsFault::Refused));
        let (mine, probe) = (|| says(opened(200, 2, 1, 2)), || says(opened(200, 4, 1, 1)));
        for (rest, fine) in [
            // The try fails, or does not stand yet, or says nothing at all, while mail goes.
            (vec![Begins(4), Begins(2), probe(), mine(), refused(201), in_clear()], true),
            (vec![Begins(4), Begins(2), probe(), mine(), refused(201), says(gone(201, 4))], true),
            (vec![Begins(4), Begins(2), mine(), in_clear()], true),
            // Nobody tries, or the other does not begin before, or has come to an end by then.
            (vec![Begins(2), mine(), in_clear()], false),
            (vec![Begins(2), Begins(4), probe(), mine(), in_clear()], false),
            (vec![Begins(4), probe(), says(gone(200, 4)), Begins(2), mine(), in_clear()], false),
            // Another process knows nothing of it.
            (vec![Dies, Begins(4), Begins(2), probe(), mine(), in_clear()], false),
        ] {
            let before = [opened(0, 8, 1, 1), failed(1, 8, TlsFault::Refused), gone(1, 8)];
            let mut book = Book::new(Arc::new(Config::from_text("tls = ifavailable").unwrap()));
            let mut law = TlsLaw::default();
            let seen = before.into_iter().map(says).chain(rest).chain([in_clear()]);
            let found = seen.filter_map(|seen| match seen {
                Begins(conn) => {
                    law.connects(ConnId(conn), remote(1).ip());
                    None
                }
                Seen::Says(record) => law.judge(&record, &mut book).err(),
                Dies => {
                    law.process_gone();
                    None
                }
            });
            let found: Vec<Finding> = found.collect();
            assert_eq!(found.is_empty(), fine, "{found:?}");
        }
    }

    #[test]
    fn tls_is_what_the_connection_had() {
        let verified = || Transport::Tls(info(Verification::Verified));
        let secure = |verification| secured(1, 2, verification);
        let host = "tls = required tls_verify = host";
        for (config, stream, found) in [
            (host, begun([secure(Verification::Verified), delivered(2, verified())]), "fine"),
            (host, begun([secure(Verification::NotChecked)]), "did not pass"),
            ("", begun([secure(Verification::NotChecked)]), "in spite of tls = no"),
            ("tls = required", begun([delivered(2, verified())]), "something else"),
            (
                "tls = ifavailable",
                begun([
                    secure(Verification::NotChecked),
                    delivered(2, clear(ClearReason::NotOffered)),
                ]),
                "something else",
            ),
            (
                "tls = required",
                begun([secure(Verification::NotChecked), delivered(2, verified())]),
                "not under the TLS on record",
            ),
            ("tls = required", vec![delivered(2, verified())], "does not stand"),
        ] {
            let said = judge(config, &stream);
            assert!(said.contains(found), "{config}: {said}, expected {found}");
        }
    }

    #[test]
    fn what_is_charged_without_a_connection_has_a_failure_behind_it() {
        let failure = || begun([failed(1, 2, TlsFault::Certificate), gone(1, 2)]);
        let with = |record| failure().into_iter().chain([record]).collect::<Vec<_>>();
        for (config, stream, fine) in [
            ("tls = required", with(charged(60)), true),
            ("tls = required", with(charged(122)), false),
            ("tls = required", vec![charged(60)], false),
        ] {
            let found = judge(config, &stream);
            assert_eq!(found == "fine", fine, "{found}");
        }
        assert!(judge("", &failure()).contains("nobody wanted"));
    }
}
