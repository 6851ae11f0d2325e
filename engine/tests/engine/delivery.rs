//! The whole engine against exchanges that answer from a script: what becomes of mail, and when.

use std::net::IpAddr;

use crate::world::{Answer, World, accepting};
use traject_engine::dns::DnsErrorKind;

/// A receiver that takes everything but answers `command` (a prefix) its own way.
fn except(
    command: &'static str,
    answer: &'static str,
) -> impl FnMut(u32, &str, u64) -> Answer + 'static {
    move |_, said, _| match said.starts_with(command) {
        true => Answer::Say(answer.into()),
        false => accepting(said),
    }
}

const HOUR: u64 = 3600;

#[test]
fn a_message_goes_all_the_way() {
    let mut world = World::new("");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test"]);
    world.run_to(60);
    insta::assert_snapshot!(world.story().join("\n"), @"
    0.000 received for 1
    0.040 opened 192.0.2.1 (1)
    0.120 delivered a@x.test try 1: 250 2.0.0 ok
    5.140 closed 192.0.2.1 Idle after 1
    ");
    assert!(world.spool.is_empty());
    assert!(world.engine.is_at_rest());
}

#[test]
fn a_receiver_that_always_defers_sees_the_documented_schedule() {
    let mut world = World::new("");
    world.receiver("x.test", except("RCPT", "451 4.7.1 later"));
    world.submit(0, &["a@x.test"]);
    world.run_to(48 * HOUR);
    // Each attempt takes a little longer than the schedule: the look-up and the dialogue.
    insta::assert_snapshot!(
        [world.told("deferred"), world.told("expired")].concat().join("\n"), @"
        0.100 deferred a@x.test try 1: 451 4.7.1 later (RCPT TO), next at 1200
     1200.200 deferred a@x.test try 2: 451 4.7.1 later (RCPT TO), next at 3600
     3600.300 deferred a@x.test try 3: 451 4.7.1 later (RCPT TO), next at 8400
     8400.400 deferred a@x.test try 4: 451 4.7.1 later (RCPT TO), next at 18000
    18000.500 deferred a@x.test try 5: 451 4.7.1 later (RCPT TO), next at 37200
    37200.600 deferred a@x.test try 6: 451 4.7.1 later (RCPT TO), next at 75600
    75600.700 expired a@x.test try 7: MaxRetries
    ");
    assert!(world.spool.is_empty());
}

#[test]
fn recipients_of_one_transaction_have_results_of_their_own() {
    let mut world = World::new("");
    world.receiver("x.test", |_, said, now| {
        Answer::Say(match said {
            "RCPT TO:<gone@x.test>" => "550 5.1.1 no such user".into(),
            "RCPT TO:<full@x.test>" if now < 100 => "452 4.2.2 full".into(),
            _ => return accepting(said),
        })
    });
    world.submit(0, &["a@x.test", "gone@x.test", "full@x.test", "b@x.test"]);
    world.run_to(2 * HOUR);
    insta::assert_snapshot!(world.story().join("\n"), @"
       0.000 received for 4
       0.040 opened 192.0.2.1 (1)
       0.120 delivered a@x.test try 1: 250 2.0.0 ok
       0.120 failed gone@x.test try 1: 550 5.1.1 no such user (RCPT TO)
       0.120 deferred full@x.test try 1: 452 4.2.2 full (RCPT TO), next at 1200
       0.120 delivered b@x.test try 1: 250 2.0.0 ok
       5.140 closed 192.0.2.1 Idle after 1
    1200.160 opened 192.0.2.1 (1)
    1200.240 delivered full@x.test try 2: 250 2.0.0 ok
    1205.260 closed 192.0.2.1 Idle after 1
    ");
    assert!(world.spool.is_empty());
}

#[test]
fn a_421_ends_the_session_and_never_touches_the_next_message() {
    let mut world = World::new("max_outbound_connections = 1");
    world.receiver("x.test", |conn, said, _| match said {
        "RCPT TO:<b@x.test>" if conn == 1 => Answer::Bye("421 4.7.0 enough".into()),
        _ => accepting(said),
    });
    for who in ["a@x.test", "b@x.test", "c@x.test"] {
        world.submit(0, &[who]);
    }
    world.run_to(60);
    insta::assert_snapshot!(world.story().join("\n"), @"
    0.000 received for 1
    0.000 received for 1
    0.000 received for 1
    0.040 opened 192.0.2.1 (1)
    0.120 delivered a@x.test try 1: 250 2.0.0 ok
    0.140 deferred b@x.test try 1: 421 4.7.0 enough (RCPT TO), next at 1200
    0.140 closed 192.0.2.1 ServiceUnavailable after 1
    0.160 opened 192.0.2.1 (1)
    0.240 delivered c@x.test try 1: 250 2.0.0 ok
    5.260 closed 192.0.2.1 Idle after 1
    ");
}

#[test]
fn a_host_that_is_down_is_set_aside_tried_once_a_period_and_its_queue_moved_to_delayed() {
    let mut world = World::new("");
    let address = world.receiver("x.test", |_, said, _| accepting(said));
    world.exchanges.get_mut(&address).unwrap().refuses = true;
    for _ in 0..50 {
        world.submit(0, &["a@x.test"]);
    }
    world.run_to(1000);
    let quiet = |line: &String| !line.contains("received");
    let story: Vec<String> = world.story().into_iter().filter(quiet).collect();
    // A bunch of connections at first, then one a period.
    let (first, later): (Vec<_>, Vec<_>) = story.into_iter().partition(|line| line < &"  1".into());
    assert!(first.len() > 3);
    insta::assert_snapshot!(later.join("\n"), @"
    120.060 unconnected 192.0.2.1: connection refused
    120.060 aside 192.0.2.1 until 240: 451 4.4.1 connection refused (connect)
    240.080 unconnected 192.0.2.1: connection refused
    240.080 aside 192.0.2.1 until 360: 451 4.4.1 connection refused (connect)
    360.120 unconnected 192.0.2.1: connection refused
    360.120 aside 192.0.2.1 until 480: 451 4.4.1 connection refused (connect)
    480.140 unconnected 192.0.2.1: connection refused
    480.140 aside 192.0.2.1 until 600: 451 4.4.1 connection refused (connect)
    600.160 unconnected 192.0.2.1: connection refused
    600.160 aside 192.0.2.1 until 720: 451 4.4.1 connection refused (connect)
    720.200 unconnected 192.0.2.1: connection refused
    720.200 aside 192.0.2.1 until 840: 451 4.4.1 connection refused (connect)
    840.220 unconnected 192.0.2.1: connection refused
    840.220 aside 192.0.2.1 until 960: 451 4.4.1 connection refused (connect)
    900.020 moved 50 of x.test until 2100: 421 4.4.0 no exchange of the domain could be reached
    ");

    world.exchanges.get_mut(&address).unwrap().refuses = false;
    world.run_to(3 * HOUR);
    assert_eq!(world.count("delivered"), 50);
    assert_eq!(world.count("deferred"), 0, "nobody is charged for a host that is down");
}

#[test]
fn forgotten_failures_do_not_count_for_mx_failures_to_delay() {
    // Failures at 0, 100 and 200. Remembered, the third moves the queue; forgotten when the
    // address is free again, each is the first, and the queue is moved after 900 s of trying.
    for (lifetime, moved_at) in [(1800, "200."), (50, "900.")] {
        let mut world = World::new(&format!(
            "host_failure_retry = 100 mx_failures_to_delay = 3 address_metrics_lifetime = {lifetime}"
        ));
        let address = world.receiver("x.test", |_, said, _| accepting(said));
        world.exchanges.get_mut(&address).unwrap().refuses = true;
        world.submit(0, &["a@x.test"]);
        world.run_to(1000);
        let moved = world.told("moved");
        assert!(moved[0].trim_start().starts_with(moved_at), "{lifetime}: {:#?}", world.story());
        assert_eq!(moved.len(), 1);
    }
}

#[test]
fn mail_that_is_due_again_is_tried_however_often_its_exchange_failed_before() {
    let mut world = World::new("mx_failures_to_delay = 1 retry_interval = 600");
    let address = world.receiver("x.test", |_, said, _| accepting(said));
    world.exchanges.get_mut(&address).unwrap().refuses = true;
    world.submit(0, &["a@x.test"]);
    world.run_to(300);
    world.exchanges.get_mut(&address).unwrap().refuses = false;
    world.submit(300, &["b@x.test"]);
    world.run_to(700);
    insta::assert_snapshot!(world.story().join("\n"), @"
      0.000 received for 1
      0.040 unconnected 192.0.2.1: connection refused
      0.040 aside 192.0.2.1 until 120: 451 4.4.1 connection refused (connect)
      0.040 moved 1 of x.test until 600: 421 4.4.0 no exchange of the domain could be reached
    300.000 received for 1
    300.020 opened 192.0.2.1 (1)
    300.100 delivered b@x.test try 1: 250 2.0.0 ok
    305.120 closed 192.0.2.1 Idle after 1
    600.080 opened 192.0.2.1 (1)
    600.160 delivered a@x.test try 1: 250 2.0.0 ok
    605.180 closed 192.0.2.1 Idle after 1
    ");
}

#[test]
fn who_waits_for_addresses_that_others_try_is_moved_to_delayed_with_them() {
    let mut world = World::new("connect_timeout_to_delay = 300");
    let address = world.receiver("x.test", |_, said, _| accepting(said));
    world.zones.insert("y.test".into(), world.zones["x.test"].clone());
    world.exchanges.get_mut(&address).unwrap().refuses = true;
    world.submit(0, &["a@x.test"]);
    world.submit(50, &["b@y.test"]);
    world.run_to(400);
    let moved = world.told("moved");
    assert_eq!(moved.len(), 2, "{:#?}", world.story());
    assert!(moved[1].trim_start().starts_with("350."), "{moved:#?}");
}

#[test]
fn the_second_exchange_takes_over() {
    let mut world = World::new("");
    let first = world.receiver("x.test", |_, said, _| accepting(said));
    let second = IpAddr::from([192, 0, 2, 99]);
    world.zones.get_mut("x.test").unwrap().as_mut().unwrap().push((20, "backup.test".into()));
    world.hosts.insert("backup.test".into(), second);
    world.exchange(second, |_, said, _| accepting(said));
    world.exchanges.get_mut(&first).unwrap().refuses = true;
    world.submit(0, &["a@x.test"]);
    world.run_to(60);
    insta::assert_snapshot!(world.story().join("\n"), @"
    0.000 received for 1
    0.040 unconnected 192.0.2.1: connection refused
    0.040 aside 192.0.2.1 until 120: 451 4.4.1 connection refused (connect)
    0.060 opened 192.0.2.99 (1)
    0.140 delivered a@x.test try 1: 250 2.0.0 ok
    5.160 closed 192.0.2.99 Idle after 1
    ");
}

#[test]
fn equal_exchanges_share_the_mail_of_a_queue_that_is_mostly_empty() {
    let mut world = World::new("");
    let first = world.receiver("x.test", |_, said, _| accepting(said));
    let second = world.receiver("y.test", |_, said, _| accepting(said));
    world.zones.get_mut("x.test").unwrap().as_mut().unwrap().push((10, "mx.y.test".into()));
    for n in 0..100 {
        world.submit(n * 100, &["a@x.test"]);
    }
    world.run_to(3 * HOUR);
    let to =
        |address: &str| world.told("opened").iter().filter(|line| line.contains(address)).count();
    // Half of 100 each, five standard deviations either way.
    assert!((25..=75).contains(&to(&format!("{first} "))), "{}", to(&format!("{first} ")));
    assert_eq!(to(&format!("{first} ")) + to(&format!("{second} ")), 100);
}

#[test]
fn a_banner_of_any_bad_kind_leads_to_the_next_exchange_and_fails_no_message() {
    for banner in ["421 4.3.2 busy", "554 5.7.1 go away"] {
        let mut world = World::new("");
        world.receiver("x.test", except("banner", banner));
        let second = IpAddr::from([192, 0, 2, 99]);
        world.zones.get_mut("x.test").unwrap().as_mut().unwrap().push((20, "backup.test".into()));
        world.hosts.insert("backup.test".into(), second);
        world.exchange(second, |_, said, _| accepting(said));
        world.submit(0, &["a@x.test"]);
        world.run_to(60);
        assert_eq!(world.count("delivered"), 1, "{banner}: {:#?}", world.story());
        assert_eq!(world.count("aside"), 1);
    }
}

#[test]
fn connections_follow_the_goal_and_never_exceed_the_cap() {
    for (cap, messages, peak) in [(32, 4, 2), (32, 100, 20), (3, 100, 3), (1, 100, 1)] {
        let mut world = World::new(&format!("max_outbound_connections = {cap}"));
        let address = world.receiver("x.test", |_, said, _| accepting(said));
        for _ in 0..messages {
            world.submit(0, &["a@x.test"]);
        }
        world.run_to(60);
        assert_eq!(world.count("delivered"), messages);
        assert_eq!(world.exchanges[&address].peak, peak, "cap {cap}, {messages} messages");
    }
}

#[test]
fn no_connections_allowed_means_none() {
    let mut world = World::new("max_outbound_connections = 0");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test"]);
    world.run_to(60);
    assert_eq!(world.count("opened"), 0);
}

#[test]
fn a_connection_ends_after_its_deliveries_and_the_next_opens_at_once() {
    let config = "max_outbound_connections = 1 max_deliveries_per_connection = 2";
    let mut world = World::new(config);
    world.receiver("x.test", |_, said, _| accepting(said));
    for _ in 0..5 {
        world.submit(0, &["a@x.test"]);
    }
    world.run_to(60);
    let story = [world.told("opened"), world.told("closed")].concat();
    insta::assert_snapshot!(story.join("\n"), @"
    0.040 opened 192.0.2.1 (1)
    0.200 opened 192.0.2.1 (1)
    0.360 opened 192.0.2.1 (1)
    0.180 closed 192.0.2.1 LimitReached after 2
    0.340 closed 192.0.2.1 LimitReached after 2
    5.460 closed 192.0.2.1 Idle after 1
    ");
}

#[test]
fn recipients_are_split_into_batches() {
    let config = "max_recipients_per_batch = 2 max_outbound_connections = 1";
    let mut world = World::new(config);
    let address = world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"]);
    world.run_to(60);
    assert_eq!(world.count("delivered"), 5);
    assert_eq!(world.exchanges[&address].peak, 1);
    let times: Vec<String> = world.told("delivered").iter().map(|l| l[..9].into()).collect();
    assert_eq!(times.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[test]
fn domains_that_take_no_mail_fail_at_once() {
    for (zone, reply) in [
        (Some(Ok(vec![(0, String::new())])), "550 5.4.4"),
        (None, "554 5.4.4"),
        (Some(Err(DnsErrorKind::NoData)), "554 5.4.4"),
    ] {
        let mut world = World::new("");
        if let Some(zone) = zone {
            world.zones.insert("x.test".into(), zone);
        }
        world.submit(0, &["a@x.test"]);
        world.run_to(1);
        assert_eq!(world.count("failed"), 1);
        assert!(world.told("failed")[0].contains(reply), "{:?}", world.story());
        assert!(world.spool.is_empty());
    }
}

#[test]
fn dns_failures_delay_and_in_the_end_fail() {
    let mut world = World::new("max_retries = none message_expiration = 604800");
    world.zones.insert("x.test".into(), Err(DnsErrorKind::ServFail));
    world.submit(0, &["a@x.test"]);
    world.submit(60, &["b@x.test"]);
    world.run_to(24 * HOUR);
    insta::assert_snapshot!(world.story().join("\n"), @"
        0.000 received for 1
        0.010 dns MX x.test: ServFail
        0.010 moved 1 of x.test until 1200: 451 4.4.3 domain look-up failed: SERVFAIL
       60.000 received for 1
     1200.020 dns MX x.test: ServFail
     1200.020 moved 2 of x.test until 2400: 451 4.4.3 domain look-up failed: SERVFAIL
     2400.030 dns MX x.test: ServFail
     2400.030 moved 2 of x.test until 3600: 451 4.4.3 domain look-up failed: SERVFAIL
     3600.040 dns A/AAAA x.test: NoData
     3600.040 moved 2 of x.test until 4800: 451 4.4.3 domain look-up failed: no address, and no answer about its exchanges
     4800.050 dns A/AAAA x.test: NoData
     4800.050 moved 2 of x.test until 6000: 451 4.4.3 domain look-up failed: no address, and no answer about its exchanges
     6000.060 dns A/AAAA x.test: NoData
     6000.060 moved 2 of x.test until 7200: 451 4.4.3 domain look-up failed: no address, and no answer about its exchanges
     7200.070 dns A/AAAA x.test: NoData
     7200.070 moved 2 of x.test until 8400: 451 4.4.3 domain look-up failed: no address, and no answer about its exchanges
     8400.080 dns A/AAAA x.test: NoData
     8400.080 moved 2 of x.test until 9600: 451 4.4.3 domain look-up failed: no address, and no answer about its exchanges
     9600.090 dns A/AAAA x.test: NoData
     9600.090 moved 2 of x.test until 10800: 451 4.4.3 domain look-up failed: no address, and no answer about its exchanges
    10800.100 dns A/AAAA x.test: NoData
    10800.100 failed b@x.test try 0: 554 5.4.4 the domain could not be looked up (dns_failures_to_purge) (DNS)
    10800.100 failed a@x.test try 0: 554 5.4.4 the domain could not be looked up (dns_failures_to_purge) (DNS)
    ");
}

#[test]
fn a_domain_nobody_can_reach_expires_its_mail() {
    let mut world = World::new("message_expiration = 7200");
    let address = world.receiver("x.test", |_, said, _| accepting(said));
    world.exchanges.get_mut(&address).unwrap().refuses = true;
    world.submit(0, &["a@x.test"]);
    world.run_to(24 * HOUR);
    assert_eq!(world.count("expired"), 1, "{:#?}", world.story());
    assert!(world.spool.is_empty());
}

#[test]
fn never_attempt_expired_messages_looks_before_the_attempt() {
    let config = "message_expiration = 3000 max_retries = none";
    for (text, attempts) in
        [(config.to_owned(), 3), (format!("{config} never_attempt_expired_messages = true"), 2)]
    {
        let mut world = World::new(&text);
        world.receiver("x.test", except("RCPT", "451 4.7.1 later"));
        world.submit(0, &["a@x.test"]);
        world.run_to(24 * HOUR);
        let expired = world.told("expired");
        assert!(expired[0].contains(&format!("try {attempts}: MaxTime")), "{expired:?}");
    }
}

#[test]
fn a_gateway_takes_the_mail_of_every_domain_in_one_queue() {
    let mut world = World::new("gateway = \"relay.test\" max_outbound_connections = 1");
    let address = world.receiver("relay.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test", "b@y.test"]);
    world.submit(0, &["c@z.test"]);
    world.run_to(60);
    assert_eq!(world.count("delivered"), 3);
    assert_eq!(world.exchanges[&address].peak, 1);
}

#[test]
fn suspended_mail_waits() {
    let mut world = World::new("domain \"x.test\" { suspend_delivery = true }");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.receiver("y.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test", "b@y.test"]);
    world.run_to(HOUR);
    assert_eq!(world.count("opened"), 1);
    assert_eq!(world.count("delivered"), 1);
    let snapshot = world.engine.snapshot();
    assert_eq!(snapshot.queues[0].reason.to_string(), "suspended (suspend_delivery)");
}

#[test]
fn idle_connections_are_reused_and_closed_in_the_end() {
    let mut world = World::new("");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test"]);
    world.submit(4, &["b@x.test"]);
    world.run_to(60);
    let story = [world.told("opened"), world.told("closed")].concat();
    insta::assert_snapshot!(story.join("\n"), @"
    0.040 opened 192.0.2.1 (1)
    9.060 closed 192.0.2.1 Idle after 2
    ");
}

#[test]
fn a_connection_that_never_opens_times_out() {
    let mut world = World::new("");
    let address = world.receiver("x.test", |_, _, _| Answer::Silence);
    world.submit(0, &["a@x.test"]);
    world.run_to(500);
    assert_eq!(world.exchanges[&address].peak, 1);
    insta::assert_snapshot!(world.story().join("\n"), @"
      0.000 received for 1
      0.040 opened 192.0.2.1 (1)
    300.040 aside 192.0.2.1 until 420: 451 4.4.2 no banner (banner)
    300.040 closed 192.0.2.1 TimedOut after 0
    420.060 opened 192.0.2.1 (1)
    ");
}

#[test]
fn the_cap_of_the_server_is_shared_first_come_first_served() {
    let mut world = World::new("server_max_outbound_connections = 2 idle_timeout = 1");
    for domain in ["a.test", "b.test", "c.test", "d.test"] {
        world.receiver(domain, |_, said, _| accepting(said));
        for _ in 0..20 {
            world.submit(0, &[&format!("x@{domain}")]);
        }
    }
    world.run_to(60);
    assert_eq!(world.count("delivered"), 80);
    let all: u32 = world.exchanges.values().map(|exchange| exchange.peak).sum();
    assert!(all <= 8);
    assert!(world.engine.is_at_rest());
}

#[test]
fn draining_finishes_what_is_under_way_and_begins_nothing() {
    let mut world = World::new("max_outbound_connections = 1");
    world.receiver("x.test", |_, said, _| accepting(said));
    for _ in 0..5 {
        world.submit(0, &["a@x.test"]);
    }
    // The first message's dialogue has just begun.
    while world.count("opened") == 0 {
        assert!(world.step(traject_engine::Timestamp::NEVER));
    }
    world.handle(traject_engine::Input::Drain);
    world.run_to(60);
    assert!(world.engine.is_at_rest());
    assert_eq!(world.count("delivered") + world.spool.len(), 5);
    assert_eq!(world.engine.snapshot().messages, world.spool.len());
}

#[test]
fn mail_that_needs_tls_never_goes_in_clear() {
    let mut world = World::new("domain \"x.test\" { tls = required }");
    let mut senders = 0;
    world.receiver("x.test", move |_, said, _| {
        senders += u32::from(said.starts_with("MAIL"));
        assert_eq!(senders, 0, "nothing about the mail may be said");
        accepting(said)
    });
    world.submit(0, &["a@x.test", "b@x.test"]);
    world.run_to(60);
    assert_eq!(world.count("deferred"), 2);
    assert!(world.told("deferred")[0].contains("451 4.7.6"), "{:?}", world.story());
}
