//! `[[traffic]]`.

mod recorded;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::reader::Table;
use super::super::{Places, units};
use super::Names;
use crate::body;
use crate::traffic::curve::{Curve, USUAL_HOURS};
use crate::traffic::{
    Fanout, MailboxPattern, RECIPIENTS_PER_MESSAGE_MAX, SentBy, Shape, Through, TrafficSpec,
};

pub(super) fn read_all(
    path: &Path,
    root: &Table<'_>,
    names: &Names,
    places: &mut Places,
) -> Vec<TrafficSpec> {
    let tables = root.tables("traffic");
    if tables.is_empty() && !root.has("traffic") {
        root.missing("traffic", "a `[[traffic]]` says what is sent: `to`, `messages`");
    }
    let mut given = BTreeSet::new();
    let mut all = Vec::new();
    for (n, table) in tables.into_iter().enumerate() {
        let name = read_name(&table, n, &mut given);
        places.bindings.extend(table.text("binding"));
        places.groups.extend(table.text("binding_group"));
        let entrance = read_entrance(&table, places);
        all.extend(match table.has("trace") {
            true => recorded::read(path, (table, name, entrance), names, places),
            false => read(table, name, entrance, names).into_iter().collect(),
        });
    }
    all
}

/// The name of the `n`-th traffic; no two have the same.
fn read_name(table: &Table<'_>, n: usize, given: &mut BTreeSet<String>) -> String {
    let name = table.text("name");
    let span = name.as_ref().map_or_else(|| table.span(), Spanned::span);
    let name = name.map_or_else(|| format!("traffic {}", n + 1), Spanned::into_inner);
    if !given.insert(name.clone()) {
        table.diagnostics().error(span, format!("two traffics are named `{name}`"));
    }
    name
}

fn read(table: Table<'_>, name: String, entrance: Entrance, names: &Names) -> Option<TrafficSpec> {
    let from = read_from(&table);
    let to = read_to(&table, names);
    if !table.has("messages") {
        table.missing("messages", "how many: `messages = 1000`");
    }
    let messages = table.integer("messages", 1..MESSAGES_MAX + 1);
    let start = read_start(&table);
    let over = table.parsed("over", units::duration);
    let shape = read_shape(&table, start, over.as_ref());
    let size_bytes = read_size(&table);
    let eight_bit = table.boolean("eight_bit").unwrap_or(false);
    let recipients = read_fanout(&table);
    let sent_by = read_sent_by(&table, entrance.through);
    table.finish();
    Some(TrafficSpec {
        name: name.into(),
        from: from?,
        to: to?,
        messages: messages?.into_inner(),
        start,
        over: over.map_or(Duration::ZERO, Spanned::into_inner),
        shape: shape?,
        size_bytes,
        eight_bit,
        recipients,
        sent_by,
        through: entrance.through,
        client: entrance.client,
    })
}

/// How messages come in, and from whom.
#[derive(Clone, Copy)]
struct Entrance {
    through: Through,
    client: Option<IpAddr>,
}

fn read_entrance(table: &Table<'_>, places: &mut Places) -> Entrance {
    let (through, client) = (table.parsed("through", through), table.parsed("client", address));
    places.listeners.extend(through.clone());
    places.clients.extend(client.clone());
    let through = through.map_or(Through::Queue, Spanned::into_inner);
    Entrance { through, client: client.map(Spanned::into_inner) }
}

