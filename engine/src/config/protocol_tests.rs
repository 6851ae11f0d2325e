//! Options of the outbound protocol: what each value comes to, and what is said about it.

use alloc::string::String;

use super::effective::{DeliveryMethod, DeliveryOptions};
use super::tests::{findings, load};

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
