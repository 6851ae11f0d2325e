//! Options of listeners and of their clients.

use super::options;
use super::words::*;

options! {
"personality" {
    /// Seconds of silence after which a client is disconnected; 0 is never. The default is the
    /// value that the original ships in its example, not its built-in 0: a stalled client must not
    /// stay for ever.
    "idle_time": SECONDS_OR_0, "300", PERSONALITY, WORKS, "conf.ref.idle_time";
    /// Messages a client may send over one connection; 0 is no limit.
    "max_receptions_per_connection": COUNT, "0", PERSONALITY.and(GLOBAL), WORKS, "ecelerity.conf";
    /// For clients: recipients over one connection. For outbound mail: RCPT commands over one
    /// connection before it is closed. 0 is no limit.
    "max_recipients_per_connection": COUNT, "0", PERSONALITY.and(PAIR), WORKS,
        "conf.ref.max_recipients_per_connection";
    /// Recipients a client may name for one message; 0 leaves only the built-in limit.
    "max_recipients_per_message": COUNT, "0", PERSONALITY, WORKS, "ecelerity.conf";
    /// Largest message in bytes that a client may send; 0 leaves only the built-in limit.
    "max_message_size" also "message_size": COUNT, "0", PERSONALITY, WORKS, "ecelerity.conf";
    /// Name in the banner and in the reply to EHLO; `hostname` if it is not set.
    "banner_hostname": Text, "", PERSONALITY, WORKS, "ecelerity.conf";
    /// The whole banner, 220 included.
    "static_banner": Text, "", PERSONALITY, WORKS, "ecelerity.conf";
    /// The `by` name of the Received line; `hostname` if it is not set.
    "received_hostname": Text, "", PERSONALITY, WORKS, "ecelerity.conf";
}
"acl" {
    /// Apply this entry of the access control list and go on with those behind it.
    "continue": Flag, "false", ACL, WORKS, "ecelerity.conf";
    /// Values that policy sees for the connection. `binding` names the binding of its mail.
    "context": Map, "", CLIENT, WORKS, "ecelerity.conf";
    /// The client may relay: for every sender domain when it stands alone, else for those listed.
    "relay_for_sending_domains": Senders, "", CLIENT, WORKS, "ecelerity.conf";
    /// The client may send anything to anybody.
    "open_relay": Bool, "false", CLIENT, WORKS, "ecelerity.conf";
}
"listener" {
    /// Connections the system holds for us until they are accepted. 5 in the list form of
    /// listeners, where it stands behind the address.
    "listen_backlog": Int(1, 65_535), "500", SOCKETS, WORKS, "ecelerity.conf";
    /// Whether the socket is opened.
    "enable": Bool, "true", SOCKETS, WORKS, "ecelerity.conf";
    /// Address families of a wildcard.
    "proto": Word(&["both", "ipv4", "ipv6"]), "both", SOCKETS, WORKS, "ecelerity.conf";
}
}
