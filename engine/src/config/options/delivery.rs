//! Options of outbound mail: retries, connections, time limits, routing.

use super::options;
use super::words::*;

options! {
"retry" {
    /// Seconds to wait after the first transient failure of a message. The wait doubles after each
    /// further one, up to `max_retry_interval`.
    "retry_interval": SECONDS, "1200", PAIR, WORKS, "conf.ref.retry_interval";
    /// Longest wait between two attempts, in seconds.
    "max_retry_interval": SECONDS, "43200", PAIR, WORKS, "conf.ref.max_retry_interval";
    /// Retries of a message before it fails. `auto` is as many as fit `message_expiration` if the
    /// wait doubled for ever; `none` is no limit. The first attempt is not a retry.
    "max_retries": WordOrInt(&["auto", "none"], 1, 65_535), "auto", PAIR, WORKS,
        "conf.ref.max_retries";
    /// Fail a message at its first transient failure.
    "never_retry": Bool, "false", PAIR, WORKS, "conf.ref.never_retry";
    /// Failures in a row on every exchange of a domain that move its mail to the delayed queue;
    /// 0 never does.
    "mx_failures_to_delay": COUNT, "50", DOMAINS, WORKS, "conf.ref.mx_failures_to_delay";
    /// Seconds of vain connecting to a domain that move its mail to the delayed queue.
    "connect_timeout_to_delay": SECONDS, "900", PAIR, WORKS, "conf.ref.connect_timeout_to_delay";
}
"expiry" {
    /// Age in seconds from which a failed attempt is a message's last.
    "message_expiration": SECONDS, "86400", PAIR, WORKS, "conf.ref.message_expiration";
    /// Look at the age of a message, and at its retries, before an attempt too, and fail it untried.
    "never_attempt_expired_messages": Bool, "false", PAIR, WORKS,
        "conf.ref.never_attempt_expired_messages";
}
"connections" {
    /// Connections of one binding to one domain at a time. In a `host` stanza: connections to that
    /// exchange, where -1 is no limit and nothing is inherited.
    "max_outbound_connections": COUNT_OR_ALL, "32", PAIR.and(HOST), WORKS,
        "conf.ref.max_outbound_connections";
    /// Messages delivered over one connection before it is closed; 0 is no limit.
    "max_deliveries_per_connection": COUNT, "0", PAIR, WORKS,
        "conf.ref.max_deliveries_per_connection";
    /// How quickly a growing queue opens connections: the slope of the goal curve. `normal` is 0.3,
    /// `high` is 0.75.
    "connection_allocation_aggressiveness": WordOrFloat(&["normal", "high"]), "normal", PAIR,
        WORKS, "conf.ref.connection_allocation_aggressiveness";
    /// Seconds a connection without work is kept open; 0 keeps it for ever.
    "idle_timeout": SECONDS_OR_0, "5", PAIR, WORKS, "conf.ref.idle_timeout";
    /// Seconds an address is set aside after a connection to it failed.
    "host_failure_retry": SECONDS_OR_0, "120", DOMAINS, WORKS, "conf.ref.host_failure_retry";
    /// Outbound connections of the whole server; in a binding: of that binding.
    "server_max_outbound_connections": COUNT, "20000", BINDINGS, WORKS,
        "conf.ref.server_max_outbound_connections";
}
"batching" {
    /// Recipients of one message in one transaction; 0 is no limit.
    "max_recipients_per_batch": COUNT, "100", PAIR, WORKS, "conf.ref.max_recipients_per_batch";
}
"timeouts" {
    /// Seconds to wait for a TCP connection.
    "connect_timeout": SECONDS, "300", PAIR, WORKS, "conf.ref.connect_timeout";
    /// Seconds to wait for the banner, and for the reply to EHLO or HELO.
    "ehlo_timeout": SECONDS, "300", PAIR, WORKS, "conf.ref.ehlo_timeout";
    /// Seconds to wait for the reply to MAIL FROM.
    "mailfrom_timeout": SECONDS, "300", PAIR, WORKS, "conf.ref.mailfrom_timeout";
    /// Seconds to wait for the reply to RCPT TO, and to DATA.
    "rcptto_timeout": SECONDS, "300", PAIR, WORKS, "conf.ref.rcptto_timeout";
    /// Seconds to wait for the reply to a message's final dot.
    "body_timeout": SECONDS, "600", PAIR, WORKS, "conf.ref.body_timeout";
    /// Seconds to wait for the reply to RSET.
    "rset_timeout": SECONDS, "30", PAIR, WORKS, "conf.ref.rset_timeout";
}
"dns" {
    /// Failed look-ups of a domain's exchanges after which its own addresses are tried; -1 asks for
    /// exchanges only the first time.
    "mx_failures_fallback_to_a": Int(-1, i32::MAX as i64), "3", DOMAINS, WORKS,
        "conf.ref.mx_failures_fallback_to_a";
    /// DNS failures in a row that fail all mail of a domain; 0 never does.
    "dns_failures_to_purge": COUNT, "10", DOMAINS, WORKS, "conf.ref.dns_failures_to_purge";
}
"routing" {
    /// Host to hand mail to instead of the domain's own exchanges: a name or an address. The
    /// options of the gateway's name apply, not those of the recipient's domain.
    "gateway": Text, "", PAIR, WORKS, "conf.ref.gateway";
    /// Port of the exchange.
    "remote_smtp_port": PORT, "25", PAIR, WORKS, "conf.ref.remote_smtp_port";
    /// Protocol towards the next hop: `SMTP` says HELO and never EHLO.
    "delivery_method": Word(&["ESMTP", "SMTP", "LMTP", "ECSTREAM", "APN", "GCM", "MM7"]), "ESMTP",
        PAIR, WORKS, "conf.ref.delivery_method";
}
"identity" {
    /// Source address of outbound connections; `*` lets the system choose.
    "bind_address": Text, "*", BINDINGS, WORKS, "conf.ref.bind_address";
    /// Name we introduce ourselves with: a host name, `__hostname__` for ours, or `__message__` for
    /// the domain of the envelope sender.
    "ehlo_hostname": Text, "__hostname__", PAIR, WORKS, "conf.ref.ehlo_hostname";
}
"suspension" {
    /// Hold all mail of the scope. It stays queued and grows older.
    "suspend_delivery": Bool, "false", PAIR, WORKS, "conf.ref.suspend_delivery";
}
}
