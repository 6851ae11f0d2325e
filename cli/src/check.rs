//! `traject check`: is this configuration right?

use std::io::{self, Write as _};

use anyhow::Context as _;
use traject_engine::config::{Loaded, Severity};

use crate::diagnostics::{self, JsonDiagnostic};
use crate::error::{CommandError, ErrorKind};

/// Check a configuration and everything it includes
///
/// Every mistake is shown with its place and what to do about it. Options that are understood but
/// have no effect are warnings.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject check /etc/traject/ecelerity.conf
  traject check --deny-warnings ecelerity.conf   for a CI job
  traject check --json ecelerity.conf            one JSON object a line

Exits with 0 if the configuration can be used and with 3 if not.")]
pub(crate) struct Args {
    /// The configuration file
    #[arg(value_name = "CONFIG")]
    config: String,

    /// Print one JSON object for each finding to standard output, and nothing else
    #[arg(long)]
    json: bool,

    /// Treat warnings like errors
    #[arg(long)]
    deny_warnings: bool,
}

/// Checks, and shows what was found.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let loaded = diagnostics::load(&args.config);
    show(args, &loaded)
        .context("cannot print the findings")
        .map_err(|error| CommandError::new(ErrorKind::System, error))?;
    let denied = args.deny_warnings && !loaded.diagnostics.is_empty();
    if loaded.config.is_none() || denied {
        return Err(CommandError::reported(ErrorKind::Config));
    }
    Ok(())
}

fn show(args: &Args, loaded: &Loaded) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        for diagnostic in &loaded.diagnostics {
            let json = JsonDiagnostic::new(diagnostic, &loaded.sources);
            writeln!(out, "{}", serde_json::to_string(&json)?)?;
        }
        return Ok(());
    }
    diagnostics::print(&loaded.diagnostics, &loaded.sources)?;
    writeln!(out, "{}", summary(&args.config, loaded))?;
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
