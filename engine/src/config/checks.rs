//! What is wrong with one option beyond its type, and what it cannot do yet.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::diagnostic::Diagnostic;
use super::lint;
use super::options::OptionId;
use super::routes;
use super::source::Span;
use super::tree::{not_yet, status_finding};
use super::value::Value;
use crate::smtp::address::Mailbox;
use crate::smtp::transcode::Replacement;
use crate::tls::ciphers::CipherList;
use crate::tls::info::CipherSuite;
use crate::tls::protocols::Protocols;

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
        "chroot" if !matches!(&**text, "" | "/" | "none") => Some(
            Diagnostic::error(span, "the process cannot be confined to a directory")
                .label("configuration, keys, logs and spool would be out of reach")
                .help("use the sandbox of the systemd unit, or a container, and remove this"),
        ),
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
        "tls_ciphers" if !text.is_empty() && CipherList::parse(text).is_empty => Some(
            Diagnostic::error(span, "no cipher suite of this list exists here")
                .label(no_ciphers_label(text))
                .help(format!("there are {}", suite_names(CipherSuite::ALL))),
        ),
        "mdn_failures_notify" if !text.is_empty() && text.parse::<Mailbox>().is_err() => Some(
            Diagnostic::error(span, format!("`{text}` is not an address"))
                .help("for example \"postmaster@example.com\""),
        ),
        "mailerdaemon" if !text.is_empty() && !is_from_field(text) => Some(
            Diagnostic::error(span, "this cannot be a From field")
                .help("for example \"mailer-daemon@example.com\" or \"Mail <daemon@example.com>\""),
        ),
        "tls_protocols" => wrong_protocols(text, span),
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

/// One address of ASCII, alone or in angle brackets behind a name (RFC 5322 section 3.4).
fn is_from_field(text: &str) -> bool {
    let address = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((_, address)) => address,
        None => text,
    };
    let plain = |c: char| c == ' ' || c.is_ascii_graphic();
    text.chars().all(plain) && text.len() <= 500 && address.parse::<Mailbox>().is_ok()
}

/// A host name, an IPv4 address, or an IPv6 address in brackets.
fn is_next_hop(text: &str) -> bool {
    match parse_address(text) {
        Some(address) => address.is_ipv4() || text.starts_with('['),
        None => routes::is_host_name(text),
    }
}

fn wrong_protocols(text: &str, span: Span) -> Option<Diagnostic> {
    let protocols = Protocols::parse(text);
    if let Some(word) = protocols.unknown.first() {
        let names = "ALL, TLSv1.3 and TLSv1.2, each with + or - in front";
        let message = format!("`{word}` is no protocol version");
        return Some(Diagnostic::error(span, message).help(format!("there are {names}")));
    }
    protocols.versions.is_empty().then(|| {
        Diagnostic::error(span, "no protocol version is left")
            .help("only TLS 1.2 and 1.3 are to be had; write \"+ALL\"")
    })
}

fn no_ciphers_label(text: &str) -> String {
    let list = CipherList::parse(text);
    match list.unknown.first() {
        Some(word) => format!("`{word}` is nothing that OpenSSL knows"),
        None => "nothing is left of it".into(),
    }
}

fn suite_names(suites: &[CipherSuite]) -> String {
    let names: Vec<_> = suites.iter().map(|suite| suite.openssl_name()).collect();
    names.join(", ")
}

/// Words of a list of suites that add nothing.
fn idle_ciphers(text: &str, span: Span) -> Option<Diagnostic> {
    let list = CipherList::parse(text);
    let (word, why) = match (list.unknown.first(), list.unavailable.first()) {
        (Some(word), _) => (word, "is nothing that OpenSSL knows"),
        (None, Some(word)) => (word, "names no suite that exists here"),
        (None, None) => return None,
    };
    let what = format!("what remains is {}", suite_names(&list.suites));
    Some(Diagnostic::warning(span, format!("`{word}` {why}")).help(what))
}

/// The first extension of a list that is not offered.
fn missing_extension(words: &[Arc<str>], span: Span) -> Option<Diagnostic> {
    let is = |word: &str, known: &[&str]| known.iter().any(|name| word.eq_ignore_ascii_case(name));
    let known = ["STARTTLS", "PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"];
    let missing = words.iter().find(|word| !is(word, &known))?;
    let first = missing.split(' ').next().unwrap_or_default();
    Some(match is(first, &["AUTH"]) {
        true => not_yet(span, "authentication"),
        false => Diagnostic::warning(span, format!("the extension `{missing}` is not offered")),
    })
}

/// Keys of the property `TLS` that mean nothing.
fn unknown_tls_key(map: &BTreeMap<Arc<str>, Arc<str>>, span: Span) -> Option<Diagnostic> {
    let known = ["extension", "certificate", "key", "clientca", "ciphers"];
    let key = map.keys().find(|key| !known.contains(&&***key))?;
    let message = format!("`TLS` has no `{key}`");
    Some(Diagnostic::error(span, message).help(format!("it has {}", known.join(", "))))
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

/// Whether a log is a file of this machine.
pub(super) fn is_local_file(path: &str) -> bool {
    !path.starts_with("cluster:")
}

/// Options that work, but not with every value.
fn half_working(name: &str, value: &Value, span: Span) -> Option<Diagnostic> {
    match (name, value) {
        ("delivery_method", Value::Word(method)) => {
            let message = format!("`{method}` is not spoken: {}", why_not_spoken(method)?);
            let finding = Diagnostic::warning(span, message).label("mail is delivered by ESMTP");
            Some(finding.help("write `ESMTP`, `SMTP` or `LMTP`"))
        }
        ("mainlog" | "rejectlog" | "bouncelog", Value::Text(text)) if !is_local_file(text) => Some(
            Diagnostic::warning(span, "the log is written nowhere: there are no clusters")
                .code(lint::NOT_YET)
                .help("write the path of a file"),
        ),
        ("tls_ciphers", Value::Text(text)) => idle_ciphers(text, span),
        ("tls_protocols", Value::Text(text)) => {
            let protocols = Protocols::parse(text);
            let old = protocols.unobtainable.first()?;
            let names: Vec<_> = protocols.versions.iter().map(|version| version.name()).collect();
            let finding = Diagnostic::warning(span, format!("{old} is not to be had any more"));
            Some(finding.help(format!("what remains is {}", names.join(" and "))))
        }
        ("smtp_extensions", Value::Words(words)) => missing_extension(words, span),
        ("TLS", Value::Map(map)) => unknown_tls_key(map, span).or_else(|| {
            let list = map.get("ciphers").filter(|list| !list.is_empty())?;
            match CipherList::parse(list).is_empty {
                true => {
                    let message = "no cipher suite of this list exists here";
                    Some(Diagnostic::error(span, message).label(no_ciphers_label(list)))
                }
                false => idle_ciphers(list, span),
            }
        }),
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
