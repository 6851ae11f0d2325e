//! The prediction against reality: the built daemon delivers a scenario over real sockets, on the
//! wall clock, to the receiver models of the simulator, and what it records is what was predicted.
//!
//! Instants in the scenario keep a second's distance from anything that they could be confused
//! with. What a busy machine delays is tried again; a real difference shows each time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::record::{Event, Record};
use traject_engine::rng::Seed;
use traject_net::clock::SystemClock;
use traject_net::tokio_net::TokioNetwork;
use traject_net::world::{Clock, Network};
use traject_sim::body::{BodyFactory, BodyFacts};
use traject_sim::fault::{Down, FaultKind};
use traject_sim::oracle::Answer;
use traject_sim::receiver::model::Receiver;
use traject_sim::receiver::smtp::{self, Breach, Witness, serve};
use traject_sim::runner::{self, RunOptions, START};
use traject_sim::scenario::{self, ConfigSource, Scenario};
use traject_sim::tls::Pki;
use traject_sim::traffic::{Arrival, Plan};
use traject_tests::{Client, Mail, Site, free_port, wait_until};

/// `PORT` is where all exchanges listen. The one of `t<n>` is at 127.1.0.<n + 1> in reality; a
/// simulated host cannot live at a loopback address.
const SCENARIO: &str = r#"
title = "Six receivers in fifteen seconds"
horizon = "1m"
config_text = """
hostname = mta.example.com
remote_smtp_port = PORT
retry_interval = 2
host_failure_retry = 3
max_outbound_connections = 6
domain "t2.example.net" { outbound_throttle_messages = "4/1" }
domain "t3.example.net" { max_outbound_connections = 2 }
domain "t4.example.net" { host_failure_retry = 2 }
"""

[[traffic]]
name = "greylisted"
from = "a@brand.example"
to = "t0.example.net"
messages = 20
over = "2s"
size = "2KB"

[[traffic]]
name = "limited"
from = "a@brand.example"
to = "t1.example.net"
messages = 60
start = "1s"
size = { min = "1KB", max = "20KB" }

[[traffic]]
name = "throttled"
from = "a@brand.example"
to = "t2.example.net"
messages = 38
start = "500ms"

[[traffic]]
name = "capped"
from = "a@brand.example"
to = "t3.example.net"
messages = 40
start = "1s"

[[traffic]]
name = "refused"
from = "a@brand.example"
to = "t4.example.net"
messages = 20
start = "1s"
over = "2s"

[[traffic]]
name = "stormy"
from = "b{n}@brand.example"
to = "t5.example.net"
messages = 30
over = "3s"

[[receiver]]
name = "greylists"
domains = ["t0.example.net"]
mx = [{ host = "mx-t0.example.net", addresses = ["10.9.0.1"] }]
port = PORT
latency = "0s"
greylist = { hold = "4s" }

[[receiver]]
name = "allows three connections"
domains = ["t1.example.net"]
mx = [{ host = "mx-t1.example.net", addresses = ["10.9.0.2"] }]
port = PORT
latency = "0s"
limit = [{ what = "connections", max = 3, reply = "421 4.7.0 Too many connections" }]
reply = [{ stage = "body", reply = "250 2.0.0 Slowly", delay = "200ms" }]

[[receiver]]
name = "takes what comes"
domains = ["t2.example.net"]
mx = [{ host = "mx-t2.example.net", addresses = ["10.9.0.3"] }]
port = PORT
latency = "0s"

[[receiver]]
name = "thinks for a while"
domains = ["t3.example.net"]
mx = [{ host = "mx-t3.example.net", addresses = ["10.9.0.4"] }]
port = PORT
latency = "0s"
reply = [{ stage = "body", reply = "250 2.0.0 Slowly", delay = "300ms" }]

[[receiver]]
name = "is down"
domains = ["t4.example.net"]
mx = [{ host = "mx-t4.example.net", addresses = ["10.9.0.5"] }]
port = PORT
latency = "0s"

[[receiver]]
name = "has a storm"
domains = ["t5.example.net"]
mx = [{ host = "mx-t5.example.net", addresses = ["10.9.0.6"] }]
port = PORT
latency = "0s"

