//! `traject schema`: the JSON Schemas of what Traject reads and writes.

use std::io::{self, Write as _};

use anyhow::Context as _;
use traject_sim::report::schema;

use crate::error::{CommandError, ErrorKind};

/// Print the JSON Schema of scenarios or of reports
///
/// The schema of scenarios is for editors: with it they complete keys and mark mistakes. The schema
/// of reports (`traject sim --json`) is for programs that read them; it is versioned with them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject schema scenario > scenario.schema.json
  traject schema report > report.schema.json")]
pub(crate) struct Args {
    /// What to describe
    #[arg(value_enum)]
    what: What,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// Scenario files
    Scenario,
    /// The JSON form of a report
    Report,
}

/// Prints it.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let text = match args.what {
        What::Scenario => SCENARIO.to_owned(),
        What::Report => schema::json_schema(),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written
            .context("cannot print the schema")
            .map_err(|error| CommandError::new(ErrorKind::System, error)),
    }
}

const SCENARIO: &str = include_str!("../../docs/scenario.schema.json");
