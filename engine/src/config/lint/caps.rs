//! Caps that do not fit together.

use alloc::format;
use alloc::vec::Vec;

use super::super::diagnostic::Diagnostic;
use super::super::options::{OptionId, id};
use super::super::value::Value;
use super::{CAP_ABOVE_CAP, Context, HOST_WITHOUT_CAP, UNREACHABLE_RATE, View, warn};

const PAIR: OptionId = id("max_outbound_connections");
const SERVER: OptionId = id("server_max_outbound_connections");

const MESSAGES: OptionId = id("outbound_throttle_messages");
const CONNECTIONS: OptionId = id("outbound_throttle_connections");
const DELIVERIES: OptionId = id("max_deliveries_per_connection");

pub(super) fn check(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    for context in view.contexts() {
        found.extend(unreachable_rate(&context));
        let Some(own) = context.own(&[PAIR]) else { continue };
        let (Value::Int(cap), Some(Value::Int(bound))) = (&own.value, context.chain.value(SERVER))
        else {
            continue;
        };
        if cap > bound {
            let message = format!("{cap} connections are never reached");
            let mut finding = warn(CAP_ABOVE_CAP, own, message)
                .help(format!("`{}` allows {bound} in all", SERVER.spec().name));
            if let Some(setting) = context.chain.setting(SERVER) {
                finding = finding.related(setting.span, "the bound");
            }
            found.push(finding);
        }
    }
    for (container, _) in view.containers() {
        let patterns = container.hosts.patterns().map(|(_, layer)| layer);
        for layer in container.hosts.exact().map(|(_, layer)| layer).chain(patterns) {
            if !layer.settings.contains_key(&PAIR) {
                let message = "this stanza allows any number of connections to its exchange";
                found.push(
                    Diagnostic::warning(layer.heading, message)
                        .code(HOST_WITHOUT_CAP)
                        .help(format!("set `{}` in it", PAIR.spec().name)),
                );
            }
        }
    }
}

/// A rate of messages above what the rate of connections can carry.
fn unreachable_rate(context: &Context<'_>) -> Option<Diagnostic> {
    let own = context.own(&[MESSAGES, CONNECTIONS, DELIVERIES])?;
    let (Value::Rate(Some(messages)), Value::Rate(Some(connections)), Value::Int(each)) = (
        context.chain.value(MESSAGES)?,
        context.chain.value(CONNECTIONS)?,
        context.chain.value(DELIVERIES)?,
    ) else {
        return None;
    };
    let each = u64::try_from(*each).ok().filter(|&each| each > 0)?;
    let carried = u64::from(connections.events) * each;
    // Compared over a common time: as products of numbers of 32 bits each.
    let wanted = u128::from(messages.events) * u128::from(connections.seconds);
    let possible = u128::from(carried) * u128::from(messages.seconds);
    (wanted > possible).then(|| {
        let message =
            format!("{} messages in {} s are never reached", messages.events, messages.seconds);
        let help = format!(
            "{} connections in {} s with {each} messages each carry {carried} in that time",
            connections.events, connections.seconds
        );
        warn(UNREACHABLE_RATE, own, message).help(help)
    })
}
