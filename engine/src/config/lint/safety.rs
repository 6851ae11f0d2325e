//! What endangers mail, its readers, or the reputation of the server.

use alloc::format;
use alloc::vec::Vec;

use super::super::compile::{Block, Layer};
use super::super::diagnostic::Diagnostic;
use super::super::options::{OptionId, id};
use super::super::tree::Setting;
use super::super::value::Value;
use super::{
    NO_CERTIFICATE, NOTHING_TO_OFFER, OPEN_RELAY, UNSAFE_SPOOL, UNVERIFIED_TLS, VERIFY_WITHOUT_TLS,
    View, resolve, warn,
};

/// A network with fewer bits than this is not one's own.
const OWN_NETWORK_BITS_MIN: u8 = 8;

pub(super) fn check(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    relay(view, found);
    spool(view, found);
    tls(view, found);
    tls_offers(view, found);
    certificates(view, found);
}

fn relay(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    let compiled = view.compiled;
    found.extend(view.layers().into_iter().filter_map(open_relay_hosts));
    // The places whose clients may be anybody.
    let listeners = compiled
        .listeners
        .iter()
        .flat_map(|listener| core::iter::once(&listener.layer).chain(wide_blocks(&listener.peers)));
    let endpoints = compiled.endpoints.iter().flat_map(|endpoint| {
        let blocks = wide_blocks(&endpoint.entries).chain(wide_blocks(&endpoint.peers));
        core::iter::once(&endpoint.layer).chain(blocks)
    });
    found.extend(listeners.chain(endpoints).filter_map(open_to_all));
    if let Some(setting) = compiled.global.layer.settings.get(&const { id("relay_domains") })
        && let Value::Words(domains) = &setting.value
        && domains.iter().any(|domain| matches!(&**domain, "*" | "*.*"))
    {
        let message = "anybody may send mail to every domain through this server";
        found.push(warn(OPEN_RELAY, setting, message).help("list the domains to relay for"));
    }
}

fn wide_blocks(blocks: &[Block]) -> impl Iterator<Item = &Layer> {
    let wide = blocks.iter().filter(|block| block.network.prefix() < OWN_NETWORK_BITS_MIN);
    wide.map(|block| &block.layer)
}

fn open_relay_hosts(layer: &Layer) -> Option<Diagnostic> {
    let setting = layer.settings.get(&const { id("relay_hosts") })?;
    let Value::Cidrs(networks) = &setting.value else { return None };
    let wide = networks.iter().find(|network| network.prefix() < OWN_NETWORK_BITS_MIN)?;
    let message = format!("{wide} may send mail to everybody through this server");
    Some(warn(OPEN_RELAY, setting, message).help("name the networks of your own clients"))
}

/// Relaying in a place where clients may be anybody.
fn open_to_all(layer: &Layer) -> Option<Diagnostic> {
    let bare: &Setting = layer
        .settings
        .get(&const { id("relay_for_sending_domains") })
        .filter(|setting| setting.value == Value::Senders(None))
        .or_else(|| {
            let open = layer.settings.get(&const { id("open_relay") });
            open.filter(|setting| setting.value == Value::Bool(true))
        })?;
    let message = "anybody may send mail to everybody through this server";
    Some(warn(OPEN_RELAY, bare, message).help("put it into a block for your own clients"))
}

fn spool(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    let settings = &view.compiled.global.layer.settings;
    let cases = [(const { id("force_fsync") }, false), (const { id("_unsafe_spool") }, true)];
    for (option, unsafe_value) in cases {
        if let Some(setting) = settings.get(&option)
            && setting.value == Value::Bool(unsafe_value)
        {
            let message = "acknowledged mail can be lost in a crash";
            found.push(warn(UNSAFE_SPOOL, setting, message).help("remove it"));
        }
    }
}

fn tls(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    const TLS: OptionId = id("tls");
    const VERIFY: OptionId = id("tls_verify");
    for context in view.contexts() {
        let Some(own) = context.own(&[VERIFY, TLS]) else { continue };
        let word = |option| match context.chain.value(option) {
            Some(Value::Word(word)) => *word,
            _ => "no",
        };
        match (word(TLS), word(VERIFY)) {
            ("required", "no" | "ca" | "optional") => {
                let message = "mail is encrypted to whoever answers";
                let help = "set `tls_verify = host`";
                found.push(warn(UNVERIFIED_TLS, own, message).help(help));
            }
            ("no", "ca" | "host" | "optional") => {
                let message = "there is no TLS to verify";
                let help = "set `tls` to `required` or `ifavailable`";
                found.push(warn(VERIFY_WITHOUT_TLS, own, message).help(help));
            }
            _ => {}
        }
    }
}

fn tls_offers(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    const PROTOCOLS: OptionId = id("tls_protocols");
    const CIPHERS: OptionId = id("tls_ciphers");
    for context in view.contexts() {
        if let Some(own) = context.own(&[CIPHERS, PROTOCOLS])
            && resolve::tls_offer(&context.chain).is_empty()
        {
            let message = "nothing is left to offer: `tls_protocols` has no version for these";
            found.push(warn(NOTHING_TO_OFFER, own, message));
        }
    }
}

/// Clients are to get TLS, and there is no certificate for it.
fn certificates(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    const ASKING: [OptionId; 3] = [id("TLS"), id("smtp_extensions"), id("use_ssl")];
    for chain in view.client_chains() {
        let wanted = |option: &OptionId| {
            chain.setting(*option).filter(|setting| match &setting.value {
                Value::Map(_) | Value::Bool(true) => true,
                Value::Words(_) => resolve::offers_starttls(&chain),
                _ => false,
            })
        };
        if let Some(setting) = ASKING.iter().find_map(wanted)
            && resolve::inbound_tls(&chain).is_none()
        {
            let finding =
                warn(NO_CERTIFICATE, setting, "there is no certificate to offer TLS with");
            if !found.contains(&finding) {
                found.push(finding.help("set `tls_certificate`"));
            }
        }
    }
}
