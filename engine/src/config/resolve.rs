//! Fallback: which of the values set in various places applies.
//!
//! For mail of binding b in group g to domain d the first place that sets the option counts:
//! domain d in b, domain d in g, b, g, the global domain d, the global scope, the built-in value.
//! "Domain d" in one place means its exact stanza, then each regular expression that matches, in
//! file order. All of this is for each option on its own: a stanza that does not set it is
//! transparent.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::checks::{is_local_file, parse_address};
use super::cidr::Cidr;
use super::compile::{Block, Compiled, Endpoint, Layer};
use super::domain;
use super::effective::{
    BindingSource, Blackhole, BounceBehavior, DefaultBinding, DeliveryMethod, DeliveryOptions,
    EhloName, InboundTls, InjectionPolicy, InlineOriginal, LogFile, LogKind, LogLines, MaxRetries,
    MxRateLimit, NoticeOptions, ReceptionOptions, RelayPolicy, SecurityOptions, ServerOptions,
    SharedCap, SharedThrottle,
};
use super::options::{OptionId, id};
use super::routes::{self, Hop};
use super::tree::Setting;
use super::value::Value;
use crate::limits;
use crate::shaping::throttle::Rate;
use crate::smtp::client::Xclient;
use crate::smtp::data::StrayPolicy;
use crate::smtp::eight_bit::Transform8bit;
use crate::smtp::transcode::Transcode;
use crate::tls::params::{Identity, ServerTls, TlsDemands, TlsOffer, TlsVerify};
use crate::tls::policy::{TlsMode, TlsPolicy};

/// The built-in values, by [`OptionId::index`].
pub(super) type Defaults = Arc<[Option<Value>]>;

/// Reads the built-in values out of the table.
pub(super) fn defaults() -> Defaults {
    OptionId::all()
        .map(|id| {
            let spec = id.spec();
            let set = !spec.default.is_empty();
            set.then(|| spec.kind.read_word(spec.default)).flatten()
        })
        .collect()
}

/// The places to look in, in order.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    places: Vec<&'a Layer>,
    defaults: &'a Defaults,
}

impl<'a> Chain<'a> {
    /// Of mail of a binding to a domain. An unknown binding is the default one.
    pub(super) fn of_pair(
        compiled: &'a Compiled,
        defaults: &'a Defaults,
        binding: &str,
        domain: &str,
    ) -> Self {
        let own = compiled.containers_of(binding);
        let domain = domain::key(domain);
        let mut places = Vec::new();
        for container in own.into_iter().flatten() {
            places.extend(container.domains.matching(&domain));
        }
        places.extend(own.into_iter().flatten().map(|container| &container.layer));
        places.extend(compiled.global.domains.matching(&domain));
        places.push(&compiled.global.layer);
        Self { places, defaults }
    }

    /// Of an exchange that mail of a binding goes to. This chain never falls through to domains or
    /// to values outside `host` stanzas.
    pub(super) fn of_host(
        compiled: &'a Compiled,
        defaults: &'a Defaults,
        binding: &str,
        host: &str,
    ) -> Self {
        let own = compiled.containers_of(binding).into_iter().flatten();
        let host = domain::key(host);
        let containers = own.chain([&compiled.global]);
        let places = containers.flat_map(|container| container.hosts.matching(&host)).collect();
        Self { places, defaults }
    }

    /// Of a client of an endpoint. Among the blocks that apply the longest prefix comes first and
    /// the later of equals; blocks of the endpoint come before those of its listener.
    pub(super) fn of_client(
        compiled: &'a Compiled,
        defaults: &'a Defaults,
        endpoint: &'a Endpoint,
        peer: IpAddr,
    ) -> Self {
        let listener = &compiled.listeners[endpoint.listener];
        let applied = applied_entries(&endpoint.entries, peer);
        let mut places = Vec::new();
        for blocks in [applied, matching(&endpoint.peers, peer), matching(&listener.peers, peer)] {
            places.extend(longest_first(blocks));
        }
        places.extend([&endpoint.layer, &listener.layer, &compiled.global.layer]);
        Self { places, defaults }
    }

