//! The driver against scripted engines: dialogues as they cross the boundary.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use traject_engine::dns::Question;
use traject_engine::ids::{MessageId, QueryId, SpoolOp};
use traject_engine::io::SpoolWrite;
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_engine::smtp::data::{BodyRules, StrayPolicy};

use super::*;
use crate::clock::SystemClock;
use crate::memory_spool::MemorySpool;
use crate::test_world::{FailingSpool, PIPE_BYTES, PipeNetwork, RuntimeClock, SilentDns};
use crate::tls::TlsConfigs;
use crate::tokio_net::TokioNetwork;

/// An engine that answers each input as a function says.
struct Scripted<F> {
    script: F,
    outputs: std::collections::VecDeque<Output>,
    wakeup: Option<Timestamp>,
}

/// What a script writes its answer to.
struct Answer<'a> {
    outputs: &'a mut std::collections::VecDeque<Output>,
    wakeup: &'a mut Option<Timestamp>,
}

impl Answer<'_> {
    fn want(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn write(&mut self, conn: ConnId, text: &str) {
        self.want(Output::Write { conn, bytes: text.into() });
    }

    fn close(&mut self, conn: ConnId) {
        self.want(Output::Close { conn, abort: false });
    }

    fn receive(&mut self, conn: ConnId, message: MessageId) {
        let rules = BodyRules {
            size_bytes_max: 10 << 20,
            stray: StrayPolicy::Refuse,
            take_header: None,
            head_bytes_max: 0,
        };
        let prefix = b"Received: here\r\n".to_vec();
        self.want(Output::ReceiveBody { conn, message, prefix, rules });
    }
}

impl<F> Machine for Scripted<F>
where
    F: FnMut(Timestamp, &Input<'_>, &mut Answer<'_>) + Send + 'static,
{
    fn handle(&mut self, now: Timestamp, input: Input<'_>) {
        let mut answer = Answer { outputs: &mut self.outputs, wakeup: &mut self.wakeup };
        (self.script)(now, &input, &mut answer);
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        self.wakeup
    }
}

/// Writes down what crosses the boundary, inputs as `>` and outputs as `<`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn line(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Observer for Log {
    fn input(&mut self, _now: Timestamp, input: &Input<'_>) {
        self.line(match input {
            Input::Received { bytes, .. } => format!("> {:?}", String::from_utf8_lossy(bytes)),
            Input::Accepted { .. } => "> accepted".into(),
            Input::Connected { local, .. } => format!("> connected from {}", local.ip()),
            Input::ConnectFailed { error, .. } => format!("> connect failed: {error:?}"),
            Input::BodyProgress { total_bytes, .. } => format!("> progress {total_bytes}"),
            Input::Secured { result: Ok(info), .. } => format!("> secured by {}", info.version),
            Input::Secured { result: Err(error), .. } => format!("> not secured: {error:?}"),
            Input::BodyDone { result: Ok(info), .. } => format!("> body of {}", info.size_bytes),
            Input::BodyDone { result: Err(error), .. } => format!("> no body: {error:?}"),
            Input::Closed { error: None, .. } => "> closed".into(),
            Input::Closed { error: Some(error), .. } => format!("> closed: {error:?}"),
            Input::Wakeup => "> wakeup".into(),
            Input::Drain => "> drain".into(),
            Input::Recovered(message) => format!("> recovered {}", message.id.0),
            Input::Submitted(_) => "> submitted".into(),
            Input::Resolved { result: Err(error), .. } => format!("> {}", error.text),
            Input::Resolved { .. } => "> resolved".into(),
            Input::Spooled { result, .. } => format!("> spooled {result:?}"),
            Input::Composed { result, .. } => format!("> composed: {}", result.is_ok()),
            Input::RecoveredShaping(_) => "> recovered shaping".into(),
            Input::Reload(_) => "> reload".into(),
            Input::Control(control) => format!("> {}", control.action.name()),
        });
    }

    fn output(&mut self, _now: Timestamp, output: &Output) {
        self.line(match output {
            Output::Write { bytes, .. } => format!("< {:?}", String::from_utf8_lossy(bytes)),
            Output::Connect { .. } => "< connect".into(),
            Output::WriteBody { .. } => "< write body".into(),
            Output::StartTls { .. } => "< start TLS".into(),
            Output::ReceiveBody { .. } => "< receive body".into(),
            Output::Close { abort: true, .. } => "< abort".into(),
            Output::Close { abort: false, .. } => "< close".into(),
            Output::Resolve { question, .. } => format!("< resolve {question}"),
            Output::Spool { .. } => "< spool".into(),
            Output::Compose { .. } => "< compose".into(),
            Output::Record(_) => "< record".into(),
        });
    }
}

