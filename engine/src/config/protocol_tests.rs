//! Options of the protocol and of bindings: what each value comes to, and what is said about it.

use alloc::format;
use alloc::string::{String, ToString as _};

use insta::assert_snapshot;

use super::Config;
use super::effective::{BindingSource, Blackhole, DeliveryMethod, DeliveryOptions};
use super::tests::{findings, load};
use crate::ids::ListenerId;
use crate::smtp::eight_bit::Transform8bit;
use crate::smtp::reply::Reply;

/// The options of mail to `x.test`, and the first line of each finding.
fn options(text: &'static str) -> (DeliveryOptions, String) {
    let loaded = load(text);
    let found = findings(&loaded);
    let config = loaded.config.unwrap_or_else(|| panic!("{text}: {found}"));
    (config.delivery_options("default", "x.test"), found)
}

#[test]
fn delivery_methods_and_their_ports() {
    let ports = "remote_smtp_port = 26 domain x.test { lmtp_port = 24 }";
    for (text, method, port) in [
        ("", DeliveryMethod::Esmtp, 25),
        ("delivery_method = LMTP", DeliveryMethod::Lmtp, 2003),
        ("delivery_method = esmtp", DeliveryMethod::Esmtp, 25),
        ("delivery_method = SMTP", DeliveryMethod::Smtp, 25),
    ] {
        let (options, found) = options(text);
        assert_eq!((options.delivery_method, options.port()), (method, port), "{text}");
        assert_eq!(found, "", "{text}");
    }
    for (method, port) in [("ESMTP", 26), ("SMTP", 26), ("LMTP", 24)] {
        let text = format!("delivery_method = {method} {ports}");
        let (options, _) = options(text.leak());
        assert_eq!(options.port(), port, "{method}");
    }
}

