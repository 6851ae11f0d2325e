//! `traject swarm --config`: which promises of a user's configuration break, and where.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;
use serde::Serialize;
use traject_engine::config::{Config, HostFacts, Severity};
use traject_net::config_files::FileSystem;
use traject_sim::runner::FailureKind;
use traject_sim::scenario::{HOSTNAME, ScenarioError};
use traject_sim::swarm::Fall;
use traject_sim::swarm::trial::{Trial, Tried, Wishes};

use super::findings::{Findings, Row};
use super::{Args, in_worlds, make_folder, print, system, tell, verdict, whole};
use crate::diagnostics;
use crate::error::{CommandError, ErrorKind};
use crate::interrupt;
use crate::runs::{in_parallel, quoted};
use crate::sim;

/// What became of a world.
struct Ended {
    seed: u64,
    faults: usize,
    result: Result<Result<Tried, Fall>, Box<ScenarioError>>,
}

/// What the worlds came to.
#[derive(Default)]
struct Sum {
    worlds: u64,
    kept: u64,
    faults: u64,
    messages: u64,
    simulated: Duration,
    findings: Findings,
    falls: Vec<(u64, FailureKind)>,
    /// A world that does not go with the configuration.
    misfit: Option<Box<ScenarioError>>,
}

/// Runs the worlds, and says what broke.
pub(super) fn run(args: &Args, config: &Path) -> Result<(), CommandError> {
    let trial = load(args, config)?;
    if let Some(seed) = args.show {
        return print(&trial.draw(seed).text());
    }
    make_folder(args)?;
    let begun = Instant::now();
    let mut sum = Sum::default();
    let end = |seed: u64| {
        let world = trial.draw(seed);
        Ended { seed, faults: world.faults, result: trial.live(&world.text()) }
    };
    let count = |ended: Ended, bar: &ProgressBar| {
        let (seed, fall) = (ended.seed, sum.count(ended, &trial));
        match fall {
            Some(fall) => bar.suspend(|| tell(seed, &trial.draw(seed), &fall, args)),
            None => Ok(()),
        }
    };
    let interrupted = interrupt::flag()?;
    in_worlds(args, begun, &interrupted, end, count).map_err(system)?;
    if let Some(misfit) = sum.misfit {
        return Err(unusable(&misfit));
    }
    let took = begun.elapsed();
    let mut rows = std::mem::take(&mut sum.findings).rows();
    write_worlds(&trial, &mut rows, args)?;
    show(args, &Report::new(config, &trial, &sum, &rows), took)?;
    verdict(&sum.falls)?;
    whole(&interrupted)?;
    match rows.is_empty() {
        true => Ok(()),
        false => Err(CommandError::reported(ErrorKind::Promise)),
    }
}

fn load(args: &Args, config: &Path) -> Result<Trial, CommandError> {
    let name = config.display().to_string();
    // The same worlds on every machine.
    let host = HostFacts { hostname: HOSTNAME.to_owned() };
    let mut loaded = Config::load(&name, &mut FileSystem, &host);
    loaded.diagnostics.retain(|finding| finding.severity >= Severity::Error);
    diagnostics::print(&loaded.diagnostics, &loaded.sources).map_err(system)?;
    let Some(usable) = loaded.config else {
        return Err(CommandError::new(ErrorKind::Config, anyhow!("{name} cannot be used")));
    };
    let read = |path: &Path| {
        let text = fs::read_to_string(path);
        text.with_context(|| format!("cannot read {}", path.display())).map_err(system)
    };
    let expect = match &args.expect {
        Some(path) => Some((path.clone(), read(path)?)),
        None => None,
    };
    let (domains, tls) = (args.domain.clone(), args.expect_tls.clone());
    let wishes = Wishes { domains, tls, expect };
    let path = fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
    Trial::new(&path, (usable, loaded.sources), wishes).map_err(|error| unusable(&error))
}

fn unusable(error: &ScenarioError) -> CommandError {
    eprint!("{}", sim::findings_of_scenario(error));
    CommandError::reported(ErrorKind::Config)
}

