//! `traject tls-matrix`: what a configuration does with every way a receiver's TLS can be.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;
use traject_engine::config::Severity;
use traject_engine::record::Pair;
use traject_sim::describe;
use traject_sim::tls_matrix::{self, Cell, Matrix, MatrixError};

use crate::error::{CommandError, ErrorKind};
use crate::{diagnostics, sim};

/// Show what becomes of mail when a receiver's TLS is good, missing or broken
///
/// For each of some twenty receivers that differ in their TLS alone, one message is sent in a
/// simulated world: how it was delivered or what it waited for, attempts, the time until it was
/// settled, connections. With two configurations, what differs between them; `!` marks mail that
/// would go with less protection than before, which nobody is told of otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject tls-matrix ecelerity.conf --domain partner.example
  traject tls-matrix old.conf new.conf --binding bulk
  traject tls-matrix ecelerity.conf --json")]
pub(crate) struct Args {
    /// The configuration
    #[arg(value_name = "CONFIG")]
    config: PathBuf,

    /// Compare with this one
    #[arg(value_name = "OTHER")]
    other: Option<PathBuf>,

    /// Mail of this binding
    #[arg(long, value_name = "NAME", default_value = "default")]
    binding: String,

    /// Mail to this domain
    #[arg(long, value_name = "NAME", default_value = "receiver.example")]
    domain: String,

    /// As JSON
    #[arg(long)]
    json: bool,
}

/// One configuration's matrix.
#[derive(Debug, Serialize)]
struct Page {
    config: String,
    #[serde(flatten)]
    matrix: Matrix,
}

/// Fills one matrix or two and shows them.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let mut pages = vec![fill(args, &args.config)?];
    if let Some(other) = &args.other {
        pages.push(fill(args, other)?);
    }
    let text = match (args.json, &pages[..]) {
        (true, pages) => {
            // Unwrap is OK because a matrix is plain data with text keys.
            serde_json::to_string_pretty(pages).expect("a matrix can be written") + "\n"
        }
        (false, [before, after]) => comparison(before, after),
        (false, pages) => table(&pages[0]),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::new(ErrorKind::System, anyhow!(error)))
        }
        _ => Ok(()),
    }
}

fn fill(args: &Args, path: &Path) -> Result<Page, CommandError> {
    let name = path.display().to_string();
    let (config, _) = diagnostics::load_usable(&name, Severity::Error)?;
    let config = Arc::new(config);
    let pair = Pair {
        binding: args.binding.as_str().into(),
        domain: args.domain.to_ascii_lowercase().into(),
    };
    match tls_matrix::fill(&config, &pair) {
        Ok(matrix) => Ok(Page { config: name, matrix }),
        Err(MatrixError::Pair(error)) => {
            let story = sim::findings_of_scenario(&error);
            let whom = format!("no mail of {} to {}", pair.binding, pair.domain);
            Err(CommandError::new(ErrorKind::Config, anyhow!("{whom}: {story}")))
        }
        Err(MatrixError::Failed(failure)) => {
            Err(CommandError::new(ErrorKind::Invariant, anyhow!("{failure}")))
        }
    }
}

fn table(page: &Page) -> String {
    let Matrix { binding, domain, cells } = &page.matrix;
    let mut text = format!("TLS of mail of {binding} to {domain}, {}\n\n", page.config);
    let row = |name: &str, time: &str, tries: &str, conns: &str, fate: &str| {
        format!("{name:<33} {time:>8} {tries:>6} {conns:>6}  {fate}\n")
    };
    text += &row("receiver", "after", "tries", "conns", "what becomes of the mail");
    for cell in cells {
        let (tries, conns) = (cell.attempts.to_string(), cell.connections.to_string());
        text += &row(cell.posture, &time(cell), &tries, &conns, &cell.fate.text());
    }
    text
}

fn comparison(before: &Page, after: &Page) -> String {
    let Matrix { binding, domain, .. } = &before.matrix;
    let mut text = format!("TLS of mail of {binding} to {domain}\n");
    text += &format!("  - {}\n  + {}\n", before.config, after.config);
    let (mut same, mut downgrades) = (0, 0);
    for (old, new) in before.matrix.cells.iter().zip(&after.matrix.cells) {
        if old == new {
            same += 1;
            continue;
        }
        let downgraded = old.fate.is_downgraded_to(&new.fate);
        downgrades += u32::from(downgraded);
        let mark = if downgraded { "! less protection than before" } else { "" };
        text += &format!("\n{:<33} {mark}\n", old.posture);
        for (sign, cell) in [('-', old), ('+', new)] {
            let Cell { attempts, connections, fate, .. } = cell;
            let (fate, time) = (fate.text(), time(cell));
            text += &format!("  {sign} {time:>6}, tries {attempts}, conns {connections}: {fate}\n");
        }
    }
    let text: Vec<_> = text.lines().map(str::trim_end).collect();
    format!("{}\n\n{same} alike, {downgrades} with less protection\n", text.join("\n"))
}

/// When it was settled.
fn time(cell: &Cell) -> String {
    describe::short(cell.settled_s.map(Duration::from_secs_f64))
}

#[cfg(test)]
mod tests {
    use traject_engine::record::ClearReason;
    use traject_engine::tls::info::TlsVersion;
    use traject_sim::tls_matrix::Fate;

    use super::*;

    fn page(config: &str, fates: [Fate; 3]) -> Page {
        let names = ["nothing wrong", "STARTTLS not offered", "handshake cut"];
        let cell = |(posture, fate)| Cell {
            posture,
            fate,
            attempts: 1,
            settled_s: Some(0.33),
            connections: 1,
        };
        let cells = names.into_iter().zip(fates).map(cell).collect();
        let (binding, domain) = ("bulk".into(), "x.example".into());
        Page { config: config.into(), matrix: Matrix { binding, domain, cells } }
    }

    fn old() -> Page {
        let waits = Fate::Waits { reply: "451 4.7.6 STARTTLS required but not advertised".into() };
        let tls = Fate::Tls { version: TlsVersion::Tls13, verified: false };
        page("old.conf", [tls, waits.clone(), waits])
    }

    #[test]
    fn a_table() {
        insta::assert_snapshot!(table(&old()), @"
        TLS of mail of bulk to x.example, old.conf

        receiver                             after  tries  conns  what becomes of the mail
        nothing wrong                        330ms      1      1  TLSv1.3, not verified
        STARTTLS not offered                 330ms      1      1  waits, is given up: 451 4.7.6 STARTTLS required but not advertised
        handshake cut                        330ms      1      1  waits, is given up: 451 4.7.6 STARTTLS required but not advertised
        ");
    }

    #[test]
    fn silent_downgrades_are_marked() {
        let tls = Fate::Tls { version: TlsVersion::Tls13, verified: false };
        let clear = Fate::Clear { why: ClearReason::NotOffered };
        let fails = Fate::Fails { reply: "550 5.7.10 no".into() };
        let new = page("new.conf", [tls, clear, fails]);
        insta::assert_snapshot!(comparison(&old(), &new), @"
        TLS of mail of bulk to x.example
          - old.conf
          + new.conf

        STARTTLS not offered              ! less protection than before
          -  330ms, tries 1, conns 1: waits, is given up: 451 4.7.6 STARTTLS required but not advertised
          +  330ms, tries 1, conns 1: in clear: not offered

        handshake cut
          -  330ms, tries 1, conns 1: waits, is given up: 451 4.7.6 STARTTLS required but not advertised
          +  330ms, tries 1, conns 1: fails: 550 5.7.10 no

        1 alike, 1 with less protection
        ");
    }
}
