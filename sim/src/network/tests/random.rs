//! Random worlds: many connections that talk, stall, break off and meet faults. Whatever happens,
//! what is read is what was written; nothing stays behind; and neither when packets are collected
//! nor, where they keep together, how large they are makes a difference.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use traject_engine::rng::Purpose;

use super::*;
use crate::network::{Fault, Links, Path, Prefix};

/// Worlds that each test tries.
const WORLDS: u64 = 100;

/// Draws of one actor.
struct Dice {
    seed: Seed,
    actor: u64,
    thrown: Cell<u64>,
}

impl Dice {
    fn new(seed: u64, actor: u64) -> Self {
        Self { seed: Seed::from_u64(seed), actor, thrown: Cell::new(0) }
    }

    fn below(&self, bound: u64) -> u64 {
        self.thrown.set(self.thrown.get() + 1);
        self.seed.draw_below(Purpose::Traffic, self.actor, self.thrown.get(), bound)
    }

    /// Mostly short, sometimes long.
    fn wait(&self) -> Duration {
        let most = [100, 30_000, 400_000, 5_000_000][self.below(4) as usize];
        Duration::from_micros(self.below(most))
    }
}

/// What everybody saw, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// One end of one connection, and who it is.
struct Actor {
    name: String,
    dice: Dice,
    network: SimNetwork,
    clock: SimClock,
    log: Log,
    written: u64,
    read: u64,
}

/// The byte at a position of every stream.
fn byte_at(position: u64) -> u8 {
    (position * 7 % 251) as u8
}

impl Actor {
    fn tell(&self, what: impl std::fmt::Display) {
        let line = format!("{:.3} {} {what}", elapsed(&self.clock), self.name);
        self.log.lock().unwrap().push(line);
    }

    /// Writes, reads and waits at random, and ends in one of several ways.
    async fn act(mut self, mut stream: SimStream) {
        for _ in 0..self.dice.below(12) {
            let done = match self.dice.below(4) {
                0 => {
                    pause(&self.clock, self.dice.wait()).await;
                    Ok(())
                }
                1 => self.read(&mut stream).await,
                _ => self.write(&mut stream).await,
            };
            if let Err(error) = done {
                self.tell(error);
                return;
            }
        }
        match self.dice.below(6) {
            0 => self.network.abort(stream),
            1 => drop(stream),
            _ => {
                let _ = stream.shutdown().await;
                while let Ok(()) = self.read(&mut stream).await {}
            }
        }
        self.tell("ends");
    }

    async fn write(&mut self, stream: &mut SimStream) -> Result<(), String> {
        let most = [20, 2_000, 100_000][self.dice.below(3) as usize];
        let count = self.dice.below(most) + 1;
        let bytes: Vec<u8> = (self.written..self.written + count).map(byte_at).collect();
        let giving_up = self.clock.now() + Duration::from_secs(20);
        tokio::select! {
            biased;
            () = self.clock.sleep_until(giving_up) => return Err("cannot write".to_owned()),
            done = stream.write_all(&bytes) => done.map_err(|error| format!("{:?}", error.kind()))?,
        }
        self.written += count;
        self.tell(format!("wrote {count}"));
        Ok(())
    }

    async fn read(&mut self, stream: &mut SimStream) -> Result<(), String> {
        let most = [30, 3_000, 100_000][self.dice.below(3) as usize];
        let mut buffer = vec![0; self.dice.below(most) as usize + 1];
        let giving_up = self.clock.now() + Duration::from_secs(20);
        let count = tokio::select! {
            biased;
            () = self.clock.sleep_until(giving_up) => return Err("nothing to read".to_owned()),
            done = stream.read(&mut buffer) => done.map_err(|error| format!("{:?}", error.kind()))?,
        };
        for (position, byte) in (self.read..).zip(&buffer[..count]) {
            assert_eq!(*byte, byte_at(position), "{} at {position}", self.name);
        }
        self.read += count as u64;
        self.tell(format!("read {count}"));
        if count == 0 { Err("end of stream".to_owned()) } else { Ok(()) }
    }
}

/// Faults come and go for two minutes.
async fn trouble(dice: Dice, clock: SimClock, links: Links) {
    for _ in 0..dice.below(8) {
        pause(&clock, dice.wait() * 3).await;
        let prefix: Prefix = ["198.51.100.1", "198.51.100.0/30", "0.0.0.0/0"]
            [dice.below(3) as usize]
            .parse()
            .unwrap();
        let path = if dice.below(4) == 0 { Path::from(ip("192.0.2.1")) } else { Path::to(prefix) };
        let fault = match dice.below(6) {
            0 => Fault::Refuse,
            1 => Fault::BlackHole,
            2 => Fault::Reset,
            3 => Fault::Delay(dice.wait()),
            4 => {
                links.reset(path);
                continue;
            }
            _ => {
                links.cut(path);
                continue;
            }
        };
        let imposed = links.impose(path, fault);
        pause(&clock, dice.wait() * 3).await;
        links.lift(imposed);
    }
}

