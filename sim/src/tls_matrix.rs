//! What a configuration does with every way a receiver's TLS can be.
//!
//! One message for each posture, in a world of its own; the engine that runs is the daemon's.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use traject_engine::config::Config;
use traject_engine::record::{ClearReason, Event, Pair, Record, Transport};
use traject_engine::tls::info::{TlsVersion, Verification};

use crate::runner::{self, Failure, RunOptions, START};
use crate::scenario::{self, Scenario, ScenarioError};

/// What is the matter with a receiver's TLS.
#[derive(Clone, Copy, Debug)]
pub struct Posture {
    /// In a few words.
    pub name: &'static str,
    /// The lines of its `[receiver.tls]`.
    tls: &'static str,
}

/// All postures, from the best to the worst.
pub const POSTURES: &[Posture] = &[
    posture("nothing wrong", ""),
    posture("TLS 1.2 only", "versions = [\"TLSv1.2\"]"),
    posture("replies injected in clear", "inject = \"250 SIZE 1\""),
    posture("wants our certificate", "wants_certificate = true"),
    posture("STARTTLS not offered", "offer = \"no\""),
    posture("STARTTLS stripped on the way", "offer = \"stripped\""),
    posture("STARTTLS answered 454", "answer = \"454 4.7.0 TLS not available\""),
    posture("STARTTLS answered 502", "answer = \"502 5.5.1 Unrecognized command\""),
    posture("STARTTLS answered 421", "answer = \"421 4.3.2 Going down\""),
    posture("STARTTLS answered by garbage", "answer = \"garbage\""),
    posture("silence after STARTTLS", "answer = \"stall\""),
    posture("closed after STARTTLS", "answer = \"close\""),
    posture("handshake refused by an alert", "handshake = \"alert\""),
    posture("handshake cut", "handshake = \"cut\""),
    posture("handshake answered by garbage", "handshake = \"garbage\""),
    posture("handshake never ends", "handshake = \"stall\""),
    posture("certificate expired", "certificate = \"expired\""),
    posture("certificate not yet valid", "certificate = \"not_yet_valid\""),
    posture("certificate self-signed", "certificate = \"self_signed\""),
    posture("certificate of an unknown issuer", "certificate = \"unknown_issuer\""),
    posture("certificate for another name", "certificate = \"wrong_name\""),
];

const fn posture(name: &'static str, tls: &'static str) -> Posture {
    Posture { name, tls }
}

/// What becomes of mail of a pair, for each posture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    /// The binding that sends.
    pub binding: String,
    /// The domain that receives.
    pub domain: String,
    /// In the order of [`POSTURES`].
    pub cells: Vec<Cell>,
}

/// What becomes of one message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The posture's name.
    pub posture: &'static str,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
    /// Attempts, also those charged without a connection.
    pub attempts: u16,
    /// Seconds until it was delivered or given up.
    pub settled_s: Option<f64>,
    /// Connections that were opened.
    pub connections: u32,
}

/// How a message ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// Delivered under TLS.
    Tls {
        /// The version.
        version: TlsVersion,
        /// Whether the certificate was checked and found right.
        verified: bool,
    },
    /// Delivered in clear.
    Clear {
        /// Why.
        why: ClearReason,
    },
    /// Given up after it waited.
    Waits {
        /// For this.
        reply: String,
    },
    /// Failed at once.
    Fails {
        /// With this.
        reply: String,
    },
    /// Still waiting when the run ended.
    Pending {
        /// For this, if anything is known.
        reply: Option<String>,
    },
}

