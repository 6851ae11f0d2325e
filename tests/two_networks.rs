//! The same programs on two simulated networks that have no code in common: ours, on turmoil-net,
//! and turmoil itself. What comes of them must be the same. When it comes need not be: turmoil
//! moves in steps of [`TICK`], and its `connect` takes one latency, not two.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use traject_engine::config::Config;
use traject_engine::ids::MessageId;
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient};
use traject_engine::record::Event;
use traject_engine::rng::Seed;
use traject_engine::smtp::address::ReversePath;
use traject_engine::{Engine, Output, Timestamp};
use traject_net::driver::{Driver, Handle, Observer};
use traject_net::world::{Clock, Network, World};
use traject_sim::body::BodyFactory;
use traject_sim::dns::{SimResolver, Zones};
use traject_sim::network::{Link, SimClock, SimNetwork, SimWorld, WorldOptions};
use traject_sim::oracle::Answer;
use traject_sim::receiver::model::Receiver;
use traject_sim::receiver::smtp::{Breach, Site, Witness, serve};
use traject_sim::scenario::{Scenario, parse};
use traject_sim::spool::SimSpool;
use traject_sim::tls::{self, Entropy, Pki};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const LATENCY: Duration = Duration::from_millis(20);
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// turmoil's step.
const TICK: Duration = Duration::from_millis(10);

/// Segments that a turmoil connection holds; it resets what is beyond.
const SEGMENTS_MAX: usize = 1 << 16;

// turmoil as a network of ours.

/// The network of the turmoil host whose task uses it.
#[derive(Clone, Debug)]
struct Classic;

impl Network for Classic {
    type Stream = turmoil::net::TcpStream;
    type Listener = turmoil::net::TcpListener;

    /// A host of turmoil has one address: `source` must be it.
    async fn connect(
        &self,
        source: Option<IpAddr>,
        peer: SocketAddr,
    ) -> io::Result<(Self::Stream, SocketAddr)> {
        let stream = turmoil::net::TcpStream::connect(peer).await?;
        let local = stream.local_addr()?;
        match source {
            Some(source) if source != local.ip() => Err(io::ErrorKind::AddrNotAvailable.into()),
            _ => Ok((stream, local)),
        }
    }

    /// turmoil listens on all addresses of its host, which is one.
    async fn bind(&self, local: SocketAddr, _backlog: u32) -> io::Result<Self::Listener> {
        turmoil::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, local.port())).await
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)> {
        listener.accept().await
    }

    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    /// turmoil has no reset to give: it closes.
    fn abort(&self, stream: Self::Stream) {
        drop(stream);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

/// The clock of the turmoil host whose task uses it.
#[derive(Clone, Copy, Debug)]
struct ClassicClock;

impl Clock for ClassicClock {
    fn now(&self) -> Timestamp {
        START + turmoil::sim_elapsed().unwrap_or_default()
    }

    async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(at.saturating_since(self.now())).await;
    }
}

// A play: hosts, and a client that tells what it saw.

/// What runs on both networks.
trait Play: Clone + Send + Sync + 'static {
    /// The addresses that have a host.
    fn hosts(&self) -> Vec<IpAddr>;

    /// What the host with this address does, for ever.
    fn host<N: Network, C: Clock>(
        &self,
        address: IpAddr,
        network: N,
        clock: C,
    ) -> impl Future<Output = ()> + Send;

    /// What we do, and what we saw.
    fn client<N: Network, C: Clock>(
        &self,
        network: N,
        clock: C,
    ) -> impl Future<Output = Vec<String>> + Send;
}

fn on_ours(play: &impl Play) -> Vec<String> {
    let _entropy = Entropy::enter(Seed::from_u64(1));
    let mut world = SimWorld::new(WorldOptions {
        epoch: START,
        sources: vec![OURS],
        link: Link { latency: LATENCY, ..Link::default() },
        ..WorldOptions::default()
    });
    let farm: SimNetwork = world.farm();
    let clock: SimClock = world.clock();
    for address in play.hosts() {
        let (play, farm, clock) = (play.clone(), farm.clone(), clock.clone());
        farm.clone().spawn(async move { play.host(address, farm, clock).await });
    }
    world.run(play.client(world.network(), clock)).expect("a run that ends")
}

