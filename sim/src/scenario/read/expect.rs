//! `[[expect]]`.

use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::super::diagnostic::Position;
use super::super::reader::Table;
use super::super::{Places, units};
use super::{Names, read_prefix, show_prefix};
use crate::expect::{Condition, ConditionError, Expectation, Metric, Scope, Value, When};
use crate::fault::FaultSpec;
use crate::glob::Glob;
use crate::network::Prefix;
use crate::traffic::domain_name;

pub(super) fn read_all(
    root: &Table<'_>,
    names: &Names,
    (text, faults): (&str, &[FaultSpec]),
    places: &mut Places,
) -> Vec<Expectation> {
    // When the last fault that lasts is over.
    let lasting = faults.iter().filter(|fault| !fault.length.is_zero());
    let recovery = lasting.map(|fault| fault.at + fault.length).max();
    let mut all = Vec::new();
    for table in root.tables("expect") {
        places.bindings.extend(table.text("binding"));
        let line = Position::of(text, table.span().start).line;
        all.extend(read(table, names, recovery, line));
    }
    all
}

fn read(
    table: Table<'_>,
    names: &Names,
    recovery: Option<Duration>,
    line: usize,
) -> Option<Expectation> {
    let by = table.parsed("by", units::duration);
    let written = [
        ("that", table.text("that")),
        ("always", table.text("always")),
        ("never", table.text("never")),
    ];
    let mut given = written.into_iter().filter_map(|(key, text)| Some((key, text?)));
    let first = given.next();
    if let Some((key, text)) = given.next() {
        let message = format!("`{key}`: one expectation has one condition");
        table.diagnostics().error(text.span(), message);
    }
    drop(given);
    let scope = read_scope(&table, names);
    let reply = table.text("reply");
    let condition = first.as_ref().and_then(|(_, text)| read_condition(&table, text));
    check_reply(&table, condition, reply.as_ref());
    let window = read_window(&table, condition);
    let since = read_since(&table, condition, recovery);
    check_exchange(&table, condition, first.as_ref().map(|(_, text)| text), &scope);
    if first.is_none() && !["that", "always", "never"].iter().any(|key| table.has(key)) {
        table.missing("that", "`that = \"delivered >= 99%\"`, or `always`, or `never`");
    }
    let Some((key, text)) = first else {
        table.finish();
        return None;
    };
    let when = match (key, by) {
        ("that", Some(by)) => When::By(by.into_inner()),
        ("that", None) => When::AtEnd,
        (_, Some(by)) => {
            let message = format!("`by` goes with `that`, not with `{key}`");
            table.diagnostics().error(by.span(), message);
            When::AtEnd
        }
        ("always", None) => When::Always,
        _ => When::Never,
    };
    let at_end = condition.is_some_and(|condition| condition.metric.is_known_at_the_end());
    if at_end && matches!(when, When::Always | When::Never) {
        let hint = "write it as `that`, with `by` if it must hold before the end";
        let message = "such a quantity is known only when it is over";
        table.diagnostics().error_with_hint(text.span(), message, hint);
    }
    table.finish();
    let reply = reply.map(|reply| Glob::new(reply.get_ref()));
    Some(Expectation { when, condition: condition?, scope, reply, window, since, line })
}

fn read_condition(table: &Table<'_>, text: &Spanned<String>) -> Option<Condition> {
    match Condition::parse(text.get_ref()) {
        Ok(condition) => Some(condition),
        Err(ConditionError::Form) => {
            let message = format!("`{}` is not a condition", text.get_ref());
            let hint = "write a metric, a comparison and a value: `delivered >= 99%`";
            table.diagnostics().error_with_hint(text.span(), message, hint);
            None
        }
        Err(ConditionError::Metric(name)) => {
            let message = format!("`{name}` is not a metric");
            let known = Metric::NAMES.iter().map(|(name, _)| *name);
            table.diagnostics().unknown(text.span(), message, &name, known);
            None
        }
        Err(ConditionError::Value(why)) => {
            table.diagnostics().error(text.span(), why);
            None
        }
    }
}

fn check_reply(table: &Table<'_>, condition: Option<Condition>, reply: Option<&Spanned<String>>) {
    let counts_replies = condition.map(|condition| condition.metric == Metric::Replies);
    match (counts_replies, reply) {
        (Some(true), None) => table.missing("reply", "which replies: `reply = \"5*\"`"),
        (Some(false), Some(reply)) => {
            let message = "`reply` goes with the metric `replies`";
            table.diagnostics().error(reply.span(), message);
        }
        _ => {}
    }
}

