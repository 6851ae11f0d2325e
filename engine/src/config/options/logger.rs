//! Options of log files.

use super::options;
use super::words::*;

options! {
"log" {
    /// File of receptions, deliveries and failures; empty or `none` for no file. A path below
    /// `cluster:` is written nowhere.
    "mainlog": Path, "/var/log/traject/mainlog.ec", EC_LOGGER, WORKS, "modules.ec_logger";
    /// File of what clients were refused; empty or `none` for no file.
    "rejectlog": Path, "/var/log/traject/rejectlog.ec", EC_LOGGER, WORKS, "modules.ec_logger";
    /// File of failures with their class, and of bounces that others sent us; empty or `none` for
    /// no file.
    "bouncelog": Path, "/var/log/traject/bouncelog.ec", BOUNCE_LOGGER, WORKS,
        "modules.bounce_logger";
    /// File of what goes wrong inside.
    "paniclog": Path, "", EC_LOGGER, STDERR, "modules.ec_logger";
    /// File of logins and of what operators do.
    "acctlog": Path, "", EC_LOGGER, AUTH, "modules.ec_logger";
    /// File of messages taken over from another spool.
    "importlog": Path, "", EC_LOGGER, NO_IMPORT, "modules.ec_logger";
    /// Permissions of the mainlog when it is made, as far as the process's umask allows.
    "mainlog_mode": Octal, "0644", EC_LOGGER, WORKS, "modules.ec_logger";
    /// Permissions of the rejectlog when it is made, as far as the process's umask allows.
    "rejectlog_mode": Octal, "0644", EC_LOGGER, WORKS, "modules.ec_logger";
    /// Permissions of the bouncelog when it is made, as far as the process's umask allows.
    "bouncelog_mode": Octal, "0644", BOUNCE_LOGGER, WORKS, "modules.bounce_logger";
    /// Permissions of the paniclog when it is made.
    "paniclog_mode": Octal, "0644", EC_LOGGER, STDERR, "modules.ec_logger";
    /// Permissions of the acctlog when it is made.
    "acctlog_log_mode": Octal, "0644", EC_LOGGER, AUTH, "modules.ec_logger";
    /// Permissions of the importlog when it is made.
    "importlog_mode": Octal, "0644", EC_LOGGER, NO_IMPORT, "modules.ec_logger";
    /// Seconds between two lines that say that the daemon is alive; 0 for none.
    "heartbeat": SECONDS_OR_0, "60", LOGGERS, WORKS, "modules.ec_logger";
    /// Write down received messages (`R`).
    "log_receptions": Bool, "true", EC_LOGGER, WORKS, "modules.ec_logger";
    /// Write down deliveries (`D`).
    "log_deliveries": Bool, "true", EC_LOGGER, WORKS, "modules.ec_logger";
    /// Write down failures after which mail is tried again (`T`).
    "log_transient_failures": Bool, "true", LOGGERS, WORKS, "modules.ec_logger";
    /// Write down failures for good (`P`).
    "log_permanent_failures": Bool, "true", EC_LOGGER, WORKS, "modules.ec_logger";
    /// Write down what clients were refused.
    "log_rejections": Bool, "true", EC_LOGGER, WORKS, "modules.ec_logger";
    /// Write down what goes wrong inside.
    "log_errors": Bool, "true", EC_LOGGER, STDERR, "modules.ec_logger";
    /// Write down failures for good that a receiver told us in the dialogue (`B`).
    "log_inband_bounces": Bool, "true", BOUNCE_LOGGER, WORKS, "modules.bounce_logger";
    /// Write down bounces that came by mail (`B`, stage 21).
    "log_outofband_bounces": Bool, "true", BOUNCE_LOGGER, WORKS, "modules.bounce_logger";
    /// Whether the stanza counts.
    "enabled": Bool, "true", LOGGERS, WORKS, "modules.ec_logger";
    /// How much a module of the original tells of itself.
    "debug_level": Text, "", LOGGERS, STDERR, "modules.ec_logger";
}
}
