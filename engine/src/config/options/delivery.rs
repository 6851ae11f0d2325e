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
    /// Look at the age of a message, and at its retries, before an attempt too, and fail it
    /// untried.
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
    /// Seconds a connection without work is kept open; 0 keeps it for ever, and with it
    /// its place under every cap it counts towards: mail that waits at one does not get it.
    "idle_timeout": SECONDS_OR_0, "5", PAIR, WORKS, "conf.ref.idle_timeout";
    /// Seconds an address is set aside after a connection to it failed.
    "host_failure_retry": SECONDS_OR_0, "120", DOMAINS, WORKS, "conf.ref.host_failure_retry";
    /// Outbound connections of the whole server; in a binding: of that binding.
    "server_max_outbound_connections": COUNT, "20000", BINDINGS, WORKS,
        "conf.ref.server_max_outbound_connections";
    /// Connections beyond the limit of the server that only a regular sweep may open, for domains
    /// that got none.
    "server_reserve_outbound_connections": COUNT, "200", GLOBAL, WORKS,
        "conf.ref.server_reserve_outbound_connections";
    /// Seconds between two sweeps that open reserve connections.
    "reserve_maintenance_interval": SECONDS, "15", GLOBAL, WORKS,
        "conf.ref.reserve_maintenance_interval";
    /// Connections of everything in the stanza that sets it, added up: of a domain over all
    /// bindings, or of all domains that a regular expression matches.
    "scope_max_outbound_connections": COUNT, "", PAIR, WORKS,
        "conf.ref.scope_max_outbound_connections";
    /// Give a connection without work to another domain of the binding that has the same exchange.
    "migrate_connections_between_sibling_domains": Bool, "true", GLOBAL, WORKS,
        "conf.ref.migrate_connections_between_sibling_domains";
    /// Seconds for which failures of an address are remembered after the last of them. Until then
    /// one connection tries it anew, and its failures count for `mx_failures_to_delay`. They are
    /// never forgotten before `host_failure_retry` is over.
    "address_metrics_lifetime": COUNT, "1800", GLOBAL, WORKS,
        "conf.ref.address_metrics_lifetime";
    /// Seconds between two removals of old times and failures of addresses.
    "address_metrics_cleanse_interval": COUNT, "3600", GLOBAL, RUNTIME,
        "conf.ref.address_metrics_cleanse_interval";
}
"throttle" {
    /// New connections within a time, shared by all that inherit it from the stanza that sets it.
    "outbound_throttle_connections": Rate, "", PAIR, WORKS,
        "conf.ref.outbound_throttle_connections";
    /// Messages delivered within a time, shared by all that inherit it from the stanza that sets
    /// it.
    "outbound_throttle_messages": Rate, "", PAIR, WORKS, "conf.ref.outbound_throttle_messages";
}
"cluster" {
    /// `max_outbound_connections` counted over all nodes; -1 is no limit.
    "cluster_max_outbound_connections": COUNT_OR_ALL, "-1", GLOBAL_BINDING_DOMAIN.and(HOST),
        CLUSTER,
        "conf.ref.cluster_max_outbound_connections";
    /// `scope_max_outbound_connections` counted over all nodes.
    "cluster_scope_max_outbound_connections": COUNT, "", PAIR.and(HOST), CLUSTER,
        "conf.ref.cluster_scope_max_outbound_connections";
    /// `server_max_outbound_connections` counted over all nodes.
    "cluster_server_max_outbound_connections": COUNT, "", BINDINGS, CLUSTER,
        "conf.ref.cluster_server_max_outbound_connections";
    /// `outbound_throttle_connections` shared by all nodes.
    "cluster_outbound_throttle_connections": Rate, "", GLOBAL_GROUP_DOMAIN, CLUSTER,
        "conf.ref.cluster_outbound_throttle_connections";
    /// `outbound_throttle_messages` shared by all nodes.
    "cluster_outbound_throttle_messages": Rate, "", GLOBAL_GROUP_DOMAIN, CLUSTER,
        "conf.ref.cluster_outbound_throttle_messages";
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
    /// Wait for the addresses of all exchanges before a connection is opened. Without it, of the
    /// exchanges whose addresses are known by then the best is used, so that mail may go to a worse
    /// one while the answer about a better one is under way. Domains in `relay_domains` always
    /// wait.
    "fully_resolve_before_smtp": Bool, "true", PAIR, WORKS, "conf.ref.fully_resolve_before_smtp";
    /// Failed look-ups of a domain's exchanges after which its own addresses are tried; -1 asks for
    /// exchanges only the first time.
    "mx_failures_fallback_to_a": Int(-1, i32::MAX as i64), "3", DOMAINS, WORKS,
        "conf.ref.mx_failures_fallback_to_a";
    /// DNS failures in a row that fail all mail of a domain; 0 never does.
    "dns_failures_to_purge": COUNT, "10", DOMAINS, WORKS, "conf.ref.dns_failures_to_purge";
}
"routing" {
    /// Where to hand mail to instead of the domain's own exchanges: hosts, addresses (IPv6 in
    /// brackets), `__mx__` for the domain's own exchanges, or
    /// `"smtp://host?pref=10&ttl=300&port=25&type=mx"`. Lower `pref` is tried first, equal ones
    /// share the load, and an entry without it comes after all before it. A host is looked up by
    /// its addresses, with `type=mx` by its exchanges; `ttl` is how many seconds answers about it
    /// are kept, whatever their TTL. With a `gateway`, the routes of the gateway's name apply.
    "routes": Words, "", DOMAINS, WORKS, "conf.ref.routes";
    /// Networks that mail is never delivered to; a domain whose exchange is there fails.
    "prohibited_hosts": Cidrs, "", GLOBAL, WORKS, "conf.ref.prohibited_hosts";
    /// Networks that are left out when an exchange is chosen. A domain all of whose addresses are
    /// there fails.
    "skip_hosts": Cidrs, "", GLOBAL, WORKS, "ref.skip_hosts";
    /// For domains in `relay_domains`, use only the exchanges of best preference: the others may
    /// well be ourselves.
    "only_use_best_mx_for_relay_domains": Bool, "true", GLOBAL, WORKS,
        "conf.ref.only_use_best_mx_for_relay_domains";
    /// Named schemes that replace recipients by others at reception.
    "alias_schemes": Words, "", DOMAINS.and(PATHWAYS), POLICY, "conf.ref.alias_schemes";
    /// Host to hand mail to instead of the domain's own exchanges: a name or an address, IPv6 in
    /// brackets. A name is looked up like a domain, by its exchanges or else by its addresses. The
    /// options of the gateway's name apply, not those of the recipient's domain.
    "gateway": Text, "", PAIR, WORKS, "conf.ref.gateway";
    /// Port of the exchange, except with `delivery_method = LMTP`.
    "remote_smtp_port": PORT, "25", PAIR, WORKS, "conf.ref.remote_smtp_port";
    /// Protocol towards the next hop. `ESMTP` says EHLO, and HELO where that is not known; `SMTP`
    /// says HELO and so uses no extensions; `LMTP` says LHLO on port `lmtp_port` and has a reply
    /// for each recipient after the message.
    "delivery_method": Word(&["ESMTP", "SMTP", "LMTP", "ECSTREAM", "APN", "GCM", "MM7"]), "ESMTP",
        PAIR, WORKS, "conf.ref.delivery_method";
}
"identity" {
    /// Source address of outbound connections; `*` lets the system choose. Exchanges have no
    /// addresses of the other family then.
    "bind_address": Text, "*", BINDINGS, WORKS, "conf.ref.bind_address";
    /// Name we introduce ourselves with: a host name, `__hostname__` for ours, or `__message__` for
    /// the domain of the envelope sender.
    "ehlo_hostname": Text, "__hostname__", PAIR, WORKS, "conf.ref.ehlo_hostname";
}
"smtp-extensions" {
    /// Say BODY=8BITMIME where the receiver offers it and the message needs it; `no` sends 8-bit
    /// content there without saying so.
    "send_8bitmime": Word(&["no", "ifavailable"]), "no", PAIR, WORKS, "conf.ref.send_8bitmime";
    /// What becomes of 8-bit content when the receiver does not offer 8BITMIME. `no` sends it as it
    /// is. The others ask for a conversion: to 7 bits where needed, to quoted-printable, or by
    /// clearing every high bit. Bodies are not converted yet: with these such a message fails with
    /// 554 5.6.3.
    "transform_8bitmime_content": Word(&["no", "ifneeded", "strict", "strip"]), "ifneeded", PAIR,
        WORKS, "conf.ref.transform_8bitmime_content";
    /// Tell the next hop before each message who the original client was, with the XCLIENT command:
    /// its address, port and protocol, and what it called itself. `ifavailable` goes on without
    /// where it is not offered or refused; `required` delays the message then, with 451 4.7.6.
    "xclient": Word(&["no", "ifavailable", "required"]), "no", PAIR, WORKS, "conf.ref.xclient";
    /// Port of the next hop with `delivery_method = LMTP`.
    "lmtp_port": PORT, "2003", PAIR, WORKS, "conf.ref.lmtp_port";
}
"response-rewrite" {
    /// Replies with a code from 400 to 599 that are replaced before they count. It is tried on the
    /// whole reply on one line, its code included. Our own words where the receiver gave none are
    /// replaced too if they are transient. Needs `response_transcode_replace`.
    "response_transcode_pattern": Regex, "", PAIR, WORKS, "conf.ref.response_transcode_pattern";
    /// The whole reply instead of one that `response_transcode_pattern` matches, its code included;
    /// `$0` is the match, `$1` to `$9` are its groups. Unless it begins with a code from 400 to 599
    /// the reply stays as it is.
    "response_transcode_replace": Text, "", PAIR, WORKS, "conf.ref.response_transcode_replace";
}
"queue-memory" {
    /// Messages of a pair's active queue that lie ready in memory; the others take less room, and
    /// longer to begin. Bodies are never in memory: this is about envelopes. -1 is no limit.
    "max_resident_active_queue": COUNT_OR_ALL, "250", PAIR, WORKS,
        "conf.ref.max_resident_active_queue";
    /// Messages that lie ready in memory: of the server, and where a binding or its group sets it,
    /// of each binding. 0 is no limit.
    "max_resident_messages": COUNT, "32768", BINDINGS, WORKS, "conf.ref.max_resident_messages";
    /// Transient failures after which a message that waits does not lie ready in memory.
    "drop_body_after_trans_fail": COUNT, "3", PAIR, WORKS, "conf.ref.drop_body_after_trans_fail";
    /// Compare the headers that would be sent when messages of one transaction are to be sent as
    /// one, instead of taking every changed message apart.
    "expensive_batch_assessment": Bool, "false", GLOBAL, SAME_FOR_ALL,
        "conf.ref.expensive_batch_assessment";
}
"fuzz" {
    /// Seconds over which messages are spread that must be retried all at once; 0 spreads none.
    "delayed_binding_domain_fuzz": COUNT, "0", BINDINGS, WORKS,
        "conf.ref.delayed_binding_domain_fuzz";
    /// Longest time in seconds between two looks at a domain that has active mail.
    "delayed_queue_scan_interval": SECONDS, "15", GLOBAL, NEVER_SCANNED,
        "conf.ref.delayed_queue_scan_interval";
    /// Replace a domain's pending wakeup by an earlier one.
    "clear_mail_queue_maintainers": Bool, "true", GLOBAL, RUNTIME,
        "conf.ref.clear_mail_queue_maintainers";
}
"suspension" {
    /// Discard mail of the scope. `inline`, which `true` means, refuses its recipients when a
    /// client names them, with 551 5.7.1; `internal` accepts it. What is queued, however it came
    /// there, fails at once with 554 5.7.0.
    "blackhole": Word(&["false", "true", "inline", "internal"]), "false", PAIR, WORKS,
        "conf.ref.blackhole";
    /// What becomes of mail that nothing assigns to a binding: the binding `default` sends it,
    /// holds it (and all its other mail), or it is refused with 451.
    "default_binding": Word(&["normal", "suspended", "none"]), "normal", GLOBAL, WORKS,
        "conf.ref.default_binding";
    /// Hold all mail of the scope. It stays queued and grows older.
    "suspend_delivery": Bool, "false", PAIR, WORKS, "conf.ref.suspend_delivery";
}
}
