//! Options of listeners and of their clients.

use super::options;
use super::words::*;

options! {
"personality" {
    /// Seconds of silence after which a client is disconnected; 0 is never. The default is the
    /// value that the original ships in its example, not its built-in 0: a stalled client must not
    /// stay for ever.
    "idle_time": SECONDS_OR_0, "300", PERSONALITY.and(XMPP).and(HTTP_LISTENER), WORKS,
        "conf.ref.idle_time";
    /// Messages a client may send over one connection; 0 is no limit.
    "max_receptions_per_connection": COUNT, "0", PERSONALITY.and(GLOBAL), WORKS, "ecelerity.conf";
    /// For clients: recipients over one connection. For outbound mail: RCPT commands over one
    /// connection before it is closed. 0 is no limit.
    "max_recipients_per_connection": COUNT, "0", MAIL_CLIENT.and(IN_LIST_FORM).and(PAIR), WORKS,
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
"personality" {
    /// What follows STARTTLS in the same packet, where somebody in between could have put it: the
    /// session ends, it is dropped, or it is obeyed.
    "starttls_injection_policy": Word(&["reject", "ignore", "allow"]), "reject", PERSONALITY, WORKS,
        "conf.ref.starttls_injection_policy";
    /// Sessions at one time of the endpoint, or of the network whose block sets it; 0 is no limit.
    "listener_sessions": COUNT, "0", PERSONALITY, RECEPTION, "ref.listener_sessions";
    /// Sessions at one time over all endpoints of the listener; 0 is no limit.
    "service_sessions": COUNT, "0", PERSONALITY, RECEPTION, "ref.service_sessions";
}
"acl" {
    /// Apply this entry of the access control list and go on with those behind it.
    "continue": Flag, "false", ACL, WORKS, "ecelerity.conf";
    /// Values that policy sees for the connection. `binding` names the binding of its mail;
    /// `binding_group` a group, of which each message gets a binding that is not suspended, all
    /// with equal shares. Where neither is set, a client that may relay may name one of them in the
    /// header `X-Binding`, which is removed.
    "context": Map, "", CLIENT, WORKS, "ecelerity.conf";
    /// The client may relay: for every sender domain when it stands alone, else for those listed.
    "relay_for_sending_domains": Senders, "", CLIENT, WORKS, "ecelerity.conf";
    /// The client may send anything to anybody.
    "open_relay": Bool, "false", CLIENT, WORKS, "ecelerity.conf";
}
"listener" {
    /// Connections the system holds for us until they are accepted. 5 in the list form of
    /// listeners, where it stands behind the address.
    "listen_backlog": Int(1, 65_535), "500", SOCKETS_BUT_MSGC, WORKS, "ecelerity.conf";
    /// Whether the socket is opened.
    "enable": Bool, "true", SOCKETS, WORKS, "ecelerity.conf";
    /// Address families of a wildcard.
    "proto": Word(&["both", "ipv4", "ipv6"]), "both", SOCKETS, WORKS, "ecelerity.conf";
    /// Threads that accept; the list form writes it behind the address. One task accepts here.
    "concurrency": COUNT, "0", SOCKETS_BUT_MSGC.and(IN_THREADPOOL), RUNTIME, "ecelerity.conf";
    /// Permissions of a Unix socket.
    "file_mode": Octal, "0660", SOCKETS, UNIX_SOCKETS, "ecelerity.conf";
    /// The client must begin with a PROXY header, whose address counts.
    "proxy_protocol": Bool, "false", PROXIED, RECEPTION, "ref.proxy_protocol";
    /// Seconds to wait for the PROXY header; 0 is for ever.
    "proxy_protocol_timeout": SECONDS_OR_0, "60", PROXIED, RECEPTION, "ref.proxy_protocol_timeout";
    /// Text behind 421 when a session runs on an outdated configuration.
    "reconfig_message": Text, "4.3.2 Reconfiguration in progress", ESMTP, DAEMON,
        "esmtp_listener.reconfig_message";
    /// Named set of options that applies to the clients.
    "pathway": Text, "", MAIL_CLIENT, RECEPTION, "conf.ref.pathway";
}
"extension" {
    /// Extensions to offer: `STARTTLS`, for which there must be a `tls_certificate`, and `AUTH`
    /// with its mechanism. PIPELINING, SIZE, 8BITMIME and ENHANCEDSTATUSCODES are always offered.
    "smtp_extensions": Words, "", CLIENT, WORKS, "ecelerity.conf";
    /// Enhanced status codes in replies. They are always offered here.
    "ENHANCEDSTATUSCODES": Property, "", ACL, WORKS, "ecelerity.conf";
    /// Offer STARTTLS, with `certificate`, `key`, `clientca` and `ciphers`; without `certificate`
    /// there must be a `tls_certificate`. `extension` says what STARTTLS is called.
    "TLS": Property, "", ACL, WORKS, "ecelerity.conf";
    /// Let the client say who the original client was.
    "XCLIENT": Property, "", ACL, AUTH, "ecelerity.conf";
    /// Let the client say which address the original client had.
    "XREMOTEIP": Property, "", ACL, PROXY_INSTEAD, "ecelerity.conf";
    /// Show what policy knows about the session, for debugging.
    "XDUMPCONTEXT": Property, "", ACL, POLICY, "ecelerity.conf";
    /// Let the client set values that policy sees.
    "XSETCONTEXT": Flag, "false", ACL, POLICY, "ecelerity.conf";
}
"auth" {
    /// The session counts as authenticated, as `anonymous`.
    "ALWAYS-ALLOW" also "always_allow": Flag, "false", ALLOWED, AUTH, "ecelerity.conf";
    /// No session of the client counts as authenticated.
    "always_deny": Bool, "false", ALLOWED, AUTH, "ecelerity.conf";
    /// Authentication with a challenge and MD5, against passwords in clear text.
    "CRAM-MD5" also "authcrammd5parameters": Property, "", CLIENT, MD5, "ecelerity.conf";
    /// Authentication with a digest of the password.
    "DIGEST-MD5" also "authdigestmd5parameters": Property, "", CLIENT, MD5, "ecelerity.conf";
    /// Authentication with user name and password in clear text.
    "LOGIN" also "authloginparameters": Property, "", CLIENT, AUTH, "ecelerity.conf";
    /// Authentication with user name and password in one string.
    "AuthPlainParameters": Property, "", CLIENT, AUTH, "inbound.smtp";
}
}
