//! The effective values the engine works with: plain structs, resolved once per queue or
//! connection, so that nothing in the engine ever looks an option up by name.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Cidr;
use super::routes::Hop;
use crate::ids::ListenerId;
use crate::shaping::throttle::Rate;
use crate::smtp::address::Mailbox;
use crate::smtp::client::Xclient;
use crate::smtp::data::StrayPolicy;
use crate::smtp::eight_bit::Transform8bit;
use crate::smtp::transcode::Transcode;
use crate::tls::params::{ServerTls, TlsDemands};
use crate::tls::policy::TlsPolicy;

/// Options of one (binding, domain) pair, fallback applied. Each field is the option of the same
/// name; units are in the type or the field's doc.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryOptions {
    /// First wait after a transient failure; doubles with each further one.
    pub retry_interval: Duration,
    /// Ceiling of the wait.
    pub max_retry_interval: Duration,
    /// How many retries a message gets.
    pub max_retries: MaxRetries,
    /// Age from which a failed attempt is the last.
    pub message_expiration: Duration,
    /// Check age and retries before an attempt too.
    pub never_attempt_expired_messages: bool,
    /// Fail at the first transient failure.
    pub never_retry: bool,
    /// Connections of the pair; 0 allows none.
    pub max_outbound_connections: u32,
    /// Steepness of the connection goal (`connection_allocation_aggressiveness`): 0.3 normal,
    /// 0.75 high.
    pub connection_allocation_aggressiveness: f64,
    /// Successful deliveries after which a connection ends; 0: no limit.
    pub max_deliveries_per_connection: u32,
    /// RCPT commands after which a connection ends; 0: no limit.
    pub max_recipients_per_connection: u32,
    /// Recipients of one message in one transaction; 0: no limit.
    pub max_recipients_per_batch: u32,
    /// Open envelopes in the active queue; [`u32::MAX`]: no limit.
    pub max_resident_active_queue: u32,
    /// Open envelopes of the binding; 0: no limit.
    pub max_resident_messages: u32,
    /// Failed attempts after which a waiting message's envelope is not kept open; 0 is like 1.
    pub drop_body_after_trans_fail: u32,
    /// Wait for the TCP connection.
    pub connect_timeout: Duration,
    /// Wait for the banner and for the reply to EHLO and HELO.
    pub ehlo_timeout: Duration,
    /// Wait for the reply to MAIL FROM.
    pub mailfrom_timeout: Duration,
    /// Wait for the reply to RCPT TO and to DATA.
    pub rcptto_timeout: Duration,
    /// Wait for the reply to the final dot, and for progress while sending the body.
    pub body_timeout: Duration,
    /// Wait for the reply to RSET and to QUIT.
    pub rset_timeout: Duration,
    /// How long a connection without work is kept; zero keeps it for ever.
    pub idle_timeout: Duration,
    /// How long an address is set aside after a failure.
    pub host_failure_retry: Duration,
    /// Consecutive failures of every exchange that move the queue to delayed; 0: never.
    pub mx_failures_to_delay: u32,
    /// Time of vain connecting that moves the queue to delayed.
    pub connect_timeout_to_delay: Duration,
    /// Failed MX look-ups after which addresses are tried instead; -1: only the first time.
    pub mx_failures_fallback_to_a: i32,
    /// Consecutive DNS failures that fail all mail of the domain; 0: never.
    pub dns_failures_to_purge: u32,
    /// Port of the exchange, unless `delivery_method` is LMTP.
    pub remote_smtp_port: u16,
    /// Port of the exchange when `delivery_method` is LMTP.
    pub lmtp_port: u16,
    /// Wait until all exchanges are known; always set for domains we relay for.
    pub fully_resolve_before_smtp: bool,
    /// Use only the exchanges of best preference: for domains we relay for, with
    /// `only_use_best_mx_for_relay_domains`.
    pub only_best_mx: bool,
    /// Where mail goes instead of the domain's exchanges; empty where it goes to these.
    pub routes: Arc<[Hop]>,
    /// Next hop instead of the domain's exchanges.
    pub gateway: Option<Arc<str>>,
    /// Source address; `None` lets the system choose.
    pub bind_address: Option<IpAddr>,
    /// Name we introduce ourselves with, already resolved from `__hostname__`.
    pub ehlo_hostname: EhloName,
    /// What is spoken to the exchange.
    pub delivery_method: DeliveryMethod,
    /// Tell the exchange who the original client was.
    pub xclient: Xclient,
    /// `tls` and `tls_ifavailable_fallback`.
    pub tls: TlsPolicy,
    /// What is asked of TLS; `None` with `tls = no`.
    pub tls_demands: Option<Arc<TlsDemands>>,
    /// Announce 8-bit bodies (`send_8bitmime = ifavailable`).
    pub send_8bitmime: bool,
    /// What becomes of 8-bit bodies where 8BITMIME is not offered.
    pub transform_8bitmime_content: Transform8bit,
    /// Hold all mail.
    pub suspend_delivery: bool,
    /// Discard all mail.
    pub blackhole: Blackhole,
    /// Rewrites replies (`response_transcode_pattern` and `response_transcode_replace`).
    pub response_transcode: Option<Transcode>,
    /// Messages in a time; `None`: no limit.
    pub outbound_throttle_messages: Option<SharedThrottle>,
    /// New connections in a time; `None`: no limit.
    pub outbound_throttle_connections: Option<SharedThrottle>,
    /// Caps on the connections of the process, the group and the binding
    /// (`server_max_outbound_connections`), each of them to be kept.
    pub server_max_outbound_connections: Arc<[SharedCap]>,
    /// Caps on the connections of everything a stanza applies to, added up
    /// (`scope_max_outbound_connections`), each of them to be kept.
    pub scope_max_outbound_connections: Arc<[SharedCap]>,
    /// Seconds over which the due times of a queue that is moved to delayed are spread
    /// (`delayed_binding_domain_fuzz`); 0: not at all.
    pub delayed_binding_domain_fuzz: u32,
    /// What senders are told.
    pub notices: NoticeOptions,
}

