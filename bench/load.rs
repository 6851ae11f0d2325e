//! Mail for a relay under test, and the least that a durable relay can be. Needs nothing but
//! `rustc -O`; everything stays on 127.0.0.1.
//!
//! ```text
//!   clients ──► relay, port TO ──► exchanges, ports SINK .. SINK + PORTS
//!      └── message n: to u@dNN.example.net, NN = n mod PORTS; "X-Load: n" in its header ──┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "\
load drive TO SINK PORTS MESSAGES BYTES EACH
    Sends MESSAGES of BYTES each to port TO over 50 connections, each used for EACH messages (0: for
    all), and takes them on PORTS ports from SINK on. Prints what came of it as JSON.
load bare LOG PORT SINK
    A relay that appends each message to LOG, syncs once for all that wait, and only then says 250.
    It never tries again, reads nothing back and checks nothing: a ceiling, no mail server.";

/// Clients at a time.
const CLIENTS: u64 = 50;

/// A line of a body, with its end.
const LINE_BYTES: usize = 78;

/// Connections of the bare relay to one exchange.
const LANE_CONNECTIONS_MAX: usize = 10;

/// What clients and exchanges wait for the other side at most.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize| args[at].parse::<u64>().expect("a number");
    match (args.first().map(String::as_str), args.len()) {
        (Some("drive"), 7) => {
            let (to, sink, ports) = (number(1) as u16, number(2) as u16, number(3));
            let load = Load::new(to, ports, number(4), number(5) as usize, number(6));
            load.listen(sink);
            load.run();
        }
        (Some("bare"), 4) => bare(&args[1], number(2) as u16, number(3) as u16),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}

/// Threads here need little, and there are hundreds of them.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().stack_size(256 << 10).spawn(work).expect("a thread")
}

/// One end of a dialogue.
struct Peer {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    line: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let writer = stream.try_clone()?;
        Ok(Self { reader: BufReader::with_capacity(64 << 10, stream), writer, line: Vec::new() })
    }

    fn connect(port: u16, name: &str) -> io::Result<Self> {
        let mut peer = Self::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)?;
        peer.expect(b'2')?;
        peer.ask(format!("EHLO {name}\r\n").as_bytes(), b'2')?;
        Ok(peer)
    }

    /// The next line with its end; empty at the end of the stream.
    fn next_line(&mut self) -> io::Result<&[u8]> {
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line)?;
        Ok(&self.line)
    }

    /// A whole reply, which has to begin with this digit.
    fn expect(&mut self, class: u8) -> io::Result<()> {
        while self.next_line()?.get(3) == Some(&b'-') {}
        if self.line.first() == Some(&class) {
            return Ok(());
        }
        Err(io::Error::other(format!("reply {:?}", String::from_utf8_lossy(&self.line))))
    }

    fn ask(&mut self, command: &[u8], class: u8) -> io::Result<()> {
        self.writer.write_all(command)?;
        self.expect(class)
    }
}

/// What is to be sent, and what has arrived.
struct Load {
    to: u16,
    domains: u64,
    messages: u64,
    bytes: usize,
    each: u64,
    text: Vec<u8>,
    begin: Instant,
    next: AtomicU64,
    accepted: AtomicU64,
    copies: Vec<AtomicU8>,
    arrived: AtomicU64,
    strangers: AtomicU64,
    last_us: AtomicU64,
    errors: Mutex<Vec<String>>,
}

impl Load {
    fn new(to: u16, domains: u64, messages: u64, bytes: usize, each: u64) -> Arc<Self> {
        Arc::new(Self {
            to,
            domains,
            messages,
            bytes,
            each,
            text: text(),
            begin: Instant::now(),
            next: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            copies: (0..messages).map(|_| AtomicU8::new(0)).collect(),
            arrived: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
            errors: Mutex::new(Vec::new()),
        })
    }

