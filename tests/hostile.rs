//! Clients that mean harm, and clients that are merely broken: the daemon refuses what it must,
//! loses nothing and stays well.

use std::time::Duration;

use traject_tests::{Arrivals, Client, Daemon, Mail, Sink, Site, Volume};

const PATIENCE: Duration = Duration::from_secs(60);

const TRUSTED: &str = "relay_hosts = (\"127.0.0.1\")";

/// Resident memory a daemon under attack may have: a debug build with some hundred connections.
const RESIDENT_KIB_MAX: u64 = 200 << 10;

/// A daemon, its next hop, and what must go on working.
struct Target {
    sink: Sink,
    site: Site,
    daemon: Daemon,
}

impl Target {
    fn new(options: &str) -> Self {
        let sink = Sink::start();
        let site = Site::new(sink.address(), options);
        let daemon = site.start();
        Self { sink, site, daemon }
    }

    /// A client that has introduced itself.
    fn client(&self) -> Client {
        let mut client = Client::connect(self.site.address()).unwrap();
        assert_eq!(client.command("EHLO client.example.org").unwrap().code, 250);
        client
    }

    /// A client whose next bytes are a body.
    fn client_in_data(&self, number: u32) -> Client {
        let mut client = self.client();
        let recipient = format!("RCPT TO:<0.{number}@d0.example.net>");
        let sender = format!("MAIL FROM:<sender{number}@client.example.org>");
        for (command, code) in [(&*sender, 250), (&*recipient, 250), ("DATA", 354)] {
            assert_eq!(client.command(command).unwrap().code, code, "{command}");
        }
        client
    }

    /// Delivers one more message, checks that nothing but `mails` and it came, and that the
    /// daemon is well.
    fn assert_well(mut self, mut mails: Vec<Mail>) {
        let last = Mail::new(999_999, "Subject: still there\r\n\r\nyes\r\n");
        Volume::new([last.clone()]).send(self.site.address(), 1);
        mails.push(last);
        self.sink.wait_for_recipients_of(&mails, PATIENCE);
        let arrivals = Arrivals::count(&self.sink.deliveries(), &mails);
        assert_eq!(arrivals.duplicates(), 0);
        self.sink.assert_no_violations();
        assert!(self.daemon.is_running());
        let resident = self.daemon.resident_kib();
        assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB");
        assert!(self.daemon.terminate().success());
        assert!(!self.site.log().contains("panicked"));
    }
}

/// What some server, somewhere, takes for the end of a message. RFC 5321 knows one end only.
const FALSE_ENDS: [&[u8]; 16] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r\0\n.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\n\n.\n\n",
    b"\r\n.\x0b\r\n",
];

const SMUGGLED: &[u8] = b"MAIL FROM:<admin@client.example.org>\r\n\
    RCPT TO:<0.666@d0.example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\nboo\r\n";

#[test]
fn no_message_can_be_smuggled_inside_another() {
    let target = Target::new(TRUSTED);
    for false_end in FALSE_ENDS {
        let mut client = target.client_in_data(1);
        let body = [b"Subject: x\r\n\r\nfirst", false_end, SMUGGLED, b"\r\n.\r\n"].concat();
        client.send(&body).unwrap();
        let reply = client.reply().unwrap();
        let name = false_end.escape_ascii();
        if false_end.contains(&0x0b) {
            // Not even a stray line end: an odd line in a message that is fine.
            assert_eq!(reply.code, 250, "{name}: {reply:?}");
        } else {
            assert_eq!(reply.code, 550, "{name}: {reply:?}");
        }
        // Had it been taken for the end, there would be replies to the commands inside.
        assert_eq!(client.command("NOOP").unwrap().code, 250, "{name}");
        assert_eq!(client.command("QUIT").unwrap().code, 221, "{name}");
    }
    let mut body = [b"Subject: x\r\n\r\nfirst\r\n", &FALSE_ENDS[15][3..], SMUGGLED].concat();
    body.extend_from_slice(b"\r\n");
    target.assert_well(vec![Mail::new(1, body)]);
}

#[test]
fn strangers_cannot_relay() {
    let target = Target::new("relay_domains = (\"d1.example.net\")");
    let refused = [
        "victim@d0.example.net",
        "victim%d0.example.net@d2.example.net",
        "\"victim@d0.example.net\"",
        "\"victim%d0.example.net\"",
        "victim@d0.example.net@d1.example.net",
        "\"victim\"@d0.example.net",
        "@d1.example.net:victim@d0.example.net",
        "@d1.example.net,@d0.example.net:victim@d0.example.net",
        "d0.example.net!victim",
        "d0.example.net!victim@d2.example.net",
        "victim@[127.0.0.1]",
        "victim@127.0.0.1",
        "victim@d0.example.net.",
        "victim@d1.example.net.evil.example",
        "victim@xd1.example.net",
        "victim@sub.d1.example.net",
        "victim@d1.example.net\0.d0.example.net",
        "victim",
        "",
    ];
    for sender in ["<stranger@client.example.org>", "<>", "<spoofed@d1.example.net>"] {
        for recipient in refused {
            let mut client = target.client();
            assert_eq!(client.command(&format!("MAIL FROM:{sender}")).unwrap().code, 250);
            let reply = client.command(&format!("RCPT TO:<{recipient}>")).unwrap();
            assert!((500..600).contains(&reply.code), "{sender} {recipient:?}: {reply:?}");
            assert_eq!(client.command("DATA").unwrap().code, 503, "{recipient:?}");
        }
    }
    assert_eq!(target.sink.deliveries(), []);
    let mut client = target.client();
    let mut mail = Mail::new(1, "Subject: to a domain of ours\r\n\r\n");
    mail.recipients = vec!["0.1@D1.Example.Net".to_owned()];
    assert_eq!(client.deliver(&mail).unwrap().code, 250);
    target.sink.wait_for_recipients(1, PATIENCE);
    assert_eq!(target.sink.deliveries()[0].recipients, ["0.1@d1.example.net"]);
}

