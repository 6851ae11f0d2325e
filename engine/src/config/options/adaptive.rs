//! Options of adaptive delivery: limits that follow what receivers answer.

use super::options;
use super::words::*;

options! {
"adaptive" {
    /// Adjust limits of the scope to what its receivers answer. Without it no other option of the
    /// family has an effect.
    "adaptive_enabled": Bool, "false", PAIR, ADAPTIVE, "conf.ref.adaptive_enabled";
    /// Where rules count: on this node, on all nodes together, or whichever is possible.
    "adaptive_scope": Word(&["local", "global", "auto"]), "auto", PAIR, CLUSTER,
        "conf.ref.adaptive_scope";
    /// Least seconds between two automatic changes for one binding and domain.
    "adaptive_adjustment_interval": SECONDS_OR_0, "60", PAIR, ADAPTIVE, "modules.adaptive";
    /// Least seconds between two automatic changes that raise a limit.
    "adaptive_positive_adjustment_interval": SECONDS_OR_0, "3600", PAIR, ADAPTIVE,
        "modules.adaptive";
    /// Addresses that are told by mail when a limit is lowered, mail is suspended or discarded.
    "adaptive_alert_email_destination": Text, "", PAIR, ADAPTIVE, "modules.adaptive";
    /// Sender of those alerts.
    "adaptive_alert_email_sender": Text, "", PAIR, ADAPTIVE, "modules.adaptive";
    /// Kinds of action that cause an alert.
    "adaptive_notification_events": WordsOf(&["throttle", "suspension", "blackhole"]),
        "throttle suspension blackhole", PAIR, ADAPTIVE, "modules.adaptive";
    /// Least seconds between two alerts about the same thing.
    "adaptive_notification_interval": SECONDS_OR_0, "3600", PAIR, ADAPTIVE, "modules.adaptive";
    /// Attempts of one binding and domain within an hour below which the rates of refusals mean
    /// nothing and no rule about them acts.
    "adaptive_attempt_threshold": COUNT, "2000", PAIR, ADAPTIVE, "modules.adaptive";
    /// Deliveries within a day below which the rate of complaints means nothing.
    "adaptive_fbl_volume_threshold": COUNT, "20000", PAIR, ADAPTIVE, "modules.adaptive";
    /// How long a suspension lasts that sets no time of its own.
    "adaptive_default_suspension": Duration, "4 hours", PAIR, ADAPTIVE, "modules.adaptive";
    /// Suspend a domain when its share of refusals exceeds
    /// `adaptive_rejection_rate_suspension_percentage`.
    "adaptive_default_suspension_enabled": Bool, "false", PAIR, ADAPTIVE, "modules.adaptive";
    /// Share of refused attempts, in percent, beyond which a domain is suspended.
    "adaptive_rejection_rate_suspension_percentage": Int(0, 100), "20", PAIR, ADAPTIVE,
        "modules.adaptive";
    /// Seconds over which messages are spread that must be retried all at once. A power of two.
    "adaptive_retry_fuzz": COUNT, "4096", PAIR, ADAPTIVE, "modules.adaptive";
    /// Whether the sweep rules of the scope apply.
    "adaptive_sweep_rule_enabled": Bool, "1", PAIR, ADAPTIVE, "modules.adaptive";
    /// Bounds of the automatic value of `max_outbound_connections`.
    "adaptive_max_outbound_connections": Bounds, "", PAIR, ADAPTIVE, "modules.adaptive";
    /// Bounds of the automatic value of `max_deliveries_per_connection`.
    "adaptive_max_deliveries_per_connection": Bounds, "", PAIR, ADAPTIVE, "modules.adaptive";
    /// Bounds of the automatic value of `outbound_throttle_messages`, in messages an hour.
    "adaptive_outbound_throttle_messages": Bounds, "", PAIR, ADAPTIVE, "modules.adaptive";
    /// Bounds of the automatic value of `retry_interval`.
    "adaptive_retry_interval": Bounds, "", PAIR, ADAPTIVE, "modules.adaptive";
    /// Bounds of the automatic value of `max_retry_interval`.
    "adaptive_max_retry_interval": Bounds, "", PAIR, ADAPTIVE, "modules.adaptive";
    /// Bounds of the automatic value of `max_retries`.
    "adaptive_max_retries": Bounds, "", PAIR, ADAPTIVE, "modules.adaptive";
    /// Bounds of an automatic `body_timeout`, which no rule of the original ever sets.
    "adaptive_body_timeout": Bounds, "", PAIR, UNMANAGED, "modules.adaptive";
    /// Bounds of an automatic `ehlo_timeout`, which no rule of the original ever sets.
    "adaptive_ehlo_timeout": Bounds, "", PAIR, UNMANAGED, "modules.adaptive";
    /// Bounds of an automatic `idle_timeout`, which no rule of the original ever sets.
    "adaptive_idle_timeout": Bounds, "", PAIR, UNMANAGED, "modules.adaptive";
    /// Bounds of an automatic `mailfrom_timeout`, which no rule of the original ever sets.
    "adaptive_mailfrom_timeout": Bounds, "", PAIR, UNMANAGED, "modules.adaptive";
    /// Bounds of an automatic `rcptto_timeout`, which no rule of the original ever sets.
    "adaptive_rcptto_timeout": Bounds, "", PAIR, UNMANAGED, "modules.adaptive";
    /// Bounds of an automatic `rset_timeout`, which no rule of the original ever sets.
    "adaptive_rset_timeout": Bounds, "", PAIR, UNMANAGED, "modules.adaptive";
    /// Bounds of an automatic `max_recipients_per_batch`, which no rule of the original ever sets.
    "adaptive_max_recipients_per_batch": Bounds, "", PAIR, UNMANAGED, "modules.adaptive";
    /// Bounds of an automatic `max_recipients_per_connection`, which no rule of the original sets.
    "adaptive_max_recipients_per_connection": Bounds, "", PAIR, UNMANAGED, "modules.adaptive";
    /// Bounds of an automatic `max_resident_active_queue`, which no rule of the original ever sets.
    "adaptive_max_resident_active_queue": Bounds, "", PAIR, UNMANAGED, "modules.adaptive";
    /// Reply codes a sweep rule counts: all `bc:` bounce classes or all `fbl:` complaint kinds.
    "codes": Words, "", SWEEP_RULE, ADAPTIVE, "modules.adaptive";
    /// Share in percent above which a sweep rule does its mild action.
    "low_threshold": Text, "5", SWEEP_RULE, ADAPTIVE, "modules.adaptive";
    /// What a sweep rule does above its low threshold.
    "low_action": Words, "throttle down", SWEEP_RULE, ADAPTIVE, "modules.adaptive";
    /// Share in percent above which a sweep rule does its severe action.
    "high_threshold": Text, "10", SWEEP_RULE, ADAPTIVE, "modules.adaptive";
    /// What a sweep rule does above its high threshold.
    "high_action": Words, "suspend", SWEEP_RULE, ADAPTIVE, "modules.adaptive";
}
}
