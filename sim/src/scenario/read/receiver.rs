//! `[[receiver]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::reader::Table;
use super::super::{Places, units};
use super::{limit, profile, response, uncertain};
use crate::glob::Glob;
use crate::profile::{Parts, Profile};
use crate::receiver::spec::{
    Bandwidth, Curve, Exchange, Extensions, Greylist, GreylistKey, Latency, Per, Protocol,
    ReceiverSpec, ReplyText, Response, Rule, SMTP_PORT, Stage, Uncertain, XclientAttributes,
};
use crate::traffic::domain_name;

pub(super) fn read_all(path: &Path, root: &Table<'_>, places: &mut Places) -> Vec<ReceiverSpec> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut given = Given::default();
    let mut receivers = Vec::new();
    for table in root.tables("receiver") {
        let place = table.span();
        if let Some(receiver) = read(table, folder, &mut given) {
            receivers.push(receiver);
            places.receivers.push(place);
        }
    }
    receivers
}

/// What receivers have claimed so far: nothing may belong to two of them.
#[derive(Default)]
struct Given {
    names: BTreeSet<String>,
    domains: BTreeMap<Arc<str>, String>,
    addresses: BTreeMap<IpAddr, String>,
    /// Addresses handed out to exchanges without one.
    automatic: u32,
}

impl Given {
    fn next_address(&mut self) -> IpAddr {
        self.automatic += 1;
        IpAddr::V4(Ipv4Addr::from(u32::from(FIRST_ADDRESS) + self.automatic))
    }
}

fn read(table: Table<'_>, folder: &Path, given: &mut Given) -> Option<ReceiverSpec> {
    if !table.has("name") {
        table.missing("name", "what reports call the receiver");
    }
    let name = table.text("name");
    if let Some(name) = &name
        && !given.names.insert(name.get_ref().clone())
    {
        let message = format!("two receivers are named `{}`", name.get_ref());
        table.diagnostics().error(name.span(), message);
    }
    let label = name.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default();
    let domains = read_domains(&table, &label, given);
    let exchanges = read_exchanges(&table, &label, &domains, given);
    let duration =
        |key, default| table.parsed(key, units::duration).map_or(default, Spanned::into_inner);
    let latency = Latency {
        base: duration("latency", LATENCY_DEFAULT),
        jitter: duration("jitter", Duration::ZERO),
    };
    let per_second = |key| table.parsed(key, units::bandwidth).map(Spanned::into_inner);
    let bandwidth = Bandwidth {
        connection: per_second("bandwidth"),
        address: per_second("exchange_bandwidth"),
    };
    let protocol = table.word("protocol", &PROTOCOLS).unwrap_or_default();
    let port = table.integer("port", 1..1 << 16).map(|port| *port.get_ref() as u16);
    let profile = profile::of_receiver(&table, folder);
    let profile_name = profile.as_ref().map(|profile| Arc::clone(&profile.name));
    let parts = read_parts(&table, protocol, profile);
    table.finish();
    Some(ReceiverSpec {
        name: name?.into_inner().into(),
        profile: profile_name,
        domains,
        exchanges,
        protocol,
        port: port.unwrap_or(match protocol {
            Protocol::Smtp => SMTP_PORT,
            Protocol::Lmtp => LMTP_PORT,
        }),
        latency,
        bandwidth,
        extensions: parts.extensions.unwrap_or_default(),
        limits: parts.limits,
        unknown: parts.unknown,
        greylist: parts.greylist,
        rules: parts.rules,
        tls: parts.tls,
    })
}

