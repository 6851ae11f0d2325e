//! `traject profiles`: what is said in public about how receivers treat senders.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use traject_sim::profile::{self, Profile, Value};

use crate::error::{CommandError, ErrorKind};
use crate::explain::print_columns;

/// List the profiles of receivers, or show one with its sources
///
/// Scenarios name a profile as `profile = "google"` in a `[[receiver]]`. Profiles are put together
/// from public sources; no receiver promises any of it, and all of it ages.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  traject profiles                   all that are built in
  traject profiles google            its values, each with source, date and confidence
  traject profiles mine.toml         the same of a file
  traject profiles --json            everything")]
pub(crate) struct Args {
    /// A profile that is built in, or a file whose name ends in .toml
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Print JSON: an array of profiles, or one
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonProfile<'a> {
    name: &'a str,
    title: &'a str,
    about: &'a str,
    exchanges: &'a [String],
    values: &'a [Value],
}

impl<'a> JsonProfile<'a> {
    fn of(profile: &'a Profile) -> Self {
        let Profile { name, title, about, exchanges, values, .. } = profile;
        Self { name, title, about: about.trim(), exchanges, values }
    }
}

/// Lists or shows.
pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let printed = match &args.name {
        None if args.json => {
            print_json(&profile::built_in().iter().map(JsonProfile::of).collect::<Vec<_>>())
        }
        None => list(profile::built_in()),
        Some(name) => {
            let profile = find(name)?;
            if args.json { print_json(&JsonProfile::of(&profile)) } else { show(&profile) }
        }
    };
    let printed = printed.context("cannot print the profiles");
    printed.map_err(|error| CommandError::new(ErrorKind::System, error))
}

fn find(name: &str) -> Result<Profile, CommandError> {
    let wrong = |error| CommandError::new(ErrorKind::Config, error);
    if !name.ends_with(".toml") {
        let unknown = || {
            let names: Vec<&str> = profile::built_in().iter().map(|one| &*one.name).collect();
            wrong(anyhow!("there is no profile `{name}`; there are {}", names.join(", ")))
        };
        return profile::find(name).cloned().ok_or_else(unknown);
    }
    let text = std::fs::read_to_string(name);
    let text = text.with_context(|| format!("cannot read {name}")).map_err(wrong)?;
    profile::parse(name, Path::new(name), &text).map_err(|error| wrong(anyhow!("{error}")))
}

fn print_json<T: Serialize>(value: &T) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

fn list(profiles: &[Profile]) -> io::Result<()> {
    let head = ["PROFILE", "RECEIVER", "VALUES", "NEWEST"].map(str::to_owned);
    let row = |profile: &Profile| {
        let newest = profile.values.iter().map(|value| value.as_of.as_str()).max();
        let values = profile.values.len().to_string();
        [profile.name.to_string(), profile.title.clone(), values, newest.unwrap_or("").to_owned()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(profiles.iter().map(row)).collect();
    print_columns(&rows)
}

fn show(profile: &Profile) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} ({})", profile.title, profile.exchanges.join(", "))?;
    if !profile.about.is_empty() {
        writeln!(out, "{}", profile.about.trim())?;
    }
    writeln!(out, "Public sources say so; the receiver does not promise it.\n")?;
    drop(out);
    let head = ["VALUE", "IS", "CONFIDENCE", "AS OF"].map(str::to_owned);
    let cells = |value: &Value| {
        let Value { what, value, as_of, confidence, .. } = value;
        [what.clone(), value.clone(), confidence.to_string(), as_of.clone()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(profile.values.iter().map(cells)).collect();
    print_columns(&rows)?;
    let mut out = io::stdout().lock();
    for value in &profile.values {
        writeln!(out, "\n{}", value.what)?;
        writeln!(out, "  does    {}", value.does)?;
        writeln!(out, "  source  {}", value.source)?;
        if !value.note.is_empty() {
            writeln!(out, "  note    {}", value.note)?;
        }
    }
    Ok(())
}