[[receiver.reply]]
stage = "rcpt"
recipient = "user*7@*"
reply = "550 5.1.1 No such user"

[[receiver.reply]]
stage = "body"
reply = "452 4.3.1 Out of space"
probability = 0.5
before = "6s"

[[fault]]
at = "0s"
for = "6s"
what = "host_down"
receiver = "is down"
"#;

#[test]
fn the_daemon_does_what_was_predicted() {
    let text = SCENARIO.replace("PORT", &free_port().to_string());
    let scenario = scenario::parse(Path::new("reality.toml"), &text);
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    let prediction = predict(&scenario);
    let predicted = Story::of(&prediction, START);
    for attempt in 1.. {
        let (records, start) = live(&scenario, &names(&prediction));
        let happened = Story::of(&records, start);
        let verdict = Verdict::new(&predicted, &happened);
        say(&verdict.text);
        let limit = predicted.length().mul_f64(0.05);
        let busy = verdict.late > LATE_MAX || verdict.deviation >= limit;
        if busy && attempt < ATTEMPTS_MAX {
            say("the machine may have been too busy: once more\n");
            continue;
        }
        let differing = predicted.differing(&happened);
        assert!(differing.is_empty(), "{differing}");
        let deviation = verdict.deviation;
        assert!(deviation < limit, "{deviation:?} is more than 5 % of the length");
        return;
    }
}

/// Shown even when the test passes, as `eprintln!` is not.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// What the simulator says.
fn predict(scenario: &Scenario) -> Vec<Record> {
    let config = scenario.load_config(None).config.expect("a configuration without errors");
    scenario.check_config(&config).unwrap_or_else(|error| panic!("{error}"));
    let written = Shared::default();
    let records = Some(Box::new(written.clone()) as Box<dyn Write + Send>);
    let options = RunOptions { records, ..RunOptions::default() };
    let outcome = runner::run(scenario, Arc::new(config), options);
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    let text = written.0.lock().unwrap().clone();
    read_records(&String::from_utf8(text).unwrap())
}

/// What a writer wrote, for its owner.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that are records.
fn read_records(text: &str) -> Vec<Record> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// What the simulator called the message to each recipient. Receivers draw by that name, which
/// stands in the body.
fn names(records: &[Record]) -> BTreeMap<String, MessageId> {
    let mut names = BTreeMap::new();
    for record in records {
        if let Event::Reception { message, recipients, .. } = &record.event {
            names.extend(recipients.iter().map(|mailbox| (mailbox.to_string(), *message)));
        }
    }
    names
}

// Reality.

/// Has the daemon deliver the scenario: its records, and when the scenario began.
fn live(scenario: &Scenario, names: &BTreeMap<String, MessageId>) -> (Vec<Record>, Timestamp) {
    let ConfigSource::Inline(options) = &scenario.config else { panic!("no configuration") };
    let port = scenario.receivers[0].port;
    let next_hop = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let site = Site::new(next_hop, &format!("relay_hosts = (\"127.0.0.1\")\n{options}"));
    let daemon = site.start();
    let clock = SystemClock::start();
    let start = clock.now() + Duration::from_secs(1);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let breaches = Breaches::default();
    open_exchanges(&runtime, scenario, clock, start, &breaches);
    let mails = mails(scenario, start, names);
    hand_in(mails, site.address(), clock);
    let all: u64 = scenario.traffic.iter().map(|traffic| traffic.messages).sum();
    let done =
        |record: &&Record| matches!(record.event, Event::Delivery(_) | Event::PermanentFailure(_));
    wait_until("all mail is done", PATIENCE, || {
        read_records(whole_lines(&site.log())).iter().filter(done).count() as u64 >= all
    });
    assert!(daemon.terminate().success());
    assert_eq!(breaches.0.lock().unwrap()[..], []);
    (read_records(&site.log()), start)
}

/// Without the line that is being written.
fn whole_lines(log: &str) -> &str {
    log.rfind('\n').map_or("", |end| &log[..end])
}

/// Rules that the daemon broke.
#[derive(Clone, Debug, Default)]
struct Breaches(Arc<Mutex<Vec<Breach>>>);

impl Witness for Breaches {
    fn answered(&self, _: Timestamp, _: MessageId, _: &[String], _: Answer) {}

