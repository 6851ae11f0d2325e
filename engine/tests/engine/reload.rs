//! The configuration changes while mail is under way.

use std::net::IpAddr;

use proptest::prelude::*;
use traject_engine::queue::reason::QueueReason;

use crate::world::{Answer, START, World, accepting};

fn seconds(world: &World, kind: &str) -> Vec<u64> {
    let told = world.told(kind);
    told.iter().map(|line| line[..9].trim().parse::<f64>().unwrap() as u64).collect()
}

#[test]
fn a_lowered_cap_cuts_nothing_and_opens_nothing_until_below() {
    let mut world = World::new(
        "max_outbound_connections = 8 max_deliveries_per_connection = 30 \
         connection_allocation_aggressiveness = high",
    );
    let address = world.receiver("x.test", |_, said, _| accepting(said));
    for _ in 0..400 {
        world.submit(0, &["a@x.test"]);
    }
    world.run_to(1);
    assert_eq!(world.exchanges[&address].open, 8);
    // check() after every input: connections from before may exceed the cap, no new ones.
    world.reload("max_outbound_connections = 3 max_deliveries_per_connection = 30");
    assert_eq!(world.exchanges[&address].open, 8);
    assert_eq!(world.reason("default", "x.test"), Some(QueueReason::MaxOutboundConnections));
    world.run_to(60);
    assert_eq!(world.count("delivered"), 400);
    // Eight end after 30 messages each; of the 160 left each later connection takes 30.
    let closed = world.told("closed");
    assert_eq!(closed.len(), 8 + 6, "{closed:#?}");
    assert!(closed.iter().all(|line| !line.contains("Lost")), "{closed:#?}");
}

#[test]
fn caps_that_are_added_up_count_connections_from_before_the_stanza() {
    let mut world = World::new("");
    let addresses = ["a.test", "b.test"].map(|domain| {
        for _ in 0..1000 {
            world.submit(0, &[&format!("x@{domain}")]);
        }
        world.receiver(domain, |_, said, _| accepting(said))
    });
    let open = |world: &World| addresses.map(|address| world.exchanges[&address].open);
    world.run_to(1);
    let [a, b] = open(&world);
    assert!(a + b > 8, "{a} + {b}");
    // Nobody counted towards this cap: now all do, and none is opened.
    world.reload(
        "server_max_outbound_connections = 4 max_deliveries_per_connection = 1 \
         max_outbound_connections = 50",
    );
    let reason = world.reason("default", "a.test");
    assert_eq!(reason, Some(QueueReason::ServerMaxOutboundConnections));
    world.run_to(2);
    let [a, b] = open(&world);
    assert!(a + b <= 4, "{a} + {b}");
    // And they leave the caps they were counted towards when those are gone.
    world.reload("scope_max_outbound_connections = 2");
    world.reload("");
    world.run_to(100);
    assert_eq!(world.count("delivered"), 2000);
    assert!(world.engine.is_at_rest());
}

#[test]
fn a_throttle_keeps_its_history_and_a_member_that_moves_stands_in_another_line() {
    let group = |rate: &str, grey: &str| {
        format!(
            "binding_group \"g\" {{ outbound_throttle_messages = \"{rate}\"
               binding \"green\" {{ }} binding \"grey\" {{ {grey} }} }}"
        )
    };
    let mut world = World::new(&group("10/60", ""));
    world.receiver("x.test", |_, said, _| accepting(said));
    for _ in 0..40 {
        world.submit_from(0, "green", &["green@x.test"]);
        world.submit_from(0, "grey", &["grey@x.test"]);
    }
    world.run_to(1);
    assert_eq!(world.count("delivered"), 10);
    // Twice reloaded within the window: the ten still count, so two more may pass.
    world.reload(&group("11/60", ""));
    world.reload(&group("12/60", ""));
    world.run_to(50);
    assert_eq!(world.count("delivered"), 12);
    // Grey has a throttle of its own now: no history there, no place in the other line.
    let before = world.told("delivered").iter().filter(|line| line.contains("grey@")).count();
    world.reload(&group("12/60", "outbound_throttle_messages = \"5/60\""));
    world.run_to(55);
    let after = world.told("delivered").iter().filter(|line| line.contains("grey@")).count();
    assert_eq!(after - before, 5);
    assert_eq!(world.count("delivered"), 17);
    world.reload("binding \"green\" {} binding \"grey\" {}");
    world.run_to(120);
    assert_eq!(world.count("delivered"), 80);
}

