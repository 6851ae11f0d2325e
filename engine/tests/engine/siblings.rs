//! Connections that pass to another domain with the same exchange.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use traject_engine::record::Event;

use crate::world::{Answer, World, accepting};

/// `a.test` and `b.test` share an exchange.
fn world(config: &str) -> World {
    let mut world = World::new(config);
    shared_by(&mut world, &["a.test", "b.test"]);
    world
}

fn shared_by(world: &mut World, domains: &[&str]) -> IpAddr {
    let shared = world.receiver("shared.test", |_, said, _| accepting(said));
    for domain in domains {
        world.zones.insert((*domain).into(), Ok(vec![(10, "mx.shared.test".into())]));
    }
    shared
}

/// What became of connections, without the instants.
fn connections(world: &World) -> Vec<String> {
    let about = |line: &&String| {
        [" opened ", " migrated ", " closed "].iter().any(|what| line.contains(what))
    };
    let story = world.story();
    story.iter().filter(about).map(|line| line[10..].to_owned()).collect()
}

#[test]
fn an_idle_session_is_taken_over() {
    let mut world = world("");
    world.submit(0, &["x@a.test"]);
    world.submit(2, &["x@b.test"]);
    world.submit(3, &["x@a.test"]);
    world.run_to(60);
    assert_eq!(
        connections(&world),
        [
            "opened 192.0.2.1 (1)",
            "migrated 192.0.2.1 from a.test to b.test (1)",
            "migrated 192.0.2.1 from b.test to a.test (1)",
            "closed 192.0.2.1 Idle after 3",
        ]
    );
    assert!(world.engine.is_at_rest());
    assert_eq!(world.engine.snapshot().queues.len(), 0);
}

#[test]
fn a_session_goes_where_mail_waits_as_soon_as_it_has_none_of_its_own() {
    // Both have mail for one connection, and the exchange may have only one.
    let mut world = world("host \"mx.shared.test\" { max_outbound_connections = 1 }");
    for _ in 0..3 {
        world.submit(0, &["x@a.test"]);
        world.submit(0, &["x@b.test"]);
    }
    world.run_to(60);
    assert_eq!(
        connections(&world),
        [
            "opened 192.0.2.1 (1)",
            "migrated 192.0.2.1 from a.test to b.test (1)",
            "closed 192.0.2.1 Idle after 6",
        ]
    );
    let told = world.told("delivered");
    let to_b: Vec<bool> = told.iter().map(|line| line.contains("@b.test")).collect();
    assert_eq!(to_b, [false, false, false, true, true, true]);
    // No time is lost between the two: each message takes a few trips of 10 ms.
    let at = |line: &str| line[..9].trim().parse::<f64>().unwrap();
    assert!(at(&told[3]) - at(&told[2]) < 0.2, "{told:#?}");
}

#[test]
fn only_between_pairs_that_are_alike_and_have_room() {
    let b = |options: &str| format!("domain \"b.test\" {{ {options} }}");
    for (why, config, migrates) in [
        ("", String::new(), true),
        ("other limits", b("max_outbound_connections = 1 retry_interval = 7"), true),
        ("told not to", "migrate_connections_between_sibling_domains = false".to_owned(), false),
        ("another EHLO name", b("ehlo_hostname = \"other.test\""), false),
        ("another protocol", b("delivery_method = \"SMTP\""), false),
        ("another idle time", b("idle_timeout = 6"), false),
        ("nothing in clear", b("tls = \"required\""), false),
        ("it has carried its share", b("max_deliveries_per_connection = 1"), false),
        ("it has carried its share", b("max_recipients_per_connection = 1"), false),
        ("there is room for one more", b("max_recipients_per_connection = 2"), true),
    ] {
        let mut world = world(&config);
        world.submit(0, &["x@a.test"]);
        world.submit(2, &["x@b.test"]);
        world.run_to(5);
        let told = connections(&world);
        assert_eq!(world.count("migrated") == 1, migrates, "{why}: {told:#?}");
        assert_eq!(world.count("opened"), if migrates { 1 } else { 2 }, "{why}: {told:#?}");
    }
}

#[test]
fn caps_and_throttles_of_the_new_pair_hold() {
    for (why, config) in [
        ("no connection at all", "domain \"b.test\" { max_outbound_connections = 0 }"),
        ("a shared cap", "domain \"b.test\" { scope_max_outbound_connections = 0 }"),
        ("suspended", "domain \"b.test\" { suspend_delivery = true }"),
    ] {
        let mut world = world(config);
        world.submit(0, &["x@a.test"]);
        world.submit(2, &["x@b.test"]);
        world.run_to(60);
        assert_eq!(world.count("migrated"), 0, "{why}");
        assert_eq!(world.count("delivered"), 1, "{why}");
    }
    let mut world = world(
        "idle_timeout = 0
         domain \"b.test\" { outbound_throttle_messages = \"1/20\" }",
    );
    world.submit(0, &["x@a.test"]);
    for _ in 0..3 {
        world.submit(1, &["x@b.test"]);
    }
    world.run_to(60);
    let told = world.told("delivered");
    let at: Vec<u32> =
        told.iter().map(|line| line[..9].trim().parse::<f64>().unwrap() as u32).collect();
    assert_eq!(at, [0, 1, 21, 41], "{told:#?}");
    assert_eq!((world.count("opened"), world.count("migrated")), (1, 1));
}

#[test]
fn no_connection_is_made_so_none_is_throttled() {
    let mut world = world("outbound_throttle_connections = \"1/1000\" idle_timeout = 60");
    world.submit(0, &["x@a.test"]);
    world.submit(1, &["x@b.test"]);
    world.run_to(10);
    assert_eq!(world.count("delivered"), 2, "{:#?}", world.story());
    assert_eq!(connections(&world).len(), 2);
}

