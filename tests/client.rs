//! SMTP clients that show every byte.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::Mail;

/// Longest wait for a reply: far more than any test needs, so that only a stall reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A reply, all its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its code.
    pub code: u16,
    /// The lines without their line ends.
    pub lines: Vec<String>,
}

impl Client {
    /// Connects and reads the banner, which must be a 220.
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let mut client = Self::connect_silently(server)?;
        match client.reply()? {
            Reply { code: 220, .. } => Ok(client),
            other => Err(io::Error::other(format!("banner: {other:?}"))),
        }
    }

    /// Connects and reads nothing.
    pub fn connect_silently(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one command and reads its reply.
    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            let malformed = || io::Error::other(format!("no reply line: {line:?}"));
            let code = line.get(..3).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
            let more = match line.as_bytes().get(3) {
                Some(b'-') => true,
                Some(b' ') | None => false,
                Some(_) => return Err(malformed()),
            };
            lines.push(line);
            if !more {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Reads to the end of the connection.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.unread);
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// How long [`Self::send`] may wait for a server that does not read.
    pub fn set_write_timeout(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(patience))
    }

    /// No more will be sent; replies can still be read.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// One transaction, its commands pipelined. The answer to the body, or to what failed before.
    pub fn deliver(&mut self, mail: &Mail) -> io::Result<Reply> {
        let eight_bit = if mail.is_eight_bit() { " BODY=8BITMIME" } else { "" };
        let mut commands =
            format!("MAIL FROM:<{}> SIZE={}{eight_bit}\r\n", mail.sender, mail.body.len());
        for recipient in &mail.recipients {
            commands.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
        }
        commands.push_str("DATA\r\n");
        self.send(commands.as_bytes())?;
        let mut refusal = None;
        for _ in 0..mail.recipients.len() + 1 {
            let reply = self.reply()?;
            if reply.code != 250 {
                refusal.get_or_insert(reply);
            }
        }
        let go_ahead = self.reply()?;
        if let Some(refusal) = refusal {
            return Ok(refusal);
        }
        if go_ahead.code != 354 {
            return Ok(go_ahead);
        }
        self.send(&mail.stuffed())?;
        self.reply()
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(io::Error::other);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.unread.extend_from_slice(&buffer[..read]),
            }
        }
    }
}

/// Clients that send a lot of mail and do not give up.
///
/// A message is sent until it is acknowledged; a connection that breaks is replaced, and waited
/// for while the server is down.
#[derive(Debug)]
pub struct Volume {
    waiting: Mutex<VecDeque<Mail>>,
    acknowledged: AtomicU32,
    repeated: AtomicU32,
}

impl Volume {
    /// The mail to send.
    pub fn new(mails: impl IntoIterator<Item = Mail>) -> Self {
        Self {
            waiting: Mutex::new(mails.into_iter().collect()),
            acknowledged: AtomicU32::new(0),
            repeated: AtomicU32::new(0),
        }
    }

    /// Messages acknowledged so far.
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Recipients of messages sent without an acknowledgement, counted each time: they may have
    /// been accepted all the same.
    pub fn repeated(&self) -> u32 {
        self.repeated.load(Ordering::SeqCst)
    }

    /// Sends everything over some connections at a time.
    pub fn send(&self, server: SocketAddr, connections: usize) {
        thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| self.work(server));
            }
        });
    }

    fn work(&self, server: SocketAddr) {
        let mut client: Option<Client> = None;
        while let Some(mail) = self.next() {
            loop {
                let connected = client.get_or_insert_with(|| connect_patiently(server));
                match connected.deliver(&mail) {
                    Ok(Reply { code: 250, .. }) => {
                        self.acknowledged.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                    Ok(other) if other.code != 421 => panic!("{}: {other:?}", mail.number),
                    Ok(_) => client = None,
                    Err(_) => {
                        let recipients = mail.recipients.len() as u32;
                        self.repeated.fetch_add(recipients, Ordering::SeqCst);
                        client = None;
                    }
                }
            }
        }
        if let Some(mut client) = client {
            // The server may be gone by now.
            let _ = client.command("QUIT");
        }
    }

    fn next(&self) -> Option<Mail> {
        self.waiting.lock().unwrap().pop_front()
    }
}

/// Tries until the server is there.
fn connect_patiently(server: SocketAddr) -> Client {
    for _ in 0..6000 {
        let client = Client::connect(server).and_then(|mut client| {
            client.command("EHLO client.example.org")?;
            Ok(client)
        });
        match client {
            Ok(client) => return client,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("{server} does not answer");
}
