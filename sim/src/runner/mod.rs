//! Runs a scenario: builds its world, lets the engine and driver that deliver for real loose in
//! it, and reports.

mod door;
mod failure;
mod happenings;
mod machine;
mod observer;
mod process;
mod referee;
mod senders;
mod setup;
mod stuck;
mod submitter;

use std::collections::VecDeque;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::config::{Config, DEFAULT_BINDING, Loaded};
use traject_engine::ids::MessageId;
use traject_engine::message::{Origin, RecipientState, StoredMessage, StoredRecipient};
use traject_engine::rng::Seed;
use traject_engine::why::Why;
use traject_net::world::{Clock, Network, World};

pub use self::failure::{Failure, FailureKind};
pub use self::machine::Checks;
pub use self::observer::Observer;
pub use self::referee::{Progress, ProgressSink};
pub(crate) use self::setup::sources;

use self::happenings::happenings;
use self::machine::Watched;
use self::process::{Door, Means, Operator, SimHandle};
use self::referee::{Parts, Phase, Referee};
use self::setup::Setup;
use self::submitter::Submitters;
use crate::cause::Teller;
use crate::coverage::Coverage;
use crate::describe::instant;
use crate::disk::{Blow, Machine, Step, Steps};
use crate::dns::SimResolver;
use crate::event::EventSpec;
use crate::expect::judge::ExpectationJudge;
use crate::fault;
use crate::network::{Link, Links, RunError, SimClock, SimNetwork, SimWorld, WorldOptions};
use crate::oracle::{AtRest, Oracles, Routes, State, Violation};
use crate::receiver::smtp::serve;
use crate::report::{DomainFacts, End, Facts, Report, why};
use crate::scenario::{Scenario, SpoolKind};
use crate::spool::SimSpool;
use crate::tls::{self, Entropy};
use crate::traffic::{Arrival, Plan};

/// The instant at which every scenario begins: 2026-01-01, midnight UTC, a Thursday.
pub const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// How to run a scenario.
#[derive(Default)]
pub struct RunOptions {
    /// Instead of the scenario's seed.
    pub seed: Option<u64>,
    /// End earlier than the scenario's horizon.
    pub until: Option<Duration>,
    /// What reports call the configuration.
    pub config_name: String,
    /// The command that repeats the run.
    pub replay: String,
    /// Where to write every record, one JSON object a line.
    pub records: Option<Box<dyn Write + Send>>,
    /// Told about the progress from time to time.
    pub progress: Option<ProgressSink>,
    /// Who watches it from the side.
    pub observer: Option<Arc<dyn Observer>>,
    /// Set it to end the run; what happened until then is reported.
    pub interrupt: Arc<AtomicBool>,
    /// How often the engine recounts its invariants.
    pub checks: Checks,
    /// Whose mail to ask about at the end: why does it wait?
    pub why: Option<WhyQuestion>,
    /// Steps at which processes die, one after the other; the spool is a journal then.
    pub deaths: Vec<(Step, Blow)>,
}

/// Whose mail a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyQuestion {
    /// The domain it is for.
    pub domain: String,
    /// The binding that sends it; any if none is given.
    pub binding: Option<String>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The numbers, up to the failure if there was one.
    pub report: Report,
    /// A law that was broken; a bug of ours.
    pub failure: Option<Failure>,
    /// Why the records could not all be written.
    pub write_error: Option<std::io::Error>,
    /// The instant at which the run ended.
    pub ended_at: Timestamp,
    /// What was left when the time was over: the first message, and why it waits.
    pub left: Option<String>,
    /// What the run has been through.
    pub coverage: Coverage,
    /// The answer to [`RunOptions::why`] at that instant.
    pub why: Vec<Why>,
    /// Steps of the last process.
    pub steps: Steps,
}