    fn breach(&self, _: Timestamp, breach: Breach) {
        self.0.lock().unwrap().push(breach);
    }
}

/// Opens the exchanges of all receivers, those that are down when they come up.
fn open_exchanges(
    runtime: &Runtime,
    scenario: &Scenario,
    clock: SystemClock,
    start: Timestamp,
    breaches: &Breaches,
) {
    let seed = Seed::from_u64(scenario.seed);
    for spec in &scenario.receivers {
        let model = Receiver::new(Arc::new(spec.clone()), seed, start);
        let (bodies, pki) = (BodyFactory::new(seed), Arc::new(Pki::new(seed, start)));
        let site = Arc::new(smtp::Site::new(model, bodies, Arc::new(breaches.clone()), pki));
        for exchange in &spec.exchanges {
            let up_at = start + down_for(scenario, exchange.addresses[0]);
            let address = SocketAddr::new(real(exchange.addresses[0]), spec.port);
            let (site, host) = (Arc::clone(&site), Arc::clone(&exchange.host));
            let serving: JoinHandle<()> = runtime.spawn(async move {
                clock.sleep_until(up_at).await;
                let listener = TokioNetwork.bind(address, 1024).await.expect("a free port");
                serve(site, host, TokioNetwork, clock, listener).await;
            });
            // It goes on until the runtime is gone.
            drop(serving);
        }
    }
}

/// How long after the start a host comes up.
fn down_for(scenario: &Scenario, address: IpAddr) -> Duration {
    let outage = scenario.faults.iter().find(|fault| match &fault.what {
        FaultKind::HostDown { how: Down::Refused, addresses } => addresses.contains(&address),
        other => panic!("{other:?} cannot be had in reality"),
    });
    outage.map_or(Duration::ZERO, |fault| {
        assert_eq!(fault.at, Duration::ZERO, "connections of a host that goes down");
        fault.length
    })
}

/// The loopback address that stands for a simulated one.
fn real(address: IpAddr) -> IpAddr {
    let IpAddr::V4(v4) = address else { panic!("{address} is not an IPv4 address") };
    let [_, _, _, last] = v4.octets();
    IpAddr::V4(Ipv4Addr::new(127, 1, 0, last))
}

/// The mail of the scenario, and when each message is to be handed in.
fn mails(
    scenario: &Scenario,
    start: Timestamp,
    names: &BTreeMap<String, MessageId>,
) -> Vec<(Timestamp, Mail)> {
    let seed = Seed::from_u64(scenario.seed);
    let bodies = BodyFactory::new(seed);
    let plan = Plan::new(seed, start, &scenario.traffic).enumerate();
    plan.map(|(number, arrival)| {
        let Arrival { at, reverse_path, recipients, size_bytes, eight_bit, .. } = arrival;
        let recipients: Vec<String> = recipients.iter().map(ToString::to_string).collect();
        let message = names[&recipients[0]];
        let body = bodies.body(BodyFacts { message, size_bytes, eight_bit });
        let mut bytes = Vec::new();
        while bytes.len() < size_bytes as usize {
            bytes.extend_from_slice(body.at(bytes.len() as u64));
        }
        let sender = reverse_path.0.map(|mailbox| mailbox.to_string()).unwrap_or_default();
        (at, Mail { number: number as u32, sender, recipients, body: bytes })
    })
    .collect()
}

/// Hands in mail, each message at its time.
fn hand_in(mails: Vec<(Timestamp, Mail)>, server: SocketAddr, clock: SystemClock) {
    let mails = Mutex::new(mails.into_iter());
    let next = || mails.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(server).unwrap();
                client.command("EHLO client.example.org").unwrap();
                while let Some((at, mail)) = next() {
                    thread::sleep(at.saturating_since(clock.now()));
                    assert_eq!(client.deliver(&mail).unwrap().code, 250);
                }
            });
        }
    });
}

// The comparison.

/// What records tell.
#[derive(Debug, Default)]
struct Story {
    /// What happened to each recipient, in order.
    fates: BTreeMap<String, Vec<String>>,
    /// When messages to each domain were accepted, and when they were delivered, in order.
    accepted: BTreeMap<String, Vec<Duration>>,
    delivered: BTreeMap<String, Vec<Duration>>,
}

