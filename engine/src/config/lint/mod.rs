//! Lints: what is allowed and probably not meant.
//!
//! Each has a code, an explanation that `traject check --explain` prints, and tests that it fires
//! and that it does not.

mod caps;
mod effect;
mod patterns;
mod retries;
mod safety;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::compile::{Compiled, Container, Layer};
use super::diagnostic::{Diagnostic, Findings};
use super::effective::DeliveryOptions;
use super::options::OptionId;
use super::resolve::{self, Chain, Defaults};
use super::tree::Setting;
use crate::tls::params::{TlsDemands, TlsParams};

/// A kind of warning.
#[derive(Clone, Copy, Debug)]
pub struct Lint {
    /// Its code, `TJ` and three digits.
    pub code: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// Why it is a warning, and what to do.
    pub explanation: &'static str,
}

macro_rules! lints {
    ($($(#[doc = $doc:literal])+ $name:ident $code:literal $title:literal;)+) => {
        $(pub(super) const $name: &str = $code;)+

        /// Every kind of warning, in the order of their codes.
        pub const LINTS: &[Lint] = &[$(
            Lint { code: $code, title: $title, explanation: concat!($($doc, "\n"),+) },
        )+];
    };
}

lints! {
    /// The option or stanza is known, its value was checked, and it has no effect yet.
    /// `traject options NAME` says what will bring it.
    NOT_YET "TJ001" "understood, but not implemented yet";

    /// The option belongs to something that does not exist here and will not: a service that was
    /// shut down, a protocol nobody speaks, the inside of the original. Remove it.
    LEGACY "TJ002" "an option of the past";

    /// A stanza of an unknown name outside of all others is taken for a module of the original.
    /// Modules do not exist here, so the stanza does nothing. If it was not meant to be a module,
    /// its name is misspelt.
    MODULE "TJ003" "a stanza that is taken for a module";

    /// The same option is set twice in the same stanza of the same file. The later value counts
    /// and the earlier one does nothing. A value that replaces one of another file is no such
    /// case: that is how local changes are made.
    REPLACED "TJ004" "a value that a later one replaces";

    /// A regular expression matches anywhere in a name. Without an end (`$`) it matches
    /// `example.com.other.test`; without a beginning (`^`, or a dot) it matches `notexample.com`,
    /// whose owner then gets what was meant for `example.com`. Write
    /// `/(?:^|[.])example[.]com$/`.
    UNANCHORED "TJ010" "a regular expression that is not anchored";

    /// Domains are compared in lower case, have no dot at their end, and hold no backslash, blank,
    /// slash or at sign. A pattern that needs one of those matches nothing. Inside quotes a
    /// backslash is a backslash: write `\.` or `[.]`, not `\\.`.
    NEVER_MATCHES "TJ011" "a regular expression that no domain matches";

    /// An earlier stanza in the same place matches every domain and sets the same option. For each
    /// option the first regular expression that matches and sets it counts, so this one does
    /// nothing. Put the general stanza last.
    SHADOWED "TJ012" "a regular expression behind one that matches everything";

    /// More connections are allowed here than the limit around it lets through, so this number is
    /// never reached. Lower it, or raise the limit.
    CAP_ABOVE_CAP "TJ020" "a cap above the cap that bounds it";

    /// Values do not fall back from `host` stanzas: one that sets no `max_outbound_connections`
    /// allows any number of connections to its exchange, whatever domains and bindings say.
    HOST_WITHOUT_CAP "TJ021" "a host stanza without a cap";

    /// A throttle on messages allows more than the connections could carry: the rate of new
    /// connections times the messages each of them may deliver is less. Raise one of those, or
    /// lower the throttle to what is meant.
    UNREACHABLE_RATE "TJ022" "a throttle that other limits keep from being reached";

    /// The option is right where it is, and another one makes it meaningless: it is about
    /// something that is switched off, or that happens nowhere.
    NO_EFFECT "TJ023" "an option without effect";

    /// `max_retries = auto` counts the retries that would fit `message_expiration` if the wait
    /// doubled for ever. With a low `max_retry_interval` those retries are over long before, and
    /// the message fails much younger than `message_expiration` says. Set `max_retries = none`, or
    /// a number.
    AUTO_WITH_CAP "TJ030" "automatic retries that end early";

    /// The age of a message is looked at after a failed attempt. When the waits are long the last
    /// attempt comes well after `message_expiration`, and the message is in the queue until then.
    /// Lower `max_retry_interval`, or count on the later time.
    OUTLIVES "TJ031" "a message that outlives its expiration";

    /// Greylisting receivers refuse a first attempt and accept one that comes some minutes later,
    /// usually five. An earlier retry is refused too and only costs an attempt.
    HASTY "TJ032" "a first retry before greylists let it pass";

    /// The first wait is longer than the longest wait allowed, so every wait is the latter and
    /// `retry_interval` does nothing.
    INTERVAL_ABOVE_MAX "TJ033" "a first wait above the longest";

    /// Mail can be relayed through this server by anybody. Spammers find such servers within
    /// hours, and receivers block them. Name the networks of your own clients.
    OPEN_RELAY "TJ040" "an open relay";

    /// A bare carriage return or line feed in a message is understood differently by different
    /// servers, and lets mail be smuggled past checks. It is never relayed here: `ignore` is taken
    /// as `fix`.
    LONE_LF "TJ041" "bare line feeds are not ignored";

    /// A message is acknowledged before it is safe on disk. After a crash or a power cut,
    /// acknowledged mail may be gone.
    UNSAFE_SPOOL "TJ042" "acknowledged mail may be lost";

    /// `tls = required` encrypts, and without `tls_verify = host` it does not matter to whom: an
    /// attacker in between presents a certificate of their own.
    UNVERIFIED_TLS "TJ043" "encryption without verification";

    /// `tls_verify` checks certificates of TLS connections, and with `tls = no` there are none.
    VERIFY_WITHOUT_TLS "TJ044" "verification without encryption";

    /// `tls_protocols` leaves no version that a suite of `tls_ciphers` belongs to. Every handshake
    /// fails before it begins, and the mail waits until it expires.
    NOTHING_TO_OFFER "TJ045" "protocols and ciphers that exclude each other";

    /// STARTTLS is to be offered to clients, and without a certificate there is nothing to offer:
    /// set `tls_certificate`.
    NO_CERTIFICATE "TJ046" "STARTTLS without a certificate";
}

/// The lint with that code, in any case.
pub fn find(code: &str) -> Option<&'static Lint> {
    LINTS.iter().find(|lint| lint.code.eq_ignore_ascii_case(code))
}

/// Looks at a configuration that can be used.
pub(super) fn run(compiled: &Compiled, defaults: &Defaults, findings: &mut Findings) {
    let view = View { compiled, defaults };
    let checks = [patterns::check, caps::check, effect::check, retries::check, safety::check];
    for check in checks {
        let mut found = Vec::new();
        check(&view, &mut found);
        found.into_iter().for_each(|finding| findings.push(finding));
    }
}

/// What lints look at.
pub(super) struct View<'a> {
    pub(super) compiled: &'a Compiled,
    pub(super) defaults: &'a Defaults,
}

