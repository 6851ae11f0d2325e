//! The daemon as its operator sees it: what it says, what it writes, how it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// A daemon in a folder of its own, relaying everything to `next_hop`. It sends no bounces, which
/// would be in the logs as well.
struct Daemon {
    process: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    folder: TempDir,
    addr: SocketAddr,
}

impl Daemon {
    fn start(next_hop: SocketAddr) -> Self {
        Self::start_with(next_hop, "")
    }

    fn start_with(next_hop: SocketAddr, options: &str) -> Self {
        Self::start_logging(next_hop, options, ALL_LOGS)
    }

    fn start_logging(next_hop: SocketAddr, options: &str, logs: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "spoolbase = \"{}/spool\"\nrelay_hosts = ( \"127.0.0.1\" )\n\
             gateway = \"{}\"\nremote_smtp_port = {}\n\
             generate_bounces = false\n\
             esmtp_listener {{ listen \"127.0.0.1:0\" {{ }} }}\n{options}\n",
            folder.path().display(),
            next_hop.ip(),
            next_hop.port(),
        );
        fs::write(folder.path().join("t.conf"), config).unwrap();
        let mut process = daemon_logging(folder.path(), logs).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap()).lines();
        let addr = stderr.by_ref().map(Result::unwrap).find_map(|line| {
            let (_, addr) = line.split_once("listening on ")?;
            Some(addr.parse().unwrap())
        });
        Self { process, stderr, folder, addr: addr.unwrap() }
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for a line on standard error.
    fn says(&mut self, text: &str) {
        let said = self.stderr.by_ref().map(Result::unwrap).find(|line| line.contains(text));
        assert!(said.is_some(), "the daemon ended without saying {text:?}");
    }

    /// The exit code, and the types of the records in order.
    fn ended(mut self) -> (i32, Vec<String>) {
        let code = self.process.wait().unwrap().code().unwrap();
        let records = fs::read_to_string(self.folder.path().join("records")).unwrap();
        let types = records.lines().map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["type"].as_str().unwrap().to_owned()
        });
        (code, types.collect())
    }
}

const ALL_LOGS: &[&str] = &[
    "--records",
    "records",
    "--mainlog",
    "mainlog",
    "--bouncelog",
    "bouncelog",
    "--rejectlog",
    "rejectlog",
];

fn daemon(folder: &Path) -> Command {
    daemon_logging(folder, ALL_LOGS)
}

fn daemon_logging(folder: &Path, logs: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_traject"));
    command.arg("daemon").arg("t.conf").args(logs);
    command.current_dir(folder).env_remove("RUST_LOG").stderr(Stdio::piped());
    command
}

/// One end of a dialogue.
struct Dialogue(BufReader<TcpStream>);

impl Dialogue {
    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The next line.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// Reads replies up to one with this code.
    fn hear_code(&mut self, code: &str) {
        while !self.hear().starts_with(&format!("{code} ")) {}
    }
}

fn client(addr: SocketAddr) -> Dialogue {
    let mut client = Dialogue(BufReader::new(TcpStream::connect(addr).unwrap()));
    client.hear_code("220");
    client.say("EHLO client.test\r\n");
    client.hear_code("250");
    client
}

fn send(client: &mut Dialogue, body: &str) {
    send_to(client, "b@example.org", body);
}

fn send_to(client: &mut Dialogue, recipient: &str, body: &str) {
    for (command, code) in [
        ("MAIL FROM:<a@client.test>", "250"),
        (&format!("RCPT TO:<{recipient}>"), "250"),
        ("DATA", "354"),
        (&format!("{body}\r\n."), "250"),
    ] {
        client.say(&format!("{command}\r\n"));
        client.hear_code(code);
    }
}

/// A next hop that takes one message on one connection and returns what came after DATA.
fn sink() -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut peer = Dialogue(BufReader::new(listener.accept().unwrap().0));
        peer.say("220 sink.test\r\n");
        loop {
            let command = peer.hear();
            match command.trim_end() {
                "DATA" => break,
                "" => panic!("the peer has gone"),
                _ => peer.say("250 go on\r\n"),
            }
        }
        peer.say("354 go on\r\n");
        let lines = std::iter::from_fn(|| Some(peer.hear()).filter(|line| line != ".\r\n"));
        let body = lines.collect();
        peer.say("250 taken\r\n");
        let _quit = peer.hear();
        peer.say("221 bye\r\n");
        body
    });
    (addr, thread)
}

