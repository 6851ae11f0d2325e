//! A spool that cannot be written for a while: what became of mail is written when it can be.

use std::time::Duration;

use crate::world::{Answer, START, World, accepting};
use proptest::prelude::*;
use traject_engine::Input;
use traject_engine::control::{Action, Selector};
use traject_engine::io::SpoolError;
use traject_engine::limits;
use traject_engine::message::RecipientState;
use traject_engine::queue::reason::QueueReason;
use traject_engine::record::Event;

/// A world whose receiver says 451 until an instant.
fn world(later_until: u64) -> World {
    let mut world = World::new("retry_interval = 60 max_retry_interval = 60");
    world.receiver("x.test", move |_, said, now| match said.starts_with("RCPT") {
        true if now < later_until => Answer::Say("451 4.3.0 later".into()),
        _ => accepting(said),
    });
    world
}

#[test]
fn what_was_delivered_while_the_disk_was_full_leaves_the_spool_when_there_is_room() {
    let mut world = world(30);
    let count = 600;
    for n in 0..count {
        world.submit(0, &[&format!("r{n}@x.test")]);
    }
    world.run_to(29);
    world.spool_error = Some(SpoolError::Full);
    let written = world.spool_writes;
    world.run_to(600);
    assert_eq!((world.count("delivered"), world.spool.len()), (count, count));
    assert_eq!(world.count("spool"), count, "one record for each message");
    assert_eq!(world.engine.snapshot().spool_behind, count);
    // Each message once, and some of them again now and then.
    let tries = (world.spool_writes - written) as usize;
    assert!((count..count + 20 * 256).contains(&tries), "{tries}");
    world.spool_error = None;
    world.run_to(661);
    assert_eq!((world.spool.len(), world.engine.snapshot().spool_behind), (0, 0));
    assert!(world.engine.is_at_rest());
}

#[test]
fn what_failed_is_written_with_what_came_after_it() {
    let mut world = world(150);
    let message = world.submit(0, &["a@x.test", "b@x.test"]);
    world.run_to(59);
    world.spool_error = Some(SpoolError::Io("broken".into()));
    world.run_to(122);
    // Two attempts more, of which the spool knows nothing.
    assert_eq!(world.count("deferred"), 6);
    let of = |world: &World| world.spool_states[&(message, 0)];
    let due = |second| START + Duration::from_secs(second);
    assert!(matches!(of(&world), RecipientState::Pending { attempts: 1, .. }));
    world.spool_error = None;
    world.run_to(140);
    let state = of(&world);
    assert!(
        matches!(state, RecipientState::Pending { attempts: 3, next_attempt_at }
            if next_attempt_at > due(180)),
        "{state:?}"
    );
    world.run_to(400);
    assert!(world.spool.is_empty() && world.engine.is_at_rest());
}

#[test]
fn no_delivery_begins_while_too_much_is_owed() {
    let mut world = world(30);
    // Counting all of it anew at each step would take longer than all else.
    world.checked = false;
    let count = limits::NOTES_OWED_MAX + 500;
    for n in 0..count {
        world.submit(0, &[&format!("r{n}@x.test")]);
    }
    world.run_to(29);
    world.spool_error = Some(SpoolError::Io("broken".into()));
    world.run_to(600);
    // What was under way comes to its end.
    let owed = world.count("delivered");
    assert!((limits::NOTES_OWED_MAX..limits::NOTES_OWED_MAX + 100).contains(&owed), "{owed}");
    assert_eq!(world.reason("default", "x.test"), Some(QueueReason::SpoolBehind));
    assert_eq!(world.engine.why("x.test", None)[0].queue.reason, QueueReason::SpoolBehind);
    world.engine.check().unwrap();
    world.spool_error = None;
    world.run_to(800);
    world.engine.check().unwrap();
    assert_eq!((world.count("delivered"), world.spool.len()), (count, 0));
    assert!(world.engine.is_at_rest());
}

