//! `traject swarm`: random worlds that try to break every promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use traject_sim::coverage::Coverage;
use traject_sim::runner::FailureKind;
use traject_sim::swarm::{self, Fall, Lived, Times, World};

use crate::error::{CommandError, ErrorKind};
use crate::runs::in_parallel;

/// Run random worlds and check every law of the engine in each
///
/// A seed draws a configuration, traffic, receivers, faults and what the operator does. A world
/// that breaks a law is made as small as it can be, and written to a scenario file that still
/// breaks it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject swarm                            a hundred worlds
  traject swarm --start 1000 --seeds 5000  worlds 1000 to 5999
  traject swarm --minutes 60 --out found   for an hour; what fails goes to found/
  traject swarm --show 42                  the world of a seed, as a scenario
  traject swarm --coverage                 and what the worlds came by

Exits with 0 when every law held, 1 with --all-marks when a rare branch was missed, 10 when an
invariant was violated, 11 when mail was left that nothing would move, 12 after a panic or when
time stood still.")]
pub(crate) struct Args {
    /// How many worlds
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,

    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    start: u64,

    /// As many worlds again, whose seeds this commit draws
    #[arg(long, value_name = "HASH", conflicts_with = "minutes")]
    commit: Option<String>,

    /// Say which options the worlds set, and which rare branches they came by
    #[arg(long)]
    coverage: bool,

    /// Fail when there is a rare branch that no world came by
    #[arg(long)]
    all_marks: bool,

    /// Go on with further seeds for so many minutes
    #[arg(long, value_name = "M", conflicts_with = "seeds")]
    minutes: Option<u64>,

    /// How many worlds at a time; as many as there are processors if not given
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Where worlds that fail are written
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,

    /// Print the world of this seed, and run nothing
    #[arg(long, value_name = "SEED")]
    show: Option<u64>,
}

/// What a world came to.
struct Ended {
    seed: u64,
    faults: usize,
    options: BTreeSet<&'static str>,
    result: Result<Lived, Fall>,
}

/// What a campaign has seen.
#[derive(Default)]
struct Campaign {
    worlds: u64,
    simulated: Duration,
    messages: u64,
    attempts: u64,
    connections: u64,
    faults: u64,
    coverage: Coverage,
    /// Worlds that set an option.
    options: BTreeMap<&'static str, u64>,
    falls: Vec<(u64, FailureKind)>,
}

/// Runs the worlds.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let system = |error: anyhow::Error| CommandError::new(ErrorKind::System, error);
    if let Some(seed) = args.show {
        let text = World::draw(seed).text();
        return io::stdout().write_all(text.as_bytes()).map_err(|error| system(error.into()));
    }
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))
        .map_err(system)?;
    let begun = Instant::now();
    let campaign = campaign(args, begun).map_err(|error| system(error.into()))?;
    println!("{}", campaign.summary(begun.elapsed()));
    if args.coverage {
        println!("{}", campaign.passages());
    }
    campaign.verdict()?;
    match args.all_marks {
        true => campaign.all_marks(),
        false => Ok(()),
    }
}

fn campaign(args: &Args, begun: Instant) -> io::Result<Campaign> {
    let mut campaign = Campaign::default();
    let limit = args.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let worlds = if args.commit.is_some() { 2 * args.seeds } else { args.seeds };
    let bar = progress_bar(worlds, limit.is_some());
    let mut next = args.start;
    loop {
        let count = if limit.is_some() { WORLDS_A_ROUND } else { args.seeds };
        let of_commit = args.commit.iter().flat_map(|hash| swarm::seeds_of(hash, count));
        let seeds: Vec<u64> = (next..next + count).chain(of_commit).collect();
        next += count;
        in_parallel(
            &seeds,
            args.jobs,
            |seed| end(*seed),
            |ended| {
                bar.inc(1);
                campaign.count(&ended);
                if let Err(fall) = &ended.result {
                    bar.suspend(|| tell(ended.seed, fall, args))?;
                }
                Ok(())
            },
        )?;
        if limit.is_none_or(|limit| begun.elapsed() >= limit) {
            bar.finish_and_clear();
            return Ok(campaign);
        }
    }
}

fn end(seed: u64) -> Ended {
    let world = World::draw(seed);
    // That two runs are the same is looked at now and then.
    let times = if seed.is_multiple_of(TWICE_EVERY) { Times::Twice } else { Times::Once };
    let (faults, options) = (world.faults, world.options());
    Ended { seed, faults, options, result: swarm::live(&world.text(), times) }
}