    /// Of these places.
    pub(super) const fn new(places: Vec<&'a Layer>, defaults: &'a Defaults) -> Self {
        Self { places, defaults }
    }

    /// Of the process.
    pub(super) fn of_server(compiled: &'a Compiled, defaults: &'a Defaults) -> Self {
        Self { places: [&compiled.global.layer].into(), defaults }
    }

    /// The `security` stanza.
    pub(super) fn of_security(compiled: &'a Compiled, defaults: &'a Defaults) -> Self {
        Self { places: compiled.security.iter().collect(), defaults }
    }

    /// Whether a module's stanza counts.
    pub(super) fn is_enabled(&self) -> bool {
        self.bool(const { id("enabled") })
    }

    /// The place that sets an option; `None` if its built-in value applies.
    pub(super) fn layer(&self, id: OptionId) -> Option<&'a Layer> {
        self.places.iter().copied().find(|layer| layer.settings.contains_key(&id))
    }

    /// The setting that applies; `None` if the built-in value does.
    pub(super) fn setting(&self, id: OptionId) -> Option<&'a Setting> {
        self.places.iter().find_map(|layer| layer.settings.get(&id))
    }

    /// All places that set an option, nearest first.
    fn layers(&self, id: OptionId) -> impl Iterator<Item = (&'a Layer, &'a Value)> {
        self.places
            .iter()
            .filter_map(move |layer| layer.settings.get(&id).map(|set| (*layer, &set.value)))
    }

    /// The throttle that applies, with the place that sets it.
    fn throttle(&self, id: OptionId) -> Option<SharedThrottle> {
        let (layer, value) = self.layers(id).next()?;
        match value {
            Value::Rate(Some(rate)) => {
                let per = Duration::from_secs(u64::from(rate.seconds));
                let rate = Rate { events: rate.events, per };
                Some(SharedThrottle { scope: layer.scope.clone(), rate })
            }
            _ => None,
        }
    }

    /// Every cap that applies; the built-in one, if there is one, is the global scope's.
    fn caps(&self, id: OptionId) -> Arc<[SharedCap]> {
        let max = |value: &Value| match value {
            Value::Int(number) => u32::try_from(*number).unwrap_or(u32::MAX),
            _ => u32::MAX,
        };
        let mut caps: Vec<SharedCap> = self
            .layers(id)
            .map(|(layer, value)| SharedCap { scope: layer.scope.clone(), max: max(value) })
            .collect();
        if let Some(value) = &self.defaults[id.index()]
            && caps.iter().all(|cap| !cap.scope.is_empty())
        {
            caps.push(SharedCap { scope: Arc::from(""), max: max(value) });
        }
        caps.into()
    }

    /// The value that applies; `None` if there is not even a built-in one.
    pub(super) fn value(&self, id: OptionId) -> Option<&'a Value> {
        let built_in = || self.defaults[id.index()].as_ref();
        self.setting(id).map(|setting| &setting.value).or_else(built_in)
    }

    fn bool(&self, id: OptionId) -> bool {
        matches!(self.value(id), Some(Value::Bool(true)))
    }

    fn int(&self, id: OptionId) -> i64 {
        match self.value(id) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        }
    }

    /// A number that the option's range keeps within 32 bits; -1 is no limit.
    fn count(&self, id: OptionId) -> u32 {
        u32::try_from(self.int(id)).unwrap_or(u32::MAX)
    }

    fn seconds(&self, id: OptionId) -> Duration {
        Duration::from_secs(u64::from(self.count(id)))
    }

    fn word(&self, id: OptionId) -> &'static str {
        match self.value(id) {
            Some(Value::Word(word)) => word,
            _ => "",
        }
    }

    fn text(&self, id: OptionId) -> Option<Arc<str>> {
        match self.value(id) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    /// The name of a file; `none` takes an inherited one away.
    fn path(&self, id: OptionId) -> Option<Arc<str>> {
        self.text(id).filter(|path| &**path != "none")
    }

    fn networks(&self, id: OptionId) -> Arc<[Cidr]> {
        match self.value(id) {
            Some(Value::Cidrs(networks)) => networks.clone(),
            _ => Arc::default(),
        }
    }

    /// What the nearest context that names a binding or a group says; the binding counts where it
    /// names both.
    fn binding_source(&self, unassigned: DefaultBinding) -> BindingSource {
        let maps = self.layers(const { id("context") }).filter_map(|(_, value)| match value {
            Value::Map(map) => Some(map),
            _ => None,
        });
        let mut named = maps.filter_map(|map| {
            let binding = map.get("binding").cloned().map(BindingSource::Binding);
            binding.or_else(|| map.get("binding_group").cloned().map(BindingSource::Group))
        });
        named.next().unwrap_or(match unassigned {
            DefaultBinding::Normal | DefaultBinding::Suspended => BindingSource::Default,
            DefaultBinding::None => BindingSource::Refuse,
        })
    }
}

