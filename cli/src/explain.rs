//! `traject explain`: which value applies to this mail, and who set it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use traject_engine::config::explain::{
    Explanation, Found, NoSuchPlace, Question, find_option, near_options, pair_options,
};
use traject_engine::config::options::{OptionId, Status};
use traject_engine::config::{Config, Severity, Sources, Span};

use crate::diagnostics;
use crate::error::{CommandError, ErrorKind};

/// Explain which values apply to mail of a binding to a domain
///
/// Without names of options: a table of those that work or are set. With names: for each of them
/// every place that was looked at, in order, up to the one that counts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject explain ecelerity.conf --binding vip --domain example.com
  traject explain ecelerity.conf --domain example.com retry_interval
  traject explain ecelerity.conf --domain example.com --host mx.example.com --json")]
pub(crate) struct Args {
    /// The configuration file
    #[arg(value_name = "CONFIG")]
    config: String,

    /// Binding of the mail
    #[arg(long, value_name = "NAME", default_value = "default")]
    binding: String,

    /// Group that the binding is expected to be in
    #[arg(long, value_name = "NAME")]
    binding_group: Option<String>,

    /// Domain the mail is for
    #[arg(long, value_name = "NAME")]
    domain: String,

    /// Exchange: tells what its host stanzas say, too
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// Options to explain step by step
    #[arg(value_name = "OPTION")]
    options: Vec<String>,

    /// Print an array of JSON objects
    #[arg(long)]
    json: bool,
}

/// Explains.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let (config, sources) = diagnostics::load_usable(&args.config, Severity::Error)?;
    let asked = Asked {
        binding: &args.binding,
        binding_group: args.binding_group.as_deref(),
        domain: &args.domain,
        host: args.host.as_deref(),
        options: &args.options,
    };
    let (json, text) = explain(&config, &sources, asked)?;
    let shown = if args.json { json + "\n" } else { text };
    io::stdout()
        .lock()
        .write_all(shown.as_bytes())
        .context("cannot print the explanation")
        .map_err(|error| CommandError::new(ErrorKind::System, error))
}

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) binding: &'a str,
    pub(crate) binding_group: Option<&'a str>,
    pub(crate) domain: &'a str,
    pub(crate) host: Option<&'a str>,
    /// Names of options; none for a table of all.
    pub(crate) options: &'a [String],
}

impl<'a> Asked<'a> {
    const fn question(&self) -> Question<'a> {
        let Self { binding, binding_group, domain, host, .. } = *self;
        Question { binding, binding_group, domain, host }
    }
}

/// The explanation as JSON and as text.
pub(crate) fn explain(
    config: &Config,
    sources: &Sources,
    asked: Asked<'_>,
) -> Result<(String, String), CommandError> {
    let options = wanted(asked.options)?;
    let question = asked.question();
    let stories = explain_all(config, question, &options).map_err(|why| refuse(question, &why))?;
    let view = View { sources, host: asked.host };
    let text = match asked.options.is_empty() {
        true => view.table(&stories),
        false => view.stories(&stories),
    };
    Ok((view.json(&stories), text))
}

/// The values of the options that are asked for; `None` for one that is not set and has no default.
pub(crate) fn values(
    config: &Config,
    asked: Asked<'_>,
) -> Result<BTreeMap<&'static str, Option<String>>, CommandError> {
    let mut values = BTreeMap::new();
    for option in wanted(asked.options)? {
        let found = config.explain(asked.question(), option);
        let found = found.map_err(|why| refuse(asked.question(), &why))?;
        values.insert(option.spec().name, found.value);
    }
    Ok(values)
}

/// An explanation, and whether it is about the exchange.
type Story = (Explanation, bool);

fn wanted(names: &[String]) -> Result<Vec<OptionId>, CommandError> {
    if names.is_empty() {
        return Ok(pair_options());
    }
    let find = |name: &String| {
        find_option(name).ok_or_else(|| {
            let error =
                CommandError::new(ErrorKind::Config, anyhow!("no option is called `{name}`"));
            match near_options(name) {
                Some(near) => error.hint(near),
                None => error.hint("`traject options` lists them all"),
            }
        })
    };
    names.iter().map(find).collect()
}

fn explain_all(
    config: &Config,
    question: Question<'_>,
    options: &[OptionId],
) -> Result<Vec<Story>, NoSuchPlace> {
    let mut stories = Vec::new();
    for &option in options {
        stories.push((config.explain(question, option)?, false));
        if let Some(story) = config.explain_host(question, option)? {
            stories.push((story, true));
        }
    }
    Ok(stories)
}

fn refuse(question: Question<'_>, why: &NoSuchPlace) -> CommandError {
    let binding = question.binding;
    let group = question.binding_group.unwrap_or_default();
    let (error, near) = match why {
        NoSuchPlace::Binding(near) => (anyhow!("there is no binding `{binding}`"), near.as_ref()),
        NoSuchPlace::Group(near) => (anyhow!("there is no binding group `{group}`"), near.as_ref()),
        NoSuchPlace::NotInGroup(Some(other)) => {
            (anyhow!("binding `{binding}` is not in group `{group}` but in `{other}`"), None)
        }
        NoSuchPlace::NotInGroup(None) => (anyhow!("binding `{binding}` is in no group"), None),
    };
    let error = CommandError::new(ErrorKind::Config, error);
    match near {
        Some(near) => error.hint(near),
        None => error,
    }
}