#[test]
fn a_message_goes_through_and_sigterm_ends_in_peace() {
    let (next_hop, sink) = sink();
    let mut daemon = Daemon::start(next_hop);
    let mut client = client(daemon.addr);
    send(&mut client, "Subject: through\r\n\r\n..a dot\r\na line");
    client.say("QUIT\r\n");
    client.hear_code("221");
    drop(client);
    let mut records = String::new();
    while !records.contains("delivery") {
        records = fs::read_to_string(daemon.folder.path().join("records")).unwrap();
        assert!(!records.contains("failure"), "{records}");
        std::thread::yield_now();
    }
    daemon.signal("TERM");
    daemon.says("messages=0");
    let (code, records) = daemon.ended();
    assert_eq!(code, 0);
    assert_eq!(records, ["reception", "connection_opened", "delivery", "connection_closed"]);
    let body = sink.join().unwrap();
    assert!(body[0].starts_with("Received: from "), "{body:?}");
    let ours = body.iter().position(|line| line.starts_with("Subject")).unwrap();
    assert_eq!(body[ours..], ["Subject: through\r\n", "\r\n", "..a dot\r\n", "a line\r\n"]);
}

#[test]
fn a_client_inside_is_told_and_a_second_signal_does_not_wait_for_anybody() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut daemon = Daemon::start(deaf.local_addr().unwrap());
    let mut client = client(daemon.addr);
    send(&mut client, "Subject: stays");
    // The next hop never greets: the daemon has something under way that does not end.
    let (mut waiting, _) = deaf.accept().unwrap();
    daemon.signal("INT");
    daemon.says("ending");
    client.hear_code("421");
    assert!(TcpStream::connect(daemon.addr).is_err(), "nobody is let in any more");
    daemon.signal("TERM");
    daemon.says("ending at once");
    daemon.says("messages=1");
    let (code, records) = daemon.ended();
    assert_eq!(code, 0);
    assert!(!records.contains(&"delivery".to_owned()), "{records:?}");
    // Whatever became of the connection, it is over.
    let _ = waiting.read_to_end(&mut Vec::new());
}

#[test]
fn a_hangup_reads_the_configuration_again_and_refuses_one_with_errors() {
    let (next_hop, sink) = sink();
    let mut daemon = Daemon::start_with(next_hop, "suspend_delivery = true");
    let path = daemon.folder.path().join("t.conf");
    let held = fs::read_to_string(&path).unwrap();
    let mut client = client(daemon.addr);
    send(&mut client, "Subject: waits");
    fs::write(&path, held.replace("suspend_delivery", "suspend_everything")).unwrap();
    daemon.signal("HUP");
    daemon.says("not reloaded, the old configuration stays");
    daemon.says("unknown option `suspend_everything`");
    let freed = held.replace("suspend_delivery = true", "resolv_conf = \"127.0.0.1:53\"");
    fs::write(&path, freed).unwrap();
    daemon.signal("HUP");
    daemon.says("another configuration is in force");
    daemon.says("resolv_conf changed, which needs a restart");
    let body = sink.join().unwrap();
    assert!(body.contains(&"Subject: waits\r\n".to_owned()), "{body:?}");
    daemon.signal("TERM");
    daemon.says("ending: no new connections");
    let (code, records) = daemon.ended();
    assert_eq!(code, 0);
    assert_eq!(records[..2], ["reception", "reconfigured"]);
}

/// A next hop that refuses mail for `nobody`, puts mail for `later` off and takes the rest.
fn picky_sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(|| serve_picky(Dialogue(BufReader::new(stream.unwrap()))));
        }
    });
    addr
}

fn serve_picky(mut peer: Dialogue) {
    peer.say("220 sink.test\r\n");
    loop {
        let command = peer.hear();
        match command.trim_end() {
            "" => return,
            "DATA" => {
                peer.say("354 go on\r\n");
                while peer.hear() != ".\r\n" {}
                peer.say("250 taken\r\n");
            }
            rcpt if rcpt.contains("<nobody@") => peer.say("550 5.1.1 no @user@ here\r\n"),
            rcpt if rcpt.contains("<later@") => peer.say("451 4.7.1 come back\r\n"),
            _ => peer.say("250 go on\r\n"),
        }
    }
}

