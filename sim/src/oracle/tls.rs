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
}

/// A connection that stands.
#[derive(Debug)]
struct Open {
    since: Timestamp,
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
    pub(super) fn judge(&mut self, record: &Record, book: &mut Book) -> Result<(), Finding> {
        match &record.event {
            Event::ConnectionOpened { conn, pair, .. } => {
                let id = book.pair_id(pair);
                self.open.insert(*conn, Open::new(record.at, book.options(id)));
                Ok(())
            }
            Event::ConnectionClosed { conn, .. } => {
                self.open.remove(conn);
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
                self.attempt(record.at, attempt, charged, book)
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
                let allowed = self.may_be_clear(open, *why, &attempt.pair, address, book);
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
        open: &Open,
        why: ClearReason,
        pair: &Pair,
        address: Option<IpAddr>,
        book: &mut Book,
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
        // It was chosen that much before it stood.
        let id = book.pair_id(pair);
        let took = book.options(id).connect_timeout;
        let key = address.map(|address| (Arc::clone(&pair.binding), address));
        let failures = key.and_then(|key| self.failures.get(&key)).into_iter().flatten();
        let mut reasons = failures.filter(|failure| {
            failure.fault == fault && failure.at <= open.since && open.since <= failure.until + took
        });
        // What is being tried anew holds as long as that takes.
        open.fallback && (reasons.next().is_some() || self.is_being_tried(pair, address))
    }

    /// Whether another connection of the binding to the address stands, which may be trying TLS.
    fn is_being_tried(&self, pair: &Pair, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return false };
        self.failures.contains_key(&(Arc::clone(&pair.binding), address)) && self.open.len() > 1
    }

    /// Whether TLS failed lately at some address for the binding.
    fn is_unfit(&self, at: Timestamp, pair: &Pair) -> bool {
        let of_binding = self.failures.iter().filter(|((binding, _), _)| *binding == pair.binding);
        of_binding.flat_map(|(_, failures)| failures).any(|one| one.at <= at && at <= one.until)
    }
}

impl Open {
    fn new(since: Timestamp, options: &DeliveryOptions) -> Self {
        Self {
            since,
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
        let quick = "connect_timeout = 10 tls = ifavailable";
        for (config, fault, second, fine) in [
            (quick, TlsFault::Negotiation, 2, true),
            (quick, TlsFault::Negotiation, 131, true),
            (quick, TlsFault::Negotiation, 132, false),
            (quick, TlsFault::Refused, 2, false),
            (quick, TlsFault::Certificate, 2, false),
            ("tls = ifavailable tls_ifavailable_fallback = false", TlsFault::Negotiation, 2, false),
        ] {
            let found = judge(config, &stream(fault, second));
            assert_eq!(found == "fine", fine, "{config} {fault:?} {second}: {found}");
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