#[test]
fn a_limit_lowered_between_connect_and_message_is_kept() {
    let mut world = World::new("outbound_throttle_messages = \"5/60\"");
    world.receiver("x.test", |_, said, _| accepting(said));
    for _ in 0..20 {
        world.submit(0, &["a@x.test"]);
    }
    // Places of first messages are taken while their connections open.
    world.run_to(0);
    for _ in 0..6 {
        world.step(START + std::time::Duration::from_millis(40));
    }
    assert_eq!(world.count("delivered"), 0);
    world.reload("outbound_throttle_messages = \"2/60\"");
    world.run_to(59);
    let delivered = world.count("delivered");
    assert!((1..=2).contains(&delivered), "{:#?}", world.story());
    world.run_to(1200);
    assert_eq!(world.count("delivered"), 20);
    for window in seconds(&world, "delivered").windows(3) {
        assert!(window[2] - window[0] >= 59, "{window:?}");
    }
}

#[test]
fn suspended_mail_stays_where_it_is() {
    let greylisting = |_: u32, said: &str, now: u64| match said {
        _ if said.starts_with("RCPT TO:<grey") && now < 100 => {
            Answer::Say("451 4.7.1 later".into())
        }
        _ => accepting(said),
    };
    let config = |on: bool| format!("retry_interval = 300 suspend_delivery = {on}");
    let mut world = World::new(&config(false));
    world.receiver("x.test", greylisting);
    world.submit(0, &["grey@x.test"]);
    world.run_to(10);
    world.reload(&config(true));
    world.submit(20, &["a@x.test"]);
    world.run_to(50);
    assert_eq!(world.reason("default", "x.test"), Some(QueueReason::Suspended));
    let queue = world.engine.snapshot().queues.remove(0);
    assert_eq!((queue.active, queue.delayed), (1, 1));
    assert_eq!(queue.next_due, Some(START + std::time::Duration::from_millis(300_100)));
    world.run_to(100);
    world.reload(&config(false));
    world.run_to(299);
    assert_eq!(seconds(&world, "delivered"), [100]);
    // Suspended over its due time: it goes as soon as it may.
    world.reload(&config(true));
    world.run_to(500);
    assert_eq!(world.count("delivered"), 1);
    world.reload(&config(false));
    world.run_to(501);
    assert_eq!(seconds(&world, "delivered"), [100, 500]);
    assert!(world.told("delivered")[1].contains("try 2"));
}

#[test]
fn the_time_of_a_suspension_is_no_time_of_vain_trying() {
    let config = |on: bool| format!("connect_timeout_to_delay = 30 suspend_delivery = {on}");
    let mut world = World::new(&config(false));
    // Connected and then silent: nobody is reached for a long time.
    world.receiver("x.test", |_, said, now| match said {
        "banner" if now < 5 => Answer::Silence,
        _ => accepting(said),
    });
    world.submit(0, &["a@x.test"]);
    world.run_to(10);
    world.reload(&config(true));
    world.run_to(4000);
    world.reload(&config(false));
    world.run_to(4001);
    assert_eq!(world.count("moved"), 0, "{:#?}", world.story());
    assert_eq!(world.count("delivered"), 1);
}

#[test]
fn mail_that_is_to_be_discarded_fails_wherever_it_waits() {
    let mut world = World::new("suspend_delivery = true");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test", "b@x.test"]);
    world.run_to(10);
    world.reload("blackhole = internal");
    assert_eq!(world.count("failed"), 2);
    world.run_to(11);
    assert!(world.spool.is_empty() && world.engine.snapshot().queues.is_empty());
}

