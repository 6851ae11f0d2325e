//! Dialogues: what the server says (`S:`), what happens otherwise (`!`), and what the session
//! answers: lines it writes (`C:`) and what it tells its owner (`=`).

mod dialogues;
mod lmtp;
mod stages;
mod tls;
mod xclient;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::io::SpoolError;
use crate::tls::info::{CertificateFault, CipherSuite, TlsVersion, Verification};

/// Gives each stage a time-out of its own.
fn options() -> SessionOptions {
    SessionOptions {
        ehlo_hostname: "us.example".into(),
        method: DeliveryMethod::Esmtp,
        xclient: Xclient::No,
        tls: TlsPolicy { mode: TlsMode::No, fallback: true },
        send_8bitmime: true,
        transform_8bitmime_content: Transform8bit::IfNeeded,
        ehlo_timeout: Duration::from_secs(10),
        mailfrom_timeout: Duration::from_secs(20),
        rcptto_timeout: Duration::from_secs(30),
        body_timeout: Duration::from_secs(40),
        rset_timeout: Duration::from_secs(50),
        idle_timeout: Duration::from_secs(60),
    }
}

fn transaction(recipients: &str) -> Transaction {
    Transaction {
        message: MessageId(7),
        reverse_path: ReversePath(Some("from@us.example".parse().unwrap())),
        recipients: recipients.split(',').map(|to| to.parse().unwrap()).collect(),
        size_bytes: 1000,
        eight_bit: false,
        origin: None,
    }
}

/// How the server's bytes arrive.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    /// Neighbouring `S:` lines in one segment.
    Together,
    LineByLine,
    ByteByByte,
}

struct Dialogue {
    session: ClientSession,
    now: Timestamp,
}

impl Dialogue {
    fn new(options: SessionOptions) -> Self {
        let now = Timestamp::from_secs(1000);
        Self { session: ClientSession::new(options, now), now }
    }

    fn input(&mut self, input: ClientInput<'_>) -> Vec<String> {
        let mut out = vec![];
        self.session.handle(self.now, input, &mut out);
        out.iter().flat_map(describe).collect()
    }

    fn receive(&mut self, bytes: &[u8], arrival: Arrival) -> Vec<String> {
        match arrival {
            Arrival::ByteByByte => {
                let pieces = bytes.chunks(1).map(|piece| self.input(ClientInput::Received(piece)));
                pieces.collect::<Vec<_>>().concat()
            }
            _ => self.input(ClientInput::Received(bytes)),
        }
    }

    /// Something other than bytes, as a script writes it behind `!`.
    fn event(&mut self, event: &str) -> Vec<String> {
        let (word, argument) = event.split_once(' ').unwrap_or((event, ""));
        match word {
            "start" => self.input(ClientInput::Start(transaction(argument))),
            "start-8bit" => {
                let transaction = Transaction { eight_bit: true, ..transaction(argument) };
                self.input(ClientInput::Start(transaction))
            }
            "start-bounce" => {
                let reverse_path = ReversePath(None);
                let transaction = Transaction { reverse_path, ..transaction(argument) };
                self.input(ClientInput::Start(transaction))
            }
            "start-for" => {
                let (client, recipients) = argument.split_once(' ').unwrap();
                let origin = Origin {
                    address: [192, 0, 2, 7].into(),
                    port: 4000,
                    helo: Some(client.into()),
                    esmtp: true,
                };
                let origin = Some(Arc::new(origin));
                self.input(ClientInput::Start(Transaction { origin, ..transaction(recipients) }))
            }
            "timeout" => {
                self.now = self.session.deadline().unwrap();
                self.input(ClientInput::Timeout)
            }
            "secured" => self.input(ClientInput::Secured(Ok(tls_info()))),
            "unsecured" => self.input(ClientInput::Secured(Err(tls_error(argument)))),
            "progress" => self.input(ClientInput::BodyProgress),
            "body-sent" => {
                let info = BodyInfo {
                    size_bytes: 1000,
                    eight_bit: false,
                    received_headers: 0,
                    header: None,
                    head: None,
                };
                self.input(ClientInput::BodyDone(Ok(info)))
            }
            "body-lost" => self.input(ClientInput::BodyDone(Err(BodyError::Lost(None)))),
            "body-missing" => {
                self.input(ClientInput::BodyDone(Err(BodyError::Missing("7".into()))))
            }
            "body-unreadable" => {
                let error = SpoolError::Io("input/output error".into());
                self.input(ClientInput::BodyDone(Err(BodyError::Spool(error))))
            }
            "eof" => self.input(ClientInput::Received(&[])),
            "closed" => self.input(ClientInput::Closed(Some(NetError::Reset))),
            "quit" => self.input(ClientInput::Quit(CloseReason::LimitReached)),
            _ => panic!("no event {event:?}"),
        }
    }
}

