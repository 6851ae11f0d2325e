//! The logs of a daemon: records in each form that was asked for, one file each.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use traject_engine::config::Config;
use traject_engine::config::effective::{LogFile, LogKind};
use traject_engine::record::Record;
use traject_net::clock::SystemClock;
use traject_net::log_lines;
use traject_net::world::Clock as _;

use crate::line_log::{Heartbeat, LineLog, Open, Push, Reopener};

/// Where records are written to.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Logs (appended to, opened anew on SIGHUP)")]
pub(crate) struct Args {
    /// Every record, a JSON object a line; to standard output where no log is named, here or in the
    /// configuration
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,

    /// Receptions, deliveries and failures in the lines of Momentum's mainlog, instead of the files
    /// in `ec_logger`
    #[arg(long, value_name = "FILE")]
    mainlog: Option<PathBuf>,

    /// Failures with their class in the lines of Momentum's bouncelog, instead of the files in
    /// `bounce_logger`
    #[arg(long, value_name = "FILE")]
    bouncelog: Option<PathBuf>,

    /// What clients were refused in the lines of Momentum's rejectlog, instead of the files in
    /// `ec_logger`
    #[arg(long, value_name = "FILE")]
    rejectlog: Option<PathBuf>,
}

impl Args {
    /// The files of lines to be written: those named here, else those of the configuration.
    fn files(&self, config: &Config) -> Vec<LogFile> {
        let here = [
            (LogKind::Main, &self.mainlog),
            (LogKind::Bounce, &self.bouncelog),
            (LogKind::Reject, &self.rejectlog),
        ];
        let configured = config.log_files();
        let mut files = Vec::new();
        for (kind, path) in here {
            match path {
                Some(path) => {
                    let path = Some(path.to_string_lossy().into());
                    files.push(LogFile { path, ..config.log_file(kind) });
                }
                None => files.extend(configured.iter().filter(|file| file.kind == kind).cloned()),
            }
        }
        files
    }
}

/// Every log of a daemon.
#[derive(Debug)]
pub(crate) struct Logs {
    args: Args,
    records: Option<LineLog>,
    lines: Vec<(LogFile, LineLog)>,
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
        let mut lines = Vec::new();
        for file in args.files(&config) {
            let Some(path) = file.path.clone() else { continue };
            let (every, push) = (file.heartbeat, heartbeat(file.kind, clock));
            let heartbeat = (!every.is_zero()).then_some(Heartbeat { every, push });
            let log = start(Path::new(&*path), file.mode, heartbeat)?;
            lines.push((file, log));
        }
        let records = match &args.records {
            Some(path) => Some(start(path, RECORDS_MODE, None)?),
            None if lines.is_empty() => Some(to_standard_output()?),
            None => None,
        };
        Ok(Self { args: args.clone(), records, lines, config, buffer: String::new() })
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
        for (file, log) in &self.lines {
            self.buffer.clear();
            log_lines::push_lines(file, &mut self.buffer, record, &self.config);
            if !self.buffer.is_empty() {
                log.add(|lines| lines.extend_from_slice(self.buffer.as_bytes()));
            }
        }
    }

    /// Another configuration is in force. What is written down changes with it, the files do not:
    /// those are opened once.
    pub(crate) fn reconfigure(&mut self, config: Arc<Config>) {
        for wanted in self.args.files(&config) {
            let same = |(file, _): &&mut (LogFile, LineLog)| {
                (file.kind, &file.path) == (wanted.kind, &wanted.path)
            };
            if let Some((file, _)) = self.lines.iter_mut().find(same) {
                file.lines = wanted.lines;
            }
        }
        self.config = config;
    }

    /// For each log, what opens its file anew.
    pub(crate) fn reopeners(&self) -> Vec<Reopener> {
        let lines = self.lines.iter().map(|(_, log)| log);
        self.records.iter().chain(lines).map(LineLog::reopener).collect()
    }
}

fn start(path: &Path, mode: u32, heartbeat: Option<Heartbeat>) -> anyhow::Result<LineLog> {
    let name = path.display().to_string();
    let path = path.to_owned();
    let open: Open = Box::new(move || {
        let file = File::options().append(true).create(true).mode(mode).open(&path)?;
        Ok(Box::new(file) as Box<dyn Write + Send>)
    });
    let cannot = format!("cannot open {name}");
    LineLog::start(name, open, heartbeat).context(cannot)
}

fn to_standard_output() -> io::Result<LineLog> {
    let open: Open = Box::new(|| Ok(Box::new(io::stdout()) as Box<dyn Write + Send>));
    LineLog::start("standard output".to_owned(), open, None)
}

fn heartbeat(kind: LogKind, clock: SystemClock) -> Push {
    Box::new(move |lines| {
        let mut line = String::new();
        log_lines::push_heartbeat(kind, &mut line, clock.now());
        lines.extend_from_slice(line.as_bytes());
    })
}

/// Permissions of the records when they are made, as far as the process's umask allows.
const RECORDS_MODE: u32 = 0o644;
