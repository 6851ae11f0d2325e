//! What a scenario has happen, in a few words each: faults, events, receivers that behave
//! differently for a while.

use std::time::Duration;

use crate::event::EventKind;
use crate::receiver::spec::ReceiverSpec;
use crate::report::{Happening, HappeningKind};
use crate::scenario::Scenario;

/// Everything up to `end`, in order of time.
pub(super) fn happenings(scenario: &Scenario, end: Duration) -> Vec<Happening> {
    let mut all = Vec::new();
    for fault in &scenario.faults {
        let until = fault.at + fault.length;
        all.push((HappeningKind::Fault, fault.at, until, fault.to_string()));
    }
    for event in &scenario.events {
        let until = event.at + event_length(&event.what);
        all.push((HappeningKind::Event, event.at, until, event.what.words()));
    }
    for receiver in &scenario.receivers {
        all.extend(phases(receiver));
    }
    all.retain(|(_, from, ..)| *from <= end);
    all.sort_by_key(|(kind, from, ..)| (*from, *kind));
    let happening = |(kind, from, to, what): (HappeningKind, Duration, Duration, String)| {
        Happening { kind, from_s: from.as_secs_f64(), to_s: to.min(end).as_secs_f64(), what }
    };
    all.into_iter().map(happening).collect()
}

fn event_length(what: &EventKind) -> Duration {
    match what {
        EventKind::Reload(_) => Duration::ZERO,
        EventKind::Restart { down } | EventKind::Crash { down } | EventKind::PowerCut { down } => {
            *down
        }
        EventKind::Control { length, .. } => length.unwrap_or_default(),
    }
}

/// When a receiver answers otherwise than at the start and in the end.
fn phases(
    receiver: &ReceiverSpec,
) -> impl Iterator<Item = (HappeningKind, Duration, Duration, String)> {
    let limited = |window: &std::ops::Range<Duration>| {
        window.start > Duration::ZERO || window.end < Duration::MAX
    };
    let rules = receiver.rules.iter().filter(move |rule| limited(&rule.window));
    rules.map(|rule| {
        let place = rule.exchange.as_ref().map(|host| format!(" at {}", host.as_str()));
        let what = format!("{}{} {}", receiver.name, place.unwrap_or_default(), rule.response);
        (HappeningKind::Receiver, rule.window.start, rule.window.end, what)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario;

    #[test]
    fn faults_events_and_moods_in_order() {
        let text = r#"
            title = "Much happens"
            horizon = "3h"
            config_text = ""
            [[traffic]]
            from = "a@brand.example"
            to = "a.example"
            messages = 1
            [[receiver]]
            name = "a"
            domains = ["a.example"]
            mx = [{ host = "mx.a.example", addresses = ["198.51.100.1"] }]
            [[receiver.reply]]
            stage = "rcpt"
            exchange = "mx.*"
            reply = "451 4.3.0 Busy"
            after = "30m"
            before = "40m"
            [[receiver.reply]]
            stage = "rcpt"
            recipient = "nobody@*"
            reply = "550 5.1.1 No"
            [[fault]]
            at = "1h"
            for = "5h"
            what = "host_down"
            how = "blackhole"
            receiver = "a"
            [[fault]]
            at = "10m"
            for = "1m"
            what = "dns_failure"
            domain = "a.example"
            [[event]]
            at = "20m"
            what = "reload"
            config_text = ""
            [[event]]
            at = "50m"
            what = "restart"
            for = "2m"
            [[event]]
            at = "55m"
            what = "suspend"
            domain = "A.example"
            for = "5m"
            [[event]]
            at = "150m"
            what = "restart"
        "#;
        let scenario = scenario::parse(Path::new("much.toml"), text).unwrap();
        let all = happenings(&scenario, Duration::from_secs(7200));
        let told: Vec<_> =
            all.iter().map(|one| (one.from_s / 60.0, one.to_s / 60.0, one.what.as_str())).collect();
        assert_eq!(
            told,
            [
                (10.0, 11.0, "dns_failure of name a.example"),
                (20.0, 20.0, "reload"),
                (30.0, 40.0, "a at mx.* says 451 4.3.0 Busy"),
                (50.0, 52.0, "restart"),
                (55.0, 60.0, "suspend of mail to a.example"),
                (60.0, 120.0, "host_down of receiver a"),
            ]
        );
    }
}
