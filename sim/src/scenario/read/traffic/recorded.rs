//! `[[traffic]]` with a `trace`: arrivals from a CSV file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::super::super::Places;
use super::super::super::reader::Table;
use super::super::Names;
use super::{
    Entrance, SIZE_MAX, read_fanout, read_from, read_sent_by, read_size, read_start, read_to,
};
use crate::body;
use crate::traffic::recorded::{Mistake, Row};
use crate::traffic::{Fanout, MailboxPattern, SentBy, Shape, TrafficSpec, recorded};

/// The traffic of a recording; where it names bindings, one for each of them.
pub(super) fn read(
    path: &Path,
    (table, name, entrance): (Table<'_>, String, Entrance),
    names: &Names,
    places: &mut Places,
) -> Vec<TrafficSpec> {
    let rows = read_rows(path, &table, names, places).unwrap_or_default();
    let has = |told: fn(&Row) -> bool| !rows.is_empty() && rows.iter().all(told);
    let (tells_from, tells_to) = (has(|row| row.from.is_some()), has(|row| row.to.is_some()));
    let tells_binding = has(|row| row.binding.is_some());
    for (told, key) in [
        (tells_from, "from"),
        (tells_to, "to"),
        (tells_to, "recipients"),
        (has(|row| row.size_bytes.is_some()), "size"),
        (tells_binding, "binding"),
        (tells_binding, "binding_group"),
    ] {
        refuse(&table, told, key, "the recording says it of each message");
    }
    for key in ["messages", "over", "shape", "hours"] {
        refuse(&table, true, key, "the recording says how many messages come when");
    }
    let from = if tells_from || rows.is_empty() { Some(None) } else { read_from(&table) };
    let to = if tells_to || rows.is_empty() { Some(Vec::new()) } else { read_to(&table, names) };
    let spec = TrafficSpec {
        name: name.into(),
        from: from.flatten(),
        to: to.unwrap_or_default(),
        messages: 0,
        start: read_start(&table),
        over: Duration::ZERO,
        shape: Shape::Burst,
        size_bytes: read_size(&table),
        eight_bit: table.boolean("eight_bit").unwrap_or(false),
        recipients: if tells_to { Fanout::Drawn(1..=1) } else { read_fanout(&table) },
        sent_by: if tells_binding {
            SentBy::Binding("default".into())
        } else {
            read_sent_by(&table, entrance.through)
        },
        through: entrance.through,
        client: entrance.client,
    };
    table.finish();
    by_binding(&spec, rows)
}

/// Reports a key that does not go with what the recording tells.
fn refuse(table: &Table<'_>, told: bool, key: &'static str, why: &str) {
    let value = table.get(key);
    if let Some(value) = value.filter(|_| told) {
        table.diagnostics().error(value.span(), format!("`{key}`: {why}"));
    }
}

/// The messages of the file; with a diagnostic for each mistake there, none.
fn read_rows(
    path: &Path,
    table: &Table<'_>,
    names: &Names,
    places: &mut Places,
) -> Option<Vec<Row>> {
    let file = table.text("trace")?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let place = folder.join(file.get_ref());
    let text = match fs::read_to_string(&place) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read {}: {error}", place.display());
            table.diagnostics().error(file.span(), message);
            return None;
        }
    };
    let rows = recorded::read(&text).and_then(|rows| match mistakes(&rows, names) {
        wrong if wrong.is_empty() => Ok(rows),
        wrong => Err(wrong),
    });
    match rows {
        Ok(rows) => {
            let bindings: BTreeSet<&Arc<str>> =
                rows.iter().filter_map(|row| row.binding.as_ref()).collect();
            let named = |name: &Arc<str>| Spanned::new(file.span(), name.to_string());
            places.bindings.extend(bindings.into_iter().map(named));
            Some(rows)
        }
        Err(mistakes) => {
            for Mistake { line, what } in mistakes {
                let message = format!("{}:{line}: {what}", place.display());
                table.diagnostics().error(file.span(), message);
            }
            None
        }
    }
}

/// What the scenario does not allow: domains nobody receives for, and sizes. Each is told once.
fn mistakes(rows: &[Row], names: &Names) -> Vec<Mistake> {
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut mistakes = Vec::new();
    for row in rows {
        let unknown = row.to.iter().flat_map(|to| to.iter()).map(MailboxPattern::domain);
        for domain in unknown.filter(|domain| !names.receives(domain)) {
            if told.insert(domain.to_string()) {
                let what = format!("nobody receives mail for `{domain}`");
                mistakes.push(Mistake { line: row.line, what });
            }
        }
        let fits = |bytes: u64| (body::SIZE_BYTES_MIN..=SIZE_MAX).contains(&bytes);
        if row.size_bytes.is_some_and(|bytes| !fits(bytes)) && told.insert(String::new()) {
            let (least, most) = (body::SIZE_BYTES_MIN, SIZE_MAX / 1_000_000);
            let what = format!("sizes go from {least}B to {most}MB");
            mistakes.push(Mistake { line: row.line, what });
        }
    }
    mistakes
}

/// One traffic for each binding that the recording names; each knows its recipients.
fn by_binding(spec: &TrafficSpec, rows: Vec<Row>) -> Vec<TrafficSpec> {
    let mut parts: BTreeMap<Option<Arc<str>>, Vec<Row>> = BTreeMap::new();
    for row in rows {
        parts.entry(row.binding.clone()).or_default().push(row);
    }
    let part = |(binding, rows): (Option<Arc<str>>, Vec<Row>)| {
        let mut spec = spec.clone();
        if let Some(binding) = binding {
            spec.name = format!("{} of {binding}", spec.name).into();
            spec.sent_by = SentBy::Binding(binding);
        }
        let patterns = rows.iter().flat_map(|row| row.to.iter().flat_map(|to| to.iter()));
        let mut domains = BTreeSet::new();
        let new = |pattern: &&MailboxPattern| domains.insert(Arc::clone(pattern.domain()));
        let known: Vec<_> = patterns.filter(new).map(|pattern| (pattern.clone(), 1)).collect();
        spec.to.extend(known);
        spec.messages = rows.len() as u64;
        spec.shape = Shape::Recorded(rows.into());
        spec
    };
    parts.into_iter().map(part).collect()
}
