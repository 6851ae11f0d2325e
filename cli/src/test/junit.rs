//! The results as JUnit XML, which every CI server reads.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::verdict::{Tested, Verdict};

/// One suite, with a case for each scenario.
pub(super) fn document(tested: &[Tested], took: Duration) -> anyhow::Result<String> {
    let mut suite = TestSuite::new("scenarios");
    suite.set_time(took);
    for one in tested {
        let mut case = TestCase::new(one.file.clone(), status(&one.verdict));
        case.set_classname("traject").set_time(one.took);
        suite.add_test_case(case);
    }
    let mut report = Report::new("traject test");
    report.set_time(took).add_test_suite(suite);
    Ok(report.to_string()?)
}

fn status(verdict: &Verdict) -> TestCaseStatus {
    let Some(headline) = verdict.headline() else { return TestCaseStatus::success() };
    // A failure is the tested configuration's, an error somebody else's.
    let kind = match verdict {
        Verdict::Judged(_) => NonSuccessKind::Failure,
        Verdict::Broken { .. } | Verdict::Unusable { .. } | Verdict::Panicked => {
            NonSuccessKind::Error
        }
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(headline).set_description(verdict.story());
    status
}