#[test]
fn a_cap_of_0_holds_mail_until_the_configuration_changes() {
    for held in [
        "max_outbound_connections = 0",
        "host \"mx.x.test\" { max_outbound_connections = 0 }",
        "scope_max_outbound_connections = 0",
        "server_max_outbound_connections = 0 server_reserve_outbound_connections = 0",
    ] {
        let mut world = World::new(held);
        world.receiver("x.test", |_, said, _| accepting(said));
        world.submit(0, &["a@x.test"]);
        world.run_to(100_000);
        assert!(world.engine.check().is_ok(), "{held}: {:?}", world.engine.check());
        assert_eq!([world.count("opened"), world.count("delivered")], [0, 0], "{held}");
        assert_eq!(world.engine.snapshot().queues.len(), 1, "{held}: nobody gives it up");
        world.reload("");
        world.run_to(100_010);
        assert_eq!(world.count("delivered"), 1, "{held}");
    }
}

#[test]
fn mail_of_a_binding_that_is_gone_is_sent_by_default_until_it_is_back() {
    let held = "suspend_delivery = true";
    let red = format!("{held} binding \"red\" {{ bind_address = \"192.0.2.77\" }}");
    let mut world = World::new(&red);
    world.receiver("x.test", |_, said, _| match said {
        "RCPT TO:<late@x.test>" => Answer::Say("451 4.7.1 later".into()),
        _ => accepting(said),
    });
    world.submit_from(0, "red", &["a@x.test"]);
    world.submit_from(0, "red", &["late@x.test"]);
    world.run_to(1);
    world.reload(held);
    assert_eq!(world.told("reloaded"), ["    1.000 reloaded 1 strays 2"]);
    assert_eq!(world.reason("red", "x.test"), None);
    assert_eq!(world.reason("default", "x.test"), Some(QueueReason::Suspended));
    world.reload(&red);
    assert_eq!(world.reason("default", "x.test"), None);
    assert_eq!(world.reason("red", "x.test"), Some(QueueReason::Suspended));
    world.reload("binding \"red\" { bind_address = \"192.0.2.77\" }");
    // What is in a transaction comes to its end there, and is retried by the other.
    world.run_to(1);
    while world.count("opened") < 1 {
        assert!(world.step(START + std::time::Duration::from_secs(5)));
    }
    world.reload("");
    world.run_to(1300);
    assert_eq!(world.count("delivered"), 1);
    let sources: Vec<Option<IpAddr>> = world.connects.iter().map(|(source, _)| *source).collect();
    let red_address: Option<IpAddr> = Some("192.0.2.77".parse().unwrap());
    assert_eq!(sources.first(), Some(&red_address));
    assert_eq!(sources.last(), Some(&None));
    assert_eq!(world.engine.snapshot().queues.len(), 1);
}

#[test]
fn mail_follows_its_gateway() {
    let mut world = World::new("suspend_delivery = true");
    world.receiver("x.test", |_, said, _| accepting(said));
    let relay = world.receiver("relay.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test"]);
    world.submit(0, &["b@y.test"]);
    world.run_to(1);
    let via = "suspend_delivery = true domain \"/^[xy]/\" { gateway = \"relay.test\" }";
    world.reload(via);
    assert_eq!(world.reason("default", "relay.test"), Some(QueueReason::Suspended));
    assert_eq!(world.engine.snapshot().queues.len(), 1);
    world.reload("suspend_delivery = true");
    assert_eq!(world.engine.snapshot().queues.len(), 2);
    world.reload(&via.replace("true", "false"));
    world.submit(2, &["c@x.test"]);
    world.run_to(10);
    assert_eq!(world.count("delivered"), 3);
    assert!(world.connects.iter().all(|(_, peer)| peer.ip() == relay));
}

#[test]
fn a_connection_with_an_option_of_the_past_ends_when_it_is_free() {
    for (option, ends) in [
        ("ehlo_hostname = \"new.test\"", true),
        ("bind_address = \"192.0.2.78\"", true),
        ("remote_smtp_port = 2525", true),
        ("skip_hosts = ( 192.0.2.1 )", true),
        ("body_timeout = 77", true),
        ("retry_interval = 77", false),
        ("max_outbound_connections = 0", false),
    ] {
        let mut world = World::new("idle_timeout = 100");
        world.receiver("x.test", |_, said, _| accepting(said));
        world.submit(0, &["a@x.test"]);
        world.run_to(10);
        world.reload(&format!("idle_timeout = 100 {option}"));
        world.run_to(11);
        let closed = world.told("closed");
        assert_eq!(closed.iter().any(|line| line.contains("Reconfigured")), ends, "{option}");
        assert_eq!(closed.len(), usize::from(ends), "{option}");
    }
}

