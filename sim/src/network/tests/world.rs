//! Runs: time, failures, and the same run twice.

use std::sync::{Arc, Mutex};

use super::*;
use crate::network::RunError;

#[test]
fn time_is_exact_to_the_microsecond_and_idle_time_costs_nothing() {
    let mut lab = Lab::new();
    let clock = lab.clock.clone();
    let day = Duration::from_secs(86_400);
    let times = lab.run(async move {
        let mut times = Vec::new();
        for wait in [Duration::from_micros(1), Duration::from_micros(1_499), day, Duration::ZERO] {
            pause(&clock, wait).await;
            times.push(elapsed(&clock));
        }
        times
    });
    assert_eq!(times, [0.001, 1.5, 86_400_001.5, 86_400_001.5]);
    assert!(lab.world.stats().turns < 10, "{:?}", lab.world.stats());
}

#[test]
fn sleepers_wake_in_the_order_of_their_times_then_of_their_sleep() {
    let mut lab = Lab::new();
    let (network, clock) = (lab.network.clone(), lab.clock.clone());
    let woken = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&woken);
    lab.run(async move {
        for (name, millis) in [("c", 3), ("a", 1), ("b1", 2), ("b2", 2), ("b3", 2)] {
            let (clock, woken) = (clock.clone(), Arc::clone(&woken));
            network.spawn(async move {
                pause(&clock, Duration::from_millis(millis)).await;
                woken.lock().unwrap().push(name);
            });
        }
        pause(&clock, Duration::from_secs(1)).await;
    });
    assert_eq!(*seen.lock().unwrap(), ["a", "b1", "b2", "b3", "c"]);
}

#[test]
fn a_sleep_that_is_dropped_wakes_nobody() {
    let mut lab = Lab::new();
    let clock = lab.clock.clone();
    lab.run(async move {
        tokio::select! {
            biased;
            () = pause(&clock, Duration::from_secs(60)) => unreachable!(),
            () = pause(&clock, Duration::from_secs(1)) => {}
        }
        pause(&clock, Duration::from_secs(3600)).await;
    });
    assert_eq!(lab.world.stats().timers, 2);
}

#[test]
fn a_panic_in_a_task_ends_the_run_with_its_message() {
    let mut lab = Lab::new();
    let (network, clock) = (lab.network.clone(), lab.clock.clone());
    let failed = lab.world.run(async move {
        let tick = clock.clone();
        network.spawn(async move {
            pause(&tick, Duration::from_secs(5)).await;
            panic!("no such state: {}", 7);
        });
        pause(&clock, Duration::from_secs(3600)).await;
    });
    let at = options().epoch + Duration::from_secs(5);
    assert_eq!(failed, Err(RunError::Panicked { message: "no such state: 7".to_owned(), at }));
}

#[test]
fn a_panic_in_main_ends_the_run_too() {
    let mut lab = Lab::new();
    let failed: Result<(), _> = lab.world.run(async { panic!("main") });
    let at = options().epoch;
    assert_eq!(failed, Err(RunError::Panicked { message: "main".to_owned(), at }));
}

#[test]
fn a_timer_of_the_runtime_is_a_panic_and_not_a_wait_in_another_time() {
    let mut lab = Lab::new();
    let failed = lab.world.run(async { tokio::time::sleep(Duration::from_secs(1)).await });
    assert!(matches!(failed, Err(RunError::Panicked { message, .. }) if message.contains("timer")));
}

#[test]
fn a_run_in_which_nothing_can_happen_ends() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let stalled = lab.world.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let (_client, server) = tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener));
        pause(&clock, Duration::from_secs(1)).await;
        // Nobody will ever write.
        server.unwrap().0.read(&mut [0; 8]).await
    });
    let at = options().epoch + Duration::from_millis(1030);
    assert_eq!(stalled.unwrap_err(), RunError::Stalled { at });
}

#[test]
fn nobody_wakes_from_a_sleep_that_never_ends() {
    let mut lab = Lab::new();
    let clock = lab.clock.clone();
    let stalled = lab.world.run(async move { clock.sleep_until(Timestamp::NEVER).await });
    assert_eq!(stalled, Err(RunError::Stalled { at: options().epoch }));
}