impl Fate {
    /// In a few words.
    pub fn text(&self) -> String {
        match self {
            Self::Tls { version, verified: true } => format!("{version}, verified"),
            Self::Tls { version, verified: false } => format!("{version}, not verified"),
            Self::Clear { why } => match why {
                ClearReason::NotWanted => "in clear: tls = no".into(),
                ClearReason::NotOffered => "in clear: not offered".into(),
                ClearReason::Refused => "in clear: STARTTLS refused".into(),
                ClearReason::NegotiationFailed => "in clear: negotiation failed".into(),
            },
            Self::Waits { reply } => format!("waits, is given up: {reply}"),
            Self::Fails { reply } => format!("fails: {reply}"),
            Self::Pending { reply: Some(reply) } => format!("waits: {reply}"),
            Self::Pending { reply: None } => "waits".into(),
        }
    }

    /// How well the mail was kept from others: not at all, from those who only listen, from all.
    const fn secrecy(&self) -> u8 {
        match self {
            Self::Clear { .. } => 0,
            Self::Tls { verified: false, .. } => 1,
            Self::Tls { verified: true, .. } => 2,
            // What does not go is read by nobody.
            Self::Waits { .. } | Self::Fails { .. } | Self::Pending { .. } => 3,
        }
    }

    const fn is_delivered(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Clear { .. })
    }

    /// Whether mail that ended so before now goes with less protection, without a word to anybody.
    pub const fn is_downgraded_to(&self, after: &Self) -> bool {
        after.is_delivered() && after.secrecy() < 2 && after.secrecy() < self.secrecy()
    }
}

/// Why there is no matrix.
#[derive(Debug)]
pub enum MatrixError {
    /// The pair cannot be sent to: the scenario that was made for it says why.
    Pair(Box<ScenarioError>),
    /// An invariant was violated: a bug of ours.
    Failed(Box<Failure>),
}

/// Fills a matrix for mail of a pair.
///
/// # Errors
///
/// When the pair's names cannot be used, or a run fails.
pub fn fill(config: &Arc<Config>, pair: &Pair) -> Result<Matrix, MatrixError> {
    let cell = |posture: &Posture| {
        let scenario = scenario_of(config, pair, posture)?;
        let wrong = |error| MatrixError::Pair(Box::new(error));
        scenario.check_config(config).map_err(wrong)?;
        run(&scenario, config, posture)
    };
    Ok(Matrix {
        binding: pair.binding.to_string(),
        domain: pair.domain.to_string(),
        cells: POSTURES.iter().map(cell).collect::<Result<_, _>>()?,
    })
}

/// One message of the pair to a receiver in this posture.
fn scenario_of(config: &Config, pair: &Pair, posture: &Posture) -> Result<Scenario, MatrixError> {
    let options = config.delivery_options(&pair.binding, &pair.domain);
    let (mut domains, mut port) = (format!("{:?}", pair.domain), options.port());
    let mut lasts = options.message_expiration + options.max_retry_interval;
    if let Some(gateway) = &options.gateway {
        let options = config.delivery_options(&pair.binding, gateway);
        domains.push_str(&format!(", {gateway:?}"));
        port = options.port();
        lasts = options.message_expiration + options.max_retry_interval;
    }
    let text = format!(
        "title = \"TLS matrix\"\nhorizon = \"{}s\"\nconfig_text = \"\"\n\
         [[receiver]]\nname = \"receiver\"\ndomains = [{domains}]\nport = {port}\n\
         [receiver.tls]\n{}\n\
         [[traffic]]\nfrom = \"<>\"\nto = {:?}\nmessages = 1\nbinding = {:?}\n",
        (lasts + A_DAY).as_secs(),
        posture.tls,
        &*pair.domain,
        &*pair.binding,
    );
    scenario::parse("tls-matrix.toml".as_ref(), &text)
        .map_err(|error| MatrixError::Pair(Box::new(error)))
}

fn run(scenario: &Scenario, config: &Arc<Config>, posture: &Posture) -> Result<Cell, MatrixError> {
    let lines = Lines::default();
    let options = RunOptions { records: Some(Box::new(lines.clone())), ..RunOptions::default() };
    let outcome = runner::run(scenario, Arc::clone(config), options);
    match outcome.failure {
        Some(failure) => Err(MatrixError::Failed(Box::new(failure))),
        None => Ok(cell_of(posture, &lines.records())),
    }
}

