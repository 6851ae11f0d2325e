//! The simulated network: turmoil-net's TCP stack, driven in virtual time.
//!
//! A [`SimWorld`] is one thread, one runtime, one network and one clock. Nothing ticks: when every
//! task waits, the world collects the packets that the sockets want to send, gives each a time of
//! arrival, jumps to the earliest thing due (a packet, a timer) and goes on. Idle time costs
//! nothing, and all instants are exact to the microsecond.
//!
//! ```
//! use std::time::Duration;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use traject_engine::Timestamp;
//! use traject_engine::rng::Seed;
//! use traject_net::world::{Clock, Network};
//! use traject_sim::network::{Link, SimWorld, WorldOptions};
//!
//! let mut world = SimWorld::new(WorldOptions {
//!     epoch: Timestamp::from_secs(1_800_000_000),
//!     seed: Seed::from_u64(1),
//!     sources: vec!["192.0.2.1".parse().unwrap()],
//!     link: Link { latency: Duration::from_millis(10), ..Link::default() },
//!     ..WorldOptions::default()
//! });
//! let (network, clock, farm) = (world.network(), world.clock(), world.farm());
//!
//! let spent = world.run(async move {
//!     let started = clock.now();
//!     // A fake exchange: any address that is not ours may be bound, at any time.
//!     let exchange = "198.51.100.7:25".parse().unwrap();
//!     let listener = farm.bind(exchange, 128).await.unwrap();
//!     farm.clone().spawn(async move {
//!         let (mut stream, _peer) = farm.accept(&listener).await.unwrap();
//!         stream.write_all(b"220 hello\r\n").await.unwrap();
//!     });
//!     // Our side: what the driver does.
//!     let source = Some("192.0.2.1".parse().unwrap());
//!     let (mut stream, local) = network.connect(source, exchange).await.unwrap();
//!     assert_eq!(local.ip().to_string(), "192.0.2.1");
//!     let mut banner = String::new();
//!     stream.read_to_string(&mut banner).await.unwrap();
//!     assert_eq!(banner, "220 hello\r\n");
//!     clock.now().saturating_since(started)
//! });
//! // One round trip for the handshake; the banner leaves when the server has our ACK.
//! assert_eq!(spent.unwrap(), Duration::from_millis(40));
//! ```
//!
//! # What to know
//!
//! - Time is [`SimClock`] only. The runtime has no timer of its own, so `tokio::time` panics here
//!   instead of quietly waiting in another time. A timeout is a `select!` (biased) against
//!   [`Clock::sleep_until`](traject_net::world::Clock::sleep_until).
//! - [`SimWorld::network`] is our side: it connects from [`WorldOptions::sources`] and listens on
//!   them, on loopback and on the wildcard address. [`SimWorld::farm`] is everybody else: it binds
//!   any address that is not ours, and connects to us from any such address.
//! - A task that panics ends the run: [`SimWorld::run`] returns [`RunError::Panicked`]. When no
//!   task can ever run again it returns [`RunError::Stalled`] instead of hanging.
//! - An address where nobody listens refuses, after a round trip.
//! - [`SimWorld::links`] says how far away each address is, and has the faults: [`Fault`]s that
//!   last until they are lifted, and [`Links::reset`] and [`Links::cut`] for one instant.
//! - The order of everything is fixed: packets due at one instant arrive in the order in which
//!   their connections were begun, then timers fire in the order in which they were set. Jitter is
//!   drawn for each packet of each connection, so one connection more does not move the others.
//! - The window is 64 KiB without scaling: a connection moves at most 64 KiB a round trip.
//! - Each side has 16 kernels with 16,384 ports for connecting each. All connections between two
//!   addresses use one kernel, which other pairs may share.
//! - A world belongs to the thread that made it, one at a time. Worlds in parallel need threads. No
//!   task may wait for another thread: the world does not.

mod agenda;
mod clock;
mod conn;
mod links;
mod patience;
mod plan;
mod stream;
mod tasks;
#[cfg(test)]
mod tests;
mod wire;
mod world;

pub use clock::SimClock;
pub use links::{Fault, FaultId, Link, Links, Path, Prefix, PrefixError};
pub use stream::{SimListener, SimStream};
pub use world::{RunError, Sighting, SimNetwork, SimWorld, Stats, WorldOptions};
