//! Profiles of receivers, and `profile = ` in `[[receiver]]`.

use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::super::diagnostic::{Diagnostics, Position, ScenarioError};
use super::super::reader::Table;
use super::super::units::show_duration;
use super::{limit, receiver, tls};
use crate::profile::{self, Confidence, Parts, Profile, Value};
use crate::receiver::spec::{Block, Limit, Limited, Protocol, Rule, Stage, Uncertain};
use crate::receiver::tls::TlsOffering;

/// Reads a profile. `path` is for messages.
pub fn parse_profile(name: &str, path: &Path, source: &str) -> Result<Profile, ScenarioError> {
    let diagnostics = Diagnostics::default();
    let (root, syntax_errors) = DeTable::parse_recoverable(source);
    for error in &syntax_errors {
        let span = error.span().unwrap_or(0..0);
        diagnostics.error(span, error.message().replace('\n', ", "));
    }
    let profile = if syntax_errors.is_empty() {
        read_profile(name, Table::new(root.get_ref(), 0..0, &diagnostics))
    } else {
        None
    };
    let found = diagnostics.into_sorted();
    match profile {
        Some(profile) if found.is_empty() => Ok(profile),
        _ => Err(ScenarioError {
            path: path.to_owned(),
            source: source.to_owned(),
            diagnostics: found,
        }),
    }
}

fn read_profile(name: &str, root: Table<'_>) -> Option<Profile> {
    if !root.has("name") {
        root.missing("name", "whom it is about, in one line");
    }
    let title = root.text("name");
    let about = root.text("about").map(Spanned::into_inner).unwrap_or_default();
    let exchanges = root.texts("exchanges").unwrap_or_default();
    let mut parts = Parts::default();
    let mut values = Vec::new();
    for table in root.tables("limit") {
        let origin = Origin::read(&table);
        if let Some(limit) = limit::read(table) {
            values.extend(origin.map(|origin| origin.of(limit_words(&limit))));
            parts.limits.push(limit);
        }
    }
    if let Some(table) = root.table("unknown") {
        let origin = Origin::read(&table);
        parts.unknown = limit::read_unknown(table);
        if let (Some(origin), Some(unknown)) = (origin, &parts.unknown) {
            let does = format!("says {}", unknown.reply);
            let patterns = unknown.recipients.iter().map(|one| one.as_str().to_owned());
            let mut which: Vec<String> = patterns.collect();
            if unknown.share > 0.0 {
                which.insert(0, percent(unknown.share));
            }
            values.push(origin.of(("unknown mailboxes".into(), which.join(", "), does)));
            if let Some(trip) = &unknown.trip {
                let value = format!("more than {} of {}", percent(trip.share), trip.of);
                let does = block_words(&trip.block);
                values.push(origin.of(("too many unknown mailboxes".into(), value, does)));
            }
        }
    }
    if let Some(table) = root.table("greylist") {
        let origin = Origin::read(&table);
        parts.greylist = receiver::read_greylist(table);
        if let (Some(origin), Some(greylist)) = (origin, &parts.greylist) {
            let hold = length_words(greylist.hold, greylist.range);
            let does = format!("says {}", greylist.reply);
            values.push(origin.of(("greylist hold".into(), hold, does)));
        }
    }
    for table in root.tables("reply") {
        let origin = Origin::read(&table);
        if let Some(mut rule) = receiver::read_rule(table, Protocol::Smtp) {
            // In a scenario these are addresses of ours; here it says where the value is from.
            rule.source = None;
            values.extend(origin.map(|origin| origin.of(rule_words(&rule))));
            parts.rules.push(rule);
        }
    }
    if let Some(table) = root.table("ehlo") {
        let origin = Origin::read(&table);
        parts.extensions = receiver::read_extensions(&table);
        table.finish();
        let does = "offers what the value says".to_owned();
        let offered = parts.extensions.map(|offered| offered.keywords().join(", "));
        values.extend(origin.map(|one| one.of(("EHLO".into(), offered.unwrap_or_default(), does))));
    }
    if let Some(table) = root.table("tls") {
        let origin = Origin::read(&table);
        let posture = tls::read(table);
        let offers = match posture.offer {
            TlsOffering::Yes => "offers STARTTLS",
            TlsOffering::No | TlsOffering::Stripped => "offers no STARTTLS",
        };
        parts.tls.push(posture);
        values.extend(origin.map(|origin| origin.of(("TLS".into(), "".into(), offers.into()))));
    }
    root.finish();
    let exchanges = exchanges.into_iter().map(Spanned::into_inner).collect();
    let title = title?.into_inner();
    Some(Profile { name: name.into(), title, about, exchanges, parts, values })
}

/// Where a value comes from.
struct Origin {
    source: String,
    as_of: String,
    confidence: Confidence,
    note: String,
}