/// A place, and what holds for the mail it is about.
struct Context<'a> {
    layer: &'a Layer,
    chain: Chain<'a>,
}

impl Context<'_> {
    /// The setting of one of these options in this very place: where there is none, what holds
    /// here is the doing of another place, which has a context of its own.
    fn own(&self, options: &[OptionId]) -> Option<&Setting> {
        options.iter().find_map(|option| self.layer.settings.get(option))
    }

    fn delivery(&self) -> DeliveryOptions {
        resolve::delivery(&self.chain, &Arc::from(""), "")
    }
}

impl<'a> View<'a> {
    /// The global scope, the groups and the bindings, each with the containers around it.
    fn containers(&self) -> impl Iterator<Item = (&'a Container, Vec<&'a Container>)> {
        let global = &self.compiled.global;
        let groups = self.compiled.groups.values().map(move |group| (group, [global].into()));
        let bindings = self.compiled.bindings.values().map(move |binding| {
            let group = binding.group.as_ref().and_then(|name| self.compiled.groups.get(name));
            (&binding.container, group.into_iter().chain([global]).collect())
        });
        core::iter::once((global, Vec::new()))
            .chain(groups)
            .chain(bindings)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Every place that options are set in.
    fn layers(&self) -> Vec<&'a Layer> {
        let mut layers = Vec::new();
        for (container, _) in self.containers() {
            layers.push(&container.layer);
            for names in [&container.domains, &container.hosts] {
                layers.extend(names.exact().map(|(_, layer)| layer));
                layers.extend(names.patterns().map(|(_, layer)| layer));
            }
        }
        for listener in &self.compiled.listeners {
            layers.push(&listener.layer);
            layers.extend(listener.peers.iter().map(|block| &block.layer));
        }
        for endpoint in &self.compiled.endpoints {
            layers.push(&endpoint.layer);
            let blocks = endpoint.entries.iter().chain(&endpoint.peers);
            layers.extend(blocks.map(|block| &block.layer));
        }
        layers
    }