#[test]
fn what_is_too_large_is_refused_and_the_dialogue_goes_on() {
    let listener = "ESMTP_Listener { max_message_size = 100000 max_recipients_per_message = 10 }";
    let target = Target::new(&format!("{TRUSTED}\n{listener}"));
    let mut client = target.client();
    let announced = client.command("MAIL FROM:<a@b.example> SIZE=100001").unwrap();
    assert_eq!(announced.code, 552, "{announced:?}");

    let mut client = target.client_in_data(2);
    client.send(&vec![b'x'; 3_000_000]).unwrap();
    client.send(b"\r\n.\r\n").unwrap();
    assert_eq!(client.reply().unwrap().code, 552, "an unannounced one, read to its end");
    let mail = Mail::new(3, "Subject: small\r\n\r\n");
    assert_eq!(client.deliver(&mail).unwrap().code, 250);

    assert_eq!(client.command("MAIL FROM:<a@b.example>").unwrap().code, 250);
    let codes: Vec<u16> = (0..12)
        .map(|n| client.command(&format!("RCPT TO:<{n}@d0.example.net>")).unwrap().code)
        .collect();
    assert_eq!(codes, [[250; 10].as_slice(), &[452; 2]].concat());
    assert_eq!(client.command("RSET").unwrap().code, 250);

    let long = "x".repeat(200_000);
    assert_eq!(client.command(&format!("MAIL FROM:<{long}>")).unwrap().code, 500);
    assert_eq!(client.command("NOOP").unwrap().code, 250);
    target.assert_well(vec![mail]);
}

#[test]
fn garbage_is_answered_and_then_cut_off() {
    let target = Target::new(TRUSTED);
    let noise: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let http = b"GET / HTTP/1.1\r\nHost: mta.example.com\r\n\r\n";
    let junk = "JUNK\r\n".repeat(300);
    let pieces: [&[u8]; 5] = [&noise, tls_hello, http, junk.as_bytes(), &[0; 100_000]];
    for bytes in pieces {
        let mut client = Client::connect(target.site.address()).unwrap();
        // It may close while we still talk.
        let _ = client.send(bytes);
        let _ = client.half_close();
        let _ = client.rest();
    }
    let mut client = target.client();
    let codes: Vec<u16> = (0..100).map_while(|_| Some(client.command("JUNK").ok()?.code)).collect();
    assert!(codes.len() < 50 && codes.last() == Some(&421), "{codes:?}");
    target.assert_well(Vec::new());
}

#[test]
fn clients_that_stall_hold_up_nobody() {
    let target = Target::new(&format!("{TRUSTED}\nESMTP_Listener {{ idle_time = 2 }}"));
    let address = target.site.address();
    let mut silent: Vec<_> = (0..200).map(|_| Client::connect(address).unwrap()).collect();
    let mut in_data = target.client_in_data(1);
    in_data.send(b"Subject: never finished\r\n\r\n").unwrap();
    let mut half = target.client();
    half.send(b"MAIL FR").unwrap();
    let mails: Vec<_> = (1000..1100).map(|number| Mail::new(number, "x\r\n")).collect();
    Volume::new(mails.clone()).send(address, 5);
    // After their idle time they are told so, and gone.
    for client in silent.iter_mut().chain([&mut in_data, &mut half]) {
        let words = String::from_utf8(client.rest().unwrap()).unwrap();
        assert!(words.starts_with("421 "), "{words:?}");
    }
    target.assert_well(mails);
}

#[test]
fn a_client_that_never_reads_costs_no_memory() {
    let target = Target::new(TRUSTED);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect_silently(target.site.address()).unwrap();
        client.set_write_timeout(Duration::from_millis(200)).unwrap();
        // Some 250 MB of replies would be due at the end: no system buffers that.
        let commands = "EHLO client.example.org\r\n".repeat(1000);
        let sent = (0..2000).take_while(|_| client.send(commands.as_bytes()).is_ok()).count();
        assert!(sent < 2000, "the daemon reads without being read from");
        clients.push(client);
    }
    target.assert_well(Vec::new());
}

#[test]
fn data_sent_before_the_go_ahead_is_not_taken_for_commands() {
    let target = Target::new(TRUSTED);
    let mut client = target.client();
    client
        .send(
            b"MAIL FROM:<a@b.example>\r\nRCPT TO:<nobody@d0.example.net>\r\nDATA\r\n\
              MAIL FROM:<admin@b.example>\r\nRCPT TO:<0.666@d0.example.net>\r\n.\r\n",
        )
        .unwrap();
    let words = String::from_utf8(client.rest().unwrap()).unwrap();
    assert!(words.ends_with("421 4.5.0 Data sent before the go-ahead\r\n"), "{words}");
    target.assert_well(Vec::new());
}