/// `window`: with the quantities that count in windows, and only with them.
fn read_window(table: &Table<'_>, condition: Option<Condition>) -> Option<Duration> {
    let window = table.parsed("window", units::duration);
    if let Some(window) = window.as_ref().filter(|window| window.get_ref().is_zero()) {
        table.diagnostics().error(window.span(), "nothing fits into a window of no length");
    }
    if condition.is_some_and(|condition| condition.metric == Metric::HerdIndex) {
        return Some(window.map_or(HERD_SPAN_DEFAULT, Spanned::into_inner));
    }
    match (condition.map(|condition| condition.metric.needs_window()), &window) {
        (Some(true), None) if !table.has("window") => {
            table.missing("window", "how long the window is: `window = \"1m\"`");
        }
        (Some(false), Some(window)) => {
            let message = "`window` goes with quantities `..._in_window` and with `herd_index`";
            table.diagnostics().error(window.span(), message);
        }
        _ => {}
    }
    window.map(Spanned::into_inner)
}

/// `since`: when the recovery was that a herd index is about; without, when the last fault ended.
fn read_since(
    table: &Table<'_>,
    condition: Option<Condition>,
    recovery: Option<Duration>,
) -> Option<Duration> {
    let since = table.parsed("since", units::duration);
    let is_herd = condition.map(|condition| condition.metric == Metric::HerdIndex);
    match (is_herd, since) {
        (Some(true), None) => {
            if recovery.is_none() && !table.has("since") {
                table
                    .missing("since", "no fault ends: say when the recovery was, `since = \"4h\"`");
            }
            recovery
        }
        (Some(true), Some(since)) => Some(since.into_inner()),
        (Some(false), Some(since)) => {
            table.diagnostics().error(since.span(), "`since` goes with `herd_index`");
            None
        }
        (None, _) | (Some(false), None) => None,
    }
}

/// At an exchange only what happens there can be counted.
fn check_exchange(
    table: &Table<'_>,
    condition: Option<Condition>,
    text: Option<&Spanned<String>>,
    scope: &Scope,
) {
    let (Some(condition), Some(text)) = (condition, text) else { return };
    let share = matches!(condition.value, Value::Percent(_));
    if scope.addresses.is_some() && (share || !condition.metric.happens_at_exchanges()) {
        let message = "this cannot be told of one exchange";
        let hint = "count what happens there: `delivered == 20`, `connection_failures <= 3`";
        table.diagnostics().error_with_hint(text.span(), message, hint);
    }
    if scope.sources.is_some() && (share || !condition.metric.has_source()) {
        let message = "this cannot be told of one of our addresses";
        let hint = "count what goes over its connections: `peak_connections <= 20`";
        table.diagnostics().error_with_hint(text.span(), message, hint);
    }
}

/// `receiver` or `domain`, `binding`, `exchange`, and `source`.
fn read_scope(table: &Table<'_>, names: &Names) -> Scope {
    let mut labels = Vec::new();
    let mut domains: Option<Vec<Arc<str>>> = None;
    if let Some(spec) = names.receiver(table, "receiver") {
        labels.push(format!("receiver {}", spec.name));
        domains = Some(spec.domains.clone());
    }
    if let Some(domain) = table.parsed("domain", domain_name) {
        if domains.is_some() {
            let message = "`domain` and `receiver` cannot both be given";
            table.diagnostics().error(domain.span(), message);
        }
        labels.push(format!("domain {}", domain.get_ref()));
        domains = Some(vec![domain.into_inner()]);
    }
    let binding = table.text("binding").map(|text| Arc::<str>::from(text.into_inner()));
    labels.extend(binding.iter().map(|binding| format!("binding {binding}")));
    let exchange = table.text("exchange");
    labels.extend(exchange.iter().map(|exchange| format!("exchange {}", exchange.get_ref())));
    let addresses = exchange.map(|exchange| names.addresses(table, &exchange));
    let sources = table.texts("source");
    let sources = sources.map(|texts| -> Vec<Prefix> {
        texts.iter().filter_map(|text| read_prefix(table, text)).map(Spanned::into_inner).collect()
    });
    for prefix in sources.iter().flatten() {
        labels.push(format!("source {}", show_prefix(*prefix)));
    }
    Scope { label: labels.join(", "), domains, binding, addresses, sources }
}

/// How long after a recovery is looked at for a herd.
const HERD_SPAN_DEFAULT: Duration = Duration::from_secs(3600);
