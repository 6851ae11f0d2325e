//! `traject check`: is this configuration right?

use std::io::{self, Write as _};

use anyhow::{Context as _, anyhow};
use traject_engine::config::lint::{self, LINTS};
use traject_engine::config::{Loaded, Severity};

use crate::diagnostics::{self, JsonDiagnostic};
use crate::error::{CommandError, ErrorKind};

/// Check a configuration and everything it includes
///
/// Every mistake is shown with its place and what to do about it. What is allowed and probably not
/// meant is a warning with a code, which `--explain` explains.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject check /etc/traject/ecelerity.conf
  traject check --deny-warnings ecelerity.conf   for a CI job
  traject check --json ecelerity.conf            one JSON object a line
  traject check --explain TJ010                  what a warning is about

Exits with 0 if the configuration can be used and with 3 if not.")]
pub(crate) struct Args {
    /// The configuration file
    #[arg(value_name = "CONFIG", required_unless_present = "explain")]
    config: Option<String>,

    /// Explain a warning instead of checking; without a code, list them all
    #[arg(long, value_name = "CODE", num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,

    /// Print one JSON object for each finding to standard output, and nothing else
    #[arg(long)]
    json: bool,

    /// Treat warnings like errors
    #[arg(long)]
    deny_warnings: bool,
}

/// Checks, and shows what was found.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    match (&args.explain, &args.config) {
        (Some(code), _) => explain(code),
        (None, Some(config)) => check(args, config),
        (None, None) => Ok(()),
    }
}

fn check(args: &Args, config: &str) -> Result<(), CommandError> {
    let loaded = diagnostics::load(config);
    show(args, config, &loaded)
        .context("cannot print the findings")
        .map_err(|error| CommandError::new(ErrorKind::System, error))?;
    let denied = args.deny_warnings && !loaded.diagnostics.is_empty();
    if loaded.config.is_none() || denied {
        return Err(CommandError::reported(ErrorKind::Config));
    }
    Ok(())
}

/// Prints what one warning is about, or the list of them.
fn explain(code: &str) -> Result<(), CommandError> {
    let text = match (code, lint::find(code)) {
        ("", _) => {
            let lines = LINTS.iter().map(|lint| format!("{}  {}\n", lint.code, lint.title));
            lines.collect()
        }
        (_, Some(lint)) => {
            let lines: Vec<_> = lint.explanation.lines().map(str::trim).collect();
            format!("{}: {}\n\n{}\n", lint.code, lint.title, lines.join("\n"))
        }
        (_, None) => {
            let error = anyhow!("no warning has the code `{code}`");
            let hint = "`traject check --explain` lists them all";
            return Err(CommandError::new(ErrorKind::Config, error).hint(hint));
        }
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| CommandError::new(ErrorKind::System, error))
}

fn show(args: &Args, config: &str, loaded: &Loaded) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        for diagnostic in &loaded.diagnostics {
            let json = JsonDiagnostic::new(diagnostic, &loaded.sources);
            writeln!(out, "{}", serde_json::to_string(&json)?)?;
        }
        return Ok(());
    }
    diagnostics::print(&loaded.diagnostics, &loaded.sources)?;
    writeln!(out, "{}", summary(config, loaded))?;
    Ok(())
}

/// The last line: what was found, in how much text.
fn summary(name: &str, loaded: &Loaded) -> String {
    let count =
        |severity| loaded.diagnostics.iter().filter(|finding| finding.severity == severity).count();
    let lines = loaded.sources.files().map(|file| file.text.lines().count()).sum();
    format!(
        "{name}: {}, {} in {} of {}",
        plural(count(Severity::Error), "error"),
        plural(count(Severity::Warning), "warning"),
        plural(lines, "line"),
        plural(loaded.sources.files().count(), "file"),
    )
}

fn plural(count: usize, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}
