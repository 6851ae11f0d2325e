//! What an operator does to waiting mail.

use std::time::Duration;

use proptest::prelude::*;
use traject_engine::Input;
use traject_engine::control::{Action, Control, Reach, Refusal, Selector};
use traject_engine::ids::MessageId;
use traject_engine::queue::reason::QueueReason;
use traject_engine::record::Event;

use crate::world::{Answer, START, World, accepting};

fn of(binding: Option<&str>, domain: Option<&str>) -> Selector {
    Selector { binding: binding.map(Into::into), domain: domain.map(Into::into), message: None }
}

fn to(domain: &str) -> Selector {
    of(None, Some(domain))
}

fn one(message: MessageId) -> Selector {
    Selector { message: Some(message), ..Selector::default() }
}

fn suspend(of: Selector) -> Action {
    Action::Suspend { of, until: None }
}

fn reroute(of: Selector, to_binding: Option<&str>, to_domain: Option<&str>) -> Action {
    let (to_binding, to_domain) = (to_binding.map(Into::into), to_domain.map(Into::into));
    Action::Reroute { of, to_binding, to_domain }
}

/// Says 451 to every RCPT until an instant in seconds.
fn busy_until(second: u64) -> impl FnMut(u32, &str, u64) -> Answer {
    move |_, said, now| match said.starts_with("RCPT") && now < second {
        true => Answer::Say("451 4.3.0 busy".into()),
        false => accepting(said),
    }
}

/// The seconds at which mail was delivered.
fn delivered(world: &World) -> Vec<u64> {
    let each = world.records.iter().filter(|record| matches!(record.event, Event::Delivery(_)));
    each.map(|record| record.at.saturating_since(START).as_secs()).collect()
}

#[test]
fn suspended_mail_waits_and_goes_when_it_is_resumed() {
    let mut world = World::new("");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.receiver("y.test", |_, said, _| accepting(said));
    world.control(suspend(to("x.test")));
    world.submit(5, &["a@x.test"]);
    world.submit(5, &["a@y.test"]);
    world.run_to(100);
    let reason = Some(QueueReason::SuspendedByOperator { until: None });
    assert_eq!(world.reason("default", "x.test"), reason);
    assert_eq!(delivered(&world), [5]);
    // A suspension is not the configuration's to end.
    world.reload("retry_interval = 60");
    assert_eq!(world.reason("default", "x.test"), reason);
    world.control(Action::Resume { of: to("y.test") });
    assert_eq!(world.reason("default", "x.test"), reason);
    world.control(Action::Resume { of: Selector::default() });
    world.run_to(200);
    assert_eq!(delivered(&world), [5, 100]);
    assert!(world.engine.suspensions().is_empty());
}

#[test]
fn a_suspension_ends_of_itself() {
    let mut world = World::new("");
    world.receiver("x.test", |_, said, _| accepting(said));
    let until = Some(START + Duration::from_secs(50));
    world.control(Action::Suspend { of: of(Some("default"), None), until });
    world.submit(5, &["a@x.test"]);
    world.run_to(49);
    let reason = QueueReason::SuspendedByOperator { until };
    assert_eq!(world.reason("default", "x.test"), Some(reason));
    world.run_to(60);
    assert_eq!(delivered(&world), [50]);
}

#[test]
fn what_is_in_a_transaction_comes_to_its_end() {
    let mut world = World::new("max_recipients_per_batch = 1 retry_interval = 60");
    // The reply to the first message comes late.
    world.receiver("x.test", |_, said, now| match said {
        "." if now < 20 => Answer::Silence,
        _ => accepting(said),
    });
    world.submit(0, &["a@x.test"]);
    world.run_to(1);
    for action in [
        suspend(to("x.test")),
        Action::Flush { of: to("x.test") },
        reroute(to("x.test"), None, Some("y.test")),
    ] {
        assert_eq!(world.engine.measure(&action).unwrap().in_flight, 1, "{action:?}");
        world.control(action);
    }
    world.control(Action::Fail { of: to("x.test"), reason: None, quiet: false });
    assert_eq!(world.count("failed"), 0);
    assert_eq!(world.count("rerouted"), 0);
    let queue = world.engine.snapshot().queues.remove(0);
    assert_eq!((queue.in_flight, queue.active, queue.delayed), (1, 0, 0));
}

#[test]
fn a_session_takes_up_nothing_that_is_suspended() {
    let mut world = World::new("max_outbound_connections = 1");
    world.receiver("x.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test"]);
    world.run_to(1);
    assert_eq!(world.count("opened"), 1);
    world.control(suspend(Selector::default()));
    world.submit(1, &["b@x.test"]);
    world.run_to(3);
    assert_eq!(delivered(&world), [0]);
    world.control(Action::Resume { of: Selector::default() });
    world.run_to(4);
    assert_eq!(delivered(&world), [0, 3]);
    assert_eq!(world.count("opened"), 1, "{:#?}", world.story());
}

