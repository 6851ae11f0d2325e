//! Options of the process as a whole.

use super::options;
use super::words::*;

options! {
"identity" {
    /// Name of this server in banners, EHLO and trace headers; the system's own if it is not set.
    "hostname": Text, "", GLOBAL, WORKS, "conf.ref.hostname";
}
"dns" {
    /// Where upstream resolvers are listed: a file in the form of resolv.conf. As an extension also
    /// `address:port` of one upstream.
    "resolv_conf": Text, "/etc/resolv.conf", GLOBAL, WORKS, "conf.ref.resolv_conf";
    /// Least time in seconds that a DNS answer is kept, whatever its TTL.
    "min_dns_ttl": COUNT, "0", GLOBAL, WORKS, "conf.ref.min_dns_ttl";
    /// Longest time in seconds that a DNS answer is kept, whatever its TTL.
    "max_dns_ttl": COUNT, "4294967295", GLOBAL, WORKS, "conf.ref.max_dns_ttl";
}
"dns" {
    /// Seconds between looks at domains whose DNS data is out of date.
    "dns_expire_interval": COUNT, "10", GLOBAL, RUNTIME, "conf.ref.dns_expire_interval";
    /// Seconds between removals of old answers from the DNS cache.
    "dns_cache_purge_interval": COUNT, "60", GLOBAL, RUNTIME, "conf.ref.dns_cache_purge_interval";
    /// Ask again over TCP when a DNS answer was cut off. The resolver here always does.
    "dns_fallback_to_tcp": Bool, "false", GLOBAL, RUNTIME, "conf.ref.dns_fallback_to_tcp";
    /// Use IPv6 addresses of exchanges.
    "use_ipv6": Bool, "false", GLOBAL, WORKS, "conf.ref.use_ipv6";
    /// Among exchanges of one preference, try IPv6 addresses first.
    "prefer_ipv6_mxs": Bool, "false", GLOBAL, WORKS, "conf.ref.prefer_ipv6_mxs";
    /// Limit how many look-ups of exchanges are made within a time. Domains beyond that wait, first
    /// come, first served.
    "dns_rate_limit_enabled": Bool, "false", GLOBAL, WORKS, "ref.dns_rate_limit";
    /// Look-ups of exchanges within every `dns_rate_limit_period`.
    "dns_rate_limit_mx_queries": Int(1, u32::MAX as i64), "100", GLOBAL, WORKS,
        "ref.dns_rate_limit";
    /// Seconds over which look-ups of exchanges are limited.
    "dns_rate_limit_period": SECONDS, "1", GLOBAL, WORKS, "ref.dns_rate_limit";
    /// Domains that may wait for their look-up. Further ones are looked up at once, and not
    /// counted.
    "dns_rate_limit_max_queue": COUNT, "100000", GLOBAL, WORKS, "ref.dns_rate_limit";
}
"spool" {
    /// Make a message durable before it is acknowledged. Unlike in the original this is the
    /// default, and only an explicit `false` turns it off.
    "force_fsync": Bool, "true", GLOBAL, DAEMON, "conf.ref.force_fsync";
    /// Acknowledge messages before they are written anywhere.
    "_unsafe_spool": Bool, "false", GLOBAL, DAEMON, "conf.ref.unsafe_spool";
    /// Messages queued in one turn of the scheduler while the spool is read at start-up.
    "disk_queue_drain_rate": COUNT, "100", GLOBAL, DAEMON, "conf.ref.disk_queue_drain_rate";
    /// Permissions of files in the spool.
    "spool_mode": Octal, "0640", GLOBAL, DAEMON, "conf.ref.spool_mode";
    /// Delete a message that cannot be read back from the spool.
    "unlink_on_spool_in_failure": Bool, "true", GLOBAL, DAEMON,
        "conf.ref.unlink_on_spool_in_failure";
    /// Make retry count and next attempt durable after each transient failure. Always done here.
    "swap_out_meta_after_each_tempfail": Bool, "true", GLOBAL, RUNTIME,
        "ref.swap_out_meta_after_each_tempfail";
    /// Directory of the spool. The default is our own; the original's is /var/spool/ecelerity.
    "spoolbase": Path, "/var/spool/traject", GLOBAL, WORKS, "conf.ref.spoolbase";
}
"relay" {
    /// Domains anybody may send mail to through this server; `*.x` is every subdomain of x.
    "relay_domains": Domains, "", GLOBAL.and(PATHWAYS), WORKS, "conf.ref.relay_domains";
    /// Networks whose hosts may send mail to anybody through this server.
    "relay_hosts": Cidrs, "", GLOBAL.and(CLIENT), WORKS, "conf.ref.relay_hosts";
}
"rfc" {
    /// Accept the null reverse-path `MAIL FROM:<>`, which bounces use.
    "allow_null_envelope_sender": Bool, "true", GLOBAL.and(CLIENT), WORKS,
        "conf.ref.allow_null_envelope_sender";
    /// Refuse MAIL before EHLO or HELO.
    "require_ehlo": Bool, "false", GLOBAL.and(CLIENT), WORKS, "conf.ref.require_ehlo";
    /// Add a Received line to each message.
    "rfc2822_trace_headers" also "trace_headers": Bool, "true", GLOBAL.and(PATHWAYS), WORKS,
        "conf.ref.rfc2822_trace_headers";
    /// A CR or LF that stands alone in a body: `pedantic` refuses the message, `fix` makes it a
    /// line end. `ignore`, the original's default, is taken as `fix`: relaying it would be SMTP
    /// smuggling.
    "rfc2822_lone_lf_in_body" also "lone_lf_in_body": Word(&["ignore", "pedantic", "fix"]),
        "pedantic", GLOBAL.and(PATHWAYS), WORKS, "conf.ref.rfc2822_lone_lf_in_body";
    /// A CR or LF that stands alone in the header section. One rule serves the whole message here:
    /// that of `rfc2822_lone_lf_in_body`.
    "rfc2822_lone_lf_in_headers" also "lone_lf_in_headers": Word(&["pedantic", "fix"]), "pedantic",
        GLOBAL.and(PATHWAYS), RECEPTION, "conf.ref.rfc2822_lone_lf_in_headers";
    /// A message without Date: passed on, given one, or refused.
    "rfc2822_date_header" also "date_header": Word(&["ignore", "ifneeded", "pedantic"]), "ifneeded",
        GLOBAL.and(PATHWAYS), RECEPTION, "conf.ref.rfc2822_date_header";
    /// A message without Message-ID: passed on, or given one.
    "rfc2822_messageid_header" also "messageid_header": Word(&["ignore", "ifneeded"]), "ifneeded",
        GLOBAL.and(PATHWAYS), RECEPTION, "conf.ref.rfc2822_messageid_header";
    /// A message without a header section: refused, or taken as it is.
    "rfc2822_missing_headers": Word(&["reject", "allow"]), "reject", GLOBAL.and(PATHWAYS),
        RECEPTION, "conf.ref.rfc2822_missing_headers";
    /// Lines longer than 998 characters, or than the number given.
    "rfc2822_max_line_length": WordOrInt(&["ignore", "pedantic", "fix"], 1, u32::MAX as i64),
        "ignore", GLOBAL.and(PATHWAYS), RECEPTION, "conf.ref.rfc2822_max_line_length";
    /// What becomes of lines that are longer than `rfc2822_max_line_length` says.
    "rfc2822_max_line_length_policy": Word(&["none", "fix", "reject"]), "none",
        GLOBAL.and(PATHWAYS), RECEPTION, "conf.ref.rfc2822_max_line_length_policy";
    /// Refuse addresses that break the rules of RFC 5321 in ways that are common.
    "rfc2821_pedantic_address_rules": Bool, "true", GLOBAL.and(PATHWAYS), RECEPTION,
        "conf.ref.rfc2821_pedantic_address_rules";
    /// Accept blanks at the end of a command.
    "rfc2821_allow_whitespace_in_envelope": Bool, "false", GLOBAL.and(PATHWAYS), RECEPTION,
        "conf.ref.rfc2821_allow_whitespace_in_envelope";
    /// Accept recipients whose domain is an address in brackets.
    "allow_ip_literal": Bool, "true", GLOBAL.and(CLIENT), RECEPTION, "conf.ref.allow_ip_literal";
    /// Accept blanks between an address and its angle brackets.
    "allow_trailing_whitespace_in_commands": Bool, "false", GLOBAL.and(PERSONALITY), RECEPTION,
        "conf.ref.allow_trailing_whitespace_in_commands";
    /// Domain of recipients that have none.
    "domain_for_unqualified_recipient_addresses": Text, "", GLOBAL.and(CLIENT), RECEPTION,
        "conf.ref.domain_for_unqualified_recipient_addresses";
    /// Domain of senders that have none.
    "domain_for_unqualified_sender_address": Text, "", GLOBAL.and(CLIENT), RECEPTION,
        "conf.ref.domain_for_unqualified_sender_address";
    /// Character set of content that names none.
    "default_charset": Text, "us-ascii", GLOBAL.and(PATHWAYS), POLICY, "conf.ref.default_charset";
}
"shaping" {
    /// Messages accepted within a time.
    "inbound_throttle_messages": Rate, "", GLOBAL.and(PATHWAYS), RECEPTION,
        "conf.ref.inbound_throttle_messages";
}
"memory" {
    /// Share of the machine's memory, in percent, from which bodies leave it.
    "memory_goal": Int(1, 100), "90", GLOBAL, DAEMON, "conf.ref.memory_goal";
    /// Share of the machine's memory, in percent, from which new mail is refused for a while.
    "memory_hwm": Int(1, 100), "95", GLOBAL, DAEMON, "conf.ref.memory_hwm";
    /// Seconds between two looks at the memory in use.
    "mail_queue_check_vm_interval": SECONDS, "60", GLOBAL, DAEMON,
        "conf.ref.mail_queue_check_vm_interval";
    /// Size in bytes from which a message goes to disk while it is received.
    "large_message_threshold": COUNT, "131072", GLOBAL, RUNTIME, "conf.ref.large_message_threshold";
}
"resource" {
    /// Largest buffer of outbound sockets, in bytes.
    "tcp_buffer_size": COUNT, "32768", GLOBAL.and(IN_CLUSTER), DAEMON, "conf.ref.tcp_buffer_size";
    /// File descriptors of the process. At least four times `server_max_outbound_connections`.
    "server_max_file_descriptors": COUNT, "3000000", GLOBAL, DAEMON,
        "conf.ref.server_max_file_descriptors";
    /// Send small packets at once.
    "disable_nagle_algorithm": Bool, "false", GLOBAL.and(SOCKETS_BUT_MSGC), DAEMON,
        "conf.ref.disable_nagle_algorithm";
}
"security" {
    /// Linux capabilities to keep. None is kept.
    "capabilities": Text, "", IN_SECURITY, NO_CAPABILITY, "conf.ref.capabilities";
    /// Directory to confine the process to. To set one is an error.
    "chroot": Path, "", IN_SECURITY, SANDBOX, "conf.ref.chroot";
    /// Account that the process runs as once its ports are bound; only root can change it. Unset,
    /// the process stays what it was started as; the original becomes `ecuser`.
    "user": Text, "", IN_SECURITY, WORKS, "conf.ref.user";
    /// Group that the process runs as; unset, the first group of `user`.
    "group": Text, "", IN_SECURITY, WORKS, "conf.ref.user";
    /// Further groups of the process, beside those that `user` is in.
    "supplemental_groups": Words, "", IN_SECURITY, WORKS, "conf.ref.supplemental_groups";
}
"log" {
    /// Write times in logs to the microsecond.
    "log_hires_timestamp": Bool, "false", GLOBAL, DAEMON, "ref.log_hires_timestamp";
}
}