#[test]
fn who_stands_in_line_is_not_overtaken() {
    let config = "
        server_max_outbound_connections = 1
        server_reserve_outbound_connections = 0";
    let mut world = World::new(config);
    let shared = shared_by(&mut world, &["a.test", "b.test"]);
    world.receiver("other.test", |_, said, _| accepting(said));
    // They keep the one connection there is busy for some seconds.
    for _ in 0..60 {
        world.submit(0, &["x@a.test"]);
    }
    world.submit(1, &["x@other.test"]);
    world.submit(2, &["x@b.test"]);
    world.run_to(60);
    let told = world.told("delivered");
    let last: Vec<&str> = told
        .iter()
        .rev()
        .take(2)
        .map(|line| line.split(' ').find(|w| w.contains('@')).unwrap())
        .collect();
    assert_eq!(last, ["x@b.test", "x@other.test"], "{told:#?}");
    assert_eq!(world.exchanges[&shared].peak, 1);
}

#[test]
fn a_worse_exchange_is_no_reason_to_pass_a_better_one_over() {
    let mut world = world("");
    world.receiver("own.test", |_, said, _| accepting(said));
    let both = vec![(10, "mx.own.test".into()), (20, "mx.shared.test".into())];
    world.zones.insert("b.test".into(), Ok(both));
    world.submit(0, &["x@a.test"]);
    world.submit(2, &["x@b.test"]);
    world.run_to(4);
    assert_eq!(connections(&world), ["opened 192.0.2.1 (1)", "opened 192.0.2.2 (1)"]);
}

#[test]
fn a_persistent_session_serves_its_siblings_for_ever() {
    let mut world = world("idle_timeout = 0");
    for day in 0..10 {
        let domain = if day % 2 == 0 { "x@a.test" } else { "x@b.test" };
        world.submit(day * 86_400, &[domain]);
    }
    world.run_to(10 * 86_400);
    assert_eq!((world.count("opened"), world.count("migrated")), (1, 9));
    assert_eq!((world.count("delivered"), world.count("closed")), (10, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is shared with whom and whatever the limits, all mail goes out, over connections
    /// to exchanges of its own domain, and nothing is left over. check() recounts after each input.
    #[test]
    fn siblings_at_random(
        // Of each domain: its exchanges, with their preferences.
        zones in prop::collection::vec(
            prop::collection::vec((0_usize..4, 1_u16..3), 1..4), 2..6),
        mail in prop::collection::vec((0_u64..120, 0_usize..6, any::<bool>(), 1_u32..8), 1..25),
        server in 1_u32..5,
        pair in 1_u32..4,
        scope in 1_u32..5,
        host in 1_u32..4,
        deliveries in 0_u32..4,
        idle in 1_u32..7,
        messages in prop_oneof![Just(String::new()), Just("outbound_throttle_messages = 3/5".into())],
        silent in 0_u8..20,
    ) {
        let quoted = messages.replace("3/5", "\"3/5\"");
        let mut world = World::new(&format!("
            server_max_outbound_connections = {server}
            max_outbound_connections = {pair}
            max_deliveries_per_connection = {deliveries}
            idle_timeout = {idle}
            host_failure_retry = 10
            ehlo_timeout = 20
            retry_interval = 60
            max_retries = none
            domain \"/^d[0-2]/\" {{ scope_max_outbound_connections = {scope} {quoted} }}
            domain \"d1.test\" {{ ehlo_hostname = \"other.test\" }}
            host \"mx.e2.test\" {{ max_outbound_connections = {host} }}
            binding \"red\" {{ }}"));
        let mut hosts = Vec::new();
        for n in 0..4 {
            hosts.push(world.receiver(&format!("e{n}.test"), move |conn, said, now| {
                // Some do not greet now and then, for some time.
                match said {
                    "banner" if silent == n && conn % 3 == 1 && now < 300 => Answer::Silence,
                    _ => accepting(said),
                }
            }));
        }
        let mut allowed: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for (n, exchanges) in zones.iter().enumerate() {
            let records = exchanges.iter().map(|(e, preference)| {
                (*preference * 10, format!("mx.e{e}.test"))
            });
            let domain = format!("d{n}.test");
            world.zones.insert(domain.clone(), Ok(records.collect()));
            allowed.insert(domain, exchanges.iter().map(|(e, _)| hosts[*e]).collect());
        }
        let mut all = 0;
        for (at, n, red, messages) in &mail {
            let domain = format!("d{}.test", n % zones.len());
            let binding = if *red { "red" } else { "default" };
            for _ in 0..*messages {
                world.submit_from(*at, binding, &[&format!("x@{domain}")]);
                all += 1;
            }
        }
        world.run_to(7200);
        prop_assert_eq!(world.count("delivered"), all, "{:#?}", world.story());
        prop_assert!(world.engine.is_at_rest());
        prop_assert_eq!(world.engine.snapshot().queues.len(), 0);
        for record in &world.records {
            match &record.event {
                Event::Delivery(attempt) => {
                    let remote = attempt.remote.unwrap().ip();
                    prop_assert!(allowed[&*attempt.pair.domain].contains(&remote));
                }
                Event::ConnectionMigrated { from, to, .. } => {
                    prop_assert_eq!(&from.binding, &to.binding);
                    prop_assert!(&*from.domain != "d1.test" && &*to.domain != "d1.test");
                }
                _ => {}
            }
        }
    }
}
