//! Every scenario that ships with Traject runs and keeps its expectations, and could fail them:
//! with one thing changed, one of them does not hold. A scenario that cannot fail proves nothing; a
//! new one gets an entry in [`CHANGES`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use traject_sim::runner::{RunOptions, run};
use traject_sim::scenario::{Scenario, parse};
use traject_tests::workspace;

/// A change to a scenario or its configuration, and the expectation that then fails.
struct Change {
    /// The scenario, below `scenarios/`.
    scenario: &'static str,
    /// This text of it or of its configuration...
    instead_of: &'static str,
    /// ...becomes this.
    write: &'static str,
    /// A failed expectation, as reports show it.
    fails: &'static str,
}

const CHANGES: &[Change] = &[
    Change {
        scenario: "regressions/a-throttle-whose-window-grew.toml",
        instead_of: "\"5/60\"",
        write: "\"9/60\"",
        fails: "connections_opened == 4 by 46s, domain other.example",
    },
    Change {
        scenario: "regressions/an-exchange-asked-for-anew-meanwhile.toml",
        instead_of: "plus = \"3s\"",
        write: "plus = \"8s\"",
        fails: "t100 <= 7s, domain both.example",
    },
    Change {
        scenario: "regressions/a-place-that-is-older-than-its-window.toml",
        instead_of: "latency = \"4s\"",
        write: "latency = \"9s\"",
        fails: "t100 <= 7m, receiver far",
    },
    Change {
        scenario: "regressions/a-delay-that-is-over-when-it-is-told.toml",
        instead_of: "horizon = \"1d\"",
        write: "horizon = \"10m\"",
        fails: "delivered == 150",
    },
    Change {
        scenario: "regressions/a-disk-with-half-an-hour-for-a-sync.toml",
        instead_of: "plus = \"15m\"",
        write: "plus = \"1s\"",
        fails: "delivered <= 5 by 45m",
    },
    Change {
        scenario: "regressions/a-receiver-that-talks-on.toml",
        instead_of: "before = \"1h\"",
        write: "before = \"2h\"",
        fails: "t100 <= 1h15m",
    },
    Change {
        scenario: "regressions/a-turn-lost-to-the-dns.toml",
        instead_of: "\"2/60\"",
        write: "\"1/120\"",
        fails: "t100 <= 4m, receiver slow",
    },
    Change {
        scenario: "regressions/an-exchange-with-a-cap-of-0.toml",
        instead_of: "\"mx.alone.example\" { max_outbound_connections = 0 }",
        write: "\"mx.alone.example\" { max_outbound_connections = 1 }",
        fails: "delivered == 0 by 1h59m, receiver alone",
    },
    Change {
        scenario: "regressions/an-exchange-that-is-named-twice.toml",
        instead_of: "\"1/60\"",
        write: "\"2/60\"",
        fails: "t100 >= 2m",
    },
    Change {
        scenario: "regressions/an-answer-after-our-patience.toml",
        instead_of: "body_timeout = 1\n",
        write: "body_timeout = 5\n",
        fails: "expired == 1",
    },
    Change {
        scenario: "regressions/answers-that-were-kept-for-several-hops.toml",
        instead_of: "until = \"5m\"",
        write: "until = \"36s\"",
        fails: "delivered <= 4 by 4m",
    },
    Change {
        scenario: "regressions/begun-at-the-instant-of-a-reload.toml",
        instead_of: "outbound_throttle_connections = 1\n",
        write: "outbound_throttle_connections = \"1/9\"\n",
        fails: "t100 <= 1m10s",
    },
    Change {
        scenario: "regressions/bounces-dropped-beside-other-mail.toml",
        instead_of: "bounce_behavior = blackhole",
        write: "bounce_behavior = pass",
        fails: "accepted == 2",
    },
    Change {
        scenario: "regressions/batches-of-siblings.toml",
        instead_of: "max_recipients_per_batch = 1",
        write: "max_recipients_per_batch = 2",
        fails: "connections_opened == 3, receiver one",
    },
    Change {
        scenario: "regressions/a-restart-on-a-failing-disk.toml",
        instead_of: "for = \"590s\"",
        write: "for = \"300s\"",
        fails: "t100 >= 9m",
    },
    Change {
        scenario: "regressions/refused-by-a-failing-disk-and-found.toml",
        instead_of: "for = \"61s\"",
        write: "for = \"5s\"",
        fails: "delivered == 2",
    },
    Change {
        scenario: "regressions/batches-of-a-gateway.toml",
        instead_of: "gateway = \"hub.example\" max_recipients_per_batch = 1 }",
        write: "gateway = \"hub.example\" }\ndomain \"hub.example\" { max_recipients_per_batch = 1 }",
        fails: "connections_opened == 1",
    },
    Change {
        scenario: "regressions/two-demands-of-tls-at-one-address.toml",
        instead_of: "host_failure_retry = 3600",
        write: "host_failure_retry = 30",
        fails: "connections_opened == 1, domain user.example",
    },
    Change {
        scenario: "regressions/bounces-that-are-all-dropped.toml",
        instead_of: "bounce_behavior = blackhole\n",
        write: "bounce_behavior = pass\n",
        fails: "delivered == 1",
    },
    Change {
        scenario: "regressions/clear-beside-a-new-try-of-tls.toml",
        instead_of: "tls = ifavailable",
        write: "tls = required",
        fails: "plaintext == 2",
    },
    Change {
        scenario: "regressions/expired-untried-with-never-retry.toml",
        instead_of: "message_expiration = 1\n",
        write: "message_expiration = 100\n",
        fails: "expired == 1",
    },
    Change {
        scenario: "regressions/last-word-for-several.toml",
        instead_of: "reply = \"421 4.3.2 Closing\"",
        write: "reply = \"451 4.3.2 Not now\"",
        fails: "attempts == 7",
    },
    Change {
        scenario: "regressions/hops-that-are-never-known-together.toml",
        instead_of: "messages = 3",
        write: "messages = 4",
        fails: "delivered == 3",
    },
    Change {
        scenario: "regressions/put-off-for-ever.toml",
        instead_of: "max = \"3/10s\"",
        write: "max = \"9/10s\"",
        fails: "delivered == 6",
    },
    Change {
        scenario: "regressions/one-message-over-a-connection-that-passes.toml",
        instead_of: "domain \"second.example\" {",
        write: "migrate_connections_between_sibling_domains = false domain \"second.example\" {",
        fails: "delivered == 2",
    },
    Change {
        scenario: "regressions/patience-that-ends-before-all-is-known.toml",
        instead_of: "connect_timeout_to_delay = 5",
        write: "connect_timeout_to_delay = 500",
        fails: "t100 >= 15m",
    },
    Change {
        scenario: "regressions/several-transactions-at-one-instant.toml",
        instead_of: "452 4.2.2 Full",
        write: "552 5.2.2 Full",
        fails: "delivered == 3",
    },
    Change {
        scenario: "basics/expiry.toml",
        instead_of: "max_retries = none",
        write: "max_retries = 5",
        fails: "attempts == 7",
    },
    Change {
        scenario: "basics/herds-and-sources.toml",
        instead_of: "\"10/60\"",
        write: "\"20/60\"",
        fails: "herd_index == 1, window 1h since 10m, domain spread.example",
    },
    Change {
        scenario: "basics/through-a-listener.toml",
        instead_of: "peer \"10.30.0.0/16\" { open_relay = true }",
        write: "peer \"10.30.0.0/16\" { open_relay = true context = [ binding = \"shop\" ] }",
        fails: "accepted == 20, binding news",
    },
    Change {
        scenario: "basics/days-and-recordings.toml",
        instead_of: "0, 1, 3, 0,",
        write: "0, 1, 4, 0,",
        fails: "accepted == 21 by 10h, domain day.example",
    },
    Change {
        scenario: "basics/mixed-recipients.toml",
        instead_of: "retry_interval = 600",
        write: "retry_interval = 600 never_retry = true",
        fails: "delivered == 100, receiver corp",
    },
    Change {
        scenario: "basics/undeliverable.toml",
        instead_of: "retry_interval = 300",
        write: "retry_interval = 300 dns_failures_to_purge = 1",
        fails: "delivered == 100%, receiver flaky",
    },
    Change {
        scenario: "tour.toml",
        instead_of: "max_outbound_connections = 5",
        write: "max_outbound_connections = 20",
        fails: "always connections <= 5, receiver strict, binding bulk",
    },
    Change {
        scenario: "delivery/suspend-and-resume.toml",
        instead_of: "at = \"15m\"",
        write: "at = \"16m\"",
        fails: "delivered == 10 by 15m5s, receiver plain",
    },
    Change {
        scenario: "delivery/lowering-a-cap-only-drains.toml",
        instead_of: "max_outbound_connections = 2",
        write: "max_outbound_connections = 3",
        fails: "connections <= 2 by 2m5s",
    },
    Change {
        scenario: "delivery/a-restart-keeps-the-schedule.toml",
        instead_of: "retry_interval = 1200",
        write: "retry_interval = 1100",
        fails: "delivered == 0 by 19m59s, receiver grey",
    },
    Change {
        scenario: "delivery/throttle-across-reload-and-restart.toml",
        instead_of: "outbound_throttle_messages = \"900/60\"",
        write: "outbound_throttle_messages = \"800/60\"",
        fails: "delivered == 900 by 20s",
    },
    Change {
        scenario: "delivery/a-binding-that-goes.toml",
        instead_of: "key = [\"address\"]",
        write: "key = [\"sender\"]",
        fails: "deferrals == 20 by 20m2s",
    },
    Change {
        scenario: "delivery/retry-schedules.toml",
        instead_of: "max_retries = 3 ",
        write: "max_retries = 4 ",
        fails: "expired == 1 by 2h20m, domain three.example",
    },
    Change {
        scenario: "delivery/refusals-by-stage.toml",
        instead_of: "retry_interval = 1200",
        write: "retry_interval = 1201",
        fails: "t100 == 20m, receiver data-4",
    },
    Change {
        scenario: "delivery/silences-and-drops.toml",
        instead_of: "rcptto_timeout = 20",
        write: "rcptto_timeout = 21",
        fails: "t100 == 20m20s, receiver data-silent",
    },
    Change {
        scenario: "delivery/wedged-connection.toml",
        instead_of: "body_timeout = 60",
        write: "body_timeout = 61",
        fails: "expired == 3 by 1h9m",
    },
    Change {
        scenario: "delivery/receivers-push-back.toml",
        instead_of: "retry_interval = 1200",
        write: "retry_interval = 1201",
        fails: "t100 == 2h20m, receiver strict",
    },
    Change {
        scenario: "receivers/profiles.toml",
        instead_of: "domain \"orange.example\" { max_outbound_connections = 1 }",
        write: "domain \"orange.example\" { max_outbound_connections = 9 }",
        fails: "never replies > 0 like *trop de connexions*, receiver orange",
    },
    Change {
        scenario: "delivery/throttle-of-600-a-minute.toml",
        instead_of: "\"600/60\"",
        write: "\"601/60\"",
        fails: "always deliveries_in_window <= 600, window 1m",
    },
    Change {
        scenario: "delivery/throttle-with-latency.toml",
        instead_of: "max_outbound_connections = 1",
        write: "max_outbound_connections = 2",
        fails: "connections_opened == 4",
    },
    Change {
        scenario: "delivery/throttle-of-connections.toml",
        instead_of: "\"3/10\"",
        write: "\"4/10\"",
        fails: "always connections_in_window <= 3, window 10s",
    },
    Change {
        scenario: "delivery/throttle-shared-by-a-group.toml",
        instead_of: "binding \"grey\" { }",
        write: "binding \"grey\" { outbound_throttle_messages = \"10/10\" }",
        fails: "always deliveries_in_window <= 10, window 10s, domain shared.example",
    },
    Change {
        scenario: "delivery/throttle-of-a-pattern.toml",
        instead_of: "{ retry_interval = 600 }",
        write: "{ outbound_throttle_messages = \"6/60\" }",
        fails: "always deliveries_in_window <= 6, window 1m, receiver pair",
    },
    Change {
        scenario: "delivery/connection-goal.toml",
        instead_of: "\"0.1\"",
        write: "\"0.2\"",
        fails: "peak_connections == 9, domain number.example",
    },
    Change {
        scenario: "delivery/caps-of-every-scope.toml",
        instead_of: "max_outbound_connections = 2 }\n\n# Of a binding",
        write: "max_outbound_connections = 3 }\n\n# Of a binding",
        fails: "peak_connections == 2, receiver pool",
    },
    Change {
        scenario: "delivery/limits-of-a-connection.toml",
        instead_of: "max_deliveries_per_connection = 5",
        write: "max_deliveries_per_connection = 4",
        fails: "connections_opened == 4, domain successes.example",
    },
    Change {
        scenario: "delivery/fair-shares-of-the-server.toml",
        instead_of: "max_outbound_connections = 1\nserver_reserve",
        write: "max_outbound_connections = 2\nserver_reserve",
        fails: "t100 == 3m20s, domain short.example",
    },
    Change {
        scenario: "delivery/sibling-domains.toml",
        instead_of: "idle_timeout = 30",
        write: "idle_timeout = 30 migrate_connections_between_sibling_domains = off",
        fails: "connections_opened == 2, receiver pool",
    },
    Change {
        scenario: "delivery/reserve-for-small-domains.toml",
        instead_of: "reserve_outbound_connections = 2",
        write: "reserve_outbound_connections = 0",
        fails: "t100 == 5s, domain first.example",
    },
    Change {
        scenario: "delivery/trouble-before-mail.toml",
        instead_of: "host_failure_retry = 120",
        write: "host_failure_retry = 121",
        fails: "t100 == 2m, receiver banner-5",
    },
    Change {
        scenario: "delivery/bindings-are-seen.toml",
        instead_of: "ehlo_hostname = \"__message__\"",
        write: "",
        fails: "delivered == 40",
    },
    Change {
        scenario: "delivery/spread-over-a-group.toml",
        instead_of: "binding \"c\" { }",
        write: "binding \"c\" { suspend_delivery = true }",
        fails: "delivered >= 897, binding c",
    },
    Change {
        scenario: "delivery/delivery-methods.toml",
        instead_of: "{ delivery_method = SMTP }",
        write: "{ }",
        fails: "delivered == 1 by 0s, receiver old",
    },
    Change {
        scenario: "delivery/xclient.toml",
        instead_of: "\"told.example\"     { xclient = ifavailable }",
        write: "\"told.example\" { xclient = no }",
        fails: "bounced == 20, receiver told",
    },
    Change {
        scenario: "delivery/eight-bit-content.toml",
        instead_of: "send_8bitmime = ifavailable",
        write: "send_8bitmime = no",
        fails: "delivered == 100%, receiver announced",
    },
    Change {
        scenario: "delivery/rewritten-replies.toml",
        instead_of: "\"^550 5",
        write: "\"^551 5",
        fails: "t100 == 2h20m, receiver false-550",
    },
    Change {
        scenario: "delivery/held-and-discarded.toml",
        instead_of: "domain \"held.example\"      { suspend_delivery = true }",
        write: "",
        fails: "pending == 20, domain held.example",
    },
    Change {
        scenario: "delivery/impatience-makes-duplicates.toml",
        instead_of: "body_timeout = 10",
        write: "body_timeout = 40",
        fails: "expired == 1 by 2h30m, receiver impatient",
    },
    Change {
        scenario: "delivery/spread-after-an-outage.toml",
        instead_of: "delayed_binding_domain_fuzz = 600",
        write: "delayed_binding_domain_fuzz = 60",
        fails: "delivered <= 361 by 25m, binding default",
    },
    Change {
        scenario: "delivery/greylisting-and-the-first-retry.toml",
        instead_of: "retry_interval = 300",
        write: "retry_interval = 299",
        fails: "t100 == 5m by 1h, domain in-time.example",
    },
    Change {
        scenario: "delivery/lost-answer-one-duplicate.toml",
        instead_of: "delivery_method = LMTP",
        write: "delivery_method = LMTP never_retry = true",
        fails: "t100 == 20m, receiver store",
    },
    Change {
        scenario: "delivery/one-a-second-over-many-connections.toml",
        instead_of: "binding \"b\" { }",
        write: "binding \"b\" { outbound_throttle_messages = \"1/1\" }",
        fails: "always deliveries_in_window <= 1, window 1s, domain one.example",
    },
    Change {
        scenario: "delivery/receiver-limits-kept-and-ignored.toml",
        instead_of: "max_deliveries_per_connection = 5",
        write: "max_deliveries_per_connection = 6",
        fails: "attempts == 40, receiver counted",
    },
    Change {
        scenario: "delivery/retries-in-step-with-the-receiver.toml",
        instead_of: "{ retry_interval = 1200 }",
        write: "{ retry_interval = 3600 }",
        fails: "t100 == 20m, domain off-beat.example",
    },
    Change {
        scenario: "delivery/three-bindings-one-network.toml",
        instead_of: "scope_max_outbound_connections = 2",
        write: "scope_max_outbound_connections = 3",
        fails: "always connections <= 2, domain together.example",
    },
    Change {
        scenario: "delivery/trouble-at-rset.toml",
        instead_of: "rset_timeout = 30",
        write: "rset_timeout = 31",
        fails: "t100 == 30s, receiver rset-silent",
    },
    Change {
        scenario: "delivery/unreachable-mail-expires.toml",
        instead_of: "connect_timeout_to_delay = 900",
        write: "connect_timeout_to_delay = 901",
        fails: "expired == 10 by 1h25m",
    },
    Change {
        scenario: "delivery/idle-sessions-are-cut.toml",
        instead_of: "idle_timeout = 600",
        write: "idle_timeout = 20",
        fails: "connections == 5 by 29s",
    },
    Change {
        scenario: "delivery/throttle-counts-recipients.toml",
        instead_of: "domain \"half.example\" { outbound_throttle_messages = \"10/60\" }",
        write: "",
        fails: "t100 == 2m, receiver half",
    },
    Change {
        scenario: "delivery/slow-links-and-slow-dns.toml",
        instead_of: "times = 20, receiver = \"longer\"",
        write: "times = 21, receiver = \"longer\"",
        fails: "t100 == 10s, domain longer.example",
    },
    Change {
        scenario: "delivery/partition-and-unreachable.toml",
        instead_of: "connect_timeout = 30",
        write: "connect_timeout = 31",
        fails: "t100 == 1h, domain one.example, binding a",
    },
    Change {
        scenario: "delivery/a-crash-loses-nothing.toml",
        instead_of: "what = \"crash\", for = \"1m\"",
        write: "what = \"crash\", for = \"2m\"",
        fails: "t100 == 1m40s, receiver slow",
    },
    Change {
        scenario: "delivery/throttle-of-many-events.toml",
        instead_of: "\"5000/60\"",
        write: "\"5001/60\"",
        fails: "always deliveries_in_window <= 5000, window 1m",
    },
];

