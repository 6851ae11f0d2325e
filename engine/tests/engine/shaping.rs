//! Limits that queues share: throttles and caps that are added up.

use std::collections::BTreeMap;

use traject_engine::Input;
use traject_engine::io::SpoolError;

use crate::world::{START, World, accepting};

/// Seconds of all deliveries.
fn delivered_at(world: &World) -> Vec<f64> {
    let told = world.told("delivered");
    told.iter().map(|line| line[..9].trim().parse().unwrap()).collect()
}

/// The most events in any window of that many seconds.
fn peak(instants: &[f64], window: f64) -> usize {
    let held = |from: f64| {
        instants.iter().filter(|at| **at >= from && **at < from + window - 1e-6).count()
    };
    instants.iter().map(|from| held(*from)).max().unwrap_or_default()
}

#[test]
fn a_message_throttle_is_kept_and_used_to_the_full() {
    let mut world = World::new("outbound_throttle_messages = \"10/60\" idle_timeout = 600");
    world.receiver("x.test", |_, said, _| accepting(said));
    for _ in 0..35 {
        world.submit(0, &["a@x.test"]);
    }
    world.run_to(1000);
    let delivered = delivered_at(&world);
    assert_eq!(delivered.len(), 35);
    assert!(peak(&delivered, 60.0) <= 10, "{delivered:?}");
    // Ten at once, ten as soon as each window allows: the last five after three minutes.
    assert!(delivered[34] > 180.0 && delivered[34] < 181.0, "{delivered:?}");
}

#[test]
fn sessions_that_idle_out_between_windows_cost_no_throughput() {
    let mut world = World::new("outbound_throttle_messages = \"5/60\"");
    world.receiver("x.test", |_, said, _| accepting(said));
    for _ in 0..20 {
        world.submit(0, &["a@x.test"]);
    }
    world.run_to(1000);
    let delivered = delivered_at(&world);
    assert!(peak(&delivered, 60.0) <= 5, "{delivered:?}");
    assert!(delivered[19] < 182.0, "{delivered:?}");
    assert!(world.count("closed") > 1);
}

#[test]
fn a_throttle_is_shared_by_the_stanza_that_sets_it_and_nobody_starves() {
    let config = "
        binding_group \"g\" {
          outbound_throttle_messages = \"10/10\"
          binding \"green\" { }
          binding \"grey\" { }
          binding \"loud\" { outbound_throttle_messages = \"4/10\" }
        }";
    let mut world = World::new(config);
    world.receiver("x.test", |_, said, _| accepting(said));
    world.receiver("y.test", |_, said, _| accepting(said));
    for _ in 0..100 {
        world.submit_from(0, "green", &["a@x.test"]);
    }
    for _ in 0..20 {
        world.submit_from(0, "grey", &["b@y.test"]);
        world.submit_from(0, "loud", &["loud@x.test"]);
    }
    world.run_to(3600);
    let mut by_mailbox: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in world.told("delivered") {
        let words: Vec<&str> = line.split_whitespace().collect();
        by_mailbox.entry(words[2].into()).or_default().push(words[0].parse().unwrap());
    }
    let loud = by_mailbox.remove("loud@x.test").unwrap();
    assert_eq!(loud.len(), 20);
    assert!(peak(&loud, 10.0) <= 4);
    let grey = by_mailbox["b@y.test"].clone();
    let mut shared: Vec<f64> = by_mailbox.into_values().flatten().collect();
    shared.sort_by(f64::total_cmp);
    assert_eq!(shared.len(), 120);
    assert!(peak(&shared, 10.0) <= 10);
    // Twelve windows for 120 messages.
    assert!(shared[119] < 112.0, "{shared:?}");
    // The short queue has turns in every window, however long the other is.
    let windows: BTreeMap<u32, usize> = grey.iter().fold(BTreeMap::new(), |mut count, at| {
        *count.entry((*at / 10.0) as u32).or_default() += 1;
        count
    });
    let (first, last) = (windows.first_key_value().unwrap(), windows.last_key_value().unwrap());
    assert_eq!(windows.len() as u32, last.0 - first.0 + 1, "{grey:?}");
}

#[test]
fn a_connection_throttle_spaces_connections() {
    let mut world =
        World::new("outbound_throttle_connections = \"2/10\" max_deliveries_per_connection = 1");
    world.receiver("x.test", |_, said, _| accepting(said));
    for _ in 0..9 {
        world.submit(0, &["a@x.test"]);
    }
    world.run_to(600);
    let opened = world.told("opened");
    let opened: Vec<f64> = opened.iter().map(|l| l[..9].trim().parse().unwrap()).collect();
    assert_eq!(opened.len(), 9);
    assert!(peak(&opened, 10.0) <= 2);
    assert!(opened[8] < 41.0, "{opened:?}");
}

#[test]
fn a_refused_recipient_counts_but_mail_given_back_does_not() {
    let mut world = World::new("outbound_throttle_messages = \"4/1000\" idle_timeout = 2000");
    let address = world.receiver("x.test", |_, said, _| accepting(said));
    world.exchanges.get_mut(&address).unwrap().refuses = true;
    for _ in 0..4 {
        world.submit(0, &["a@x.test"]);
    }
    world.run_to(100);
    world.exchanges.get_mut(&address).unwrap().refuses = false;
    // The connections that never came about have given their places back.
    world.run_to(200);
    assert_eq!(world.count("delivered"), 4, "{:#?}", world.story());
}