/// The options of a pair.
pub(super) fn delivery(chain: &Chain<'_>, hostname: &Arc<str>, domain: &str) -> DeliveryOptions {
    macro_rules! get {
        ($kind:ident $name:literal) => {
            chain.$kind(const { id($name) })
        };
    }
    let tls = tls_policy(chain);
    DeliveryOptions {
        retry_interval: get!(seconds "retry_interval"),
        max_retry_interval: get!(seconds "max_retry_interval"),
        max_retries: max_retries(chain.value(const { id("max_retries") })),
        message_expiration: get!(seconds "message_expiration"),
        never_attempt_expired_messages: get!(bool "never_attempt_expired_messages"),
        never_retry: get!(bool "never_retry"),
        max_outbound_connections: get!(count "max_outbound_connections"),
        connection_allocation_aggressiveness: aggressiveness(
            chain.value(const { id("connection_allocation_aggressiveness") }),
        ),
        max_deliveries_per_connection: get!(count "max_deliveries_per_connection"),
        max_recipients_per_connection: get!(count "max_recipients_per_connection"),
        max_recipients_per_batch: get!(count "max_recipients_per_batch"),
        max_resident_active_queue: get!(count "max_resident_active_queue"),
        max_resident_messages: get!(count "max_resident_messages"),
        drop_body_after_trans_fail: get!(count "drop_body_after_trans_fail"),
        connect_timeout: get!(seconds "connect_timeout"),
        ehlo_timeout: get!(seconds "ehlo_timeout"),
        mailfrom_timeout: get!(seconds "mailfrom_timeout"),
        rcptto_timeout: get!(seconds "rcptto_timeout"),
        body_timeout: get!(seconds "body_timeout"),
        rset_timeout: get!(seconds "rset_timeout"),
        idle_timeout: get!(seconds "idle_timeout"),
        host_failure_retry: get!(seconds "host_failure_retry"),
        mx_failures_to_delay: get!(count "mx_failures_to_delay"),
        connect_timeout_to_delay: get!(seconds "connect_timeout_to_delay"),
        // The option's range is that of the type.
        mx_failures_fallback_to_a: get!(int "mx_failures_fallback_to_a") as i32,
        dns_failures_to_purge: get!(count "dns_failures_to_purge"),
        // The option's range is that of the type.
        remote_smtp_port: get!(int "remote_smtp_port") as u16,
        // The option's range is that of the type.
        lmtp_port: get!(int "lmtp_port") as u16,
        fully_resolve_before_smtp: get!(bool "fully_resolve_before_smtp"),
        only_best_mx: false,
        routes: hops(chain),
        gateway: gateway(chain),
        bind_address: get!(text "bind_address").and_then(|text| parse_address(&text)),
        ehlo_hostname: ehlo_name(get!(text "ehlo_hostname"), hostname),
        delivery_method: delivery_method(get!(word "delivery_method")),
        tls,
        tls_demands: (tls.mode != TlsMode::No).then(|| Arc::new(tls_demands(chain, domain))),
        xclient: match get!(word "xclient") {
            "ifavailable" => Xclient::IfAvailable,
            "required" => Xclient::Required,
            _ => Xclient::No,
        },
        send_8bitmime: get!(word "send_8bitmime") == "ifavailable",
        transform_8bitmime_content: match get!(word "transform_8bitmime_content") {
            "no" => Transform8bit::No,
            "strict" => Transform8bit::Strict,
            "strip" => Transform8bit::Strip,
            _ => Transform8bit::IfNeeded,
        },
        suspend_delivery: get!(bool "suspend_delivery"),
        blackhole: blackhole(chain),
        outbound_throttle_messages: get!(throttle "outbound_throttle_messages"),
        outbound_throttle_connections: get!(throttle "outbound_throttle_connections"),
        server_max_outbound_connections: get!(caps "server_max_outbound_connections"),
        scope_max_outbound_connections: get!(caps "scope_max_outbound_connections"),
        delayed_binding_domain_fuzz: get!(count "delayed_binding_domain_fuzz"),
        response_transcode: transcode(
            chain.value(const { id("response_transcode_pattern") }),
            get!(text "response_transcode_replace"),
        ),
        notices: notices(chain),
    }
}

