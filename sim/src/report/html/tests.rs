//! What the page holds.

use super::*;
use crate::report::text::tests::report;
use crate::report::{Happening, HappeningKind, ReceiverReport};

#[test]
fn the_page_needs_nothing_and_is_the_same_each_time() {
    let report = report();
    let page = render(&report);
    assert_eq!(page, render(&report));
    for outside in ["http:", "https:", "<script", "<link", "<img", "url(", "@import", "<iframe"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for shown in [
        "<title>A small run</title>",
        "1 of 2 expectations did not hold",
        "broken at 20m1s by: message 2 to x@a.test delivered: 250 Ok",
        "451 4.7.1 Greylisted, please try again",
        "at most 1 of 32 allowed",
        "traject sim small.toml --seed 7",
        "0000000000000000000000000000abcd",
        "seed 7",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
}

#[test]
fn whatever_it_is_called_it_is_no_markup() {
    const HOSTILE: &str = "<script>alert(1)</script>\"'&";
    let mut report = report();
    report.title = HOSTILE.to_owned();
    report.scenario = HOSTILE.to_owned();
    report.config = HOSTILE.to_owned();
    report.replay = HOSTILE.to_owned();
    report.domains[0].domain = HOSTILE.to_owned();
    report.domains[0].receiver = Some(HOSTILE.to_owned());
    report.domains[0].pending_because = Some(HOSTILE.to_owned());
    report.domains[0].replies[1].reply = HOSTILE.to_owned();
    report.domains[0].failures[0].reply = HOSTILE.to_owned();
    report.domains[0].waits[0].detail = HOSTILE.to_owned();
    report.expectations[1].expectation = HOSTILE.to_owned();
    report.expectations[1].actual = HOSTILE.to_owned();
    report.expectations[1].broken_by = Some(HOSTILE.to_owned());
    report.expectations[1].because = vec![format!("  {HOSTILE}")];
    report.receivers = vec![ReceiverReport {
        receiver: HOSTILE.to_owned(),
        profile: Some(HOSTILE.to_owned()),
        drawn: Vec::new(),
    }];
    let (from_s, to_s) = (0.0, 10.0);
    report.happenings =
        vec![Happening { kind: HappeningKind::Fault, from_s, to_s, what: HOSTILE.to_owned() }];
    let page = render(&report);
    let clean = render(&{
        let mut clean = report.clone();
        clean.title = String::new();
        clean
    });
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("\"'&"));
    // Each is there, in a form that is only text.
    let escaped = Escaped(HOSTILE).to_string();
    assert!(page.matches(&escaped).count() >= 18, "{}", page.matches(&escaped).count());
    assert_eq!(page.matches(&escaped).count() - clean.matches(&escaped).count(), 2);
}

#[test]
fn more_receivers_than_colours_are_taken_together() {
    let mut report = report();
    let one = report.domains.remove(0);
    for n in 0..60_u64 {
        let mut domain = one.clone();
        domain.domain = format!("d{n}.test");
        domain.receiver = None;
        domain.accepted = 1000 - n;
        report.domains.push(domain);
    }
    let groups = groups(&report.domains);
    assert_eq!(groups.len(), 8);
    assert_eq!(groups[7].name, "53 others");
    assert_eq!(groups.iter().map(|group| group.accepted).sum::<u64>(), (941..=1000).sum::<u64>());
    let page = render(&report);
    assert_eq!(page.matches("<section").count(), 40);
    assert!(page.contains("20 domains with less mail"));
}

#[test]
fn an_empty_run_has_a_page() {
    let mut report = report();
    report.domains.clear();
    report.expectations.clear();
    report.simulated_s = 0.0;
    report.timeline.active.clear();
    let page = render(&report);
    assert!(!page.contains("NaN") && !page.contains("inf"));
    assert!(page.contains("</html>"));
}
