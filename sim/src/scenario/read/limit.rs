//! `[[receiver.limit]]` and `[receiver.unknown]`.

use std::cell::Cell;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::reader::Table;
use super::super::units;
use super::{response, uncertain};
use crate::glob::Glob;
use crate::receiver::spec::{
    Block, CountedBy, Escalation, Limit, Limited, Per, ReplyText, Response, Stage, Trip, Uncertain,
    Unknown,
};

pub(super) fn read(table: Table<'_>) -> Option<Limit> {
    if !table.has("what") {
        table.missing("what", "`what = \"connections\"`, `\"messages\"`, ...");
    }
    let word = table.word("what", &LIMITS)?;
    if !table.has("max") {
        table.missing("max", "`max = 5`; for a rate `max = \"600/h\"`");
    }
    let what = read_max(&table, word);
    let default_stage = match word {
        LimitWord::Connections | LimitWord::ConnectionRate => Stage::Banner,
        LimitWord::Messages | LimitWord::MessagesPerConnection => Stage::Mail,
        LimitWord::RecipientsPerMessage => Stage::Rcpt,
    };
    let per = table.word("per", &COUNTED_BY).unwrap_or(CountedBy::Source(Per::Address));
    let by_sender = !matches!(per, CountedBy::Source(_));
    if by_sender && !matches!(word, LimitWord::Messages) {
        let message = "only `messages` can be counted by their sender";
        table.diagnostics().error(table.span(), message);
    }
    let stage = table.word("stage", &Stage::NAMES).unwrap_or(default_stage);
    if stage < default_stage {
        let message = "this limit cannot show at so early a stage";
        table.diagnostics().error(table.span(), message);
    }
    let response = read_response(&table);
    let load = response::read_curve(&table, "load", LOAD_MAX);
    let first_stage = if by_sender { Stage::Mail } else { Stage::Banner };
    let escalation =
        table.table("escalation").and_then(|table| read_escalation(table, first_stage));
    table.finish();
    let (what, range) = what?;
    Some(Limit { what, range, per, stage, response: response?, load, escalation })
}

/// What is limited and to what, and the range that its number may be in.
fn read_max(table: &Table<'_>, what: LimitWord) -> Option<(Limited, Option<Uncertain<u32>>)> {
    let counted = |table: &Table<'_>, value: &Spanned<DeValue<'_>>, key: &str| {
        table.integer_of(value, key, 0..1 << 32).map(|max| max.into_inner() as u32)
    };
    let count = || uncertain::read(table, "max", 0, counted);
    let (max, range, window) = match what {
        LimitWord::ConnectionRate | LimitWord::Messages => read_rate(table)?,
        LimitWord::Connections
        | LimitWord::MessagesPerConnection
        | LimitWord::RecipientsPerMessage => {
            count().map(|(max, range)| (max, range, Duration::ZERO))?
        }
    };
    let what = match what {
        LimitWord::Connections => Limited::Connections { max },
        LimitWord::ConnectionRate => Limited::ConnectionRate { max, window },
        LimitWord::Messages => Limited::MessageRate { max, window },
        LimitWord::MessagesPerConnection => Limited::MessagesPerConnection { max },
        LimitWord::RecipientsPerMessage => Limited::RecipientsPerMessage { max },
    };
    Some((what, range))
}

/// A rate, or two of one time: `{ min = "600/h", max = "2000/h" }`.
fn read_rate(table: &Table<'_>) -> Option<(u32, Option<Uncertain<u32>>, Duration)> {
    let window = Cell::new(None);
    let parse = |table: &Table<'_>, value: &Spanned<DeValue<'_>>, key: &str| {
        let (max, of) = table.parse_value(value, key, units::rate)?.into_inner();
        if window.replace(Some(of)).is_some_and(|other| other != of) {
            table.diagnostics().error(value.span(), "both ends of a range are of one time");
            return None;
        }
        Some(max)
    };
    let (max, range) = uncertain::read(table, "max", 0, parse)?;
    Some((max, range, window.get()?))
}

/// A response where `delay` has no other meaning than that of a tarpit.
fn read_response(table: &Table<'_>) -> Option<Response> {
    let delay = table.parsed("delay", units::duration);
    let response = response::read(table, delay.as_ref().map(|delay| *delay.get_ref()));
    if let (Some(delay), Some(Response::Act(_) | Response::OneOf { .. })) = (&delay, &response) {
        let message = "`delay` goes with `action = \"tarpit\"` here";
        table.diagnostics().error(delay.span(), message);
    }
    response
}