    /// Every handshake that can be asked for.
    pub(super) fn tls_params(&self) -> Vec<TlsParams> {
        let mut found: Vec<TlsParams> = Vec::new();
        let outbound = self.contexts().into_iter().filter_map(|context| {
            let demands = context.delivery().tls_demands?;
            let demands = TlsDemands { domain: None, ..(*demands).clone() };
            Some(TlsParams::Client(Arc::new(demands.with(&Arc::from("")))))
        });
        let inbound = self
            .client_chains()
            .into_iter()
            .filter_map(|chain| Some(TlsParams::Server(resolve::inbound_tls(&chain)?.params)));
        for params in outbound.chain(inbound) {
            if !found.contains(&params) {
                found.push(params);
            }
        }
        found
    }

    /// What holds for clients of each endpoint, and of each network it has a block for.
    pub(super) fn client_chains(&self) -> Vec<Chain<'a>> {
        let mut chains = Vec::new();
        for endpoint in &self.compiled.endpoints {
            let listener = &self.compiled.listeners[endpoint.listener];
            let base = [&endpoint.layer, &listener.layer, &self.compiled.global.layer];
            let blocks = endpoint.entries.iter().chain(&endpoint.peers).chain(&listener.peers);
            for block in blocks {
                let places = core::iter::once(&block.layer).chain(base).collect();
                chains.push(Chain::new(places, self.defaults));
            }
            chains.push(Chain::new(base.to_vec(), self.defaults));
        }
        chains
    }

    /// Every place that options of outbound mail can be set in.
    fn contexts(&self) -> Vec<Context<'a>> {
        let mut contexts = Vec::new();
        for (container, around) in self.containers() {
            let outside = around.iter().map(|container| &container.layer);
            let base: Vec<_> = core::iter::once(&container.layer).chain(outside).collect();
            let patterns = container.domains.patterns().map(|(_, layer)| layer);
            for layer in container.domains.exact().map(|(_, layer)| layer).chain(patterns) {
                let places = core::iter::once(layer).chain(base.iter().copied()).collect();
                contexts.push(Context { layer, chain: Chain::new(places, self.defaults) });
            }
            let chain = Chain::new(base, self.defaults);
            contexts.push(Context { layer: &container.layer, chain });
        }
        contexts
    }
}

/// A warning of a lint at a setting.
fn warn(
    lint: &'static str,
    setting: &Setting,
    message: impl Into<alloc::string::String>,
) -> Diagnostic {
    Diagnostic::warning(setting.span, message).code(lint)
}
