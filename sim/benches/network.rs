//! How fast the simulated network is, without engine and driver: dialogues like those of SMTP, of
//! eight round trips a message, at 20 ms latency.
//!
//! Times are those of the processor, so a busy machine does not matter much.

use std::fs;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use traject_engine::Timestamp;
use traject_engine::rng::Seed;
use traject_net::world::{Clock, Network};
use traject_sim::network::{Link, SimNetwork, SimStream, SimWorld, WorldOptions};

/// Connections to each destination at one time.
const CONNECTIONS: usize = 5;

/// What a client says, and how long the answers are.
const EXCHANGES: [(&[u8], &[u8]); 8] = [
    (b"EHLO mta.example.com\r\n", b"250-mx.example.net\r\n250-PIPELINING\r\n250 8BITMIME\r\n"),
    (b"MAIL FROM:<sender@example.com>\r\n", b"250 2.1.0 ok\r\n"),
    (b"RCPT TO:<recipient@example.net>\r\n", b"250 2.1.5 ok\r\n"),
    (b"DATA\r\n", b"354 go ahead\r\n"),
    (&[b'x'; 1000], b"250 2.0.0 queued as 0123456789\r\n"),
    (b"RSET\r\n", b"250 2.0.0 ok\r\n"),
    (b"NOOP\r\n", b"250 2.0.0 ok\r\n"),
    (b"QUIT\r\n", b"221 2.0.0 bye\r\n"),
];

/// Answers each of the exchanges in turn, for ever.
async fn serve(mut stream: SimStream) {
    let mut buffer = [0; 2048];
    loop {
        for (question, answer) in EXCHANGES {
            let mut missing = question.len();
            while missing > 0 {
                match stream.read(&mut buffer[..missing]).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => missing -= count,
                }
            }
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// Delivers one message.
async fn talk(stream: &mut SimStream) {
    let mut buffer = [0; 2048];
    for (question, answer) in EXCHANGES {
        stream.write_all(question).await.unwrap();
        stream.read_exact(&mut buffer[..answer.len()]).await.unwrap();
    }
}

fn destination(number: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, (number / 200) as u8, (number % 200) as u8], 25))
}

/// A world with `destinations` fake exchanges, and `jitter` on the way to them.
fn world(destinations: usize, jitter: Duration) -> SimWorld {
    let mut world = SimWorld::new(WorldOptions {
        epoch: Timestamp::from_secs(1_800_000_000),
        seed: Seed::from_u64(1),
        sources: vec!["192.0.2.1".parse().unwrap()],
        link: Link { latency: Duration::from_millis(20), jitter, ..Link::default() },
        ..WorldOptions::default()
    });
    let farm = world.farm();
    let listen = async {
        for number in 0..destinations {
            let listener = farm.bind(destination(number), 128).await.unwrap();
            let accepting = farm.clone();
            farm.spawn(async move {
                loop {
                    let (stream, _) = accepting.accept(&listener).await.unwrap();
                    accepting.spawn(serve(stream));
                }
            });
        }
    };
    world.run(listen).unwrap();
    world
}

/// Delivers `messages` to each destination, over connections that are kept or not.
async fn deliver(network: SimNetwork, destinations: usize, messages: usize, keep: bool) {
    let mut deliveries = JoinSet::new();
    for number in 0..destinations * CONNECTIONS {
        let (network, peer) = (network.clone(), destination(number % destinations));
        deliveries.spawn(async move {
            let mut stream = network.connect(None, peer).await.unwrap().0;
            for left in (0..messages / CONNECTIONS).rev() {
                talk(&mut stream).await;
                if !keep && left > 0 {
                    stream = network.connect(None, peer).await.unwrap().0;
                }
            }
        });
    }
    while let Some(delivered) = deliveries.join_next().await {
        delivered.unwrap();
    }
}

/// Processor time of this thread, as the kernel counts it; the wall clock where it does not.
fn processor_time() -> Option<Duration> {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    schedule.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn timed(work: impl FnOnce()) -> Duration {
    let (wall, before) = (Instant::now(), processor_time());
    work();
    match (before, processor_time()) {
        (Some(before), Some(after)) => after - before,
        _ => wall.elapsed(),
    }
}

fn dialogues(c: &mut Criterion) {
    const MESSAGES: usize = 10_000;
    let cases = [("kept", true, 0), ("fresh", false, 0), ("kept, 10 ms jitter", true, 10)];
    for (name, keep, jitter) in cases {
        let mut group = c.benchmark_group(format!("dialogues/{name}"));
        group.throughput(Throughput::Elements(MESSAGES as u64)).sample_size(10);
        for destinations in [1, 10, 100] {
            let id = BenchmarkId::from_parameter(destinations);
            group.bench_with_input(id, &destinations, |b, &destinations| {
                b.iter_custom(|rounds| {
                    let mut world = world(destinations, Duration::from_millis(jitter));
                    timed(|| {
                        for _ in 0..rounds {
                            let each = MESSAGES / destinations;
                            let work = deliver(world.network(), destinations, each, keep);
                            world.run(work).unwrap();
                        }
                    })
                });
            });
        }
        group.finish();
    }
}

fn idle_day(c: &mut Criterion) {
    c.bench_function("24 idle hours with 100 open connections", |b| {
        let mut world = world(100, Duration::ZERO);
        let (network, clock) = (world.network(), world.clock());
        let connected = world.run(async {
            let mut streams = Vec::new();
            for number in 0..100 {
                streams.push(network.connect(None, destination(number)).await.unwrap().0);
            }
            streams
        });
        b.iter(|| {
            let until = clock.now() + Duration::from_secs(86_400);
            world.run(clock.sleep_until(until)).unwrap();
        });
        black_box(connected.unwrap());
    });
}

criterion_group!(benches, dialogues, idle_day);
criterion_main!(benches);