fn read_escalation(table: Table<'_>, first_stage: Stage) -> Option<Escalation> {
    if !table.has("offences") {
        table.missing("offences", "how often the limit must be exceeded: `offences = 10`");
    }
    let offences = table.integer("offences", 1..OFFENCES_END);
    let within = read_within(&table);
    let block = read_block(&table, first_stage);
    table.finish();
    let offences = offences?.into_inner() as u32;
    Some(Escalation { offences, within: within?, block: block? })
}

fn read_within(table: &Table<'_>) -> Option<Duration> {
    if !table.has("within") {
        table.missing("within", "in what time: `within = \"10m\"`");
    }
    table.parsed("within", units::duration).map(Spanned::into_inner)
}

/// `block`, how long, `stage`, where, and what is done.
fn read_block(table: &Table<'_>, first_stage: Stage) -> Option<Block> {
    if !table.has("block") {
        table.missing("block", "how long nothing else is said: `block = \"1h\"`");
    }
    let length = uncertain::read(table, "block", Duration::ZERO, |table, value, key| {
        table.parse_value(value, key, units::duration).map(Spanned::into_inner)
    });
    let stage = table.word("stage", &Stage::NAMES).unwrap_or(first_stage);
    if stage < first_stage {
        let message = "nobody is known as a sender at so early a stage";
        table.diagnostics().error(table.span(), message);
    }
    let response = read_response(table);
    let (length, range) = length?;
    Some(Block { length, range, stage, response: response? })
}

pub(super) fn read_unknown(table: Table<'_>) -> Option<Unknown> {
    let share = table.number("share", 1.0).unwrap_or(0.0);
    let recipients = table.texts("recipients").unwrap_or_default();
    let recipients: Vec<Glob> = recipients.iter().map(|text| Glob::new(text.get_ref())).collect();
    if !table.has("share") && !table.has("recipients") {
        table.missing("share", "`share = 0.02`, or patterns as `recipients = [\"old*\"]`");
    }
    let reply = table.parsed("reply", ReplyText::parse);
    if let Some(reply) = &reply
        && reply.get_ref().code < 400
    {
        table.diagnostics().error(reply.span(), "an unknown recipient is refused");
    }
    let default = || ReplyText { before: Vec::new(), code: 550, text: "5.1.1 No such user".into() };
    let reply = reply.map_or_else(default, Spanned::into_inner);
    let trip = table.table("trip").and_then(read_trip);
    table.finish();
    Some(Unknown { share, recipients, reply, trip })
}

fn read_trip(table: Table<'_>) -> Option<Trip> {
    for (key, hint) in [
        ("share", "more than which share is too much: `share = 0.1`"),
        ("of", "of how many recipients: `of = 100`"),
    ] {
        if !table.has(key) {
            table.missing(key, hint);
        }
    }
    let share = table.number("share", 1.0);
    let of = table.integer("of", 1..OFFENCES_END);
    let within = read_within(&table);
    let per = table.word("per", &SOURCES).unwrap_or(Per::Address);
    let block = read_block(&table, Stage::Banner);
    table.finish();
    let of = of?.into_inner() as u32;
    Some(Trip { share: share?, of, within: within?, per, block: block? })
}

#[derive(Clone, Copy)]
enum LimitWord {
    Connections,
    ConnectionRate,
    Messages,
    MessagesPerConnection,
    RecipientsPerMessage,
}

const LIMITS: [(&str, LimitWord); 5] = [
    ("connections", LimitWord::Connections),
    ("connection_rate", LimitWord::ConnectionRate),
    ("messages", LimitWord::Messages),
    ("messages_per_connection", LimitWord::MessagesPerConnection),
    ("recipients_per_message", LimitWord::RecipientsPerMessage),
];

const COUNTED_BY: [(&str, CountedBy); 5] = [
    ("address", CountedBy::Source(Per::Address)),
    ("network", CountedBy::Source(Per::Network)),
    ("all", CountedBy::Source(Per::All)),
    ("sender", CountedBy::Sender),
    ("sender_domain", CountedBy::SenderDomain),
];

const SOURCES: [(&str, Per); 3] =
    [("address", Per::Address), ("network", Per::Network), ("all", Per::All)];

/// What a limit may be multiplied by at most.
const LOAD_MAX: f64 = 1000.0;

/// Offences are remembered one by one: so many are not.
const OFFENCES_END: u64 = 1 << 16;
