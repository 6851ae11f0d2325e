//! What becomes of mail when an exchange's TLS is not as it should be.

use std::net::IpAddr;

use traject_engine::record::{ClearReason, Event, Transport};

use crate::world::{Answer, Script, World, accepting};

/// An exchange that offers STARTTLS and handles it as `on` says: by the connection's number, the
/// command (`STARTTLS` or `(TLS)`), and the second.
fn offering(
    mut on: impl FnMut(u32, &str, u64) -> Answer + 'static,
) -> impl FnMut(u32, &str, u64) -> Answer + 'static {
    move |number, said, now| match said {
        "EHLO" => unreachable!("our name is said"),
        "STARTTLS" | "(TLS)" => on(number, said, now),
        _ if said.starts_with("EHLO") => say("250-mx.test\n250-STARTTLS\n250 SIZE 10000000"),
        _ => accepting(said),
    }
}

fn say(text: &str) -> Answer {
    Answer::Say(text.into())
}

/// Gives the go-ahead, and then this.
fn then(word: &'static str) -> impl FnMut(u32, &str, u64) -> Answer + 'static {
    move |_, said, _| if said == "STARTTLS" { say("220 go") } else { say(word) }
}

/// The transports of deliveries, in order.
fn transports(world: &World) -> Vec<String> {
    let of = |transport: &Transport| match transport {
        Transport::Nothing => "nothing".to_string(),
        Transport::Clear { why } => format!("clear {why:?}"),
        Transport::Tls(info) => info.version.to_string(),
    };
    let delivered = world.records.iter().filter_map(|record| match &record.event {
        Event::Delivery(attempt) => Some(of(&attempt.transport)),
        _ => None,
    });
    delivered.collect()
}

const MODES: [&str; 4] = [
    "tls = no",
    "tls = ifavailable",
    "tls = ifavailable tls_ifavailable_fallback = false",
    "tls = required",
];

/// What becomes of one message in a day, for each mode: how it was delivered, or the words it
/// waited with; and how many connections that took.
fn outcomes(script: fn() -> Script) -> Vec<String> {
    let outcome = |mode: &&str| {
        let mut world = World::new(mode);
        let mut script = script();
        world.receiver("x.test", move |number, said, now| script(number, said, now));
        world.submit(0, &["a@x.test"]);
        world.run_to(24 * 3600);
        let how = match transports(&world).first() {
            Some(transport) => transport.clone(),
            None => {
                let record = world.records.iter().find_map(|record| match &record.event {
                    Event::TransientFailure { attempt, .. } => Some(attempt.reply.to_string()),
                    _ => None,
                });
                record.unwrap_or_default()
            }
        };
        format!("{how} [{} tries, {} connections]", attempts(&world), world.connects.len())
    };
    MODES.iter().map(outcome).collect()
}

fn attempts(world: &World) -> usize {
    let tries = |event: &Event| {
        matches!(event, Event::Delivery(_) | Event::TransientFailure { .. } | Event::Expiry { .. })
    };
    world.records.iter().filter(|record| tries(&record.event)).count()
}

#[test]
fn the_table_of_modes_and_misfortunes() {
    insta::assert_snapshot!(outcomes(|| Box::new(|_, said, _| accepting(said))).join("\n"), @"
    clear NotWanted [1 tries, 1 connections]
    clear NotOffered [1 tries, 1 connections]
    clear NotOffered [1 tries, 1 connections]
    451 4.7.6 STARTTLS required but not advertised [7 tries, 7 connections]
    ");
    insta::assert_snapshot!(outcomes(|| Box::new(offering(then("1.3")))).join("\n"), @"
    clear NotWanted [1 tries, 1 connections]
    TLSv1.3 [1 tries, 1 connections]
    TLSv1.3 [1 tries, 1 connections]
    TLSv1.3 [1 tries, 1 connections]
    ");
    insta::assert_snapshot!(
        outcomes(|| Box::new(offering(|_, _, _| say("454 4.7.0 not now")))).join("\n"), @"
        clear NotWanted [1 tries, 1 connections]
        clear Refused [1 tries, 2 connections]
        451 4.7.5 no go-ahead for STARTTLS: 454 4.7.0 not now [7 tries, 7 connections]
        451 4.7.5 no go-ahead for STARTTLS: 454 4.7.0 not now [7 tries, 7 connections]
        ");
    insta::assert_snapshot!(outcomes(|| Box::new(offering(then("internal_error")))).join("\n"), @"
    clear NotWanted [1 tries, 1 connections]
    clear NegotiationFailed [1 tries, 2 connections]
    451 4.7.5 TLS negotiation failed: the peer said internal_error [7 tries, 7 connections]
    451 4.7.5 TLS negotiation failed: the peer said internal_error [7 tries, 7 connections]
    ");
    insta::assert_snapshot!(outcomes(|| Box::new(offering(then("expired")))).join("\n"), @"
    clear NotWanted [1 tries, 1 connections]
    454 4.7.5 the certificate has expired [7 tries, 7 connections]
    454 4.7.5 the certificate has expired [7 tries, 7 connections]
    454 4.7.5 the certificate has expired [7 tries, 7 connections]
    ");
    insta::assert_snapshot!(outcomes(|| Box::new(offering(then("no file")))).join("\n"), @"
    clear NotWanted [1 tries, 1 connections]
    451 4.7.5 TLS negotiation failed: cannot read /ca.pem [7 tries, 7 connections]
    451 4.7.5 TLS negotiation failed: cannot read /ca.pem [7 tries, 7 connections]
    451 4.7.5 TLS negotiation failed: cannot read /ca.pem [7 tries, 7 connections]
    ");
    insta::assert_snapshot!(
        outcomes(|| Box::new(offering(|_, said, _| match said {
            "STARTTLS" => say("220 go"),
            _ => Answer::Silence,
        }))).join("\n"), @"
        clear NotWanted [1 tries, 1 connections]
        clear NegotiationFailed [1 tries, 2 connections]
        451 4.7.5 TLS negotiation failed: no answer in time [7 tries, 7 connections]
        451 4.7.5 TLS negotiation failed: no answer in time [7 tries, 7 connections]
        ");
}

#[test]
fn after_a_failed_handshake_mail_goes_in_clear_at_once_over_a_new_connection() {
    let mut world = World::new("tls = ifavailable");
    world.receiver("x.test", offering(then("handshake_failure")));
    world.submit(0, &["a@x.test"]);
    // While it is remembered nobody tries TLS there; afterwards one connection does.
    world.submit(60, &["b@x.test"]);
    world.submit(130, &["c@x.test"]);
    world.run_to(300);
    insta::assert_snapshot!(world.story().join("\n"), @"
      0.000 received for 1
      0.040 opened 192.0.2.1 (1)
      0.140 insecure 192.0.2.1: 451 4.7.5 TLS negotiation failed: the peer said handshake_failure (TLS handshake), Fallback until 120
      0.140 closed 192.0.2.1 TlsFailed after 0
      0.160 opened 192.0.2.1 (1)
      0.280 delivered a@x.test try 1: 250 2.0.0 ok
      5.300 closed 192.0.2.1 Idle after 1
     60.000 received for 1
     60.020 opened 192.0.2.1 (1)
     60.140 delivered b@x.test try 1: 250 2.0.0 ok
     65.160 closed 192.0.2.1 Idle after 1
    130.000 received for 1
    130.020 opened 192.0.2.1 (1)
    130.120 insecure 192.0.2.1: 451 4.7.5 TLS negotiation failed: the peer said handshake_failure (TLS handshake), Fallback until 250
    130.120 closed 192.0.2.1 TlsFailed after 0
    130.140 opened 192.0.2.1 (1)
    130.260 delivered c@x.test try 1: 250 2.0.0 ok
    135.280 closed 192.0.2.1 Idle after 1
    ");
    assert_eq!(transports(&world), ["clear NegotiationFailed"; 3]);
    assert_eq!(world.handshakes.len(), 2);
}

#[test]
fn a_stalled_handshake_costs_one_time_out() {
    let mut world = World::new("tls = ifavailable ehlo_timeout = 30 host_failure_retry = 3600");
    world.receiver(
        "x.test",
        offering(|_, said, _| match said {
            "STARTTLS" => say("220 go"),
            _ => Answer::Silence,
        }),
    );
    for at in [0, 100, 200, 300] {
        world.submit(at, &["a@x.test"]);
    }
    world.run_to(1000);
    assert_eq!(world.handshakes.len(), 1);
    insta::assert_snapshot!(world.told("delivered").join("\n"), @"
     30.240 delivered a@x.test try 1: 250 2.0.0 ok
    100.140 delivered a@x.test try 1: 250 2.0.0 ok
    200.140 delivered a@x.test try 1: 250 2.0.0 ok
    300.140 delivered a@x.test try 1: 250 2.0.0 ok
    ");
}

#[test]
fn required_never_goes_in_clear_and_each_message_is_charged_without_a_connection() {
    let mut world =
        World::new("tls = required host_failure_retry = 600 retry_interval = 1200 max_retries = 1");
    world.receiver("x.test", offering(then("expired")));
    world.submit(0, &["a@x.test", "b@x.test"]);
    world.submit(300, &["c@x.test"]);
    world.run_to(2 * 3600);
    insta::assert_snapshot!(world.story().join("\n"), @"
       0.000 received for 2
       0.040 opened 192.0.2.1 (1)
       0.140 insecure 192.0.2.1: 454 4.7.5 the certificate has expired (TLS handshake), Unfit until 600
       0.140 deferred a@x.test try 1: 454 4.7.5 the certificate has expired (TLS handshake), next at 1200
       0.140 deferred b@x.test try 1: 454 4.7.5 the certificate has expired (TLS handshake), next at 1200
       0.140 closed 192.0.2.1 TlsFailed after 0
     300.000 received for 1
     300.000 deferred c@x.test try 1: 454 4.7.5 the certificate has expired (TLS handshake), next at 1500
    1200.180 opened 192.0.2.1 (1)
    1200.280 insecure 192.0.2.1: 454 4.7.5 the certificate has expired (TLS handshake), Unfit until 1800
    1200.280 expired a@x.test try 2: MaxRetries
    1200.280 expired b@x.test try 2: MaxRetries
    1200.280 closed 192.0.2.1 TlsFailed after 0
    1500.000 expired c@x.test try 2: MaxRetries
    ");
    assert!(world.engine.is_at_rest() && world.spool.is_empty());
}

#[test]
fn a_worse_exchange_that_can_do_tls_is_used_before_anybody_waits() {
    let mut world = World::new("tls = required");
    let address = world.receiver("x.test", |_, said, _| accepting(said));
    world.zones.insert("x.test".into(), Ok(vec![(10, "mx.x.test".into()), (20, "b.test".into())]));
    let second = IpAddr::from([192, 0, 2, 77]);
    world.hosts.insert("b.test".into(), second);
    world.exchange(second, offering(then("1.2")));
    world.submit(0, &["a@x.test"]);
    world.run_to(60);
    assert_eq!(transports(&world), ["TLSv1.2"]);
    assert_eq!(
        world.connects.iter().map(|(_, peer)| peer.ip()).collect::<Vec<_>>(),
        [address, second]
    );
    assert_eq!(world.count("deferred"), 0);
}

#[test]
fn success_clears_the_memory() {
    let mut world = World::new("tls = required retry_interval = 1200");
    // Broken for ten minutes.
    world.receiver(
        "x.test",
        offering(|_, said, now| match said {
            "STARTTLS" => say("220 go"),
            _ if now < 600 => say("internal_error"),
            _ => say("1.3"),
        }),
    );
    world.submit(0, &["a@x.test"]);
    world.submit(1201, &["b@x.test"]);
    world.run_to(2000);
    insta::assert_snapshot!(
        [world.told("deferred"), world.told("delivered")].concat().join("\n"), @"
           0.140 deferred a@x.test try 1: 451 4.7.5 TLS negotiation failed: the peer said internal_error (TLS handshake), next at 1200
        1200.380 delivered a@x.test try 2: 250 2.0.0 ok
        1201.080 delivered b@x.test try 1: 250 2.0.0 ok
        ");
    assert_eq!(transports(&world), ["TLSv1.3"; 2]);
}

#[test]
fn pairs_that_ask_for_less_are_not_held_up_by_those_that_ask_for_more() {
    let mut world = World::new(
        "tls = required
         domain \"strict.test\" { tls_verify = host }
         domain \"lax.test\" { tls_verify = no }",
    );
    let address = world.receiver("strict.test", offering(then("wrong name")));
    world.submit(0, &["a@strict.test"]);
    world.run_to(10);
    assert_eq!(world.count("deferred"), 1);
    // The same address, and nobody looks at its certificate.
    world.exchange(address, offering(then("1.3")));
    world.zones.insert("lax.test".into(), Ok(vec![(10, "mx.strict.test".into())]));
    world.submit(20, &["a@lax.test"]);
    world.submit(30, &["b@strict.test"]);
    world.run_to(60);
    assert_eq!(transports(&world), ["TLSv1.3"]);
    assert_eq!(world.count("deferred"), 2);
    let asked: Vec<_> = world.handshakes.iter().map(|tls| tls.accepted_names.len()).collect();
    assert_eq!(asked, [2, 1]);
}

#[test]
fn a_pair_that_needs_no_tls_does_not_mind_that_another_did() {
    let mut world = World::new(
        "tls = ifavailable host_failure_retry = 3600 domain \"strict.test\" { tls = required }",
    );
    world.receiver("strict.test", |_, said, _| accepting(said));
    world.zones.insert("lax.test".into(), Ok(vec![(10, "mx.strict.test".into())]));
    world.submit(0, &["a@strict.test"]);
    world.submit(10, &["a@lax.test"]);
    world.run_to(60);
    assert_eq!(world.count("deferred"), 1);
    let why = format!("clear {:?}", ClearReason::NotOffered);
    assert_eq!(transports(&world), [why]);
}

#[test]
fn many_messages_behind_a_broken_handshake_cost_few_connections() {
    let mut world = World::new("tls = required max_outbound_connections = 20");
    world.receiver("x.test", offering(then("internal_error")));
    for n in 0..500 {
        world.submit(n % 100, &["a@x.test"]);
    }
    world.run_to(119);
    assert_eq!(world.count("deferred"), 500);
    assert!(world.handshakes.len() <= 20, "{}", world.handshakes.len());
}

#[test]
fn transient_words_of_ours_can_be_rewritten() {
    let mut world = World::new(
        "tls = required response_transcode_pattern = \"^451 4[.]7[.]6\"
         response_transcode_replace = \"550 5.7.10 no TLS, no mail\"",
    );
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test"]);
    world.run_to(60);
    assert_eq!(world.count("failed"), 1);
}

#[test]
fn a_throttle_that_is_shut_does_not_hide_that_tls_fails() {
    let mut world = World::new(
        "tls = required outbound_throttle_messages = \"1/3600\" host_failure_retry = 3600",
    );
    world.receiver("x.test", offering(then("internal_error")));
    for _ in 0..5 {
        world.submit(0, &["a@x.test"]);
    }
    world.run_to(60);
    assert_eq!(world.count("deferred"), 5);
}