/// A driver that runs a script.
struct Running<N, F, C> {
    network: N,
    spool: MemorySpool,
    log: Log,
    handle: Handle<Scripted<F>, MemorySpool, C>,
    run: JoinHandle<Result<Finished<Scripted<F>, Log>, SpoolError>>,
    /// Where the driver listens.
    addr: SocketAddr,
}

impl<F> Running<PipeNetwork, F, RuntimeClock>
where
    F: FnMut(Timestamp, &Input<'_>, &mut Answer<'_>) + Send + 'static,
{
    async fn on_pipes(script: F) -> Self {
        let addr = "127.0.0.1:25".parse().unwrap();
        let (network, clock) = (PipeNetwork::default(), RuntimeClock::start());
        Self::start(network, clock, MemorySpool::default(), addr, script).await
    }
}

impl<F> Running<TokioNetwork, F, SystemClock>
where
    F: FnMut(Timestamp, &Input<'_>, &mut Answer<'_>) + Send + 'static,
{
    async fn on_sockets(script: F) -> Self {
        let addr = "127.0.0.1:0".parse().unwrap();
        let clock = SystemClock::start();
        Self::start(TokioNetwork, clock, MemorySpool::default(), addr, script).await
    }

    async fn dial(&self) -> tokio::net::TcpStream {
        tokio::net::TcpStream::connect(self.addr).await.unwrap()
    }
}