fn on_turmoil(play: &impl Play) -> Vec<String> {
    let _entropy = Entropy::enter(Seed::from_u64(1));
    let mut world = turmoil::Builder::new()
        .tick_duration(TICK)
        .min_message_latency(LATENCY)
        .max_message_latency(LATENCY)
        .simulation_duration(Duration::from_secs(86_400))
        .tcp_capacity(SEGMENTS_MAX)
        .rng_seed(1)
        .build();
    for address in play.hosts() {
        let play = play.clone();
        world.host(address, move || {
            let play = play.clone();
            async move {
                play.host(address, Classic, ClassicClock).await;
                Ok(())
            }
        });
    }
    let seen = Arc::new(Mutex::new(None));
    let (told, play) = (Arc::clone(&seen), play.clone());
    world.client(OURS, async move {
        let outcome = play.client(Classic, ClassicClock).await;
        *told.lock().expect("one thread") = Some(outcome);
        Ok(())
    });
    world.run().expect("a run that ends");
    let seen = seen.lock().expect("one thread").take();
    seen.expect("a client that ends")
}

// Sockets alone.

/// Hosts that treat their clients in different ways, by port.
#[derive(Clone, Debug)]
struct Manners;

const MANNERED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const ECHO: u16 = 25;
const FAREWELL: u16 = 26;
const DOWNLOAD: u16 = 27;
const UPLOAD: u16 = 28;
const NOBODY: u16 = 29;
const BODY_BYTES: usize = 300_000;

impl Play for Manners {
    fn hosts(&self) -> Vec<IpAddr> {
        vec![MANNERED]
    }

    async fn host<N: Network, C: Clock>(&self, address: IpAddr, network: N, _clock: C) {
        let mut ports = Vec::new();
        for port in [ECHO, FAREWELL, DOWNLOAD, UPLOAD] {
            let local = SocketAddr::new(address, port);
            ports.push((port, network.bind(local, 16).await.expect("a free port")));
        }
        for (port, listener) in ports {
            let accepting = network.clone();
            network.spawn(async move {
                loop {
                    let (stream, _) = accepting.accept(&listener).await.expect("a client");
                    accepting.spawn(async move {
                        // The client tells what went wrong.
                        let _ = treat(port, stream).await;
                    });
                }
            });
        }
        std::future::pending().await
    }

    async fn client<N: Network, C: Clock>(&self, network: N, clock: C) -> Vec<String> {
        // The listeners are there after a moment.
        clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
        let mut seen = Vec::new();
        for port in [ECHO, FAREWELL, DOWNLOAD, UPLOAD, NOBODY] {
            let told = match visit(&network, port).await {
                Ok(told) => told,
                Err(error) => format!("{:?}", error.kind()),
            };
            seen.push(format!("{port}: {told}"));
        }
        seen
    }
}

/// What the host does with one client.
async fn treat(
    port: u16,
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
) -> io::Result<()> {
    match port {
        ECHO => {
            let mut buffer = [0; 512];
            loop {
                let count = stream.read(&mut buffer).await?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..count]).await?;
            }
        }
        FAREWELL => stream.write_all(b"421 4.3.2 closing\r\n").await,
        DOWNLOAD => stream.write_all(&body()).await,
        _ => {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await?;
            let verdict = if received == body() { "whole" } else { "broken" };
            stream.write_all(format!("{} bytes, {verdict}", received.len()).as_bytes()).await
        }
    }
}

/// What we do at one port, and what we see.
async fn visit(network: &impl Network, port: u16) -> io::Result<String> {
    let (mut stream, local) = network.connect(None, SocketAddr::new(MANNERED, port)).await?;
    assert_eq!(local.ip(), OURS);
    match port {
        ECHO => {
            let mut answers = String::new();
            for question in ["EHLO a\r\n", "QUIT\r\n"] {
                stream.write_all(question.as_bytes()).await?;
                let mut answer = vec![0; question.len()];
                stream.read_exact(&mut answer).await?;
                answers += String::from_utf8_lossy(&answer).trim_end();
            }
            stream.shutdown().await?;
            let more = stream.read(&mut [0; 8]).await?;
            Ok(format!("{answers}, then {more} bytes"))
        }
        FAREWELL => {
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok(text.trim_end().to_owned())
        }
        DOWNLOAD => {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await?;
            Ok(format!("{} bytes, equal: {}", received.len(), received == body()))
        }
        _ => {
            for piece in body().chunks(10_000) {
                stream.write_all(piece).await?;
            }
            stream.shutdown().await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok(text)
        }
    }
}

