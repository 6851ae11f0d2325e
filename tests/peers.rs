//! The daemon between programs of others: Postfix's `smtp-source` and `smtp-sink`, Python's
//! smtplib, swaks. They stuff dots, frame lines and pipeline their own way.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use traject_tests::{
    Arrivals, Delivery, Mail, Sink, Site, Volume, find_tool, free_port, wait_until, without_trace,
};

const PATIENCE: Duration = Duration::from_secs(60);

const TRUSTED: &str = "relay_hosts = (\"127.0.0.1\")";

fn postfix_source_to_own_sink(messages: usize, recipients: usize, bytes: usize, more: &[&str]) {
    let source = match find_tool("smtp-source", "postfix") {
        Ok(source) => source,
        Err(missing) => return missing.skip(),
    };
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let daemon = site.start();
    let status = Command::new(source)
        .args(["-s", "20", "-N", "-f", "source@client.example.org", "-t", "x@d1.example.net"])
        .args(["-m", &messages.to_string(), "-r", &recipients.to_string()])
        .args(["-l", &bytes.to_string()])
        .args(more)
        .arg(site.address().to_string())
        .status()
        .unwrap();
    assert!(status.success(), "smtp-source: {status}");
    sink.wait_for_recipients(messages * recipients, PATIENCE);
    assert!(daemon.terminate().success());
    sink.assert_no_violations();

    let mut copies: BTreeMap<String, u32> = BTreeMap::new();
    for Delivery { recipients, body, .. } in sink.deliveries() {
        let message = without_trace(&body);
        let text = std::str::from_utf8(message).expect("smtp-source writes ASCII");
        let (header, payload) = text.split_once("\r\n\r\n").expect("a header section");
        assert!(header.starts_with("From: <source@client.example.org>\r\n"), "{header}");
        assert_eq!(payload.len(), bytes + 2, "as long as asked for, and a line end");
        for recipient in recipients {
            *copies.entry(recipient).or_default() += 1;
        }
    }
    assert_eq!(copies.len(), messages * recipients);
    assert!(copies.values().all(|copies| *copies == 1), "{copies:?}");
}

#[test]
fn two_thousand_messages_of_smtp_source() {
    postfix_source_to_own_sink(2000, 1, 4096, &[]);
}

#[test]
fn smtp_source_keeps_its_connections_and_names_many_recipients() {
    postfix_source_to_own_sink(200, 7, 60_000, &["-d"]);
}

