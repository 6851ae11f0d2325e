//! `traject schema`: the JSON Schemas of what Traject reads and writes.

use std::io::{self, Write as _};

use anyhow::Context as _;
use traject_sim::schema;

use crate::error::{CommandError, ErrorKind};

/// Print the JSON Schema of scenarios, of reports or of records
///
/// The schema of scenarios is for editors: with it they complete keys and mark mistakes. The schema
/// of reports (`traject sim --json`) is for programs that read them; it is versioned with them.
/// That of records is for programs that read what `traject daemon --records` or
/// `traject sim --trace` writes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject schema scenario > scenario.schema.json
  traject schema report > report.schema.json
  traject schema record > record.schema.json")]
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
    /// A line of records
    Record,
}

/// Prints it.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let text = match args.what {
        What::Scenario => SCENARIO.to_owned(),
        What::Report => schema::report(),
        What::Record => schema::record(),
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
