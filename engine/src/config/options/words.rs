//! Shorthands of the tables.

use super::{Kind, Scopes, Status};
use crate::config::scope::ScopeKind;
pub(super) use Kind::{
    Bool, Bounds, Cidrs, Domains, Duration, Flag, Int, Map, Octal, Path, Property, Rate, Regex,
    Senders, Text, Word, WordOrFloat, WordOrInt, Words, WordsOf,
};

/// Whole seconds; 0 has a meaning of its own.
pub(super) const SECONDS_OR_0: Kind = Int(0, u32::MAX as i64);
/// Whole seconds.
pub(super) const SECONDS: Kind = Int(1, u32::MAX as i64);
/// A number of things.
pub(super) const COUNT: Kind = Int(0, u32::MAX as i64);
/// A number of things; -1 is no limit.
pub(super) const COUNT_OR_ALL: Kind = Int(-1, u32::MAX as i64);
/// A TCP port.
pub(super) const PORT: Kind = Int(1, 65_535);

pub(super) const WORKS: Status = Status::Works;
pub(super) const RECEPTION: Status = later("reception");
pub(super) const AUTH: Status = later("authentication");
pub(super) const TLS: Status = later("TLS");
pub(super) const DAEMON: Status = later("the daemon");
pub(super) const ADAPTIVE: Status = later("adaptive delivery");
pub(super) const SIGNING: Status = later("signing");
pub(super) const FEEDBACK: Status = later("feedback loops");
pub(super) const CLUSTER: Status = later("clusters");
pub(super) const POLICY: Status = later("policy scripts");

pub(super) const PUSH: Status = gone("the push services it belongs to were shut down", "");
pub(super) const HTTP: Status = gone("mail is not delivered over HTTP", "");
pub(super) const ECSTREAM: Status =
    gone("ECStream is a protocol of the original alone", "inject mail by SMTP");
pub(super) const XMPP_GONE: Status = gone("XMPP is not mail", "");
pub(super) const DOMAINKEYS: Status =
    gone("DKIM took the place of DomainKeys", "use `opendkim_sign`");
pub(super) const UNMANAGED: Status =
    gone("nothing ever adjusts that option", "set the option itself");
pub(super) const NEVER_SCANNED: Status =
    gone("queues are not scanned: mail moves at the instant it is due", "");
pub(super) const SAME_FOR_ALL: Status =
    gone("all recipients of a message are sent the same content", "");
pub(super) const RUNTIME: Status = gone("it tunes the inside of the original", "");
pub(super) const RUSTLS: Status =
    gone("it tunes a TLS library that is not used", "choose with `tls_ciphers`, `tls_protocols`");
pub(super) const METRICS: Status = gone("statistics are not saved", "collect the metrics");
pub(super) const FILES: Status =
    gone("changes are made in the files", "keep the configuration under version control");
pub(super) const SERVICE_MANAGER: Status =
    gone("the service manager knows the process", "see the systemd unit");
pub(super) const NO_CAPABILITY: Status =
    gone("ports are bound before the account changes, and nothing else needs a privilege", "");
pub(super) const STDERR: Status =
    gone("what goes wrong inside is told on standard error", "set RUST_LOG for more or less of it");
pub(super) const NO_IMPORT: Status = gone("spools of the original are not imported", "");
pub(super) const SANDBOX: Status =
    gone("reloads, logs and the spool need paths outside", "use the systemd unit, or a container");
pub(super) const FREE: Status = gone("no licence is needed", "");
pub(super) const LOGS: Status = gone("logs have one form of time", "");
pub(super) const CONTROL: Status = gone("there is no console protocol", "use the control socket");
pub(super) const UNIX_SOCKETS: Status = gone("listeners have no Unix sockets", "");
pub(super) const PROXY_INSTEAD: Status =
    gone("a client could say anything", "use `proxy_protocol`");
pub(super) const MD5: Status = gone(
    "authentication by MD5 needs passwords in clear text on this side",
    "use `AuthPlainParameters` under TLS",
);

const fn later(milestone: &'static str) -> Status {
    Status::Unimplemented { milestone }
}

const fn gone(reason: &'static str, instead: &'static str) -> Status {
    Status::Legacy { reason, instead }
}

pub(super) const GLOBAL: Scopes = Scopes::of(&[ScopeKind::Global]);
pub(super) const DOMAIN: Scopes = Scopes::of(&[ScopeKind::Domain]);
pub(super) const HOST: Scopes = Scopes::of(&[ScopeKind::Host]);
/// Where options of outbound mail may be set.
pub(super) const PAIR: Scopes = Scopes::of(&[
    ScopeKind::Global,
    ScopeKind::BindingGroup,
    ScopeKind::Binding,
    ScopeKind::Domain,
]);
pub(super) const DOMAINS: Scopes = GLOBAL.and(DOMAIN);
pub(super) const BINDINGS: Scopes =
    Scopes::of(&[ScopeKind::Global, ScopeKind::BindingGroup, ScopeKind::Binding]);