/// The warnings that scenarios about traps mean to have, by their codes.
const WARNINGS: &[(&str, &[&str])] = &[
    ("delivery/greylisting-and-the-first-retry.toml", &["TJ032"]),
    ("delivery/retries-in-step-with-the-receiver.toml", &["TJ031"]),
    ("delivery/retry-schedules.toml", &["TJ030", "TJ031"]),
    ("regressions/expired-untried-with-never-retry.toml", &["TJ030"]),
    ("regressions/two-demands-of-tls-at-one-address.toml", &["TJ043"]),
];

/// What a case's wrong configuration gets wrong: `cases/NAME.wrong.conf` beside `cases/NAME.toml`.
const WRONG: &[(&str, &[&str])] = &[
    (
        "apple-top-of-the-hour",
        &["t50 <= 11m", "delivered == 100%", "t99 <= 30m", "attempts_per_recipient <= 2"],
    ),
    (
        "comcast-wrong-direction",
        &[
            "never replies > 0 like 421 *rl000001*",
            "always connections_in_window <= 100, window 1m",
            "delivered == 100% by 15m",
        ],
    ),
    ("crash-and-impatience", &["duplicates <= 10", "deferrals == 0", "delivered == 300 by 11m"]),
    (
        "gmail-false-550",
        &[
            "delivered == 2000 by 16h",
            "bounced == 0",
            "expired == 20 by 1d13h",
            "replies == 0 like 550 *",
        ],
    ),
    (
        "mixed-banner",
        &[
            "delivered == 100% by 1h1m",
            "t95 <= 5s",
            "replies == 3 like 451 4.5.0 code changes inside a multi-line reply",
        ],
    ),
    (
        "orange-two-connections",
        &[
            "never replies > 0 like 421 *ofr00*, receiver orange",
            "always connections <= 2, receiver orange",
        ],
    ),
    (
        "outlook-shared-exchange",
        &[
            "never replies > 0 like 421 rp-003*",
            "always connections <= 5, exchange olc.protection.outlook.com",
        ],
    ),
    (
        "recovery-herd",
        &[
            "never replies > 0 like 451 4.3.2*",
            "herd_index <= 4, window 1h since 4h, receiver back",
            "delivered >= 3700 by 5h",
        ],
    ),
    ("sina-ramp-hole", &["always deliveries_in_window <= 135, window 1h", "deferrals == 0"]),
    ("strict-tls-neighbour", &["delivered == 200 by 1h1m, domain neighbour.hosted.example"]),
    ("tls-stall", &["delivered == 100% by 2h1m", "t100 <= 35s", "t95 <= 2s", "expired == 0"]),
    ("wedged-connection", &["pending == 0 by 7h30m"]),
];