/// What senders are told.
fn notices(chain: &Chain<'_>) -> NoticeOptions {
    macro_rules! get {
        ($kind:ident $name:literal) => {
            chain.$kind(const { id($name) })
        };
    }
    NoticeOptions {
        generate_bounces: get!(bool "generate_bounces"),
        bounces_inline_original: match get!(word "bounces_inline_original") {
            "none" => InlineOriginal::None,
            "all" => InlineOriginal::All,
            _ => InlineOriginal::Headers,
        },
        mailerdaemon: get!(text "mailerdaemon"),
        // What is no address was reported when the configuration was read.
        mdn_failures_notify: get!(text "mdn_failures_notify").and_then(|text| text.parse().ok()),
        generate_delay_dsn: get!(bool "generate_delay_dsn"),
        first_delay_notice: get!(seconds "delay_dsn_retry_interval"),
        max_delay_notice_gap: get!(seconds "delay_dsn_max_retry_interval"),
    }
}

fn tls_policy(chain: &Chain<'_>) -> TlsPolicy {
    let mode = match chain.word(const { id("tls") }) {
        "ifavailable" => TlsMode::IfAvailable,
        "required" => TlsMode::Required,
        _ => TlsMode::No,
    };
    TlsPolicy { mode, fallback: chain.bool(const { id("tls_ifavailable_fallback") }) }
}

fn tls_demands(chain: &Chain<'_>, domain: &str) -> TlsDemands {
    let verify = match chain.word(const { id("tls_verify") }) {
        "ca" => TlsVerify::Ca,
        "host" => TlsVerify::Host,
        "optional" => TlsVerify::Optional,
        _ => TlsVerify::No,
    };
    let names_matter = matches!(verify, TlsVerify::Host | TlsVerify::Optional);
    TlsDemands {
        verify,
        ca: chain.path(const { id("tls_ca") }),
        identity: identity(chain),
        offer: tls_offer(chain),
        domain: names_matter.then(|| domain::key(domain).into()),
    }
}

/// Our own certificate.
fn identity(chain: &Chain<'_>) -> Option<Identity> {
    let certificate = chain.path(const { id("tls_certificate") })?;
    Some(Identity { certificate, key: chain.path(const { id("tls_key") }) })
}

/// The versions and suites to offer.
pub(super) fn tls_offer(chain: &Chain<'_>) -> TlsOffer {
    TlsOffer::new(&tls_protocols(chain), chain.text(const { id("tls_ciphers") }).as_deref())
}

fn tls_protocols(chain: &Chain<'_>) -> Arc<str> {
    chain.text(const { id("tls_protocols") }).unwrap_or_default()
}

/// The next hop instead of the domain's exchanges.
pub(super) fn gateway(chain: &Chain<'_>) -> Option<Arc<str>> {
    chain.text(const { id("gateway") }).map(|name| Arc::from(&*domain::key(&name)))
}

/// What is no entry was reported when the configuration was read.
fn hops(chain: &Chain<'_>) -> Arc<[Hop]> {
    match chain.value(const { id("routes") }) {
        Some(Value::Words(entries)) => routes::read(entries).unwrap_or_default(),
        _ => Arc::default(),
    }
}

/// Whether mail is discarded.
pub(super) fn blackhole(chain: &Chain<'_>) -> Blackhole {
    match chain.word(const { id("blackhole") }) {
        "true" | "inline" => Blackhole::Inline,
        "internal" => Blackhole::Internal,
        _ => Blackhole::No,
    }
}