/// What senders are told about their mail, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeOptions {
    /// Tell them of failures.
    pub generate_bounces: bool,
    /// How much of the message to quote.
    pub bounces_inline_original: InlineOriginal,
    /// The From field; `None` is `mailer-daemon` at our name.
    pub mailerdaemon: Option<Arc<str>>,
    /// Who hears of the failure of mail without a sender.
    pub mdn_failures_notify: Option<Mailbox>,
    /// Tell them of delays.
    pub generate_delay_dsn: bool,
    /// The age at which they first hear of a delay (`delay_dsn_retry_interval`); the gaps double
    /// from there.
    pub first_delay_notice: Duration,
    /// Longest gap (`delay_dsn_max_retry_interval`); zero: no limit.
    pub max_delay_notice_gap: Duration,
}

/// `bounces_inline_original`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlineOriginal {
    /// Nothing of it.
    None,
    /// Its header section.
    Headers,
    /// All of it.
    All,
}

/// A throttle, and the stanza that sets it: everything that falls back to the stanza shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedThrottle {
    /// The stanza; empty for the global scope.
    pub scope: Arc<str>,
    /// The limit.
    pub rate: Rate,
}

/// A cap on connections, and the stanza that sets it: the connections of everything the stanza
/// applies to are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedCap {
    /// The stanza; empty for the global scope.
    pub scope: Arc<str>,
    /// The limit.
    pub max: u32,
}

impl DeliveryOptions {
    /// Whether a connection made for one pair is as good for another as far as TLS goes.
    pub fn same_tls(&self, other: &Self) -> bool {
        match (&self.tls_demands, &other.tls_demands) {
            (None, None) => true,
            (mine, others) => self.tls == other.tls && mine == others,
        }
    }

    /// The port to connect to.
    pub const fn port(&self) -> u16 {
        match self.delivery_method {
            DeliveryMethod::Esmtp | DeliveryMethod::Smtp => self.remote_smtp_port,
            DeliveryMethod::Lmtp => self.lmtp_port,
        }
    }
}

/// `delivery_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMethod {
    /// EHLO, or HELO where that is not known (RFC 5321).
    Esmtp,
    /// HELO, and so no extensions.
    Smtp,
    /// LHLO, and a reply for each recipient after the message (RFC 2033).
    Lmtp,
}

/// `blackhole`: whether mail is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blackhole {
    /// It is not.
    No,
    /// Its recipients are refused when a client names them.
    Inline,
    /// It is accepted and fails.
    Internal,
}