#[derive(Serialize)]
struct JsonStory<'a> {
    option: &'a str,
    /// `pair`, or `host` for what holds for the exchange.
    of: &'static str,
    value: Option<&'a str>,
    origin: Option<JsonOrigin<'a>>,
    shared_with: &'a [String],
    chain: Vec<JsonStep<'a>>,
    note: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonOrigin<'a> {
    scope: &'a str,
    file: &'a str,
    line: u32,
}

#[derive(Serialize)]
struct JsonStep<'a> {
    scope: &'a str,
    /// `no stanza`, `not set`, `set` or `built in`.
    found: &'static str,
    value: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
}

/// What explanations are shown with.
struct View<'a> {
    sources: &'a Sources,
    host: Option<&'a str>,
}

impl View<'_> {
    fn json(&self, stories: &[Story]) -> String {
        let stories: Vec<_> = stories.iter().map(|story| self.json_story(story)).collect();
        // Unwrap is OK because stories have no maps.
        serde_json::to_string_pretty(&stories).unwrap()
    }

    fn json_story<'a>(&'a self, (story, of_host): &'a Story) -> JsonStory<'a> {
        let chain = story.chain.iter().map(|step| {
            let (found, span, value) = match &step.found {
                Found::NoStanza => ("no stanza", None, None),
                Found::NotSet(span) => ("not set", *span, None),
                Found::Set(span, value) => ("set", Some(*span), Some(value.as_str())),
                Found::BuiltIn(value) => ("built in", None, value.as_deref()),
            };
            JsonStep {
                scope: &step.scope,
                found,
                value,
                file: span.map(|span| self.sources.name(span.file)),
                line: span.map(|span| self.sources.line(span)),
            }
        });
        JsonStory {
            option: story.option.spec().name,
            of: if *of_host { "host" } else { "pair" },
            value: story.value.as_deref(),
            origin: story.origin.as_ref().map(|origin| JsonOrigin {
                scope: &origin.scope,
                file: self.sources.name(origin.span.file),
                line: self.sources.line(origin.span),
            }),
            shared_with: &story.shared_with,
            chain: chain.collect(),
            note: story.note.as_deref(),
        }
    }

    /// One line an option: those that work, and those that are set although they do not.
    fn table(&self, stories: &[Story]) -> String {
        let mut rows = vec![["OPTION", "VALUE", "SET IN", "AT", ""].map(String::from)];
        for (story, of_host) in stories {
            let spec = story.option.spec();
            let works = spec.status == Status::Works;
            if !works && story.origin.is_none() {
                continue;
            }
            let host = if *of_host { " (host)" } else { "" };
            let remark = match (works, &story.shared_with[..]) {
                (false, _) => "has no effect",
                (true, []) => "",
                (true, _) => "shared",
            };
            rows.push([
                format!("{}{host}", spec.name),
                story.value.clone().unwrap_or_else(|| String::from("-")),
                story
                    .origin
                    .as_ref()
                    .map_or_else(|| String::from("built in"), |at| at.scope.clone()),
                story.origin.as_ref().map_or(String::new(), |at| self.place(at.span)),
                remark.to_owned(),
            ]);
        }
        columns(&rows)
    }

    fn stories(&self, stories: &[Story]) -> String {
        let mut out = String::new();
        // Unwrap is OK because writing to a String cannot fail.
        self.write_stories(&mut out, stories).unwrap();
        out
    }

    fn write_stories(&self, out: &mut String, stories: &[Story]) -> fmt::Result {
        for (index, (story, of_host)) in stories.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            let value = story.value.as_deref().unwrap_or("(no value)");
            let host = match self.host {
                Some(host) if *of_host => format!(" of host {host}"),
                _ => String::new(),
            };
            writeln!(out, "{}{host} = {value}", story.option.spec().name)?;
            for step in &story.chain {
                let found = match &step.found {
                    Found::NoStanza => String::from("no such stanza"),
                    Found::NotSet(Some(span)) => format!("not set ({})", self.place(*span)),
                    Found::NotSet(None) => String::from("not set"),
                    Found::Set(span, value) => format!("{value} ({})", self.place(*span)),
                    Found::BuiltIn(Some(value)) => value.clone(),
                    Found::BuiltIn(None) => String::from("no value"),
                };
                writeln!(out, "  {}: {found}", step.scope)?;
            }
            if !story.shared_with.is_empty() {
                writeln!(out, "  shared with {}", story.shared_with.join(", "))?;
            }
            if let Some(note) = &story.note {
                writeln!(out, "  note: {note}")?;
            }
            if let Some(effect) = diagnostics::no_effect(story.option.spec().status) {
                writeln!(out, "  note: {effect}")?;
            }
        }
        Ok(())
    }

    fn place(&self, span: Span) -> String {
        format!("{}:{}", self.sources.name(span.file), self.sources.line(span))
    }
}

/// Prints rows in columns as wide as their widest cell.
pub(crate) fn print_columns<const N: usize>(rows: &[[String; N]]) -> io::Result<()> {
    io::stdout().lock().write_all(columns(rows).as_bytes())
}

/// Rows in columns as wide as their widest cell.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