    /// Sends everything, waits for it, prints the result.
    fn run(self: &Arc<Self>) {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let load = Arc::clone(self);
                // Not all connections in one burst: some relays have a short backlog.
                thread::sleep(Duration::from_millis(2));
                spawn(move || load.send_all())
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("a client that ends"));
        let mut seen = (0, Instant::now());
        while seen.0 < self.accepted.load(Relaxed) && seen.1.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
            let arrived = self.arrived.load(Relaxed);
            if arrived > seen.0 {
                seen = (arrived, Instant::now());
            }
        }
        // Copies and the relay's last notes may still come.
        thread::sleep(Duration::from_millis(300));
        let twice = self.copies.iter().filter(|copies| copies.load(Relaxed) > 1).count();
        let errors = self.errors.lock().unwrap();
        println!(
            "{{\"accepted\": {}, \"arrived\": {}, \"twice\": {twice}, \"strangers\": {}, \
             \"seconds\": {}, \"errors\": {}, \"first_error\": {:?}}}",
            self.accepted.load(Relaxed),
            self.arrived.load(Relaxed),
            self.strangers.load(Relaxed),
            self.last_us.load(Relaxed) as f64 / 1e6,
            errors.len(),
            errors.first().map_or("", String::as_str),
        );
    }

    fn send_all(&self) {
        let mut client: Option<Peer> = None;
        let mut used = 0;
        loop {
            let id = self.next.fetch_add(1, Relaxed);
            if id >= self.messages {
                break;
            }
            while let Err(error) = self.send(&mut client, id) {
                client = None;
                let mut errors = self.errors.lock().unwrap();
                errors.push(error.to_string());
                if errors.len() > 1000 {
                    return;
                }
                drop(errors);
                thread::sleep(Duration::from_millis(20));
            }
            used += 1;
            if used == self.each {
                quit(client.take());
                used = 0;
            }
        }
        quit(client);
    }

    fn send(&self, client: &mut Option<Peer>, id: u64) -> io::Result<()> {
        if client.is_none() {
            *client = Some(Peer::connect(self.to, "load.example.com")?);
        }
        let Some(client) = client else { return Ok(()) };
        let recipient = format!("u@d{:02}.example.net", id % self.domains);
        client.ask(b"MAIL FROM:<load@example.com>\r\n", b'2')?;
        client.ask(format!("RCPT TO:<{recipient}>\r\n").as_bytes(), b'2')?;
        client.ask(b"DATA\r\n", b'3')?;
        let mut message = format!(
            "X-Load: {id}\r\nFrom: <load@example.com>\r\nTo: <{recipient}>\r\nSubject: {id}\r\n\
             Date: Sat, 21 Nov 2026 08:00:00 +0000\r\nMessage-ID: <{id}@load.example.com>\r\n\r\n"
        )
        .into_bytes();
        let lines = self.bytes / LINE_BYTES;
        let start = id as usize * 7919 % (self.text.len() / LINE_BYTES - lines) * LINE_BYTES;
        message.extend_from_slice(&self.text[start..start + lines * LINE_BYTES]);
        message.extend_from_slice(b".\r\n");
        client.ask(&message, b'2')?;
        self.accepted.fetch_add(1, Relaxed);
        Ok(())
    }

    fn listen(self: &Arc<Self>, first_port: u16) {
        for port in first_port..first_port + self.domains as u16 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
            let load = Arc::clone(self);
            spawn(move || {
                for stream in listener.incoming().flatten() {
                    let load = Arc::clone(&load);
                    // A relay that breaks off has its reasons; what counts is what arrives.
                    spawn(move || load.exchange(Peer::new(stream)?));
                }
            });
        }
    }

    fn exchange(&self, mut peer: Peer) -> io::Result<()> {
        let mut replies: Vec<u8> = b"220 exchange\r\n".to_vec();
        loop {
            // Commands that came together are answered together.
            if peer.reader.buffer().is_empty() {
                peer.writer.write_all(&replies)?;
                replies.clear();
            }
            let verb = peer.next_line()?.get(..4).unwrap_or_default().to_ascii_uppercase();
            match &verb[..] {
                b"" => return Ok(()),
                b"EHLO" => replies.extend_from_slice(
                    b"250-exchange\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000\r\n",
                ),
                b"DATA" => {
                    replies.extend_from_slice(b"354 go on\r\n");
                    peer.writer.write_all(&replies)?;
                    replies.clear();
                    let id = self.take_body(&mut peer)?;
                    self.note(id);
                    replies.extend_from_slice(b"250 taken\r\n");
                }
                b"QUIT" => return peer.writer.write_all(b"221 bye\r\n"),
                _ => replies.extend_from_slice(b"250 ok\r\n"),
            }
        }
    }

    /// The number in the body's header.
    fn take_body(&self, peer: &mut Peer) -> io::Result<Option<u64>> {
        let mut id = None;
        loop {
            match peer.next_line()? {
                b"" => return Err(io::ErrorKind::UnexpectedEof.into()),
                b".\r\n" => return Ok(id),
                line if id.is_none() => {
                    id = line.strip_prefix(b"X-Load: ").and_then(|number| {
                        std::str::from_utf8(number).ok()?.trim_end().parse().ok()
                    });
                }
                _ => {}
            }
        }
    }

    fn note(&self, id: Option<u64>) {
        let Some(copies) = id.and_then(|id| self.copies.get(id as usize)) else {
            self.strangers.fetch_add(1, Relaxed);
            return;
        };
        if copies.fetch_add(1, Relaxed) == 0 {
            self.last_us.fetch_max(self.begin.elapsed().as_micros() as u64, Relaxed);
            self.arrived.fetch_add(1, Relaxed);
        }
    }
}

fn quit(client: Option<Peer>) {
    if let Some(mut client) = client {
        // Everything that counts has been acknowledged.
        let _ = client.ask(b"QUIT\r\n", b'2');
    }
}

