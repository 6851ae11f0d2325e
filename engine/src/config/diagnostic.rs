//! What is wrong with a configuration, as data. Whoever shows it decides what it looks like.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::source::Span;
use crate::limits;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration can be used; it may not do what its author expects.
    Warning,
    /// The configuration cannot be used.
    Error,
}

impl Severity {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// The code of its [`Lint`](super::lint::Lint), of those that have one.
    pub code: Option<&'static str>,
    /// What, in one sentence without a full stop.
    pub message: String,
    /// Where; `None` when no text is at fault (the entry file is missing).
    pub span: Option<Span>,
    /// What to write beside the marked text.
    pub label: String,
    /// Other places that matter, each with its own label.
    pub related: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Some(span), message.into())
    }

    /// A warning at `span`.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Some(span), message.into())
    }

    /// An error that is in no text.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, None, message.into())
    }

    /// The lint it is of.
    #[must_use]
    pub const fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Words beside the marked text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Another place that matters.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// Whether the configuration cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn new(severity: Severity, span: Option<Span>, message: String) -> Self {
        Self {
            severity,
            code: None,
            message,
            span,
            label: String::new(),
            related: Vec::new(),
            help: None,
        }
    }
}

/// The findings about one configuration, bounded by [`limits::CONFIG_DIAGNOSTICS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    /// Adds one.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= limits::CONFIG_DIAGNOSTICS_MAX {
            self.kept.push(diagnostic);
        }
    }

    /// Whether a further error would be kept: if not, it need not be put together with care.
    pub(super) fn want_errors(&self) -> bool {
        self.errors < limits::CONFIG_DIAGNOSTICS_MAX
    }

    /// Whether the configuration cannot be used.
    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// All of them in the order of the text, and how many were not kept.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.kept.sort_by_key(|diagnostic| diagnostic.span);
        let counts = [(self.errors, Severity::Error), (self.warnings, Severity::Warning)];
        for (count, severity) in counts {
            if let Some(more @ 1..) = count.checked_sub(limits::CONFIG_DIAGNOSTICS_MAX) {
                let message = format!("{more} more {}s are not shown", severity.name());
                self.kept.push(Diagnostic::new(severity, None, message));
            }
        }
        self.kept
    }
}
