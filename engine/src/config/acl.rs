//! The list form of listeners: `Esmtp_Listener = ( *:25 <attributes> [ cidr = ( properties ) ] )`.
//!
//! Each endpoint becomes a `listen` stanza and each entry of its access control list a stanza of
//! its own, in order, so that the rest of the program knows one form only.

use alloc::format;
use alloc::sync::Arc;

use super::ast::{self, Assignment, Element};
use super::cidr::Cidr;
use super::diagnostic::Diagnostic;
use super::endpoint;
use super::options::{OptionId, id};
use super::scope::ScopeKind;
use super::suggest::did_you_mean;
use super::tree::{Builder, Stanza, scope_not_yet};
use super::value::{Kind, Value};

/// Adds the endpoints of a list to the listener of that kind.
pub(super) fn list_form(
    builder: &mut Builder<'_>,
    root: &mut Stanza,
    kind: ScopeKind,
    assignment: &Assignment,
) {
    let heading = assignment.name.span;
    let list = match &assignment.value {
        ast::Value::List(list) => list,
        value => {
            let message = format!("`{}` needs a list of endpoints", kind.name());
            let example = format!("for example `{} = ( *:25 )`", assignment.name.text);
            builder.findings.push(Diagnostic::error(value.span(), message).help(example));
            return;
        }
    };
    if !kind.works() {
        builder.findings.push(scope_not_yet(heading, kind));
    }
    let listener = root.child(kind, &Arc::from(""), heading);
    for element in &list.elements {
        if let Some(pipe) = endpoint::named_pipe(&element.word.text) {
            builder.findings.push(endpoint::error(element.word.span, &pipe));
        } else if kind.works() {
            add_endpoint(builder, listener, element);
        }
    }
}

fn add_endpoint(builder: &mut Builder<'_>, listener: &mut Stanza, element: &Element) {
    let word = &element.word;
    let (address, backlog) = match endpoint::split_suffixes(&word.text) {
        Ok(parts) => parts,
        Err(why) => {
            builder.findings.push(endpoint::error(word.span, &why));
            return;
        }
    };
    let name = Arc::from(address.to_lowercase());
    if listener.has_child(ScopeKind::Listen, &name) {
        let message = format!("`{address}` is listed twice");
        builder.findings.push(Diagnostic::error(word.span, message));
        return;
    }
    let listen = listener.child(ScopeKind::Listen, &name, word.span);
    let backlog = Value::Int(i64::from(backlog.unwrap_or(endpoint::LIST_FORM_BACKLOG)));
    builder.set(listen, const { id("listen_backlog") }, backlog, word.span, word.span);
    for attribute in element.attributes.iter().flat_map(|dict| &dict.entries) {
        add_attribute(builder, listen, attribute);
    }
    for entry in element.properties.iter().flat_map(|dict| &dict.entries) {
        add_entry(builder, listen, entry);
    }
}

/// `status = disabled` or `proto = ipv4`
fn add_attribute(builder: &mut Builder<'_>, listen: &mut Stanza, attribute: &Assignment) {
    const STATUS: Kind = Kind::Word(&["enabled", "disabled"]);
    let name = &attribute.name.text;
    if name.eq_ignore_ascii_case("proto") {
        return builder.assign(listen, attribute);
    }
    if !name.eq_ignore_ascii_case("status") {
        let message = format!("unknown attribute `{name}`");
        let unknown = Diagnostic::error(attribute.name.span, message);
        let near = did_you_mean(name, ["proto", "status"].into_iter());
        let help = near.unwrap_or_else(|| "an endpoint has `status` and `proto`".into());
        return builder.findings.push(unknown.help(help));
    }
    match STATUS.read(&attribute.value) {
        Ok(status) => {
            let enabled = Value::Bool(status == Value::Word("enabled"));
            let span = attribute.span();
            builder.set(listen, const { id("enable") }, enabled, span, attribute.value.span());
        }
        Err(misfit) => {
            let message = format!("`status` needs {}", misfit.expected);
            builder.findings.push(Diagnostic::error(attribute.value.span(), message));
        }
    }
}

/// `192.0.2.0/24 = ( property ... )`
fn add_entry(builder: &mut Builder<'_>, listen: &mut Stanza, entry: &Assignment) {
    if let Err(why) = Cidr::parse(&entry.name.text) {
        let message = format!("`{}`: {why}", entry.name.text);
        let help = "write an address, a slash and a number of bits: `192.0.2.0/24`";
        builder.findings.push(Diagnostic::error(entry.name.span, message).help(help));
        return;
    }
    let ast::Value::List(list) = &entry.value else {
        let message = "an access control entry needs a list of properties";
        let help = format!("for example `{} = ( continue )`", entry.name.text);
        builder.findings.push(Diagnostic::error(entry.value.span(), message).help(help));
        return;
    };
    let mut stanza =
        Stanza::new(ScopeKind::AclEntry, Arc::from(&*entry.name.text), entry.name.span);
    for property in &list.elements {
        add_property(builder, &mut stanza, property);
    }
    listen.children.push(stanza);
}

fn add_property(builder: &mut Builder<'_>, entry: &mut Stanza, property: &Element) {
    if property.word.text.eq_ignore_ascii_case(ScopeKind::Personality.name()) {
        return add_personality(builder, entry, property);
    }
    let Some(option) = builder.option(ScopeKind::AclEntry, &property.word) else { return };
    let kind = option.spec().kind;
    let (value, value_span) = match (&property.properties, kind) {
        (None, Kind::Flag) => (Ok(Value::Bool(true)), property.word.span),
        (None, Kind::Senders) => (Ok(Value::Senders(None)), property.word.span),
        (None, Kind::Property) => (Ok(Value::Map(Arc::default())), property.word.span),
        (None, _) => return missing_value(builder, option, property),
        (Some(dict), _) => (kind.read(&ast::Value::Dict(dict.clone())), dict.span),
    };
    match value {
        Ok(value) => {
            let span = property.word.span.to(value_span);
            builder.set(entry, option, value, span, value_span);
        }
        Err(_) => {
            // Unwrap is OK because only a value from a dictionary can be a misfit.
            let dict = property.properties.clone().unwrap();
            builder.misfit(option.spec(), &ast::Value::Dict(dict));
        }
    }
}

fn missing_value(builder: &mut Builder<'_>, option: OptionId, property: &Element) {
    let spec = option.spec();
    let message = format!("`{}` needs {}", spec.name, spec.kind);
    let example = format!("for example `{} {}`", spec.name, spec.kind.example());
    builder.findings.push(Diagnostic::error(property.word.span, message).help(example));
}

/// `personality [ name = value ... ]`: its options become options of the entry.
fn add_personality(builder: &mut Builder<'_>, entry: &mut Stanza, property: &Element) {
    for assignment in property.properties.iter().flat_map(|dict| &dict.entries) {
        let Some(option) = builder.option(ScopeKind::Personality, &assignment.name) else {
            continue;
        };
        match option.spec().kind.read(&assignment.value) {
            Ok(value) => {
                builder.set(entry, option, value, assignment.span(), assignment.value.span());
            }
            Err(_) => builder.misfit(option.spec(), &assignment.value),
        }
    }
}
