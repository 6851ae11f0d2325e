//! Mail through the built daemon, between clients and a next hop of our own: everything arrives,
//! once, byte for byte.

use std::time::Duration;

use traject_net::spool::Inspection;
use traject_tests::{Arrivals, Client, Mail, Reply, Sink, Site, Volume, free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

const TRUSTED: &str = "relay_hosts = (\"127.0.0.1\")";

fn recipients(mails: &[Mail]) -> usize {
    mails.iter().map(|mail| mail.recipients.len()).sum()
}

/// What the spool of a stopped daemon holds.
fn left_in_spool(site: &Site) -> usize {
    Inspection::open(&site.spool()).unwrap().report().messages
}

#[test]
fn two_thousand_messages_arrive_once_and_byte_for_byte() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let daemon = site.start();
    let mails: Vec<_> = (0..2000).map(Mail::sample).collect();
    Volume::new(mails.clone()).send(site.address(), 20);
    sink.wait_for_recipients(recipients(&mails), PATIENCE);
    assert!(daemon.terminate().success());
    sink.assert_no_violations();
    let arrivals = Arrivals::count(&sink.deliveries(), &mails);
    assert_eq!(arrivals.missing(&mails), Vec::<String>::new());
    assert_eq!(arrivals.duplicates(), 0);
    assert_eq!(left_in_spool(&site), 0);
}

#[test]
fn a_next_hop_without_pipelining_is_spoken_to_line_by_line() {
    let sink = Sink::start_with(false, Duration::ZERO);
    let site = Site::new(sink.address(), TRUSTED);
    let daemon = site.start();
    let mails: Vec<_> = (1..50).map(Mail::sample).collect();
    Volume::new(mails.clone()).send(site.address(), 3);
    sink.wait_for_recipients(recipients(&mails), PATIENCE);
    assert!(daemon.terminate().success());
    sink.assert_no_violations();
    let arrivals = Arrivals::count(&sink.deliveries(), &mails);
    assert_eq!((arrivals.missing(&mails).len(), arrivals.duplicates()), (0, 0));
}

#[test]
fn recipients_of_one_domain_share_a_transaction() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let _daemon = site.start();
    let mut mail = Mail::new(1, "Subject: to many\r\n\r\n.\r\n");
    mail.recipients = (0..50).map(|n| format!("{n}.1@d3.example.net")).collect();
    let mut client = Client::connect(site.address()).unwrap();
    client.command("EHLO client.example.org").unwrap();
    assert_eq!(client.deliver(&mail).unwrap().code, 250);
    sink.wait_for_recipients(50, PATIENCE);
    let [delivery] = &sink.deliveries()[..] else { panic!("several transactions") };
    assert_eq!(delivery.recipients, mail.recipients);
}

#[test]
fn mail_waits_for_a_next_hop_that_is_down() {
    let port = free_port();
    let site = Site::new(([127, 0, 0, 1], port).into(), TRUSTED);
    let daemon = site.start();
    let mails: Vec<_> = (1..20).map(Mail::sample).collect();
    Volume::new(mails.clone()).send(site.address(), 2);
    // Its refusal has been noticed, and is durable, before the next hop comes up.
    wait_until("an attempt has failed", PATIENCE, || site.log().contains("refused"));
    assert!(daemon.terminate().success());
    assert_eq!(left_in_spool(&site), mails.len());
    let sink = Sink::start_at(port);
    let _daemon = site.start();
    sink.wait_for_recipients(recipients(&mails), PATIENCE);
    let arrivals = Arrivals::count(&sink.deliveries(), &mails);
    assert_eq!((arrivals.missing(&mails).len(), arrivals.duplicates()), (0, 0));
}

/// (code, text) of the last line.
fn last(reply: &Reply) -> (u16, &str) {
    (reply.code, reply.lines.last().map_or("", String::as_str))
}

#[test]
fn a_dialogue_with_the_daemon() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let _daemon = site.start();
    let mut client = Client::connect(site.address()).unwrap();
    let hello = client.command("EHLO client.example.org").unwrap();
    for extension in ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"] {
        assert!(hello.lines.iter().any(|line| line[4..] == *extension), "{hello:?}");
    }
    assert!(hello.lines.iter().any(|line| line[4..].starts_with("SIZE")), "{hello:?}");
    let dialogue = [
        ("NOOP", 250),
        ("VRFY somebody", 252),
        ("RCPT TO:<a@d0.example.net>", 503),
        ("DATA", 503),
        ("MAIL FROM:<a@b.example>", 250),
        ("MAIL FROM:<a@b.example>", 501),
        ("DATA", 503),
        ("RCPT TO:<0.1@d0.example.net>", 250),
        ("RSET", 250),
        ("RCPT TO:<0.1@d0.example.net>", 503),
        ("MAIL FROM:<sender1@client.example.org>", 250),
        ("RCPT TO:<0.1@d0.example.net>", 250),
        ("DATA", 354),
        ("Subject: by hand\r\n\r\n..two dots\r\n.", 250),
        ("QUIT", 221),
    ];
    for (line, code) in dialogue {
        let reply = client.command(line).unwrap();
        assert_eq!(last(&reply).0, code, "{line}: {reply:?}");
    }
    assert_eq!(client.rest().unwrap(), b"");
    sink.wait_for_recipients(1, PATIENCE);
    let mail = Mail::new(1, "Subject: by hand\r\n\r\n.two dots\r\n");
    let arrivals = Arrivals::count(&sink.deliveries(), std::slice::from_ref(&mail));
    assert_eq!((arrivals.missing(&[mail]).len(), arrivals.duplicates()), (0, 0));
}