#[test]
fn a_reroute_that_could_not_be_written_is_written_later() {
    let mut world = World::new("suspend_delivery = true");
    let message = world.submit(0, &["a@x.test", "b@x.test", "c@z.test"]);
    world.run_to(1);
    world.spool_error = Some(SpoolError::Full);
    let reroute = |from: &str, to: &str| Action::Reroute {
        of: Selector { domain: Some(from.into()), ..Selector::default() },
        to_binding: None,
        to_domain: Some(to.into()),
    };
    world.control(reroute("x.test", "y.test"));
    world.run_to(2);
    // The last word counts, and it says nothing of the third.
    world.control(reroute("y.test", "w.test"));
    world.control(reroute("z.test", "v.test"));
    world.run_to(60);
    assert_eq!(world.count("spool"), 1, "{:#?}", world.story());
    assert!(world.spool_routes.is_empty());
    world.spool_error = None;
    world.run_to(130);
    let routes = [0, 1, 2].map(|n| &*world.spool_routes[&(message, n)].domain);
    assert_eq!(routes, ["w.test", "w.test", "v.test"]);
    assert!(world.engine.snapshot().spool_behind == 0);
}

#[test]
fn a_drain_tries_once_more_and_then_lets_go() {
    for (room, left) in [(true, 0), (false, 1)] {
        let mut world = world(30);
        world.submit(0, &["a@x.test"]);
        world.run_to(29);
        world.spool_error = Some(SpoolError::Full);
        world.run_to(200);
        assert_eq!(world.count("delivered"), 1);
        if room {
            world.spool_error = None;
        }
        let before = world.spool_writes;
        world.handle(Input::Drain);
        assert!(!world.engine.is_at_rest(), "the last try");
        world.run_to(201);
        assert_eq!((world.spool.len(), world.engine.is_at_rest()), (left, true));
        // What throttles let pass was not charged: nothing else is written.
        assert_eq!(world.spool_writes - before, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// However the spool fails and however slow it is, in the end it says what the records say.
    #[test]
    fn the_spool_comes_to_know_everything(
        outages in prop::collection::vec((1_u64..200, 1_u64..200), 1..6),
        moods in prop::collection::vec(0_u8..3, 1..20),
        trips in prop_oneof![Just(0_u32), 1..9000_u32],
        batch in 0_u32..3,
        patience in 600_u64..1500,
    ) {
        let mut world = World::new(&format!(
            "retry_interval = 20 max_retry_interval = 20 max_recipients_per_batch = {batch}"
        ));
        let mut turn = 0;
        world.receiver("x.test", move |_, said, now| {
            turn += 1;
            match (said.starts_with("RCPT"), moods[turn % moods.len()]) {
                (true, 0 | 1) if now < patience => Answer::Say("451 4.3.0 later".into()),
                (true, 2) if now < patience => Answer::Say("550 5.1.1 no".into()),
                _ => accepting(said),
            }
        });
        for n in 0..10 {
            let to: Vec<String> = (0..=n % 4).map(|r| format!("r{r}@x.test")).collect();
            world.submit(0, &to.iter().map(String::as_str).collect::<Vec<_>>());
        }
        // They are ours before the first outage.
        world.run_to(1);
        world.spool_trips = trips;
        let mut now = 1;
        for (works, fails) in outages {
            world.run_to(now + works);
            world.spool_error = Some(SpoolError::Full);
            now += works + fails;
            world.run_to(now);
            world.spool_error = None;
        }
        // The longest write, the longest wait, and some time to write all of it.
        world.run_to(now + 400);
        let snapshot = world.engine.snapshot();
        prop_assert_eq!(snapshot.spool_behind, 0);
        if snapshot.spool_writes == 0 {
            for record in &world.records {
                if let Event::TransientFailure { attempt, next_attempt_at } = &record.event {
                    let place = (attempt.message, attempt.recipient);
                    let pending = world.spool.get(&place.0).is_some_and(|r| r.contains(&place.1));
                    let known = world.spool_states.get(&place);
                    let newer = matches!(known, Some(RecipientState::Pending {
                        attempts, next_attempt_at: at
                    }) if *attempts > attempt.attempts || at == next_attempt_at);
                    prop_assert!(!pending || newer, "{:?}: {:?}", attempt, known);
                }
            }
        }
        world.run_to(20_000);
        prop_assert!(world.spool.is_empty() && world.engine.is_at_rest());
    }
}