#[test]
fn flushed_mail_is_due_now_and_the_attempt_counts() {
    let mut world = World::new("retry_interval = 1000 max_retries = 1");
    world.receiver("x.test", busy_until(60));
    world.receiver("y.test", busy_until(60));
    world.submit(0, &["a@x.test"]);
    world.submit(0, &["a@y.test"]);
    world.run_to(10);
    assert_eq!(world.count("deferred"), 2);
    world.control(Action::Flush { of: to("x.test") });
    world.run_to(100);
    assert_eq!(world.count("expired"), 1, "a flush is a retry: {:#?}", world.story());
    let told = world.told("control");
    assert_eq!(
        told,
        ["   10.000 control flush mail to x.test: 1 of 1 in 1 queues, 0 in flight, 0 left"]
    );
    // What is due already is not counted.
    world.control(Action::Flush { of: Selector::default() });
    world.control(Action::Flush { of: Selector::default() });
    let reached: Vec<u64> = reaches(&world).iter().map(|reach| reach.recipients).collect();
    assert_eq!(reached, [1, 1, 0]);
    world.run_to(101);
    assert_eq!(delivered(&world), [100]);
}

fn reaches(world: &World) -> Vec<Reach> {
    let controls = world.records.iter().filter_map(|record| match &record.event {
        Event::Control { reach, .. } => Some(*reach),
        _ => None,
    });
    controls.collect()
}

#[test]
fn failed_mail_leaves_the_spool_with_a_record_for_each_recipient() {
    let mut world = World::new("retry_interval = 1000 suspend_delivery = true");
    world.receiver("x.test", |_, said, _| accepting(said));
    let message = world.submit(0, &["a@x.test", "b@x.test", "c@y.test"]);
    world.submit(0, &["d@x.test"]);
    world.run_to(1);
    world.control(Action::Fail {
        of: to("x.test"),
        reason: Some("wrong list".into()),
        quiet: false,
    });
    assert_eq!(world.count("failed"), 3);
    assert!(world.told("failed")[0].contains("554 5.7.0 wrong list (queue)"));
    world.run_to(2);
    assert_eq!(world.spool.keys().collect::<Vec<_>>(), [&message]);
    world.control(Action::Fail { of: one(message), reason: None, quiet: false });
    world.run_to(3);
    assert_eq!(world.count("failed"), 4);
    assert!(world.told("failed")[3].contains("failed by the operator"));
    assert!(world.spool.is_empty() && world.engine.snapshot().queues.is_empty());
}

#[test]
fn rerouted_mail_goes_elsewhere_and_keeps_its_schedule() {
    let mut world = World::new("retry_interval = 1000 binding \"red\" { }");
    world.receiver("x.test", busy_until(u64::MAX));
    let other = world.receiver("relay.test", |_, said, _| accepting(said));
    world.submit(0, &["a@x.test", "b@x.test"]);
    world.run_to(10);
    let action = reroute(to("x.test"), Some("red"), Some("relay.test"));
    let measured = world.engine.measure(&action).unwrap();
    let expected = Reach { queues: 1, messages: 1, recipients: 2, in_flight: 0, left: 0 };
    assert_eq!(measured, expected);
    world.control(action.clone());
    assert_eq!(reaches(&world), [expected]);
    // It has its own place there, whatever is configured anew.
    world.reload("retry_interval = 1000 binding \"red\" { ehlo_hostname = \"red.test\" }");
    assert_eq!(world.told("reloaded"), ["   10.000 reloaded 1 strays 0"]);
    assert_eq!(world.reason("default", "x.test"), None);
    world.run_to(999);
    assert_eq!(delivered(&world), [0; 0]);
    world.run_to(1001);
    assert_eq!(delivered(&world), [1000, 1000]);
    assert_eq!(world.connects.last().unwrap().1.ip(), other);
    assert!(world.told("delivered")[0].contains("try 2"));
    assert!(world.spool.is_empty());
}

#[test]
fn mail_that_was_rerouted_to_a_binding_that_goes_is_sent_by_default() {
    let mut world = World::new("suspend_delivery = true binding \"red\" { }");
    world.submit(0, &["a@x.test"]);
    world.run_to(1);
    world.control(reroute(to("x.test"), Some("red"), Some("y.test")));
    assert!(world.reason("red", "y.test").is_some());
    world.reload("suspend_delivery = true");
    assert_eq!(world.reason("red", "y.test"), None);
    assert!(world.reason("default", "y.test").is_some());
    // And back to where it was.
    world.control(reroute(to("y.test"), None, Some("x.test")));
    assert!(world.reason("default", "x.test").is_some());
    assert_eq!(world.engine.snapshot().queues.len(), 1);
}