/// `max_retries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxRetries {
    /// As many as fit `message_expiration` (decision D4).
    Auto,
    /// No limit.
    Unlimited,
    /// That many.
    Count(u32),
}

/// `ehlo_hostname`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EhloName {
    /// That name.
    Literal(Arc<str>),
    /// The domain of the envelope sender of the first message sent (`__message__`).
    OfMessage,
}

/// Options of one inbound connection: listener, endpoint and access control applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceptionOptions {
    /// Name in the banner and in the reply to EHLO.
    pub banner_hostname: Arc<str>,
    /// The whole banner line, `220` included, instead of ours.
    pub static_banner: Option<Arc<str>>,
    /// The `by` name of the Received line.
    pub received_hostname: Arc<str>,
    /// Idle time after which the client is disconnected.
    pub idle_time: Duration,
    /// Largest message in bytes.
    pub max_message_size_bytes: u64,
    /// Recipients of one message; 0: [`limits`](crate::limits) alone.
    pub max_recipients_per_message: u32,
    /// Recipients over the connection; 0: no limit.
    pub max_recipients_per_connection: u32,
    /// Messages over the connection; 0: no limit.
    pub max_receptions_per_connection: u32,
    /// Refuse MAIL before EHLO or HELO.
    pub require_ehlo: bool,
    /// Accept `MAIL FROM:<>`.
    pub allow_null_envelope_sender: bool,
    /// Bare CR, LF and NUL in messages.
    pub stray: StrayPolicy,
    /// Add a Received line.
    pub trace_headers: bool,
    /// TLS, if there is a certificate for it.
    pub tls: Option<InboundTls>,
    /// Whether this client may relay, and for whom.
    pub relay: RelayPolicy,
    /// What is known about the binding of received mail before the mail is.
    pub binding: BindingSource,
}

/// How clients get TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundTls {
    /// What the handshake must be like.
    pub params: Arc<ServerTls>,
    /// From the first byte on (`use_ssl`), instead of by STARTTLS.
    pub immediate: bool,
    /// What follows STARTTLS in the same packet.
    pub injection: InjectionPolicy,
    /// A client with a verified certificate may relay (`tls_verified_peer_can_relay`).
    pub verified_may_relay: bool,
}

/// `starttls_injection_policy`: commands that came together with STARTTLS, in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectionPolicy {
    /// STARTTLS is refused and the connection closed.
    Reject,
    /// They are dropped.
    Ignore,
    /// They are obeyed, before the handshake.
    Allow,
}

/// Where the binding of a client's mail comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingSource {
    /// The access control list names the binding (context key `binding`).
    Binding(Arc<str>),
    /// The access control list names the group (context key `binding_group`).
    Group(Arc<str>),
    /// A message may name one itself (`X-Binding`); `default` sends it otherwise.
    Default,
    /// A message must name one itself; it is refused otherwise (`default_binding = none`).
    Refuse,
}

/// A binding of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its name.
    pub name: Arc<str>,
    /// Whether all its mail is held (`suspend_delivery`).
    pub suspended: bool,
}

/// `default_binding`: what becomes of mail that nothing assigns to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultBinding {
    /// The binding `default` sends it.
    Normal,
    /// The binding `default` holds it.
    Suspended,
    /// It is refused.
    None,
}

/// Who may send to whom through us. An empty policy relays nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayPolicy {
    /// The client's address is in `relay_hosts`, or its ACL says bare `relay_for_sending_domains`:
    /// it may send anything anywhere.
    pub client_may_relay: bool,
    /// Sender domains (lower case, `*.` globs) this client may relay for.
    pub sending_domains: Arc<[Arc<str>]>,
    /// Recipient domains (`relay_domains`; lower case, `*` globs) anybody may send to.
    pub recipient_domains: Arc<[Arc<str>]>,
}

/// One socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenEndpoint {
    /// Its position, the name it goes by at the boundary.
    pub id: ListenerId,
    /// Addresses to bind: two for `proto=both` on a wildcard.
    pub addresses: Arc<[SocketAddr]>,
    /// Kernel backlog.
    pub backlog: u32,
}

/// Who the process is once its ports are bound (`security`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    /// The account; `None`: whoever started it.
    pub user: Option<Arc<str>>,
    /// The group; `None`: the first group of the account.
    pub group: Option<Arc<str>>,
    /// Groups beside those that the account is in.
    pub supplemental_groups: Arc<[Arc<str>]>,
}