impl Story {
    fn of(records: &[Record], start: Timestamp) -> Self {
        let mut story = Self::default();
        for record in records {
            let since = record.at.saturating_since(start);
            let (attempt, fate) = match &record.event {
                Event::Reception { recipients, .. } => {
                    for mailbox in recipients {
                        let domain = story.accepted.entry(mailbox.domain.to_string());
                        domain.or_default().push(since);
                    }
                    continue;
                }
                Event::Delivery(attempt) => (attempt, "delivered"),
                Event::TransientFailure { attempt, .. } => (attempt, "deferred"),
                Event::PermanentFailure(attempt) => (attempt, "failed"),
                Event::Expiry { attempt, .. } => (attempt, "given up"),
                _ => continue,
            };
            if fate == "delivered" {
                let domain = story.delivered.entry(attempt.mailbox.domain.to_string());
                domain.or_default().push(since);
            }
            let (stage, nth, reply) = (attempt.stage.text(), attempt.attempts, &attempt.reply);
            let fates = story.fates.entry(attempt.mailbox.to_string()).or_default();
            fates.push(format!("attempt {nth} {fate} at {stage}: {reply}"));
        }
        story
    }

    /// The recipients that fared otherwise, and how.
    fn differing(&self, other: &Self) -> String {
        let everybody = self.fates.keys().chain(other.fates.keys());
        let recipients: BTreeSet<&String> = everybody.collect();
        let differ =
            recipients.into_iter().filter(|one| self.fates.get(*one) != other.fates.get(*one));
        differ
            .map(|one| {
                let fate = |story: &Self| {
                    story.fates.get(one).map_or_else(String::new, |fate| fate.join("; "))
                };
                format!("{one}\n  predicted: {}\n  happened:  {}\n", fate(self), fate(other))
            })
            .collect()
    }

    /// When the last message was delivered.
    fn length(&self) -> Duration {
        self.delivered.values().flatten().max().copied().unwrap_or_default()
    }
}

/// How far two stories are apart.
struct Verdict {
    /// The greatest time between two deliveries of the same rank to the same domain.
    deviation: Duration,
    /// The greatest such time between two receptions.
    late: Duration,
    text: String,
}

impl Verdict {
    fn new(predicted: &Story, happened: &Story) -> Self {
        let length = predicted.length();
        let share = |time: Duration| 100.0 * time.as_secs_f64() / length.as_secs_f64();
        let mut text =
            "\ndomain           delivered  predicted    happened   furthest apart\n".to_owned();
        let mut deviation = Duration::ZERO;
        for (domain, times) in &predicted.delivered {
            let others = happened.delivered.get(domain).map_or(&[][..], Vec::as_slice);
            let apart = furthest(times, others);
            deviation = deviation.max(apart);
            let last = |times: &[Duration]| times.last().copied().unwrap_or_default().as_secs_f64();
            text += &format!(
                "{domain:16} {:>9} {:>8.3} s  {:>8.3} s  {:>6.1} ms, {:.2} %\n",
                others.len(),
                last(times),
                last(others),
                apart.as_secs_f64() * 1e3,
                share(apart),
            );
        }
        let domains = predicted.accepted.iter();
        let late = domains.map(|(domain, times)| {
            furthest(times, happened.accepted.get(domain).map_or(&[][..], Vec::as_slice))
        });
        let late = late.max().unwrap_or_default();
        text += &format!(
            "of {:.1} s at most {:.2} % apart; mail was accepted at most {:.1} ms apart\n",
            length.as_secs_f64(),
            share(deviation),
            late.as_secs_f64() * 1e3,
        );
        Self { deviation, late, text }
    }
}

/// The greatest distance between instants of the same rank.
fn furthest(these: &[Duration], those: &[Duration]) -> Duration {
    these.iter().zip(those).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or_default()
}

/// Longest wait for the end of the mail: a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients that hand in mail at the same time.
const CLIENTS: usize = 16;

/// Mail that is accepted later than this was not handed in as the scenario says.
const LATE_MAX: Duration = Duration::from_millis(300);

/// How often a busy machine is given another chance.
const ATTEMPTS_MAX: u32 = 3;
