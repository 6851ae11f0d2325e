//! SIGTERM: no new mail is taken on, what is under way comes to an end or stays safe, exit 0.

use std::time::Duration;

use traject_tests::{Arrivals, Client, Mail, Sink, Site, Volume, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

const TRUSTED: &str = "relay_hosts = (\"127.0.0.1\")";

#[test]
fn an_idle_daemon_stops_at_once_and_well() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let daemon = site.start();
    let mut idle = Client::connect(site.address()).unwrap();
    assert!(daemon.terminate().success());
    let words = String::from_utf8(idle.rest().unwrap()).unwrap();
    assert!(words.is_empty() || words.starts_with("421 "), "{words}");
    assert!(Client::connect(site.address()).is_err());
}

#[test]
fn what_is_under_way_is_finished_or_kept() {
    // Half a second a message: a queue has built up when the signal comes.
    let sink = Sink::start_with(true, Duration::from_millis(500));
    let site = Site::new(sink.address(), TRUSTED);
    let daemon = site.start();
    let mails: Vec<_> = (0..300).map(|number| Mail::new(number, "Subject: x\r\n\r\n")).collect();
    Volume::new(mails.clone()).send(site.address(), 10);
    wait_until("some are delivered", PATIENCE, || sink.deliveries().len() > 5);
    assert!(daemon.terminate().success());
    assert!(sink.deliveries().len() < mails.len(), "nothing was under way");

    let daemon = site.start();
    sink.wait_for_recipients_of(&mails, PATIENCE);
    assert!(daemon.terminate().success());
    sink.assert_no_violations();
    let arrivals = Arrivals::count(&sink.deliveries(), &mails);
    assert_eq!(arrivals.missing(&mails), Vec::<String>::new());
    assert_eq!(arrivals.duplicates(), 0, "a stop in good order delivers nothing twice");
}

#[test]
fn a_second_daemon_cannot_have_the_same_spool() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let daemon = site.start();
    let (status, words) = site.fail_to_start();
    assert_eq!(status.code(), Some(2), "{words}");
    assert!(words.contains("in use by another process"), "{words}");
    assert!(daemon.terminate().success());
}

#[test]
fn a_configuration_that_is_wrong_is_refused_before_anything_starts() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), "retry_interval = soon");
    let (status, words) = site.fail_to_start();
    assert_eq!(status.code(), Some(3), "{words}");
    assert!(words.contains("traject.conf:7:18"), "{words}");
}
