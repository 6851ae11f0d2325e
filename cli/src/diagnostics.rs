//! Findings about a configuration on the terminal and as JSON, and loading one for a verb.

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use anyhow::anyhow;
use serde::Serialize;
use traject_engine::config::options::{Status, reference};
use traject_engine::config::{Config, Diagnostic, FileId, Loaded, Severity, Sources, Span};
use traject_net::config_files::{self, FileSystem};

use crate::error::{CommandError, ErrorKind};

/// Loads a configuration from the file system, without saying anything.
pub(crate) fn load(path: &str) -> Loaded {
    Config::load(path, &mut FileSystem, &config_files::host_facts())
}

/// Loads a configuration that a verb is to use. What was found goes to standard error, if it is
/// at least as bad as `least`; with errors the verb ends.
pub(crate) fn load_usable(path: &str, least: Severity) -> Result<(Config, Sources), CommandError> {
    let mut loaded = load(path);
    loaded.diagnostics.retain(|finding| finding.severity >= least);
    print(&loaded.diagnostics, &loaded.sources)
        .map_err(|error| CommandError::new(ErrorKind::System, error))?;
    match loaded.config {
        Some(config) => Ok((config, loaded.sources)),
        None => Err(CommandError::new(ErrorKind::Config, anyhow!("{path} cannot be used"))),
    }
}

/// What to say about an option that has no effect; `None` if it has one.
pub(crate) fn no_effect(status: Status) -> Option<String> {
    (status != Status::Works).then(|| reference::status(status))
}

/// Prints findings to standard error, in the manner of rustc.
pub(crate) fn print(diagnostics: &[Diagnostic], sources: &Sources) -> io::Result<()> {
    let stderr = io::stderr();
    let plain = !stderr.is_terminal() || std::env::var_os("NO_COLOR").is_some();
    let renderer = if plain { Renderer::plain() } else { Renderer::styled() };
    let mut out = io::BufWriter::new(stderr.lock());
    write(&mut out, &renderer, diagnostics, sources)?;
    out.flush()
}

/// Findings as text without colour, as [`print`] shows them.
pub(crate) fn text(diagnostics: &[Diagnostic], sources: &Sources) -> String {
    let mut out = Vec::new();
    // Unwrap is OK because writing to memory cannot fail.
    write(&mut out, &Renderer::plain(), diagnostics, sources).unwrap();
    String::from_utf8_lossy(&out).into_owned()
}

fn write(
    out: &mut impl io::Write,
    renderer: &Renderer,
    diagnostics: &[Diagnostic],
    sources: &Sources,
) -> io::Result<()> {
    for diagnostic in diagnostics {
        writeln!(out, "{}\n", renderer.render(&report(diagnostic, sources)))?;
    }
    Ok(())
}

/// One finding as JSON: lines and columns count from 1, `end_column` is one past the last.
#[derive(Debug, Serialize)]
pub(crate) struct JsonDiagnostic<'a> {
    severity: &'static str,
    code: Option<&'static str>,
    message: &'a str,
    #[serde(flatten)]
    place: Option<JsonPlace<'a>>,
    label: &'a str,
    help: Option<&'a str>,
    related: Vec<JsonRelated<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonPlace<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
}

#[derive(Debug, Serialize)]
struct JsonRelated<'a> {
    #[serde(flatten)]
    place: JsonPlace<'a>,
    label: &'a str,
}

impl<'a> JsonDiagnostic<'a> {
    /// The JSON form of a finding.
    pub(crate) fn new(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Self {
        Self {
            severity: diagnostic.severity.name(),
            code: diagnostic.code,
            message: &diagnostic.message,
            place: diagnostic.span.map(|span| JsonPlace::new(span, sources)),
            label: &diagnostic.label,
            help: diagnostic.help.as_deref(),
            related: diagnostic
                .related
                .iter()
                .map(|(span, label)| JsonRelated { place: JsonPlace::new(*span, sources), label })
                .collect(),
        }
    }
}

impl<'a> JsonPlace<'a> {
    fn new(span: Span, sources: &'a Sources) -> Self {
        let from = sources.line_column(span.file, span.start);
        let to = sources.line_column(span.file, span.end);
        Self {
            file: sources.name(span.file),
            line: from.line,
            column: from.column,
            end_line: to.line,
            end_column: to.column,
        }
    }
}

fn report<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&*diagnostic.message);
    let mut group = Group::with_title(match diagnostic.code {
        Some(code) => title.id(code),
        None => title,
    });
    if let Some(span) = diagnostic.span {
        group = group.elements(snippets(span, diagnostic, sources));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(&**help));
    }
    vec![group]
}