/// `smtp-sink` and the folder it writes messages to.
struct PostfixSink {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl PostfixSink {
    fn start(program: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        // As root it wants to be somebody else, who must be able to write here.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let is_root = fs::metadata(folder.path()).unwrap().uid() == 0;
        let port = free_port();
        let child = Command::new(program)
            .args(if is_root { &["-u", "nobody"][..] } else { &[] })
            .arg("-d")
            .arg(folder.path().join("m."))
            .arg(format!("127.0.0.1:{port}"))
            .arg("100")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("smtp-sink listens", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { child, folder, port }
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path()).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    /// What it received, its own headers and Received line taken off.
    fn deliveries(&self) -> Vec<Delivery> {
        self.files().iter().map(|file| parse_dump(&fs::read(file).unwrap())).collect()
    }
}

impl Drop for PostfixSink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of `smtp-sink`: lines end with LF alone, and an empty one follows the message.
fn parse_dump(dump: &[u8]) -> Delivery {
    let dump = dump.strip_suffix(b"\n").expect("an empty last line");
    let mut sender = None;
    let mut recipients = Vec::new();
    let mut message = Vec::with_capacity(dump.len() + dump.len() / 20);
    for line in dump.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let path = |prefix: &str| {
            let line = std::str::from_utf8(line).ok().filter(|_| message.is_empty())?;
            Some(line.strip_prefix(prefix)?.split_once('<')?.1.split_once('>')?.0.to_owned())
        };
        if let Some(path) = path("X-Mail-Args: ") {
            sender = Some(path);
        } else if let Some(path) = path("X-Rcpt-Args: ") {
            recipients.push(path);
        } else if !message.is_empty() || !line.starts_with(b"X-") {
            message.extend_from_slice(line);
            message.extend_from_slice(b"\r\n");
        }
    }
    let body = without_trace(&message).to_vec();
    Delivery { sender: sender.expect("X-Mail-Args"), recipients, body }
}

#[test]
fn two_thousand_messages_to_smtp_sink() {
    let program = match find_tool("smtp-sink", "postfix") {
        Ok(program) => program,
        Err(missing) => return missing.skip(),
    };
    let sink = PostfixSink::start(&program);
    let site = Site::new(([127, 0, 0, 1], sink.port).into(), TRUSTED);
    let daemon = site.start();
    let mails: Vec<_> = (0..2000).map(Mail::sample).collect();
    let transactions: usize = mails.iter().map(transactions).sum();
    Volume::new(mails.clone()).send(site.address(), 10);
    wait_until("everything has arrived", PATIENCE, || sink.files().len() >= transactions);
    assert!(daemon.terminate().success());
    let arrivals = Arrivals::count(&sink.deliveries(), &mails);
    assert_eq!(arrivals.missing(&mails), Vec::<String>::new());
    assert_eq!(arrivals.duplicates(), 0);
}

/// Each domain's recipients share one.
fn transactions(mail: &Mail) -> usize {
    let domains = mail.recipients.iter().map(|recipient| recipient.split_once('@').unwrap().1);
    domains.collect::<std::collections::BTreeSet<_>>().len()
}

/// Sends the messages in a folder, one file each: `<sender> <recipients>`, then the message.
const PYTHON_CLIENT: &str = r#"
import pathlib, smtplib, sys

host, port, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
with smtplib.SMTP(host, port, timeout=60) as smtp:
    smtp.ehlo("client.example.org")
    assert smtp.has_extn("pipelining") and smtp.has_extn("8bitmime") and smtp.has_extn("size")
    for file in sorted(folder.iterdir()):
        envelope, message = file.read_bytes().split(b"\n", 1)
        sender, *recipients = envelope.decode().split(" ")
        refused = smtp.sendmail(sender, recipients, message, ["BODY=8BITMIME"])
        assert refused == {}, refused
"#;

#[test]
fn odd_messages_of_pythons_smtplib() {
    let python = match find_tool("python3", "python3") {
        Ok(python) => python,
        Err(missing) => return missing.skip(),
    };
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let daemon = site.start();
    let mails = odd_messages();
    let folder = TempDir::new().unwrap();
    for mail in &mails {
        let mut file = format!("{} {}\n", mail.sender, mail.recipients.join(" ")).into_bytes();
        file.extend_from_slice(&mail.body);
        fs::write(folder.path().join(format!("{:05}", mail.number)), file).unwrap();
    }
    let status = Command::new(python)
        .args(["-c", PYTHON_CLIENT])
        .args([site.address().ip().to_string(), site.address().port().to_string()])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(status.success(), "smtplib: {status}");
    assert_arrival(&sink, &mails);
    assert!(daemon.terminate().success());
}

#[test]
fn odd_messages_of_swaks() {
    let swaks = match find_tool("swaks", "swaks") {
        Ok(swaks) => swaks,
        Err(missing) => return missing.skip(),
    };
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let daemon = site.start();
    // The others it would edit: it completes messages without header or body, knows of no 8-bit
    // text, and takes a last line of one dot for the end.
    let mut mails = odd_messages();
    mails.retain(|mail| [2, 4, 5, 6, 7, 12].contains(&mail.number));
    for (n, mail) in mails.iter().enumerate() {
        let mut child = Command::new(&swaks)
            .args(["--server", &site.address().ip().to_string()])
            .args(["--port", &site.address().port().to_string()])
            .args(["--ehlo", "client.example.org", "--from", &mail.sender])
            .args(["--to", &mail.recipients.join(","), "--data", "-"])
            .args(["--suppress-data", "--hide-all"])
            .args(if n % 2 == 0 { &["--pipeline"][..] } else { &[] })
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // It adds a line end.
        let body = mail.body.strip_suffix(b"\r\n").expect("whole lines");
        child.stdin.take().unwrap().write_all(body).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "swaks: {status}");
    }
    assert_arrival(&sink, &mails);
    assert!(daemon.terminate().success());
}

fn assert_arrival(sink: &Sink, mails: &[Mail]) {
    sink.wait_for_recipients_of(mails, PATIENCE);
    sink.assert_no_violations();
    let arrivals = Arrivals::count(&sink.deliveries(), mails);
    assert_eq!((arrivals.missing(mails).len(), arrivals.duplicates()), (0, 0));
}

fn odd_messages() -> Vec<Mail> {
    let header = "Subject: odd\r\n\r\n";
    let long = "x".repeat(998);
    let bodies = [
        format!("{header}.\r\n..\r\n...\r\n.\r\n"),
        format!("{header}.x\r\n"),
        format!("{header}\r\n\r\n\r\n"),
        format!("{header}\t \r\n trailing spaces   \r\n"),
        format!("{header}{long}\r\n.{}\r\n", &long[1..]),
        format!("{header}QUIT\r\nRSET\r\nMAIL FROM:<a@b.example>\r\n"),
        format!("{header}From here on\r\n>From there\r\n"),
        "No header at all.\r\n".to_owned(),
        "Header-Only: yes\r\n".to_owned(),
        "Received: by elsewhere\r\n".repeat(20) + header,
        format!("{header}Grüße, 今日は, \u{85}\u{2028}\r\n"),
        header.to_owned() + &"0123456789\r\n".repeat(100_000),
    ];
    let mut mails: Vec<_> = (1..).zip(bodies).map(|(n, body)| Mail::new(n, body)).collect();
    mails[1].recipients = (0..9).map(|n| format!("{n}.2@d{n}.example.net")).collect();
    let every_byte = (1..=255).filter(|byte| !matches!(byte, b'\r' | b'\n'));
    let body = header.bytes().chain(every_byte).chain(*b"\r\n");
    mails.push(Mail::new(100, body.collect::<Vec<u8>>()));
    mails
}