#[test]
fn tasks_go_on_in_the_next_run() {
    let mut lab = Lab::new();
    let (network, clock) = (lab.network.clone(), lab.clock.clone());
    let listener = lab.run(bind(&lab.farm.clone(), EXCHANGE));
    lab.farm.spawn(echo(lab.farm.clone(), listener));
    for _ in 0..2 {
        let network = network.clone();
        let answered = lab.run(async move {
            let mut stream = connect(&network, EXCHANGE).await;
            stream.write_all(b"x").await.unwrap();
            read_exactly(&mut stream, 1).await
        });
        assert_eq!(answered, b"x");
    }
    assert_eq!(elapsed(&clock), 80.0);
}

#[test]
fn sockets_and_handles_may_outlive_their_world() {
    let mut lab = Lab::new();
    let network = lab.network.clone();
    let listener = lab.run(bind(&lab.farm.clone(), EXCHANGE));
    let stream = lab.run(async move { connect(&network, EXCHANGE).await });
    let clock = lab.clock.clone();
    drop(lab);
    assert_eq!(elapsed(&clock), 20.0);
    drop((stream, listener));
    // The thread is free for the next world.
    Lab::new().run(async {});
}

/// Everything that arrives in a busy world, in order, with times and bytes.
fn busy_world(seed: u64, jitter: u64) -> Vec<String> {
    let seed = Seed::from_u64(seed);
    let mut lab = Lab::with(WorldOptions { seed, link: link(5_000, jitter), ..options() });
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    lab.world.observe(move |sighting| seen.lock().unwrap().push(format!("{sighting:?}")));
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        for host in 1..=4 {
            let listener = bind(&farm, &format!("198.51.100.{host}:25")).await;
            farm.spawn(echo(farm.clone(), listener));
        }
        for number in 0..20_u8 {
            let (network, clock) = (network.clone(), clock.clone());
            network.clone().spawn(async move {
                let exchange = format!("198.51.100.{}:25", number % 4 + 1);
                let source = ip(["192.0.2.1", "192.0.2.2"][usize::from(number % 2)]);
                let dialled = network.connect(Some(source), at(&exchange)).await;
                let mut stream = dialled.unwrap().0;
                for round in 0..5_u64 {
                    stream.write_all(&[number; 100]).await.unwrap();
                    assert_eq!(read_exactly(&mut stream, 100).await, [number; 100]);
                    pause(&clock, Duration::from_micros(round * 977)).await;
                }
            });
        }
        pause(&clock, Duration::from_secs(60)).await;
    });
    lab.drain();
    let log = log.lock().unwrap();
    log.clone()
}

#[test]
fn the_same_seed_is_the_same_world() {
    let jittered = busy_world(1, 3_000);
    assert!(jittered.len() > 20 * 5 * 3, "{} packets", jittered.len());
    assert_eq!(jittered, busy_world(1, 3_000));
    assert_ne!(jittered, busy_world(2, 3_000));
    assert_eq!(busy_world(1, 0), busy_world(2, 0), "without jitter nothing is drawn");
}

/// The draws are keyed by connection: one more connection leaves the times of the others alone.
#[test]
fn one_more_connection_does_not_move_the_others() {
    let times = |extra: bool| {
        let mut lab = Lab::with(WorldOptions { link: link(5_000, 3_000), ..options() });
        let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
        lab.run(async move {
            for local in [EXCHANGE, "198.51.100.9:25"] {
                let listener = bind(&farm, local).await;
                farm.spawn(echo(farm.clone(), listener));
            }
            if extra {
                let other = network.clone();
                network.spawn(async move { drop(connect(&other, "198.51.100.9:25").await) });
            }
            let mut stream = connect(&network, EXCHANGE).await;
            let mut times = vec![elapsed(&clock)];
            for _ in 0..10 {
                stream.write_all(b"x").await.unwrap();
                read_exactly(&mut stream, 1).await;
                times.push(elapsed(&clock));
            }
            times
        })
    };
    assert_eq!(times(false), times(true));
}