/// The link of a random world.
fn random_link(seed: u64) -> Link {
    let dice = Dice::new(seed, 0);
    let jitter = [0, 1_000, 30_000][dice.below(3) as usize];
    link(dice.below(40_000), jitter)
}

/// What must make no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packets {
    Usual,
    CollectedAtOnce,
    Offloaded,
}

/// Runs one random world; answers what everybody saw.
fn random_world(seed: u64, packets: Packets) -> Vec<String> {
    let offload = packets == Packets::Offloaded;
    let link = random_link(seed);
    let of_world = WorldOptions { seed: Seed::from_u64(seed), link, offload, ..options() };
    let mut lab = Lab::with(of_world);
    if packets == Packets::CollectedAtOnce {
        lab.world.collect_at_once();
    }
    let log = Log::default();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    let actor = |name: String, network: &SimNetwork, number: u64| Actor {
        dice: Dice::new(seed, number),
        name,
        network: network.clone(),
        clock: clock.clone(),
        log: Arc::clone(&log),
        written: 0,
        read: 0,
    };
    let hosts = 4;
    let listening: Vec<_> = (0..hosts).map(|host| format!("198.51.100.{host}:25")).collect();
    let listeners = lab.run({
        let (farm, listening) = (farm.clone(), listening.clone());
        async move {
            let mut listeners = Vec::new();
            for local in &listening {
                listeners.push(farm.bind(at(local), 3).await.unwrap());
            }
            listeners
        }
    });
    for (host, listener) in (1_000..).zip(listeners) {
        let template = actor(format!("host {host}"), &farm, host);
        let (farm, clock, log) = (farm.clone(), clock.clone(), Arc::clone(&log));
        farm.clone().spawn(async move {
            for client in 0.. {
                pause(&clock, template.dice.wait() / 10).await;
                let (stream, peer) = farm.accept(&listener).await.unwrap();
                template.tell(format!("accepts {peer}"));
                let server = Actor {
                    name: format!("server {peer}"),
                    dice: Dice::new(seed, host * 1_000 + client),
                    network: farm.clone(),
                    clock: clock.clone(),
                    log: Arc::clone(&log),
                    written: 0,
                    read: 0,
                };
                farm.spawn(server.act(stream));
            }
        });
    }
    for number in 1..=20 {
        let client = actor(format!("client {number}"), &network, number);
        let network = network.clone();
        let peer = at(&listening[number as usize % listening.len()]);
        network.clone().spawn(async move {
            let clock = client.clock.clone();
            pause(&clock, client.dice.wait()).await;
            let patience = client.dice.wait() * 4;
            let source = Some(ip(["192.0.2.1", "192.0.2.2"][client.dice.below(2) as usize]));
            tokio::select! {
                biased;
                connected = network.connect(source, peer) => match connected {
                    Ok((stream, _)) => {
                        client.tell("connected");
                        client.act(stream).await;
                    }
                    Err(error) => client.tell(error.kind()),
                },
                () = pause(&clock, patience) => client.tell("does not wait"),
            }
        });
    }
    let dice = Dice::new(seed, 500);
    network.spawn(trouble(dice, clock.clone(), links));
    lab.drain();
    let log = log.lock().unwrap();
    log.clone()
}

#[test]
fn random_worlds_are_in_order_and_what_becomes_of_packets_makes_no_difference() {
    let (mut lines, mut offloaded) = (0, 0);
    for seed in 0..WORLDS {
        let seen = random_world(seed, Packets::Usual);
        lines += seen.len();
        for packets in [Packets::CollectedAtOnce, Packets::Offloaded] {
            if packets == Packets::Offloaded {
                if !random_link(seed).keeps_together() {
                    continue;
                }
                offloaded += 1;
            }
            let other = random_world(seed, packets);
            let differs = seen.iter().zip(&other).position(|(usual, other)| usual != other);
            if let Some(line) = differs {
                let (usual, other) = (&seen[line], &other[line]);
                panic!("seed {seed}, line {line}: {usual:?}, but {packets:?} {other:?}");
            }
            assert_eq!(seen.len(), other.len(), "seed {seed}");
        }
    }
    assert!(lines > 100 * WORLDS as usize, "{lines} lines: little happens");
    assert!(offloaded > 20, "{offloaded} worlds without jitter");
}