fn cell_of(posture: &Posture, records: &[Record]) -> Cell {
    let mut cell = Cell {
        posture: posture.name,
        fate: Fate::Pending { reply: None },
        attempts: 0,
        settled_s: None,
        connections: 0,
    };
    for record in records {
        let attempt = match &record.event {
            Event::ConnectionOpened { .. } => {
                cell.connections += 1;
                continue;
            }
            Event::TransientFailure { attempt, .. } => {
                cell.fate = Fate::Pending { reply: Some(attempt.reply.to_string()) };
                cell.attempts = attempt.attempts;
                continue;
            }
            Event::Delivery(attempt) => {
                cell.fate = delivered(&attempt.transport);
                attempt
            }
            Event::PermanentFailure(attempt) => {
                cell.fate = Fate::Fails { reply: attempt.reply.to_string() };
                attempt
            }
            Event::Expiry { attempt, last_reply, .. } => {
                let reply = last_reply.as_ref().unwrap_or(&attempt.reply).to_string();
                cell.fate = Fate::Waits { reply };
                attempt
            }
            _ => continue,
        };
        cell.attempts = attempt.attempts;
        cell.settled_s = Some(record.at.saturating_since(START).as_secs_f64());
    }
    cell
}

fn delivered(transport: &Transport) -> Fate {
    match transport {
        Transport::Tls(info) => Fate::Tls {
            version: info.version,
            verified: info.verification == Verification::Verified,
        },
        Transport::Clear { why } => Fate::Clear { why: *why },
        // A delivery had a connection.
        Transport::Nothing => Fate::Pending { reply: None },
    }
}

/// Records as they are written.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Unwrap is OK because nobody panics with the lock held.
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn records(&self) -> Vec<Record> {
        // Unwrap is OK because nobody panics with the lock held, and what was written is a record.
        let lines = self.0.lock().unwrap();
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a record")).collect()
    }
}

