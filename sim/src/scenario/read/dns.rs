//! `[dns]`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::reader::Table;
use super::super::units;
use crate::dns::{DnsFailure, DnsSpec, NameSpec};
use crate::traffic::domain_name;

pub(super) fn read(root: &Table<'_>) -> DnsSpec {
    let default = DnsSpec::default();
    let Some(table) = root.table("dns") else { return default };
    let duration =
        |key, default| table.parsed(key, units::duration).map_or(default, Spanned::into_inner);
    let spec = DnsSpec {
        ttl: duration("ttl", default.ttl),
        negative_ttl: duration("negative_ttl", default.negative_ttl),
        latency: duration("latency", default.latency),
        jitter: duration("jitter", default.jitter),
        timeout: duration("timeout", default.timeout),
        names: table.tables("name").into_iter().filter_map(read_name).collect(),
    };
    table.finish();
    spec
}

fn read_name(table: Table<'_>) -> Option<NameSpec> {
    if !table.has("name") {
        table.missing("name", "whose records they are");
    }
    let name = table.parsed("name", domain_name);
    let mx = read_mx(&table);
    let mut addresses = Vec::new();
    for text in table.texts("addresses").unwrap_or_default() {
        match text.get_ref().parse::<IpAddr>() {
            Ok(address) => addresses.push(address),
            Err(_) => {
                let message = format!("`{}` is not an IP address", text.get_ref());
                table.diagnostics().error(text.span(), message);
            }
        }
    }
    let ttl: Option<Duration> = table.parsed("ttl", units::duration).map(Spanned::into_inner);
    let failure = table.word("failure", &DnsFailure::NAMES);
    let mx_failure = table.word("mx_failure", &DnsFailure::NAMES);
    let from = table.parsed("from", units::duration).map_or(Duration::ZERO, Spanned::into_inner);
    let until = table.parsed("until", units::duration);
    if let Some(until) = until.as_ref().filter(|until| *until.get_ref() <= from) {
        table.diagnostics().error(until.span(), "`until` must be after `from`");
    }
    table.finish();
    let (name, until) = (name?.into_inner(), until.map(Spanned::into_inner));
    Some(NameSpec { name, mx, addresses, ttl, failure, mx_failure, from, until })
}

/// `mx = "null"`, or a list of host names and of `{ host = , preference = }`.
fn read_mx(table: &Table<'_>) -> Vec<(u16, Arc<str>)> {
    let Some(value) = table.get("mx") else { return Vec::new() };
    let named = |host: Arc<str>| (PREFERENCE_DEFAULT, host);
    match value.get_ref() {
        DeValue::String(_) => {
            table.word("mx", &[("null", ())]);
            vec![(0, "".into())]
        }
        DeValue::Array(elements) => elements
            .iter()
            .filter_map(|element| match element.get_ref() {
                DeValue::Table(_) => read_record(table.table_of(element, "mx")?),
                _ => {
                    let host = table.parse_value(element, "mx", domain_name)?;
                    Some(named(host.into_inner()))
                }
            })
            .collect(),
        _ => {
            table.wrong_type(value, "mx", "a list, or \"null\"");
            Vec::new()
        }
    }
}

fn read_record(table: Table<'_>) -> Option<(u16, Arc<str>)> {
    if !table.has("host") {
        table.missing("host", "the exchange's name");
    }
    let host = table.parsed("host", domain_name);
    let preference = table.integer("preference", 0..1 << 16);
    table.finish();
    let preference = preference.map_or(PREFERENCE_DEFAULT, |number| number.into_inner() as u16);
    Some((preference, host?.into_inner()))
}

const PREFERENCE_DEFAULT: u16 = 10;
