//! Exchanges that answer at random, and a recount of every invariant after every input.

use crate::world::{Answer, World, accepting};
use proptest::prelude::*;

/// What a moody exchange may do instead of the right thing.
fn mood(n: u8, command: &str) -> Answer {
    let data = command == "DATA";
    match n {
        0 => Answer::Say("451 4.3.0 later".into()),
        1 => Answer::Say("550 5.1.1 never".into()),
        2 => Answer::Bye("421 4.3.2 closing".into()),
        3 => Answer::Reset,
        4 => Answer::Silence,
        5 => Answer::Say("nonsense".into()),
        6 => Answer::Say("250-one\n550 two".into()),
        7 => Answer::Say("354 go on".into()),
        8 => Answer::Say("250 fine\n250 and more".into()),
        9 if !data => Answer::Say("999 what".into()),
        10 => Answer::Bye("221 bye".into()),
        _ => accepting(command),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever exchanges do, every recipient comes to exactly one end, and nothing is left over.
    #[test]
    fn every_recipient_comes_to_one_end(
        moods in prop::collection::vec(0_u8..40, 1..60),
        messages in prop::collection::vec((0_u64..4000, 1_usize..5), 1..20),
        cap in 1_u32..5,
        deliveries in 0_u32..3,
        batch in 0_u32..3,
    ) {
        let mut world = World::new(&format!(
            "max_outbound_connections = {cap} max_deliveries_per_connection = {deliveries} \
             max_recipients_per_batch = {batch} retry_interval = 600 message_expiration = 7200"
        ));
        for (at, domain) in ["x.test", "y.test"].into_iter().enumerate() {
            let refuses = moods[0] == 11;
            let moods = moods.clone();
            let mut turn = at;
            let address = world.receiver(domain, move |_, said, now| {
                turn += 1;
                // In the end everybody behaves.
                let mood_now = if now > 90_000 { 99 } else { moods[turn % moods.len()] };
                mood(mood_now, said)
            });
            world.exchanges.get_mut(&address).unwrap().refuses = refuses;
        }
        let mut recipients = 0;
        for (at, count) in &messages {
            let to: Vec<String> = (0..*count)
                .map(|n| format!("r{n}@{}", if n % 2 == 0 { "x.test" } else { "y.test" }))
                .collect();
            recipients += count;
            world.submit(*at, &to.iter().map(String::as_str).collect::<Vec<_>>());
        }
        world.run_to(200_000);
        let ends = world.count("delivered") + world.count("failed") + world.count("expired");
        prop_assert_eq!(ends, recipients, "{:#?}", world.story());
        prop_assert!(world.spool.is_empty());
        prop_assert!(world.engine.is_at_rest());
        prop_assert_eq!(world.engine.snapshot().queues.len(), 0);
        for exchange in world.exchanges.values() {
            prop_assert!(exchange.peak <= cap);
        }
    }
}
