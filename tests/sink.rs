//! The next hop: accepts every message but for [`REFUSED`] recipients, keeps its bytes, and holds
//! the client to the grammar.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::Mail;

/// What was delivered in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The path of MAIL FROM, without its brackets.
    pub sender: String,
    /// The paths of RCPT TO.
    pub recipients: Vec<String>,
    /// The message, dots unstuffed.
    pub body: Vec<u8>,
}

/// A server on a port of its own.
#[derive(Clone, Debug)]
pub struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    /// What it offers besides 8BITMIME and SIZE.
    pipelining: bool,
    /// Time between the end of a message and its acknowledgement.
    delay: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    deliveries: Vec<Delivery>,
    violations: Vec<String>,
    /// Connections that are open, and the most there ever were.
    open: u32,
    peak: u32,
}

impl Sink {
    /// Starts one that offers PIPELINING.
    pub fn start() -> Self {
        Self::start_with(true, Duration::ZERO)
    }

    /// Starts one that takes its time to acknowledge, with or without PIPELINING.
    pub fn start_with(pipelining: bool, delay: Duration) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), pipelining, delay)
    }

    /// Starts one at a port.
    pub fn start_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        Self::listen(listener, true, Duration::ZERO)
    }

    fn listen(listener: TcpListener, pipelining: bool, delay: Duration) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { address, pipelining, delay, state: Mutex::default() });
        let its = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (its, stream) = (Arc::clone(&its), stream.unwrap());
                thread::spawn(move || its.serve(&stream));
            }
        });
        Self { shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Waits until so many recipients have been delivered to, copies included; gives up after
    /// `patience` without any delivery.
    pub fn wait_for_recipients(&self, count: usize, patience: Duration) {
        self.wait(patience, |deliveries| {
            let now: usize = deliveries.iter().map(|delivery| delivery.recipients.len()).sum();
            (now < count).then(|| format!("{now} of {count} recipients have arrived"))
        });
    }

    /// Waits until each recipient of each message has been delivered to.
    pub fn wait_for_recipients_of(&self, mails: &[Mail], patience: Duration) {
        let expected: BTreeSet<&str> =
            mails.iter().flat_map(|mail| &mail.recipients).map(String::as_str).collect();
        self.wait(patience, |deliveries| {
            let recipients = deliveries.iter().flat_map(|delivery| &delivery.recipients);
            let arrived: BTreeSet<&str> = recipients.map(String::as_str).collect();
            let missing: Vec<_> = expected.difference(&arrived).collect();
            let some = &missing[..missing.len().min(10)];
            (!missing.is_empty()).then(|| format!("{} missing: {some:?} ...", missing.len()))
        });
    }

    /// Waits while `lacks` says what is lacking.
    fn wait(&self, patience: Duration, lacks: impl Fn(&[Delivery]) -> Option<String>) {
        let mut seen = (0, Instant::now());
        loop {
            let state = self.shared.state.lock().unwrap();
            let Some(lack) = lacks(&state.deliveries) else { return };
            if state.deliveries.len() > seen.0 {
                seen = (state.deliveries.len(), Instant::now());
            }
            assert!(state.violations.is_empty(), "{lack}; {:#?}", state.violations);
            assert!(seen.1.elapsed() < patience, "{lack}");
            // Not after each one: looking takes longer the more there are.
            drop(state);
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everything delivered so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.state.lock().unwrap().deliveries.clone()
    }

    /// The most connections that were open at one time. One that has said QUIT is not.
    pub fn peak_connections(&self) -> u32 {
        self.shared.state.lock().unwrap().peak
    }

    /// Panics if a client broke the grammar.
    pub fn assert_no_violations(&self) {
        let state = self.shared.state.lock().unwrap();
        assert!(state.violations.is_empty(), "{:#?}", state.violations);
    }
}

/// How recipients begin that it does not have.
pub const REFUSED: &str = "refused";

/// How a line ended a dialogue.
enum End {
    Quit,
    /// The client went away; what it said so far was fine.
    Gone,
    Violation(String),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut dialogue = Dialogue {
            sink: self,
            reader: BufReader::with_capacity(64 << 10, stream),
            writer: stream,
            greeted: false,
            sender: None,
            recipients: Vec::new(),
            refused: false,
            eight_bit: false,
        };
        self.opened();
        match dialogue.run() {
            // It was counted before the client heard of it.
            End::Quit => {}
            End::Gone => self.closed(),
            End::Violation(what) => {
                self.closed();
                self.state.lock().unwrap().violations.push(what);
            }
        }
    }

    fn opened(&self) {
        let mut state = self.state.lock().unwrap();
        state.open += 1;
        state.peak = state.peak.max(state.open);
    }

    fn closed(&self) {
        self.state.lock().unwrap().open -= 1;
    }
}

struct Dialogue<'a> {
    sink: &'a Shared,
    reader: BufReader<&'a TcpStream>,
    writer: &'a TcpStream,
    greeted: bool,
    sender: Option<String>,
    recipients: Vec<String>,
    /// Some recipient of this transaction was.
    refused: bool,
    eight_bit: bool,
}

