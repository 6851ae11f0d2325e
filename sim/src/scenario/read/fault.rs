//! `[[fault]]`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::super::reader::Table;
use super::super::units;
use super::Names;
use crate::dns::DnsFailure;
use crate::fault::{Down, FaultKind, FaultSpec};
use crate::receiver::spec::ReceiverSpec;
use crate::traffic::domain_name;

pub(super) fn read_all(root: &Table<'_>, names: &Names) -> Vec<FaultSpec> {
    root.tables("fault").into_iter().filter_map(|table| read(table, names)).collect()
}

fn read(table: Table<'_>, names: &Names) -> Option<FaultSpec> {
    if !table.has("at") {
        table.missing("at", "when it begins: `at = \"3h\"`");
    }
    let at = table.parsed("at", units::duration);
    let length = table.parsed("for", units::duration).map_or(Duration::ZERO, Spanned::into_inner);
    if !table.has("what") {
        let hint = "`what = \"host_down\"`, `\"reset\"`, `\"dns_failure\"` or `\"starttls_off\"`";
        table.missing("what", hint);
    }
    let kind = match table.word("what", &KINDS) {
        Some(Kind::HostDown) => {
            let how = table.word("how", &Down::NAMES).unwrap_or(Down::Refused);
            read_addresses(&table, names).map(|addresses| FaultKind::HostDown { how, addresses })
        }
        Some(Kind::Reset) => {
            read_addresses(&table, names).map(|addresses| FaultKind::Reset { addresses })
        }
        Some(Kind::DnsFailure) => {
            let failure = table.word("how", &DnsFailure::NAMES).unwrap_or(DnsFailure::ServFail);
            read_names(&table, names).map(|names| FaultKind::Dns { failure, names })
        }
        Some(Kind::StartTlsOff) => read_tls_receiver(&table, names),
        // What cannot be understood does not make its neighbours unknown keys.
        None => {
            for key in ["how", "receiver", "host", "address", "domain"] {
                table.get(key);
            }
            None
        }
    };
    if length.is_zero() && !matches!(kind, Some(FaultKind::Reset { .. }) | None) {
        table.missing("for", "how long it lasts: `for = \"1h\"`");
    }
    table.finish();
    Some(FaultSpec { at: at?.into_inner(), length, what: kind? })
}

/// The addresses of `receiver`, `host` or `address`.
fn read_addresses(table: &Table<'_>, names: &Names) -> Option<Vec<IpAddr>> {
    let exchanges = |spec: &ReceiverSpec| spec.exchanges.clone();
    if let Some(spec) = names.receiver(table, "receiver") {
        let all = exchanges(spec);
        return Some(all.into_iter().flat_map(|exchange| exchange.addresses).collect());
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
        return found.map(|exchange| exchange.addresses);
    }
    let parse = |text: &str| text.parse().map_err(|_| format!("`{text}` is not an IP address"));
    if let Some(address) = table.parsed("address", parse) {
        return Some(vec![address.into_inner()]);
    }
    if !["receiver", "host", "address"].iter().any(|key| table.has(key)) {
        table.missing("receiver", "whom it hits: `receiver`, `host` or `address`");
    }
    None
}

/// The `receiver` that turns STARTTLS off; it has to have it.
fn read_tls_receiver(table: &Table<'_>, names: &Names) -> Option<FaultKind> {
    if !table.has("receiver") {
        table.missing("receiver", "who offers no STARTTLS any more");
    }
    let receiver = names.receiver(table, "receiver")?;
    if receiver.tls.is_empty() {
        let message = format!("`{}` offers no STARTTLS that could be turned off", receiver.name);
        let hint = "give it a `[receiver.tls]`";
        table.diagnostics().error_with_hint(table.span(), message, hint);
    }
    Some(FaultKind::StartTlsOff { receiver: Arc::clone(&receiver.name) })
}

/// The names of `receiver` (its domains and exchanges), `host` or `domain`.
fn read_names(table: &Table<'_>, names: &Names) -> Option<Vec<Arc<str>>> {
    if let Some(spec) = names.receiver(table, "receiver") {
        let hosts = spec.exchanges.iter().map(|exchange| &exchange.host);
        return Some(spec.domains.iter().chain(hosts).cloned().collect());
    }
    for key in ["host", "domain"] {
        if let Some(name) = table.parsed(key, domain_name) {
            return Some(vec![name.into_inner()]);
        }
    }
    if !["receiver", "host", "domain"].iter().any(|key| table.has(key)) {
        table.missing("domain", "whose names fail: `receiver`, `host` or `domain`");
    }
    None
}

#[derive(Clone, Copy)]
enum Kind {
    HostDown,
    Reset,
    DnsFailure,
    StartTlsOff,
}

const KINDS: [(&str, Kind); 4] = [
    ("host_down", Kind::HostDown),
    ("reset", Kind::Reset),
    ("dns_failure", Kind::DnsFailure),
    ("starttls_off", Kind::StartTlsOff),
];
