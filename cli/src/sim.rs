//! `traject sim`: run a scenario and predict.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use traject_engine::config::{Config, Diagnostic, SourceFile, Sources, Span};
use traject_sim::describe::instant;
use traject_sim::report::text::{self, Style};
use traject_sim::report::{End, Report, html, why};
use traject_sim::runner::{
    self, FailureKind, Outcome, Progress, ProgressSink, RunOptions, START, WhyQuestion,
};
use traject_sim::scenario::{self, Scenario, ScenarioError, units};

use crate::diagnostics;
use crate::error::{CommandError, ErrorKind};
use crate::interrupt;
use crate::runs::quoted;
use crate::sweep::{self, Axis};

/// Run a scenario in a simulated world and report what became of its mail
///
/// The engine that delivers for real runs against the scenario's receivers, in virtual time. The
/// same scenario, configuration and seed always give the same run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject sim scenarios/tour.toml
  traject sim tour.toml --config new.conf        what would another configuration do?
  traject sim tour.toml --seed 7 --json -        the report as JSON on standard output
  traject sim tour.toml --html report.html       the report with charts, to look at and to send
  traject sim tour.toml --trace records.ndjson   every record, one JSON object a line
  traject sim tour.toml --set 'domain x.example/max_outbound_connections=5'
                                                 what if that option had another value?
  traject sim tour.toml --what-if max_outbound_connections=5,10,20
                                                 one table over several values
  traject sim tour.toml --samples 50             how far do the numbers spread by chance?
  traject sim tour.toml --why strict.example --at 9h30m
                                                 why does that mail wait, at that time?

Exits with 0 when every expectation held, 1 when one did not, 3 when the scenario or the
configuration is wrong, 10 when an invariant was violated, 11 when nothing could move any more,
12 after a panic, 130 when Ctrl-C ended it.")]
pub(crate) struct Args {
    /// The scenario file
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: PathBuf,

    /// Use this configuration instead of the scenario's
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Use this seed instead of the scenario's
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Write the report as JSON to a file, or with `-` to standard output instead of the text
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write the report as one HTML file that needs nothing else, with charts
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write every record as one line of JSON
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// End after so much simulated time, such as 2h or 1d12h
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) until: Option<Duration>,

    /// Set an option otherwise than the configuration has it: everywhere, or only in a stanza, as
    /// in `binding bulk/domain x.example/retry_interval=600`
    #[arg(long, value_name = "[SCOPE/]OPTION=VALUE")]
    pub(crate) set: Vec<String>,

    /// Run once with each value of an option and show the runs in one table; of two options, with
    /// each combination
    #[arg(long, value_name = "[SCOPE/]OPTION=V1,V2,...", value_parser = Axis::parse)]
    #[arg(conflicts_with_all = ["samples", "trace", "why", "html"])]
    pub(crate) what_if: Vec<Axis>,

    /// Run so often, with this seed and those that follow, and show the median and the 5 and 95 %
    /// bands of every number
    #[arg(long, value_name = "N", conflicts_with_all = ["trace", "why"])]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=SAMPLES_MAX))]
    samples: Option<u64>,

    /// With --what-if and --samples: how many runs at a time; as many as there are processors when
    /// not given
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Say why mail to this domain waits, at the instant `--at`, instead of the report
    #[arg(long, value_name = "DOMAIN")]
    why: Option<String>,

    /// With --why: mail of this binding only
    #[arg(long, value_name = "NAME", requires = "why")]
    binding: Option<String>,

    /// With --why: when, such as 2h13m after the start; the end if not given
    #[arg(long, value_name = "TIME", requires = "why", conflicts_with = "until", value_parser = units::duration)]
    at: Option<Duration>,
}