#[test]
fn a_transaction_under_way_is_not_disturbed() {
    let mut world = World::new("");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test"]);
    while world.told("opened").is_empty() {
        assert!(world.step(START + std::time::Duration::from_secs(5)));
    }
    world.reload("ehlo_hostname = \"new.test\" suspend_delivery = true");
    world.submit(1, &["b@x.test"]);
    world.run_to(10);
    // The session had not got past EHLO: it ends without work, and nobody is charged.
    let closed = world.told("closed");
    assert!(closed[0].contains("Reconfigured after 0"), "{closed:?}");
    assert_eq!(world.count("deferred"), 0);
    world.reload("");
    world.run_to(20);
    assert_eq!(world.count("delivered"), 2);
    assert!(world.told("delivered").iter().all(|line| line.contains("try 1")));
}

/// Configurations that differ in everything a reload must cope with.
const CONFIGS: [&str; 7] = [
    "binding_group \"g\" { binding \"red\" {} binding \"blue\" {} }",
    "max_outbound_connections = 1 binding \"red\" {} binding \"blue\" {}",
    "server_max_outbound_connections = 2 outbound_throttle_messages = \"3/60\"
     binding \"red\" { max_deliveries_per_connection = 1 }
     binding \"blue\" { outbound_throttle_messages = \"2/30\" }",
    "binding \"red\" { suspend_delivery = true }",
    "scope_max_outbound_connections = 3 outbound_throttle_connections = \"2/10\"
     host \"mx.x.test\" { max_outbound_connections = 1 }
     domain \"y.test\" { scope_max_outbound_connections = 1 gateway = \"x.test\" }
     binding_group \"g\" { outbound_throttle_messages = \"5/60\" binding \"red\" {} }",
    "outbound_throttle_messages = \"8/60\" ehlo_hostname = \"other.test\"
     binding \"blue\" { domain \"y.test\" { max_outbound_connections = 0 } }",
    "max_recipients_per_batch = 1 retry_interval = 60 host_failure_retry = 5
     binding \"red\" { outbound_throttle_messages = \"1/5\" } binding \"blue\" {}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever is reloaded when, no invariant breaks at any step, and every recipient comes to
    /// exactly one end.
    #[test]
    fn any_sequence_of_reloads(
        reloads in prop::collection::vec((0_u64..400, 0..CONFIGS.len()), 1..25),
        messages in prop::collection::vec((0_u64..300, 0_usize..3, 1_usize..4), 1..30),
        moods in prop::collection::vec(0_u8..30, 1..40),
    ) {
        let mut world = World::new(CONFIGS[0]);
        for (at, domain) in ["x.test", "y.test", "z.test"].into_iter().enumerate() {
            let moods = moods.clone();
            let mut turn = at;
            world.receiver(domain, move |_, said, now| {
                turn += 1;
                match moods[turn % moods.len()] {
                    _ if now > 1000 => accepting(said),
                    0 => Answer::Say("451 4.3.0 later".into()),
                    1 => Answer::Bye("421 4.3.2 closing".into()),
                    2 => Answer::Reset,
                    3 => Answer::Silence,
                    _ => accepting(said),
                }
            });
        }
        let mut recipients = 0;
        for (at, binding, count) in &messages {
            let to = ["a@x.test", "b@y.test", "c@z.test", "d@y.test"];
            recipients += count;
            world.submit_from(*at, ["default", "red", "blue"][*binding], &to[..*count]);
        }
        let mut reloads = reloads;
        reloads.sort_unstable();
        for (at, config) in reloads {
            world.run_to(at);
            world.reload(CONFIGS[config]);
        }
        world.run_to(500);
        world.reload(CONFIGS[6]);
        world.run_to(200_000);
        let ends = world.count("delivered") + world.count("failed") + world.count("expired");
        prop_assert_eq!(ends, recipients, "{:#?}", world.story());
        prop_assert!(world.spool.is_empty() && world.engine.is_at_rest());
        prop_assert_eq!(world.engine.snapshot().queues.len(), 0);
    }
}