fn body() -> Vec<u8> {
    (0..BODY_BYTES).map(|index| (index * 31 % 251) as u8).collect()
}

#[test]
fn sockets_behave_alike() {
    let expected = [
        "25: EHLO aQUIT, then 0 bytes",
        "26: 421 4.3.2 closing",
        "27: 300000 bytes, equal: true",
        "28: 300000 bytes, whole",
        "29: ConnectionRefused",
    ];
    assert_eq!(on_ours(&Manners), expected);
    assert_eq!(on_turmoil(&Manners), expected);
}

// The engine, the driver and the fake exchanges.

const MAIL: &str = r#"
title = "Two networks"
horizon = "10m"
config_text = """
Retry_Interval = 60
Max_Outbound_Connections = 3
"""

[dns]
latency = "5ms"

[[dns.name]]
name = "null.test"
mx = "null"

[[traffic]]
from = "a@brand.test"
to = "x@plain.test"
messages = 1

[[receiver]]
name = "plain"
domains = ["plain.test"]
mx = [{ host = "mx.plain.test", addresses = ["198.51.100.1"] }]

[[receiver]]
name = "picky"
domains = ["picky.test"]
mx = [{ host = "mx.picky.test", addresses = ["198.51.100.2"] }]
extensions = ["SIZE 20000", "8BITMIME"]
[[receiver.reply]]
stage = "rcpt"
recipient = "user1*@*"
reply = "550 5.1.1 No such user"

[[receiver]]
name = "grey"
domains = ["grey.test"]
mx = [{ host = "mx.grey.test", addresses = ["198.51.100.3"] }]
[receiver.greylist]
hold = "90s"
key = ["network", "recipient"]

[[receiver]]
name = "content"
domains = ["content.test"]
mx = [{ host = "mx.content.test", addresses = ["198.51.100.5"] }]
[[receiver.reply]]
stage = "body"
reply = "554 5.7.1 Not wanted"

[[receiver]]
name = "closed"
domains = ["closed.test"]
mx = [{ host = "mx.closed.test", addresses = ["198.51.100.4"] }]
"#;

/// The host that is up and does not listen.
const CLOSED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 4));

const DOMAINS: [&str; 7] = [
    "plain.test",
    "picky.test",
    "grey.test",
    "content.test",
    "closed.test",
    "null.test",
    "nowhere.test",
];

/// Messages to each of [`DOMAINS`].
const MESSAGES: usize = 8;

#[derive(Clone, Debug)]
struct Delivery {
    scenario: Arc<Scenario>,
    config: Arc<Config>,
    seed: Seed,
}

impl Delivery {
    fn new() -> Self {
        let scenario =
            parse(Path::new("two_networks.toml"), MAIL).unwrap_or_else(|e| panic!("{e}"));
        let traject_sim::scenario::ConfigSource::Inline(text) = &scenario.config else {
            panic!("an inline configuration");
        };
        let config = Config::from_text(text).unwrap_or_else(|found| panic!("{found:?}"));
        let seed = Seed::from_u64(scenario.seed);
        Self { scenario: Arc::new(scenario), config: Arc::new(config), seed }
    }

    fn receivers(
        &self,
    ) -> impl Iterator<Item = (IpAddr, &traject_sim::receiver::spec::ReceiverSpec)> {
        self.scenario.receivers.iter().map(|spec| (spec.exchanges[0].addresses[0], spec))
    }
}

/// An exchange whose client breaks a rule ends the test.
#[derive(Debug)]
struct Strict;

impl Witness for Strict {
    fn answered(&self, _: Timestamp, _: MessageId, _: &[String], _: Answer) {}

    fn breach(&self, _: Timestamp, breach: Breach) {
        panic!("{breach:?}");
    }
}

/// What became of each recipient, in the order of events.
#[derive(Clone, Debug, Default)]
struct Fates(Arc<Mutex<Vec<String>>>);