impl Daemon {
    /// The lines of a log once as many have come as are wanted.
    fn lines_of(&self, log: &str, wanted: usize) -> Vec<String> {
        loop {
            let text = fs::read_to_string(self.folder.path().join(log)).unwrap_or_default();
            let lines: Vec<_> = text.split_inclusive('\n').map(str::to_owned).collect();
            if lines.len() >= wanted && text.ends_with('\n') {
                return lines;
            }
            std::thread::yield_now();
        }
    }
}

/// The fields of a line of the mainlog or bouncelog that do not change from run to run.
fn steady(line: &str) -> Vec<&str> {
    let fields: Vec<_> = line.trim_end().splitn(16, '@').collect();
    assert!(fields[0].parse::<u64>().is_ok_and(|seconds| seconds > 1_700_000_000), "{line}");
    let (batch, message) = (fields[2], fields[1]);
    assert_eq!(message, format!("{batch}-0"), "{line}");
    fields[4..].to_vec()
}

#[test]
fn each_outcome_has_its_line_in_each_log() {
    let mut daemon = Daemon::start(picky_sink());
    let mut client = client(daemon.addr);
    for (count, recipient) in [(2, "b"), (4, "later"), (6, "nobody")] {
        send_to(&mut client, &format!("{recipient}@{recipient}.test"), "Subject: x");
        daemon.lines_of("mainlog", count);
    }
    client.say("RCPT TO:<no-mail@before.it>\r\n");
    client.hear_code("503");
    let (main, bounce) = (daemon.lines_of("mainlog", 6), daemon.lines_of("bouncelog", 2));
    let reject = daemon.lines_of("rejectlog", 1);
    daemon.signal("TERM");
    daemon.says("messages=1");
    let main: Vec<_> = main.iter().map(|line| steady(line)).collect();
    // The size counts a trace header whose length depends on ports and times.
    let size = main[0][6];
    let local = "127.0.0.1";
    let r = |to| vec!["R", to, "", "a", "client.test", local, size, "esmtp", "default", "default"];
    for (line, to, domain) in
        [(0, "b", "b.test"), (2, "later", "later.test"), (4, "nobody", "nobody.test")]
    {
        let mut expected = r(to);
        (expected[2], expected[6]) = (domain, main[line][6]);
        assert_eq!(main[line], expected);
    }
    // The domain is that of the queue: of the gateway.
    assert_eq!(main[1], ["D", local, size, "default", "default", "0", main[1][6], local]);
    let temporary = ["451 4.7.1 come back"];
    let failed = |kind, seconds, text: &[&'static str]| {
        let mut fields = vec![kind, local, "0", "default", "default", "5", "0", seconds, local];
        fields.extend_from_slice(text);
        fields
    };
    assert_eq!(main[3], failed("T", main[3][7], &temporary));
    let permanent = ["550 5.1.1 no ", "user", " here"];
    assert_eq!(main[5], failed("P", main[5][7], &permanent));
    assert_eq!(bounce.len(), 2);
    assert_eq!(steady(&bounce[0])[..2], ["T", "later"]);
    let fields = ["B", "nobody", "nobody.test", "a", "client.test", "default", "default"];
    let bounced = steady(&bounce[1]);
    assert_eq!(bounced[..7], fields);
    assert_eq!(bounced[7..9], ["5", "10"]);
    assert_eq!(bounced[9..], [main[4][6], local, "550 5.1.1 no @user@ here"]);
    let (_, words) = reject[0].split_once(": R=\"127.0.0.1:").unwrap();
    let (_, words) = words.split_once(&format!("\" L=\"{}\" C=\"", daemon.addr)).unwrap();
    assert!(words.contains("P=\"rcpt\" E=503 M=\"\""), "{words}");
    assert_eq!(daemon.ended().0, 0);
}