/// How it behaves: what the scenario says comes before what the profile does.
fn read_parts(table: &Table<'_>, protocol: Protocol, profile: Option<Profile>) -> Parts {
    if profile.is_none() && !table.has("profile") && table.has("without") {
        let message = "`without` leaves out parts of a profile, and there is none";
        table.diagnostics().error(table.span(), message);
    }
    let mut given = profile.map(|profile| profile.parts).unwrap_or_default();
    profile::leave_out(table, &mut given);
    let limits = table.tables("limit").into_iter().filter_map(limit::read).collect();
    let rules = table.tables("reply").into_iter();
    let mut rules: Vec<Rule> = rules.filter_map(|table| read_rule(table, protocol)).collect();
    rules.extend(given.rules);
    let tls = super::tls::read_all(table);
    Parts {
        extensions: read_extensions(table).or(given.extensions),
        limits: profile::with_limits(limits, given.limits),
        unknown: table.table("unknown").and_then(limit::read_unknown).or(given.unknown),
        greylist: table.table("greylist").and_then(read_greylist).or(given.greylist),
        rules,
        tls: if table.has("tls") { tls } else { given.tls },
    }
}

fn read_domains(table: &Table<'_>, receiver: &str, given: &mut Given) -> Vec<Arc<str>> {
    if !table.has("domains") {
        table.missing("domains", "the domains it receives for: `domains = [\"a.test\"]`");
    }
    let mut domains = Vec::new();
    for text in table.texts("domains").unwrap_or_default() {
        match domain_name(text.get_ref()) {
            Ok(domain) => {
                let owner = given.domains.insert(Arc::clone(&domain), receiver.to_owned());
                if let Some(owner) = owner {
                    let message = format!("`{domain}` already belongs to receiver `{owner}`");
                    table.diagnostics().error(text.span(), message);
                }
                domains.push(domain);
            }
            Err(why) => table.diagnostics().error(text.span(), why),
        }
    }
    domains
}

/// `mx`: a list of host names or of tables; without it one exchange, `mx.` and the first domain.
fn read_exchanges(
    table: &Table<'_>,
    receiver: &str,
    domains: &[Arc<str>],
    given: &mut Given,
) -> Vec<Exchange> {
    let automatic = |host: Arc<str>, given: &mut Given| Exchange {
        host,
        preference: PREFERENCE_DEFAULT,
        addresses: vec![given.next_address()],
    };
    let Some(value) = table.get("mx") else {
        let first = domains.first().map_or("invalid", |domain| domain);
        return vec![automatic(format!("mx.{first}").into(), given)];
    };
    let DeValue::Array(elements) = value.get_ref() else {
        table.wrong_type(value, "mx", "a list");
        return Vec::new();
    };
    if elements.is_empty() {
        let hint = "a domain without exchanges is a `[[dns.name]]`, not a receiver";
        table.diagnostics().error_with_hint(value.span(), "`mx` is empty", hint);
    }
    let mut exchanges = Vec::new();
    for element in elements {
        let exchange = match element.get_ref() {
            DeValue::Table(_) => {
                table.table_of(element, "mx").and_then(|mx| read_exchange(mx, receiver, given))
            }
            _ => table
                .parse_value(element, "mx", domain_name)
                .map(|host| automatic(host.into_inner(), given)),
        };
        exchanges.extend(exchange);
    }
    exchanges
}

fn read_exchange(mx: Table<'_>, receiver: &str, given: &mut Given) -> Option<Exchange> {
    if !mx.has("host") {
        mx.missing("host", "the exchange's name");
    }
    let host = mx.parsed("host", domain_name);
    let preference = mx.integer("preference", 0..1 << 16);
    let mut addresses = Vec::new();
    for text in mx.texts("addresses").unwrap_or_default() {
        let Ok(address) = text.get_ref().parse::<IpAddr>() else {
            let message = format!("`{}` is not an IP address", text.get_ref());
            mx.diagnostics().error(text.span(), message);
            continue;
        };
        if let Some(owner) = given.addresses.insert(address, receiver.to_owned()) {
            let message = format!("{address} already belongs to receiver `{owner}`");
            mx.diagnostics().error(text.span(), message);
        }
        addresses.push(address);
    }
    if addresses.is_empty() && !mx.has("addresses") {
        addresses.push(given.next_address());
    }
    mx.finish();
    let preference = preference.map_or(PREFERENCE_DEFAULT, |number| number.into_inner() as u16);
    Some(Exchange { host: host?.into_inner(), preference, addresses })
}