/// The cap of an exchange: of the nearest `host` stanza that sets one, unless it says -1.
pub(super) fn host_cap(chain: &Chain<'_>) -> Option<SharedCap> {
    let (layer, value) = chain.layers(const { id("max_outbound_connections") }).next()?;
    match value {
        Value::Int(number) => {
            let max = u32::try_from(*number).ok()?;
            Some(SharedCap { scope: layer.scope.clone(), max })
        }
        _ => None,
    }
}

/// The options of a client.
pub(super) fn reception(
    chain: &Chain<'_>,
    server: &ServerOptions,
    peer: IpAddr,
) -> ReceptionOptions {
    macro_rules! get {
        ($kind:ident $name:literal) => {
            chain.$kind(const { id($name) })
        };
    }
    let name = |set: Option<Arc<str>>| set.unwrap_or_else(|| server.hostname.clone());
    ReceptionOptions {
        banner_hostname: name(get!(text "banner_hostname")),
        static_banner: get!(text "static_banner"),
        received_hostname: name(get!(text "received_hostname")),
        idle_time: get!(seconds "idle_time"),
        max_message_size_bytes: match get!(count "max_message_size") {
            0 => limits::MESSAGE_BYTES_MAX,
            bytes => u64::from(bytes),
        },
        max_recipients_per_message: get!(count "max_recipients_per_message"),
        max_recipients_per_connection: get!(count "max_recipients_per_connection"),
        max_receptions_per_connection: get!(count "max_receptions_per_connection"),
        require_ehlo: get!(bool "require_ehlo"),
        allow_null_envelope_sender: get!(bool "allow_null_envelope_sender"),
        stray: match get!(word "rfc2822_lone_lf_in_body") {
            "pedantic" => StrayPolicy::Refuse,
            _ => StrayPolicy::Fix,
        },
        trace_headers: get!(bool "rfc2822_trace_headers"),
        tls: inbound_tls(chain),
        relay: relay_policy(chain, peer),
        binding: chain.binding_source(server.default_binding),
    }
}

/// How the clients of a listener get TLS: if it is offered, and there is a certificate.
pub(super) fn inbound_tls(chain: &Chain<'_>) -> Option<InboundTls> {
    let property = match chain.value(const { id("TLS") }) {
        Some(Value::Map(property)) => Some(property),
        _ => None,
    };
    let immediate = chain.bool(const { id("use_ssl") });
    if !immediate && property.is_none() && !offers_starttls(chain) {
        return None;
    }
    let own = |name| property.and_then(|property| property.get(name)).cloned();
    let identity = match own("certificate") {
        Some(certificate) => Identity { certificate, key: own("key") },
        None => identity(chain)?,
    };
    let mode = chain.word(const { id("tls_verify_mode") });
    let client_ca = own("clientca").or_else(|| chain.path(const { id("tls_client_ca") }));
    let client_ca = client_ca.filter(|_| mode != "none");
    let offer = match own("ciphers") {
        Some(list) => TlsOffer::new(&tls_protocols(chain), Some(&list)),
        None => tls_offer(chain),
    };
    let client_required = mode == "require" && client_ca.is_some();
    Some(InboundTls {
        params: Arc::new(ServerTls { identity, client_ca, client_required, offer }),
        immediate,
        injection: match chain.word(const { id("starttls_injection_policy") }) {
            "ignore" => InjectionPolicy::Ignore,
            "allow" => InjectionPolicy::Allow,
            _ => InjectionPolicy::Reject,
        },
        verified_may_relay: chain.bool(const { id("tls_verified_peer_can_relay") }),
    })
}

pub(super) fn offers_starttls(chain: &Chain<'_>) -> bool {
    let list = chain.value(const { id("smtp_extensions") });
    let Some(Value::Words(list)) = list else { return false };
    list.iter().any(|word| word.eq_ignore_ascii_case("STARTTLS"))
}

