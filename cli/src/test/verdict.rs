//! What came of one scenario, and how it is shown.

use std::fmt::Write as _;
use std::time::Duration;

use traject_sim::expect::judge::ExpectationResult;
use traject_sim::report::{End, Report};
use traject_sim::runner::{Failure, FailureKind};
use traject_sim::scenario::units::show_duration;

use crate::error::ErrorKind;

/// One scenario, tested.
pub(super) struct Tested {
    /// The scenario's file.
    pub(super) file: String,
    /// What came of it.
    pub(super) verdict: Verdict,
    /// How long that took.
    pub(super) took: Duration,
}

/// What came of a scenario.
pub(super) enum Verdict {
    /// It ran, and its expectations were judged.
    Judged(Box<Report>),
    /// A law of the engine was broken: a bug of Traject.
    Broken { failure: Failure, replay: String },
    /// The scenario or its configuration is wrong; the findings as they are printed.
    Unusable { findings: String },
    /// Traject panicked outside of the simulated world.
    Panicked,
}

impl Verdict {
    /// What sort of failure it is; `None` when everything held.
    pub(super) fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Judged(report) => {
                unmet(report).next().is_some().then_some(ErrorKind::Expectation)
            }
            Self::Broken { failure, .. } => Some(match failure.kind {
                FailureKind::Violation => ErrorKind::Invariant,
                FailureKind::Stuck => ErrorKind::Stuck,
                FailureKind::Spin => ErrorKind::Spin,
                FailureKind::Panic => ErrorKind::Panic,
            }),
            Self::Unusable { .. } => Some(ErrorKind::Config),
            Self::Panicked => Some(ErrorKind::Panic),
        }
    }

    /// What failed, in one line; `None` when everything held.
    pub(super) fn headline(&self) -> Option<String> {
        match self {
            Self::Judged(report) => {
                let (unmet, all) = (unmet(report).count(), report.expectations.len());
                (unmet > 0).then(|| format!("{unmet} of {all} expectations did not hold"))
            }
            Self::Broken { failure, .. } => Some(failure.what.clone()),
            Self::Unusable { .. } => Some("cannot be used".into()),
            Self::Panicked => Some("Traject panicked".into()),
        }
    }

    /// The whole story of what failed, line by line; empty when everything held.
    pub(super) fn story(&self) -> String {
        let mut story = String::new();
        match self {
            Self::Judged(report) => {
                for result in unmet(report) {
                    tell(&mut story, result);
                }
                if !story.is_empty() {
                    story += &format!("replay: {}\n", report.replay);
                }
            }
            Self::Broken { failure, replay } => {
                story += &format!("{failure}replay: {replay}\n");
            }
            Self::Unusable { findings } => story += findings,
            Self::Panicked => {}
        }
        story
    }
}

/// Expectations that did not hold, or could not be judged because the run ended early.
fn unmet(report: &Report) -> impl Iterator<Item = &ExpectationResult> {
    report.expectations.iter().filter(|result| result.passed != Some(true))
}

fn tell(story: &mut String, result: &ExpectationResult) {
    let ExpectationResult { expectation, line, passed, actual, .. } = result;
    // Unwraps are OK because writing to a String cannot fail.
    writeln!(story, "{expectation} (line {line})").unwrap();
    match passed {
        None => writeln!(story, "  the run ended before this could be judged").unwrap(),
        Some(_) => writeln!(story, "  actual: {actual}").unwrap(),
    }
    if let (Some(at), Some(by)) = (result.broken_at_s, &result.broken_by) {
        let at = show_duration(Duration::from_secs_f64(at));
        writeln!(story, "  broken at {at} by: {by}").unwrap();
    }
    for line in &result.because {
        writeln!(story, "    {line}").unwrap();
    }
}

impl Tested {
    /// The lines a person sees.
    pub(super) fn lines(&self, name_width: usize, colour: bool) -> String {
        let (ink, sign) = match self.verdict.kind() {
            None => ("32", "ok  "),
            Some(_) => ("31;1", "FAIL"),
        };
        let sign = match colour {
            true => format!("\x1b[{ink}m{sign}\x1b[0m"),
            false => sign.into(),
        };
        let what = self.verdict.headline().unwrap_or_else(|| self.good_news());
        let took = self.took.as_secs_f64();
        let mut lines = format!("{sign}  {:<name_width$}  {what} ({took:.1} s)\n", self.file);
        for line in self.verdict.story().trim_end().lines() {
            // Unwrap is OK because writing to a String cannot fail.
            writeln!(lines, "{}", format!("        {line}").trim_end()).unwrap();
        }
        lines
    }

    fn good_news(&self) -> String {
        let Verdict::Judged(report) = &self.verdict else { return String::new() };
        let simulated = Duration::from_secs_f64(report.simulated_s);
        let simulated = show_duration(Duration::from_millis(simulated.as_millis() as u64));
        let held = match report.expectations.len() {
            0 => "nothing expected".to_owned(),
            1 => "1 expectation held".to_owned(),
            n => format!("{n} expectations held"),
        };
        let end = match report.end {
            End::Settled => "settled after",
            End::TimeOver | End::Interrupted | End::Failed => "ran for",
        };
        format!("{held}, {end} {simulated}")
    }
}

/// The last line.
pub(super) fn summary(tested: &[Tested], took: Duration) -> String {
    let failed = tested.iter().filter(|one| one.verdict.kind().is_some()).count();
    let scenarios = match tested.len() {
        1 => "1 scenario".to_owned(),
        n => format!("{n} scenarios"),
    };
    let passed = tested.len() - failed;
    let took = took.as_secs_f64();
    match failed {
        0 => format!("{scenarios}: all passed in {took:.1} s"),
        _ => format!("{scenarios}: {passed} passed, {failed} failed in {took:.1} s"),
    }
}
