//! Caps that do not fit together.

use alloc::format;
use alloc::vec::Vec;

use super::super::diagnostic::Diagnostic;
use super::super::options::{OptionId, id};
use super::super::value::Value;
use super::{CAP_ABOVE_CAP, HOST_WITHOUT_CAP, View, warn};

const PAIR: OptionId = id("max_outbound_connections");
const SERVER: OptionId = id("server_max_outbound_connections");

pub(super) fn check(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    for context in view.contexts() {
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
