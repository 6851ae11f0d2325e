//! `traject swarm`: random worlds that try to break every promise.

mod findings;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use traject_sim::coverage::Coverage;
use traject_sim::runner::FailureKind;
use traject_sim::swarm::{self, Fall, Lived, Times, World};

use crate::error::{CommandError, ErrorKind};
use crate::interrupt;
use crate::runs::in_parallel;

/// Run random worlds and check every law of the engine in each
///
/// A seed draws a configuration, traffic, receivers, faults and what the operator does. A world
/// that breaks a law is made as small as it can be, and written to a scenario file that still
/// breaks it.
///
/// With --config the configuration is yours as it is, and what is looked for are promises that
/// break: mail that expires, goes in clear to a domain that is to have TLS, exceeds a receiver's
/// limit or starves at a limit of your own, and expectations of yours that do not hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject swarm                            a hundred worlds
  traject swarm --start 1000 --seeds 5000  worlds 1000 to 5999
  traject swarm --minutes 60 --out found   for an hour; what fails goes to found/
  traject swarm --show 42                  the world of a seed, as a scenario
  traject swarm --coverage                 and what the worlds came by
  traject swarm --config ecelerity.conf    your configuration in a hundred worlds
  traject swarm --config ecelerity.conf --expect-tls partner.example --expect sla.toml

Exits with 0 when every law held, 1 with --all-marks when a rare branch was missed, 3 when --config
or --expect cannot be used, 4 with --config when a promise was broken, 10 when an invariant was
violated, 11 when mail was left that nothing would move, 12 after a panic or when time stood
still, 130 when Ctrl-C ended it: what was seen until then is told.")]
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

    /// These seeds too: those that come by what others rarely do
    #[arg(long, value_name = "SEED,...", value_delimiter = ',')]
    also: Vec<u64>,

    /// Say which options the worlds set, and which rare branches they came by
    #[arg(long)]
    coverage: bool,

    /// Fail when there is a rare branch that no world came by
    #[arg(long)]
    all_marks: bool,

    /// But not when it is this branch; may be repeated
    #[arg(long, value_name = "NAME", requires = "all_marks")]
    may_miss: Vec<String>,

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

    /// Put this configuration on trial: which promises break with it?
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all_marks", "coverage"])]
    config: Option<PathBuf>,

    /// What must hold in each world: a file of [[expect]] tables, as in scenarios
    #[arg(long, value_name = "FILE", requires = "config")]
    expect: Option<PathBuf>,

    /// Mail to this domain must not go in clear; may be repeated
    #[arg(long, value_name = "DOMAIN", requires = "config")]
    expect_tls: Vec<String>,

    /// There is mail to this domain too; may be repeated
    #[arg(long, value_name = "DOMAIN", requires = "config")]
    domain: Vec<String>,

    /// Write what was found as JSON; - is standard output, without the text
    #[arg(long, value_name = "FILE", requires = "config")]
    json: Option<PathBuf>,
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
    /// Those that were left before their end.
    left_early: u64,
    simulated: Duration,
    messages: u64,
    attempts: u64,
    connections: u64,
    faults: u64,
    coverage: Coverage,
    /// In how many worlds each rare branch was come by, and in which one first.
    branches: BTreeMap<&'static str, (u64, u64)>,
    /// Worlds that set an option.
    options: BTreeMap<&'static str, u64>,
    falls: Vec<(u64, FailureKind)>,
}

/// Runs the worlds.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    if let Some(config) = &args.config {
        return trial::run(args, config);
    }
    if let Some(seed) = args.show {
        return print(&World::draw(seed).text());
    }
    make_folder(args)?;
    let begun = Instant::now();
    let mut campaign = Campaign::default();
    let count = |ended: Ended, bar: &ProgressBar| {
        campaign.count(&ended);
        match &ended.result {
            Err(fall) => bar.suspend(|| tell(ended.seed, &World::draw(ended.seed), fall, args)),
            Ok(_) => Ok(()),
        }
    };
    let interrupted = interrupt::flag()?;
    in_worlds(args, begun, &interrupted, end, count).map_err(system)?;
    println!("{}", campaign.summary(begun.elapsed()));
    if args.coverage {
        println!("{}", campaign.passages());
    }
    verdict(&campaign.falls)?;
    whole(&interrupted)?;
    match args.all_marks {
        true => campaign.all_marks(&args.may_miss),
        false => Ok(()),
    }
}

/// An error when Ctrl-C left out some of the worlds.
fn whole(interrupted: &AtomicBool) -> Result<(), CommandError> {
    match interrupted.load(Ordering::Relaxed) {
        false => Ok(()),
        true => Err(CommandError::reported(ErrorKind::Interrupted)),
    }
}

fn system(error: impl Into<anyhow::Error>) -> CommandError {
    CommandError::new(ErrorKind::System, error)
}

fn print(text: &str) -> Result<(), CommandError> {
    io::stdout().lock().write_all(text.as_bytes()).map_err(system)
}

/// Makes the folder for what is found.
fn make_folder(args: &Args) -> Result<(), CommandError> {
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))
        .map_err(system)
}

