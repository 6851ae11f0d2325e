//! Any order of things that can happen to a session with an exchange: each recipient has exactly
//! one result.

use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::config::effective::DeliveryMethod;
use traject_engine::ids::MessageId;
use traject_engine::record::CloseReason;
use traject_engine::smtp::address::ReversePath;
use traject_engine::smtp::client::{
    ClientInput, ClientOutput, ClientSession, SessionOptions, Transaction, Xclient,
};
use traject_engine::smtp::data::{BodyError, BodyInfo};
use traject_engine::smtp::eight_bit::Transform8bit;
use traject_engine::tls::info::{CipherSuite, TlsError, TlsInfo, TlsVersion, Verification};
use traject_engine::tls::policy::{TlsMode, TlsPolicy};

use super::source::Source;

/// Has things happen as the bytes say.
pub(crate) fn run(bytes: &[u8]) {
    let mut source = Source(bytes);
    let mut now = Timestamp::from_secs(1_000_000);
    let mut session = ClientSession::new(options(&mut source), now);
    let (mut out, mut judge) = (Vec::new(), Judge::default());
    while !source.is_empty() {
        now = now + Duration::from_millis(u64::from(source.byte()));
        let input = match source.below(12) {
            0 if judge.ready => ClientInput::Start(judge.start(&mut source)),
            1 if judge.sending => {
                judge.sending = false;
                ClientInput::BodyDone(body(&mut source))
            }
            2 => ClientInput::BodyProgress,
            3 if judge.securing => {
                judge.securing = false;
                ClientInput::Secured(secured(&mut source))
            }
            4 => {
                now = session.deadline().unwrap_or(now).max(now);
                ClientInput::Timeout
            }
            5 => ClientInput::Quit(CloseReason::LimitReached),
            6 => {
                session.handle(now, ClientInput::Closed(None), &mut out);
                judge.look(&mut out);
                break;
            }
            _ => ClientInput::Received(source.piece()),
        };
        session.handle(now, input, &mut out);
        judge.look(&mut out);
    }
    session.handle(now, ClientInput::Closed(None), &mut out);
    judge.look(&mut out);
    assert!(judge.waiting.is_empty(), "recipients without a result: {:?}", judge.waiting);
}

fn options(source: &mut Source<'_>) -> SessionOptions {
    let mut seconds = || Duration::from_secs(u64::from(source.byte()));
    let [ehlo_timeout, mailfrom_timeout, rcptto_timeout] = [(); 3].map(|()| seconds());
    let [body_timeout, rset_timeout, idle_timeout] = [(); 3].map(|()| seconds());
    SessionOptions {
        ehlo_hostname: "us.example".into(),
        method: [DeliveryMethod::Esmtp, DeliveryMethod::Smtp, DeliveryMethod::Lmtp]
            [source.below(3)],
        xclient: [Xclient::No, Xclient::IfAvailable, Xclient::Required][source.below(3)],
        send_8bitmime: source.below(2) == 1,
        transform_8bitmime_content: [Transform8bit::No, Transform8bit::IfNeeded][source.below(2)],
        tls: TlsPolicy {
            mode: [TlsMode::No, TlsMode::IfAvailable, TlsMode::Required][source.below(3)],
            fallback: source.below(2) == 1,
        },
        ehlo_timeout,
        mailfrom_timeout,
        rcptto_timeout,
        body_timeout,
        rset_timeout,
        idle_timeout,
    }
}

fn body(source: &mut Source<'_>) -> Result<BodyInfo, BodyError> {
    match source.below(3) {
        0 => Err(BodyError::Lost(None)),
        1 => Err(BodyError::Missing("7".into())),
        _ => Ok(BodyInfo {
            size_bytes: 9,
            eight_bit: false,
            received_headers: 0,
            header: None,
            head: None,
        }),
    }
}

fn secured(source: &mut Source<'_>) -> Result<TlsInfo, TlsError> {
    match source.below(2) {
        0 => Err(TlsError::Lost),
        _ => Ok(TlsInfo {
            version: TlsVersion::Tls13,
            cipher: CipherSuite::Aes256GcmSha384,
            verification: Verification::NotChecked,
            issuer: None,
            subject: None,
            resumed: false,
        }),
    }
}

/// What a session may do, and what it owes.
#[derive(Default)]
struct Judge {
    ready: bool,
    sending: bool,
    securing: bool,
    closed: bool,
    /// Recipients of the transaction under way that have no result.
    waiting: Vec<u32>,
}

impl Judge {
    fn start(&mut self, source: &mut Source<'_>) -> Transaction {
        self.ready = false;
        let count = 1 + source.below(4) as u32;
        self.waiting = (0..count).collect();
        let recipient = |number| format!("r{number}@there.example").parse().unwrap();
        let sender = (source.below(2) == 1).then(|| "us@us.example".parse().unwrap());
        Transaction {
            message: MessageId(7),
            reverse_path: ReversePath(sender),
            recipients: (0..count).map(recipient).collect(),
            size_bytes: u64::from(source.byte()),
            eight_bit: source.below(2) == 1,
            origin: None,
        }
    }

    fn look(&mut self, out: &mut Vec<ClientOutput>) {
        for output in out.drain(..) {
            assert!(!self.closed, "{output:?} after the end");
            match output {
                ClientOutput::Ready => {
                    assert!(self.waiting.is_empty(), "ready, and {:?} wait", self.waiting);
                    self.ready = true;
                }
                ClientOutput::Recipient { index, .. } => {
                    let at = self.waiting.iter().position(|waiting| *waiting == index);
                    self.waiting.remove(at.expect("one result for each recipient"));
                }
                ClientOutput::NotAttempted => self.waiting.clear(),
                ClientOutput::WriteBody(_) => self.sending = true,
                ClientOutput::StartTls => self.securing = true,
                ClientOutput::Close { .. } => {
                    assert!(self.waiting.is_empty(), "closed, and {:?} wait", self.waiting);
                    self.closed = true;
                    self.ready = false;
                }
                ClientOutput::Write(bytes) => assert!(bytes.ends_with(b"\r\n")),
                ClientOutput::Secured(_)
                | ClientOutput::TlsFailed { .. }
                | ClientOutput::HostFailed { .. }
                | ClientOutput::Violation(_) => {}
            }
        }
    }
}