#[test]
fn the_configuration_names_logs_and_what_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let log = |name: &str| folder.path().join(name).display().to_string();
    let stanzas = format!(
        "ec_logger \"all\" {{ mainlog = \"{}\" mainlog_mode = 0600 rejectlog = \"\" }}\n\
         ec_logger \"sent\" {{ mainlog = \"{}\" rejectlog = none log_receptions = true }}\n\
         bounce_logger {{ bouncelog = \"{}\" }}",
        log("all"),
        log("sent"),
        log("unused")
    );
    // The command line names a bouncelog, and so it is the only one.
    let mut daemon = Daemon::start_logging(picky_sink(), &stanzas, &["--bouncelog", "bouncelog"]);
    let mut client = client(daemon.addr);
    let path = daemon.folder.path().join("t.conf");
    send_to(&mut client, "a@a.test", "Subject: x");
    assert_eq!(daemon.lines_of(&log("sent"), 2).len(), 2);
    // What is written down changes with a reload; the files do not.
    let changed = fs::read_to_string(&path).unwrap().replace("s = true", "s = false");
    fs::write(&path, changed.replace(&log("unused"), &log("other"))).unwrap();
    daemon.signal("HUP");
    daemon.says("another configuration is in force");
    daemon.says("the files in `ec_logger` and `bounce_logger` changed, which needs a restart");
    send_to(&mut client, "nobody@a.test", "Subject: x");
    let letters = |log: &str, count| -> Vec<String> {
        let lines = daemon.lines_of(log, count);
        lines.iter().map(|line| steady(line)[0].to_owned()).collect()
    };
    assert_eq!(letters(&log("all"), 4), ["R", "D", "R", "P"]);
    assert_eq!(letters(&log("sent"), 3), ["R", "D", "P"]);
    assert_eq!(letters("bouncelog", 1), ["B"]);
    for (name, exists) in [("unused", false), ("other", false), ("all", true)] {
        assert_eq!(folder.path().join(name).exists(), exists, "{name}");
    }
    let mode = fs::metadata(folder.path().join("all")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!daemon.folder.path().join("records").exists());
    daemon.signal("TERM");
    daemon.says("messages=0");
    assert!(daemon.process.wait().unwrap().success());
}

#[test]
fn a_bounce_that_comes_by_mail_is_in_the_bouncelog_and_goes_no_further() {
    let options = "bounce_domains = ( ours.test ) bounce_behavior = blackhole";
    let mut daemon = Daemon::start_with(picky_sink(), options);
    let mut client = client(daemon.addr);
    let report = "Subject: returned\r\n\r\nFinal-Recipient: rfc822; bob@far.test\r\n\
                  Action: failed\r\nDiagnostic-Code: smtp; 552 5.2.2 full";
    send_to(&mut client, "ann+7@ours.test", report);
    let bounce = daemon.lines_of("bouncelog", 1);
    let fields = steady(&bounce[0]);
    let expected = ["B", "bob", "far.test", "ann+7", "ours.test", "default", "default", "21", "22"];
    assert_eq!(fields[..9], expected);
    assert_eq!(fields[10..], ["127.0.0.1", "552 5.2.2 full"]);
    client.say("QUIT\r\n");
    client.hear_code("221");
    daemon.signal("TERM");
    daemon.says("messages=0");
    let (code, records) = daemon.ended();
    assert_eq!(code, 0);
    assert_eq!(records, ["reception", "out_of_band_bounce"]);
}

#[test]
fn rotation_loses_no_line() {
    let mut daemon = Daemon::start(picky_sink());
    let mut client = client(daemon.addr);
    let logs = ["records", "mainlog"];
    send(&mut client, "Subject: before");
    daemon.lines_of("mainlog", 2);
    for log in logs {
        let path = daemon.folder.path().join(log);
        fs::rename(&path, path.with_extension("1")).unwrap();
    }
    send(&mut client, "Subject: between");
    daemon.lines_of("mainlog.1", 4);
    daemon.signal("HUP");
    daemon.says("another configuration is in force");
    // Opened and perhaps empty; what is in it came after the signal.
    while !logs.iter().all(|log| daemon.folder.path().join(log).exists()) {
        std::thread::yield_now();
    }
    send(&mut client, "Subject: after");
    let mut lines = daemon.lines_of("mainlog", 2);
    daemon.signal("TERM");
    daemon.says("messages=0");
    lines.splice(0..0, daemon.lines_of("mainlog.1", 4));
    let kinds: Vec<_> = lines.iter().map(|line| steady(line)[0]).collect();
    assert_eq!(kinds, ["R", "D", "R", "D", "R", "D"]);
    let before = fs::read_to_string(daemon.folder.path().join("records.1")).unwrap();
    let (_, after) = daemon.ended();
    let of = |kind: &str| {
        before.matches(&format!("\"type\":\"{kind}\"")).count()
            + after.iter().filter(|one| *one == kind).count()
    };
    assert_eq!([of("reception"), of("delivery")], [3, 3]);
}

