//! Options of TLS: what each value comes to, and what is said about it.

use alloc::string::String;
use alloc::sync::Arc;

use insta::assert_snapshot;

use super::Config;
use super::effective::{InboundTls, InjectionPolicy};
use super::tests::{findings, load};
use crate::ids::ListenerId;
use crate::tls::params::{Identity, TlsDemands, TlsParams, TlsVerify};
use crate::tls::policy::{TlsMode, TlsPolicy};

fn config(text: &'static str) -> Config {
    let loaded = load(text);
    let found = findings(&loaded);
    loaded.config.unwrap_or_else(|| panic!("{text}: {found}"))
}

fn said(text: &'static str) -> String {
    findings(&load(text))
}

fn demands(config: &Config, domain: &str) -> Option<Arc<TlsDemands>> {
    config.delivery_options("default", domain).tls_demands
}

#[test]
fn a_partner_has_demands_of_its_own() {
    let config = config(
        r#"tls = ifavailable
           tls_certificate = "/us.pem" tls_key = "/us.key"
           domain "partner.test" {
             tls = required tls_verify = host tls_ca = "/partner.ca" tls_certificate = none
             tls_protocols = "+TLSv1.3"
           }
           domain "plain.test" { tls = no }
           domain "lazy.test" { tls_ifavailable_fallback = false }"#,
    );
    let options = |domain| config.delivery_options("default", domain);
    let policy = |mode, fallback| TlsPolicy { mode, fallback };
    assert_eq!(options("x.test").tls, policy(TlsMode::IfAvailable, true));
    assert_eq!(options("lazy.test").tls, policy(TlsMode::IfAvailable, false));
    assert_eq!(options("partner.test").tls, policy(TlsMode::Required, true));
    assert_eq!(demands(&config, "plain.test"), None);

    let usual = demands(&config, "x.test").unwrap();
    let own = Identity { certificate: "/us.pem".into(), key: Some("/us.key".into()) };
    assert_eq!((usual.verify, usual.identity.clone()), (TlsVerify::No, Some(own)));
    assert_eq!((usual.domain.clone(), usual.offer.suites.len()), (None, 9));

    let partner = demands(&config, "Partner.test").unwrap();
    assert_eq!((partner.verify, partner.ca.as_deref()), (TlsVerify::Host, Some("/partner.ca")));
    assert_eq!((partner.identity.clone(), partner.domain.as_deref()), (None, Some("partner.test")));
    assert_eq!(partner.offer.suites.len(), 3);
}

#[test]
fn a_connection_is_as_good_for_another_pair_only_if_it_asks_for_the_same() {
    let config = config(
        r#"tls = ifavailable
           domain "a.test" { } domain "b.test" { }
           domain "no.test" { tls = no } domain "none.test" { tls = no tls_verify = ca }
           domain "late.test" { tls_ifavailable_fallback = false }
           domain "ca.test" { tls_verify = ca } domain "ca2.test" { tls_verify = ca }
           domain "host.test" { tls_verify = host } domain "host2.test" { tls_verify = host }"#,
    );
    let same = |a, b| {
        let options = |domain| config.delivery_options("default", domain);
        options(a).same_tls(&options(b))
    };
    for (a, b, expected) in [
        ("a.test", "b.test", true),
        ("no.test", "none.test", true),
        ("a.test", "no.test", false),
        ("a.test", "late.test", false),
        ("a.test", "ca.test", false),
        ("ca.test", "ca2.test", true),
        ("host.test", "host2.test", false),
        ("host.test", "host.test", true),
    ] {
        assert_eq!((same(a, b), same(b, a)), (expected, expected), "{a} {b}");
    }
}

