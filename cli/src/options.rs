//! `traject options`: the reference of the configuration's options.

use std::io::{self, Write as _};

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use traject_engine::config::explain::near_options;
use traject_engine::config::options::reference;
use traject_engine::config::options::{OptionId, OptionSpec};
use traject_engine::config::scope::ScopeKind;

use crate::error::{CommandError, ErrorKind};
use crate::explain::print_columns;

/// List the options and stanzas of the configuration, or tell all about some of them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject options                        every option with its status
  traject options retry_interval host    what they mean, where they can be set
  traject options --markdown             the reference as one document
  traject options --json tls             the same as JSON")]
pub(crate) struct Args {
    /// Names, or parts of names
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print an array of JSON objects
    #[arg(long, conflicts_with = "markdown")]
    json: bool,

    /// Print Markdown
    #[arg(long)]
    markdown: bool,
}

/// A row of the reference.
#[derive(Clone, Copy)]
enum Row {
    Option(&'static OptionSpec),
    Stanza(ScopeKind),
}

impl Row {
    fn all() -> Vec<Self> {
        let options = OptionId::all().map(|id| Self::Option(id.spec()));
        let mut all: Vec<_> = options.chain(reference::stanzas().map(Self::Stanza)).collect();
        all.sort_by_key(|row| row.name().to_ascii_lowercase());
        all
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Option(spec) => spec.name,
            Self::Stanza(kind) => kind.name(),
        }
    }

    fn is_called(self, name: &str) -> bool {
        let aliases = match self {
            Self::Option(spec) => spec.aliases,
            Self::Stanza(_) => &[],
        };
        let mut names = [self.name()].into_iter().chain(aliases.iter().copied());
        names.any(|known| known.eq_ignore_ascii_case(name))
    }

    fn status(self) -> String {
        match self {
            Self::Option(spec) => reference::status(spec.status),
            Self::Stanza(kind) => reference::stanza_status(kind),
        }
    }

    const fn default(self) -> &'static str {
        match self {
            Self::Option(spec) => spec.default,
            Self::Stanza(_) => "",
        }
    }

    fn text(self) -> String {
        match self {
            Self::Option(spec) => reference::text(spec),
            Self::Stanza(kind) => reference::stanza_text(kind),
        }
    }

    fn json(self) -> JsonRow {
        let (aliases, family, kind, scopes, doc) = match self {
            Self::Option(spec) => (
                spec.aliases,
                spec.family,
                spec.kind.to_string(),
                spec.scopes,
                reference::doc(spec),
            ),
            Self::Stanza(kind) => {
                let doc = kind.doc().to_owned();
                (&[][..], "stanza", "stanza".to_owned(), kind.parents(), doc)
            }
        };
        JsonRow {
            name: self.name(),
            aliases,
            family,
            status: self.status(),
            kind,
            default: Some(self.default()).filter(|default| !default.is_empty()),
            scopes: scopes.iter().map(|kind| kind.name()).collect(),
            doc,
            page: match self {
                Self::Option(spec) => Some(spec.page),
                Self::Stanza(_) => None,
            },
        }
    }
}

#[derive(Serialize)]
struct JsonRow {
    name: &'static str,
    aliases: &'static [&'static str],
    family: &'static str,
    status: String,
    #[serde(rename = "type")]
    kind: String,
    default: Option<&'static str>,
    scopes: Vec<&'static str>,
    doc: String,
    page: Option<&'static str>,
}

/// Tells.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let rows = select(&args.names)?;
    show(args, &rows)
        .context("cannot print the reference")
        .map_err(|error| CommandError::new(ErrorKind::System, error))
}

/// What has these names; where nothing has a name, what has it as part of its own.
fn select(names: &[String]) -> Result<Vec<Row>, CommandError> {
    let all = Row::all();
    if names.is_empty() {
        return Ok(all);
    }
    let mut selected = Vec::new();
    for name in names {
        let wanted = name.to_ascii_lowercase();
        let like = |row: &&Row| row.name().to_ascii_lowercase().contains(&wanted);
        let mut found: Vec<_> = all.iter().filter(|row| row.is_called(name)).copied().collect();
        if found.is_empty() {
            found = all.iter().filter(like).copied().collect();
        }
        if found.is_empty() {
            let error =
                CommandError::new(ErrorKind::Config, anyhow!("no option is called `{name}`"));
            return Err(match near_options(name) {
                Some(near) => error.hint(near),
                None => error.hint("`traject options` lists them all"),
            });
        }
        selected.extend(found);
    }
    Ok(selected)
}

fn show(args: &Args, rows: &[Row]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        let rows: Vec<_> = rows.iter().map(|row| row.json()).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
    } else if args.markdown {
        let options = rows.iter().filter_map(|row| match row {
            Row::Option(spec) => Some(*spec),
            Row::Stanza(_) => None,
        });
        let options: Vec<_> = options.collect();
        let whole = args.names.is_empty();
        let text = if whole { reference::document() } else { reference::markdown(&options) };
        write!(out, "{text}")?;
    } else if args.names.is_empty() {
        drop(out);
        let mut table = vec![["OPTION", "DEFAULT", "STATUS"].map(String::from)];
        table.extend(
            rows.iter().map(|row| [row.name().to_owned(), row.default().to_owned(), row.status()]),
        );
        print_columns(&table)?;
    } else {
        for (index, row) in rows.iter().enumerate() {
            let blank = if index > 0 { "\n" } else { "" };
            write!(out, "{blank}{}", row.text())?;
        }
    }
    Ok(())
}
