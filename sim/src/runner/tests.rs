//! Whole runs, small enough to know the answer.

use std::path::Path as FilePath;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use traject_engine::record::{Event, Record};

use super::*;
use crate::report::{DomainReport, LimiterKind};
use crate::scenario::{ConfigSource, parse};

mod dying;
mod formulas;
mod waiting;

/// Runs a scenario whose configuration is inline, checking the engine after every input.
fn play(text: &str) -> Outcome {
    play_with(text, RunOptions::default())
}

fn play_with(text: &str, options: RunOptions) -> Outcome {
    let path = FilePath::new("test.toml");
    let scenario = parse(path, text).unwrap_or_else(|error| panic!("{error}"));
    let ConfigSource::Inline(config) = &scenario.config else { panic!("not inline") };
    let config = Config::from_text(config).unwrap_or_else(|found| panic!("{found:?}"));
    scenario.check_config(&config).unwrap();
    run(&scenario, Arc::new(config), RunOptions { checks: Checks::Always, ..options })
}

/// Runs a scenario in which nothing is to go wrong with us.
#[track_caller]
fn honest(text: &str) -> Report {
    let outcome = play(text);
    if let Some(failure) = outcome.failure {
        panic!("{failure}");
    }
    outcome.report
}

/// Runs it and hands out every record.
#[track_caller]
fn records(text: &str) -> (Report, Vec<Record>) {
    let file = Shared::default();
    let options = RunOptions { records: Some(Box::new(file.clone())), ..RunOptions::default() };
    let outcome = play_with(text, options);
    if let Some(failure) = outcome.failure {
        panic!("{failure}");
    }
    let bytes = file.0.lock().unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    (outcome.report, lines.map(|line| serde_json::from_slice(line).unwrap()).collect())
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// (delivered, bounced, expired, pending)
fn fates(domain: &DomainReport) -> (u64, u64, u64, u64) {
    (domain.delivered, domain.bounced, domain.expired, domain.pending)
}

/// Seconds after the start of each attempt's end.
/// When mail of the scenario was attempted: notices have no sender.
fn attempts(records: &[Record]) -> Vec<u64> {
    let of_attempt = |record: &&Record| {
        crate::counts::attempt_of(&record.event).is_some_and(|one| one.reverse_path.0.is_some())
    };
    records
        .iter()
        .filter(of_attempt)
        .map(|record| record.at.saturating_since(START).as_secs())
        .collect()
}

const HEAD: &str = "title = \"T\"\nhorizon = \"3d\"\n[dns]\nlatency = \"0s\"\n";

/// A receiver of `a.test`, 20 ms away; more keys and tables of it may follow.
const RECEIVER: &str = "[[receiver]]\nname = \"a\"\ndomains = [\"a.test\"]\nlatency = \"20ms\"\n";

/// `messages` to a.test at the start.
fn burst(messages: u32) -> String {
    format!(
        "[[traffic]]\nfrom = \"n@brand.test\"\nto = \"a.test\"\nmessages = {messages}\n\
         size = \"3KB\"\n"
    )
}

fn scenario(config: &str, rest: &str) -> String {
    format!("config_text = \"\"\"{config}\"\"\"\n{HEAD}{rest}")
}

#[test]
fn a_message_takes_the_round_trips_of_its_dialogue() {
    let report = honest(&scenario("", &format!("{}{RECEIVER}", burst(1))));
    assert_eq!(report.end, End::Settled);
    assert_eq!(fates(&report.domains[0]), (1, 0, 0, 0));
    // 40 ms each: handshake and banner 2, EHLO, MAIL to DATA in one group, the message. The banner
    // leaves when the handshake's last packet has come: half a round trip later.
    let micros = report.domains[0].t100_s.unwrap() * 1e6;
    assert_eq!(micros.round(), 200_000.0);
    assert_eq!(report.domains[0].limited_by.as_ref().unwrap().kind, LimiterKind::Dialogue);
}

#[test]
fn a_connection_cap_shares_the_time() {
    // 100 messages over 2 connections, two round trips each: 50 times 80 ms, and the beginning.
    let config = "max_outbound_connections = 2 max_deliveries_per_connection = 0";
    let report = honest(&scenario(config, &format!("{}{RECEIVER}", burst(100))));
    let domain = &report.domains[0];
    assert_eq!((domain.peak_connections, domain.max_connections), (2, 2));
    let seconds = domain.t100_s.unwrap();
    assert!((4.1..4.3).contains(&seconds), "{seconds}");
    assert_eq!(domain.limited_by.as_ref().unwrap().kind, LimiterKind::ConnectionCap);
}

#[test]
fn a_receiver_that_always_defers_is_tried_on_schedule_until_expiry() {
    let config = "retry_interval = 600 max_retry_interval = 3600 max_retries = none \
                  message_expiration = 14400";
    let rule = "[[receiver.reply]]\nstage = \"rcpt\"\nreply = \"450 4.2.1 Later\"\n";
    let text = scenario(config, &format!("{}{RECEIVER}{rule}", burst(1)));
    let (report, records) = records(&text);
    assert_eq!(fates(&report.domains[0]), (0, 0, 1, 0));
    assert_eq!((report.totals.notices.of_failures, report.totals.notices.delivered), (1, 1));
    // Waits of 600, 1200, 2400, 3600, 3600, 3600; at 15,000 s it is too old.
    assert_eq!(attempts(&records), [0, 600, 1800, 4200, 7800, 11_400, 15_001]);
    let last = records.iter().rev().find_map(|record| match &record.event {
        Event::Expiry { attempt, last_reply, .. } => Some((attempt.clone(), last_reply.clone())),
        _ => None,
    });
    let (attempt, last_reply) = last.unwrap();
    assert_eq!(attempt.attempts, 7);
    assert_eq!(last_reply.unwrap().to_string(), "450 4.2.1 Later");
}

#[test]
fn greylisting_costs_one_retry() {
    let config = "retry_interval = 360";
    let greylist = "[receiver.greylist]\nhold = \"5m\"\n";
    let report = honest(&scenario(config, &format!("{}{RECEIVER}{greylist}", burst(5))));
    let domain = &report.domains[0];
    assert_eq!((domain.delivered, domain.attempts), (5, 10));
    assert!((360.0..362.0).contains(&domain.t50_s.unwrap()), "{:?}", domain.t50_s);
    let limiter = domain.limited_by.as_ref().unwrap();
    assert_eq!(limiter.kind, LimiterKind::RetryAfterReply);
    assert!(limiter.detail.contains("Greylisted"), "{}", limiter.detail);
}

#[test]
fn recipients_of_one_message_go_their_own_ways() {
    let text = scenario(
        "retry_interval = 60",
        &format!(
            "[[traffic]]\nfrom = \"n@brand.test\"\nmessages = 1\nrecipients = \"all\"\n\
             to = [\"good@a.test\", \"bad@a.test\", \"later@a.test\", \"other@b.test\"]\n\
             {RECEIVER}\
             [[receiver.reply]]\nstage = \"rcpt\"\nrecipient = \"bad@*\"\n\
             reply = \"550 5.1.1 No\"\n\
             [[receiver.reply]]\nstage = \"rcpt\"\nrecipient = \"later@*\"\nbefore = \"30s\"\n\
             reply = \"450 4.2.1 Later\"\n\
             [[receiver]]\nname = \"b\"\ndomains = [\"b.test\"]\n"
        ),
    );
    let report = honest(&text);
    assert_eq!(fates(&report.domains[0]), (2, 1, 0, 0));
    assert_eq!(report.domains[0].attempts, 4);
    assert_eq!(fates(&report.domains[1]), (1, 0, 0, 0));
}

#[test]
fn domains_that_take_no_mail_bounce_and_broken_dns_is_waited_for() {
    let text = scenario(
        "retry_interval = 300",
        "[[traffic]]\nfrom = \"n@brand.test\"\nmessages = 1\nrecipients = \"all\"\n\
         to = [\"null.test\", \"gone.test\", \"flaky.test\"]\n\
         [[dns.name]]\nname = \"null.test\"\nmx = \"null\"\n\
         [[dns.name]]\nname = \"gone.test\"\nfailure = \"nxdomain\"\n\
         [[receiver]]\nname = \"flaky\"\ndomains = [\"flaky.test\"]\n\
         [[fault]]\nat = \"0s\"\nfor = \"1m\"\nwhat = \"dns_failure\"\nhow = \"servfail\"\n\
         domain = \"flaky.test\"\n",
    );
    let report = honest(&text);
    let by_name = |name: &str| {
        let domain = report.domains.iter().find(|domain| domain.domain == name).unwrap();
        (fates(domain), domain.replies[0].reply.clone())
    };
    assert_eq!(by_name("flaky.test").0, (1, 0, 0, 0));
    let (null, reply) = by_name("null.test");
    assert_eq!(null, (0, 1, 0, 0));
    assert!(reply.starts_with('5') && reply.contains("null MX"), "{reply}");
    let (gone, reply) = by_name("gone.test");
    assert_eq!(gone, (0, 1, 0, 0));
    assert!(reply.starts_with('5'), "{reply}");
}

#[test]
fn a_lost_answer_makes_a_second_copy_and_no_third() {
    let rule = "[[receiver.reply]]\nstage = \"body\"\nbefore = \"1m\"\naction = \"reset\"\n\
                keeps_message = true\n";
    let text = scenario("retry_interval = 120", &format!("{}{RECEIVER}{rule}", burst(3)));
    let report = honest(&text);
    assert_eq!((report.totals.delivered, report.totals.attempts), (3, 6));
}

#[test]
fn every_way_of_refusing_leads_to_delivery_once_it_is_over() {
    for stage in ["banner", "ehlo", "mail", "rcpt", "data", "body"] {
        let mut ways = vec!["action = \"reset\"", "action = \"close\"", "action = \"stall\""];
        ways.extend(["reply = \"421 4.3.2 Busy\"", "reply = \"450 4.3.2 Busy\""]);
        for way in ways {
            let rule =
                format!("[[receiver.reply]]\nstage = \"{stage}\"\nbefore = \"10m\"\n{way}\n");
            let config = "retry_interval = 300 body_timeout = 60";
            let report = honest(&scenario(config, &format!("{}{RECEIVER}{rule}", burst(3))));
            assert_eq!(report.totals.delivered, 3, "{stage}: {way}");
            assert_eq!(report.end, End::Settled, "{stage}: {way}");
        }
    }
}

#[test]
fn outages_pass() {
    for fault in [
        "what = \"host_down\"\nhow = \"refused\"\n",
        "what = \"host_down\"\nhow = \"blackhole\"\n",
        "what = \"reset\"\n",
    ] {
        let config = "max_outbound_connections = 1 connect_timeout = 30 body_timeout = 30 \
                      rcptto_timeout = 30 mailfrom_timeout = 30 ehlo_timeout = 30 \
                      retry_interval = 60";
        let fault = format!("[[fault]]\nat = \"1s\"\nfor = \"20m\"\nreceiver = \"a\"\n{fault}");
        let report = honest(&scenario(config, &format!("{}{RECEIVER}{fault}", burst(100))));
        assert_eq!(report.totals.delivered, 100, "{fault}");
        let t100 = report.domains[0].t100_s.unwrap();
        assert!(t100 > 1200.0, "{fault}: {t100}");
    }
}

#[test]
fn a_worse_exchange_is_used_while_the_better_is_down() {
    let text = scenario(
        "host_failure_retry = 60",
        "[[traffic]]\nfrom = \"n@brand.test\"\nto = \"a.test\"\nmessages = 600\nover = \"10m\"\n\
         [[receiver]]\nname = \"a\"\ndomains = [\"a.test\"]\n\
         mx = [\"mx1.a.test\", { host = \"mx2.a.test\", preference = 20 }]\n\
         [[fault]]\nat = \"2m\"\nfor = \"3m\"\nwhat = \"host_down\"\nhost = \"mx1.a.test\"\n",
    );
    let (report, records) = records(&text);
    assert_eq!(report.totals.delivered, 600);
    // Only what was in flight when the better one went down is tried again.
    assert!((600..605).contains(&report.totals.attempts), "{}", report.totals.attempts);
    let used = |host: &str| {
        records.iter().any(|record| {
            matches!(&record.event, Event::ConnectionOpened { exchange, .. } if **exchange == *host)
        })
    };
    assert!(used("mx1.a.test") && used("mx2.a.test"));
}

#[test]
fn connections_beyond_a_limit_are_refused_and_reported() {
    let limit = "[[receiver.limit]]\nwhat = \"connections\"\nmax = 2\n\
                 reply = \"421 4.7.0 Too many connections\"\n";
    let config = "max_outbound_connections = 10";
    let expect = "[[expect]]\nnever = \"replies > 0\"\nreply = \"421*\"\ndomain = \"a.test\"\n";
    let report = honest(&scenario(config, &format!("{}{RECEIVER}{limit}{expect}", burst(200))));
    let by = report.expectations[0].broken_by.as_deref().unwrap_or("");
    assert!(by.contains("set aside by default until") && by.contains("421 4.7.0"), "{by}");
    let domain = &report.domains[0];
    assert_eq!(domain.delivered, 200);
    let refused = domain.replies.iter().find(|reply| reply.reply.starts_with("421"));
    assert!(refused.is_some(), "{:?}", domain.replies);
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let rule = "[[receiver.reply]]\nstage = \"rcpt\"\nprobability = 0.3\nreply = \"450 4.2.1 L\"\n";
    let jittery = RECEIVER.replace("latency", "jitter = \"9ms\"\nlatency");
    let text = scenario("", &format!("{}{jittery}{rule}", burst(200)));
    let hash = |seed| {
        let options = RunOptions { seed: Some(seed), ..RunOptions::default() };
        let outcome = play_with(&text, options);
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
        (outcome.report.trace_hash, outcome.report.to_json())
    };
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7).0, hash(8).0);
}

