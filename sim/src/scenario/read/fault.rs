//! `[[fault]]`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::super::reader::Table;
use super::super::{Places, units};
use super::{Names, read_prefix, show_prefix};
use crate::dns::DnsFailure;
use crate::fault::{DiskTrouble, Down, FaultKind, FaultSpec, Ours, Slowness};
use crate::network::Prefix;
use crate::receiver::spec::ReceiverSpec;
use crate::traffic::domain_name;

pub(super) fn read_all(root: &Table<'_>, names: &Names, places: &mut Places) -> Vec<FaultSpec> {
    root.tables("fault").into_iter().filter_map(|table| read(table, names, places)).collect()
}

fn read(table: Table<'_>, names: &Names, places: &mut Places) -> Option<FaultSpec> {
    if !table.has("at") {
        table.missing("at", "when it begins: `at = \"3h\"`");
    }
    let at = table.parsed("at", units::duration);
    let length = table.parsed("for", units::duration).map_or(Duration::ZERO, Spanned::into_inner);
    if !table.has("what") {
        let words: Vec<String> = KINDS.iter().map(|(word, _)| format!("`\"{word}\"`")).collect();
        table.missing("what", &format!("what breaks: {}", words.join(", ")));
    }
    let kind = table.word("what", &KINDS);
    let read = kind.and_then(|kind| read_kind(&table, kind, names, places));
    if kind.is_none() {
        // What cannot be understood does not make its neighbours unknown keys.
        for key in ["how", "receiver", "host", "address", "domain", "source", "binding"] {
            table.get(key);
        }
        for key in ["plus", "times"] {
            table.get(key);
        }
    }
    let lasts = kind.is_some_and(|kind| !matches!(kind, Kind::Reset));
    if length.is_zero() && lasts {
        table.missing("for", "how long it lasts: `for = \"1h\"`");
    }
    table.finish();
    let Hit { what, whom } = read?;
    Some(FaultSpec { at: at?.into_inner(), length, what, whom: whom.into() })
}

/// What breaks, and whom that hits.
struct Hit {
    what: FaultKind,
    whom: String,
}

fn read_kind(table: &Table<'_>, kind: Kind, names: &Names, places: &mut Places) -> Option<Hit> {
    let (what, whom) = match kind {
        Kind::HostDown => {
            let how = table.word("how", &Down::NAMES).unwrap_or(Down::Refused);
            let (addresses, whom) = read_addresses(table, names)?;
            (FaultKind::HostDown { how, addresses }, whom)
        }
        Kind::Partition => read_partition(table, names, places)?,
        Kind::Reset => {
            let (addresses, whom) = read_addresses(table, names)?;
            (FaultKind::Reset { addresses }, whom)
        }
        Kind::Slow => {
            let slowness = read_slowness(table);
            let (addresses, whom) = read_addresses(table, names)?;
            (FaultKind::Slow { slowness: slowness?, addresses }, whom)
        }
        Kind::DnsFailure => {
            let failure = table.word("how", &DnsFailure::NAMES).unwrap_or(DnsFailure::ServFail);
            if !["receiver", "host", "domain"].iter().any(|key| table.has(key)) {
                table.missing("domain", "whose names fail: `receiver`, `host` or `domain`");
            }
            let (names, whom) = read_names(table, names)?;
            (FaultKind::Dns { failure, names }, whom)
        }
        Kind::DnsSlow => {
            if !table.has("plus") {
                table.missing("plus", "how much longer answers take: `plus = \"3s\"`");
            }
            let by = table.parsed("plus", units::duration);
            let (names, whom) = match read_names(table, names) {
                Some((names, whom)) => (Some(names), whom),
                None => (None, "every name".to_owned()),
            };
            (FaultKind::DnsSlow { by: by?.into_inner(), names }, whom)
        }
        Kind::StartTlsOff => read_tls_receiver(table, names)?,
        Kind::DiskFull => (FaultKind::Disk(DiskTrouble::Full), String::new()),
        Kind::DiskFails => (FaultKind::Disk(DiskTrouble::Fails), String::new()),
        Kind::DiskSlow => {
            if !table.has("plus") {
                table.missing("plus", "how much longer a sync takes: `plus = \"2s\"`");
            }
            let by = table.parsed("plus", units::duration)?.into_inner();
            (FaultKind::Disk(DiskTrouble::Slow(by)), String::new())
        }
    };
    Some(Hit { what, whom })
}

/// `source` or `binding`, and perhaps whom they do not reach.
fn read_partition(
    table: &Table<'_>,
    names: &Names,
    places: &mut Places,
) -> Option<(FaultKind, String)> {
    let how = table.word("how", &Down::NAMES).unwrap_or(Down::BlackHole);
    let of_some = ["receiver", "host", "address"].iter().any(|key| table.has(key));
    let theirs = read_addresses_if_given(table, names);
    let (ours, whom) = read_ours(table, places)?;
    match theirs {
        Some((addresses, far)) => {
            let whom = format!("{whom} from {far}");
            Some((FaultKind::Partition { how, ours, theirs: Some(addresses) }, whom))
        }
        None if of_some => None,
        None => Some((FaultKind::Partition { how, ours, theirs: None }, whom)),
    }
}