/// The options of the process.
pub(super) fn server(chain: &Chain<'_>, hostname: &Arc<str>) -> ServerOptions {
    macro_rules! get {
        ($kind:ident $name:literal) => {
            chain.$kind(const { id($name) })
        };
    }
    ServerOptions {
        hostname: get!(text "hostname").unwrap_or_else(|| hostname.clone()),
        default_binding: match get!(word "default_binding") {
            "suspended" => DefaultBinding::Suspended,
            "none" => DefaultBinding::None,
            _ => DefaultBinding::Normal,
        },
        resolv_conf: get!(text "resolv_conf"),
        spool_base: get!(text "spoolbase").unwrap_or_default(),
        min_dns_ttl: get!(seconds "min_dns_ttl"),
        max_dns_ttl: get!(seconds "max_dns_ttl"),
        match_cache_size: get!(count "match_cache_size") as usize,
        max_resident_messages: get!(count "max_resident_messages"),
        use_ipv6: get!(bool "use_ipv6"),
        prefer_ipv6_mxs: get!(bool "prefer_ipv6_mxs"),
        server_max_outbound_connections: get!(count "server_max_outbound_connections"),
        server_reserve_outbound_connections: get!(count "server_reserve_outbound_connections"),
        migrate_connections_between_sibling_domains: get!(
            bool "migrate_connections_between_sibling_domains"
        ),
        reserve_maintenance_interval: get!(seconds "reserve_maintenance_interval"),
        prohibited_hosts: get!(networks "prohibited_hosts"),
        skip_hosts: get!(networks "skip_hosts"),
        address_metrics_lifetime: get!(seconds "address_metrics_lifetime"),
        mx_rate_limit: get!(bool "dns_rate_limit_enabled").then(|| MxRateLimit {
            rate: Rate {
                events: get!(count "dns_rate_limit_mx_queries"),
                per: get!(seconds "dns_rate_limit_period"),
            },
            waiting_max: get!(count "dns_rate_limit_max_queue"),
        }),
        relay_domains: domains(chain, const { id("relay_domains") }),
        only_use_best_mx_for_relay_domains: get!(bool "only_use_best_mx_for_relay_domains"),
        bounce_domains: domains(chain, const { id("bounce_domains") }),
        bounce_suppress_list: get!(text "bounce_suppress_list")
            .iter()
            .flat_map(|list| list.split(','))
            .map(|entry| entry.trim().to_ascii_lowercase().into())
            .collect(),
    }
}

/// What becomes of a bounce to an address of this domain; `None` if it is not taken for one
/// (`bounce_pattern`).
pub(super) fn bounce(chain: &Chain<'_>, address: &str) -> Option<BounceBehavior> {
    let matches = match chain.value(const { id("bounce_pattern") }) {
        Some(Value::Pattern(pattern)) => pattern.regex().is_match(address),
        _ => true,
    };
    matches.then(|| match chain.word(const { id("bounce_behavior") }) {
        "blackhole" => BounceBehavior::Blackhole,
        _ => BounceBehavior::Pass,
    })
}

/// A log file of a stanza.
pub(super) fn log(kind: LogKind, chain: &Chain<'_>) -> LogFile {
    macro_rules! get {
        ($kind:ident $name:literal) => {
            chain.$kind(const { id($name) })
        };
    }
    let (path, mode) = match kind {
        LogKind::Main => (get!(path "mainlog"), get!(int "mainlog_mode")),
        LogKind::Reject => (get!(path "rejectlog"), get!(int "rejectlog_mode")),
        LogKind::Bounce => (get!(path "bouncelog"), get!(int "bouncelog_mode")),
    };
    LogFile {
        kind,
        path: path.filter(|path| is_local_file(path)),
        mode: u32::try_from(mode).unwrap_or_default(),
        heartbeat: get!(seconds "heartbeat"),
        lines: LogLines {
            receptions: get!(bool "log_receptions"),
            deliveries: get!(bool "log_deliveries"),
            transient_failures: get!(bool "log_transient_failures"),
            permanent_failures: match kind {
                LogKind::Bounce => get!(bool "log_inband_bounces"),
                LogKind::Main | LogKind::Reject => get!(bool "log_permanent_failures"),
            },
            rejections: get!(bool "log_rejections"),
            out_of_band: get!(bool "log_outofband_bounces"),
        },
    }
}