/// Makes a world that fails small, writes it, and says how it fails.
fn tell(seed: u64, fall: &Fall, args: &Args) -> io::Result<()> {
    let world = World::draw(seed);
    let shrunk = swarm::shrink(&world.nodes, fall, SHRINK_TRIES_MAX);
    let file = args.out.join(format!("swarm-{seed}.toml"));
    fs::write(&file, &shrunk.text)?;
    let (lines, before) = (shrunk.text.lines().count(), world.text().lines().count());
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "seed {seed}: {}", shrunk.fall.story.trim_end())?;
    writeln!(stdout, "  SEED={seed} COMMIT={}", commit(args.commit.as_deref()))?;
    let matter: Vec<&str> = swarm::options_in(&shrunk.text).into_iter().collect();
    let drawn = world.options().len();
    writeln!(stdout, "  options that matter, of {drawn} drawn: {}", listed(&matter))?;
    writeln!(stdout, "  made smaller from {before} lines to {lines}: {}", file.display())?;
    writeln!(stdout, "  replay: traject sim {}\n", file.display())
}

/// The commit that a failure is told of: as the command line says, or of the checkout we are in.
fn commit(said: Option<&str>) -> String {
    let asked = || Command::new("git").args(["rev-parse", "HEAD"]).output().ok();
    let found = || {
        let output = asked().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let version = || format!("v{}", env!("CARGO_PKG_VERSION"));
    said.map(str::to_owned).or_else(found).unwrap_or_else(version)
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Campaign {
    fn count(&mut self, ended: &Ended) {
        self.worlds += 1;
        self.faults += ended.faults as u64;
        for option in &ended.options {
            *self.options.entry(option).or_insert(0) += 1;
        }
        match &ended.result {
            Ok(lived) => {
                self.simulated += lived.simulated;
                self.messages += lived.totals.messages;
                self.attempts += lived.totals.attempts;
                self.connections += lived.totals.connections;
                self.coverage.add(lived.coverage);
            }
            Err(fall) => self.falls.push((ended.seed, fall.kind)),
        }
    }

    fn summary(&self, wall: Duration) -> String {
        let seconds = wall.as_secs_f64().max(0.001);
        let hours = self.simulated.as_secs_f64() / 3600.0;
        let verdict = match self.falls.len() {
            0 => "all laws held".to_owned(),
            1 => "1 world failed".to_owned(),
            n => format!("{n} worlds failed"),
        };
        format!(
            "{} worlds: {verdict}\n\
             {hours:.0} simulated hours, {} messages, {} attempts, {} connections, {} faults and \
             events\n\
             {:.1} worlds and {:.0} simulated hours a second",
            self.worlds,
            self.messages,
            self.attempts,
            self.connections,
            self.faults,
            self.worlds as f64 / seconds,
            hours / seconds,
        )
    }

    /// What the worlds came by, and what they did not.
    fn passages(&self) -> String {
        let missed: Vec<&str> = self.missed().collect();
        let all = self.coverage.all().count();
        let never: Vec<&str> =
            swarm::drawn_options().filter(|name| !self.options.contains_key(name)).collect();
        let counts: Vec<String> =
            self.options.iter().map(|(name, worlds)| format!("{name} {worlds}")).collect();
        format!(
            "came by {} of {all} rare branches; never: {}\noptions never set: {}\noptions and in how \
             many worlds they were set: {}",
            all - missed.len(),
            listed(&missed),
            listed(&never),
            counts.join(", ")
        )
    }

    fn missed(&self) -> impl Iterator<Item = &'static str> {
        self.coverage.all().filter(|(_, seen)| !seen).map(|(name, _)| name)
    }

    fn all_marks(&self) -> Result<(), CommandError> {
        let missed: Vec<&str> = self.missed().collect();
        if missed.is_empty() {
            return Ok(());
        }
        let message = anyhow!("no world came by: {}", missed.join(", "));
        Err(CommandError::new(ErrorKind::Expectation, message))
    }

    /// The worst failure decides.
    fn verdict(&self) -> Result<(), CommandError> {
        let kinds = self.falls.iter().map(|(_, kind)| match kind {
            FailureKind::Violation => ErrorKind::Invariant,
            FailureKind::Stuck => ErrorKind::Stuck,
            FailureKind::Spin => ErrorKind::Spin,
            FailureKind::Panic => ErrorKind::Panic,
        });
        match kinds.max_by_key(|kind| kind.exit_code()) {
            None => Ok(()),
            Some(kind) => {
                let seeds: Vec<String> =
                    self.falls.iter().map(|(seed, _)| seed.to_string()).collect();
                let message = anyhow!("laws were broken in the worlds {}", seeds.join(", "));
                Err(CommandError::new(kind, message))
            }
        }
    }
}

fn progress_bar(worlds: u64, endless: bool) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = if endless { ProgressBar::no_length() } else { ProgressBar::new(worlds) };
    let form =
        if endless { "{spinner} {pos} worlds, {per_sec}" } else { "{bar:40} {pos}/{len} worlds" };
    match ProgressStyle::with_template(form) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Every so many worlds one is run twice.
const TWICE_EVERY: u64 = 16;

/// Between two looks at the clock.
const WORLDS_A_ROUND: u64 = 64;

/// Worlds that are run to make one smaller.
const SHRINK_TRIES_MAX: usize = 400;