/// Runs `scenario` with `config`, which it was [checked](Scenario::check_config) against.
///
/// # Panics
///
/// When the configuration of a reload cannot be used. [`Scenario::load_reloads`] tells before.
pub fn run(scenario: &Scenario, config: Arc<Config>, mut options: RunOptions) -> Outcome {
    let seed_number = options.seed.unwrap_or(scenario.seed);
    let seed = Seed::from_u64(seed_number);
    let reloads: VecDeque<Arc<Config>> = reloads(scenario).into();
    let setup = Setup::new(scenario, [&config].into_iter().chain(&reloads), seed);
    let length = options.until.map_or(scenario.horizon, |until| until.min(scenario.horizon));
    let on_disk = scenario.spool == SpoolKind::Journal || !options.deaths.is_empty();
    let ground = Machine::new(seed, options.deaths.iter().copied());
    let referee = Arc::new(Referee::new(Parts {
        start: START,
        oracles: Oracles::new(Arc::clone(&config), Routes::new(setup.zones.history())),
        expectations: ExpectationJudge::new(START, &scenario.expectations),
        records: options.records.take(),
        progress: options.progress.take(),
        observer: options.observer.take(),
        interrupt: Arc::clone(&options.interrupt),
        planned: scenario.traffic.iter().map(|traffic| traffic.messages).sum(),
        loses_mail: on_disk,
    }));
    let _entropy = Entropy::enter(seed);
    let mut world = SimWorld::new(WorldOptions {
        epoch: START,
        seed,
        sources: setup.sources.clone(),
        link: Link::default(),
        offload: setup.addresses.iter().all(|address| address.link.keeps_together()),
        ..WorldOptions::default()
    });
    let (referee_too, checks) = (Arc::clone(&referee), options.checks);
    let stage = Stage::new(&world, &referee, Arc::clone(&config), on_disk);
    let listens = setup::listens(scenario);
    let steps = ground.clone();
    let means = Means { referee: referee_too, seed, checks, config, reloads, listens, ground };
    let plan = Plan::new(seed, START, &scenario.traffic);
    let play = stage.play(scenario.clone(), setup, means, plan, START + length);
    let played = world.run(play);
    let names = Names { scenario, options: &options, seed: seed_number };
    Outcome { steps: steps.steps(), ..conclude(names, &referee, played) }
}

fn reloads(scenario: &Scenario) -> Vec<Arc<Config>> {
    let usable = |(name, loaded): (String, Loaded)| match loaded.config {
        Some(config) => Arc::new(config),
        None => panic!("{name} cannot be used"),
    };
    scenario.load_reloads().into_iter().map(usable).collect()
}

/// What the tasks of a world work with.
struct Stage {
    network: SimNetwork,
    farm: SimNetwork,
    clock: SimClock,
    links: Links,
    referee: Arc<Referee>,
    config: Arc<Config>,
    on_disk: bool,
}

/// How a world that did not break down ended.
struct Played {
    end: End,
    at: Timestamp,
    machine: Watched,
    spool: SimSpool,
}

impl Stage {
    fn new(world: &SimWorld, referee: &Arc<Referee>, config: Arc<Config>, on_disk: bool) -> Self {
        Self {
            network: world.network(),
            farm: world.farm(),
            clock: world.clock(),
            links: world.links(),
            referee: Arc::clone(referee),
            config,
            on_disk,
        }
    }

