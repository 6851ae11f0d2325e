//! Who gets a connection, and when: the reserve, fairness, reuse.

use std::collections::BTreeMap;

use proptest::prelude::*;
use traject_engine::queue::reason::QueueReason;

use crate::world::{Answer, World, accepting};

/// A receiver that takes everything, but never says so.
fn stalling(command: &str) -> Answer {
    match command {
        "." => Answer::Silence,
        _ => accepting(command),
    }
}

/// When the mail of each domain was delivered, in whole seconds.
fn delivered_at(world: &World) -> BTreeMap<String, Vec<u64>> {
    let mut by_domain: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in world.told("delivered") {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, domain) = words[2].split_once('@').unwrap();
        let at: f64 = words[0].parse().unwrap();
        by_domain.entry(domain.into()).or_default().push(at as u64);
    }
    by_domain
}

/// A domain that holds every connection the server may have, and small ones that come later.
fn crowded(config: &str, small: &[(&str, u64)]) -> World {
    let mut world = World::new(config);
    world.receiver("huge.test", |_, said, _| stalling(said));
    for _ in 0..100 {
        world.submit(0, &["x@huge.test"]);
    }
    for (domain, at) in small {
        world.receiver(domain, |_, said, _| accepting(said));
        world.submit(*at, &[&format!("x@{domain}")]);
    }
    world
}

fn reason(world: &World, domain: &str) -> Option<QueueReason> {
    let queues = world.engine.snapshot().queues;
    queues.into_iter().find(|queue| &*queue.pair.domain == domain).map(|queue| queue.reason)
}

#[test]
fn a_sweep_gives_one_connection_each_to_queues_without_any_longest_waiting_first() {
    // The huge queue waits at the cap from 0 s on: sweeps at 15, 30, 45 s and so on.
    let mut world = crowded(
        "server_max_outbound_connections = 3 server_reserve_outbound_connections = 2
         body_timeout = 3000 idle_timeout = 5",
        &[("c.test", 1), ("b.test", 2), ("a.test", 3), ("d.test", 31)],
    );
    world.run_to(14);
    assert_eq!(delivered_at(&world), BTreeMap::new());
    assert_eq!(reason(&world, "a.test"), Some(QueueReason::ServerMaxOutboundConnections));
    assert_eq!(world.engine.snapshot().outbound.len(), 3);
    world.run_to(100);
    let at = delivered_at(&world);
    // The reserve is two. The first two in line get it at 15 s and give it back 5 s after their
    // mail; the third has waited until the next sweep.
    let expected = [("c.test", 15), ("b.test", 15), ("a.test", 30), ("d.test", 45)];
    assert_eq!(at, expected.map(|(domain, at)| (domain.to_owned(), vec![at])).into());
    let huge = world.engine.snapshot();
    assert_eq!(huge.outbound.len(), 3, "the huge queue gets nothing of the reserve");
}

#[test]
fn the_reserve_never_goes_beyond_the_caps_of_domains_and_bindings() {
    let config = "
        server_max_outbound_connections = 2
        domain \"/^s[0-9]/\" { scope_max_outbound_connections = 1 }
        binding \"none\" { server_max_outbound_connections = 0 }";
    let mut world = crowded(config, &[("s1.test", 1), ("s2.test", 2)]);
    world.receiver("other.test", |_, said, _| accepting(said));
    world.submit_from(3, "none", &["x@other.test"]);
    world.run_to(16);
    assert_eq!(delivered_at(&world), BTreeMap::from([("s1.test".into(), vec![15])]));
    // check() counts every cap anew after each input.
    world.run_to(100);
    assert_eq!(delivered_at(&world).keys().collect::<Vec<_>>(), ["s1.test", "s2.test"]);
    assert_eq!(reason(&world, "other.test"), Some(QueueReason::ServerMaxOutboundConnections));
}

#[test]
fn what_is_due_goes_out_in_the_order_of_its_due_times() {
    let mut world = World::new("max_outbound_connections = 1 retry_interval = 60");
    world.receiver("x.test", |_, said, now| match said.starts_with("RCPT") && now < 100 {
        true => Answer::Say("451 4.7.1 later".into()),
        false => accepting(said),
    });
    // Tried at 0 to 4 s and 60 s later; due again 120 s after that, at 180 to 184 s.
    for n in 0..5 {
        world.submit(n, &[&format!("old{n}@x.test")]);
    }
    world.submit(182, &["new@x.test"]);
    world.run_to(300);
    let told = world.told("delivered");
    let order: Vec<&str> = told.iter().map(|l| l[20..].split('@').next().unwrap()).collect();
    // What became due at 182 s was tried a little later than it came in.
    assert_eq!(order, ["old0", "old1", "new", "old2", "old3", "old4"], "{told:#?}");
}

