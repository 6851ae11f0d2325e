//! Dialogues over the simulated network, with the exact times at which things happen.

mod faults;
mod random;
mod streams;
mod transfers;
mod world;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use traject_engine::Timestamp;
use traject_engine::rng::Seed;
use traject_net::world::{Clock, Network};
use turmoil_net::{NetstatEntry, NetstatState};

use super::plan::KERNELS_PER_SIDE;
use super::{Link, SimClock, SimListener, SimNetwork, SimStream, SimWorld, WorldOptions};

const OUR_ADDRESS: &str = "192.0.2.1";
const EXCHANGE: &str = "198.51.100.7:25";

/// A world 10 ms away from everything, and what its tests use.
struct Lab {
    world: SimWorld,
    network: SimNetwork,
    farm: SimNetwork,
    clock: SimClock,
}

impl Lab {
    fn new() -> Self {
        Self::with(WorldOptions { link: link(10_000, 0), ..options() })
    }

    fn with(options: WorldOptions) -> Self {
        let world = SimWorld::new(options);
        Self { network: world.network(), farm: world.farm(), clock: world.clock(), world }
    }

    /// Runs `main`, which must end well.
    fn run<T>(&mut self, main: impl Future<Output = T>) -> T {
        self.world.run(main).unwrap()
    }

    /// Runs until nothing is on its way any more, and checks that nothing is left.
    fn drain(&mut self) {
        let clock = self.clock.clone();
        self.run(async move { pause(&clock, Duration::from_secs(3600)).await });
        assert_eq!(self.world.open_connections(), 0);
        for kernel in 1..=KERNELS_PER_SIDE {
            for network in [0, 1] {
                let left = turmoil_net::netstat(Ipv4Addr::new(10, 0, network, kernel));
                let listens = |entry: &NetstatEntry| entry.state == Some(NetstatState::Listen);
                assert!(left.entries.iter().all(listens), "{left}");
            }
        }
    }
}

fn options() -> WorldOptions {
    WorldOptions {
        epoch: Timestamp::from_secs(1_800_000_000),
        seed: Seed::from_u64(1),
        sources: ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(ip).to_vec(),
        ..WorldOptions::default()
    }
}

/// Latency and jitter in microseconds.
fn link(latency: u64, jitter: u64) -> Link {
    Link {
        latency: Duration::from_micros(latency),
        jitter: Duration::from_micros(jitter),
        ..Link::default()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Milliseconds since the epoch of the worlds here, with microseconds.
fn elapsed(clock: &SimClock) -> f64 {
    clock.now().saturating_since(options().epoch).as_micros() as f64 / 1000.0
}

async fn pause(clock: &SimClock, wait: Duration) {
    clock.sleep_until(clock.now() + wait).await;
}

async fn connect(network: &SimNetwork, peer: &str) -> SimStream {
    network.connect(None, at(peer)).await.unwrap().0
}

async fn bind(network: &SimNetwork, local: &str) -> SimListener {
    network.bind(at(local), 128).await.unwrap()
}

async fn read_exactly(stream: &mut SimStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// Accepts for ever; each client gets back what it sends, until it has no more.
async fn echo(network: SimNetwork, listener: SimListener) {
    loop {
        let (mut stream, _) = network.accept(&listener).await.unwrap();
        network.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(count) = stream.read(&mut buffer).await {
                if count == 0 || stream.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        });
    }
}