#[test]
fn caps_that_are_added_up() {
    let config = "
        server_max_outbound_connections = 9
        domain \"/test$/\" { scope_max_outbound_connections = 5 }
        binding \"red\" { server_max_outbound_connections = 3 }
        binding \"blue\" { }";
    let mut world = World::new(config);
    let domains = ["a.test", "b.test", "c.test"];
    for domain in domains {
        world.receiver(domain, |_, said, _| accepting(said));
        for binding in ["red", "blue"] {
            for _ in 0..50 {
                world.submit_from(0, binding, &[&format!("x@{domain}")]);
            }
        }
    }
    // check() counts every cap anew after each input.
    world.run_to(120);
    assert_eq!(world.count("delivered"), 300);
    assert!(world.engine.is_at_rest());
}

#[test]
fn an_exchange_has_a_cap_of_its_own_over_all_domains() {
    let config = "host \"mx.shared.test\" { max_outbound_connections = 2 }";
    let mut world = World::new(config);
    let shared = world.receiver("shared.test", |_, said, _| accepting(said));
    let backup = world.receiver("backup.test", |_, said, _| accepting(said));
    for domain in ["a.test", "b.test"] {
        world.zones.insert(domain.into(), Ok(vec![(10, "mx.shared.test".into())]));
        for _ in 0..50 {
            world.submit(0, &[&format!("x@{domain}")]);
        }
    }
    let both = vec![(10, "mx.shared.test".into()), (20, "mx.backup.test".into())];
    world.zones.insert("c.test".into(), Ok(both));
    for _ in 0..50 {
        world.submit(0, &["x@c.test"]);
    }
    world.run_to(120);
    assert_eq!(world.count("delivered"), 150);
    assert_eq!(world.exchanges[&shared].peak, 2);
    // Our own cap is no reason to wait where there is another exchange.
    assert!(world.exchanges[&backup].peak > 2);
}

#[test]
fn prohibited_and_skipped_addresses() {
    for (config, failed) in [
        ("prohibited_hosts = ( 192.0.2.0/30 )", "551 5.4.6"),
        ("skip_hosts = ( 192.0.2.0/30 )", "554 5.4.4"),
        ("bind_address = \"2001:db8::1\"", "554 5.4.4"),
    ] {
        let mut world = World::new(config);
        let address = world.receiver("x.test", |_, said, _| accepting(said));
        world.submit(0, &["a@x.test"]);
        world.run_to(10);
        assert!(world.told("failed")[0].contains(failed), "{:?}", world.story());
        assert_eq!(world.exchanges[&address].peak, 0);
    }
}

#[test]
fn a_moved_queue_is_spread_over_the_fuzz() {
    let mut world = World::new("delayed_binding_domain_fuzz = 1024");
    let address = world.receiver("x.test", |_, said, _| accepting(said));
    world.exchanges.get_mut(&address).unwrap().refuses = true;
    for _ in 0..50 {
        world.submit(0, &["a@x.test"]);
    }
    world.run_to(1000);
    world.exchanges.get_mut(&address).unwrap().refuses = false;
    world.run_to(4000);
    let delivered = delivered_at(&world);
    assert_eq!(delivered.len(), 50);
    assert!(delivered[0] >= 2100.0 && delivered[49] < 3130.0, "{delivered:?}");
    assert!(delivered[49] - delivered[0] > 700.0, "{delivered:?}");
}

#[test]
fn a_new_process_goes_on_with_the_throttles_of_the_old_one() {
    let config = "binding_group \"g\" { outbound_throttle_messages = \"10/60\"
                    outbound_throttle_connections = \"3/30\" binding \"red\" { } }";
    let mut world = World::new(config);
    world.receiver("x.test", |_, said, _| accepting(said));
    for _ in 0..25 {
        world.submit_from(0, "red", &["a@x.test"]);
    }
    world.run_to(2);
    assert_eq!(world.count("delivered"), 10);
    // A second after the first charge, everything until then is written down, once.
    let [(at, history)] = &world.shaping[..] else { panic!("{:?}", world.shaping) };
    assert_eq!(at.saturating_since(START).as_millis() / 100, 10, "{at}");
    let passed: Vec<u32> = history
        .throttles
        .iter()
        .map(|one| one.passed.iter().map(|(_, events)| events).sum())
        .collect();
    assert_eq!(passed.len(), 2);
    assert!(passed.contains(&10), "{history:?}");
    // A drain writes what is not written yet, and leaves nothing to write.
    world.handle(Input::Drain);
    world.run_to(20);
    assert_eq!(world.shaping.len(), 1);

    let mut next = World::new(config);
    next.receiver("x.test", |_, said, _| accepting(said));
    next.handle(Input::RecoveredShaping(world.shaping[0].1.clone()));
    for _ in 0..15 {
        next.submit_from(3, "red", &["a@x.test"]);
    }
    next.run_to(59);
    assert_eq!(next.count("delivered"), 0, "{:#?}", next.story());
    // A bucket is less than a second.
    next.run_to(62);
    assert_eq!(next.count("delivered"), 10);
    next.run_to(130);
    assert_eq!(next.count("delivered"), 15);
}

#[test]
fn a_history_that_could_not_be_written_is_written_again() {
    let mut world = World::new("outbound_throttle_messages = \"10/60\"");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test"]);
    world.run_to(0);
    while world.count("delivered") == 0 {
        world.step(START + std::time::Duration::from_secs(1));
    }
    world.spool_error = Some(SpoolError::Full);
    world.run_to(5);
    assert!(world.shaping.is_empty());
    world.spool_error = None;
    world.run_to(10);
    assert_eq!(world.shaping.len(), 1);
    assert_eq!(world.shaping[0].1.throttles[0].passed[0].1, 1);
}
