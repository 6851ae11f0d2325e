//! Senders are told: of what failed (`generate_bounces`), and of what takes long
//! (`generate_delay_dsn`).

use crate::world::{Answer, World, accepting, mailbox};
use traject_engine::control::{Action, Selector};
use traject_engine::io::{ComposeError, SpoolError};
use traject_engine::smtp::address::ReversePath;

const HOUR: u64 = 3600;

/// A world with a receiver that does not know `gone`, and the senders' own exchange.
fn world(config: &str) -> World {
    let mut world = World::new(&format!("generate_bounces = true {config}"));
    world.receiver("x.test", |_, said, _| match said.contains("RCPT TO:<gone") {
        true => Answer::Say("550 5.1.1 no such user".into()),
        false => accepting(said),
    });
    world.receiver("from.test", |_, said, _| accepting(said));
    world
}

fn text(world: &World) -> &str {
    world.composed.last().expect("a notice")
}

#[test]
fn the_sender_hears_once_of_each_recipient_that_failed() {
    let mut world = world("");
    world.submit(0, &["a@x.test", "gone@x.test", "gone2@x.test", "b@nowhere.test"]);
    world.run_to(60);
    insta::assert_snapshot!(world.story().join("\n"), @"
    0.000 received for 4
    0.010 dns MX nowhere.test: NxDomain
    0.010 failed b@nowhere.test try 0: 554 5.4.4 no such domain (DNS)
    0.020 told sender@from.test Failed: [3] of 3
    0.040 opened 192.0.2.1 (1)
    0.060 opened 192.0.2.2 (1)
    0.120 delivered a@x.test try 1: 250 2.0.0 ok
    0.120 failed gone@x.test try 1: 550 5.1.1 no such user (RCPT TO)
    0.120 failed gone2@x.test try 1: 550 5.1.1 no such user (RCPT TO)
    0.130 told sender@from.test Failed: [1, 2] of 3
    0.140 delivered sender@from.test try 1: 250 2.0.0 ok
    0.180 delivered sender@from.test try 1: 250 2.0.0 ok
    5.140 closed 192.0.2.1 Idle after 1
    5.200 closed 192.0.2.2 Idle after 2
    ");
    assert_eq!(world.composed.len(), 2);
    assert!(world.spool.is_empty());
    assert!(world.engine.is_at_rest());
}

/// `traject ctl fail`, with and without `--quiet`.
#[test]
fn nobody_hears_of_what_an_operator_ends_quietly() {
    for (quiet, told) in [(false, 1), (true, 0)] {
        let mut world = world("domain \"x.test\" { suspend_delivery = true }");
        world.submit(0, &["a@x.test", "b@x.test"]);
        world.run_to(1);
        let of = Selector { domain: Some("x.test".into()), ..Selector::default() };
        world.control(Action::Fail { of, reason: None, quiet });
        world.run_to(60);
        assert_eq!((world.count("failed"), world.count("told")), (2, told), "quiet: {quiet}");
        assert!(world.spool.is_empty() && world.engine.is_at_rest());
    }
}

#[test]
fn who_hears_of_a_failure() {
    let null = || ReversePath(None);
    let sender = || ReversePath(Some(mailbox("sender@from.test")));
    for (config, from, to, told) in [
        ("", sender(), "gone@x.test", Some("sender@from.test")),
        ("generate_bounces = false", sender(), "gone@x.test", None),
        ("domain \"x.test\" { generate_bounces = false }", sender(), "gone@x.test", None),
        (
            "domain \"y.test\" { generate_bounces = false }",
            sender(),
            "gone@x.test",
            Some("sender@from.test"),
        ),
        // Mail without a sender is a notice itself.
        ("", null(), "gone@x.test", None),
        ("mdn_failures_notify = \"pm@from.test\"", null(), "gone@x.test", Some("pm@from.test")),
        (
            "mdn_failures_notify = \"pm@from.test\"",
            sender(),
            "gone@x.test",
            Some("sender@from.test"),
        ),
        // That mailbox cannot be told that it cannot be told.
        ("mdn_failures_notify = \"gone@x.test\"", null(), "gone@x.test", None),
    ] {
        let mut world = world(config);
        world.submit_with(0, &[to], |message| message.reverse_path = from.clone());
        world.run_to(60);
        let expected = told.map(|told| format!("told {told} Failed: [0] of 3"));
        let found: Vec<_> = world.told("told").iter().map(|line| line[10..].to_string()).collect();
        assert_eq!(found, Vec::from_iter(expected), "{config} {from}");
        assert!(world.spool.is_empty(), "{config} {from}");
    }
}

#[test]
fn a_notice_that_fails_ends_the_story() {
    let mut world = world("mdn_failures_notify = \"gone@x.test\"");
    world.submit_with(0, &["gone@x.test"], |message| {
        message.reverse_path = ReversePath(Some(mailbox("gone3@x.test")));
    });
    world.run_to(60);
    // The message, the notice to its sender, the notice about that one.
    assert_eq!(world.count("failed"), 3, "{:#?}", world.story());
    assert_eq!(world.composed.len(), 2);
    assert!(world.spool.is_empty());
}

#[test]
fn options_say_who_writes_and_what_is_quoted() {
    for (config, from, quoted) in [
        ("hostname = \"out.test\"", "From: mailer-daemon@out.test\n", "\n\n[Headers of 3]\n--"),
        ("mailerdaemon = \"Mail <md@from.test>\"", "From: Mail <md@from.test>\n", "[Headers of 3]"),
        ("bounces_inline_original = all", "", "Content-Type: message/rfc822\n\n[All of 3]\n--"),
        ("bounces_inline_original = none", "", "Status: 5.1.1\n"),
    ] {
        let mut world = world(config);
        world.submit(0, &["gone@x.test"]);
        world.run_to(60);
        assert!(text(&world).contains(from), "{config}\n{}", text(&world));
        assert!(text(&world).contains(quoted), "{config}\n{}", text(&world));
        assert_eq!(text(&world).contains(" of 3]"), !config.ends_with("none"), "{config}");
    }
}

#[test]
fn a_recipient_is_not_done_before_its_sender_can_be_told() {
    let mut world = world("");
    let id = world.submit(0, &["gone@x.test", "a@x.test"]);
    world.compose_error = Some(ComposeError::Spool(SpoolError::Full));
    world.run_to(200);
    // The other recipient is delivered; this one waits in the spool.
    assert_eq!(world.spool[&id].iter().copied().collect::<Vec<_>>(), [0]);
    assert_eq!(world.composed.len(), 4, "again each minute");
    world.compose_error = None;
    world.run_to(400);
    insta::assert_snapshot!(world.told("told").join("\n"), @"  240.170 told sender@from.test Failed: [0] of 3");
    assert!(world.spool.is_empty());
}

#[test]
fn an_original_that_cannot_be_read_is_not_quoted() {
    let mut world = world("");
    world.submit(0, &["gone@x.test"]);
    let lost = SpoolError::Io("damaged".into());
    world.compose_error = Some(ComposeError::Original(lost));
    let minute = world.now + std::time::Duration::from_secs(60);
    while world.composed.len() < 2 && world.step(minute) {
        if world.composed.len() == 1 {
            assert!(text(&world).contains("[Headers of 3]"));
        }
    }
    assert!(!text(&world).contains("[Headers of 3]"), "{:?}", world.story());
    world.compose_error = None;
    world.run_to(400);
    assert_eq!(world.count("told"), 1);
    assert!(world.spool.is_empty());
}

#[test]
fn a_domain_that_fails_as_a_whole_is_told_of_in_turns() {
    let mut world = world("domain \"dead.test\" { blackhole = internal }");
    for _ in 0..500 {
        world.submit(0, &["a@dead.test"]);
    }
    world.run_to(60);
    assert_eq!((world.count("failed"), world.count("told")), (500, 500));
    assert!(world.spool.is_empty());
}

#[test]
fn the_sender_hears_of_delays_as_scheduled() {
    let mut world = world(
        "generate_delay_dsn = true delay_dsn_retry_interval = 10800
         delay_dsn_max_retry_interval = 86400 message_expiration = 259200 max_retries = none",
    );
    world.receiver("slow.test", |_, said, now| match said.starts_with("RCPT") {
        true if now < 50 * HOUR => Answer::Say("451 4.7.1 later".into()),
        _ => accepting(said),
    });
    world.submit(0, &["a@slow.test", "b@x.test"]);
    world.run_to(72 * HOUR);
    // After 3, 9, 21 and 45 hours; none after the delivery, none about what was delivered.
    insta::assert_snapshot!(
        [world.told("told"), world.told("delivered")].concat().join("\n"), @"
    10800.010 told sender@from.test Delayed: [0] of 3
    32400.010 told sender@from.test Delayed: [0] of 3
    75600.010 told sender@from.test Delayed: [0] of 3
    162000.010 told sender@from.test Delayed: [0] of 3
        0.120 delivered b@x.test try 1: 250 2.0.0 ok
    10800.130 delivered sender@from.test try 1: 250 2.0.0 ok
    32400.130 delivered sender@from.test try 1: 250 2.0.0 ok
    75600.130 delivered sender@from.test try 1: 250 2.0.0 ok
    162000.130 delivered sender@from.test try 1: 250 2.0.0 ok
    205201.020 delivered a@slow.test try 10: 250 2.0.0 ok
    ");
    insta::assert_snapshot!(text(&world));
    assert!(world.spool.is_empty());
}

/// The first notice was due for somebody who waits no longer.
#[test]
fn who_waits_no_longer_is_not_told_of() {
    let mut world = world(
        "generate_delay_dsn = true delay_dsn_retry_interval = 10800
         domain \"soon.test\" { delay_dsn_retry_interval = 3600 retry_interval = 600 }
         domain \"never.test\" { delay_dsn_retry_interval = 3600 retry_interval = 600 }",
    );
    for domain in ["soon.test", "slow.test", "never.test"] {
        world.receiver(domain, move |_, said, now| {
            let answer = match (domain, now > HOUR / 4) {
                ("soon.test", true) => return accepting(said),
                ("never.test", true) => "550 5.1.1 no such user",
                _ => "451 4.7.1 later",
            };
            match said.starts_with("RCPT") {
                true => Answer::Say(answer.into()),
                false => accepting(said),
            }
        });
    }
    world.submit(0, &["a@soon.test", "b@slow.test", "c@never.test"]);
    world.run_to(4 * HOUR);
    insta::assert_snapshot!(world.told("told").join("\n"), @r"
     1800.310 told sender@from.test Failed: [2] of 3
    10800.010 told sender@from.test Delayed: [1] of 3
    ");
}

/// A delay may be over by the time the spool takes a notice of it: it is left out, and the next one
/// comes when it is due.
#[test]
fn a_delay_notice_that_the_spool_refuses_is_left_out() {
    let mut world = world("generate_delay_dsn = true delay_dsn_retry_interval = 3600");
    world.receiver("slow.test", |_, _, _| Answer::Silence);
    world.submit(0, &["a@slow.test"]);
    world.compose_error = Some(ComposeError::Spool(SpoolError::Full));
    world.run_to(2 * HOUR);
    assert_eq!((world.composed.len(), world.count("told")), (1, 0));
    world.compose_error = None;
    world.run_to(4 * HOUR);
    assert_eq!((world.composed.len(), world.count("told")), (2, 1));
}

/// A delay may be over by the time others' notices are done with.
#[test]
fn a_delay_that_is_over_before_its_notice_is_begun_is_not_told_of() {
    for (over, told) in [(false, 65), (true, 64)] {
        let mut world = World::new(
            "suspend_delivery = true generate_delay_dsn = true delay_dsn_retry_interval = 3600",
        );
        for _ in 0..64 {
            world.submit(0, &["a@x.test"]);
        }
        world.submit(0, &["a@last.test"]);
        world.run_to(HOUR);
        assert_eq!(world.composed.len(), 64, "as many as are worked at");
        if over {
            let of = Selector { domain: Some("last.test".into()), ..Selector::default() };
            world.control(Action::Fail { of, reason: None, quiet: true });
        }
        world.run_to(HOUR + 60);
        assert_eq!([world.composed.len(), world.count("told")], [told, told]);
    }
}

/// The message that a notice of a delay was to quote is gone.
#[test]
fn a_delay_that_is_over_while_its_notice_is_put_together_is_not_told_of() {
    let mut world = world(
        "generate_delay_dsn = true delay_dsn_retry_interval = 3600 retry_interval = 3600
         max_retry_interval = 3600",
    );
    world.receiver("slow.test", |_, said, now| match said.starts_with("RCPT") {
        true if now < HOUR / 2 => Answer::Say("451 4.7.1 later".into()),
        _ => accepting(said),
    });
    world.submit(0, &["a@slow.test"]);
    world.compose_trips = 100 * 60;
    world.compose_error = Some(ComposeError::Original(SpoolError::Io("gone".into())));
    world.run_to(2 * HOUR);
    assert_eq!((world.count("delivered"), world.composed.len()), (1, 1), "{:?}", world.story());
    assert_eq!(world.count("spool"), 0, "{:?}", world.story());
    assert!(world.spool.is_empty());
}

/// A disk that takes hours for a write.
const HOURS_OF_TRIPS: u32 = 100 * HOUR as u32;

#[test]
fn while_a_notice_is_not_durable_there_is_no_other_about_the_same_delay() {
    let mut world = world(
        "generate_delay_dsn = true delay_dsn_retry_interval = 3600
         delay_dsn_max_retry_interval = 3600",
    );
    world.receiver("slow.test", |_, _, _| Answer::Silence);
    world.submit(0, &["a@slow.test"]);
    world.run_to(60);
    // What is begun after one hour is durable after four and a half.
    world.spool_trips = 7 * HOURS_OF_TRIPS / 2;
    world.run_to(5 * HOUR - 60);
    assert_eq!((world.composed.len(), world.count("told")), (1, 1));
    world.run_to(6 * HOUR);
    assert_eq!(world.composed.len(), 2);
}

#[test]
fn the_options_in_force_decide_about_delay_notices() {
    let mut world = world("generate_delay_dsn = true delay_dsn_retry_interval = 3600");
    world.receiver("slow.test", |_, _, _| Answer::Silence);
    world.submit(0, &["a@slow.test"]);
    world.run_to(HOUR + 60);
    assert_eq!(world.count("told"), 1);
    world.reload("generate_bounces = true");
    world.run_to(10 * HOUR);
    assert_eq!(world.count("told"), 1);
    world.reload("generate_bounces = true generate_delay_dsn = true");
    world.run_to(20 * HOUR);
    assert_eq!(world.count("told"), 1, "only what comes in from now on is watched");
}