/// `queue`, `listener`, or the address of one.
fn through(text: &str) -> Result<Through, String> {
    match text {
        "queue" => Ok(Through::Queue),
        "listener" => Ok(Through::Listener(None)),
        address => match address.parse() {
            Ok(address) => Ok(Through::Listener(Some(address))),
            Err(_) => Err(format!("`{text}` is none of `queue`, `listener` and `192.0.2.1:25`")),
        },
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an IP address"))
}

fn read_start(table: &Table<'_>) -> Duration {
    table.parsed("start", units::duration).map_or(Duration::ZERO, Spanned::into_inner)
}

/// `binding` or `binding_group`; without, the binding `default`, or what the listener says.
fn read_sent_by(table: &Table<'_>, through: Through) -> SentBy {
    let (binding, group) = (table.text("binding"), table.text("binding_group"));
    if let (Some(_), Some(group)) = (&binding, &group) {
        let message = "`binding` and `binding_group` cannot both be given";
        table.diagnostics().error(group.span(), message);
    }
    let name = |text: Spanned<String>| Arc::from(text.into_inner());
    match (binding, group) {
        (Some(binding), _) => SentBy::Binding(name(binding)),
        (None, Some(group)) => SentBy::Group(name(group)),
        (None, None) => match through {
            Through::Queue => SentBy::Binding("default".into()),
            Through::Listener(_) => SentBy::Listener,
        },
    }
}

/// The envelope sender; the outer `None` is an error, the inner one the null sender.
fn read_from(table: &Table<'_>) -> Option<Option<MailboxPattern>> {
    if !table.has("from") {
        table.missing("from", "the envelope sender: `from = \"news@brand.test\"`, or `\"<>\"`");
        return None;
    }
    let parse = |text: &str| match text {
        "<>" => Ok(None),
        _ if !text.contains('@') => Err(format!("`{text}` is not a mailbox")),
        _ => MailboxPattern::parse(text).map(Some),
    };
    table.parsed("from", parse).map(Spanned::into_inner)
}

/// One pattern, a list of patterns of equal weight, or a table of patterns and weights.
fn read_to(table: &Table<'_>, names: &Names) -> Option<Vec<(MailboxPattern, u32)>> {
    let Some(value) = table.get("to") else {
        table.missing("to", "a domain, a list of them, or a table `{ \"a.test\" = 3, ... }`");
        return None;
    };
    let pattern = |value| {
        let pattern = table.parse_value(value, "to", MailboxPattern::parse)?;
        names.check_domain(table, pattern.span(), pattern.get_ref().domain());
        Some(pattern)
    };
    let patterns: Vec<(MailboxPattern, u32)> = match value.get_ref() {
        DeValue::Table(_) => {
            let weights = table.table_of(value, "to")?;
            let pairs = weights.pairs().into_iter();
            pairs.filter_map(|pair| read_weight(table, pair, names)).collect()
        }
        DeValue::Array(elements) => {
            elements.iter().filter_map(|one| Some((pattern(one)?.into_inner(), 1))).collect()
        }
        _ => vec![(pattern(value)?.into_inner(), 1)],
    };
    if patterns.iter().all(|(_, weight)| *weight == 0) {
        table.diagnostics().error(value.span(), "`to` names nobody");
        return None;
    }
    Some(patterns)
}

fn read_weight(
    table: &Table<'_>,
    (key, value): (Spanned<String>, &Spanned<DeValue<'_>>),
    names: &Names,
) -> Option<(MailboxPattern, u32)> {
    let pattern = MailboxPattern::parse(key.get_ref())
        .map_err(|why| table.diagnostics().error(key.span(), why))
        .ok()?;
    names.check_domain(table, key.span(), pattern.domain());
    let weight = value.get_ref().as_integer().and_then(|weight| weight.as_str().parse().ok());
    if weight.is_none() {
        table.diagnostics().error(value.span(), "a weight is a whole number");
    }
    Some((pattern, weight?))
}

/// How arrivals are spread, from `start` on; `None` if that does not make sense.
fn read_shape(
    table: &Table<'_>,
    start: Duration,
    over: Option<&Spanned<Duration>>,
) -> Option<Shape> {
    let names = [
        ("burst", Word::Burst),
        ("constant", Word::Constant),
        ("poisson", Word::Poisson),
        ("daily", Word::Daily),
    ];
    let default = if over.is_some() { Word::Constant } else { Word::Burst };
    let word = table.word("shape", &names).unwrap_or(default);
    let hours = read_hours(table, word);
    match (word, over) {
        (Word::Burst, Some(over)) => {
            let message = "a burst arrives at once: `over` does not go with it";
            table.diagnostics().error(over.span(), message);
        }
        (Word::Constant | Word::Poisson, None) => {
            table.missing("over", "the time the messages are spread over: `over = \"1h\"`");
        }
        _ => {}
    }
    match word {
        Word::Burst => Some(Shape::Burst),
        Word::Constant => Some(Shape::Constant),
        Word::Poisson => Some(Shape::Poisson),
        Word::Daily => {
            let length = over.map_or(DAY, |over| *over.get_ref());
            let curve = Curve::new(&hours?, start, length);
            if curve.is_none() {
                let span = over.map_or_else(|| table.span(), Spanned::span);
                table.diagnostics().error(span, "no hour of this time has a weight");
            }
            curve.map(Shape::Daily)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Burst,
    Constant,
    Poisson,
    Daily,
}

/// The weights of the hours from midnight on; only for `daily`.
fn read_hours(table: &Table<'_>, word: Word) -> Option<[u32; 24]> {
    let Some(value) = table.get("hours") else { return Some(USUAL_HOURS) };
    if word != Word::Daily {
        table.diagnostics().error(value.span(), "`hours` goes with `shape = \"daily\"`");
        return None;
    }
    let weight = |value: &Spanned<DeValue<'_>>| value.get_ref().as_integer()?.as_str().parse().ok();
    let weights: Option<Vec<u32>> =
        value.get_ref().as_array().and_then(|array| array.iter().map(weight).collect());
    let hours = weights.and_then(|weights| <[u32; 24]>::try_from(weights).ok());
    if hours.is_none() {
        let message = "`hours` must be a list of 24 whole numbers, from midnight on";
        table.diagnostics().error(value.span(), message);
    }
    hours
}

/// One size, or `{ min = , max = }`.
fn read_size(table: &Table<'_>) -> RangeInclusive<u64> {
    let Some(value) = table.get("size") else { return SIZE_DEFAULT..=SIZE_DEFAULT };
    let range = match value.get_ref() {
        DeValue::Table(_) => table.table_of(value, "size").and_then(|sizes| {
            let (min, max) = (sizes.parsed("min", units::size), sizes.parsed("max", units::size));
            for key in ["min", "max"] {
                if !sizes.has(key) {
                    sizes.missing(key, "a range of sizes is `{ min = \"2KB\", max = \"80KB\" }`");
                }
            }
            sizes.finish();
            Some(min?.into_inner()..=max?.into_inner())
        }),
        _ => table
            .parse_value(value, "size", units::size)
            .map(|size| *size.get_ref()..=*size.get_ref()),
    };
    let Some(range) = range else { return SIZE_DEFAULT..=SIZE_DEFAULT };
    if range.is_empty() || *range.start() < body::SIZE_BYTES_MIN || *range.end() > SIZE_MAX {
        let message =
            format!("sizes go from {}B to {}MB", body::SIZE_BYTES_MIN, SIZE_MAX / 1_000_000);
        table.diagnostics().error(value.span(), message);
    }
    range
}

/// One number, `{ min = , max = }`, or `"all"`.
fn read_fanout(table: &Table<'_>) -> Fanout {
    let counts = 1..RECIPIENTS_PER_MESSAGE_MAX;
    let one = Fanout::Drawn(1..=1);
    let Some(value) = table.get("recipients") else { return one };
    match value.get_ref() {
        DeValue::String(_) => {
            table.word("recipients", &[("all", ())]);
            Fanout::All
        }
        DeValue::Table(_) => {
            let Some(range) = table.table_of(value, "recipients") else { return one };
            let (min, max) = (range.integer("min", counts.clone()), range.integer("max", counts));
            range.finish();
            match (min, max) {
                (Some(min), Some(max)) if min.get_ref() <= max.get_ref() => {
                    Fanout::Drawn(min.into_inner() as u32..=max.into_inner() as u32)
                }
                _ => {
                    let message = "`recipients` needs a `min` and a `max` that is not less";
                    table.diagnostics().error(value.span(), message);
                    one
                }
            }
        }
        _ => table.integer("recipients", counts).map_or(one, |count| {
            let count = count.into_inner() as u32;
            Fanout::Drawn(count..=count)
        }),
    }
}

/// Most messages of one traffic.
const MESSAGES_MAX: u64 = 100_000_000;

/// Size of bodies when the scenario does not say.
const SIZE_DEFAULT: u64 = 10_000;

/// Largest body.
const SIZE_MAX: u64 = 100_000_000;

/// How long a day's curve is, unless the scenario says.
const DAY: Duration = Duration::from_secs(86_400);