/// What becomes of a mail that is taken for a bounce of another one (`bounce_behavior`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BounceBehavior {
    /// It is read, and delivered like any other.
    Pass,
    /// It is read, and dropped.
    Blackhole,
}

/// A file of lines for tools that read the original's logs (`ec_logger`, `bounce_logger`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Which lines it has.
    pub kind: LogKind,
    /// Where it is; `None` for nowhere.
    pub path: Option<Arc<str>>,
    /// Its permissions when it is made.
    pub mode: u32,
    /// Time between two lines that say that the daemon is alive; zero for none.
    pub heartbeat: Duration,
    /// What is written down.
    pub lines: LogLines,
}

/// A form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// What became of mail: `R`eceptions, `D`eliveries, `T`ransient and `P`ermanent failures.
    Main,
    /// Failures with their class: `B`, and `T` for those that are tried again.
    Bounce,
    /// What clients were refused.
    Reject,
}

/// What is written down; what a form of lines does not have does not matter there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLines {
    /// `log_receptions`
    pub receptions: bool,
    /// `log_deliveries`
    pub deliveries: bool,
    /// `log_transient_failures`
    pub transient_failures: bool,
    /// `log_permanent_failures`, in a bouncelog `log_inband_bounces`
    pub permanent_failures: bool,
    /// `log_rejections`
    pub rejections: bool,
    /// `log_outofband_bounces`
    pub out_of_band: bool,
}

/// How many look-ups of exchanges are made in a time, and how many may wait for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MxRateLimit {
    /// Look-ups in a time (`dns_rate_limit_mx_queries`, `dns_rate_limit_period`).
    pub rate: Rate,
    /// Look-ups that may wait; those beyond are made at once (`dns_rate_limit_max_queue`).
    pub waiting_max: u32,
}

/// Options of the process as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// `hostname`, or the system's name.
    pub hostname: Arc<str>,
    /// What becomes of mail without a binding.
    pub default_binding: DefaultBinding,
    /// `resolv_conf`: a file in the form of resolv.conf, or `address:port` of one upstream.
    pub resolv_conf: Option<Arc<str>>,
    /// `spool_base`: the spool's directory.
    pub spool_base: Arc<str>,
    /// Floor of DNS TTLs.
    pub min_dns_ttl: Duration,
    /// Ceiling of DNS TTLs.
    pub max_dns_ttl: Duration,
    /// Pairs whose options are remembered.
    pub match_cache_size: usize,
    /// Use IPv6 addresses of exchanges.
    pub use_ipv6: bool,
    /// Within a preference, try IPv6 addresses before IPv4 addresses.
    pub prefer_ipv6_mxs: bool,
    /// Open envelopes of the server; 0: no limit.
    pub max_resident_messages: u32,
    /// Outbound connections of the process, but for the reserve.
    pub server_max_outbound_connections: u32,
    /// Connections beyond that, for queues that have none.
    pub server_reserve_outbound_connections: u32,
    /// Let connections without work pass to other domains of the binding.
    pub migrate_connections_between_sibling_domains: bool,
    /// Time between two sweeps that hand out the reserve.
    pub reserve_maintenance_interval: Duration,
    /// A destination with an exchange there fails.
    pub prohibited_hosts: Arc<[Cidr]>,
    /// Addresses that are never connected to.
    pub skip_hosts: Arc<[Cidr]>,
    /// How long failures of an address are remembered.
    pub address_metrics_lifetime: Duration,
    /// How many exchanges may be asked for in a time; `None`: any number.
    pub mx_rate_limit: Option<MxRateLimit>,
    /// Domains anybody may send to (lower case, `*` globs).
    pub relay_domains: Arc<[Arc<str>]>,
    /// Send mail to these only to their exchanges of best preference.
    pub only_use_best_mx_for_relay_domains: bool,
    /// Domains whose mail may be bounces (lower case, `*` globs); anybody may send to them.
    pub bounce_domains: Arc<[Arc<str>]>,
    /// Addresses, and domains behind an `@`, in lower case, that a bounce is never about
    /// (`bounce_suppress_list`).
    pub bounce_suppress_list: Arc<[Box<str>]>,
}
