//! `traject`: check a configuration, simulate what it does, deliver mail with it.

mod account;
mod check;
mod classify;
mod control;
mod ctl;
mod daemon;
mod diagnostics;
mod diff;
mod error;
mod explain;
mod interrupt;
mod line_log;
mod logs;
mod notify;
mod options;
mod process_log;
mod profiles;
mod reload;
mod runs;
mod schema;
mod sim;
mod spool;
mod swarm;
mod sweep;
mod test;
mod tls_matrix;

use std::panic;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{CommandError, ErrorKind};

/// A mail transfer agent that can predict itself.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// One file a verb: `Args`, whose doc comments are the help text, and `run`.
#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Args),
    Classify(classify::Args),
    Explain(explain::Args),
    Options(options::Args),
    Profiles(profiles::Args),
    Schema(schema::Args),
    Daemon(daemon::Args),
    Ctl(ctl::Args),
    Sim(sim::Args),
    Spool(spool::Args),
    Diff(diff::Args),
    Test(test::Args),
    Swarm(swarm::Args),
    TlsMatrix(tls_matrix::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The panic's own message has been printed when it arrives here.
    let outcome = panic::catch_unwind(|| run(cli));
    error::finish(outcome.unwrap_or_else(|_| Err(CommandError::reported(ErrorKind::Panic))))
}

fn run(cli: Cli) -> Result<(), CommandError> {
    match cli.verb {
        Verb::Check(args) => check::run(&args),
        Verb::Classify(args) => classify::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Options(args) => options::run(&args),
        Verb::Profiles(args) => profiles::run(&args),
        Verb::Schema(args) => schema::run(&args),
        Verb::Daemon(args) => daemon::run(&args),
        Verb::Ctl(args) => ctl::run(&args),
        Verb::Sim(args) => sim::run(&args),
        Verb::Spool(args) => spool::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Swarm(args) => swarm::run(&args),
        Verb::TlsMatrix(args) => tls_matrix::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