pub(super) fn read_extensions(table: &Table<'_>) -> Option<Extensions> {
    let offered = table.texts("extensions")?;
    let mut extensions = Extensions {
        pipelining: false,
        size: None,
        eight_bit_mime: false,
        enhanced_status_codes: false,
        xclient: XclientAttributes::default(),
    };
    for text in offered {
        if let Some(attributes) = text.get_ref().strip_prefix("XCLIENT") {
            extensions.xclient = read_attributes(table, &text, attributes);
            continue;
        }
        let mut words = text.get_ref().split(' ');
        let keyword = words.next().unwrap_or("").to_ascii_uppercase();
        match (keyword.as_str(), words.next().map(str::parse)) {
            ("PIPELINING", None) => extensions.pipelining = true,
            ("8BITMIME", None) => extensions.eight_bit_mime = true,
            ("ENHANCEDSTATUSCODES", None) => extensions.enhanced_status_codes = true,
            ("SIZE", None) => extensions.size = Some(0),
            ("SIZE", Some(Ok(max))) => extensions.size = Some(max),
            _ => {
                let known = ["PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "XCLIENT"];
                let message = format!("`{}` is not an extension known here", text.get_ref());
                table.diagnostics().unknown(text.span(), message, &keyword, known);
            }
        }
    }
    Some(extensions)
}

/// `XCLIENT`, which offers every attribute, or `XCLIENT ADDR HELO`.
fn read_attributes(
    table: &Table<'_>,
    text: &Spanned<String>,
    attributes: &str,
) -> XclientAttributes {
    if attributes.is_empty() {
        return XclientAttributes::ALL;
    }
    let mut offered = XclientAttributes::default();
    for name in attributes.split_ascii_whitespace() {
        if !offered.add(name) {
            let message = format!("`{name}` is not an attribute of XCLIENT known here");
            table.diagnostics().unknown(text.span(), message, name, XclientAttributes::NAMES);
        }
    }
    offered
}

pub(super) fn read_greylist(table: Table<'_>) -> Option<Greylist> {
    let duration =
        |key, default| table.parsed(key, units::duration).map_or(default, Spanned::into_inner);
    let hold = uncertain::read(&table, "hold", Duration::ZERO, |table, value, key| {
        table.parse_value(value, key, units::duration).map(Spanned::into_inner)
    });
    let (hold, range) = hold.unwrap_or((Duration::from_secs(300), None));
    let window = duration("window", Duration::from_secs(8 * 3600));
    let pass = duration("pass", Duration::from_secs(36 * 86_400));
    if window <= range.map_or(hold, |range| range.most) {
        table.diagnostics().error(table.span(), "`window` must be longer than `hold`");
    }
    let mut key = GreylistKey { source: Per::All, sender: false, recipient: false };
    match table.texts("key") {
        None => key = GreylistKey { source: Per::Network, sender: true, recipient: true },
        Some(parts) => {
            for part in parts {
                match part.get_ref().as_str() {
                    "address" => key.source = Per::Address,
                    "network" => key.source = Per::Network,
                    "sender" => key.sender = true,
                    "recipient" => key.recipient = true,
                    other => {
                        let known = ["address", "network", "sender", "recipient"];
                        let message = format!("`{other}` is not part of a greylist key");
                        table.diagnostics().unknown(part.span(), message, other, known);
                    }
                }
            }
        }
    }
    let reply = table.parsed("reply", ReplyText::parse);
    if let Some(reply) = &reply
        && !reply.get_ref().is_transient()
    {
        table.diagnostics().error(reply.span(), "greylisting says 4xx");
    }
    let default = || ReplyText {
        before: Vec::new(),
        code: 451,
        text: "4.7.1 Greylisted, please try again later".into(),
    };
    let reply = reply.map_or_else(default, Spanned::into_inner);
    table.finish();
    Some(Greylist { hold, range, window, pass, key, reply })
}

pub(super) fn read_rule(table: Table<'_>, protocol: Protocol) -> Option<Rule> {
    if !table.has("stage") {
        table.missing("stage", "where it applies: `stage = \"rcpt\"`");
    }
    let stage = table.word("stage", &Stage::NAMES);
    let glob = |key, first: Stage, last: Stage| {
        let text = table.text(key)?;
        if let Some(stage) = stage
            && !(first..=last).contains(&stage)
        {
            let message = format!("`{key}` is not known at this stage");
            table.diagnostics().error(text.span(), message);
        }
        Some(Glob::new(text.get_ref()))
    };
    let exchange = glob("exchange", Stage::Banner, Stage::Rset);
    let source = glob("source", Stage::Banner, Stage::Body);
    let ehlo = glob("ehlo", Stage::Ehlo, Stage::Body);
    let client = glob("client", Stage::Mail, Stage::Body);
    let sender = glob("sender", Stage::Mail, Stage::Body);
    // In SMTP one reply to the message is for all its recipients.
    let recipient = match (protocol, stage) {
        (Protocol::Lmtp, Some(Stage::Body)) => glob("recipient", Stage::Body, Stage::Body),
        _ => glob("recipient", Stage::Rcpt, Stage::Rcpt),
    };
    let larger_than = table.parsed("larger_than", units::size);
    if let (Some(size), Some(stage)) = (&larger_than, stage)
        && !(Stage::Mail..=Stage::Body).contains(&stage)
    {
        table.diagnostics().error(size.span(), "`larger_than` is not known at this stage");
    }
    let (probability, range) = read_probability(&table);
    let after = table.parsed("after", units::duration).map_or(Duration::ZERO, Spanned::into_inner);
    let before = table.parsed("before", units::duration).map_or(Duration::MAX, Spanned::into_inner);
    if before <= after {
        table.diagnostics().error(table.span(), "`before` must be later than `after`");
    }
    let delay = table.parsed("delay", units::duration).map(Spanned::into_inner);
    let response = response::read(&table, delay);
    // Where it is what a tarpit adds, it is not waited twice.
    let delay = match &response {
        Some(Response::Tarpit(_)) => Duration::ZERO,
        _ => delay.unwrap_or_default(),
    };
    let keeps_message = table.boolean("keeps_message").unwrap_or(false);
    let unannounced_8bit = table.boolean("unannounced_8bit").unwrap_or(false);
    for (key, is_set) in [("keeps_message", keeps_message), ("unannounced_8bit", unannounced_8bit)]
    {
        if is_set && stage.is_some_and(|stage| stage != Stage::Body) {
            let message = format!("`{key}` goes with `stage = \"body\"`");
            table.diagnostics().error(table.span(), message);
        }
    }
    if keeps_message && matches!(response, Some(Response::Tarpit(_))) {
        table.diagnostics().error(table.span(), "a tarpit keeps every message anyway");
    }
    table.finish();
    let window = after..before;
    Some(Rule {
        stage: stage?,
        exchange,
        source,
        ehlo,
        client,
        sender,
        recipient,
        unannounced_8bit,
        larger_than: larger_than.map(Spanned::into_inner),
        probability,
        range,
        window,
        delay,
        response: response?,
        keeps_message,
    })
}

/// A number, one that changes with the time, or a range.
fn read_probability(table: &Table<'_>) -> (Curve, Option<Uncertain<f64>>) {
    if !uncertain::is_range(table, "probability") {
        return (response::read_curve(table, "probability", 1.0), None);
    }
    let range = uncertain::read(table, "probability", 0.0, |table, value, key| {
        table.number_of(value, key, 1.0)
    });
    let (least, range) = range.unwrap_or((1.0, None));
    (Curve::constant(least), range)
}

/// Exchanges without an address get the ones after this (RFC 2544's benchmarking network).
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

const PREFERENCE_DEFAULT: u16 = 10;

/// That of the option `lmtp_port`.
const LMTP_PORT: u16 = 2003;

const PROTOCOLS: [(&str, Protocol); 2] = [("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)];

const LATENCY_DEFAULT: Duration = Duration::from_millis(20);
