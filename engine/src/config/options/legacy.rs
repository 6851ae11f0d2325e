//! Options of protocols that mail is not carried by here.

use super::options;
use super::words::*;

options! {
"push" {
    /// Seconds for which an Apple push notification is valid.
    "apn_expiry": SECONDS_OR_0, "", PAIR, PUSH, "apns.apn_expiry";
    /// Package name sent with Google push notifications.
    "gcm_application_id": Text, "", PAIR, PUSH, "gcm.using";
    /// Key for Google's push service.
    "gcm_authorization_token_id": Text, "", PAIR, PUSH, "gcm.options";
    /// Hold Google push notifications until the device wakes up.
    "gcm_delay_while_idle": Bool, "false", PAIR, PUSH, "gcm.using";
    /// Have Google's push service check a request without delivering it.
    "gcm_dry_run": Bool, "false", PAIR, PUSH, "gcm.other.options";
    /// Time to live of Google push notifications in seconds; -1 leaves it to the service.
    "gcm_ttl": COUNT_OR_ALL, "-1", PAIR, PUSH, "gcm.using";
}
"http-delivery" {
    /// Milliseconds to wait for the reply to a request.
    "delivery_response_timeout": COUNT, "5000", GLOBAL_BINDING_DOMAIN, HTTP,
        "conf.ref.delivery_response_timeout";
    /// User name and password, separated by a colon.
    "http_basic_auth": Text, "", PAIR, HTTP, "conf.ref.http_basic_auth";
    /// Value of the Host header.
    "http_host": Text, "", PAIR, HTTP, "conf.ref.http_host";
    /// Method of requests to the next hop.
    "http_method": Word(&["POST", "SET", "GET", "DELETE"]), "POST", PAIR, HTTP,
        "conf.ref.http_method";
    /// Path of requests to the next hop.
    "http_uri": Text, "", PAIR, HTTP, "conf.ref.http_uri";
    /// Version of HTTP spoken to the next hop.
    "http_version": Word(&["0.9", "1.0", "1.1"]), "1.1", PAIR, HTTP, "conf.ref.http_version";
}
"ecstream" {
    /// Port of the next hop with `delivery_method = ECSTREAM`.
    "ecstream_port": PORT, "1825", PAIR, ECSTREAM, "conf.ref.ecstream_port";
    /// Seconds to wait for a connection with `delivery_method = ECSTREAM`.
    "ecstream_timeout": SECONDS, "600", PAIR, ECSTREAM, "conf.ref.ecstream_timeout";
    /// Seconds of silence after which an ECStream client is disconnected.
    "ecstream_idle_time": SECONDS_OR_0, "300", ECSTREAM_LISTENER, ECSTREAM, "ecelerity.conf";
    /// Messages taken from one ECStream client before others have their turn.
    "ecstream_max_batch_size": COUNT, "10000", ECSTREAM_LISTENER, ECSTREAM, "ecelerity.conf";
}
"xmpp" {
    /// Secret of XMPP server dialback.
    "xmpp_dialback_secret": Text, "", DOMAIN, XMPP_GONE, "mobility.xmpp.modules";
    /// Part the domain plays in XMPP.
    "xmpp_role": Word(&["server", "client"]), "", DOMAIN, XMPP_GONE, "mobility.xmpp.modules";
}
"threads" {
    /// Threads that close spool files.
    "async_close_concurrency": COUNT, "", GLOBAL, RUNTIME, "ecelerity.conf";
    /// Threads that read messages back from the spool.
    "async_swap_in": COUNT, "", GLOBAL, RUNTIME, "ecelerity.conf";
    /// Threads that write messages to the spool.
    "async_swap_out": COUNT, "", GLOBAL, RUNTIME, "ecelerity.conf";
    /// Threads that delete delivered messages.
    "async_unlink_concurrency": COUNT, "", GLOBAL, RUNTIME, "ecelerity.conf";
    /// Threads for computing.
    "worker_cpu_concurrency": COUNT, "", GLOBAL, RUNTIME, "ecelerity.conf";
    /// Threads for blocking input and output.
    "worker_io_concurrency": COUNT, "", GLOBAL, RUNTIME, "ecelerity.conf";
    /// Event loops that deliver.
    "delivery_pool": Text, "", GLOBAL, RUNTIME, "conf.ref.delivery_pool";
    /// Event loops that look after queues and timers.
    "maintainer_pool": Text, "", GLOBAL, RUNTIME, "conf.ref.maintainer_pool";
    /// Timers run in one turn of the scheduler.
    "max_timed_events_per_iter": COUNT, "1024", GLOBAL, RUNTIME,
        "conf.ref.max_timed_events_per_iter";
    /// Which mechanism of the system tells about ready sockets.
    "scheduler": Text, "", GLOBAL, RUNTIME, "conf.ref.scheduler";
    /// Seconds without a sign of life after which the process is restarted.
    "watchdog_interval": COUNT, "60", GLOBAL, RUNTIME, "conf.ref.watchdog_interval";
}
"memory" {
    /// Longest backlog of transient failures that is kept in memory.
    "max_resident_transfails": COUNT, "100", GLOBAL, RUNTIME, "conf.ref.max_resident_transfails";
    /// Handle transient failures at once, not through a backlog.
    "inline_transfail_processing": Bool, "true", GLOBAL, RUNTIME,
        "conf.ref.inline_transfail_processing";
    /// Backlogged transient failures handled in one turn of the scheduler.
    "transfail_drain_rate": COUNT, "100", GLOBAL, RUNTIME, "conf.ref.transfail_drain_rate";
    /// Bounces queued in one turn of the scheduler.
    "soft_bounce_drain_rate": COUNT, "100", GLOBAL, RUNTIME, "conf.ref.soft_bounce_drain_rate";
    /// Size of a link of the buffers that messages are received in.
    "growbuf_size": COUNT, "16384", GLOBAL, RUNTIME, "conf.ref.growbuf_size";
    /// Largest message handed to modules of an old interface.
    "legacy_message_threshold": COUNT, "1048576", GLOBAL, RUNTIME,
        "conf.ref.legacy_message_threshold";
    /// Size from which memory is mapped instead of taken from the heap.
    "malloc2mmap_threshold": COUNT, "4092", GLOBAL, RUNTIME, "conf.ref.malloc2mmap_threshold";
    /// First size of hash tables.
    "initial_hash_buckets": COUNT, "32", GLOBAL, RUNTIME, "options.summary";
    /// Named throttles of scripts that are remembered.
    "siv_throttle_cache_size": COUNT, "1000", GLOBAL, POLICY, "conf.ref.siv_throttle_cache_size";
    /// For how many pairs of binding and domain the options that apply are remembered. It changes
    /// no answer.
    "match_cache_size": Int(1, u32::MAX as i64), "16384", GLOBAL, WORKS,
        "conf.ref.match_cache_size";
    /// How long a match of a name and a stanza is remembered, in seconds; 0 is for ever.
    "match_cache_life": COUNT, "0", GLOBAL, RUNTIME, "conf.ref.match_cache_life";
    /// How many compiled regular expressions are kept.
    "pcre_cache_size": COUNT, "100", GLOBAL, RUNTIME, "options.summary";
    /// How long a compiled regular expression is kept, in seconds.
    "pcre_cache_ttl": COUNT, "300", GLOBAL, RUNTIME, "options.summary";
    /// Map spooled bodies into memory instead of reading them.
    "use_mmap": Bool, "false", GLOBAL, RUNTIME, "conf.ref.use_mmap";
    /// Have the kernel copy bodies from file to socket.
    "use_sendfile": Bool, "false", GLOBAL, RUNTIME, "conf.ref.use_sendfile";
    /// Remember the list of network interfaces.
    "use_iflist_cache": Bool, "false", GLOBAL, RUNTIME, "conf.ref.use_iflist_cache";
    /// Take MIME structure apart while a large message is received.
    "mime_parse_large_messages_during_reception": Bool, "true", GLOBAL, RUNTIME,
        "conf.ref.mime_parse_large_messages_during_reception";
    /// Context keys of connections and messages that are not written to the spool.
    "exclude_vctx": Words, "", PAIR, POLICY, "conf.ref.exclude_vctx";
    /// Context keys of messages that are not written to the spool.
    "exclude_vctx_mess": Words, "", PAIR, POLICY, "conf.ref.exclude_vctx";
    /// Context keys of connections that are not written to the spool.
    "exclude_vctx_conn": Words, "", PAIR, POLICY, "conf.ref.exclude_vctx";
    /// Keep context dictionaries in memory when a body leaves it.
    "keep_message_dicts_in_memory": Bool, "false", GLOBAL, POLICY,
        "conf.ref.keep_message_dicts_in_memory";
}
"housekeeping" {
    /// Seconds between two savings of statistics; 0 saves none.
    "permastore_interval": COUNT, "300", GLOBAL, METRICS, "conf.ref.permastore_interval";
    /// File of the saved statistics.
    "masterdb_file": Path, "/var/log/ecelerity/ecdb", GLOBAL, METRICS, "conf.ref.masterdb_file";
    /// File that changes made at run time are written to.
    "local_changes_file": Path, "/opt/msys/ecelerity/etc/local_changes.conf", GLOBAL, FILES,
        "conf.ref.local_changes_file";
    /// Write every change made at run time to `local_changes_file`.
    "local_changes_only": Bool, "false", GLOBAL, FILES, "conf.ref.local_changes_only";
    /// File of the process id.
    "pidfile": Path, "/var/run/ecelerity.pid", GLOBAL, SERVICE_MANAGER, "conf.ref.pidfile";
    /// Where the licence of the original is.
    "license": Path, "/opt/msys/ecelerity/etc", GLOBAL, FREE, "options.summary";
    /// Form of the time in messages on standard error, as of strftime.
    "timestampformat": Text, "[%a %d %b %Y %H:%M:%S] ", GLOBAL, LOGS, "conf.ref.timestampformat";
    /// Permissions of files with traced SMTP dialogues.
    "trace_smtp_mode": Octal, "0640", GLOBAL, LOGS, "conf.ref.trace_smtp_mode";
    /// Seconds of silence after which a control client is disconnected.
    "control_client_timeout": COUNT, "60", GLOBAL, CONTROL, "conf.ref.control_client_timeout";
    /// Seconds of silence after which a control client is disconnected.
    "timeout": SECONDS_OR_0, "60", CONTROL_LISTENER, CONTROL, "conf.ref.control_listener";
    /// Domains whose mail goes out through a binding.
    "match_domain": Words, "", BINDINGS, POLICY, "ecelerity.conf";
}
}