const A_DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(config: &str) -> Matrix {
        let config = Arc::new(Config::from_text(config).unwrap());
        let pair = Pair { binding: "default".into(), domain: "x.example".into() };
        fill(&config, &pair).unwrap()
    }

    fn shown(config: &str) -> String {
        let line = |cell: &Cell| {
            let Cell { posture, fate, attempts, connections, .. } = cell;
            format!("{posture}: {} ({attempts}, {connections})", fate.text())
        };
        matrix(config).cells.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn opportunistic_tls() {
        insta::assert_snapshot!(shown("tls = ifavailable"), @"
        nothing wrong: TLSv1.3, not verified (1, 1)
        TLS 1.2 only: TLSv1.2, not verified (1, 1)
        replies injected in clear: TLSv1.3, not verified (1, 1)
        wants our certificate: in clear: negotiation failed (1, 2)
        STARTTLS not offered: in clear: not offered (1, 1)
        STARTTLS stripped on the way: in clear: not offered (1, 1)
        STARTTLS answered 454: in clear: STARTTLS refused (1, 2)
        STARTTLS answered 502: in clear: STARTTLS refused (1, 2)
        STARTTLS answered 421: in clear: STARTTLS refused (1, 2)
        STARTTLS answered by garbage: in clear: negotiation failed (1, 2)
        silence after STARTTLS: in clear: negotiation failed (1, 2)
        closed after STARTTLS: in clear: negotiation failed (1, 2)
        handshake refused by an alert: in clear: negotiation failed (1, 2)
        handshake cut: in clear: negotiation failed (1, 2)
        handshake answered by garbage: in clear: negotiation failed (1, 2)
        handshake never ends: in clear: negotiation failed (1, 2)
        certificate expired: TLSv1.3, not verified (1, 1)
        certificate not yet valid: TLSv1.3, not verified (1, 1)
        certificate self-signed: TLSv1.3, not verified (1, 1)
        certificate of an unknown issuer: TLSv1.3, not verified (1, 1)
        certificate for another name: TLSv1.3, not verified (1, 1)
        ");
    }

    #[test]
    fn mandatory_verified_tls() {
        insta::assert_snapshot!(shown("tls = required tls_verify = host max_retries = 1"), @"
        nothing wrong: TLSv1.3, verified (1, 1)
        TLS 1.2 only: TLSv1.2, verified (1, 1)
        replies injected in clear: TLSv1.3, verified (1, 1)
        wants our certificate: waits, is given up: 451 4.7.5 TLS negotiation failed: the connection was lost (2, 2)
        STARTTLS not offered: waits, is given up: 451 4.7.6 STARTTLS required but not advertised (2, 2)
        STARTTLS stripped on the way: waits, is given up: 451 4.7.6 STARTTLS required but not advertised (2, 2)
        STARTTLS answered 454: waits, is given up: 451 4.7.5 no go-ahead for STARTTLS: 454 4.7.0 TLS not available (2, 2)
        STARTTLS answered 502: waits, is given up: 451 4.7.5 no go-ahead for STARTTLS: 502 5.5.1 Unrecognized command (2, 2)
        STARTTLS answered 421: waits, is given up: 451 4.7.5 no go-ahead for STARTTLS: 421 4.3.2 Going down (2, 2)
        STARTTLS answered by garbage: waits, is given up: 451 4.7.5 TLS negotiation failed: the peer does not speak TLS (2, 2)
        silence after STARTTLS: waits, is given up: 451 4.7.5 TLS negotiation failed: no answer in time (2, 2)
        closed after STARTTLS: waits, is given up: 451 4.7.5 TLS negotiation failed: the connection was lost (2, 2)
        handshake refused by an alert: waits, is given up: 451 4.7.5 TLS negotiation failed: the peer said handshake_failure (2, 2)
        handshake cut: waits, is given up: 451 4.7.5 TLS negotiation failed: the connection was lost (2, 2)
        handshake answered by garbage: waits, is given up: 451 4.7.5 TLS negotiation failed: the peer does not speak TLS (2, 2)
        handshake never ends: waits, is given up: 451 4.7.5 TLS negotiation failed: no answer in time (2, 2)
        certificate expired: waits, is given up: 454 4.7.5 the certificate has expired (2, 2)
        certificate not yet valid: waits, is given up: 454 4.7.5 the certificate is not valid yet (2, 2)
        certificate self-signed: waits, is given up: 451 4.7.5 the certificate is self-signed (2, 2)
        certificate of an unknown issuer: waits, is given up: 451 4.7.5 the certificate is not signed by a trusted authority (2, 2)
        certificate for another name: waits, is given up: 451 4.7.5 the certificate is for another name (2, 2)
        ");
    }

    #[test]
    fn a_gateway_and_its_port() {
        let config = "domain x.example { gateway = hub.example } \
                      domain hub.example { remote_smtp_port = 2525 tls = required }";
        let first = matrix(config).cells.swap_remove(0);
        assert_eq!(first.fate, Fate::Tls { version: TlsVersion::Tls13, verified: false });
    }

    #[test]
    fn downgrades() {
        let clear = Fate::Clear { why: ClearReason::NotOffered };
        let tls = |verified| Fate::Tls { version: TlsVersion::Tls13, verified };
        let waits = Fate::Waits { reply: "451".into() };
        for (before, after, downgraded) in [
            (&tls(true), &clear, true),
            (&tls(true), &tls(false), true),
            (&tls(false), &clear, true),
            (&waits, &clear, true),
            (&waits, &tls(false), true),
            (&waits, &tls(true), false),
            (&clear, &tls(false), false),
            (&tls(true), &waits, false),
            (&clear, &clear, false),
        ] {
            assert_eq!(before.is_downgraded_to(after), downgraded, "{before:?} {after:?}");
        }
    }
}
