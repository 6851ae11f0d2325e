//! `traject options`: the reference of the configuration's options.

use std::io::{self, Write as _};

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use traject_engine::config::explain::near_options;
use traject_engine::config::options::reference;
use traject_engine::config::options::{OptionId, OptionSpec};

use crate::error::{CommandError, ErrorKind};
use crate::explain::print_columns;

/// List the options of the configuration, or tell all about some of them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject options                        every option with its status
  traject options retry_interval         what it means, where it can be set
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

#[derive(Serialize)]
struct JsonOption {
    name: &'static str,
    aliases: &'static [&'static str],
    family: &'static str,
    status: String,
    #[serde(rename = "type")]
    kind: String,
    default: Option<&'static str>,
    scopes: Vec<&'static str>,
    doc: String,
    page: &'static str,
}

/// Tells.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let options = select(&args.names)?;
    show(args, &options)
        .context("cannot print the reference")
        .map_err(|error| CommandError::new(ErrorKind::System, error))
}

/// The options of these names; where no option has a name, those whose names contain it.
fn select(names: &[String]) -> Result<Vec<&'static OptionSpec>, CommandError> {
    let mut all: Vec<_> = OptionId::all().map(OptionId::spec).collect();
    all.sort_by_key(|spec| spec.name.to_ascii_lowercase());
    if names.is_empty() {
        return Ok(all);
    }
    let mut selected = Vec::new();
    for name in names {
        let wanted = name.to_ascii_lowercase();
        let named = all.iter().filter(|spec| {
            let mut names = [spec.name].into_iter().chain(spec.aliases.iter().copied());
            names.any(|known| known.eq_ignore_ascii_case(name))
        });
        let mut found: Vec<_> = named.copied().collect();
        if found.is_empty() {
            let like = |spec: &&&OptionSpec| spec.name.to_ascii_lowercase().contains(&wanted);
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

fn show(args: &Args, options: &[&'static OptionSpec]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        let options: Vec<_> = options.iter().map(|spec| json(spec)).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&options)?)?;
    } else if args.markdown {
        write!(out, "{}", reference::markdown(options))?;
    } else if args.names.is_empty() {
        drop(out);
        let mut rows = vec![["OPTION", "DEFAULT", "STATUS"].map(String::from)];
        rows.extend(options.iter().map(|spec| {
            [spec.name.to_owned(), spec.default.to_owned(), reference::status(spec.status)]
        }));
        print_columns(&rows)?;
    } else {
        for (index, spec) in options.iter().enumerate() {
            let blank = if index > 0 { "\n" } else { "" };
            write!(out, "{blank}{}", reference::text(spec))?;
        }
    }
    Ok(())
}

fn json(spec: &'static OptionSpec) -> JsonOption {
    JsonOption {
        name: spec.name,
        aliases: spec.aliases,
        family: spec.family,
        status: reference::status(spec.status),
        kind: spec.kind.to_string(),
        default: (!spec.default.is_empty()).then_some(spec.default),
        scopes: spec.scopes.iter().map(|kind| kind.name()).collect(),
        doc: reference::doc(spec),
        page: spec.page,
    }
}
