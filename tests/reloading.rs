//! SIGHUP again and again, in the middle of much mail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use traject_tests::{Arrivals, Mail, Sink, Site, Volume};

const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two reloads.
const PAUSE: Duration = Duration::from_millis(200);

const CAP: u32 = 6;

/// What every second configuration has: connections that are open then end as soon as they are
/// free, and queues have other limits.
const NAMES: [&str; 2] = [
    "ehlo_hostname = \"one.example.com\" max_deliveries_per_connection = 20",
    "ehlo_hostname = \"two.example.com\" max_deliveries_per_connection = 30",
];

#[test]
fn reloads_lose_no_mail_and_exceed_no_cap() {
    let sink = Sink::start_with(true, Duration::from_millis(10));
    let options = format!(
        "relay_hosts = (\"127.0.0.1\")\nserver_max_outbound_connections = {CAP}\n{}",
        NAMES[0]
    );
    let site = Site::new(sink.address(), &options);
    let daemon = site.start();
    let mails: Vec<_> = (0..2000)
        .map(|number| Mail::new(number, format!("Subject: {number}\r\n\r\n{number}\r\n")))
        .collect();
    let done = AtomicBool::new(false);
    let reloads = thread::scope(|scope| {
        let operator = scope.spawn(|| {
            let mut reloads = 0;
            while !done.load(Ordering::SeqCst) {
                site.reconfigure(NAMES[reloads % 2], NAMES[(reloads + 1) % 2]);
                daemon.reload();
                reloads += 1;
                thread::sleep(PAUSE);
            }
            reloads
        });
        Volume::new(mails.clone()).send(site.address(), 10);
        sink.wait_for_recipients(mails.len(), PATIENCE);
        done.store(true, Ordering::SeqCst);
        operator.join().unwrap()
    });
    assert!(daemon.terminate().success());
    sink.assert_no_violations();
    let arrivals = Arrivals::count(&sink.deliveries(), &mails);
    assert_eq!(arrivals.missing(&mails), Vec::<String>::new());
    assert_eq!(arrivals.duplicates(), 0);
    let peak = sink.peak_connections();
    let heard = site.log().matches("another configuration is in force").count();
    println!("{reloads} reloads, {heard} carried out, at most {peak} connections of {CAP}");
    // Two signals that come together are one.
    assert!(reloads >= 10 && heard * 2 >= reloads, "{reloads} reloads, {heard} carried out");
    assert!((2..=CAP).contains(&peak), "{peak} connections, at most {CAP} are allowed");
}