impl Observer for Fates {
    fn output(&mut self, _: Timestamp, output: &Output) {
        let Output::Record(record) = output else { return };
        let (attempt, fate) = match &record.event {
            Event::Delivery(attempt) => (attempt, "delivered"),
            Event::TransientFailure { attempt, .. } => (attempt, "deferred"),
            Event::PermanentFailure(attempt) => (attempt, "failed"),
            Event::Expiry { attempt, .. } => (attempt, "given up"),
            _ => return,
        };
        let (to, nth, reply) = (&attempt.mailbox, attempt.attempts, &attempt.reply);
        self.0.lock().expect("one thread").push(format!("{to} {nth} {fate}: {reply}"));
    }
}

impl Play for Delivery {
    fn hosts(&self) -> Vec<IpAddr> {
        self.receivers().map(|(address, _)| address).collect()
    }

    async fn host<N: Network, C: Clock>(&self, address: IpAddr, network: N, clock: C) {
        if address == CLOSED {
            return std::future::pending().await;
        }
        let spec = self.receivers().find(|(own, _)| *own == address).expect("its receiver").1;
        let receiver = Receiver::new(Arc::new(spec.clone()), self.seed, START);
        let pki = Arc::new(Pki::new(self.seed, START));
        let bodies = BodyFactory::new(self.seed);
        let site = Arc::new(Site::new(receiver, bodies, Arc::new(Strict), pki));
        let listener = network.bind(SocketAddr::new(address, spec.port), 16).await;
        let host = Arc::clone(&spec.exchanges[0].host);
        serve(site, host, network, clock, listener.expect("a free port")).await;
    }

    async fn client<N: Network, C: Clock>(&self, network: N, clock: C) -> Vec<String> {
        clock.sleep_until(START + Duration::from_secs(1)).await;
        let zones =
            Zones::new(self.scenario.dns.clone(), START, &self.scenario.receivers, Vec::new());
        let world = World {
            network,
            resolver: SimResolver::new(zones, clock.clone(), self.seed),
            spool: SimSpool::new(BodyFactory::new(self.seed)),
            clock: clock.clone(),
            tls: tls::configs(Arc::new(Pki::new(self.seed, START)), &clock),
        };
        let engine = Engine::new(Arc::clone(&self.config), self.seed, clock.now());
        let fates = Fates::default();
        let (driver, handle) = Driver::new(engine, world, fates.clone());
        let sending = async {
            for number in 0..MESSAGES * DOMAINS.len() {
                submit(&handle, &clock, number).await;
            }
            clock.sleep_until(START + self.scenario.horizon).await;
            handle.stop().await.expect("a driver that runs");
        };
        let (finished, ()) = tokio::join!(driver.run(), sending);
        let engine = finished.expect("a spool that can be read").machine;
        engine.check().expect("an engine in order");
        let mut seen = fates.0.lock().expect("one thread").clone();
        for queue in engine.snapshot().queues {
            let left = queue.active + queue.delayed + queue.in_flight;
            seen.push(format!("{}: {left} left", queue.pair.domain));
        }
        seen.sort();
        seen
    }
}

async fn submit<M: 'static, P: traject_net::world::Spool, C: Clock>(
    handle: &Handle<M, P, C>,
    clock: &C,
    number: usize,
) {
    let now = clock.now();
    let domain = DOMAINS[number % DOMAINS.len()];
    let mailbox = format!("user{}@{domain}", number / DOMAINS.len()).parse().expect("an address");
    let sender = "a@brand.test".parse().expect("an address");
    let message = StoredMessage {
        id: handle.next_message_id(),
        reverse_path: ReversePath(Some(sender)),
        recipients: vec![StoredRecipient { mailbox, state: RecipientState::new(now) }],
        received_at: now,
        size_bytes: 1000 + 4000 * (number / DOMAINS.len()) as u64,
        eight_bit: number % 2 == 1,
        binding: "default".into(),
        origin: None,
        rerouted: Vec::new(),
    };
    handle.submit_staged(message).await.expect("a driver that runs");
    clock.sleep_until(now + Duration::from_millis(250)).await;
}

#[test]
fn mail_has_the_same_fate() {
    let delivery = Delivery::new();
    let ours = on_ours(&delivery);
    assert_eq!(ours, on_turmoil(&delivery));
    for what in
        ["delivered: 250", "deferred: 4", "failed: 550", "failed: 554", "closed.test: 8 left"]
    {
        assert!(ours.iter().any(|fate| fate.contains(what)), "no {what} in {ours:#?}");
    }
}
