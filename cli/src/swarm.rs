//! `traject swarm`: random worlds that try to break every promise.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use traject_sim::runner::FailureKind;
use traject_sim::swarm::{self, Fall, Lived, World};

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

Exits with 0 when every law held, 10 when an invariant was violated, 11 when mail was left that
nothing would move, 12 after a panic.")]
pub(crate) struct Args {
    /// How many worlds
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,

    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    start: u64,

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
    campaign.verdict()
}

fn campaign(args: &Args, begun: Instant) -> io::Result<Campaign> {
    let mut campaign = Campaign::default();
    let limit = args.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let bar = progress_bar(args.seeds, limit.is_some());
    let mut next = args.start;
    loop {
        let count = if limit.is_some() { WORLDS_A_ROUND } else { args.seeds };
        let seeds: Vec<u64> = (next..next + count).collect();
        next += count;
        in_parallel(
            &seeds,
            args.jobs,
            |seed| end(*seed),
            |ended| {
                bar.inc(1);
                campaign.count(&ended);
                if let Err(fall) = &ended.result {
                    bar.suspend(|| tell(ended.seed, fall, &args.out))?;
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
    Ended { seed, faults: world.faults, result: swarm::live(&world.text()) }
}

/// Makes a world that fails small, writes it, and says how it fails.
fn tell(seed: u64, fall: &Fall, out: &Path) -> io::Result<()> {
    let world = World::draw(seed);
    let shrunk = swarm::shrink(&world.nodes, fall, SHRINK_TRIES_MAX);
    let file = out.join(format!("swarm-{seed}.toml"));
    fs::write(&file, &shrunk.text)?;
    let (lines, before) = (shrunk.text.lines().count(), world.text().lines().count());
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "seed {seed}: {}", shrunk.fall.story.trim_end())?;
    writeln!(stdout, "  made smaller from {before} lines to {lines}: {}", file.display())?;
    writeln!(stdout, "  replay: traject sim {}\n", file.display())
}

impl Campaign {
    fn count(&mut self, ended: &Ended) {
        self.worlds += 1;
        self.faults += ended.faults as u64;
        match &ended.result {
            Ok(lived) => {
                self.simulated += lived.simulated;
                self.messages += lived.totals.messages;
                self.attempts += lived.totals.attempts;
                self.connections += lived.totals.connections;
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

    /// The worst failure decides.
    fn verdict(&self) -> Result<(), CommandError> {
        let kinds = self.falls.iter().map(|(_, kind)| match kind {
            FailureKind::Violation => ErrorKind::Invariant,
            FailureKind::Stuck => ErrorKind::Stuck,
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

/// Between two looks at the clock.
const WORLDS_A_ROUND: u64 = 64;

/// Worlds that are run to make one smaller.
const SHRINK_TRIES_MAX: usize = 400;