fn folder() -> PathBuf {
    workspace().join("scenarios")
}

/// All scenario files below `scenarios/`, in order; profiles of receivers are none.
fn shipped() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend((!path.ends_with("profiles")).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> &str {
    path.strip_prefix(folder()).unwrap().to_str().unwrap()
}

fn read(path: &Path, text: &str) -> Scenario {
    parse(path, text).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a scenario with its own configuration or the file `config` instead, and shows the
/// expectations that do not hold.
fn failures(scenario: &Scenario, config: Option<&Path>) -> Vec<String> {
    let config = scenario.load_config(config).config.expect("a configuration without errors");
    scenario.check_config(&config).unwrap_or_else(|error| panic!("{error}"));
    let outcome = run(scenario, Arc::new(config), RunOptions::default());
    if let Some(failure) = outcome.failure {
        panic!("{}: {failure}", scenario.path.display());
    }
    let expectations = outcome.report.expectations.into_iter();
    expectations.filter(|one| one.passed != Some(true)).map(|one| one.expectation).collect()
}

#[test]
fn every_shipped_scenario_keeps_its_expectations() {
    for path in shipped() {
        let scenario = read(&path, &fs::read_to_string(&path).unwrap());
        let name = name(&path);
        assert!(!scenario.expectations.is_empty(), "{name} expects nothing");
        assert_eq!(failures(&scenario, None), [""; 0], "{name}");
    }
}

#[test]
fn no_shipped_scenario_has_warnings_that_it_does_not_mean() {
    for path in shipped() {
        let name = name(&path);
        let meant = WARNINGS.iter().find(|(scenario, _)| *scenario == name);
        let meant = meant.map_or(&[][..], |(_, codes)| *codes);
        let scenario = read(&path, &fs::read_to_string(&path).unwrap());
        for finding in scenario.load_config(None).diagnostics {
            let is_meant = finding.code.is_some_and(|code| meant.contains(&code));
            assert!(is_meant, "{name}: {}", finding.message);
        }
    }
}

#[test]
fn scenarios_can_fail() {
    for change in CHANGES {
        let failed = with_change(change);
        let fails = failed.iter().any(|expectation| expectation == change.fails);
        assert!(fails, "{}: `{}` does not fail: {failed:#?}", change.scenario, change.fails);
    }
}

#[test]
fn every_case_has_a_wrong_configuration_that_fails_it() {
    let cases: Vec<PathBuf> =
        shipped().into_iter().filter(|path| name(path).starts_with("cases/")).collect();
    let names: Vec<&str> =
        cases.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, WRONG.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (path, (name, fails)) in cases.iter().zip(WRONG) {
        let scenario = read(path, &fs::read_to_string(path).unwrap());
        let wrong = path.with_extension("wrong.conf");
        let says_what = fs::read_to_string(&wrong).unwrap().starts_with("# Wrong: ");
        assert!(says_what, "{} does not say what is wrong", wrong.display());
        assert_eq!(failures(&scenario, Some(&wrong)), *fails, "{name}");
    }
}

/// The expectations that fail with a change.
fn with_change(change: &Change) -> Vec<String> {
    let Change { scenario, instead_of, write, .. } = *change;
    let path = folder().join(scenario);
    let text = fs::read_to_string(&path).unwrap();
    if text.contains(instead_of) {
        return failures(&read(&path, &text.replace(instead_of, write)), None);
    }
    let unchanged = read(&path, &text);
    let config = unchanged.config_name(None);
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains(instead_of), "{scenario}: no `{instead_of}` there or in {config}");
    let changed = tempfile::NamedTempFile::new().unwrap();
    fs::write(changed.path(), text.replace(instead_of, write)).unwrap();
    failures(&unchanged, Some(changed.path()))
}