impl Origin {
    fn read(table: &Table<'_>) -> Option<Self> {
        for (key, hint) in [
            ("source", "who says so: a page, a file, the receiver's own reply"),
            ("as_of", "when the source said so: `as_of = \"2026-02\"`"),
            ("confidence", "`high`, `medium` or `low`"),
        ] {
            if !table.has(key) {
                table.missing(key, hint);
            }
        }
        let source = table.text("source").map(Spanned::into_inner);
        let as_of = table.parsed("as_of", date).map(Spanned::into_inner);
        let confidence = table.word("confidence", &Confidence::NAMES);
        let note = table.text("note").map(Spanned::into_inner).unwrap_or_default();
        Some(Self { source: source?, as_of: as_of?, confidence: confidence?, note })
    }

    fn of(&self, (what, value, does): (String, String, String)) -> Value {
        let Self { source, as_of, confidence, note } = self;
        let (source, as_of, note) = (source.clone(), as_of.clone(), note.clone());
        Value { what, value, does, source, as_of, confidence: *confidence, note }
    }
}

/// `2026`, `2026-02` or `2026-02-23`.
fn date(text: &str) -> Result<String, String> {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let digits = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    match lengths[..] {
        [4] | [4, 2] | [4, 2, 2] if digits => Ok(text.to_owned()),
        _ => Err("a date is a year, perhaps with month and day: `2026-02`".into()),
    }
}

fn limit_words(limit: &Limit) -> (String, String, String) {
    let value = match limit.range {
        None => limit.what.shown(),
        Some(Uncertain { least, most }) => range_of_limits(limit.what, least, most),
    };
    let mut does = limit.response.to_string();
    if let Some(escalation) = &limit.escalation {
        let within = show_duration(escalation.within);
        let block = block_words(&escalation.block);
        does.push_str(&format!("; after {} in {within} {block}", escalation.offences));
    }
    (limit.name(), value, does)
}

fn range_of_limits(what: Limited, least: u32, most: u32) -> String {
    let most = what.with_max(most).shown();
    format!("{least} to {most}")
}

fn block_words(block: &Block) -> String {
    format!("{} for {}", block.response, length_words(block.length, block.range))
}

fn length_words(length: Duration, range: Option<Uncertain<Duration>>) -> String {
    match range {
        None => show_duration(length),
        Some(range) => {
            format!("{} to {}", show_duration(range.least), show_duration(range.most))
        }
    }
}

fn rule_words(rule: &Rule) -> (String, String, String) {
    let stage = Stage::NAMES.iter().find(|(_, stage)| *stage == rule.stage);
    let what = format!("reply at {}", stage.map_or("", |(name, _)| name));
    let value = match rule.range {
        Some(range) => format!("{} to {}", percent(range.least), percent(range.most)),
        None if rule.probability.is_constant() => match rule.probability.most() {
            1.0 => "always".to_owned(),
            always => percent(always),
        },
        None => format!("up to {}, by the time", percent(rule.probability.most())),
    };
    let size = rule.larger_than.map(|size| format!("above {size} bytes ")).unwrap_or_default();
    (what, value, format!("{size}{}", rule.response))
}

fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The profile that `profile` names: one that is built in, or a file relative to the scenario's
/// `folder`.
pub(super) fn of_receiver(table: &Table<'_>, folder: &Path) -> Option<Profile> {
    let name = table.text("profile")?;
    let text = name.get_ref();
    if !text.ends_with(".toml") {
        let found = profile::find(text);
        if found.is_none() {
            let message = format!("there is no profile `{text}`");
            let known = profile::built_in().iter().map(|profile| &*profile.name);
            table.diagnostics().unknown(name.span(), message, text, known);
        }
        return found.cloned();
    }
    let path = folder.join(text);
    let read = match std::fs::read_to_string(&path) {
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        Ok(source) => parse_profile(text, &path, &source).map_err(|error| first_of(&error)),
    };
    read.map_err(|why| table.diagnostics().error(name.span(), why)).ok()
}

/// The first thing wrong with a profile, in one line.
fn first_of(error: &ScenarioError) -> String {
    let first = error.diagnostics.first();
    let at = Position::of(&error.source, first.map_or(0, |first| first.span.start));
    let message = first.map_or("", |first| &first.message);
    format!("{}:{}:{}: {message}", error.path.display(), at.line, at.column)
}

/// What `without` leaves out of a profile.
pub(super) fn leave_out(table: &Table<'_>, parts: &mut Parts) {
    for part in table.texts("without").unwrap_or_default() {
        match part.get_ref().as_str() {
            "limit" => parts.limits.clear(),
            "unknown" => parts.unknown = None,
            "greylist" => parts.greylist = None,
            "reply" => parts.rules.clear(),
            "tls" => parts.tls.clear(),
            other => {
                let known = ["limit", "unknown", "greylist", "reply", "tls"];
                let message = format!("`{other}` is not a part of a profile");
                table.diagnostics().unknown(part.span(), message, other, known);
            }
        }
    }
}

/// The limits of a scenario, and those of the profile that limit something else.
pub(super) fn with_limits(mut own: Vec<Limit>, profile: Vec<Limit>) -> Vec<Limit> {
    let names: Vec<String> = own.iter().map(Limit::name).collect();
    own.extend(profile.into_iter().filter(|limit| !names.contains(&limit.name())));
    own
}