/// Runs, and reports.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    if !args.what_if.is_empty() {
        return sweep::what_if(args);
    }
    if let Some(samples) = args.samples {
        return sweep::samples(args, samples);
    }
    let scenario = load_scenario(&args.scenario)?.amended(sweep::amendments(&args.set));
    let config = load_config(&scenario, args.config.as_deref())?;
    scenario.check_config(&config).map_err(|error| wrong_scenario(&error))?;
    check_reloads(&scenario)?;
    let records = args.trace.as_deref().map(create).transpose()?;
    let until = args.until.or(args.at);
    let bar = progress_bar(until.unwrap_or(scenario.horizon).min(scenario.horizon));
    let options = RunOptions {
        seed: args.seed,
        until,
        why: args.why.clone().map(|domain| WhyQuestion { domain, binding: args.binding.clone() }),
        config_name: scenario.config_name(args.config.as_deref()),
        replay: replay(args, &scenario),
        records: records.map(|file| Box::new(BufWriter::new(file)) as Box<dyn Write + Send>),
        progress: Some(tell(bar.clone())),
        interrupt: interrupt::flag()?,
        ..RunOptions::default()
    };
    let begun = Instant::now();
    let outcome = runner::run(&scenario, Arc::new(config), options);
    let wall = begun.elapsed();
    bar.finish_and_clear();
    if let Some(domain) = &args.why
        && outcome.failure.is_none()
    {
        return answer(args, domain, &outcome)
            .map_err(|error| CommandError::new(ErrorKind::System, error));
    }
    show(args, &outcome, wall).map_err(|error| CommandError::new(ErrorKind::System, error))?;
    verdict(outcome)
}

/// Why mail waits, for a person or as JSON.
fn answer(args: &Args, domain: &str, outcome: &Outcome) -> anyhow::Result<()> {
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&outcome.why)? + "\n";
        if path == Path::new("-") {
            return print_out(&json);
        }
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print_out(&why::render(&outcome.why, domain, outcome.ended_at, &|at| instant(START, at)))
}

fn load_scenario(path: &Path) -> Result<Scenario, CommandError> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(|error| CommandError::new(ErrorKind::Config, error))?;
    scenario::parse(path, &text).map_err(|error| wrong_scenario(&error))
}

/// Shows what is wrong with a scenario in the form of every other finding.
fn wrong_scenario(error: &ScenarioError) -> CommandError {
    let (findings, sources) = findings(error);
    if let Err(error) = diagnostics::print(&findings, &sources) {
        return CommandError::new(ErrorKind::System, error);
    }
    let path = error.path.display();
    CommandError::new(ErrorKind::Config, anyhow!("{path} cannot be used"))
}

/// What is wrong with a scenario, as text.
pub(crate) fn findings_of_scenario(error: &ScenarioError) -> String {
    let (findings, sources) = findings(error);
    diagnostics::text(&findings, &sources)
}

fn findings(error: &ScenarioError) -> (Vec<Diagnostic>, Sources) {
    let mut sources = Sources::default();
    let name = error.path.display().to_string();
    let file = sources.add(SourceFile { name, text: error.source.clone() });
    let finding = |one: &scenario::Diagnostic| {
        let (start, end) = (one.span.start as u32, one.span.end as u32);
        let finding = Diagnostic::error(Span { file, start, end }, one.message.clone());
        match &one.hint {
            Some(hint) => finding.help(hint.clone()),
            None => finding,
        }
    };
    (error.diagnostics.iter().map(finding).collect(), sources)
}

fn load_config(scenario: &Scenario, instead: Option<&Path>) -> Result<Config, CommandError> {
    let loaded = scenario.load_config(instead);
    diagnostics::print(&loaded.diagnostics, &loaded.sources)
        .map_err(|error| CommandError::new(ErrorKind::System, error))?;
    loaded.config.ok_or_else(|| {
        let name = scenario.config_name(instead);
        CommandError::new(ErrorKind::Config, anyhow!("{name} cannot be used"))
    })
}

/// Shows what is wrong with the configurations that come into force during the scenario.
fn check_reloads(scenario: &Scenario) -> Result<(), CommandError> {
    for (name, loaded) in scenario.load_reloads() {
        diagnostics::print(&loaded.diagnostics, &loaded.sources)
            .map_err(|error| CommandError::new(ErrorKind::System, error))?;
        let unusable = || CommandError::new(ErrorKind::Config, anyhow!("{name} cannot be used"));
        let config = loaded.config.ok_or_else(unusable)?;
        scenario.check_reload(&config).map_err(|error| wrong_scenario(&error))?;
    }
    Ok(())
}