/// A snippet for each file that is concerned, that of the finding itself first.
fn snippets<'a>(
    primary: Span,
    diagnostic: &'a Diagnostic,
    sources: &'a Sources,
) -> Vec<Snippet<'a, Annotation<'a>>> {
    let mut files = vec![primary.file];
    for (span, _) in &diagnostic.related {
        if !files.contains(&span.file) {
            files.push(span.file);
        }
    }
    let marks = |file: FileId| {
        let related = diagnostic
            .related
            .iter()
            .map(|(span, label)| (*span, label.as_str(), AnnotationKind::Context));
        [(primary, diagnostic.label.as_str(), AnnotationKind::Primary)]
            .into_iter()
            .chain(related)
            .filter(move |(span, ..)| span.file == file)
    };
    files
        .into_iter()
        .map(|file| {
            let start = marks(file).map(|(span, ..)| span.start).min().unwrap_or(0);
            let end = marks(file).map(|(span, ..)| span.end).max().unwrap_or(0);
            let (text, offset) = sources.lines(file, start, end);
            let line = sources.line_column(file, offset).line as usize;
            let annotations = marks(file).map(|(span, label, kind)| {
                let annotation = kind.span(within(span, offset, text));
                if label.is_empty() { annotation } else { annotation.label(label) }
            });
            Snippet::source(text).path(sources.name(file)).line_start(line).annotations(annotations)
        })
        .collect()
}

/// A span relative to the text it is shown in.
fn within(span: Span, offset: u32, text: &str) -> Range<usize> {
    let start = (span.start.saturating_sub(offset) as usize).min(text.len());
    let end = (span.end.saturating_sub(offset) as usize).clamp(start, text.len());
    start..end
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use traject_engine::config::{ConfigFiles, FileError, HostFacts, SourceFile};

    use super::*;

    struct TwoFiles;

    impl ConfigFiles for TwoFiles {
        fn read(&mut self, path: &str, _: Option<&str>) -> Result<Vec<SourceFile>, FileError> {
            let text = match path {
                "main.conf" => MAIN,
                _ => "binding_group \"h\" { binding \"b\" { } }\n",
            };
            Ok(vec![SourceFile { name: path.to_owned(), text: text.to_owned() }])
        }
    }

    const MAIN: &str = r#"# the names are ours
binding_group "g" { binding "b" { } }
domain "ö.example" {
  retry_intervall = 60
}
relay_hosts = ( 10.0.0.0/8
hostname = mx.test
include other.conf
"#;

    fn loaded() -> Loaded {
        let host = HostFacts { hostname: "mx.test".to_owned() };
        Config::load("main.conf", &mut TwoFiles, &host)
    }

    #[test]
    fn findings_look_like_those_of_rustc() {
        let loaded = loaded();
        let shown: Vec<_> = loaded
            .diagnostics
            .iter()
            .map(|finding| Renderer::plain().render(&report(finding, &loaded.sources)))
            .collect();
        assert_snapshot!(shown.join("\n\n"), @r##"
        error: unknown option `retry_intervall`
         --> main.conf:4:3
          |
        4 |   retry_intervall = 60
          |   ^^^^^^^^^^^^^^^ not an option
          |
          = help: did you mean `retry_interval`?

        error: this list is not closed
         --> main.conf:6:15
          |
        6 | relay_hosts = ( 10.0.0.0/8
          |               ^ opened here
        7 | hostname = mx.test
          | -------- a new option begins here
          |
          = help: add the missing `)`

        error: binding `b` belongs to two groups
         --> other.conf:1:21
          |
        1 | binding_group "h" { binding "b" { } }
          |                     ^^^^^^^^^^^ in group `h`
          |
         ::: main.conf:2:21
          |
        2 | binding_group "g" { binding "b" { } }
          |                     ----------- in group `g`
          |
          = help: a binding is in one group or in none; use another name for one of them
        "##);
    }

    #[test]
    fn findings_as_json() {
        let loaded = loaded();
        let first = JsonDiagnostic::new(&loaded.diagnostics[0], &loaded.sources);
        assert_snapshot!(serde_json::to_string_pretty(&first).unwrap(), @r##"
        {
          "severity": "error",
          "code": null,
          "message": "unknown option `retry_intervall`",
          "file": "main.conf",
          "line": 4,
          "column": 3,
          "end_line": 4,
          "end_column": 18,
          "label": "not an option",
          "help": "did you mean `retry_interval`?",
          "related": []
        }
        "##);
    }
}
