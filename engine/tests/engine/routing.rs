//! Where mail goes: routes, gateways, domains we relay for, and look-ups that wait in line.

use std::net::IpAddr;

use crate::world::{World, accepting};

/// Two relays at .1 and .2, and domains whose own exchange is at .3 (then .4).
fn world(config: &str) -> World {
    let mut world = World::new(config);
    for domain in ["one.test", "two.test", "x.test", "spare.test"] {
        world.receiver(domain, |_, said, _| accepting(said));
    }
    world.hosts.insert("one.test".into(), at(2));
    world.zones.get_mut("x.test").unwrap().as_mut().unwrap().push((20, "mx.spare.test".into()));
    world
}

fn at(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[test]
fn routes_replace_the_exchanges_of_a_domain() {
    // (routes, addresses that are down, where the mail goes)
    for (routes, down, expected) in [
        ("__mx__", &[][..], "192.0.2.3:25"),
        ("__mx__", &[3], "192.0.2.4:25"),
        ("mx.one.test", &[], "192.0.2.1:25"),
        ("mx.one.test mx.two.test", &[1], "192.0.2.2:25"),
        ("mx.one.test __mx__", &[1, 3], "192.0.2.4:25"),
        ("\"smtp://mx.one.test?pref=20\" \"smtp://mx.two.test?pref=10\"", &[], "192.0.2.2:25"),
        // A host by its address, or by its exchanges.
        ("one.test", &[], "192.0.2.2:25"),
        ("\"smtp://one.test?type=mx\"", &[], "192.0.2.1:25"),
        ("192.0.2.4", &[], "192.0.2.4:25"),
        ("\"smtp://192.0.2.4?port=2525\"", &[], "192.0.2.4:2525"),
        // What cannot be found is as if it were not there.
        ("nowhere.test mx.two.test", &[], "192.0.2.2:25"),
    ] {
        let mut world = world(&format!("domain \"x.test\" {{ routes = ( {routes} ) }}"));
        for last in down {
            world.exchanges.get_mut(&at(*last)).unwrap().refuses = true;
        }
        world.submit(0, &["a@x.test"]);
        world.run_to(10);
        assert_eq!(world.count("delivered"), 1, "{routes}: {:#?}", world.story());
        let last = world.connects.last().unwrap().1;
        assert_eq!(last.to_string(), expected, "{routes}");
    }
}

#[test]
fn routes_that_lead_nowhere_fail_the_mail() {
    let mut world = world("routes = ( nowhere.test elsewhere.test )");
    world.submit(0, &["a@x.test"]);
    world.run_to(10);
    assert!(world.told("failed")[0].contains("554 5.4.4"), "{:#?}", world.story());
}

#[test]
fn a_gateway_is_looked_up_by_its_exchanges_or_else_by_its_addresses() {
    for (gateway, expected) in [
        ("ONE.test", "192.0.2.1:25"),
        ("host.test", "192.0.2.2:25"),
        ("192.0.2.4", "192.0.2.4:25"),
        ("[192.0.2.4]", "192.0.2.4:25"),
        ("ported.test", "192.0.2.2:2525"),
    ] {
        let mut world = world(&format!(
            "gateway = \"{gateway}\" domain \"ported.test\" {{ remote_smtp_port = 2525 }} \
             domain \"x.test\" {{ remote_smtp_port = 99 }}"
        ));
        for host in ["host.test", "ported.test"] {
            world.zones.insert(host.into(), Err(traject_engine::dns::DnsErrorKind::NoData));
            world.hosts.insert(host.into(), at(2));
        }
        world.submit(0, &["a@x.test"]);
        world.run_to(10);
        assert_eq!(world.count("delivered"), 1, "{gateway}: {:#?}", world.story());
        assert_eq!(world.connects[0].1.to_string(), expected, "{gateway}");
    }
}

#[test]
fn mail_to_a_relay_domain_waits_for_its_best_exchange() {
    for (config, expected) in [
        ("relay_domains = ( x.test )", 0),
        ("relay_domains = ( x.test ) only_use_best_mx_for_relay_domains = false", 1),
        ("relay_domains = ( y.test )", 1),
    ] {
        let mut world = world(config);
        world.exchanges.get_mut(&at(3)).unwrap().refuses = true;
        world.submit(0, &["a@x.test"]);
        world.run_to(100);
        assert_eq!(world.count("delivered"), expected, "{config}: {:#?}", world.story());
    }
}

#[test]
fn look_ups_wait_in_line_and_their_queues_with_them() {
    let mut world = world(
        "dns_rate_limit_enabled = true dns_rate_limit_mx_queries = 1 dns_rate_limit_period = 10",
    );
    for domain in ["one.test", "two.test", "x.test"] {
        world.submit(0, &[&format!("a@{domain}")]);
    }
    // A second message to a domain in line adds nothing to the line.
    world.submit(5, &["b@x.test"]);
    world.run_to(6);
    let reason = world.reason("default", "x.test").map(|reason| reason.to_string());
    assert_eq!(reason.as_deref(), Some("in line to be looked up (dns_rate_limit_mx_queries)"));
    world.run_to(30);
    let delivered: Vec<u64> = world
        .told("delivered")
        .iter()
        .map(|line| line.trim_start().split('.').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(delivered, [0, 10, 20, 20]);
}

#[test]
fn a_reload_changes_the_pace_of_those_in_line() {
    let limited = "dns_rate_limit_enabled = true dns_rate_limit_mx_queries = 1 \
                   dns_rate_limit_period = ";
    // (the configuration after 5 s, how many are delivered when)
    for (config, delivered) in [
        (String::new(), &[(6, 3)][..]),
        (format!("{limited} 6"), &[(7, 2), (11, 2), (13, 3)]),
        (format!("{limited} 20"), &[(19, 1), (21, 2), (39, 2), (41, 3)]),
    ] {
        let mut world = world(&format!("{limited} 10"));
        for domain in ["one.test", "two.test", "x.test"] {
            world.submit(0, &[&format!("a@{domain}")]);
        }
        world.run_to(5);
        world.reload(&config);
        for (at, count) in delivered {
            world.run_to(*at);
            assert_eq!(world.count("delivered"), *count, "{config} at {at}");
        }
    }
}
