//! Whole runs, small enough to know the answer.

use std::path::Path;

use super::*;
use crate::scenario::{ConfigSource, parse};

/// Runs a scenario whose configuration is inline, checking the engine after every input.
fn play(text: &str) -> Outcome {
    play_with(text, RunOptions::default())
}

fn play_with(text: &str, options: RunOptions) -> Outcome {
    let scenario = parse(Path::new("test.toml"), text).unwrap_or_else(|error| panic!("{error}"));
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

const HEAD: &str = "title = \"T\"\nhorizon = \"2d\"\n";

#[test]
fn plain_mail_is_delivered_in_the_time_a_dialogue_takes() {
    let report = honest(&format!(
        "{HEAD}config_text = \"\"
        [[traffic]]
        from = \"a@brand.test\"
        to = \"a.test\"
        messages = 10
        over = \"10m\"
        [[receiver]]
        name = \"a\"
        domains = [\"a.test\"]
        latency = \"20ms\""
    ));
    assert_eq!(report.end, End::Settled);
    let totals = &report.totals;
    assert_eq!((totals.accepted, totals.delivered, totals.attempts), (10, 10, 10));
    println!("{}", crate::report::text::render(&report, crate::report::text::Style::default()));
}