    /// The whole play; `None` when the driver ended of itself.
    async fn play(
        self,
        scenario: Scenario,
        setup: Setup,
        means: Means,
        plan: Plan,
        deadline: Timestamp,
    ) -> Option<Played> {
        let restarts = |event: &EventSpec| event.what.ends_process();
        let bodies = setup.bodies.clone();
        let spool = match scenario.events.iter().any(restarts) {
            true => SimSpool::recoverable(bodies),
            false => SimSpool::new(bodies),
        };
        let seed = setup.seed;
        self.open_exchanges(&setup).await;
        for (begin, length, disturbance) in setup.disturbances.iter().cloned() {
            let (clock, links) = (self.clock.clone(), self.links.clone());
            self.farm.spawn(fault::play(begin, length, disturbance, clock, links));
        }
        for (begin, length, trouble) in fault::disk_troubles(START, &scenario.faults) {
            let (clock, ground) = (self.clock.clone(), means.ground.clone());
            self.farm.spawn(fault::trouble_disk(begin, length, trouble, clock, ground));
        }
        let world = World {
            network: self.network.clone(),
            resolver: SimResolver::new(setup.zones, self.clock.clone(), setup.seed),
            spool,
            clock: self.clock.clone(),
            tls: tls::configs(Arc::clone(&setup.pki), &self.clock),
        };
        let ground = means.ground.clone();
        let mut operator = Operator::new(world, setup.bodies.clone(), means);
        if self.on_disk {
            operator.use_disk().await;
        }
        let mut process = operator.start().await;
        let clients = Clients {
            door: operator.door(),
            clock: self.clock.clone(),
            referee: Arc::clone(&self.referee),
            config: Arc::clone(&self.config),
            seed,
            submitters: Submitters::new(
                (self.network.clone(), self.farm.clone()),
                self.clock.clone(),
                Arc::clone(&self.referee),
                setup.bodies.clone(),
                Arc::clone(&setup.pki),
            ),
        };
        if self.on_disk {
            self.farm.spawn(clients.clone().send_again());
        }
        self.farm.spawn(clients.send(plan));
        let mut watch = Watch { deadline, settled: false };
        let mut events = scenario.events.into_iter().peekable();
        let end = loop {
            let next = events.peek().map(|event| START + event.at);
            process = match self.supervise(&mut watch, next, &ground).await {
                Turn::End(end) => break end,
                Turn::Died(blow) => operator.died(process, blow, deadline).await?,
                Turn::Event => match events.next() {
                    Some(event) => operator.perform(process, event.what, deadline).await?,
                    None => process,
                },
            };
        };
        let at = self.clock.now();
        let machine = process.stop().await?;
        Some(Played { end, at, machine, spool: operator.spool().clone() })
    }

    async fn open_exchanges(&self, setup: &Setup) {
        let sites = setup.sites(&self.referee);
        for address in &setup.addresses {
            self.links.set(address.socket.ip(), address.link);
            // Fails only for an address of ours, which the scenario was checked for.
            let Ok(listener) = self.farm.bind(address.socket, BACKLOG).await else { continue };
            let site = Arc::clone(&sites[address.receiver()]);
            let (host, clock) = (Arc::clone(&address.host), self.clock.clone());
            self.farm.spawn(serve(site, host, self.farm.clone(), clock, listener));
        }
    }

    /// Waits for the end, for an event of the scenario, or for the death of the process.
    async fn supervise(
        &self,
        watch: &mut Watch,
        event: Option<Timestamp>,
        ground: &Machine,
    ) -> Turn {
        loop {
            // What the spool gives back may not be done, whatever the records say.
            let all_is_known = !self.on_disk || ground.is_recovered();
            match self.referee.phase() {
                Phase::Failed => return Turn::End(End::Failed),
                Phase::Interrupted => return Turn::End(End::Interrupted),
                Phase::Settled if all_is_known => return Turn::End(End::Settled),
                Phase::Closing if all_is_known && !watch.settled => {
                    watch.settled = true;
                    watch.deadline = watch.deadline.min(self.clock.now() + CLOSING_MAX);
                }
                Phase::Settled | Phase::Closing | Phase::Busy => {}
            }
            let next = event.map_or(watch.deadline, |at| at.min(watch.deadline));
            tokio::select! {
                biased;
                blow = ground.died() => return Turn::Died(blow),
                () = self.referee.changed() => {}
                () = ground.recovering() => {}
                () = self.clock.sleep_until(next) => {
                    return match (self.clock.now() >= watch.deadline, watch.settled) {
                        (false, _) => Turn::Event,
                        (true, true) => Turn::End(End::Settled),
                        (true, false) => Turn::End(End::TimeOver),
                    };
                }
            }
        }
    }
}

/// What a run goes on with.
enum Turn {
    End(End),
    Event,
    Died(Blow),
}