impl<N: Network, F, C: Clock> Running<N, F, C>
where
    F: FnMut(Timestamp, &Input<'_>, &mut Answer<'_>) + Send + 'static,
{
    async fn start(network: N, clock: C, spool: MemorySpool, addr: SocketAddr, script: F) -> Self {
        let listener = network.bind(addr, 10).await.unwrap();
        let addr = network.local_addr(&listener).unwrap();
        let tls = TlsConfigs::system();
        let world = World {
            network: network.clone(),
            resolver: SilentDns,
            spool: spool.clone(),
            clock,
            tls,
        };
        let machine = Scripted { script, outputs: Default::default(), wakeup: None };
        let log = Log::default();
        let (mut driver, handle) = Driver::new(machine, world, log.clone());
        driver.listen(ListenerId(0), listener);
        let run = tokio::spawn(driver.run());
        Self { network, spool, log, handle, run, addr }
    }

    /// Waits until something has crossed the boundary.
    #[expect(clippy::disallowed_methods, reason = "this world is a runtime of tokio's own")]
    async fn seen(&self, line: &str) {
        for _ in 0..1_000_000 {
            if self.log.lines().iter().any(|seen| seen == line) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{line} does not come: {:#?}", self.log.lines());
    }

    /// Drains the driver and returns everything that crossed the boundary.
    async fn finish(self) -> Vec<String> {
        self.handle.drain().await.unwrap();
        self.run.await.unwrap().unwrap();
        self.log.lines()
    }
}

async fn read_line(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut line = String::new();
    while !line.ends_with('\n') {
        line.push(char::from(stream.read_u8().await.unwrap()));
    }
    line
}

/// Greets, echoes, and closes when the peer does.
fn echo(_now: Timestamp, input: &Input<'_>, answer: &mut Answer<'_>) {
    match *input {
        Input::Accepted { conn, .. } => answer.write(conn, "hello\n"),
        Input::Received { conn, bytes: b"" } => answer.close(conn),
        Input::Received { conn, bytes } => {
            answer.write(conn, "you said: ");
            answer.write(conn, core::str::from_utf8(bytes).unwrap());
        }
        _ => {}
    }
}

#[tokio::test]
async fn a_dialogue_over_real_sockets() {
    let running = Running::on_sockets(echo).await;
    let mut client = running.dial().await;
    assert_eq!(read_line(&mut client).await, "hello\n");
    client.write_all(b"ahoy\n").await.unwrap();
    assert_eq!(read_line(&mut client).await, "you said: ahoy\n");
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    running.seen("> closed").await;
    assert_eq!(
        running.finish().await,
        [
            "> accepted",
            "< \"hello\\n\"",
            "> \"ahoy\\n\"",
            "< \"you said: \"",
            "< \"ahoy\\n\"",
            "> \"\"",
            "< close",
            "> closed",
            "> drain",
        ]
    );
}

/// Takes a body after `DATA`, says so, and goes on echoing.
fn take_body(now: Timestamp, input: &Input<'_>, answer: &mut Answer<'_>) {
    match *input {
        Input::Received { conn, bytes: b"DATA\r\n" } => {
            answer.write(conn, "354\n");
            answer.receive(conn, MessageId(7));
        }
        Input::BodyDone { conn, result: Ok(_) } => {
            let write = SpoolWrite::Discard(MessageId(conn.0));
            answer.want(Output::Spool { op: SpoolOp(conn.0), write });
        }
        Input::BodyDone { conn, .. } => answer.write(conn, "554\n"),
        Input::Spooled { op, .. } => answer.write(ConnId(op.0), "250\n"),
        Input::Accepted { .. } => {}
        _ => echo(now, input, answer),
    }
}

#[tokio::test(start_paused = true)]
async fn a_received_body_goes_to_the_spool_and_what_follows_waits_for_the_reply() {
    let running = Running::on_pipes(take_body).await;
    let mut client = running.network.dial(running.addr).await;
    client.write_all(b"DATA\r\n").await.unwrap();
    assert_eq!(read_line(&mut client).await, "354\n");
    client.write_all(b"..one\r\ntwo\r\n.\r\nNEXT\r\n").await.unwrap();
    assert_eq!(read_line(&mut client).await, "250\n");
    assert_eq!(read_line(&mut client).await, "you said: NEXT\r\n");
    drop(client);
    running.seen("> closed").await;
    let body = running.spool.body(MessageId(7)).unwrap();
    assert_eq!(body, "Received: here\r\n.one\r\ntwo\r\n");
    assert_eq!(
        running.finish().await,
        [
            "> accepted",
            "> \"DATA\\r\\n\"",
            "< \"354\\n\"",
            "< receive body",
            "> body of 27",
            "< spool",
            "> spooled Ok(())",
            "< \"250\\n\"",
            "> \"NEXT\\r\\n\"",
            "< \"you said: \"",
            "< \"NEXT\\r\\n\"",
            "> \"\"",
            "< close",
            "> closed",
            "> drain",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_body_is_read_to_its_end_and_leaves_nothing_behind() {
    let running = Running::on_pipes(take_body).await;
    let mut client = running.network.dial(running.addr).await;
    client.write_all(b"DATA\r\n").await.unwrap();
    assert_eq!(read_line(&mut client).await, "354\n");
    client.write_all(b"bare\nline feed\r\n.\r\n").await.unwrap();
    assert_eq!(read_line(&mut client).await, "554\n");
    assert_eq!(running.spool.body_count(), 0);
    drop(client);
    assert!(running.finish().await.contains(&"> no body: StrayControl".into()));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_inside_its_body_is_lost_and_then_closed() {
    let running = Running::on_pipes(take_body).await;
    let mut client = running.network.dial(running.addr).await;
    client.write_all(b"DATA\r\n").await.unwrap();
    assert_eq!(read_line(&mut client).await, "354\n");
    client.write_all(b"not the whole st").await.unwrap();
    drop(client);
    running.seen("> closed").await;
    let lines = running.finish().await;
    assert_eq!(lines[4..7], ["> no body: Lost(None)", "< \"554\\n\"", "> closed"]);
}

/// Connects to `peer` when a message is submitted, sends its body behind a command, and closes
/// at the reply.
fn deliver_to(
    source: Option<[u8; 4]>,
    peer: SocketAddr,
) -> impl FnMut(Timestamp, &Input<'_>, &mut Answer<'_>) + Send + 'static {
    let conn = ConnId::by_engine(0);
    let mut message = None;
    move |_, input, answer| match *input {
        Input::Submitted(ref submission) => {
            message = Some(submission.message.id);
            answer.want(Output::Connect { conn, source: source.map(Into::into), peer });
        }
        Input::Connected { conn, .. } => {
            answer.write(conn, "here it comes\n");
            answer.want(Output::WriteBody { conn, message: message.unwrap() });
        }
        Input::BodyDone { conn, result: Err(_) } => {
            answer.want(Output::Close { conn, abort: true });
        }
        Input::Received { conn, .. } => answer.close(conn),
        _ => {}
    }
}

fn envelope() -> Envelope {
    let mailbox = Mailbox { local: "you".into(), domain: "example.org".into() };
    Envelope {
        reverse_path: ReversePath(None),
        recipients: vec![mailbox],
        binding: "default".into(),
    }
}

#[tokio::test]
async fn a_submitted_body_is_sent_from_the_source_address_asked_for() {
    let sink = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let script = deliver_to(Some([127, 0, 0, 2]), sink.local_addr().unwrap());
    let running = Running::on_sockets(script).await;
    running.handle.submit(envelope(), b".dotted\r\nno end of line").await.unwrap();

    let (mut stream, peer) = sink.accept().await.unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.2");
    assert_eq!(read_line(&mut stream).await, "here it comes\n");
    let mut wire = vec![0; b"..dotted\r\nno end of line\r\n.\r\n".len()];
    stream.read_exact(&mut wire).await.unwrap();
    assert_eq!(wire, b"..dotted\r\nno end of line\r\n.\r\n");
    stream.write_all(b"250\n").await.unwrap();
    assert_eq!(stream.read(&mut wire).await.unwrap(), 0);
    drop(stream);
    running.seen("> closed").await;
    assert_eq!(
        running.finish().await,
        [
            "> submitted",
            "< connect",
            "> connected from 127.0.0.2",
            "< \"here it comes\\n\"",
            "< write body",
            "> body of 23",
            "> \"250\\n\"",
            "< close",
            "> closed",
            "> drain",
        ]
    );
}

#[tokio::test]
async fn large_bodies_arrive_byte_for_byte_in_both_directions() {
    let body: Vec<u8> = (0..100_000_u32)
        .flat_map(|n| {
            format!("{}{n} of many lines\r\n", if n % 3 == 0 { "." } else { "" }).into_bytes()
        })
        .collect();
    let receiver = Running::on_sockets(take_body).await;
    // The sending driver talks to the receiving one: `DATA`, 354, body, 250.
    let (conn, peer) = (ConnId::by_engine(0), receiver.addr);
    let mut message = None;
    let sender =
        Running::on_sockets(move |_, input: &Input<'_>, answer: &mut Answer<'_>| match *input {
            Input::Submitted(ref submission) => {
                message = Some(submission.message.id);
                answer.want(Output::Connect { conn, source: None, peer });
            }
            Input::Connected { conn, .. } => answer.write(conn, "DATA\r\n"),
            Input::Received { conn, bytes: b"354\n" } => {
                answer.want(Output::WriteBody { conn, message: message.unwrap() });
            }
            Input::Received { conn, .. } => answer.close(conn),
            _ => {}
        })
        .await;
    sender.handle.submit(envelope(), &body).await.unwrap();
    sender.seen("> closed").await;
    let sent = sender.finish().await;
    let stored = receiver.spool.body(MessageId(7)).unwrap();
    let received = receiver.finish().await;
    assert_eq!(stored.strip_prefix(b"Received: here\r\n").unwrap(), body);
    for lines in [sent, received] {
        let progress = lines.iter().filter(|line| line.starts_with("> progress")).count();
        let expected = body.len() / (256 << 10);
        assert!((expected - 4..=expected + 1).contains(&progress), "{progress} of {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_transfer_makes_progress_that_can_be_seen() {
    let peer = "192.0.2.1:25".parse().unwrap();
    let running = Running::on_pipes(deliver_to(None, peer)).await;
    let sink = running.network.bind(peer, 1).await.unwrap();
    running.handle.submit(envelope(), &[b'x'; 5 * PIPE_BYTES]).await.unwrap();
    let (mut stream, _) = running.network.accept(&sink).await.unwrap();
    let mut left = 5 * PIPE_BYTES;
    while left > 0 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        left -= stream.read(&mut vec![0; left.min(PIPE_BYTES)]).await.unwrap();
    }
    drop(stream);
    running.seen("> closed").await;
    let lines = running.finish().await;
    let progress = lines.iter().filter(|line| line.starts_with("> progress")).count();
    assert!((2..=3).contains(&progress), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_there_breaks_the_dialogue_off() {
    let peer = "192.0.2.1:25".parse().unwrap();
    let running = Running::on_pipes(deliver_to(None, peer)).await;
    let sink = running.network.bind(peer, 1).await.unwrap();
    let id = running.handle.next_message_id();
    let message = envelope().into_message(id, Timestamp(0), (1, false));
    running.handle.submit_staged(message).await.unwrap();
    let (mut stream, _) = running.network.accept(&sink).await.unwrap();
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
    assert_eq!(running.network.aborted(), 1);
    let lines = running.finish().await;
    assert!(lines[5].starts_with("> no body: Missing"), "{lines:?}");
    assert_eq!(lines[6..], ["< abort", "> closed", "> drain"]);
}

#[tokio::test]
async fn failures_to_connect_are_told_apart() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (source, expected) in [
        (None, "> connect failed: Refused"),
        (Some([203, 0, 113, 1]), "> connect failed: SourceUnavailable"),
    ] {
        let running = Running::on_sockets(deliver_to(source, free)).await;
        running.handle.submit(envelope(), b"").await.unwrap();
        running.seen(expected).await;
        assert_eq!(running.finish().await[2], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_that_is_closed_has_timed_out() {
    let nowhere = "192.0.2.1:25".parse().unwrap();
    let conn = ConnId::by_engine(0);
    let running =
        Running::on_pipes(move |now, input: &Input<'_>, answer: &mut Answer<'_>| match input {
            Input::Submitted(_) => {
                answer.want(Output::Connect { conn, source: None, peer: nowhere });
                *answer.wakeup = Some(now + Duration::from_secs(300));
            }
            Input::Wakeup => {
                *answer.wakeup = None;
                answer.close(conn);
            }
            _ => {}
        })
        .await;
    running.handle.submit(envelope(), b"").await.unwrap();
    let lines = running.finish().await;
    assert_eq!(
        lines,
        [
            "> submitted",
            "< connect",
            "> drain",
            "> wakeup",
            "< close",
            "> connect failed: TimedOut"
        ]
    );
}

#[tokio::test]
async fn an_aborted_connection_is_reset_and_a_reset_is_reported() {
    let running = Running::on_sockets(|_, input: &Input<'_>, answer: &mut Answer<'_>| {
        if let Input::Received { conn, bytes: b"abort\n" } = *input {
            answer.want(Output::Close { conn, abort: true });
        }
    })
    .await;
    let mut client = running.dial().await;
    client.write_all(b"abort\n").await.unwrap();
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let client = running.dial().await;
    client.set_zero_linger().unwrap();
    drop(client);
    running.seen("> closed: Reset").await;
    let lines = running.finish().await;
    let aborted = ["> accepted", "> \"abort\\n\"", "< abort", "> closed"];
    assert_eq!(lines[..4], aborted);
    assert_eq!(lines[4..], ["> accepted", "> closed: Reset", "> drain"]);
}

#[tokio::test]
async fn the_last_reply_reaches_a_peer_that_is_still_sending() {
    let running = Running::on_sockets(|_, input: &Input<'_>, answer: &mut Answer<'_>| {
        if let Input::Accepted { conn, .. } = *input {
            answer.write(conn, "421 too many\n");
            answer.close(conn);
        }
    })
    .await;
    for _ in 0..20 {
        let mut client = running.dial().await;
        let mut reply = String::new();
        client.write_all(&[b'x'; 20_000]).await.unwrap();
        client.read_to_string(&mut reply).await.unwrap();
        assert_eq!(reply, "421 too many\n");
    }
    running.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_not_read_from() {
    let running = Running::on_pipes(echo).await;
    let mut client = running.network.dial(running.addr).await;
    let flood = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            client.write_all(&[b'x'; 100]).await.unwrap();
        }
    });
    flood.await.unwrap_err();
    let received: usize =
        running.log.lines().iter().filter(|line| line.starts_with("> \"x")).map(String::len).sum();
    assert!(received < 4 * PIPE_BYTES, "{received} bytes were taken");
}

#[tokio::test(start_paused = true)]
async fn the_engine_is_woken_at_its_instant_wherever_it_moves() {
    let second = Timestamp::from_secs;
    // (at which wakeup, the next one)
    let mut plan = vec![second(1500), second(1010), second(1005)];
    let woken = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&woken);
    let running = Running::on_pipes(move |now, input: &Input<'_>, answer: &mut Answer<'_>| {
        match input {
            Input::Submitted(_) => *answer.wakeup = Some(second(2000)),
            Input::Wakeup => {
                seen.lock().unwrap().push(now);
                *answer.wakeup = None;
            }
            Input::Resolved { .. } => *answer.wakeup = plan.pop(),
            _ => {}
        }
        if matches!(input, Input::Submitted(_) | Input::Wakeup) && !plan.is_empty() {
            let question = Question::Mx("example.org".into());
            answer.want(Output::Resolve { query: QueryId(0), question });
        }
    })
    .await;
    running.handle.submit(envelope(), b"").await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(*woken.lock().unwrap(), [second(1005), second(1010), second(1500)]);
    assert!(running.finish().await.contains(&"> no answer for MX example.org".into()));
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_newcomers_and_waits_for_those_inside() {
    let running = Running::on_pipes(echo).await;
    let mut inside = running.network.dial(running.addr).await;
    assert_eq!(read_line(&mut inside).await, "hello\n");
    running.handle.drain().await.unwrap();
    inside.write_all(b"still here\n").await.unwrap();
    assert_eq!(read_line(&mut inside).await, "you said: still here\n");
    let newcomer = running.network.connect(None, running.addr).await;
    assert_eq!(newcomer.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!running.run.is_finished());
    drop(inside);
    running.run.await.unwrap().unwrap();
    assert_eq!(running.handle.drain().await, Err(HandleError::Ended));
}

#[tokio::test(start_paused = true)]
async fn another_configuration_is_handed_in_between_two_inputs() {
    let running = Running::on_pipes(echo).await;
    let config = traject_engine::config::Config::from_text("").unwrap();
    running.handle.reload(config.into()).await.unwrap();
    let mut inside = running.network.dial(running.addr).await;
    assert_eq!(read_line(&mut inside).await, "hello\n");
    running.handle.stop().await.unwrap();
    let finished = running.run.await.unwrap().unwrap();
    assert_eq!(finished.observer.lines(), ["> reload", "> accepted", "< \"hello\\n\""]);
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_nobody_and_gives_the_engine_back() {
    let running = Running::on_pipes(echo).await;
    let mut inside = running.network.dial(running.addr).await;
    assert_eq!(read_line(&mut inside).await, "hello\n");
    assert_eq!(running.handle.inspect(|machine| machine.wakeup).await, Ok(None));
    running.handle.stop().await.unwrap();
    let finished = running.run.await.unwrap().unwrap();
    assert_eq!(finished.machine.wakeup, None);
    assert_eq!(finished.observer.lines(), ["> accepted", "< \"hello\\n\""]);
    assert_eq!(inside.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn clients_are_let_in_while_the_spool_is_recovered() {
    let before = MemorySpool::default();
    for id in [9, 5] {
        before.stage_bytes(MessageId(id), "x".into());
        let message = envelope().into_message(MessageId(id), Timestamp(0), (1, false));
        before.write(SpoolWrite::Insert(message.into())).await.unwrap();
    }
    before.stage_bytes(MessageId(6), "never inserted".into());
    let spool = before.restart();
    assert_eq!(spool.body_count(), 2);
    let addr = "127.0.0.1:25".parse().unwrap();
    let (network, clock) = (PipeNetwork::default(), RuntimeClock::start());
    let running = Running::start(network, clock, spool, addr, echo).await;
    drop(running.network.dial(running.addr).await);
    running.seen("> accepted").await;
    running.seen("> recovered 9").await;
    let lines = running.finish().await;
    let told = lines.iter().filter(|line| line.starts_with('>')).take(3);
    assert_eq!(told.collect::<Vec<_>>(), ["> recovered 5", "> accepted", "> recovered 9"]);
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_cannot_be_read_at_the_start_ends_the_run() {
    let machine = Scripted { script: echo, outputs: Default::default(), wakeup: None };
    let world = World {
        network: PipeNetwork::default(),
        resolver: SilentDns,
        spool: FailingSpool::Recover,
        clock: RuntimeClock::start(),
        tls: TlsConfigs::system(),
    };
    let (driver, _handle) = Driver::new(machine, world, ());
    assert_eq!(driver.run().await.err(), Some(SpoolError::Full));
}

#[tokio::test(start_paused = true)]
async fn failures_to_accept_are_waited_out() {
    let addr = "127.0.0.1:25".parse().unwrap();
    let (network, clock) = (PipeNetwork::default(), RuntimeClock::start());
    network.fail_accepts(50);
    let running = Running::start(network, clock, MemorySpool::default(), addr, echo).await;
    let before = tokio::time::Instant::now();
    let mut client = running.network.dial(running.addr).await;
    assert_eq!(read_line(&mut client).await, "hello\n");
    assert_eq!(before.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_closes_is_not_waited_for_long() {
    let running = Running::on_pipes(|_, input: &Input<'_>, answer: &mut Answer<'_>| {
        if let Input::Accepted { conn, .. } = *input {
            answer.write(conn, "421\n");
            answer.close(conn);
        }
    })
    .await;
    let mut client = running.network.dial(running.addr).await;
    assert_eq!(read_line(&mut client).await, "421\n");
    let before = tokio::time::Instant::now();
    assert_eq!(running.finish().await[3], "> closed");
    assert_eq!(before.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_stops_sending_does_not_shut_out_the_others() {
    let running = Running::on_pipes(|now, input: &Input<'_>, answer: &mut Answer<'_>| {
        match input {
            // Unread by the flooding peer's side of the dialogue, so it may go on for ever.
            Input::Received { bytes: [b'x', ..], .. } => {}
            _ => echo(now, input, answer),
        }
    })
    .await;
    let mut flood = running.network.dial(running.addr).await;
    let flooding =
        tokio::spawn(async move { while flood.write_all(&[b'x'; PIPE_BYTES]).await.is_ok() {} });
    let mut client = running.network.dial(running.addr).await;
    assert_eq!(read_line(&mut client).await, "hello\n");
    for _ in 0..100 {
        client.write_all(b"ahoy\n").await.unwrap();
        assert_eq!(read_line(&mut client).await, "you said: ahoy\n");
    }
    running.handle.stop().await.unwrap();
    running.run.await.unwrap().unwrap();
    flooding.await.unwrap();
}