#[test]
fn rewriting_needs_a_pattern_and_a_reply() {
    let reply = Reply::parse("554 5.7.1 blocked", false).unwrap();
    for (text, expected) in [
        (r#"response_transcode_pattern = "^554 (.*)$""#, None),
        (r#"response_transcode_replace = "450 4.7.1 later""#, None),
        (
            r#"response_transcode_pattern = "^554 [0-9.]+ (.*)$"
               domain x.test { response_transcode_replace = "450 4.7.1 [$1]" }"#,
            Some("450 4.7.1 [blocked]"),
        ),
        (
            r#"response_transcode_pattern = "^554" response_transcode_replace = "450 later"
               domain x.test { response_transcode_replace = "" }"#,
            None,
        ),
    ] {
        let (options, found) = options(text);
        let rewritten = options.response_transcode.and_then(|rule| rule.rewrite(&reply));
        assert_eq!(rewritten.map(|reply| reply.to_string()).as_deref(), expected, "{text}");
        let alone = text.matches("response_transcode").count() == 1;
        assert_eq!(found.contains("TJ023"), alone, "{text}: {found}");
    }
}

#[test]
fn eight_bit_content() {
    let asks = "conversion of 8-bit content";
    for (text, announce, transform, warning) in [
        ("", false, Transform8bit::IfNeeded, ""),
        ("send_8bitmime = ifavailable", true, Transform8bit::IfNeeded, ""),
        ("transform_8bitmime_content = no", false, Transform8bit::No, ""),
        ("transform_8bitmime_content = ifneeded", false, Transform8bit::IfNeeded, asks),
        ("transform_8bitmime_content = strict", false, Transform8bit::Strict, asks),
        ("transform_8bitmime_content = strip", false, Transform8bit::Strip, asks),
    ] {
        let (options, found) = options(text);
        let got = (options.send_8bitmime, options.transform_8bitmime_content);
        assert_eq!(got, (announce, transform), "{text}");
        assert_eq!(found.is_empty(), warning.is_empty(), "{text}: {found}");
        assert!(found.contains(warning), "{text}: {found}");
    }
}

#[test]
fn rules_that_cannot_rewrite() {
    assert_snapshot!(findings(&load(
        r#"
response_transcode_pattern = "^55(0|4"
response_transcode_replace = "250 ok"
"#
    )), @r#"
    error main.conf:2:30-39 this regular expression cannot be used
      ^ unclosed group
    error main.conf:3:30-38 this is no reply that says no
      ^ must begin with a code from 400 to 599
      = for example "450 4.7.1 $0"
    "#);
}

#[test]
fn delivery_methods_of_the_past() {
    for (method, why) in [
        ("ECSTREAM", "ECStream is a protocol of the original alone"),
        ("APN", "the push services it belongs to were shut down"),
        ("GCM", "the push services it belongs to were shut down"),
        ("MM7", "mail is not delivered over HTTP"),
    ] {
        let (options, found) = options(format!("delivery_method = {method}").leak());
        assert_eq!(options.delivery_method, DeliveryMethod::Esmtp);
        assert!(found.contains(&format!("`{method}` is not spoken: {why}")), "{found}");
    }
}

#[test]
fn where_the_binding_of_received_mail_comes_from() {
    let bindings = r#"binding "red" { } binding_group "g" { binding "g1" { } }"#;
    let binding = |name: &str| BindingSource::Binding(name.into());
    let group = |name: &str| BindingSource::Group(name.into());
    for (context, expected) in [
        ("0.0.0.0/0 = ( )", BindingSource::Default),
        ("0.0.0.0/0 = ( context [ binding = red ] )", binding("red")),
        ("0.0.0.0/0 = ( context [ binding_group = g ] )", group("g")),
        ("0.0.0.0/0 = ( context [ binding_group = default ] )", group("default")),
        ("0.0.0.0/0 = ( context [ binding_group = g binding = red ] )", binding("red")),
        // What is nearer counts, whichever of the two it names.
        (
            "0.0.0.0/0 = ( context [ binding = red ] continue )
             192.0.2.0/24 = ( context [ binding_group = g ] )",
            group("g"),
        ),
        (
            "0.0.0.0/0 = ( context [ binding_group = g ] continue )
             192.0.2.0/24 = ( context [ other = red ] )",
            group("g"),
        ),
    ] {
        for (word, unassigned) in [
            ("normal", BindingSource::Default),
            ("suspended", BindingSource::Default),
            ("none", BindingSource::Refuse),
        ] {
            let text = format!(
                "{bindings} default_binding = {word} Esmtp_Listener = ( *:25 [ {context} ] )"
            );
            let config = Config::from_text(&text).unwrap();
            let options = config.reception_options(ListenerId(0), [192, 0, 2, 1].into());
            let expected = match &expected {
                BindingSource::Default => unassigned,
                named => named.clone(),
            };
            assert_eq!(options.binding, expected, "{context} {word}");
        }
    }
}

#[test]
fn bindings_and_groups_that_are_not_there() {
    assert_snapshot!(findings(&load(
        r#"
binding_group "green" { binding "g1" { } }
binding_group "empty" { }
Esmtp_Listener = ( *:25 [
  192.0.2.0/24 = ( context [ binding_group = gren ] )
  198.51.100.0/24 = ( context [ binding_group = empty ] )
  203.0.113.0/24 = ( context [ binding = g ] )
] )
"#
    )), @"
    error main.conf:5:20-52 there is no binding group `gren`
      = did you mean `green`?
    error main.conf:6:23-56 there is no binding in group `empty`
    error main.conf:7:22-45 there is no binding `g`
    ");
}

#[test]
fn a_held_default_binding() {
    let config = "binding red { } default_binding = ";
    for (word, unassigned, red) in
        [("normal", false, false), ("suspended", true, false), ("none", false, false)]
    {
        let config = Config::from_text(&format!("{config}{word}")).unwrap();
        let suspended = |binding| config.delivery_options(binding, "x.test").suspend_delivery;
        assert_eq!((suspended("default"), suspended("red")), (unassigned, red), "{word}");
        assert_eq!(suspended("gone"), unassigned, "{word}");
        assert_eq!(config.group_members("default")[0].suspended, unassigned, "{word}");
    }
}

#[test]
fn discarded_mail() {
    let text = r#"
        domain "in.test" { blackhole = inline }
        domain "true.test" { blackhole = true }
        domain "later.test" { blackhole = internal }
        domain "relayed.test" { gateway = "later.test" }
        domain "away.test" { gateway = "hub.test" blackhole = inline }
        binding "red" { blackhole = internal domain "in.test" { blackhole = false } }
    "#;
    let config = Config::from_text(text).unwrap();
    for (binding, domain, expected) in [
        ("default", "x.test", Blackhole::No),
        ("default", "in.test", Blackhole::Inline),
        ("default", "IN.test", Blackhole::Inline),
        ("default", "true.test", Blackhole::Inline),
        ("default", "later.test", Blackhole::Internal),
        // The gateway's options count, not the domain's.
        ("default", "relayed.test", Blackhole::Internal),
        ("default", "away.test", Blackhole::No),
        ("red", "x.test", Blackhole::Internal),
        ("red", "in.test", Blackhole::No),
        ("gone", "in.test", Blackhole::Inline),
    ] {
        assert_eq!(config.blackhole(binding, domain), expected, "{binding} {domain}");
        let options = config.delivery_options(binding, domain);
        if options.gateway.is_none() {
            assert_eq!(options.blackhole, expected, "{binding} {domain}");
        }
    }
}
