//! Options of the outbound protocol: what each value comes to, and what is said about it.

use alloc::string::{String, ToString as _};

use insta::assert_snapshot;

use super::effective::{DeliveryMethod, DeliveryOptions};
use super::tests::{findings, load};
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
        let text = alloc::format!("delivery_method = {method} {ports}");
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
        let (options, found) = options(alloc::format!("delivery_method = {method}").leak());
        assert_eq!(options.delivery_method, DeliveryMethod::Esmtp);
        assert!(found.contains(&alloc::format!("`{method}` is not spoken: {why}")), "{found}");
    }
}
