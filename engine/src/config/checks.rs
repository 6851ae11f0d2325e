//! What is wrong with one option beyond its type, and what it cannot do yet.

use alloc::format;
use core::net::{IpAddr, SocketAddr};

use super::diagnostic::Diagnostic;
use super::lint;
use super::options::OptionId;
use super::routes;
use super::source::Span;
use super::tree::{not_yet, status_finding};
use super::value::Value;
use crate::smtp::transcode::Replacement;

/// What is to be said about an option that is set to a value of its type.
/// An error means that the assignment does not count.
pub(super) fn setting(id: OptionId, value: &Value, span: Span) -> Option<Diagnostic> {
    let spec = id.spec();
    wrong_value(spec.name, value, span)
        .or_else(|| status_finding(spec, span))
        .or_else(|| half_working(spec.name, value, span))
}

fn wrong_value(name: &str, value: &Value, span: Span) -> Option<Diagnostic> {
    if let (Value::Words(entries), "routes") = (value, name) {
        let why = routes::read(entries).err()?;
        return Some(
            Diagnostic::error(span, why)
                .help("for example ( \"smtp://hub.example?pref=10\" \"__mx__\" )"),
        );
    }
    let Value::Text(text) = value else { return None };
    match name {
        "gateway" if !(text.is_empty() || is_next_hop(text)) => Some(
            Diagnostic::error(span, format!("`{text}` is neither a host name nor an address"))
                .help("an IPv6 address needs brackets; `remote_smtp_port` sets the port"),
        ),
        "static_banner" if !text.starts_with("220 ") && &**text != "220" => Some(
            Diagnostic::error(span, "a banner begins with the code 220")
                .help(format!("write \"220 {text}\"")),
        ),
        "bind_address" if &**text != "*" && parse_address(text).is_none() => Some(
            Diagnostic::error(span, format!("`{text}` is not an address"))
                .help("write an IPv4 or IPv6 address, or `*`; host names are not looked up here"),
        ),
        "resolv_conf" if !text.starts_with('/') && text.parse::<SocketAddr>().is_err() => Some(
            Diagnostic::error(span, format!("`{text}` is neither a path nor `address:port`"))
                .help("for example \"/etc/resolv.conf\" or \"192.0.2.53:53\""),
        ),
        "response_transcode_replace"
            if !text.is_empty() && !Replacement::parse(text).may_be_reply() =>
        {
            Some(
                Diagnostic::error(span, "this is no reply that says no")
                    .label("must begin with a code from 400 to 599")
                    .help("for example \"450 4.7.1 $0\""),
            )
        }
        "hostname" | "banner_hostname" | "received_hostname" | "ehlo_hostname"
            if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) =>
        {
            Some(Diagnostic::error(span, format!("`{text}` is not a host name")))
        }
        _ => None,
    }
}

/// A host name, an IPv4 address, or an IPv6 address in brackets.
fn is_next_hop(text: &str) -> bool {
    match parse_address(text) {
        Some(address) => address.is_ipv4() || text.starts_with('['),
        None => routes::is_host_name(text),
    }
}

/// Why a delivery method has no effect; `None` for those that have.
fn why_not_spoken(method: &str) -> Option<&'static str> {
    match method {
        "ECSTREAM" => Some("ECStream is a protocol of the original alone"),
        "APN" | "GCM" => Some("the push services it belongs to were shut down"),
        "MM7" => Some("mail is not delivered over HTTP"),
        _ => None,
    }
}

/// An address with or without brackets.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

/// Options that work, but not with every value.
fn half_working(name: &str, value: &Value, span: Span) -> Option<Diagnostic> {
    match (name, value) {
        ("delivery_method", Value::Word(method)) => {
            let message = format!("`{method}` is not spoken: {}", why_not_spoken(method)?);
            let finding = Diagnostic::warning(span, message).label("mail is delivered by ESMTP");
            Some(finding.help("write `ESMTP`, `SMTP` or `LMTP`"))
        }
        ("transform_8bitmime_content", Value::Word(word)) if *word != "no" => Some(
            not_yet(span, "conversion of 8-bit content")
                .label("what would need it fails with 554 5.6.3"),
        ),
        ("rfc2822_lone_lf_in_body", Value::Word("ignore")) => Some(
            Diagnostic::warning(span, "`ignore` is taken as `fix`")
                .code(lint::LONE_LF)
                .label("bare line feeds are never relayed")
                .help("relaying them lets others smuggle mail; write `fix` or `pedantic`"),
        ),
        _ => None,
    }
}