/// The addresses of `source`, or those of a `binding`, and what they are called.
fn read_ours(table: &Table<'_>, places: &mut Places) -> Option<(Ours, String)> {
    let sources = table.texts("source");
    match (sources, table.text("binding")) {
        (Some(sources), None) => {
            let prefixes: Vec<Spanned<Prefix>> =
                sources.into_iter().filter_map(|text| read_prefix(table, &text)).collect();
            places.sources.extend(prefixes.iter().cloned());
            let shown: Vec<String> =
                prefixes.iter().map(|one| show_prefix(*one.get_ref())).collect();
            let prefixes = prefixes.into_iter().map(Spanned::into_inner).collect();
            Some((Ours::Addresses(prefixes), shown.join(", ")))
        }
        (None, Some(binding)) => {
            places.bindings.push(binding.clone());
            let name = binding.into_inner();
            let whom = format!("binding {name}");
            Some((Ours::Binding(name.into()), whom))
        }
        (Some(_), Some(binding)) => {
            let message = "`source` and `binding` cannot both be given";
            table.diagnostics().error(binding.span(), message);
            None
        }
        (None, None) => {
            if !table.has("source") && !table.has("binding") {
                let hint = "which of our addresses: `source = [\"192.0.2.1\"]`, or a `binding`";
                table.missing("source", hint);
            }
            None
        }
    }
}

/// `plus` or `times`.
fn read_slowness(table: &Table<'_>) -> Option<Slowness> {
    let plus = table.parsed("plus", units::duration);
    let times = table.integer("times", 2..TIMES_MAX + 1);
    match (plus, times) {
        (Some(plus), None) => Some(Slowness::Plus(plus.into_inner())),
        (None, Some(times)) => Some(Slowness::Times(times.into_inner() as u32)),
        (Some(_), Some(times)) => {
            let message = "`plus` and `times` cannot both be given";
            table.diagnostics().error(times.span(), message);
            None
        }
        (None, None) => {
            if !table.has("plus") && !table.has("times") {
                let hint = "how much longer packets take: `plus = \"2s\"` or `times = 20`";
                table.missing("plus", hint);
            }
            None
        }
    }
}

/// The addresses of `receiver`, `host` or `address`, and whose they are.
fn read_addresses(table: &Table<'_>, names: &Names) -> Option<(Vec<IpAddr>, String)> {
    let found = read_addresses_if_given(table, names);
    if !["receiver", "host", "address"].iter().any(|key| table.has(key)) {
        table.missing("receiver", "whom it hits: `receiver`, `host` or `address`");
    }
    found
}

fn read_addresses_if_given(table: &Table<'_>, names: &Names) -> Option<(Vec<IpAddr>, String)> {
    let exchanges = |spec: &ReceiverSpec| spec.exchanges.clone();
    if let Some(spec) = names.receiver(table, "receiver") {
        let all = exchanges(spec).into_iter().flat_map(|exchange| exchange.addresses).collect();
        return Some((all, format!("receiver {}", spec.name)));
    }
    if let Some(host) = table.text("host") {
        let mut all = names.receivers.values().flat_map(exchanges);
        let found = all.find(|exchange| *exchange.host == **host.get_ref());
        if found.is_none() {
            let hosts: Vec<Arc<str>> =
                names.receivers.values().flat_map(exchanges).map(|one| one.host).collect();
            let message = format!("there is no exchange `{}`", host.get_ref());
            let known = hosts.iter().map(|host| &**host);
            table.diagnostics().unknown(host.span(), message, host.get_ref(), known);
        }
        return found.map(|exchange| (exchange.addresses, format!("exchange {}", exchange.host)));
    }
    let parse = |text: &str| text.parse().map_err(|_| format!("`{text}` is not an IP address"));
    let address: IpAddr = table.parsed("address", parse)?.into_inner();
    Some((vec![address], format!("address {address}")))
}

/// The `receiver` that turns STARTTLS off; it has to have it.
fn read_tls_receiver(table: &Table<'_>, names: &Names) -> Option<(FaultKind, String)> {
    if !table.has("receiver") {
        table.missing("receiver", "who offers no STARTTLS any more");
    }
    let receiver = names.receiver(table, "receiver")?;
    if receiver.tls.is_empty() {
        let message = format!("`{}` offers no STARTTLS that could be turned off", receiver.name);
        let hint = "give it a `[receiver.tls]`";
        table.diagnostics().error_with_hint(table.span(), message, hint);
    }
    let whom = format!("receiver {}", receiver.name);
    Some((FaultKind::StartTlsOff { receiver: Arc::clone(&receiver.name) }, whom))
}

/// The names of `receiver` (its domains and exchanges), `host` or `domain`, and whose they are.
fn read_names(table: &Table<'_>, names: &Names) -> Option<(Vec<Arc<str>>, String)> {
    if let Some(spec) = names.receiver(table, "receiver") {
        let hosts = spec.exchanges.iter().map(|exchange| &exchange.host);
        let all = spec.domains.iter().chain(hosts).cloned().collect();
        return Some((all, format!("receiver {}", spec.name)));
    }
    let name = ["host", "domain"].iter().find_map(|key| table.parsed(key, domain_name))?;
    let name = name.into_inner();
    let whom = format!("name {name}");
    Some((vec![name], whom))
}

#[derive(Clone, Copy)]
enum Kind {
    HostDown,
    Partition,
    Reset,
    Slow,
    DnsFailure,
    DnsSlow,
    StartTlsOff,
    DiskFull,
    DiskFails,
    DiskSlow,
}

const KINDS: [(&str, Kind); 10] = [
    ("host_down", Kind::HostDown),
    ("partition", Kind::Partition),
    ("reset", Kind::Reset),
    ("slow", Kind::Slow),
    ("dns_failure", Kind::DnsFailure),
    ("dns_slow", Kind::DnsSlow),
    ("starttls_off", Kind::StartTlsOff),
    ("disk_full", Kind::DiskFull),
    ("disk_fails", Kind::DiskFails),
    ("disk_slow", Kind::DiskSlow),
];

/// Most that a packet may take longer, in times.
const TIMES_MAX: u64 = 10_000;