#[test]
fn a_portion_leaves_the_rest_for_the_next() {
    let mut world = World::new("suspend_delivery = true");
    for n in 0..5 {
        world.submit(0, &[format!("a{n}@x.test").as_str(), format!("b{n}@x.test").as_str()]);
    }
    world.run_to(1);
    let action = Action::Fail { of: to("x.test"), reason: None, quiet: false };
    let mut left = Vec::new();
    for _ in 0..4 {
        let (by, action) = ("test".into(), action.clone());
        world.handle(Input::Control(Box::new(Control { by, action, portion: Some(3) })));
        left.push(reaches(&world).pop().unwrap().left);
    }
    // Whole batches: a message's recipients are not told apart.
    assert_eq!(left, [6, 2, 0, 0]);
    assert_eq!(world.count("failed"), 10);
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let mut world = World::new("suspend_delivery = true");
    let message = world.submit(0, &["a@x.test"]);
    world.run_to(1);
    let unknown = MessageId(4711);
    for (action, refusal) in [
        (suspend(of(Some("blue"), None)), Refusal::UnknownBinding { binding: "blue".into() }),
        (
            reroute(to("x.test"), Some("blue"), None),
            Refusal::UnknownBinding { binding: "blue".into() },
        ),
        (reroute(to("x.test"), None, None), Refusal::Nowhere),
        (suspend(one(message)), Refusal::MessageSuspended),
        (Action::Resume { of: one(message) }, Refusal::MessageSuspended),
        (Action::Flush { of: one(unknown) }, Refusal::UnknownMessage { message: unknown }),
        (Action::Suspend { of: to("x.test"), until: Some(world.now) }, Refusal::Past),
    ] {
        assert_eq!(world.engine.measure(&action), Err(refusal.clone()), "{action:?}");
        world.control(action.clone());
        let last = world.records.last().map(|record| record.event.clone());
        let Some(Event::Control { refusal: found, reach, .. }) = last else { panic!("{last:?}") };
        assert_eq!((found, reach), (Some(refusal), Reach::default()), "{action:?}");
    }
    assert!(world.engine.suspensions().is_empty());
    assert_eq!(world.reason("default", "x.test"), Some(QueueReason::Suspended));
}

#[test]
fn a_suspended_binding_gets_no_new_mail_of_its_group() {
    let config = "binding_group \"g\" { binding \"g1\" { } binding \"g2\" { } }
        relay_hosts = 127.0.0.1
        Esmtp_Listener = ( 127.0.0.1:25 [ 0.0.0.0/0 = ( context [ binding_group = g ] ) ] )";
    let mut world = World::new(config);
    world.control(suspend(of(Some("g1"), None)));
    world.control(suspend(of(None, Some("x.test"))));
    for n in 0..8 {
        let commands = "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n";
        world.receive(n, commands);
    }
    let queues = world.engine.snapshot().queues;
    let bindings: Vec<&str> = queues.iter().map(|queue| &*queue.pair.binding).collect();
    assert_eq!(bindings, ["g2"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever an operator does while mail is under way, each recipient comes to one end, and
    /// every invariant holds after each input.
    #[test]
    fn no_action_loses_mail(
        actions in prop::collection::vec((0_u64..4000, 0_u8..6, 0_u8..4, 0_u8..3, 0_u64..3), 1..25),
        busy in 0_u64..3000,
        cap in 1_u32..4,
    ) {
        let mut world = World::new(&format!(
            "max_outbound_connections = {cap} max_recipients_per_batch = 2 retry_interval = 300 \
             message_expiration = 9000 binding \"red\" {{ }}"
        ));
        world.receiver("x.test", busy_until(busy));
        world.receiver("y.test", busy_until(busy / 2));
        let mut recipients = 0;
        let mut messages = Vec::new();
        for n in 0..12_u64 {
            let binding = if n % 3 == 0 { "red" } else { "default" };
            let to = ["a@x.test", "b@x.test", "c@y.test"];
            messages.push(world.submit_from(n * 250, binding, &to[n as usize % 3..]));
            recipients += 3 - n as usize % 3;
        }
        let mut actions = actions;
        actions.sort_unstable();
        for (at, what, which, whither, portion) in actions {
            world.run_to(at);
            let of = match which {
                0 => Selector::default(),
                1 => to("x.test"),
                2 => of(Some("red"), Some("y.test")),
                _ => one(messages[at as usize % messages.len()]),
            };
            let until = (portion > 0).then(|| world.now + Duration::from_secs(100 * portion));
            let action = match what {
                0 => Action::Suspend { of, until },
                1 => Action::Resume { of },
                2 | 3 => Action::Flush { of },
                4 if portion == 0 => Action::Fail { of, reason: None, quiet: false },
                _ => {
                    let binding = [None, Some("red"), Some("default")][whither as usize];
                    reroute(of, binding, (at % 2 == 0).then_some("y.test"))
                }
            };
            let (by, portion) = ("test".into(), (portion > 0).then_some(portion));
            world.handle(Input::Control(Box::new(Control { by, action, portion })));
        }
        world.control(Action::Resume { of: Selector::default() });
        world.run_to(100_000);
        let ends = world.count("delivered") + world.count("failed") + world.count("expired");
        prop_assert_eq!(ends, recipients, "{:#?}", world.story());
        prop_assert!(world.spool.is_empty());
        prop_assert!(world.engine.is_at_rest());
        prop_assert_eq!(world.engine.snapshot().queues.len(), 0);
    }
}