/// 1 MiB of lines that compress as badly as an encoded attachment.
fn text() -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = 1_u64;
    let mut text = Vec::with_capacity((1 << 20) + LINE_BYTES);
    while text.len() < 1 << 20 {
        for _ in 0..LINE_BYTES - 2 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push(DIGITS[(random >> 58) as usize]);
        }
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// What the bare relay knows of a message.
struct Mail {
    envelope: Vec<u8>,
    /// As it came, up to the final dot.
    body: Vec<u8>,
    domain: u16,
    /// Who waits for it to be safe.
    client: SyncSender<()>,
}

fn bare(log: &str, port: u16, sink: u16) {
    let log = std::fs::File::create(log).expect("a log");
    let (arrivals, waiting) = mpsc::channel();
    spawn(move || commit(log, &waiting, sink));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
    for stream in listener.incoming().flatten() {
        let arrivals = arrivals.clone();
        spawn(move || receive(Peer::new(stream)?, &arrivals));
    }
}

fn receive(mut peer: Peer, arrivals: &Sender<Mail>) -> io::Result<()> {
    let (client, safe) = mpsc::sync_channel(1);
    let mut envelope = Vec::new();
    peer.writer.write_all(b"220 bare\r\n")?;
    loop {
        let line = peer.next_line()?;
        let reply: &[u8] = match line.get(..4).unwrap_or_default() {
            b"" => return Ok(()),
            b"MAIL" => {
                envelope = line.to_vec();
                b"250 ok\r\n"
            }
            b"RCPT" => {
                envelope.extend_from_slice(line);
                b"250 ok\r\n"
            }
            b"DATA" => {
                peer.writer.write_all(b"354 go on\r\n")?;
                let mut body = b"Received: by bare\r\n".to_vec();
                let mut end = 0;
                while &body[end..] != b".\r\n" {
                    end = body.len();
                    if peer.reader.read_until(b'\n', &mut body)? == 0 {
                        return Ok(());
                    }
                }
                // ".. TO:<u@dNN.example.net>"
                let digits = envelope.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 2);
                let digits = String::from_utf8_lossy(&envelope[digits..digits + 2]).into_owned();
                let domain = digits.parse().map_err(io::Error::other)?;
                let mail =
                    Mail { envelope: envelope.clone(), body, domain, client: client.clone() };
                arrivals.send(mail).map_err(io::Error::other)?;
                safe.recv().map_err(io::Error::other)?;
                b"250 safe\r\n"
            }
            b"QUIT" => return peer.writer.write_all(b"221 bye\r\n"),
            _ => b"250 ok\r\n",
        };
        peer.writer.write_all(reply)?;
    }
}

/// Mail to one exchange.
#[derive(Default)]
struct Lane {
    state: Mutex<LaneState>,
    filled: Condvar,
}

#[derive(Default)]
struct LaneState {
    mails: VecDeque<Mail>,
    connections: usize,
    idle: usize,
}

/// Makes all that waits safe at once; then acknowledges and delivers it.
fn commit(mut log: std::fs::File, waiting: &Receiver<Mail>, sink: u16) {
    let mut lanes: HashMap<u16, Arc<Lane>> = HashMap::new();
    while let Ok(first) = waiting.recv() {
        let mails: Vec<_> = [first].into_iter().chain(waiting.try_iter()).collect();
        let bytes: Vec<_> =
            mails.iter().flat_map(|mail| [&mail.envelope[..], &mail.body]).collect();
        log.write_all(&bytes.concat()).expect("room in the log");
        log.sync_data().expect("a disk that syncs");
        for mail in mails {
            // A client that has gone has its message all the same.
            let _ = mail.client.send(());
            let port = sink + mail.domain;
            let lane = lanes.entry(port).or_default();
            let mut state = lane.state.lock().unwrap();
            state.mails.push_back(mail);
            if state.idle < state.mails.len() && state.connections < LANE_CONNECTIONS_MAX {
                state.connections += 1;
                let lane = Arc::clone(lane);
                spawn(move || deliver(&lane, port).expect("an exchange that takes mail"));
            }
            lane.filled.notify_one();
        }
    }
}

fn deliver(lane: &Lane, port: u16) -> io::Result<()> {
    let mut peer = Peer::connect(port, "bare.example.org")?;
    loop {
        let mut state = lane.state.lock().unwrap();
        while state.mails.is_empty() {
            state.idle += 1;
            state = lane.filled.wait(state).unwrap();
            state.idle -= 1;
        }
        let Some(Mail { mut envelope, body, .. }) = state.mails.pop_front() else { continue };
        drop(state);
        envelope.extend_from_slice(b"DATA\r\n");
        peer.ask(&envelope, b'2')?;
        peer.expect(b'2')?;
        peer.expect(b'3')?;
        peer.ask(&body, b'2')?;
    }
}
