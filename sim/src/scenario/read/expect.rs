//! `[[expect]]`.

use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::super::diagnostic::Position;
use super::super::reader::Table;
use super::super::{Places, units};
use super::Names;
use crate::expect::{Condition, ConditionError, Expectation, Metric, Scope, Value, When};
use crate::glob::Glob;
use crate::traffic::domain_name;

pub(super) fn read_all(
    root: &Table<'_>,
    names: &Names,
    source: &str,
    places: &mut Places,
) -> Vec<Expectation> {
    let mut all = Vec::new();
    for table in root.tables("expect") {
        places.bindings.extend(table.text("binding"));
        all.extend(read(table, names, source));
    }
    all
}

fn read(table: Table<'_>, names: &Names, source: &str) -> Option<Expectation> {
    let line = Position::of(source, table.span().start).line;
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
    let is_time = matches!(condition, Some(Condition { metric: Metric::DeliveredWithin(_), .. }));
    if is_time && matches!(when, When::Always | When::Never) {
        let hint = "write it as `that`, with `by` if it must hold before the end";
        let message = "such a time is known only when it is over";
        table.diagnostics().error_with_hint(text.span(), message, hint);
    }
    table.finish();
    let reply = reply.map(|reply| Glob::new(reply.get_ref()));
    Some(Expectation { when, condition: condition?, scope, reply, window, line })
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
    match (condition.map(|condition| condition.metric.needs_window()), &window) {
        (Some(true), None) if !table.has("window") => {
            table.missing("window", "how long the window is: `window = \"1m\"`");
        }
        (Some(true), Some(window)) if window.get_ref().is_zero() => {
            table.diagnostics().error(window.span(), "nothing fits into a window of no length");
        }
        (Some(false), Some(window)) => {
            let message = "`window` goes with `deliveries_in_window` and `connections_in_window`";
            table.diagnostics().error(window.span(), message);
        }
        _ => {}
    }
    window.map(Spanned::into_inner)
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
}

/// `receiver` or `domain`, `binding`, and `exchange`.
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
    Scope { label: labels.join(", "), domains, binding, addresses }
}
