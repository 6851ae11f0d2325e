//! Configurations of the kinds that the original's manual prints, old forms and mistakes included.

use alloc::string::String;
use alloc::vec::Vec;

use super::tests::{findings, load_files};

/// What a configuration shows; the configuration; the first line of each finding.
const EXAMPLES: &[(&str, &str, &[&str])] = &[
    ("a listener", "Esmtp_Listener = (\n  *:25\n)", &[]),
    ("an include of a file", "include \"/opt/etc/other.conf\"", &[]),
    ("an include of a directory", "# each file in it\ninclude \"/opt/etc/config.d/\"", &[]),
    (
        "an include from a repository",
        "include \"eccmgr://user:passwd@10.10.10.11:2026/boot/default\"",
        &["error cannot include from `eccmgr://`"],
    ),
    (
        "a control listener",
        "Control_Listener = ( /tmp/2025 /tmp/2025,200 /tmp/2025,200~20
           *:2025 <proto=ipv4> [
             0.0.0.0/0    = ( DIGEST-MD5 [ uri = digest:///opt/etc/console_passwd ] ) ] )",
        &["warning[TJ001] `control_listener` is understood, but not implemented yet"],
    ),
    (
        "an ECStream listener",
        "ECStream_Listener = ( *:1825,5 <proto=ipv4> )",
        &["warning[TJ001] `ecstream_listener` is understood, but not implemented yet"],
    ),
    (
        "a named pipe",
        "Control_Listener = ( \\ecconsole~5 [ DENY = ( DOMAIN\\Joe ) ALLOW = ( DOMAIN\\G ) ] )",
        &[
            "warning[TJ001] `control_listener` is understood, but not implemented yet",
            "error `\\ecconsole~5` is a named pipe of Windows",
        ],
    ),
    (
        "an access control list that is not closed",
        "Control_Listener = ( \\ecconsole~5 [ ALLOW = ( DOMAIN\\User )\n)",
        &["error expected `name = value` or `]`, found `)`"],
    ),
    ("endpoints", "Esmtp_Listener = ( *:25 [::1]:26 127.0.0.1:27 *:587,200 *:588,200~20 )", &[]),
    (
        "attributes",
        "Esmtp_Listener = ( *:25 <proto=ipv4> *:587 <proto=ipv6> *:588 <status=\"disabled\"> )",
        &[],
    ),
    (
        "attributes that do not exist",
        "Esmtp_Listener = ( *:587 <name=\"value\" othername=\"othervalue\"> )",
        &["error unknown attribute `name`", "error unknown attribute `othername`"],
    ),
    (
        "rules that are empty but for `continue`",
        "Esmtp_Listener = ( *:25 [
           1.2.3.4/32 = ( # one host
           )
           192.168.0.0/16 = ( continue )
           0.0.0.0/0 = ( ) ] )",
        &[],
    ),
    (
        "limits, relaying, context, authentication",
        r#"Esmtp_Listener = (
             *:25 [
               0.0.0.0/0 = (   personality [
                                 idle_time = 300
                                 banner_hostname = "example.com"
                                 received_hostname = "mx-0-1.example.com"
                                 static_banner = "220 my.mail.server ESMTP"
                               ]
                               continue )
               10.1.2.3/32 = ( relay_for_sending_domains )
               10.1.2.4/32 = ( relay_for_sending_domains [ client1.com = true
                                                           client2.com = true ]
                               context [ client = "ACME Inc." ] )
               10.0.0.0/8 = (
                 DIGEST-MD5 [
                   extension = AUTH
                   extension_argument = DIGEST-MD5
                   uri = file:///opt/etc/smtp_passwd
                   realm = "SMTP Users"
                 ] )
             #  ::1/0 =     ( personality
             #                  [ idle_time = 300 ]
             #              )
               ]
               )"#,
        &["warning[TJ002] `DIGEST-MD5` has no effect: authentication by MD5 needs passwords in \
             clear text on this side"],
    ),
    (
        "extensions",
        r#"Esmtp_Listener = ( *:25,200 <proto=ipv4> [ 0.0.0.0/0 = (
             ENHANCEDSTATUSCODES [ extension = ENHANCEDSTATUSCODES ]
             XREMOTEIP [ extension = "XREMOTEIP" ]
             continue ) ] )"#,
        &["warning[TJ002] `XREMOTEIP` has no effect: a client could say anything"],
    ),
    (
        "domains",
        r#"domain "example.com" { max_outbound_connections = 20 }
           binding example { domain "example.com" { } domain "192.0.43.10" { } }
           domain "/(?:^|[.])example[.](?:com|co[.]uk)$/" {
             max_outbound_connections = 15
             max_deliveries_per_connection = 5
           }
           domain "[IPv6:fd82:7796:815b:be0:222:19ff:fe52:3629]" { }"#,
        &[],
    ),
    (
        "a group in the form that was given up",
        r#"binding "example" {
             binding_group = "group1"
             bind_address = "10.10.10.10"
           }"#,
        &["error `binding_group` is a stanza, not an option"],
    ),
    (
        "a group in two parts",
        r#"binding_group "group1" {
             max_outbound_connections = 5
             binding "example" { bind_address = "10.10.10.10" }
           }
           binding_group "group1" { binding "example2" { bind_address = "10.10.10.11" } }
           binding_group "default" { ehlo_hostname = "example.com" }"#,
        &[],
    ),
    (
        "the words of a synopsis",
        "TLS = \"no|ifavailable|required\"",
        &["error `tls` needs no, ifavailable or required"],
    ),
];

#[test]
fn examples_are_read_as_the_manual_means_them() {
    for (what, text, want) in EXAMPLES {
        let loaded = load_files(&[
            ("main.conf", text),
            ("/opt/etc/other.conf", "hostname = other.test"),
            ("/opt/etc/config.d/10", ""),
        ]);
        let found = findings(&loaded);
        let first_lines = found.lines().filter(|line| !line.starts_with(' '));
        let without_place: Vec<String> = first_lines
            .map(|line| {
                let mut words = line.splitn(3, ' ');
                let severity = words.next().unwrap_or("");
                alloc::format!("{severity} {}", words.nth(1).unwrap_or(""))
            })
            .collect();
        assert_eq!(&without_place, want, "{what}");
    }
}
