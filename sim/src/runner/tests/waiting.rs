//! What held mail back most, whatever it is, has its name.

use super::*;

/// What limited the mail to a.test most, and its part of all waiting.
#[track_caller]
fn limiter(config: &str, rest: &str) -> (LimiterKind, String, f64) {
    let report = honest(&scenario(config, rest));
    let domain = report.domains.iter().find(|domain| domain.domain == "a.test").unwrap();
    let limiter = domain.limited_by.clone().unwrap();
    assert_eq!(domain.waits.first(), Some(&limiter));
    assert!(domain.waits.iter().map(|wait| wait.share).sum::<f64>() < 1.000_001);
    (limiter.kind, limiter.detail, limiter.share)
}

#[test]
fn what_limited_most_is_named() {
    use LimiterKind::*;
    let small_caps = "max_deliveries_per_connection = 0 ";
    let tls = "[receiver.tls]\n";
    for (config, more, kind, detail) in [
        (
            "outbound_throttle_messages = \"6/60\"",
            "",
            Throttle,
            "outbound_throttle_messages = 6 in 1m, set in the global scope",
        ),
        (
            "domain \"a.test\" { outbound_throttle_connections = \"1/10\" \
             max_deliveries_per_connection = 1 }",
            "",
            Throttle,
            "outbound_throttle_connections = 1 in 10s, set in domain \"a.test\"",
        ),
        (
            &format!("{small_caps} max_outbound_connections = 1"),
            "",
            ConnectionCap,
            "max_outbound_connections = 1",
        ),
        (
            &format!("{small_caps} domain \"a.test\" {{ scope_max_outbound_connections = 1 }}"),
            "",
            SharedConnectionCap,
            "scope_max_outbound_connections = 1, set in domain \"a.test\"",
        ),
        (
            &format!("{small_caps} host \"mx.a.test\" {{ max_outbound_connections = 1 }}"),
            "",
            SharedConnectionCap,
            "max_outbound_connections = 1, set in host \"mx.a.test\" mx.a.test",
        ),
        ("suspend_delivery = true", "", Suspended, "suspend_delivery"),
        ("", "[[event]]\nat = \"0s\"\nwhat = \"suspend\"\nfor = \"1h\"\n", Operator, "suspend"),
        ("tls = required", "", Tls, "451 4.7.6 STARTTLS required but not advertised"),
        (
            "tls = ifavailable tls_ifavailable_fallback = true",
            &format!("{tls}handshake = \"stall\"\n"),
            Tls,
            "451 4.7.5 TLS negotiation failed: no answer in time",
        ),
        (
            "",
            "[[fault]]\nat = \"0s\"\nfor = \"1h\"\nwhat = \"host_down\"\nreceiver = \"a\"\n\
             how = \"blackhole\"\n",
            Unreachable,
            "451 4.4.1 connection timed out",
        ),
        (
            "",
            "[[receiver.reply]]\nstage = \"rcpt\"\nreply = \"450 4.2.1 Later\"\nbefore = \"1s\"\n",
            RetryAfterReply,
            "450 4.2.1 Later",
        ),
        (
            "",
            "[[receiver.reply]]\nstage = \"body\"\naction = \"close\"\nbefore = \"1s\"\n",
            RetryAfterTrouble,
            "451 4.4.2 connection closed by remote host",
        ),
    ] {
        let found = limiter(config, &format!("{}{RECEIVER}{more}", burst(60)));
        assert_eq!((found.0, found.1.as_str()), (kind, detail), "{config} {more}");
        assert!(found.2 > 0.5, "{config} {more}: {}", found.2);
    }
}

#[test]
fn a_process_that_is_down_holds_mail_back() {
    let event = "[[event]]\nat = \"30s\"\nwhat = \"restart\"\nfor = \"10m\"\n";
    let config = "outbound_throttle_messages = \"6/60\"";
    let report = honest(&scenario(config, &format!("{}{RECEIVER}{event}", burst(60))));
    let down = report.domains[0].waits.iter().find(|wait| wait.kind == LimiterKind::NoProcess);
    // 54 of 60 messages wait from half a minute on, for ten minutes.
    let seconds = down.unwrap().seconds_per_recipient;
    assert!((530.0..545.0).contains(&seconds), "{seconds}");
    assert_eq!(report.happenings.len(), 1);
}

#[test]
fn what_is_plotted_is_what_happened() {
    // One connection and a message a second; the second half waits for its retry.
    let config = "max_outbound_connections = 1 outbound_throttle_messages = \"1/1\" \
                  retry_interval = 600";
    let rule = "[[receiver.reply]]\nstage = \"rcpt\"\nreply = \"450 4.2.1 Later\"\nafter = \"3500ms\"\n\
                before = \"10s\"\n";
    let report = honest(&scenario(config, &format!("{}{RECEIVER}{rule}", burst(8))));
    let timeline = &report.domains[0].timeline;
    assert_eq!(*timeline, report.timeline);
    assert_eq!(timeline.bucket_s, 2);
    assert_eq!(timeline.active[..6], [8, 6, 4, 2, 0, 0]);
    assert_eq!(timeline.delayed[..6], [0, 0, 2, 4, 4, 4]);
    assert_eq!(timeline.delivered.iter().sum::<u64>(), 8);
    assert_eq!(timeline.connections[0], 1);
    let failures = &report.domains[0].failures;
    assert_eq!((failures.len(), failures[0].reply.as_str()), (1, "450 4.2.1 Later"));
    assert_eq!(failures[0].counts, [0, 0, 2, 2]);
    let sources = &report.domains[0].sources;
    assert_eq!((sources.len(), sources[0].peak_connections), (1, 1));
    assert_eq!(sources[0].address.to_string(), "10.0.0.1");
}