pub(super) const GLOBAL_BINDING_DOMAIN: Scopes =
    Scopes::of(&[ScopeKind::Global, ScopeKind::Binding, ScopeKind::Domain]);
pub(super) const GLOBAL_GROUP_DOMAIN: Scopes =
    Scopes::of(&[ScopeKind::Global, ScopeKind::BindingGroup, ScopeKind::Domain]);
pub(super) const SWEEP_RULE: Scopes = Scopes::of(&[ScopeKind::AdaptiveSweepRule]);

pub(super) const PATHWAYS: Scopes = Scopes::of(&[ScopeKind::Pathway, ScopeKind::PathwayGroup]);
pub(super) const ESMTP: Scopes = Scopes::of(&[ScopeKind::EsmtpListener]);
pub(super) const XMPP: Scopes = Scopes::of(&[ScopeKind::XmppListener]);
pub(super) const CONTROL_LISTENER: Scopes = Scopes::of(&[ScopeKind::ControlListener]);
pub(super) const ACL: Scopes = Scopes::of(&[ScopeKind::AclEntry]);
/// The parts of the mail listener.
pub(super) const MAIL_CLIENT: Scopes =
    Scopes::of(&[ScopeKind::EsmtpListener, ScopeKind::Listen, ScopeKind::Peer]);
/// The places of the list form of listeners.
pub(super) const IN_LIST_FORM: Scopes = Scopes::of(&[ScopeKind::AclEntry, ScopeKind::Personality]);
pub(super) const HTTP_LISTENER: Scopes = Scopes::of(&[ScopeKind::HttpListener]);
/// Where options of clients may be set.
pub(super) const CLIENT: Scopes = MAIL_CLIENT.and(ACL).and(PATHWAYS);
/// The same, and in `personality [ ]`.
pub(super) const PERSONALITY: Scopes = CLIENT.and(Scopes::of(&[ScopeKind::Personality]));
/// Where sockets are configured.
pub(super) const SOCKETS: Scopes =
    ScopeKind::Listen.parents().and(Scopes::of(&[ScopeKind::Listen]));
pub(super) const SOCKETS_BUT_MSGC: Scopes = Scopes::of(&[
    ScopeKind::EsmtpListener,
    ScopeKind::ControlListener,
    ScopeKind::EcstreamListener,
    ScopeKind::EcclusterListener,
    ScopeKind::HttpListener,
    ScopeKind::XmppListener,
    ScopeKind::Listen,
]);
/// The listeners that mail comes in by.
pub(super) const MAIL_LISTENERS: Scopes =
    MAIL_CLIENT.and(PATHWAYS).and(Scopes::of(&[ScopeKind::EcstreamListener]));
pub(super) const ECSTREAM_LISTENER: Scopes =
    Scopes::of(&[ScopeKind::EcstreamListener, ScopeKind::Listen, ScopeKind::Peer]).and(PATHWAYS);
/// The listeners that know TLS.
pub(super) const TLS_LISTENERS: Scopes = MAIL_LISTENERS.and(Scopes::of(&[ScopeKind::HttpListener]));
/// The listeners that know the PROXY protocol.
pub(super) const PROXIED: Scopes = MAIL_CLIENT
    .and(XMPP)
    .and(CONTROL_LISTENER)
    .and(Scopes::of(&[ScopeKind::EcstreamListener, ScopeKind::HttpListener]));
/// Where access without a password may be given.
pub(super) const ALLOWED: Scopes =
    CLIENT.and(CONTROL_LISTENER).and(Scopes::of(&[ScopeKind::HttpListener]));
pub(super) const IN_SECURITY: Scopes = Scopes::of(&[ScopeKind::Security]);
pub(super) const EC_LOGGER: Scopes = Scopes::of(&[ScopeKind::EcLogger]);
pub(super) const BOUNCE_LOGGER: Scopes = Scopes::of(&[ScopeKind::BounceLogger]);
pub(super) const LOGGERS: Scopes = EC_LOGGER.and(BOUNCE_LOGGER);
pub(super) const IN_CLUSTER: Scopes = Scopes::of(&[ScopeKind::Cluster]);
pub(super) const IN_THREADPOOL: Scopes = Scopes::of(&[ScopeKind::Threadpool]);
