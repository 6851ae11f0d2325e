//! The protocol alone: body codecs in bytes a second, sessions in messages a second.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use traject_engine::Timestamp;
use traject_engine::config::effective::{
    BindingSource, DeliveryMethod, ReceptionOptions, RelayPolicy,
};
use traject_engine::ids::MessageId;
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_engine::smtp::client::{
    ClientInput, ClientOutput, ClientSession, SessionOptions, Transaction, Xclient,
};
use traject_engine::smtp::data::{BodyInfo, BodyRules, DotReader, DotWriter, StrayPolicy};
use traject_engine::smtp::eight_bit::Transform8bit;
use traject_engine::smtp::server::{Owner, ServerInput, ServerSession};
use traject_engine::tls::policy::{TlsMode, TlsPolicy};

const NOW: Timestamp = Timestamp::from_secs(1_000_000_000);
const BODY: BodyInfo =
    BodyInfo { size_bytes: 1000, eight_bit: false, received_headers: 0, header: None, head: None };

/// A header and 64 KiB of text in lines of 76 characters, one in a hundred beginning with a dot.
fn body() -> Vec<u8> {
    let mut body = b"Received: from a by b\r\nSubject: bench\r\n\r\n".to_vec();
    for number in 0.. {
        if body.len() >= 64 << 10 {
            break;
        }
        let first = if number % 100 == 0 { b'.' } else { b'x' };
        body.push(first);
        body.extend_from_slice(&[b'y'; 75]);
        body.extend_from_slice(b"\r\n");
    }
    body
}

fn codecs(criterion: &mut Criterion) {
    let body = body();
    let mut wire = Vec::new();
    let mut writer = DotWriter::new();
    writer.encode(&body, &mut wire);
    writer.finish(&mut wire);
    let mut group = criterion.benchmark_group("codecs");
    group.throughput(Throughput::Bytes(body.len() as u64));
    let mut out = Vec::with_capacity(2 * body.len());
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut writer = DotWriter::new();
            writer.encode(black_box(&body), &mut out);
            writer.finish(&mut out);
        });
    });
    let rules = BodyRules {
        size_bytes_max: u64::MAX,
        stray: StrayPolicy::Refuse,
        take_header: None,
        head_bytes_max: 0,
    };
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            out.clear();
            DotReader::new(rules).decode(black_box(&wire), &mut out)
        });
    });
    group.finish();
}

fn sessions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sessions");
    group.throughput(Throughput::Elements(1));
    group.bench_function("deliver", |bencher| {
        let (mut session, transaction) = open_client();
        let mut out: Vec<ClientOutput> = Vec::new();
        bencher.iter(|| {
            out.clear();
            let start = ClientInput::Start(transaction.clone());
            let replies = b"250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 Go ahead\r\n";
            session.handle(NOW, start, &mut out);
            session.handle(NOW, ClientInput::Received(black_box(replies)), &mut out);
            session.handle(NOW, ClientInput::BodyDone(Ok(BODY)), &mut out);
            session.handle(NOW, ClientInput::Received(b"250 2.0.0 queued as 42\r\n"), &mut out);
            assert_eq!(out.last(), Some(&ClientOutput::Ready));
        });
    });
    group.bench_function("receive", |bencher| {
        let mut session = open_server();
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            let commands =
                b"MAIL FROM:<a@sender.test> SIZE=1000\r\nRCPT TO:<b@ours.test>\r\nDATA\r\n";
            session.handle(NOW, ServerInput::Received(black_box(commands)), &mut Alone, &mut out);
            session.handle(NOW, ServerInput::BodyDone(Ok(BODY)), &mut Alone, &mut out);
            session.handle(NOW, ServerInput::Spooled(Ok(())), &mut Alone, &mut out);
            assert_eq!(out.len(), 4, "replies, body, message, 250");
        });
    });
    group.finish();
}

fn open_client() -> (ClientSession, Transaction) {
    let wait = Duration::from_secs(300);
    let options = SessionOptions {
        ehlo_hostname: "mta.test".into(),
        method: DeliveryMethod::Esmtp,
        xclient: Xclient::No,
        tls: TlsPolicy { mode: TlsMode::No, fallback: true },
        send_8bitmime: true,
        transform_8bitmime_content: Transform8bit::IfNeeded,
        ehlo_timeout: wait,
        mailfrom_timeout: wait,
        rcptto_timeout: wait,
        body_timeout: wait,
        rset_timeout: wait,
        idle_timeout: wait,
    };
    let mailbox = |text: &str| text.parse::<Mailbox>().expect("a mailbox");
    let transaction = Transaction {
        message: MessageId(1),
        reverse_path: ReversePath(Some(mailbox("a@sender.test"))),
        recipients: vec![mailbox("b@receiver.test")],
        size_bytes: 1000,
        eight_bit: false,
        origin: None,
    };
    let mut session = ClientSession::new(options, NOW);
    let mut out = Vec::new();
    session.handle(NOW, ClientInput::Received(b"220 mx.receiver.test\r\n"), &mut out);
    let ehlo = b"250-mx.receiver.test\r\n250-PIPELINING\r\n250 SIZE 1000000\r\n";
    session.handle(NOW, ClientInput::Received(ehlo), &mut out);
    assert_eq!(out.last(), Some(&ClientOutput::Ready));
    (session, transaction)
}

fn open_server() -> ServerSession {
    let options = ReceptionOptions {
        banner_hostname: "mx.ours.test".into(),
        static_banner: None,
        received_hostname: "mx.ours.test".into(),
        idle_time: Duration::from_secs(300),
        max_message_size_bytes: 1 << 20,
        max_recipients_per_message: 0,
        max_recipients_per_connection: 0,
        max_receptions_per_connection: 0,
        require_ehlo: false,
        allow_null_envelope_sender: true,
        stray: StrayPolicy::Refuse,
        trace_headers: true,
        relay: RelayPolicy {
            recipient_domains: vec!["ours.test".into()].into(),
            ..RelayPolicy::default()
        },
        binding: BindingSource::Default,
        tls: None,
    };
    let peer = "192.0.2.1:4000".parse().expect("an address");
    let mut session = ServerSession::new(Arc::new(options), peer, NOW);
    let mut out = Vec::new();
    session.handle(NOW, ServerInput::Received(b"EHLO c.test\r\n"), &mut Alone, &mut out);
    session
}

/// An owner without a configuration.
struct Alone;

impl Owner for Alone {
    fn message_id(&mut self) -> MessageId {
        MessageId(1)
    }

    fn refuses(&mut self, _: &BindingSource, _: bool, _: &str) -> bool {
        false
    }

    fn knows_binding(&mut self, _: &str) -> bool {
        true
    }

    fn binding(&mut self, _: MessageId, _: &BindingSource, _: Option<&str>) -> Option<Arc<str>> {
        Some("default".into())
    }
}

criterion_group!(benches, codecs, sessions);
criterion_main!(benches);
