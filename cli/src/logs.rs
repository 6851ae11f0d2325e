//! The logs of a daemon: records in each form that was asked for, one file each.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use traject_engine::config::Config;
use traject_engine::record::Record;
use traject_net::clock::SystemClock;
use traject_net::log_lines::LogFormat;
use traject_net::world::Clock as _;

use crate::line_log::{Heartbeat, LineLog, Open, Push, Reopener};

/// Where records are written to.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Logs (appended to, opened anew on SIGHUP)")]
pub(crate) struct Args {
    /// Every record, a JSON object a line; without any of these options, to standard output
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,

    /// Receptions, deliveries and failures in the lines of Momentum's mainlog
    #[arg(long, value_name = "FILE")]
    mainlog: Option<PathBuf>,

    /// Permanent failures with their class in the lines of Momentum's bouncelog
    #[arg(long, value_name = "FILE")]
    bouncelog: Option<PathBuf>,

    /// What clients were refused in the lines of Momentum's rejectlog
    #[arg(long, value_name = "FILE")]
    rejectlog: Option<PathBuf>,
}

/// Every log of a daemon.
#[derive(Debug)]
pub(crate) struct Logs {
    records: Option<LineLog>,
    lines: Vec<(LogFormat, LineLog)>,
    config: Arc<Config>,
    /// Used again and again.
    buffer: String,
}

impl Logs {
    /// Opens the files; `config` is in force at first.
    pub(crate) fn open(
        args: &Args,
        config: Arc<Config>,
        clock: SystemClock,
    ) -> anyhow::Result<Self> {
        let others = [
            (LogFormat::Main, &args.mainlog),
            (LogFormat::Bounce, &args.bouncelog),
            (LogFormat::Reject, &args.rejectlog),
        ];
        let mut lines = Vec::new();
        for (format, path) in others {
            let Some(path) = path else { continue };
            let heartbeat = Heartbeat { every: HEARTBEAT_TIME, push: heartbeat(format, clock) };
            lines.push((format, start(path, Some(heartbeat))?));
        }
        let records = match &args.records {
            Some(path) => Some(start(path, None)?),
            None if lines.is_empty() => Some(to_standard_output()?),
            None => None,
        };
        Ok(Self { records, lines, config, buffer: String::new() })
    }

    /// Writes a record wherever it belongs.
    pub(crate) fn add(&mut self, record: &Record) {
        if let Some(log) = &self.records {
            log.add(|lines| {
                // Unwrap is OK because a record has no map with keys that are not strings, and
                // writing to a vector does not fail.
                serde_json::to_writer(&mut *lines, record).unwrap();
                lines.push(b'\n');
            });
        }
        for (format, log) in &self.lines {
            self.buffer.clear();
            format.push_lines(&mut self.buffer, record, &self.config);
            if !self.buffer.is_empty() {
                log.add(|lines| lines.extend_from_slice(self.buffer.as_bytes()));
            }
        }
    }

    /// Another configuration is in force.
    pub(crate) fn reconfigure(&mut self, config: Arc<Config>) {
        self.config = config;
    }

    /// For each log, what opens its file anew.
    pub(crate) fn reopeners(&self) -> Vec<Reopener> {
        let lines = self.lines.iter().map(|(_, log)| log);
        self.records.iter().chain(lines).map(LineLog::reopener).collect()
    }
}

fn start(path: &Path, heartbeat: Option<Heartbeat>) -> anyhow::Result<LineLog> {
    let name = path.display().to_string();
    let path = path.to_owned();
    let open: Open = Box::new(move || {
        let file = File::options().append(true).create(true).open(&path)?;
        Ok(Box::new(file) as Box<dyn Write + Send>)
    });
    let cannot = format!("cannot open {name}");
    LineLog::start(name, open, heartbeat).context(cannot)
}

fn to_standard_output() -> io::Result<LineLog> {
    let open: Open = Box::new(|| Ok(Box::new(io::stdout()) as Box<dyn Write + Send>));
    LineLog::start("standard output".to_owned(), open, None)
}

fn heartbeat(format: LogFormat, clock: SystemClock) -> Push {
    Box::new(move |lines| {
        let mut line = String::new();
        format.push_heartbeat(&mut line, clock.now());
        lines.extend_from_slice(line.as_bytes());
    })
}

/// How often a log says that the daemon is alive (`heartbeat` of the original's `ec_logger`).
const HEARTBEAT_TIME: Duration = Duration::from_secs(60);