/// Runs the worlds that the command line asks for, and no further ones once `interrupted` is set.
fn in_worlds<T: Send>(
    args: &Args,
    begun: Instant,
    interrupted: &AtomicBool,
    run: impl Fn(u64) -> T + Sync,
    mut done: impl FnMut(T, &ProgressBar) -> io::Result<()>,
) -> io::Result<()> {
    let limit = args.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let worlds = if args.commit.is_some() { 2 * args.seeds } else { args.seeds };
    let bar = progress_bar(worlds + args.also.len() as u64, limit.is_some());
    let mut next = args.start;
    let mut also = args.also.clone();
    loop {
        let count = if limit.is_some() { WORLDS_A_ROUND } else { args.seeds };
        let of_commit = args.commit.iter().flat_map(|hash| swarm::seeds_of(hash, count));
        let seeds: Vec<u64> = (next..next + count).chain(of_commit).chain(also.drain(..)).collect();
        next += count;
        in_parallel(
            &seeds,
            args.jobs,
            |seed| (!interrupted.load(Ordering::Relaxed)).then(|| run(*seed)),
            |one| {
                bar.inc(1);
                one.map_or(Ok(()), |one| done(one, &bar))
            },
        )?;
        let over = limit.is_none_or(|limit| begun.elapsed() >= limit);
        if over || interrupted.load(Ordering::Relaxed) {
            bar.finish_and_clear();
            return Ok(());
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
fn tell(seed: u64, world: &World, fall: &Fall, args: &Args) -> io::Result<()> {
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
    writeln!(stdout, "  replay: traject sim {}", file.display())?;
    let config = args.config.as_ref().map(|config| format!(" --config {}", config.display()));
    let config = config.unwrap_or_default();
    writeln!(stdout, "  or all of it: traject swarm{config} --start {seed} --seeds 1\n")
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
                self.left_early += u64::from(lived.left_early);
                self.simulated += lived.simulated;
                self.messages += lived.totals.messages;
                self.attempts += lived.totals.attempts;
                self.connections += lived.totals.connections;
                self.coverage.add(lived.coverage);
                for (name, _) in lived.coverage.all().filter(|(_, seen)| *seen) {
                    self.branches.entry(name).or_insert((0, ended.seed)).0 += 1;
                }
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
        let left_early = match self.left_early {
            0 => String::new(),
            n => format!("; {n} left early, as too much happened in them"),
        };
        format!(
            "{} worlds: {verdict}{left_early}\n\
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
        let mut rarest: Vec<_> = self.branches.iter().collect();
        rarest.sort_by_key(|(_, (worlds, _))| *worlds);
        let rarest: Vec<String> = rarest
            .into_iter()
            .take(RAREST_SHOWN)
            .map(|(name, (worlds, seed))| format!("{name} in {worlds}, first in seed {seed}"))
            .collect();
        format!(
            "came by {} of {all} rare branches; never: {}\nrarest: {}\noptions never set: {}\noptions and in how \
             many worlds they were set: {}",
            all - missed.len(),
            listed(&missed),
            rarest.join("; "),
            listed(&never),
            counts.join(", ")
        )
    }

    fn missed(&self) -> impl Iterator<Item = &'static str> {
        self.coverage.all().filter(|(_, seen)| !seen).map(|(name, _)| name)
    }

    fn all_marks(&self, may_miss: &[String]) -> Result<(), CommandError> {
        let excused = |name: &&str| may_miss.iter().any(|one| one == name);
        let missed: Vec<&str> = self.missed().filter(|name| !excused(name)).collect();
        if missed.is_empty() {
            return Ok(());
        }
        let message = anyhow!("no world came by: {}", missed.join(", "));
        Err(CommandError::new(ErrorKind::Expectation, message))
    }
}

/// The worst failure decides.
fn verdict(falls: &[(u64, FailureKind)]) -> Result<(), CommandError> {
    let kinds = falls.iter().map(|(_, kind)| match kind {
        FailureKind::Violation => ErrorKind::Invariant,
        FailureKind::Stuck => ErrorKind::Stuck,
        FailureKind::Spin => ErrorKind::Spin,
        FailureKind::Panic => ErrorKind::Panic,
    });
    match kinds.max_by_key(|kind| kind.exit_code()) {
        None => Ok(()),
        Some(kind) => {
            let seeds: Vec<String> = falls.iter().map(|(seed, _)| seed.to_string()).collect();
            let message = anyhow!("laws were broken in the worlds {}", seeds.join(", "));
            Err(CommandError::new(kind, message))
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

/// Branches that few worlds came by are named, so many.
const RAREST_SHOWN: usize = 8;

/// Between two looks at the clock.
const WORLDS_A_ROUND: u64 = 64;

/// Worlds that are run to make one smaller.
const SHRINK_TRIES_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn an_interrupted_campaign_ends_with_the_worlds_it_has_seen() {
        let Line { args } = Line::parse_from(["swarm", "--minutes", "60", "--jobs", "1"]);
        let interrupted = AtomicBool::new(false);
        let mut seen = Vec::new();
        let world = |seed| {
            if seed == 3 {
                interrupted.store(true, Ordering::Relaxed);
            }
            seed
        };
        let note = |seed, _: &ProgressBar| {
            seen.push(seed);
            Ok(())
        };
        in_worlds(&args, Instant::now(), &interrupted, world, note).unwrap();
        assert_eq!(seen, [1, 2, 3]);
        assert!(whole(&interrupted).is_err());
    }
}
