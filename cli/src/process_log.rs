//! What a person, or whatever gathers logs, should know about the process itself. It goes to
//! standard error, in either of two forms.

use std::io::{self, IsTerminal as _};

use anyhow::anyhow;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use traject_engine::config::{Config, Diagnostic, Severity, Sources};

use crate::diagnostics;
use crate::error::{CommandError, ErrorKind};

/// The form of what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
}

impl LogFormat {
    /// From now on, everything that is traced is told.
    pub(crate) fn start(self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_target(false);
        match self {
            Self::Text => log.with_ansi(io::stderr().is_terminal()).init(),
            Self::Json => log.json().flatten_event(true).with_current_span(false).init(),
        }
    }

    /// Loads the configuration; what is wrong with it is told.
    pub(crate) fn load(self, path: &str) -> Result<(Config, Sources), CommandError> {
        if self == Self::Text {
            return diagnostics::load_usable(path, Severity::Warning);
        }
        let loaded = diagnostics::load(path);
        for finding in &loaded.diagnostics {
            tell(finding, &loaded.sources);
        }
        match loaded.config {
            Some(config) => Ok((config, loaded.sources)),
            None => Err(CommandError::new(ErrorKind::Config, anyhow!("{path} cannot be used"))),
        }
    }

    /// Tells why the process ends, in the same form as everything else.
    pub(crate) fn tell_end(self, error: CommandError) -> CommandError {
        match self {
            Self::Text => error,
            Self::Json => {
                tracing::error!("{}", error.text().trim_start_matches("error: ").trim_end());
                error.into_reported()
            }
        }
    }
}

fn tell(finding: &Diagnostic, sources: &Sources) {
    let place = finding.span.map(|span| {
        let at = sources.line_column(span.file, span.start);
        format!("{}:{}:{}", sources.name(span.file), at.line, at.column)
    });
    let Diagnostic { message, code, label, help, .. } = finding;
    let (help, label) = (help.as_deref(), (!label.is_empty()).then_some(&**label));
    match finding.severity {
        Severity::Error => tracing::error!(place, code, label, help, "{message}"),
        Severity::Warning => tracing::warn!(place, code, label, help, "{message}"),
    }
}