/// Who the process is to run as.
pub(super) fn security(chain: &Chain<'_>) -> SecurityOptions {
    SecurityOptions {
        user: chain.text(const { id("user") }),
        group: chain.text(const { id("group") }),
        supplemental_groups: match chain.value(const { id("supplemental_groups") }) {
            Some(Value::Words(names)) => names.clone(),
            _ => Arc::default(),
        },
    }
}

fn max_retries(value: Option<&Value>) -> MaxRetries {
    match value {
        Some(Value::Word("none")) => MaxRetries::Unlimited,
        Some(&Value::Int(count)) => MaxRetries::Count(u32::try_from(count).unwrap_or(u32::MAX)),
        _ => MaxRetries::Auto,
    }
}

/// Methods that are not spoken here are reported when the configuration is read.
fn delivery_method(word: &str) -> DeliveryMethod {
    match word {
        "SMTP" => DeliveryMethod::Smtp,
        "LMTP" => DeliveryMethod::Lmtp,
        _ => DeliveryMethod::Esmtp,
    }
}

/// Both options are needed.
fn transcode(pattern: Option<&Value>, replacement: Option<Arc<str>>) -> Option<Transcode> {
    match pattern {
        Some(Value::Pattern(pattern)) => {
            Some(Transcode::new(pattern.regex().clone(), &replacement?))
        }
        _ => None,
    }
}

fn aggressiveness(value: Option<&Value>) -> f64 {
    match value {
        Some(Value::Word("high")) => 0.75,
        Some(&Value::Float(slope)) => slope,
        _ => 0.3,
    }
}

fn ehlo_name(name: Option<Arc<str>>, hostname: &Arc<str>) -> EhloName {
    match name {
        Some(name) if &*name == "__message__" => EhloName::OfMessage,
        Some(name) if &*name != "__hostname__" => EhloName::Literal(name),
        _ => EhloName::Literal(hostname.clone()),
    }
}

fn relay_policy(chain: &Chain<'_>, peer: IpAddr) -> RelayPolicy {
    let in_relay_hosts = match chain.value(const { id("relay_hosts") }) {
        Some(Value::Cidrs(networks)) => networks.iter().any(|network| network.contains(peer)),
        _ => false,
    };
    let (any_sender, sending_domains) = match chain.value(const { id("relay_for_sending_domains") })
    {
        Some(Value::Senders(None)) => (true, None),
        Some(Value::Senders(Some(domains))) => (false, Some(domains.clone())),
        _ => (false, None),
    };
    RelayPolicy {
        client_may_relay: in_relay_hosts || any_sender || chain.bool(const { id("open_relay") }),
        sending_domains: sending_domains.unwrap_or_default(),
        recipient_domains: {
            let relayed = domains(chain, const { id("relay_domains") });
            let bounces = domains(chain, const { id("bounce_domains") });
            if bounces.is_empty() { relayed } else { [&*relayed, &*bounces].concat().into() }
        },
    }
}

fn domains(chain: &Chain<'_>, id: OptionId) -> Arc<[Arc<str>]> {
    match chain.value(id) {
        Some(Value::Words(domains)) => domains.clone(),
        _ => Arc::default(),
    }
}

/// The entries of a list that apply to a client: in order, up to the first match that does not say
/// `continue`.
fn applied_entries(entries: &[Block], peer: IpAddr) -> Vec<&Block> {
    let mut applied = Vec::new();
    for entry in entries.iter().filter(|entry| entry.network.contains(peer)) {
        applied.push(entry);
        let goes_on = entry.layer.settings.get(&const { id("continue") });
        if !goes_on.is_some_and(|setting| setting.value == Value::Bool(true)) {
            break;
        }
    }
    applied
}

fn matching(blocks: &[Block], peer: IpAddr) -> Vec<&Block> {
    blocks.iter().filter(|block| block.network.contains(peer)).collect()
}

fn longest_first(mut blocks: Vec<&Block>) -> impl Iterator<Item = &Layer> {
    blocks.reverse();
    blocks.sort_by_key(|block| core::cmp::Reverse(block.network.prefix()));
    blocks.into_iter().map(|block| &block.layer)
}
