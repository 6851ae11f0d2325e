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
"spool" {
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
    /// A CR or LF that stands alone in a body: `pedantic` refuses the message, `fix` makes it a line
    /// end. `ignore`, the original's default, is taken as `fix`: relaying it would be SMTP smuggling.
    "rfc2822_lone_lf_in_body" also "lone_lf_in_body": Word(&["ignore", "pedantic", "fix"]),
        "pedantic", GLOBAL.and(PATHWAYS), WORKS, "conf.ref.rfc2822_lone_lf_in_body";
}
}