#[test]
fn a_full_log_disk_stops_no_mail_and_costs_no_line_once_there_is_room() {
    let mut daemon = Daemon::start(picky_sink());
    let mut client = client(daemon.addr);
    let path = daemon.folder.path().join("mainlog");
    fs::remove_file(&path).unwrap();
    symlink("/dev/full", &path).unwrap();
    daemon.signal("HUP");
    daemon.says("another configuration is in force");
    for subject in ["one", "two"] {
        send(&mut client, &format!("Subject: {subject}"));
    }
    daemon.says("a log cannot be written, mail goes on");
    let delivered = |lines: Vec<String>| {
        lines.iter().filter(|line| line.contains("\"type\":\"delivery\"")).count()
    };
    while delivered(daemon.lines_of("records", 1)) < 2 {
        std::thread::yield_now();
    }
    fs::remove_file(&path).unwrap();
    daemon.signal("HUP");
    daemon.says("a log can be written again log=\"mainlog\" lost=0");
    let kinds = daemon.lines_of("mainlog", 4);
    let mut kinds: Vec<_> = kinds.iter().map(|line| steady(line)[0]).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["D", "D", "R", "R"]);
    daemon.signal("TERM");
    daemon.says("messages=0");
    assert_eq!(daemon.ended().0, 0);
}

#[test]
fn a_service_manager_is_told_how_it_is_going() {
    let sockets = tempfile::tempdir().unwrap();
    let path = sockets.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let told = || {
        let mut words = [0; 200];
        let length = manager.recv(&mut words).unwrap();
        let words = str::from_utf8(&words[..length]).unwrap();
        words.lines().next().unwrap().to_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    let config = format!("spoolbase = \"{}/spool\"\n", folder.path().display());
    fs::write(folder.path().join("t.conf"), &config).unwrap();
    let mut process = daemon(folder.path()).env("NOTIFY_SOCKET", &path).spawn().unwrap();
    let signal = |name: &str| {
        let id = process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    };
    assert_eq!(told(), "READY=1");
    signal("HUP");
    assert_eq!([told(), told()], ["RELOADING=1", "READY=1"]);
    // A reload that is refused is over, too.
    fs::write(folder.path().join("t.conf"), config + "nonsense = 1").unwrap();
    signal("HUP");
    assert_eq!([told(), told()], ["RELOADING=1", "READY=1"]);
    signal("TERM");
    assert_eq!(told(), "STOPPING=1");
    assert!(process.wait().unwrap().success());
}

#[test]
fn what_cannot_be_used_is_said_and_told_apart_by_the_exit_code() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("nonsense = 1".to_owned(), 3, "unknown option `nonsense`"),
        (
            format!("esmtp_listener {{ listen \"{}\" {{ }} }}", taken.local_addr().unwrap()),
            2,
            "cannot listen on 127.0.0.1:",
        ),
        ("resolv_conf = \"/nowhere\"".to_owned(), 2, "cannot ask the DNS: /nowhere: "),
    ];
    for (config, code, words) in cases {
        let spool = format!("spoolbase = \"{}/spool\"\n", folder.path().display());
        fs::write(folder.path().join("t.conf"), spool + &config).unwrap();
        let output = daemon(folder.path()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{config}: {stderr}");
        assert!(stderr.contains(words), "{config}: {stderr}");
    }
}

/// Each line is an object, from the first word about the configuration to the last about the end.
#[test]
fn what_standard_error_is_told_may_be_json() {
    let folder = tempfile::tempdir().unwrap();
    let spool = format!("spoolbase = \"{}/spool\"\nsnmp {{ }}\n", folder.path().display());
    for (config, code, told) in [
        (
            "resolv_conf = \"/nowhere\"",
            2,
            [
                ("WARN", "`snmp` is understood, but not implemented yet", Some("t.conf:2:1")),
                ("ERROR", "cannot ask the DNS: /nowhere: ", None),
            ],
        ),
        (
            "nonsense = 1",
            3,
            [
                ("ERROR", "unknown option `nonsense`", Some("t.conf:3:1")),
                ("ERROR", "t.conf cannot be used", None),
            ],
        ),
    ] {
        fs::write(folder.path().join("t.conf"), format!("{spool}{config}")).unwrap();
        let output = daemon(folder.path()).args(["--log-format", "json"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        for (level, message, place) in told {
            let fits = |line: &&serde_json::Value| {
                line["level"] == level
                    && line["message"].as_str().is_some_and(|text| text.starts_with(message))
                    && line["place"].as_str() == place
            };
            assert!(lines.iter().any(|line| fits(&line)), "{level} {message}: {text}");
        }
    }
}