/// Until when to wait for a run to end.
struct Watch {
    deadline: Timestamp,
    /// Everything is delivered; connections may still be open.
    settled: bool,
}

/// Whoever hands in the traffic.
#[derive(Clone)]
struct Clients {
    door: Door,
    clock: SimClock,
    referee: Arc<Referee>,
    config: Arc<Config>,
    seed: Seed,
    submitters: Submitters,
}

impl Clients {
    /// Submits the traffic as its time comes.
    async fn send(self, mut plan: Plan) {
        while let Some(at) = plan.next_at() {
            self.clock.sleep_until(at).await;
            let Some(arrival) = plan.next() else { break };
            // A scenario is checked for listeners that are not there.
            if let Some(listener) = arrival.through.address(&self.config).flatten() {
                self.submitters.hand_in(arrival, setup::reachable(listener));
                continue;
            }
            let Some(handle) = self.handle().await else { return };
            let message = self.message(arrival, handle.next_message_id());
            self.referee.submitted();
            self.hand_in(&handle, message).await;
        }
        self.submitters.finished().await;
        self.referee.all_submitted();
    }

    async fn hand_in(&self, handle: &SimHandle, message: StoredMessage) {
        let id = message.id;
        self.referee.keeps(&message);
        if handle.submit_staged(message).await.is_err() {
            // The process has just died.
            self.referee.returned(id);
        }
    }

    /// Submits again what got lost on its way in, as clients do that hear nothing or a 4xx.
    async fn send_again(self) {
        loop {
            self.referee.lost().await;
            self.clock.sleep_until(self.clock.now() + AGAIN).await;
            let Some(handle) = self.handle().await else { return };
            for mut message in self.referee.take_returned() {
                message.received_at = self.clock.now();
                for recipient in &mut message.recipients {
                    recipient.state = RecipientState::new(message.received_at);
                }
                self.hand_in(&handle, message).await;
            }
        }
    }

    /// Waits until somebody takes mail; `None` when nobody ever will.
    async fn handle(&self) -> Option<SimHandle> {
        self.door.inside().await
    }

    fn message(&self, arrival: Arrival, id: MessageId) -> StoredMessage {
        let now = self.clock.now();
        let state = RecipientState::new(now);
        let recipients = arrival.recipients.into_iter();
        let binding = arrival.sent_by.binding(&self.config, &self.seed, id);
        StoredMessage {
            id,
            reverse_path: arrival.reverse_path,
            recipients: recipients.map(|mailbox| StoredRecipient { mailbox, state }).collect(),
            received_at: now,
            size_bytes: arrival.size_bytes,
            eight_bit: arrival.eight_bit,
            // A scenario is checked for groups without members.
            binding: binding.unwrap_or_else(|| DEFAULT_BINDING.into()),
            origin: arrival.client.map(|address| Arc::new(origin(address))),
            rerouted: Vec::new(),
        }
    }
}

/// A client of which nothing is known but its address.
const fn origin(address: IpAddr) -> Origin {
    Origin { address, port: CLIENT_PORT, helo: None, esmtp: true }
}

/// What a run is called.
#[derive(Clone, Copy)]
struct Names<'a> {
    scenario: &'a Scenario,
    options: &'a RunOptions,
    seed: u64,
}

