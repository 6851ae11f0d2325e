use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use insta::assert_snapshot;

use super::super::tests::{findings, load};
use super::*;

/// The codes of the warnings about a text without errors.
fn codes(text: &'static str) -> Vec<&'static str> {
    let loaded = load(text);
    assert!(loaded.config.is_some(), "{}", findings(&loaded));
    loaded.diagnostics.iter().filter_map(|finding| finding.code).collect()
}

/// For each lint, a text that it is about and a similar one that it is not about.
const CASES: &[(&str, &str, &str)] = &[
    (NOT_YET, "snmp { }", "binding b { }"),
    (LEGACY, "gcm_ttl = 1", "retry_interval = 1200"),
    (MODULE, "scriptlet \"x\" { a = b }", "security { }"),
    (
        REPLACED,
        "body_timeout = 60 body_timeout = 61",
        "body_timeout = 60 domain x.test { body_timeout = 61 }",
    ),
    (
        UNANCHORED,
        "domain \"/example[.]com$/\" { }",
        r#"domain "/(?:^|[.])example[.]com$/" { } domain "/^a[.]b$/" { } domain "/[.]fr$/" { }"#,
    ),
    (UNANCHORED, r#"domain "/^example\.com/" { }"#, r#"domain "/^(a|b)\.com$/" { }"#),
    (UNANCHORED, "domain /yahoo/ { }", "domain /.*[.]yahoo[.]com$/ { }"),
    (NEVER_MATCHES, r#"domain "/^Example[.]com$/" { }"#, r#"domain "/^(X|x)[.]com$/" { }"#),
    (NEVER_MATCHES, r#"domain "/^a\\.com$/" { }"#, r#"domain "/^a\.com$/" { }"#),
    (NEVER_MATCHES, r#"domain "/^a[.]com[.]$/" { }"#, r#"domain "/^a[.]com[.]?$/" { }"#),
    (
        SHADOWED,
        r#"domain "/.*/" { body_timeout = 60 } domain "/^a$/" { body_timeout = 61 }"#,
        r#"domain "/^a$/" { body_timeout = 61 } domain "/.*/" { body_timeout = 60 }"#,
    ),
    (
        SHADOWED,
        r#"domain "/^.+$/" { body_timeout = 60 } domain "/^a$/" { body_timeout = 61 }"#,
        r#"domain "/^.*$/" { rset_timeout = 60 } domain "/^a$/" { body_timeout = 61 }"#,
    ),
    (
        CAP_ABOVE_CAP,
        "server_max_outbound_connections = 10 domain x.test { max_outbound_connections = 11 }",
        "server_max_outbound_connections = 10 domain x.test { max_outbound_connections = 10 }",
    ),
    (
        HOST_WITHOUT_CAP,
        "binding b { host mx.test { } }",
        "binding b { host mx.test { max_outbound_connections = 5 } }",
    ),
    (
        UNREACHABLE_RATE,
        "outbound_throttle_messages = 100 domain x.test { outbound_throttle_connections = 9 \
         max_deliveries_per_connection = 10 }",
        "outbound_throttle_messages = 100 domain x.test { outbound_throttle_connections = 10 \
         max_deliveries_per_connection = 10 }",
    ),
    (
        UNREACHABLE_RATE,
        r#"outbound_throttle_messages = "61/60" outbound_throttle_connections = "1/60"
           max_deliveries_per_connection = 60"#,
        r#"outbound_throttle_messages = "61/60" outbound_throttle_connections = "1/60""#,
    ),
    (
        NO_EFFECT,
        "domain x.test { lmtp_port = 24 } binding b { delivery_method = SMTP }",
        "domain x.test { lmtp_port = 24 } binding b { delivery_method = LMTP }",
    ),
    (
        NO_EFFECT,
        "domain x.test { never_retry = true retry_interval = 600 }",
        "domain x.test { never_retry = true } retry_interval = 600",
    ),
    (AUTO_WITH_CAP, "max_retry_interval = 1200", "max_retry_interval = 1200 max_retries = none"),
    (
        AUTO_WITH_CAP,
        "domain x.test { max_retry_interval = 1200 }",
        "domain x.test { never_retry = true max_retry_interval = 1200 }",
    ),
    (
        OUTLIVES,
        "max_retries = none",
        "max_retries = none domain x.test { message_expiration = 118000 } max_retry_interval = 3600",
    ),
    (HASTY, "retry_interval = 60", "retry_interval = 300"),
    (
        INTERVAL_ABOVE_MAX,
        "domain x.test { retry_interval = 50000 }",
        "domain x.test { retry_interval = 43200 }",
    ),
    (OPEN_RELAY, "relay_hosts = ( 0.0.0.0/0 )", "relay_hosts = ( 10.0.0.0/8 )"),
    (OPEN_RELAY, "relay_domains = ( * )", "relay_domains = ( *.example.com )"),
    (
        OPEN_RELAY,
        "Esmtp_Listener = ( *:25 [ 0.0.0.0/0 = ( relay_for_sending_domains ) ] )",
        "Esmtp_Listener = ( *:25 [ 10.0.0.0/8 = ( relay_for_sending_domains ) ] )",
    ),
    (
        OPEN_RELAY,
        "ESMTP_Listener { Listen \":25\" { open_relay = true } }",
        "ESMTP_Listener { Listen \":25\" { Peer 192.0.2.0/24 { open_relay = true } } }",
    ),
    (LONE_LF, "lone_lf_in_body = ignore", "lone_lf_in_body = fix"),
    (UNSAFE_SPOOL, "force_fsync = false", "force_fsync = true"),
    (UNVERIFIED_TLS, "tls = required", "tls = required tls_verify = host"),
    (
        NOTHING_TO_OFFER,
        "tls = required tls_verify = host tls_ciphers = \"TLS_AES_128_GCM_SHA256\" \
         tls_protocols = \"+TLSv1.2\"",
        "tls = required tls_verify = host tls_ciphers = \"AESGCM\" tls_protocols = \"+TLSv1.2\"",
    ),
    (
        NO_CERTIFICATE,
        "ESMTP_Listener { SMTP_Extensions = ( STARTTLS ) Listen \":25\" { } }",
        "ESMTP_Listener { SMTP_Extensions = ( STARTTLS ) tls_certificate = \"/c.pem\" \
         Listen \":25\" { } }",
    ),
    (
        NO_CERTIFICATE,
        "ESMTP_Listener { Listen \":25\" { use_ssl = true } }",
        "tls_certificate = \"/c.pem\" ESMTP_Listener { Listen \":25\" { use_ssl = true } }",
    ),
    (VERIFY_WITHOUT_TLS, "tls_verify = host", "tls_verify = host tls = ifavailable"),
];

#[test]
fn each_lint_is_about_what_it_says() {
    for (code, about, not_about) in CASES {
        assert!(codes(about).contains(code), "{code} does not fire: {about}");
        assert!(!codes(not_about).contains(code), "{code} fires: {not_about}");
    }
    for lint in LINTS {
        assert!(CASES.iter().any(|(code, ..)| *code == lint.code), "{} has no test", lint.code);
    }
}

#[test]
fn codes_are_in_order_and_found() {
    assert!(LINTS.is_sorted_by_key(|lint| lint.code));
    assert_eq!(find("tj011").map(|lint| lint.code), Some("TJ011"));
    assert!(find("TJ999").is_none());
}

#[test]
fn what_is_said() {
    let text = r#"
max_retries = none
domain "/yahoo/" { max_outbound_connections = 30000 retry_interval = 60 }
domain "/./" { max_outbound_connections = 1 }
domain "/^Mail[.]/" { max_outbound_connections = 2 }
relay_hosts = ( 10.0.0.0/8 128.0.0.0/2 )
body_timeout = 60
body_timeout = 60
"#;
    assert_snapshot!(findings(&load(text)), @r##"
    warning[TJ031] main.conf:2:1-19 a message fails after 118800 s, although it expires after 86400 s
      = the age is looked at after a failed attempt; lower `max_retry_interval` if that is too late
    warning[TJ010] main.conf:3:1-17 this pattern matches more than it seems to
      ^ may match in the middle of a name
      = write `/(?:^|[.])example[.]com$/`
    warning[TJ020] main.conf:3:20-52 30000 connections are never reached
      = `server_max_outbound_connections` allows 20000 in all
    warning[TJ032] main.conf:3:53-72 the first retry comes after 60 s
      = common greylists hold a message back for 300 s
    warning[TJ031] main.conf:3:53-72 a message fails after 104580 s, although it expires after 86400 s
      = the age is looked at after a failed attempt; lower `max_retry_interval` if that is too late
    warning[TJ011] main.conf:5:1-20 no domain matches this pattern
      ^ domains are compared in lower case
    warning[TJ012] main.conf:5:1-20 options of this stanza never apply
      main.conf:4:1-13 this one matches every domain
      = put the general stanza behind the special ones
    warning[TJ040] main.conf:6:1-41 128.0.0.0/2 may send mail to everybody through this server
      = name the networks of your own clients
    warning[TJ004] main.conf:7:1-18 this value does nothing
      main.conf:8:1-18 this one replaces it
    "##);
}

#[test]
fn a_replacement_in_another_file_is_no_finding() {
    let loaded = super::super::tests::load_files(&[
        ("main.conf", "body_timeout = 60\ninclude local.conf"),
        ("local.conf", "body_timeout = 61"),
    ]);
    assert_eq!(findings(&loaded), String::new());
    assert_eq!(format!("{:?}", loaded.diagnostics), "[]");
}