#[test]
fn versions_and_suites_that_are_not_to_be_had_are_named() {
    let found = [
        r#"tls_ciphers = "HIGH:MEDIUM""#,
        r#"tls_ciphers = "HIHG:AES256""#,
        r#"tls_ciphers = "DHE-RSA-AES256-SHA""#,
        r#"tls_protocols = "+TLSv1.1:+TLSv1.2""#,
        r#"tls_protocols = "+SSLv3""#,
        r#"tls_protocols = "+ALL:-TLS1.2""#,
        r#"tls_ciphers = "HIGH:!aNULL:!MD5:@STRENGTH" tls_protocols = "+ALL:-TLSv1.1""#,
    ]
    .map(said);
    assert_snapshot!(found.join("\n"), @r#"
    warning main.conf:1:15-28 `MEDIUM` names no suite that exists here
      = what remains is TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, ECDHE-ECDSA-AES256-GCM-SHA384, ECDHE-ECDSA-AES128-GCM-SHA256, ECDHE-ECDSA-CHACHA20-POLY1305, ECDHE-RSA-AES256-GCM-SHA384, ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-CHACHA20-POLY1305

    warning main.conf:1:15-28 `HIHG` is nothing that OpenSSL knows
      = what remains is TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, ECDHE-ECDSA-AES256-GCM-SHA384, ECDHE-RSA-AES256-GCM-SHA384

    error main.conf:1:15-35 no cipher suite of this list exists here
      ^ nothing is left of it
      = there are TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, ECDHE-ECDSA-AES256-GCM-SHA384, ECDHE-ECDSA-AES128-GCM-SHA256, ECDHE-ECDSA-CHACHA20-POLY1305, ECDHE-RSA-AES256-GCM-SHA384, ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-CHACHA20-POLY1305

    warning main.conf:1:17-36 TLSv1.1 is not to be had any more
      = what remains is TLSv1.2

    error main.conf:1:17-25 no protocol version is left
      = only TLS 1.2 and 1.3 are to be had; write "+ALL"

    error main.conf:1:17-31 `TLS1.2` is no protocol version
      = there are ALL, TLSv1.3 and TLSv1.2, each with + or - in front
    "#);
}

fn inbound(text: &'static str, peer: [u8; 4]) -> Option<InboundTls> {
    config(text).reception_options(ListenerId(0), peer.into()).tls
}

#[test]
fn listeners_offer_tls_when_they_are_told_to_and_can() {
    let own = [192, 0, 2, 1];
    for (text, offered) in [
        (r#"ESMTP_Listener { tls_certificate = "/c.pem" Listen ":25" { } }"#, false),
        ("ESMTP_Listener { SMTP_Extensions = ( STARTTLS ) Listen \":25\" { } }", false),
        (
            r#"ESMTP_Listener { SMTP_Extensions = ( "STARTTLS" ) tls_certificate = "/c.pem"
               Listen ":25" { } }"#,
            true,
        ),
        (r#"ESMTP_Listener { use_ssl = true tls_certificate = "/c.pem" Listen ":465" { } }"#, true),
        (
            r#"ESMTP_Listener = ( ":25" [ 192.0.2.0/24 = (
                 TLS [ extension = "STARTTLS" certificate = "/c.pem" key = "/k.pem" ] ) ] )"#,
            true,
        ),
    ] {
        assert_eq!(inbound(text, own).is_some(), offered, "{text}");
    }
    let text = r#"ESMTP_Listener = ( ":25" [
        192.0.2.0/24 = (
          TLS [ extension = "STARTTLS" certificate = "/c.pem" key = "/k.pem"
                clientca = "/ca.pem" ciphers = "AES256" ] )
        0.0.0.0/0 = ( ) ] )"#;
    let tls = inbound(text, own).unwrap();
    assert_eq!(tls.params.identity.key.as_deref(), Some("/k.pem"));
    assert_eq!(tls.params.client_ca.as_deref(), Some("/ca.pem"));
    assert_eq!(tls.params.offer.suites.len(), 5);
    assert_eq!((tls.immediate, tls.injection), (false, InjectionPolicy::Reject));
    assert_eq!(inbound(text, [198, 51, 100, 1]), None);
}

#[test]
fn client_certificates_are_asked_for_where_there_is_somebody_to_check_them() {
    for (options, ca, required) in [
        ("", None, false),
        (r#"tls_client_ca = "/ca.pem""#, Some("/ca.pem"), false),
        (r#"tls_client_ca = "/ca.pem" tls_verify_mode = none"#, None, false),
        (r#"tls_client_ca = "/ca.pem" tls_verify_mode = require"#, Some("/ca.pem"), true),
        ("tls_verify_mode = require", None, false),
    ] {
        let text = alloc::format!(
            "ESMTP_Listener {{ SMTP_Extensions = ( STARTTLS ) tls_certificate = \"/c.pem\"
             {options} Listen \":25\" {{ }} }}"
        );
        let found = said(text.clone().leak());
        let tls = inbound(text.leak(), [192, 0, 2, 1]).unwrap();
        let client = (tls.params.client_ca.as_deref(), tls.params.client_required);
        assert_eq!(client, (ca, required), "{options}");
        let no_ca = options == "tls_verify_mode = require";
        assert_eq!(found.contains("TJ023"), no_ca, "{options}: {found}");
    }
}

#[test]
fn extensions_that_are_not_offered_are_named() {
    let found = [
        r#"ESMTP_Listener { SMTP_Extensions = ( "AUTH PLAIN" ) Listen ":25" { } }"#,
        r#"ESMTP_Listener { SMTP_Extensions = ( PIPELINING CHUNKING ) Listen ":25" { } }"#,
        r#"ESMTP_Listener = ( ":25" [ 192.0.2.0/24 = ( TLS [ certficate = "/c.pem" ] ) ] )"#,
    ]
    .map(said);
    assert_snapshot!(found.join("\n"), @"
    warning[TJ001] main.conf:1:36-52 authentication is understood, but not implemented yet
      ^ has no effect

    warning main.conf:1:36-59 the extension `CHUNKING` is not offered

    error main.conf:1:49-74 `TLS` has no `certficate`
      = it has extension, certificate, key, clientca, ciphers
    ");
}

#[test]
fn every_handshake_that_may_be_asked_for_is_listed() {
    let config = config(
        r#"tls = ifavailable
           domain "a.test" { tls_verify = host } domain "b.test" { tls_verify = host }
           domain "no.test" { tls = no tls_certificate = "/unused.pem" }
           binding "red" { tls_certificate = "/red.pem" }
           ESMTP_Listener { SMTP_Extensions = ( STARTTLS ) tls_certificate = "/c.pem"
             Listen ":25" { } Listen ":26" { } }"#,
    );
    let files = config.tls_params().into_iter().map(|params| match params {
        TlsParams::Client(tls) => alloc::format!("{:?} {:?}", tls.verify, tls.identity),
        TlsParams::Server(tls) => alloc::format!("{:?}", tls.identity),
    });
    let files: alloc::vec::Vec<_> = files.collect();
    assert_snapshot!(files.join("\n"), @r#"
    Host None
    No None
    No Some(Identity { certificate: "/red.pem", key: None })
    Identity { certificate: "/c.pem", key: None }
    "#);
}