/// Judges the end, and writes the report.
fn conclude(
    names: Names<'_>,
    referee: &Referee,
    played: Result<Option<Played>, RunError>,
) -> Outcome {
    let mut state = referee.state();
    let (mut end, mut at, mut machine, mut failure) = (End::Failed, state.now, None, None);
    match played {
        Ok(Some(played)) => {
            (end, at) = (played.end, played.at);
            if state.violation.is_none() {
                drop(state);
                let judged = judge_end(&played, referee);
                state = referee.state();
                state.violation = judged.err();
            }
            machine = Some(played.machine);
        }
        Ok(None) => failure = Some(Failure::stuck(at, "the driver ended of itself")),
        Err(RunError::Panicked { message, at }) => failure = Some(Failure::panicked(at, message)),
        Err(RunError::Stalled { at }) => {
            failure = Some(Failure::stuck(at, "every task waits for another"));
        }
    }
    if let Some(violation) = state.violation.take() {
        end = End::Failed;
        failure = Some(Failure::violated(violation, START, &state.recent));
    }
    state.close_records();
    let write_error = state.write_error.take();
    let complete = match end {
        End::Settled => true,
        End::TimeOver => at >= START + names.scenario.horizon,
        End::Interrupted | End::Failed => false,
    };
    let judge = state.expectations.take();
    let teller = Teller {
        start: START,
        faults: &names.scenario.faults,
        events: &names.scenario.events,
        receivers: &names.scenario.receivers,
        config_at: &|at| state.oracles.book().config_at(at),
    };
    let expectations = judge.map(|judge| judge.finish(at, complete, &teller)).unwrap_or_default();
    let facts = Facts {
        title: names.scenario.title.clone(),
        scenario: name_of(&names.scenario.path),
        config: names.options.config_name.clone(),
        seed: names.seed,
        trace_hash: state.trace.hash(),
        end,
        simulated: at.saturating_since(START),
        replay: names.options.replay.clone(),
        happenings: happenings(names.scenario, at.saturating_since(START)),
        receivers: setup::receiver_reports(names.scenario, Seed::from_u64(names.seed)),
    };
    let snapshot = machine.as_ref().map(|machine| machine.engine().snapshot());
    state.finish(at);
    let book = state.oracles.book();
    let of_domain = |domain: &str| DomainFacts {
        receiver: setup::receiver_of(names.scenario, domain),
        deferred_now: book
            .rows()
            .iter()
            .filter(|row| row.state == State::Pending && row.attempts > 0 && !row.notice)
            .filter(|row| *book.pair(row.pair).domain == *domain)
            .count() as u64,
        pending_because: snapshot.as_ref().and_then(|snapshot| {
            let mut queues = snapshot.queues.iter();
            let waits = |queue: &&traject_engine::QueueSnapshot| {
                *queue.pair.domain == *domain && queue.active + queue.delayed + queue.in_flight > 0
            };
            queues.find(waits).map(|queue| why::because(queue.reason, &|at| instant(START, at)))
        }),
    };
    let left = machine.as_ref().zip(snapshot.as_ref()).map(|(machine, snapshot)| {
        let wakeup = machine.engine().next_wakeup().map(|wakeup| wakeup.at);
        stuck::tell(book, &snapshot.queues, wakeup, &state.recent)
    });
    let report = Report::new(facts, &state.tally, of_domain, expectations);
    let why = match (&names.options.why, &machine) {
        (Some(WhyQuestion { domain, binding }), Some(machine)) => {
            machine.engine().why(&domain.to_ascii_lowercase(), binding.as_deref())
        }
        _ => Vec::new(),
    };
    let (coverage, left) = (state.coverage, left.flatten());
    let steps = Steps::default();
    Outcome { report, failure, write_error, ended_at: at, left, coverage, why, steps }
}

/// The last judgement: what the engine, the spool and the book say must agree.
fn judge_end(played: &Played, referee: &Referee) -> Result<(), Violation> {
    played.machine.check()?;
    let mut state = referee.state();
    state.oracles.finish()?;
    let snapshot = played.machine.engine().snapshot();
    let queued: u64 =
        snapshot.queues.iter().map(|queue| queue.active + queue.delayed + queue.in_flight).sum();
    // A message stays in the spool when that cannot write that it is done.
    let spooled = played.spool.len() as u64;
    let writes = (snapshot.spool_writes + snapshot.spool_behind) as u64;
    state.oracles.at_rest(played.at, AtRest { queued, spooled, writes })
}

fn name_of(path: &Path) -> String {
    path.display().to_string()
}

/// Connections an exchange has waiting at most.
const BACKLOG: u32 = 1024;

/// The port of every simulated client of ours.
const CLIENT_PORT: u16 = 40_000;

/// When a client tries again to hand in what was not taken.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a settled run waits for its connections to close.
const CLOSING_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