impl Sum {
    /// Counts a world; a law of the engine that broke there.
    fn count(&mut self, ended: Ended, trial: &Trial) -> Option<Fall> {
        self.worlds += 1;
        self.faults += ended.faults as u64;
        match ended.result {
            Ok(Ok(Tried { lived, broken })) => {
                self.messages += lived.totals.messages;
                self.simulated += lived.simulated;
                self.kept += u64::from(broken.is_empty());
                let world = (ended.seed, lived.totals.messages);
                self.findings.add(world, broken, |one| trial.place(one));
                None
            }
            Ok(Err(fall)) => {
                self.falls.push((ended.seed, fall.kind));
                Some(fall)
            }
            Err(misfit) => {
                self.misfit.get_or_insert(misfit);
                None
            }
        }
    }
}

/// Writes the smallest world of each kind, made smaller still.
fn write_worlds(trial: &Trial, rows: &mut [Row], args: &Args) -> Result<(), CommandError> {
    let mut names = BTreeSet::new();
    let mut files = Vec::new();
    for row in &*rows {
        let name = row.file_name();
        let (stem, mut free, mut n) = (name.trim_end_matches(".toml"), name.clone(), 1);
        while !names.insert(free.clone()) {
            n += 1;
            free = format!("{stem}-{n}.toml");
        }
        files.push(args.out.join(free));
    }
    let mut smaller = Vec::new();
    let shrink = |row: &Row| trial.shrink(&trial.draw(row.seed()), &row.broken);
    let collect = |one| {
        smaller.push(one);
        Ok(())
    };
    in_parallel(rows, args.jobs, shrink, collect).map_err(system)?;
    for ((row, file), (text, broken)) in rows.iter_mut().zip(files).zip(smaller) {
        let written = fs::write(&file, text);
        written.with_context(|| format!("cannot write {}", file.display())).map_err(system)?;
        let name = file.display().to_string();
        let replay = format!("traject sim {}", quoted(&name));
        row.written(name, replay, &broken);
    }
    Ok(())
}

/// What a trial came to, for programs. Within a version keys are only added.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    config: String,
    /// Worlds that were run.
    worlds: u64,
    /// Worlds in which nothing broke.
    kept: u64,
    messages: u64,
    faults: u64,
    simulated_hours: f64,
    broken: &'a [Row],
    /// Seeds of worlds in which a law of the engine broke.
    bugs: Vec<u64>,
    /// Patterns of the configuration that no mail was for.
    unmatched: &'a [String],
}

impl<'a> Report<'a> {
    fn new(config: &Path, trial: &'a Trial, sum: &Sum, broken: &'a [Row]) -> Self {
        Self {
            version: VERSION,
            config: config.display().to_string(),
            worlds: sum.worlds,
            kept: sum.kept,
            messages: sum.messages,
            faults: sum.faults,
            simulated_hours: sum.simulated.as_secs_f64() / 3600.0,
            broken,
            bugs: sum.falls.iter().map(|(seed, _)| *seed).collect(),
            unmatched: trial.unmatched(),
        }
    }

    /// For people.
    fn text(&self) -> String {
        let Self { config, worlds, kept, .. } = self;
        let mut text = String::new();
        for row in self.broken {
            text += &row.text(*worlds);
            text.push('\n');
        }
        for pattern in self.unmatched {
            text += &format!("no mail was for {pattern}: name a domain with --domain\n");
        }
        let verdict = match self.broken.len() {
            0 => "every promise was kept".to_owned(),
            kinds => {
                format!("{kept} kept every promise, the others broke promises of {kinds} kinds")
            }
        };
        text + &format!(
            "{worlds} worlds with {config}: {verdict}\n{:.0} simulated hours, {} messages, {} \
             faults and events\n",
            self.simulated_hours, self.messages, self.faults,
        )
    }
}

fn show(args: &Args, report: &Report<'_>, took: Duration) -> Result<(), CommandError> {
    let json_only = args.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(report).map_err(system)? + "\n";
        match json_only {
            true => print(&json)?,
            false => fs::write(path, json)
                .with_context(|| format!("cannot write {}", path.display()))
                .map_err(system)?,
        }
    }
    if json_only {
        return Ok(());
    }
    let a_second = report.worlds as f64 / took.as_secs_f64().max(0.001);
    print(&format!("{}{a_second:.1} worlds a second\n", report.text()))
}

/// Version of the JSON form.
const VERSION: u32 = 1;
