//! Every bound of the engine, named, units last. A peer or a client never makes us hold more.

use core::time::Duration;

/// Longest command line, CRLF included. RFC 5321 section 4.5.3.1.4 says 512; extensions add to it.
pub const COMMAND_LINE_BYTES_MAX: usize = 2048;

/// Longest line of a reply from an exchange, CRLF included. RFC 5321 section 4.5.3.1.5 says 512;
/// real receivers exceed it.
pub const REPLY_LINE_BYTES_MAX: usize = 4096;

/// Lines of one reply.
pub const REPLY_LINES_MAX: usize = 128;

/// Text of one reply that is kept for records, all lines joined.
pub const REPLY_TEXT_BYTES_MAX: usize = 1024;

/// Commands sent before their replies are read, where PIPELINING is offered. Their replies have
/// to fit the socket buffers, since we write before we read (RFC 2920 section 3.1).
pub const PIPELINED_COMMANDS_MAX: usize = 100;

/// Longest value of a header that is taken out of a message for us; a longer one counts as empty.
pub const TAKEN_HEADER_BYTES_MAX: usize = 255;

/// How much of a mail is read when it may be a bounce: header, words for people and the report come
/// before the message they are about.
pub const BOUNCE_HEAD_BYTES_MAX: usize = 32 << 10;

/// Longest value of an XCLIENT attribute, encoded: the line stays below 512 bytes.
pub const XCLIENT_VALUE_BYTES_MAX: usize = 255;

/// Recipients of one message when `max_recipients_per_message` sets no limit. RFC 5321 section
/// 4.5.3.1.8 asks for at least 100.
pub const RECIPIENTS_PER_MESSAGE_MAX: usize = 10_000;

/// Commands an inbound client may have refused in a row before it is disconnected.
pub const COMMAND_ERRORS_MAX: u32 = 20;

/// Largest message when the configuration sets no limit: 100 MiB.
pub const MESSAGE_BYTES_MAX: u64 = 100 << 20;

/// `Received:` lines from which a message is taken to loop (RFC 5321 section 6.3).
pub const RECEIVED_HEADERS_MAX: u32 = 100;

/// Exchanges of one domain that are looked at, best preference first.
pub const EXCHANGES_PER_DOMAIN_MAX: usize = 64;

/// Addresses of one exchange that are looked at.
pub const ADDRESSES_PER_EXCHANGE_MAX: usize = 32;

/// Stanzas, lists and dictionaries inside each other in a configuration.
pub const CONFIG_NESTING_MAX: usize = 64;

/// Files that include each other in a row.
pub const CONFIG_INCLUDE_DEPTH_MAX: usize = 32;

/// Files of one configuration.
pub const CONFIG_FILES_MAX: usize = 10_000;

/// Size of all files of one configuration: 256 MiB.
pub const CONFIG_BYTES_MAX: usize = 256 << 20;

/// Size of one configuration file: 64 MiB.
pub const CONFIG_FILE_BYTES_MAX: usize = 64 << 20;

/// Findings of each severity about one configuration; the rest is counted, not kept.
pub const CONFIG_DIAGNOSTICS_MAX: usize = 1000;

/// Compiled size of one regular expression of a configuration.
pub const CONFIG_REGEX_BYTES_MAX: usize = 1 << 20;

/// Destinations whose DNS data is kept without looking whether it has expired.
pub const ROUTES_KEPT: usize = 1 << 16;

/// Destinations whose DNS data is kept at a time.
pub const ROUTES_MAX: usize = 1 << 20;

/// Queues, or idle sessions, of one exchange that are looked at when a connection could pass from
/// one domain to another.
pub const SIBLINGS_TRIED_MAX: usize = 32;

/// How long an answer is believed at least where `routes` names several hops: else the first would
/// have expired before the last is there, and the look-up would begin anew without end.
pub const LOOKED_UP_TOGETHER: Duration = Duration::from_secs(60);

/// Shortest time that an address is left alone after a failure, whatever `host_failure_retry` says:
/// without one, a receiver that refuses at once would be asked again without end.
pub const HOST_ASIDE_MIN: Duration = Duration::from_secs(1);

/// Failed addresses that are remembered beyond the time they are set aside.
pub const FAILED_HOSTS_KEPT: usize = 1 << 16;

/// Notices to senders that are put together or written at a time; others wait in line.
pub const NOTICES_AT_ONCE: usize = 64;

/// Header section of a message that is quoted in a notice.
pub const QUOTED_HEADERS_BYTES_MAX: usize = 64 << 10;

/// How long after the spool refused a notice it is tried again.
pub const NOTICE_REPEATED_AFTER: Duration = Duration::from_secs(60);

/// How long after a throttle let something pass that is written down at the latest. A process that
/// is killed forgets as much.
pub const SHAPING_WRITTEN_AFTER: Duration = Duration::from_secs(1);

/// How long after a note about a message could not be written it is written again; doubled with
/// each failure, up to [`NOTES_REPEATED_AFTER_MAX`].
pub const NOTES_REPEATED_AFTER_MIN: Duration = Duration::from_secs(1);

/// Longest time between two tries to write what could not be written.
pub const NOTES_REPEATED_AFTER_MAX: Duration = Duration::from_secs(60);

/// Notes about messages that are written again at once: enough that a spool that works has them
/// soon, and few to fail with one that does not.
pub const NOTES_REPEATED_AT_ONCE: usize = 256;

/// Messages of which the spool does not know the latest before no delivery begins any more: about
/// how many a restart would send again. A disk that works owes those of one sync.
pub const NOTES_OWED_MAX: usize = 4096;