fn create(path: &Path) -> Result<File, CommandError> {
    File::create(path)
        .with_context(|| format!("cannot write {}", path.display()))
        .map_err(|error| CommandError::new(ErrorKind::System, error))
}

/// The command that repeats this run.
fn replay(args: &Args, scenario: &Scenario) -> String {
    let mut command = format!("traject sim {}", args.scenario.display());
    if let Some(config) = &args.config {
        command.push_str(&format!(" --config {}", config.display()));
    }
    for text in &args.set {
        command.push_str(&format!(" --set {}", quoted(text)));
    }
    command.push_str(&format!(" --seed {}", args.seed.unwrap_or(scenario.seed)));
    if let Some(until) = args.until {
        command.push_str(&format!(" --until {}", units::show_duration(until)));
    }
    command
}

/// A bar over the simulated time, on a terminal only, and not before a second has passed.
fn progress_bar(length: Duration) -> ProgressBar {
    let bar = ProgressBar::new(length.as_secs().max(1));
    let style = ProgressStyle::with_template("{bar:40.cyan/dim} {msg}");
    // Unwrap is OK because the template is a constant that a test renders.
    bar.set_style(style.expect("a template that is right"));
    bar
}

fn tell(bar: ProgressBar) -> ProgressSink {
    let begun = Instant::now();
    Box::new(move |progress: Progress| {
        if begun.elapsed() >= QUIET_TIME {
            let passed = progress.now.saturating_since(START);
            bar.set_position(passed.as_secs());
            bar.set_message(format!(
                "{} simulated, {} of {} recipients done",
                units::show_duration(passed),
                progress.done,
                progress.accepted
            ));
        }
    })
}

fn show(args: &Args, outcome: &Outcome, wall: Duration) -> anyhow::Result<()> {
    let json_only = args.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = &args.json {
        let json = outcome.report.to_json();
        if json_only {
            print_out(&json)?;
        } else {
            fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if let Some(path) = &args.html {
        let page = html::render(&outcome.report);
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !json_only {
        print_out(&page(&outcome.report, wall))?;
    }
    if let Some(error) = &outcome.write_error {
        let path = args.trace.as_deref().unwrap_or_else(|| Path::new(""));
        return Err(anyhow!("cannot write {}: {error}", path.display()));
    }
    Ok(())
}

fn page(report: &Report, wall: Duration) -> String {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    text::render(report, Style { colour, wall: Some(wall) })
}

/// Prints to standard output; that nobody reads to the end is no failure.
pub(crate) fn print_out(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print the report"),
    }
}

fn verdict(outcome: Outcome) -> Result<(), CommandError> {
    let report = &outcome.report;
    if let Some(failure) = outcome.failure {
        let kind = match failure.kind {
            FailureKind::Violation => ErrorKind::Invariant,
            FailureKind::Stuck => ErrorKind::Stuck,
            FailureKind::Spin => ErrorKind::Spin,
            FailureKind::Panic => ErrorKind::Panic,
        };
        let whose = format!("scenario {}, configuration {}", report.scenario, report.config);
        let story = anyhow!("{failure}  {whose}, seed {}", report.seed);
        return Err(CommandError::new(kind, story).hint(format!("replay: {}", report.replay)));
    }
    let failed = report.failed_expectations();
    if failed > 0 {
        let all = report.expectations.len();
        let error = anyhow!("{failed} of {all} expectations did not hold");
        let hint = format!("replay: {}", report.replay);
        return Err(CommandError::new(ErrorKind::Expectation, error).hint(hint));
    }
    if report.end == End::Interrupted {
        return Err(CommandError::reported(ErrorKind::Interrupted));
    }
    Ok(())
}

/// More samples would keep more reports than memory has room for.
const SAMPLES_MAX: u64 = 10_000;

/// Runs shorter than this show no progress.
const QUIET_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn() {
        let bar = progress_bar(Duration::from_secs(10));
        bar.set_position(5);
        bar.finish_and_clear();
    }
}
