//! Any order of things that can happen to a session with a client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::config::Config;
use traject_engine::config::effective::{BindingSource, BounceBehavior};
use traject_engine::ids::{ListenerId, MessageId};
use traject_engine::io::SpoolError;
use traject_engine::smtp::address::Mailbox;
use traject_engine::smtp::data::{BodyError, BodyInfo};
use traject_engine::smtp::server::{Owner, ServerInput, ServerOutput, ServerSession};
use traject_engine::tls::info::TlsError;

use super::source::Source;

/// Has things happen as the bytes say.
pub(crate) fn run(bytes: &[u8]) {
    let mut source = Source(bytes);
    let config = CONFIGS[source.below(CONFIGS.len())];
    // Unwrap is OK because they are right.
    let config = Config::from_text(config).unwrap();
    let peer = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 4000));
    let options = config.reception_options(ListenerId(0), peer.ip());
    let mut now = Timestamp::from_secs(1_000_000);
    let mut session = ServerSession::new(Arc::new(options), peer, now);
    let (mut out, mut judge) = (Vec::new(), Judge::default());
    session.start(&mut out);
    judge.look(&mut out, false);
    while !source.is_empty() {
        now = now + Duration::from_millis(u64::from(source.byte()));
        let mut durable = false;
        let input = match source.below(12) {
            0 => ServerInput::BodyDone(Ok(body(&mut source))),
            1 => ServerInput::BodyDone(Err(body_error(&mut source))),
            2 => ServerInput::BodyProgress,
            3 => {
                durable = true;
                ServerInput::Spooled(Ok(()))
            }
            4 => ServerInput::Spooled(Err(SpoolError::Full)),
            5 => {
                now = session.deadline().unwrap_or(now).max(now);
                ServerInput::Timeout
            }
            6 => ServerInput::Drain,
            7 => ServerInput::Secured(Err(TlsError::Garbage)),
            8 => ServerInput::Closed(None),
            _ => ServerInput::Received(source.piece()),
        };
        session.handle(now, input, &mut Ids(&mut judge.next), &mut out);
        judge.look(&mut out, durable);
    }
}

/// Clients that may do anything, those that may do little, and those that are asked for much.
const CONFIGS: &[&str] = &[
    "relay_hosts = ( 0.0.0.0/0 ) esmtp_listener { listen \"10.0.0.2:25\" { } }",
    "relay_domains = ( ours.test ) esmtp_listener { listen \"10.0.0.2:25\" { idle_time = 9 } }",
    "relay_hosts = ( 0.0.0.0/0 ) default_binding = none require_ehlo = true
     esmtp_listener { listen \"10.0.0.2:25\" {
         max_recipients_per_message = 2 max_receptions_per_connection = 2
         allow_null_envelope_sender = false max_message_size = 100 } }",
];

fn body(source: &mut Source<'_>) -> BodyInfo {
    BodyInfo {
        size_bytes: u64::from(source.byte()),
        eight_bit: source.below(2) == 1,
        received_headers: source.byte().into(),
        header: (source.below(2) == 1)
            .then(|| String::from_utf8_lossy(source.piece()).into_owned().into()),
        head: (source.below(2) == 1).then(|| source.piece().into()),
    }
}

fn body_error(source: &mut Source<'_>) -> BodyError {
    match source.below(4) {
        0 => BodyError::TooLarge,
        1 => BodyError::StrayControl,
        2 => BodyError::Spool(SpoolError::Full),
        _ => BodyError::Lost(None),
    }
}

struct Ids<'a>(&'a mut u64);

impl Owner for Ids<'_> {
    fn message_id(&mut self) -> MessageId {
        *self.0 += 1;
        MessageId(*self.0)
    }

    fn refuses(&mut self, _source: &BindingSource, _may_name: bool, domain: &str) -> bool {
        domain.starts_with("refused")
    }

    fn knows_binding(&mut self, name: &str) -> bool {
        !name.starts_with("unknown")
    }

    fn bounce_behavior(&mut self, mailbox: &Mailbox) -> Option<BounceBehavior> {
        match &*mailbox.local {
            "bounce" => Some(BounceBehavior::Pass),
            "dropped" => Some(BounceBehavior::Blackhole),
            _ => None,
        }
    }

    fn binding(
        &mut self,
        _message: MessageId,
        source: &BindingSource,
        named: Option<&str>,
    ) -> Option<Arc<str>> {
        match (named, source) {
            (Some(name), _) => Some(name.into()),
            (None, BindingSource::Refuse) => None,
            (None, _) => Some("default".into()),
        }
    }
}

/// What a session may do: one message at a time, acknowledged when it is durable, and silence
/// after the end.
#[derive(Default)]
struct Judge {
    next: u64,
    receiving: Option<MessageId>,
    spooling: bool,
    closed: bool,
}

impl Judge {
    fn look(&mut self, out: &mut Vec<ServerOutput>, durable: bool) {
        let acknowledges = durable && self.spooling;
        for output in out.drain(..) {
            assert!(!self.closed, "{output:?} after the end");
            match output {
                ServerOutput::ReceiveBody { message, .. } => {
                    assert_eq!(self.receiving.replace(message), None, "two bodies at once");
                }
                ServerOutput::Accept(message) => {
                    assert_eq!(self.receiving.take(), Some(message.id));
                    assert!(!message.recipients.is_empty());
                    self.spooling = true;
                }
                ServerOutput::Discard(message) => {
                    assert_eq!(self.receiving.take(), Some(message));
                }
                ServerOutput::Write(bytes) => {
                    assert!(bytes.ends_with(b"\r\n"));
                    let accepted = bytes.starts_with(b"250") && self.spooling;
                    assert!(!accepted || acknowledges, "a 250 before the message is durable");
                    // The reply to a body that was refused is the end of it.
                    self.spooling = false;
                }
                ServerOutput::Close { .. } => self.closed = true,
                ServerOutput::Bounce { message, .. } => {
                    assert_eq!(self.receiving, Some(message));
                }
                ServerOutput::StartTls(_)
                | ServerOutput::Tls(_)
                | ServerOutput::Rejected { .. }
                | ServerOutput::Violation(_) => {}
            }
        }
    }
}
