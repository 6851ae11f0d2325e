//! What a receiver does: `reply`, `replies` or `action`; and numbers that change with the time.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::reader::Table;
use super::super::units;
use crate::receiver::spec::{Act, Curve, Order, ReplyText, Response};

/// `reply = "451 ..."`, `replies = ["451 ...", "421 ..."]` or `action = "reset"`. `delay` is what
/// the table has under that key.
pub(super) fn read(table: &Table<'_>, delay: Option<Duration>) -> Option<Response> {
    let reply = table.get("reply").map(|value| (value.span(), read_reply(table, "reply", value)));
    let replies = table.get("replies").map(|value| (value.span(), read_replies(table, value)));
    let order = [("random", Order::Random), ("turn", Order::Turn)];
    let order = table.word("order", &order);
    if order.is_some() && replies.is_none() {
        table.diagnostics().error(table.span(), "`order` goes with `replies`");
    }
    let action = if table.has("action") { Some(read_action(table, delay)) } else { None };
    match (reply, replies, action) {
        (Some((_, reply)), None, None) => Some(Response::Act(Act::Reply(reply?))),
        (None, Some((_, replies)), None) => {
            Some(Response::OneOf { replies: replies?, order: order.unwrap_or_default() })
        }
        (None, None, Some(action)) => action,
        (None, None, None) => {
            let hint = "`reply = \"451 4.7.1 Later\"`, `replies = [...]`, or `action = \"reset\"`, \
                        `\"close\"`, `\"stall\"` or `\"tarpit\"`";
            table.missing("reply", hint);
            None
        }
        (Some((span, _)), ..) | (_, Some((span, _)), _) => {
            let message = "of `reply`, `replies` and `action` only one can be given";
            table.diagnostics().error(span, message);
            None
        }
    }
}

fn read_action(table: &Table<'_>, delay: Option<Duration>) -> Option<Response> {
    #[derive(Clone, Copy)]
    enum Word {
        Reset,
        Close,
        Stall,
        Garbage,
        Flood,
        HalfClose,
        Early,
        Drip,
        Tarpit,
    }
    let words = [
        ("reset", Word::Reset),
        ("close", Word::Close),
        ("stall", Word::Stall),
        ("garbage", Word::Garbage),
        ("flood", Word::Flood),
        ("half_close", Word::HalfClose),
        ("early", Word::Early),
        ("drip", Word::Drip),
        ("tarpit", Word::Tarpit),
    ];
    match table.word("action", &words)? {
        Word::Reset => Some(Response::Act(Act::Reset)),
        Word::Close => Some(Response::Act(Act::Close)),
        Word::Stall => Some(Response::Act(Act::Stall)),
        Word::Garbage => Some(Response::Act(Act::Garbage)),
        Word::Flood => Some(Response::Act(Act::Flood)),
        Word::HalfClose => Some(Response::Act(Act::HalfClose)),
        Word::Early => Some(Response::Act(Act::Early)),
        Word::Drip => Some(Response::Act(Act::Drip)),
        Word::Tarpit => {
            if delay.is_none() {
                table.missing("delay", "what a tarpit adds to every reply: `delay = \"10s\"`");
            }
            delay.map(Response::Tarpit)
        }
    }
}

/// One line, or a list of the lines of one reply.
fn read_reply(table: &Table<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<ReplyText> {
    let DeValue::Array(lines) = value.get_ref() else {
        return table.parse_value(value, key, ReplyText::parse).map(Spanned::into_inner);
    };
    let lines: Vec<_> = lines.iter().filter_map(|line| table.text_of(line, key)).collect();
    let lines: Vec<&str> = lines.iter().map(|line| line.get_ref().as_str()).collect();
    match ReplyText::parse_lines(&lines) {
        Ok(reply) => Some(reply),
        Err(why) => {
            table.diagnostics().error(value.span(), why);
            None
        }
    }
}

/// A list of replies, each one line or a list of lines.
fn read_replies(table: &Table<'_>, value: &Spanned<DeValue<'_>>) -> Option<Vec<ReplyText>> {
    let DeValue::Array(elements) = value.get_ref() else {
        table.wrong_type(value, "replies", "a list");
        return None;
    };
    if elements.is_empty() {
        table.diagnostics().error(value.span(), "`replies` is empty");
        return None;
    }
    elements.iter().map(|element| read_reply(table, "replies", element)).collect()
}

/// A number up to `max`, or a table of numbers by the time since which they hold:
/// `{ every = "1h", "0m" = 0.5, "5m" = 0 }`. One without the key.
pub(super) fn read_curve(table: &Table<'_>, key: &'static str, max: f64) -> Curve {
    let always = Curve::constant(1.0);
    let Some(value) = table.get(key) else { return always };
    let DeValue::Table(_) = value.get_ref() else {
        return table.number_of(value, key, max).map_or(always, Curve::constant);
    };
    let Some(curve) = table.table_of(value, key) else { return always };
    if !curve.has("every") {
        curve.missing("every", "after what time it repeats: `every = \"1h\"`");
    }
    let every = curve.parsed("every", units::duration);
    let mut steps = Vec::new();
    for (from, number) in curve.pairs() {
        if from.get_ref() == "every" {
            continue;
        }
        match units::duration(from.get_ref()) {
            Ok(at) => {
                let number = curve.number_of(number, from.get_ref(), max).unwrap_or(1.0);
                steps.push((at, number));
            }
            Err(why) => curve.diagnostics().error(from.span(), why),
        }
    }
    let Some(every) = every else { return always };
    Curve::repeating(every.into_inner(), steps).unwrap_or_else(|why| {
        curve.diagnostics().error(value.span(), why);
        always
    })
}
