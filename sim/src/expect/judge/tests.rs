//! What expectations make of a stream of records.

use traject_engine::smtp::stage::Stage;

use super::*;
use crate::counts::PairFinder;
use crate::expect::Scope;
use crate::glob::Glob;
use crate::test_records::{
    START, at, closed, deferral, delivery, opened, reception, reply, with_teller,
};

/// One message of two recipients, the first greylisted and then delivered, the second pending.
fn stream() -> Vec<Record> {
    vec![
        reception(0, 2, &["x@a.test", "y@b.test"]),
        opened(1, 2, 1, 1),
        deferral(1, 1, Stage::RcptTo, reply("451 4.7.1 Greylisted"), 601),
        opened(601, 4, 1, 2),
        delivery(601, 2),
        closed(602, 4, 1),
    ]
}

fn expectation(when: When, condition: &str, scope: Scope, reply: Option<&str>) -> Expectation {
    let condition = Condition::parse(condition).unwrap();
    let (reply, window, since) = (reply.map(Glob::new), None, None);
    Expectation { when, condition, scope, reply, window, since, line: 1 }
}

fn finish(judge: ExpectationJudge, complete: bool) -> Vec<ExpectationResult> {
    with_teller(|teller| judge.finish(at(700), complete, teller))
}

fn judge(expectation: Expectation) -> ExpectationResult {
    let mut judge = ExpectationJudge::new(START, &[expectation]);
    let mut pairs = PairFinder::default();
    for record in stream() {
        judge.record(&record, pairs.find(&record.event), None, &[]);
    }
    finish(judge, true).pop().unwrap()
}

fn everywhere(when: When, condition: &str) -> ExpectationResult {
    judge(expectation(when, condition, Scope::default(), None))
}

fn seconds(n: u64) -> When {
    When::By(Duration::from_secs(n))
}

#[test]
fn conditions_hold_when_they_must() {
    for (when, condition, passed, actual) in [
        (When::AtEnd, "delivered == 1", true, "delivered = 1"),
        (When::AtEnd, "delivered >= 50%", true, "delivered = 1 of 2 (50.00%)"),
        (When::AtEnd, "delivered >= 51%", false, "delivered = 1 of 2 (50.00%)"),
        (seconds(600), "delivered == 0", true, "delivered = 0"),
        (seconds(601), "delivered == 1", true, "delivered = 1"),
        (seconds(600), "delivered == 1", false, "delivered = 0"),
        (When::AtEnd, "pending == 1", true, "pending = 1"),
        (When::AtEnd, "deferrals == 1", true, "deferrals = 1"),
        (When::AtEnd, "attempts == 3", true, "attempts = 3"),
        (When::AtEnd, "attempts_per_recipient < 2", true, "attempts_per_recipient = 1.500"),
        (When::AtEnd, "connections == 1", true, "connections = 1"),
        (When::AtEnd, "peak_connections == 2", true, "peak_connections = 2"),
        (When::AtEnd, "connections_opened == 2", true, "connections_opened = 2"),
        (When::Always, "connections <= 1", false, "connections = 2"),
        (When::Never, "connections > 2", true, "connections = 1"),
        (When::AtEnd, "t50 <= 10m", false, "t50 = 10m1s"),
        (When::AtEnd, "t50 <= 11m", true, "t50 = 10m1s"),
        (When::AtEnd, "t100 <= 11m", false, "t100 = not reached"),
        (When::AtEnd, "t100 > 11m", true, "t100 = not reached"),
    ] {
        let result = everywhere(when, condition);
        assert_eq!(
            (result.passed, &*result.actual),
            (Some(passed), actual),
            "{condition} {when:?}"
        );
    }
}

#[test]
fn windows_hold_what_is_less_than_their_length_apart() {
    let in_window = |condition: &str, window| {
        let mut one = expectation(When::Always, condition, Scope::default(), None);
        one.window = Some(Duration::from_secs(window));
        judge(one)
    };
    // The connections are opened at 1 s and 601 s.
    assert_eq!(in_window("connections_in_window <= 1", 600).passed, Some(true));
    let broken = in_window("connections_in_window <= 1", 601);
    assert_eq!((broken.passed, broken.broken_at_s), (Some(false), Some(601.0)));
    assert_eq!(broken.expectation, "always connections_in_window <= 1, window 10m1s");
    assert_eq!(in_window("deliveries_in_window <= 1", 9999).actual, "deliveries_in_window = 1");
    // The second attempt of a recipient of whom nobody knew the first is two.
    assert_eq!(in_window("attempts_in_window <= 2", 600).actual, "attempts_in_window = 2");
    assert_eq!(in_window("attempts_in_window <= 2", 601).actual, "attempts_in_window = 3");
}

