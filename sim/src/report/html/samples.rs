//! The page of several runs of one scenario with different seeds: how far the numbers spread.

use std::fmt::Write as _;

use super::chart::{Chart, EndLabel, Frame};
use super::markup::Escaped;
use super::scale::Scale;
use super::{end, figure, head, share};
use crate::bands::Band;
use crate::report::timeline::Timeline;
use crate::report::{DomainReport, Report};

/// What is said of the runs.
#[derive(Debug)]
pub struct SamplesPage<'a> {
    /// What they are called.
    pub title: &'a str,
    /// How many, and of what.
    pub about: String,
    /// How to make them again.
    pub replay: String,
    /// Those parts of the mail that have a section.
    pub parts: Vec<SamplesPart<'a>>,
    /// Each expectation, how many runs kept it, and what else there is to say.
    pub expectations: Vec<[String; 3]>,
}

/// A part of the mail.
#[derive(Debug)]
pub struct SamplesPart<'a> {
    /// What it is called.
    pub title: &'a str,
    /// Its domain; `None` for all of them.
    pub domain: Option<&'a str>,
    /// The name of a number, 5 %, the median, 95 %.
    pub numbers: Vec<[String; 4]>,
}

/// Renders the page. There is at least one report.
pub fn render_samples(page: &SamplesPage<'_>, reports: &[Report]) -> String {
    let mut html = String::new();
    head(&mut html, page.title);
    let (title, about) = (Escaped(page.title), Escaped(&page.about));
    let _ = writeln!(html, "<h1>{title}</h1>\n<p class=\"sub\">{about}</p>");
    if !page.expectations.is_empty() {
        html.push_str("<h2>Expectations</h2>\n");
        table(&mut html, ["expectation", "kept", ""], &page.expectations);
    }
    for part in &page.parts {
        let _ = writeln!(html, "<h2>{}</h2>", Escaped(part.title));
        let unit = "percent of the recipients accepted: the median, and shaded 5 to 95 percent of \
                    the runs";
        figure(&mut html, "Delivered", unit, |frame| curve(part.domain, reports, frame));
        table(&mut html, ["", "5%", "median", "95%"], &part.numbers);
    }
    let _ = writeln!(html, "<footer>\n<p>Run it again: <code>{}</code></p>", Escaped(&page.replay));
    end(&mut html);
    html
}

fn table<const N: usize>(html: &mut String, heading: [&str; N], rows: &[[String; N]]) {
    html.push_str("<table class=\"table\">\n<thead><tr>");
    for name in heading {
        let _ = write!(html, "<th scope=\"col\">{name}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (name, cell) in heading.iter().zip(row) {
            let _ = write!(html, "<td data-name=\"{name}\">{}</td>", Escaped(cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n");
}

/// What was delivered by when, as a line with a band.
fn curve(domain: Option<&str>, reports: &[Report], frame: Frame) -> String {
    let end_s = reports.iter().map(|report| report.simulated_s).fold(0.0, f64::max);
    let scale = Scale { max: 100.0, step: 25.0 };
    let percent = |tick| format!("{tick}%");
    let mut chart = Chart::new(frame, "Delivered over time", end_s, &scale, percent);
    let points = spread(domain, reports, end_s);
    let of = |rank: fn(&Band) -> Option<f64>| -> Vec<(f64, f64)> {
        points.iter().map(|(at, band)| (*at, rank(band).unwrap_or(0.0))).collect()
    };
    let median = of(|band| band.median);
    chart.area(0, &of(|band| band.p5), &of(|band| band.p95));
    chart.line(0, &median);
    if let (true, Some((_, value))) = (frame.has_end_labels(), median.last()) {
        chart.end_labels(&[EndLabel { series: 0, value: *value, name: "median" }]);
    }
    chart.finish()
}

/// The percentages delivered by the end of each bucket.
fn spread(domain: Option<&str>, reports: &[Report], end_s: f64) -> Vec<(f64, Band)> {
    let runs: Vec<(Timeline, u64)> =
        reports.iter().map(|report| deliveries(domain, report)).collect();
    let Some(width) = runs.iter().map(|(timeline, _)| timeline.width()).max() else {
        return Vec::new();
    };
    let curves: Vec<Vec<f64>> = runs
        .into_iter()
        .map(|(timeline, accepted)| {
            let mut sum = 0;
            let counts = timeline.widened_to(width);
            let sums = counts.counts().iter().map(|count| {
                sum += count;
                share(sum, accepted)
            });
            sums.collect()
        })
        .collect();
    // After its last delivery, a run stays where it is.
    let at =
        |curve: &Vec<f64>, n: usize| curve.get(n).or_else(|| curve.last()).copied().unwrap_or(0.0);
    let band = |n: usize| Band::of(curves.iter().map(|curve| Some(at(curve, n))).collect());
    let longest = curves.iter().map(Vec::len).max().unwrap_or(0);
    let mut points = vec![(0.0, Band::of(vec![Some(0.0)]))];
    points.extend((0..longest).map(|n| (width.as_secs_f64() * (n + 1) as f64, band(n))));
    points.push((end_s, band(longest)));
    points
}

/// When mail was delivered, and how much there was.
fn deliveries(domain: Option<&str>, report: &Report) -> (Timeline, u64) {
    let is_meant = |one: &&DomainReport| domain.is_none_or(|domain| one.domain.as_str() == domain);
    let mut all = Timeline::default();
    let mut accepted = 0;
    for one in report.domains.iter().filter(is_meant) {
        all.add(&Timeline::from_report(&one.timeline));
        accepted += one.accepted;
    }
    (all, accepted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::tests::report;

    fn page(title: &str) -> SamplesPage<'_> {
        let number = ["t95", "1s", "2s", "3s"].map(str::to_owned);
        SamplesPage {
            title,
            about: "2 samples".to_owned(),
            replay: "traject sim x.toml --samples 2".to_owned(),
            parts: vec![SamplesPart {
                title: "a.test",
                domain: Some("a.test"),
                numbers: vec![number],
            }],
            expectations: vec![["bounced == 0", "1 of 2", "broken with seed 2"].map(str::to_owned)],
        }
    }

    #[test]
    fn the_page_needs_nothing_and_whatever_it_is_called_is_no_markup() {
        let html = render_samples(&page("<b>\"Two\"</b>"), &[report(), report()]);
        assert_eq!(html.matches("<svg").count(), 2);
        for shown in ["&lt;b&gt;", "1 of 2", "<td data-name=\"95%\">3s</td>", "--samples 2"] {
            assert!(html.contains(shown), "{shown}");
        }
        for outside in ["<b>", "http:", "https:", "<script", "<link", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.ends_with("</html>\n"));
    }

    #[test]
    fn a_band_begins_at_nothing_and_ends_with_all_that_was_delivered() {
        let mut late = report();
        let domain = &mut late.domains[0];
        let (name, all) = (domain.domain.clone(), domain.accepted);
        domain.timeline.delivered = vec![0, 0, 0, 0, all];
        let mut early = late.clone();
        early.domains[0].timeline.delivered = vec![all];
        let points = spread(Some(&name), &[early, late.clone()], late.simulated_s);
        let band = |n: usize| (points[n].1.p5, points[n].1.p95);
        assert_eq!(band(0), (Some(0.0), Some(0.0)));
        assert_eq!(band(1), (Some(0.0), Some(100.0)));
        assert_eq!(band(points.len() - 1), (Some(100.0), Some(100.0)));
    }
}
