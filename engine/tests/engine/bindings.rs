//! Which binding sends received mail, and what becomes of mail without one.

use std::collections::BTreeMap;

use crate::world::{World, accepting};
use traject_engine::Input;
use traject_engine::message::RecipientState;
use traject_engine::record::Event;

/// A listener whose clients may relay.
fn listener(context: &str) -> String {
    format!(
        "relay_hosts = 127.0.0.1 Esmtp_Listener = ( 127.0.0.1:25 [ 0.0.0.0/0 = ( {context} ) ] )"
    )
}

const MESSAGE: &str = "EHLO c.test\r\nMAIL FROM:<s@from.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n";

/// How many messages each binding was given.
fn received(world: &World) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for record in &world.records {
        if let Event::Reception { binding, .. } = &record.event {
            *counts.entry(binding.to_string()).or_insert(0) += 1;
        }
    }
    counts
}

#[test]
fn a_group_shares_its_mail_out_to_those_who_are_not_suspended() {
    let group = r#"
        binding_group "g" {
            binding "a" { bind_address = 192.0.2.101 }
            binding "b" { bind_address = 192.0.2.102 }
            binding "c" { suspend_delivery = true }
        }"#;
    let mut world = World::new(&format!("{group}{}", listener("context [ binding_group = g ]")));
    world.receiver("x.test", |_, said, _| accepting(said));
    for n in 0..200 {
        assert!(world.receive(n, MESSAGE).starts_with("250 "));
    }
    world.run_to(60);
    assert_eq!(world.count("delivered"), 200);
    let counts = received(&world);
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(counts.values().all(|count| (75..125).contains(count)), "{counts:?}");
    let sources: Vec<String> =
        world.connects.iter().filter_map(|(source, _)| source.map(|ip| ip.to_string())).collect();
    assert_eq!(sources.len(), world.connects.len());
    assert!(["192.0.2.101", "192.0.2.102"].iter().all(|ip| sources.iter().any(|s| s == ip)));
}

#[test]
fn mail_without_a_binding_is_sent_held_or_refused() {
    for (word, answer, delivered) in
        [("normal", "250 2.0.0 ", 1), ("suspended", "250 2.0.0 ", 0), ("none", "451 4.7.1 ", 0)]
    {
        let mut world = World::new(&format!("default_binding = {word} {}", listener("")));
        world.receiver("x.test", |_, said, _| accepting(said));
        let said = world.receive(1, MESSAGE);
        assert!(said.starts_with(answer), "{word}: {said}");
        world.run_to(60);
        assert_eq!(world.count("delivered"), delivered, "{word}");
    }

    let mut world = World::new(&format!("default_binding = suspended {}", listener("")));
    world.receive(1, MESSAGE);
    world.run_to(60);
    let reason = world.engine.snapshot().queues[0].reason.to_string();
    assert_eq!(reason, "no binding was assigned (default_binding = suspended)");
}

#[test]
fn a_message_may_name_its_binding() {
    let bindings = r#"binding "red" { } binding_group "g" { binding "green" { } }"#;
    for (context, relay, header, expected) in [
        ("", "relay_hosts = 127.0.0.1", None, "default"),
        ("", "relay_hosts = 127.0.0.1", Some("red"), "red"),
        ("", "relay_hosts = 127.0.0.1", Some("g"), "green"),
        ("", "relay_hosts = 127.0.0.1", Some("nobody"), "default"),
        ("context [ binding = green ]", "relay_hosts = 127.0.0.1", Some("red"), "green"),
        ("relay_for_sending_domains [ from.test = true ]", "", Some("red"), "red"),
        ("", "relay_domains = x.test", Some("red"), "default"),
    ] {
        let listener =
            format!("{relay} Esmtp_Listener = ( 127.0.0.1:25 [ 0.0.0.0/0 = ( {context} ) ] )");
        let mut world = World::new(&format!("{bindings} {listener}"));
        world.receiver("x.test", |_, said, _| accepting(said));
        let said = world.receive_with_header(1, MESSAGE, header);
        assert!(said.starts_with("250 "), "{said}");
        world.run_to(60);
        assert_eq!(received(&world).keys().collect::<Vec<_>>(), [expected], "{context} {header:?}");
        assert_eq!(world.count("violation"), usize::from(header == Some("nobody")));
    }
}

#[test]
fn mail_of_a_binding_that_is_gone_is_sent_by_the_default_one() {
    let mut world = World::new("");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit_from(0, "gone", &["a@x.test"]);
    world.run_to(60);
    assert_eq!(world.count("delivered"), 1);
    assert_eq!(received(&world).keys().collect::<Vec<_>>(), ["default"]);
}

#[test]
fn discarded_mail_is_refused_at_once_or_fails_at_once() {
    for (word, answer, records) in [
        ("inline", "503 5.5.1 ", &["rejected rcpt: 551 5.7.1 recipient blackholed"][..]),
        (
            "internal",
            "250 2.0.0 ",
            &["received for 1", "failed a@x.test try 0: 554 5.7.0 Blackholed (queue)"],
        ),
    ] {
        let domain = format!("domain \"x.test\" {{ blackhole = {word} }}");
        let mut world = World::new(&format!("{domain} {}", listener("")));
        let said = world.receive(1, MESSAGE);
        assert!(said.starts_with(answer), "{word}: {said}");
        world.run_to(60);
        let story: Vec<String> = world.story().iter().map(|line| line[10..].into()).collect();
        assert_eq!(story[..records.len()], *records, "{word}");
        assert!(world.spool.is_empty());
        assert_eq!(world.engine.snapshot().messages, 0);
        assert_eq!(world.connects, []);
    }
}

#[test]
fn what_is_queued_already_is_discarded_whenever_it_is_due() {
    for word in ["inline", "internal"] {
        let mut world = World::new(&format!("blackhole = {word}"));
        let due = world.now + std::time::Duration::from_secs(5000);
        let message = world.message(0, &["a@x.test", "b@x.test"], |message| {
            message.recipients[1].state =
                RecipientState::Pending { attempts: 3, next_attempt_at: due };
        });
        world.spool.insert(message.id, [0, 1].into());
        world.handle(Input::Recovered(Box::new(message)));
        world.run_to(0);
        insta::allow_duplicates! {
            insta::assert_snapshot!(world.story().join("\n"), @"
            0.000 received for 2
            0.000 failed a@x.test try 0: 554 5.7.0 Blackholed (queue)
            0.000 failed b@x.test try 3: 554 5.7.0 Blackholed (queue)
            ");
        }
        assert!(world.spool.is_empty());
    }
}