#[test]
fn a_herd_is_judged_at_the_end_and_blamed_on_its_fullest_minute() {
    let herd = |condition: &str, since| {
        let mut one = expectation(When::AtEnd, condition, Scope::default(), None);
        one.since = Some(Duration::from_secs(since));
        one.window = Some(Duration::from_secs(1200));
        judge(one)
    };
    // One attempt at 1 s, two at 601 s: 2 in the fullest of 20 minutes, 3 in all.
    let broken = herd("herd_index <= 13.3", 0);
    assert_eq!((broken.passed, &*broken.actual), (Some(false), "herd_index = 13.333"));
    assert_eq!(broken.broken_at_s, Some(601.0));
    assert_eq!(broken.expectation, "herd_index <= 13.3, window 20m since 0s");
    assert_eq!(herd("herd_index <= 13.4", 0).passed, Some(true));
    assert_eq!(herd("herd_index == 20", 2).passed, Some(true));
    assert_eq!(herd("herd_index == 0", 602).passed, Some(true));
}

#[test]
fn our_own_addresses_choose_what_is_counted() {
    let from = |condition: &str, source: &str| {
        let sources = Some(vec![source.parse().unwrap()]);
        let scope = Scope { sources, ..Scope::default() };
        judge(expectation(When::AtEnd, condition, scope, None)).passed == Some(true)
    };
    // Every connection goes from 192.0.2.1; the second is closed.
    assert!(from("peak_connections == 2", "192.0.2.1"));
    assert!(from("connections == 1", "192.0.2.0/24"));
    assert!(from("peak_connections == 0", "192.0.2.2"));
    assert!(from("delivered == 1", "192.0.2.1"));
    assert!(from("attempts == 0", "192.0.2.2"));
}

#[test]
fn scopes_and_replies_choose_what_is_counted() {
    let of = |domain: &str| Scope {
        label: String::new(),
        domains: Some(vec![domain.into()]),
        ..Scope::default()
    };
    let passes = |condition, scope, reply| {
        judge(expectation(When::AtEnd, condition, scope, reply)).passed == Some(true)
    };
    assert!(passes("delivered == 100%", of("a.test"), None));
    assert!(passes("accepted == 1", of("b.test"), None));
    assert!(passes("delivered == 0", of("b.test"), None));
    assert!(passes("replies == 1", of("a.test"), Some("451 *greylist*")));
    assert!(passes("replies == 2", of("a.test"), Some("*")));
    assert!(passes("replies == 0", Scope::default(), Some("5*")));
}

#[test]
fn a_broken_expectation_names_the_first_event_that_broke_it() {
    let broken =
        |result: ExpectationResult| (result.broken_at_s, result.broken_by.unwrap_or_default());
    let (when, by) = broken(everywhere(When::Always, "connections <= 1"));
    assert_eq!(when, Some(601.0));
    assert_eq!(by, "connection 4 opened to mx1.a.test [198.18.0.1], 2 of default/a.test");
    let (when, by) = broken(everywhere(When::AtEnd, "deferrals == 0"));
    assert_eq!(when, Some(1.0));
    assert!(by.contains("451 4.7.1 Greylisted"), "{by}");
    let (when, by) = broken(everywhere(When::AtEnd, "t50 <= 10m"));
    assert_eq!(when, Some(601.0));
    assert!(by.contains("delivered"), "{by}");
    // Mail that came and is not delivered: it is asked what it waits for.
    let waiting = everywhere(When::AtEnd, "pending == 0");
    assert_eq!(waiting.because, ["what mail waits for then: --why a.test --at 11m40s"]);
    // What never came true was broken by no event: it is the deadline that counts.
    assert_eq!(broken(everywhere(seconds(600), "delivered == 1")), (Some(600.0), String::new()));
    assert_eq!(broken(everywhere(When::AtEnd, "delivered == 1")), (None, String::new()));
}

#[test]
fn what_is_about_a_later_time_than_the_end_is_not_judged() {
    let cut = |when, condition| {
        let expectation = expectation(when, condition, Scope::default(), None);
        let mut judge = ExpectationJudge::new(START, &[expectation]);
        for record in stream() {
            judge.record(&record, None, None, &[]);
        }
        finish(judge, false).pop().unwrap().passed
    };
    assert_eq!(cut(seconds(600), "accepted == 2"), Some(true));
    assert_eq!(cut(seconds(600), "accepted == 3"), Some(false));
    assert_eq!(cut(seconds(800), "accepted == 2"), None);
    assert_eq!(cut(When::AtEnd, "accepted == 2"), None);
    assert_eq!(cut(When::Always, "accepted <= 2"), None);
    assert_eq!(cut(When::Always, "accepted < 2"), Some(false));
}