fn describe(output: &ClientOutput) -> Vec<String> {
    match output {
        ClientOutput::Write(bytes) => {
            let text = core::str::from_utf8(bytes).unwrap();
            let lines = text.strip_suffix("\r\n").unwrap().split("\r\n");
            lines.map(|line| format!("C: {line}")).collect()
        }
        ClientOutput::WriteBody(message) => vec![format!("= body of {message}")],
        ClientOutput::Close { abort, reason } => {
            vec![format!("= {} {reason:?}", if *abort { "abort" } else { "close" })]
        }
        ClientOutput::Ready => vec!["= ready".to_string()],
        ClientOutput::Recipient { index, stage, result } => {
            let (word, reply) = match result {
                RecipientResult::Delivered(reply) => ("delivered", reply),
                RecipientResult::Transient(reply) => ("transient", reply),
                RecipientResult::Permanent(reply) => ("permanent", reply),
            };
            vec![format!("= {index} {word} at {}: {}", stage.text(), show(reply))]
        }
        ClientOutput::StartTls => vec!["= start TLS".to_string()],
        ClientOutput::Secured(info) => vec![format!("= secured by {}", info.version)],
        ClientOutput::TlsFailed { stage, failure } => {
            let (fault, reply) = (failure.fault(), failure.reply());
            vec![format!("= no TLS ({fault:?}) at {}: {}", stage.text(), show(&reply))]
        }
        ClientOutput::NotAttempted => vec!["= not attempted".to_string()],
        ClientOutput::HostFailed { stage, reply } => {
            vec![format!("= host failed at {}: {}", stage.text(), show(reply))]
        }
        ClientOutput::Violation(what) => vec![format!("= violation: {what}")],
    }
}

fn tls_info() -> TlsInfo {
    TlsInfo {
        version: TlsVersion::Tls13,
        cipher: CipherSuite::Aes256GcmSha384,
        verification: Verification::NotChecked,
        issuer: None,
        subject: None,
        resumed: false,
    }
}

fn tls_error(word: &str) -> TlsError {
    match word {
        "expired" => TlsError::Certificate(CertificateFault::Expired),
        "alert" => TlsError::Alert("handshake_failure".into()),
        "lost" => TlsError::Lost,
        "garbage" => TlsError::Garbage,
        "nothing-in-common" => TlsError::NothingInCommon,
        "local" => TlsError::Local("cannot read /etc/key.pem".into()),
        _ => panic!("no TLS error {word:?}"),
    }
}

fn show(reply: &Reply) -> String {
    format!("{reply}{}", if reply.local { " [local]" } else { "" })
}

/// Plays a script and writes down what happens, in the form of a script.
fn play(options: &SessionOptions, script: &str, arrival: Arrival) -> Vec<String> {
    let mut dialogue = Dialogue::new(options.clone());
    let mut played = vec![];
    let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        if let Some(event) = line.strip_prefix("! ") {
            played.push(line.to_string());
            played.extend(dialogue.event(event));
        } else if let Some(said) = line.strip_prefix("S: ") {
            played.push(line.to_string());
            let mut bytes = format!("{}\r\n", said.replace("\\r\\n", "\r\n"));
            let joins = matches!(arrival, Arrival::Together);
            while let Some(next) = lines.next_if(|line| joins && line.starts_with("S: ")) {
                played.push(next.to_string());
                bytes += &format!("{}\r\n", &next[3..]);
            }
            played.extend(dialogue.receive(bytes.as_bytes(), arrival));
        }
    }
    played
}

/// The script is what happens.
#[track_caller]
fn check_arriving(options: &SessionOptions, script: &str, arrival: Arrival) {
    let played = play(options, script, arrival).join("\n");
    let script: Vec<_> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(played, script.join("\n"), "{arrival:?}");
}

/// The script is what happens, however the server's bytes arrive.
#[track_caller]
fn check_with(options: &SessionOptions, script: &str) {
    for arrival in [Arrival::Together, Arrival::LineByLine, Arrival::ByteByByte] {
        check_arriving(options, script, arrival);
    }
}

#[track_caller]
fn check(script: &str) {
    check_with(&options(), script);
}

/// Banner and EHLO with every extension we use.
const OPEN: &str = "
    S: 220 mx.example ESMTP
    C: EHLO us.example
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250-SIZE 5000
    S: 250 8BITMIME
    = ready
";

/// Banner and EHLO without extensions.
const OPEN_PLAIN: &str = "
    S: 220 mx.example ESMTP
    C: EHLO us.example
    S: 250 mx.example
    = ready
";