#[test]
fn without_a_reserve_a_queue_waits_until_a_connection_ends() {
    let config = "
        server_max_outbound_connections = 2
        server_reserve_outbound_connections = 0
        body_timeout = 60";
    let mut world = crowded(config, &[("a.test", 1)]);
    // Nothing needs to be done before the stalled bodies run out of time.
    world.run_to(2);
    let next = world.engine.next_wakeup().unwrap();
    assert!(next.at.saturating_since(world.now).as_secs() > 50, "{next:?}");
    world.run_to(59);
    assert_eq!(delivered_at(&world), BTreeMap::new());
    world.run_to(62);
    assert_eq!(delivered_at(&world), BTreeMap::from([("a.test".into(), vec![60])]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// However long one queue is and whatever the caps, mail to others goes out within a few
    /// sweeps, and every cap is kept: check() counts after each input.
    #[test]
    fn a_huge_queue_starves_nobody(
        cap in 1_u32..6,
        reserve in 1_u32..4,
        interval in 1_u64..40,
        scope in 1_u32..8,
        huge in 20_u32..60,
        small in prop::collection::vec((0_u64..60, 1_u32..4), 1..8),
    ) {
        let mut world = World::new(&format!("
            server_max_outbound_connections = {cap}
            server_reserve_outbound_connections = {reserve}
            reserve_maintenance_interval = {interval}
            idle_timeout = 1
            body_timeout = 100000
            domain \"/^small/\" {{ scope_max_outbound_connections = {scope} }}"));
        world.receiver("huge.test", |_, said, _| stalling(said));
        for _ in 0..huge {
            world.submit(0, &["x@huge.test"]);
        }
        let mut all = 0;
        for (n, (at, messages)) in small.iter().enumerate() {
            let domain = format!("small{n}.test");
            world.receiver(&domain, |_, said, _| accepting(said));
            for _ in 0..*messages {
                world.submit(*at, &[&format!("x@{domain}")]);
                all += 1;
            }
        }
        // Each sweep serves one queue at least, and they are over when it is done and has idled.
        let sweeps = small.len() as u64 + 1;
        world.run_to(60 + sweeps * (interval + 3));
        prop_assert_eq!(world.count("delivered"), all, "{:#?}", world.story());
    }

    /// Queues that all want more than there is take turns: when one of them has had twenty
    /// connections, each has had some, also if some of them share a limit of their own.
    #[test]
    fn queues_share_the_server_fairly(
        cap in 1_u32..5,
        narrow in 1_u32..4,
        by_domain: bool,
        queues in 2_usize..7,
        lengths in prop::collection::vec(30_u32..90, 6),
    ) {
        let (of_domains, of_red) = if by_domain { (narrow, 99) } else { (99, narrow) };
        let mut world = World::new(&format!("
            server_max_outbound_connections = {cap}
            server_reserve_outbound_connections = 0
            max_deliveries_per_connection = 1
            domain \"/^[a-c]/\" {{ scope_max_outbound_connections = {of_domains} }}
            binding \"red\" {{ server_max_outbound_connections = {of_red} }}
            binding \"blue\" {{ }}"));
        for (n, length) in lengths.iter().take(queues).enumerate() {
            let domain = format!("{}.test", ["a", "b", "c", "d", "e", "f"][n]);
            world.receiver(&domain, |_, said, _| accepting(said));
            for _ in 0..*length {
                let binding = if n % 2 == 0 { "red" } else { "blue" };
                world.submit_from(0, binding, &[&format!("x@{domain}")]);
            }
        }
        // Until the shortest queue is half done nobody has run dry.
        while delivered_at(&world).values().all(|at| at.len() < 20) {
            let next = world.now.saturating_since(crate::world::START).as_secs() + 1;
            world.run_to(next);
            prop_assert!(next < 600, "nothing moves");
        }
        let counts: Vec<usize> = delivered_at(&world).values().map(Vec::len).collect();
        prop_assert_eq!(counts.len(), queues, "somebody got nothing: {:?}", counts);
    }
}