#[test]
fn time_and_interruptions_end_a_run_with_what_there_is() {
    let rule = "[[receiver.reply]]\nstage = \"rcpt\"\nreply = \"450 4.2.1 Later\"\n";
    let text = scenario("", &format!("{}{RECEIVER}{rule}", burst(2)));
    let until = RunOptions { until: Some(Duration::from_secs(60)), ..RunOptions::default() };
    let outcome = play_with(&text, until);
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    let (report, domain) = (&outcome.report, &outcome.report.domains[0]);
    assert_eq!((report.end, report.simulated_s), (End::TimeOver, 60.0));
    assert_eq!((domain.pending, domain.deferred_now), (2, 2));
    assert_eq!(domain.pending_because.as_deref(), Some("delayed, the first until 00:20:00.160"));

    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupt);
    let progress: ProgressSink = Box::new(move |_| flag.store(true, Ordering::Relaxed));
    let text = scenario("", &format!("{}{RECEIVER}", burst(5000)));
    let options = RunOptions { interrupt, progress: Some(progress), ..RunOptions::default() };
    let outcome = play_with(&text, options);
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    assert_eq!(outcome.report.end, End::Interrupted);
    assert!(outcome.report.totals.pending > 0);
}

#[test]
fn a_failed_expectation_names_the_event_that_broke_it() {
    let rule = "[[receiver.reply]]\nstage = \"rcpt\"\nrecipient = \"user3@*\"\n\
                reply = \"550 5.1.1 No such user\"\n";
    let expect = "[[expect]]\nthat = \"bounced == 0\"\n[[expect]]\nthat = \"delivered == 9\"\n";
    let report = honest(&scenario("", &format!("{}{RECEIVER}{rule}{expect}", burst(10))));
    let [broken, held] = &report.expectations[..] else { panic!() };
    assert_eq!((broken.passed, held.passed), (Some(false), Some(true)));
    assert_eq!(report.failed_expectations(), 1);
    let by = broken.broken_by.as_deref().unwrap();
    assert!(by.contains("user3@a.test bounced at RCPT TO: 550 5.1.1"), "{by}");
}

