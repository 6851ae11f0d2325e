//! How a verb fails: a kind, which decides the exit code, an error and hints.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

/// What sort of failure it was. The exit code is part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// An expectation of a scenario did not hold.
    Expectation,
    /// Something in a spool is damaged.
    Damage,
    /// The daemon refused what was asked of it.
    Refused,
    /// The machine refused something we need: a file cannot be written, a port is taken.
    System,
    /// The configuration or the scenario is wrong.
    Config,
    /// Something that whoever wrote a configuration counts on does not hold in every world.
    Promise,
    /// An invariant of the engine was violated.
    Invariant,
    /// Work was left and nothing was going to move it.
    Stuck,
    /// Without end something happened at one instant.
    Spin,
    /// The program panicked.
    Panic,
    /// Ctrl-C ended it: 128 + SIGINT, as a shell counts.
    Interrupted,
}

impl ErrorKind {
    /// The exit code. 0 is success; 2 is also what a wrong command line exits with.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Expectation | Self::Damage | Self::Refused => 1,
            Self::System => 2,
            Self::Config => 3,
            Self::Promise => 4,
            Self::Invariant => 10,
            Self::Stuck => 11,
            Self::Spin | Self::Panic => 12,
            Self::Interrupted => 130,
        }
    }
}

/// The failure of a verb.
#[derive(Debug)]
pub(crate) struct CommandError {
    kind: ErrorKind,
    error: Option<anyhow::Error>,
    hints: Vec<String>,
}

impl CommandError {
    /// A failure with its words still to be printed.
    pub(crate) fn new(kind: ErrorKind, error: impl Into<anyhow::Error>) -> Self {
        Self { kind, error: Some(error.into()), hints: Vec::new() }
    }

    /// A failure whose diagnostics or report have been printed already.
    pub(crate) fn reported(kind: ErrorKind) -> Self {
        Self { kind, error: None, hints: Vec::new() }
    }

    /// The same failure when its words have been printed elsewhere.
    pub(crate) fn into_reported(self) -> Self {
        Self::reported(self.kind)
    }

    /// Adds what the user can do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn is_broken_pipe(&self) -> bool {
        let causes = self.error.iter().flat_map(anyhow::Error::chain);
        let mut causes = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
        causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What to print on standard error; empty when everything was said before.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(error) = &self.error {
            // Unwrap is OK because writing to a String cannot fail.
            writeln!(text, "error: {error:#}").unwrap();
        }
        for hint in &self.hints {
            // Unwrap is OK because writing to a String cannot fail.
            writeln!(text, "hint: {hint}").unwrap();
        }
        text
    }
}

/// Prints a failure and turns the outcome into the exit code of the process.
pub(crate) fn finish(result: Result<(), CommandError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as in `traject options | head`.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", error.text());
            ExitCode::from(error.kind.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_documented_exit_code() {
        let codes = [
            (ErrorKind::Expectation, 1),
            (ErrorKind::Damage, 1),
            (ErrorKind::Refused, 1),
            (ErrorKind::System, 2),
            (ErrorKind::Config, 3),
            (ErrorKind::Promise, 4),
            (ErrorKind::Invariant, 10),
            (ErrorKind::Stuck, 11),
            (ErrorKind::Spin, 12),
            (ErrorKind::Panic, 12),
            (ErrorKind::Interrupted, 130),
        ];
        for (kind, code) in codes {
            assert_eq!(kind.exit_code(), code, "{kind:?}");
        }
    }

    #[test]
    fn the_error_comes_first_and_its_hints_follow() {
        let error = CommandError::new(ErrorKind::System, anyhow::anyhow!("no space").context("F"))
            .hint("free some")
            .hint("or write elsewhere");
        assert_eq!(error.text(), "error: F: no space\nhint: free some\nhint: or write elsewhere\n");
        assert_eq!(CommandError::reported(ErrorKind::Config).text(), "");
    }
}
