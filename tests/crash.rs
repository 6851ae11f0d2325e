//! `kill -9` in the middle of everything: nothing acknowledged is lost, and few things come twice.

use std::thread;
use std::time::Duration;

use traject_net::spool::Inspection;
use traject_tests::{Arrivals, Client, Mail, Sink, Site, Volume, free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Connections to the next hop at any time: what bounds the duplicates of one kill.
const CONNECTIONS_MAX: u32 = 10;

/// Recipients in one domain of a sample message.
const RECIPIENTS_OF_TRANSACTION_MAX: u32 = 2;

/// How often the daemon is killed.
const ROUNDS: u32 = 100;

const MAILS: u32 = 2000;

/// When the daemon is killed: after so many acknowledgements, and then a moment later. The same in
/// every run, as far as that lies with us.
fn kills() -> Vec<(u32, Duration)> {
    let mut state = 20_260_101_u64;
    let mut draw = |below: u64| {
        // Knuth's numbers; the upper bits are good.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut kills: Vec<_> = (0..ROUNDS)
        .map(|_| (1 + draw(u64::from(MAILS) - 20) as u32, Duration::from_micros(draw(20_000))))
        .collect();
    kills.sort_unstable();
    kills
}

#[test]
fn nothing_acknowledged_is_lost_when_the_daemon_is_killed() {
    let sink = Sink::start();
    let options = format!(
        "relay_hosts = (\"127.0.0.1\")\nserver_max_outbound_connections = {CONNECTIONS_MAX}"
    );
    let site = Site::new(sink.address(), &options);
    let mails: Vec<_> = (0..MAILS).map(Mail::sample).collect();
    let volume = Volume::new(mails.clone());
    let daemon = thread::scope(|scope| {
        let mut daemon = site.start();
        let clients = scope.spawn(|| volume.send(site.address(), 10));
        for (acknowledged, moment) in kills() {
            wait_until("enough is acknowledged", PATIENCE, || {
                volume.acknowledged() >= acknowledged
            });
            thread::sleep(moment);
            daemon.kill();
            daemon = site.start();
        }
        clients.join().unwrap();
        daemon
    });
    sink.wait_for_recipients_of(&mails, PATIENCE);
    assert!(daemon.terminate().success());
    sink.assert_no_violations();
    let arrivals = Arrivals::count(&sink.deliveries(), &mails);
    assert_eq!(arrivals.missing(&mails), Vec::<String>::new());
    // Twice may come: what a client sent again because the acknowledgement had died on its way;
    // and, for each connection at each kill, the transaction whose reply was on its way and the
    // one before, of which the note was not yet on the disk.
    let duplicates = arrivals.duplicates();
    let bound = volume.repeated() + ROUNDS * CONNECTIONS_MAX * 2 * RECIPIENTS_OF_TRANSACTION_MAX;
    println!("{ROUNDS} kills, {} recipients named again, {duplicates} copies", volume.repeated());
    assert!(duplicates <= bound, "{duplicates} copies, at most {bound} can be explained");
    assert_eq!(Inspection::open(&site.spool()).unwrap().report().messages, 0);
}

#[test]
fn a_message_is_on_the_disk_when_it_is_acknowledged() {
    // Nobody to deliver to: all there is of the message is in the spool.
    let port = free_port();
    let site = Site::new(([127, 0, 0, 1], port).into(), "relay_hosts = (\"127.0.0.1\")");
    let mails: Vec<_> = (0..30).map(Mail::sample).collect();
    for mail in &mails {
        let daemon = site.start();
        let mut client = Client::connect(site.address()).unwrap();
        client.command("EHLO client.example.org").unwrap();
        assert_eq!(client.deliver(mail).unwrap().code, 250);
        daemon.kill();
    }
    let sink = Sink::start_at(port);
    let _daemon = site.start();
    sink.wait_for_recipients_of(&mails, PATIENCE);
    let arrivals = Arrivals::count(&sink.deliveries(), &mails);
    assert_eq!((arrivals.missing(&mails).len(), arrivals.duplicates()), (0, 0));
}

#[test]
fn a_message_cut_off_before_its_end_is_never_delivered() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), "relay_hosts = (\"127.0.0.1\")");
    let daemon = site.start();
    let cut = Mail::sample(7);
    let wire = cut.stuffed();
    let mut clients = Vec::new();
    for end in [0, 1, 100_000, wire.len() - 3] {
        let mut client = Client::connect(site.address()).unwrap();
        client.command("EHLO client.example.org").unwrap();
        let sender = format!("MAIL FROM:<{}> BODY=8BITMIME", cut.sender);
        for command in [sender, format!("RCPT TO:<{}>", cut.recipients[0]), "DATA".to_owned()] {
            assert!(client.command(&command).unwrap().code < 400);
        }
        client.send(&wire[..end]).unwrap();
        clients.push(client);
    }
    // Half of them go before the daemon does, half are cut off by it.
    clients.truncate(2);
    daemon.kill();
    drop(clients);
    let daemon = site.start();
    let mail = Mail::new(1, "Subject: whole\r\n\r\nwhole\r\n");
    Volume::new([mail.clone()]).send(site.address(), 1);
    sink.wait_for_recipients(1, PATIENCE);
    assert!(daemon.terminate().success());
    Arrivals::count(&sink.deliveries(), &[mail]);
    assert_eq!(sink.deliveries().len(), 1);
    assert_eq!(Inspection::open(&site.spool()).unwrap().report().messages, 0);
}