impl Dialogue<'_> {
    fn run(&mut self) -> End {
        if self.say("220 sink.example.net ESMTP").is_err() {
            return End::Gone;
        }
        loop {
            match self.command() {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.writer.write_all(format!("{line}\r\n").as_bytes())
    }

    /// A line without its CRLF.
    fn line(&mut self, bytes_max: usize) -> Result<Vec<u8>, End> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(End::Gone);
        }
        let violation = |what: &str| {
            let text = String::from_utf8_lossy(&line).into_owned();
            Err(End::Violation(format!("{what}: {text:?}")))
        };
        match line.strip_suffix(b"\r\n") {
            // A process that was killed leaves half a line behind.
            None if line.last() != Some(&b'\n') => Err(End::Gone),
            None => violation("a line that ends with LF alone"),
            Some(text) if text.contains(&b'\r') || text.contains(&0) => {
                violation("CR or NUL inside a line")
            }
            Some(_) if line.len() > bytes_max => violation("a line that is too long"),
            Some(text) => Ok(text.to_vec()),
        }
    }

    fn command(&mut self) -> Result<(), End> {
        let line = String::from_utf8(self.line(512)?)
            .map_err(|error| End::Violation(format!("8-bit command: {error}")))?;
        let violation = |what: &str| Err(End::Violation(format!("{what}: {line:?}")));
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let ends_group = !matches!(verb, "MAIL" | "RCPT" | "RSET");
        if (ends_group || !self.sink.pipelining) && !self.reader.buffer().is_empty() {
            return violation("more was sent before the reply was read");
        }
        match verb {
            "EHLO" if !argument.is_empty() => {
                self.greeted = true;
                let pipelining = if self.sink.pipelining { "250-PIPELINING\r\n" } else { "" };
                self.say(&format!(
                    "250-sink.example.net\r\n{pipelining}250-8BITMIME\r\n250 SIZE 100000000"
                ))?;
            }
            "MAIL" if self.greeted && self.sender.is_none() => {
                let Some((path, parameters)) = path(argument, "FROM:") else {
                    return violation("no reverse-path");
                };
                for parameter in parameters.split_whitespace() {
                    match parameter.split_once('=') {
                        Some(("SIZE", size)) if size.parse::<u64>().is_ok() => {}
                        Some(("BODY", "8BITMIME")) => self.eight_bit = true,
                        Some(("BODY", "7BIT")) => {}
                        _ => return violation("a parameter that was not offered"),
                    }
                }
                self.sender = Some(path.to_owned());
                self.say("250 2.1.0 sender fine")?;
            }
            "RCPT" if self.sender.is_some() => {
                let Some((path, "")) = path(argument, "TO:") else {
                    return violation("no forward-path, or parameters");
                };
                if path.starts_with(REFUSED) {
                    self.refused = true;
                    self.say("550 5.1.1 nobody of that name")?;
                } else {
                    self.recipients.push(path.to_owned());
                    self.say("250 2.1.5 recipient fine")?;
                }
            }
            "DATA" if argument.is_empty() && !self.recipients.is_empty() => self.data()?,
            "DATA" if argument.is_empty() && self.refused => self.say("554 5.5.1 to whom?")?,
            "RSET" if argument.is_empty() => {
                self.reset();
                self.say("250 2.0.0 forgotten")?;
            }
            "QUIT" if argument.is_empty() => {
                self.sink.closed();
                // Whether or not the client still hears it.
                let _ = self.say("221 2.0.0 goodbye");
                return Err(End::Quit);
            }
            _ => return violation("a command out of order"),
        }
        Ok(())
    }

    fn data(&mut self) -> Result<(), End> {
        self.say("354 go ahead")?;
        let mut body = Vec::new();
        loop {
            // RFC 5321 section 4.5.3.1.6: 1,000 without the dot that was put in front.
            let line = self.line(1001)?;
            if line.len() > 998 && !line.starts_with(b".") {
                return Err(End::Violation(format!("a text line of {} bytes", line.len())));
            }
            match line.strip_prefix(b".") {
                Some(b"") => break,
                Some(rest) => body.extend_from_slice(rest),
                None => body.extend_from_slice(&line),
            }
            body.extend_from_slice(b"\r\n");
        }
        if !self.reader.buffer().is_empty() {
            return Err(End::Violation("more was sent before the message's reply".to_owned()));
        }
        if !body.is_ascii() && !self.eight_bit {
            return Err(End::Violation("8-bit body without BODY=8BITMIME".to_owned()));
        }
        thread::sleep(self.sink.delay);
        let sender = self.sender.clone().unwrap_or_default();
        let recipients = std::mem::take(&mut self.recipients);
        self.reset();
        // It counts from here on, whether or not the client hears of it.
        self.sink.state.lock().unwrap().deliveries.push(Delivery { sender, recipients, body });
        self.say("250 2.0.0 delivered")?;
        Ok(())
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
        self.refused = false;
        self.eight_bit = false;
    }
}

/// `FROM:<path> parameters`.
fn path<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let rest = argument.strip_prefix(keyword)?.strip_prefix('<')?;
    let (path, parameters) = rest.rsplit_once('>')?;
    let fine = parameters.is_empty() || parameters.starts_with(' ');
    fine.then_some((path, parameters))
}