/// The chain back from what broke the only expectation.
fn chain(config: &str, rest: &str, expect: &str) -> String {
    let rest = format!("{rest}[[expect]]\nthat = \"{expect}\"\n");
    let report = honest(&scenario(config, &rest));
    let [broken] = &report.expectations[..] else { panic!() };
    assert_eq!(broken.passed, Some(false), "{}", broken.actual);
    broken.because.join("\n")
}

#[test]
fn a_failed_expectation_tells_what_led_to_it() {
    let receiver = format!("{}{RECEIVER}", burst(1));
    let fault =
        |rest: &str| format!("{receiver}[[fault]]\nat = \"0s\"\nfor = \"20m\"\nwhat = \"{rest}\n");
    let tls = "tls = ifavailable tls_ifavailable_fallback = true";
    let refusing = format!("{receiver}[receiver.tls]\nanswer = \"454 4.7.0 No\"\n");
    let off =
        fault("starttls_off\"\nreceiver = \"a\"").replace("[[fault", "[receiver.tls]\n[[fault");
    let silent = fault("host_down\"\nreceiver = \"a\"\nhow = \"blackhole\"");
    let unnamed = fault("dns_failure\"\ndomain = \"a.test\"");
    let reset = fault("reset\"\nreceiver = \"a\"");
    let crash = restart("100ms", "5m").replace("restart", "crash");
    let chains = [
        chain(tls, &refusing, "plaintext == 0"),
        chain(tls, &off, "plaintext == 0"),
        chain("mx_failures_to_delay = 1 connect_timeout = 30", &silent, "t100 <= 1m"),
        chain("retry_interval = 600", &unnamed, "t100 <= 1m"),
        chain("host_failure_retry = 60", &reset, "t100 <= 1m"),
        chain("", &format!("{receiver}{crash}"), "t100 <= 1m"),
        chain(
            "max_outbound_connections = 4",
            &receiver.replace("= 1\n", "= 200\n"),
            "peak_connections <= 3",
        ),
    ];
    insta::assert_snapshot!(chains.join("\n\n"), @r#"
      tls = ifavailable (set in global)
      tls_ifavailable_fallback = true (set in global)
    00:00:00.160  no TLS on connection 2 to mx.a.test [198.18.0.1]: 451 4.7.5 no go-ahead for STARTTLS: 454 4.7.0 No; the mail goes in clear until 00:02:00.160
    00:00:00.000  accepted

      the exchange did not offer STARTTLS
      tls = ifavailable (set in global)
      fault: starttls_off of receiver a from 00:00:00.000 to 00:20:00.000
    00:00:00.000  accepted

    00:00:30.000  1 recipients of default/a.test delayed: 421 4.4.0 no exchange of the domain could be reached
    00:00:30.000  mx.a.test [198.18.0.1] set aside by default until 00:02:30.000: 451 4.4.1 connection timed out
      host_failure_retry = 120 (built in)
      fault: host_down of receiver a from 00:00:00.000 to 00:20:00.000
    00:00:30.000  connection 2 to mx.a.test [198.18.0.1] failed: connection timed out
      connect_timeout = 30 (set in global)
    00:00:00.000  accepted

    00:10:00.000  1 recipients of default/a.test delayed: 451 4.4.3 domain look-up failed: SERVFAIL
      fault: dns_failure of name a.test from 00:00:00.000 to 00:20:00.000
    00:10:00.000  MX a.test failed: ServFail
    00:00:00.000  accepted

    00:15:00.000  1 recipients of default/a.test delayed: 421 4.4.0 no exchange of the domain could be reached
    00:14:01.200  mx.a.test [198.18.0.1] set aside by default until 00:15:01.200: 451 4.4.2 connection closed by remote host
      host_failure_retry = 60 (set in global)
      fault: reset of receiver a from 00:00:00.000 to 00:20:00.000
    00:00:00.000  accepted

    00:05:00.220  the attempt begins, 5m after it was due
      event: crash at 00:00:00.100, no process for 5m
      what it waited for: --why a.test --at 1s
    00:00:00.000  accepted

      max_outbound_connections = 4 (set in global)
    "#);
}

/// Receivers that refuse at random at every stage, with outages: whatever happens, no law is
/// broken and every recipient comes to an end.
#[test]
fn no_law_is_broken_in_a_hostile_world() {
    let mut rules = String::new();
    for stage in ["banner", "ehlo", "mail", "rcpt", "data", "body"] {
        for (way, probability) in [
            ("reply = \"450 4.3.2 Later\"", 0.05),
            ("reply = \"421 4.3.2 Busy\"", 0.03),
            ("reply = \"554 5.7.1 No\"", 0.02),
            ("action = \"reset\"", 0.02),
            ("action = \"close\"", 0.02),
            ("action = \"stall\"", 0.01),
        ] {
            rules.push_str(&format!(
                "[[receiver.reply]]\nstage = \"{stage}\"\nprobability = {probability}\n{way}\n"
            ));
        }
    }
    rules.push_str(
        "[[receiver.reply]]\nstage = \"body\"\nprobability = 0.1\naction = \"reset\"\n\
         keeps_message = true\n",
    );
    let text = scenario(
        "retry_interval = 120 max_retry_interval = 3600 max_outbound_connections = 3 \
         max_deliveries_per_connection = 7 max_recipients_per_batch = 2 body_timeout = 60 \
         ehlo_timeout = 20 mailfrom_timeout = 20 rcptto_timeout = 20 connect_timeout = 20",
        &format!(
            "[[traffic]]\nfrom = \"n{{n}}@brand.test\"\nto = {{ \"a.test\" = 2, \"b.test\" = 1 }}\n\
             messages = 150\nover = \"30m\"\nshape = \"poisson\"\n\
             size = {{ min = \"100B\", max = \"70KB\" }}\nrecipients = {{ min = 1, max = 4 }}\n\
             eight_bit = true\n\
             [[receiver]]\nname = \"a\"\ndomains = [\"a.test\"]\njitter = \"15ms\"\n\
             mx = [\"mx1.a.test\", \"mx2.a.test\", {{ host = \"mx3.a.test\", preference = 20 }}]\n\
             {rules}\
             [[receiver]]\nname = \"b\"\ndomains = [\"b.test\"]\nextensions = []\n\
             [[receiver.limit]]\nwhat = \"messages\"\nmax = \"1/10s\"\nreply = \"451 4.7.1 Slow\"\n\
             [[fault]]\nat = \"5m\"\nfor = \"10m\"\nwhat = \"host_down\"\nhow = \"blackhole\"\n\
             host = \"mx1.a.test\"\n\
             [[fault]]\nat = \"20m\"\nfor = \"5m\"\nwhat = \"host_down\"\nreceiver = \"a\"\n\
             [[fault]]\nat = \"12m\"\nwhat = \"reset\"\nreceiver = \"b\"\n\
             [[fault]]\nat = \"15m\"\nfor = \"10m\"\nwhat = \"dns_failure\"\nhow = \"timeout\"\n\
             receiver = \"b\"\n"
        ),
    );
    for seed in 0..6 {
        let outcome = play_with(&text, RunOptions { seed: Some(seed), ..RunOptions::default() });
        if let Some(failure) = outcome.failure {
            panic!("seed {seed}: {failure}");
        }
        let report = outcome.report;
        assert_eq!((report.end, report.totals.pending), (End::Settled, 0), "seed {seed}");
        assert!(report.totals.delivered > report.totals.accepted / 2, "seed {seed}");
    }
}

/// An event that restarts the process.
fn restart(at: &str, down: &str) -> String {
    format!("[[event]]\nat = \"{at}\"\nwhat = \"restart\"\nfor = \"{down}\"\n")
}

#[test]
fn a_transaction_that_a_restart_breaks_off_is_done_again() {
    // The receiver takes the message and answers a minute later, when nobody is there to hear it.
    let slow = "[[receiver.reply]]\nstage = \"body\"\nreply = \"250 2.0.0 Ok\"\n\
                delay = \"60s\"\nbefore = \"1m\"\n";
    let rest = format!("{}{RECEIVER}{slow}{}", burst(3), restart("5s", "100s"));
    let (report, records) = records(&scenario("max_outbound_connections = 1", &rest));
    assert_eq!(fates(&report.domains[0]), (3, 0, 0, 0));
    assert_eq!((report.domains[0].accepted, report.end), (3, End::Settled));
    // Ten seconds of grace, then a hundred without a process.
    assert_eq!(attempts(&records), [115, 115, 115]);
    let received = |record: &&Record| matches!(record.event, Event::Reception { .. });
    assert_eq!(records.iter().filter(received).count(), 6);
    let opened = records.iter().filter(|one| matches!(one.event, Event::ConnectionOpened { .. }));
    let closed = records.iter().filter(|one| matches!(one.event, Event::ConnectionClosed { .. }));
    assert_eq!(opened.count(), closed.count());
}

/// A crash at any instant of a burst: whatever was under way is done again, and what a receiver has
/// twice it has because nobody heard its answer.
#[test]
fn a_crash_loses_nothing_whenever_it_comes() {
    let receiver = RECEIVER.replace("latency = \"20ms\"", "latency = \"50ms\"");
    for twentieths in 0..12 {
        let crash = restart(&format!("{}ms", twentieths * 50), "3s").replace("restart", "crash");
        let traffic = "[[traffic]]\nfrom = \"n@brand.test\"\nto = \"a.test\"\n\
                       messages = 200\nover = \"400ms\"\nrecipients = { min = 1, max = 3 }\n";
        let rest = format!("{traffic}{receiver}jitter = \"9ms\"\n{crash}");
        let report = honest(&scenario("max_outbound_connections = 5", &rest));
        let domain = &report.domains[0];
        assert_eq!((domain.delivered, report.end), (domain.accepted, End::Settled));
        assert!(domain.accepted >= 200, "{}", domain.accepted);
    }
}

#[test]
fn clients_use_tls_where_a_listener_offers_it() {
    let received = |listener: &str| {
        let text = format!(
            "title = \"t\"\nhorizon = \"1d\"\nconfig_text = \"\"\"\n\
             esmtp_listener {{ open_relay = true\n{listener}\nlisten \"10.9.1.1:25\" {{ }} }}\n\
             \"\"\"\n[[receiver]]\nname = \"r\"\ndomains = [\"r.example\"]\n\
             [[traffic]]\nfrom = \"a@brand.example\"\nto = \"r.example\"\nmessages = 3\n\
             through = \"listener\"\n"
        );
        let (report, records) = records(&text);
        let secured = |record: &&Record| matches!(record.event, Event::ClientSecured { .. });
        (report.totals.delivered, records.iter().filter(secured).count())
    };
    let offered = "tls_certificate = \"/in.pem\"\nsmtp_extensions = ( \"STARTTLS\" )";
    let demanded = format!("{offered}\ntls_client_ca = \"/ca.pem\"\ntls_verify_mode = require");
    assert_eq!(received(""), (3, 0));
    assert_eq!(received(offered), (3, 3));
    assert_eq!(received(&demanded), (3, 3));
}

/// Through a listener, over restarts and crashes, with recipients that are refused: everything that
/// a client was told is taken comes to its receiver, byte for byte.
#[test]
fn what_comes_through_a_listener_survives_like_anything_else() {
    let config = "max_outbound_connections = 3 max_recipients_per_batch = 2\n\
                  esmtp_listener { listen \"127.0.0.1:2525\" { open_relay = true } }";
    for tenths in 0..8 {
        let crash = restart(&format!("{}ms", 40 + tenths * 100), "3s").replace("restart", "crash");
        let traffic = "[[traffic]]\nfrom = \"n@brand.test\"\nto = [\"a.test\"]\neight_bit = true\n\
                       messages = 60\nover = \"700ms\"\nrecipients = { min = 1, max = 3 }\n\
                       through = \"listener\"\n";
        let receiver = format!(
            "{RECEIVER}[[receiver.reply]]\nstage = \"rcpt\"\n\
                                reply = \"450 4.2.0 Later\"\nprobability = 0.2\n"
        );
        let rest = format!("{traffic}{receiver}{crash}{}", restart("30s", "5s"));
        let report = honest(&scenario(config, &rest));
        let domain = &report.domains[0];
        assert_eq!((domain.delivered, report.end), (domain.accepted, End::Settled));
        assert!(report.totals.messages >= 60, "{}", report.totals.messages);
    }
}

#[test]
fn a_run_may_end_while_there_is_no_process() {
    let rest = format!("{}{RECEIVER}{}", burst(3), restart("0s", "2d"));
    let options = RunOptions { until: Some(Duration::from_secs(600)), ..RunOptions::default() };
    let outcome = play_with(&scenario("suspend_delivery = true", &rest), options);
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    assert_eq!(outcome.report.end, End::TimeOver);
}

#[test]
fn reloads_restarts_and_crashes_at_any_moment_break_no_law() {
    let configs = [
        "max_outbound_connections = 2 retry_interval = 30",
        "binding \"bulk\" { max_deliveries_per_connection = 1 } retry_interval = 50",
        "server_max_outbound_connections = 1 binding \"bulk\" { retry_interval = 20 }",
        "domain \"a.test\" { gateway = \"b.test\" } binding \"bulk\" { }",
        "outbound_throttle_messages = \"7/20\" max_recipients_per_batch = 1",
        "outbound_throttle_messages = \"9/60\" binding \"bulk\" { }",
    ];
    for seed in 0..6_u64 {
        let mut rest = format!("{RECEIVER}jitter = \"30ms\"\n");
        rest += "[[receiver.reply]]\nstage = \"rcpt\"\nreply = \"451 4.3.0 Later\"\n\
                 probability = 0.3\n";
        rest += "[[receiver]]\nname = \"b\"\ndomains = [\"b.test\"]\n";
        rest += "[[traffic]]\nfrom = \"n@brand.test\"\nto = [\"a.test\", \"b.test\"]\n\
                 messages = 60\nover = \"4m\"\nbinding = \"bulk\"\n\
                 recipients = { min = 1, max = 3 }\n";
        for step in 1..8 {
            let at = step * 40 - (seed * 7 + step * step) % 40;
            rest += &match (seed + step) % 4 {
                0 => restart(&format!("{at}s"), "9s"),
                1 => restart(&format!("{at}.{:03}s", seed * 83), "7s").replace("restart", "crash"),
                _ => format!(
                    "[[event]]\nat = \"{at}s\"\nwhat = \"reload\"\nconfig_text = '''{}'''\n",
                    configs[(seed * 3 + step) as usize % configs.len()]
                ),
            };
        }
        let text = scenario("binding \"bulk\" { }", &rest);
        let outcome = play_with(&text, RunOptions { seed: Some(seed), ..RunOptions::default() });
        if let Some(failure) = outcome.failure {
            panic!("seed {seed}: {failure}");
        }
        assert_eq!(outcome.report.end, End::Settled, "seed {seed}");
    }
}

/// Somebody who is next door and refuses at once, and nobody who waits for anything.
#[test]
fn time_goes_on_where_nothing_takes_any() {
    let outcome = play(
        r#"
        title = "Next door"
        horizon = "1h"
        config_text = "host_failure_retry = 0 mx_failures_to_delay = 0"
        dns = { latency = "0s" }

        [[traffic]]
        from = "a@brand.example"
        to = "door.example"
        messages = 3

        [[receiver]]
        name = "door"
        domains = ["door.example"]
        latency = "0s"

        [[fault]]
        at = "0s"
        for = "10m"
        what = "host_down"
        receiver = "door"
        "#,
    );
    assert_eq!(outcome.failure, None);
    assert_eq!(outcome.report.totals.delivered, 3);
}
