//! Options of bounces, delay notices, classification and signing.

use super::options;
use super::words::*;

options! {
"bounces" {
    /// Send a bounce to the sender of a message that fails for good.
    "generate_bounces": Bool, "true", PAIR, WORKS, "conf.ref.generate_bounces";
    /// How much of the failed message a bounce quotes.
    "bounces_inline_original": Word(&["none", "headers", "all"]), "headers", PAIR, WORKS,
        "conf.ref.bounces_inline_original";
    /// Address in the From field of bounces; `mailer-daemon` at our host name if it is not set.
    "mailerdaemon": Text, "", PAIR, WORKS, "conf.ref.mailerdaemon";
    /// Mailbox for bounces of messages without a sender; without it there are none.
    "mdn_failures_notify": Text, "", PAIR, WORKS, "conf.ref.mdn_failures_notify";
    /// Send a bounce when policy refused some of a message's recipients and not all.
    "generate_bounces_for_multi_recipient_policy_rejections": Bool, "true", GLOBAL.and(PATHWAYS),
        POLICY, "conf.ref.generate_bounces_for_multi_recipient_policy_rejections";
    /// Put bounces together in a pool of threads.
    "async_bounce_rendering": Bool, "true", GLOBAL, RUNTIME, "conf.ref.async_bounce_rendering";
}
"dsn" {
    /// Tell senders by mail while their message is delayed.
    "generate_delay_dsn": Bool, "false", PAIR, WORKS, "conf.ref.generate_delay_dsn";
    /// Seconds from reception to the first delay notice. The gaps double.
    "delay_dsn_retry_interval": SECONDS, "3600", PAIR, WORKS, "conf.ref.delay_dsn_retry_interval";
    /// Longest gap between two delay notices, in seconds; 0 is no limit.
    "delay_dsn_max_retry_interval": SECONDS_OR_0, "43200", PAIR, WORKS,
        "conf.ref.delay_dsn_max_retry_interval";
}
"bounce-classification" {
    /// Domains whose mail is taken for bounces that others sent us.
    "bounce_domains": Domains, "", GLOBAL.and(PATHWAYS), WORKS, "conf.ref.bounce_domains";
    /// Which addresses of the bounce domains count; all if it is not set.
    "bounce_pattern": Regex, "", DOMAINS, WORKS, "conf.ref.bounce_pattern";
    /// What becomes of a bounce that others sent us: it is delivered, or classified and dropped.
    "bounce_behavior": Word(&["pass", "blackhole"]), "pass", DOMAINS, WORKS,
        "conf.ref.bounce_behavior";
    /// Addresses, separated by commas, that are never taken for the recipient a bounce is about.
    "bounce_suppress_list": Text, "", GLOBAL, WORKS, "conf.ref.bounce_suppress_list";
    /// Put a header into outgoing mail that lets complaints be traced back.
    "enable_fbl_header_insertion": Bool, "", PAIR, FEEDBACK,
        "conf.ref.enable_fbl_header_insertion";
    /// How many classifications of replies are remembered.
    "bounce_cache_size": COUNT, "16384", GLOBAL, RUNTIME, "conf.ref.bounce_cache_size";
    /// How long a classification of a reply is remembered, in seconds.
    "bounce_cache_ttl": COUNT, "60", GLOBAL, RUNTIME, "conf.ref.bounce_cache_ttl";
}
"signing" {
    /// Whether mail of the scope may be signed with DKIM by the `dkim_sign` module.
    "dkim": Bool, "", PAIR, SIGNING, "conf.ref.dkim";
    /// Whether mail of the scope may be signed with DKIM by the `opendkim` module.
    "opendkim_sign": Bool, "true", PAIR, SIGNING, "conf.ref.opendkim_sign";
    /// Whether mail of the scope may be signed with DomainKeys.
    "domainkeys": Bool, "", PAIR, DOMAINKEYS, "conf.ref.domainkeys";
    /// How finely signatures are counted.
    "signing_stats": Word(&["all", "global", "off"]), "all", GLOBAL, RUNTIME,
        "conf.ref.signing_stats";
}
}
