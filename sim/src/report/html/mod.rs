//! A report as one HTML file that needs nothing else: no script, no font, no picture from anywhere.
//! The same report gives the same file, byte for byte.

mod chart;
mod domain;
mod markup;
mod samples;
mod scale;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use self::chart::{Chart, EndLabel, Frame};
use self::markup::{Escaped, percent, short_number, time, time_or_dash};
pub use self::samples::{SamplesPage, SamplesPart, render_samples};
use self::scale::Scale;
use super::text::{DRAWN_HEADING, drawn_receivers, grouped, plural};
use super::{DomainReport, End, Report};
use crate::expect::judge::ExpectationResult;

/// Renders a report.
pub fn render(report: &Report) -> String {
    let mut page = Page { html: String::new(), report };
    head(&mut page.html, &report.title);
    page.header();
    page.expectations();
    page.overview();
    page.table();
    page.receivers();
    page.domains();
    page.footer();
    page.html
}

struct Page<'a> {
    html: String,
    report: &'a Report,
}

/// The mail of one receiver over time; several of them together, beyond the first few.
struct Group {
    name: String,
    accepted: u64,
    delivered: Vec<u64>,
}

impl Page<'_> {
    fn header(&mut self) {
        let report = self.report;
        let _ = write!(
            self.html,
            "<h1>{}</h1>\n<p class=\"sub\">{} with {}, seed {}, {} simulated ({})</p>\n",
            Escaped(&report.title),
            Escaped(&report.scenario),
            Escaped(&report.config),
            report.seed,
            time(report.simulated_s),
            match report.end {
                End::Settled => "everything settled",
                End::TimeOver => "the time was over",
                End::Interrupted => "interrupted: these are the numbers of a part",
                End::Failed => "failed: these are the numbers up to the failure",
            }
        );
        self.verdict();
        let totals = &report.totals;
        let tries = totals.attempts as f64 / totals.accepted.max(1) as f64;
        let tiles = [
            (grouped(totals.messages), "messages", true),
            (grouped(totals.accepted), "recipients", true),
            (percent(totals.delivered, totals.accepted), "delivered", true),
            (grouped(totals.bounced), "bounced", totals.bounced > 0),
            (grouped(totals.expired), "expired", totals.expired > 0),
            (grouped(totals.pending), "still pending", totals.pending > 0),
            (grouped(totals.notices.sent()), "notices to senders", totals.notices.sent() > 0),
            (format!("{tries:.2}"), "attempts each", true),
            (grouped(totals.connections), "connections", true),
            (
                grouped(totals.connection_failures),
                "failed to connect",
                totals.connection_failures > 0,
            ),
        ];
        self.html.push_str("<ul class=\"tiles\">\n");
        for (number, what, _) in tiles.iter().filter(|(_, _, shown)| *shown) {
            let _ = writeln!(self.html, "<li><b>{number}</b><span>{what}</span></li>");
        }
        self.html.push_str("</ul>\n");
    }

    fn verdict(&mut self) {
        let (all, failed) = (self.report.expectations.len(), self.report.failed_expectations());
        let judged = self.report.expectations.iter().filter(|one| one.passed.is_some()).count();
        let (class, text) = match (all, failed) {
            (0, _) => return,
            (_, 0) if judged < all => {
                ("good", format!("{judged} of {all} expectations held so far"))
            }
            (1, 0) => ("good", "✓ The expectation held".to_owned()),
            (_, 0) => ("good", format!("✓ All {all} expectations held")),
            (_, failed) => ("bad", format!("✗ {failed} of {all} expectations did not hold")),
        };
        let _ = writeln!(self.html, "<p class=\"verdict {class}\">{text}</p>");
    }

    fn expectations(&mut self) {
        if self.report.expectations.is_empty() {
            return;
        }
        self.html.push_str("<h2>Expectations</h2>\n<ul class=\"expectations\">\n");
        for result in &self.report.expectations {
            expectation(&mut self.html, result);
        }
        self.html.push_str("</ul>\n");
    }

    fn overview(&mut self) {
        let groups = groups(&self.report.domains);
        self.html.push_str("<h2>Over time</h2>\n");
        let several = groups.len() > 1;
        self.figure(
            "Delivered",
            match several {
                true => "percent of the recipients accepted for each receiver",
                false => "percent of the recipients accepted",
            },
            |report, frame| delivered_chart(report, &groups, frame),
        );
        if several {
            let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
            legend(&mut self.html, &names, "legend row narrow");
        }
        self.figure("Queues", "recipients, all receivers together", queue_chart);
        legend(&mut self.html, &QUEUES, "legend row narrow");
        let (shown, more) =
            self.report.happenings.split_at(self.report.happenings.len().min(HAPPENINGS_MAX));
        if !shown.is_empty() {
            self.figure("Faults and events", "shaded in the other charts", |report, frame| {
                chart::happenings(frame, report.simulated_s, shown)
            });
        }
        if !more.is_empty() {
            let _ = writeln!(self.html, "<p class=\"note\">and {} more</p>", more.len());
        }
    }

    fn figure(&mut self, title: &str, unit: &str, draw: impl Fn(&Report, Frame) -> String) {
        let report = self.report;
        figure(&mut self.html, title, unit, |frame| draw(report, frame));
    }

    fn table(&mut self) {
        let domains = &self.report.domains;
        let shown: Vec<&Column> = COLUMNS
            .iter()
            .filter(|column| domains.iter().any(|one| column.is_shown(one)))
            .collect();
        self.html.push_str("<h2>Domains</h2>\n<table class=\"table\">\n<thead><tr>");
        for column in &shown {
            let _ = write!(self.html, "<th scope=\"col\">{}</th>", column.name);
        }
        self.html.push_str("</tr></thead>\n<tbody>\n");
        for domain in domains {
            self.html.push_str("<tr>");
            for column in &shown {
                let text = (column.cell)(domain);
                let cell = Escaped(&text);
                let _ = write!(self.html, "<td data-name=\"{}\">{cell}</td>", column.name);
            }
            self.html.push_str("</tr>\n");
        }
        self.html.push_str("</tbody>\n</table>\n");
    }

    fn receivers(&mut self) {
        let mut told = drawn_receivers(&self.report.receivers).peekable();
        if told.peek().is_none() {
            return;
        }
        let _ = writeln!(self.html, "<h2>{DRAWN_HEADING}</h2>\n<dl>");
        for (receiver, facts) in told {
            let (receiver, facts) = (Escaped(receiver), Escaped(&facts));
            let _ = writeln!(self.html, "<dt>{receiver}</dt><dd>{facts}</dd>");
        }
        self.html.push_str("</dl>\n");
    }

    fn domains(&mut self) {
        let mut domains: Vec<&DomainReport> = self.report.domains.iter().collect();
        domains.sort_by_key(|domain| std::cmp::Reverse(domain.accepted));
        let (shown, more) = domains.split_at(domains.len().min(DOMAINS_MAX));
        self.html.push_str("<h2>What happened to the mail of each domain</h2>\n");
        for one in shown {
            domain::section(&mut self.html, self.report, one);
        }
        if !more.is_empty() {
            let what = plural(more.len() as u64, "domain");
            let _ =
                writeln!(self.html, "<p class=\"note\">{what} with less mail: see the table</p>");
        }
    }

    fn footer(&mut self) {
        let report = self.report;
        let _ = write!(
            self.html,
            "<footer>\n<p>The engine that made this prediction is the one that delivers. The same \
             commit, configuration, scenario and seed give the same trace.</p>\n\
             <p>Trace <span class=\"mono\">{}</span></p>\n<p>Run it again: <code>{}</code></p>\n",
            report.trace_hash,
            Escaped(&report.replay)
        );
        end(&mut self.html);
    }
}

fn head(html: &mut String, title: &str) {
    let title = Escaped(title);
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"traject\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
}

/// Ends the footer and the page.
fn end(html: &mut String) {
    html.push_str("</footer>\n</main>\n</body>\n</html>\n");
}

/// A chart in two sizes, of which the page shows one.
fn figure(html: &mut String, title: &str, unit: &str, draw: impl Fn(Frame) -> String) {
    let _ = write!(
        html,
        "<figure>\n<figcaption>{title} <small>{unit}</small></figcaption>\n\
         <div class=\"wide\">{}</div>\n<div class=\"narrow\">{}</div>\n</figure>\n",
        draw(Frame::WIDE),
        draw(Frame::NARROW)
    );
}

fn expectation(html: &mut String, result: &ExpectationResult) {
    let (class, mark, meaning) = match result.passed {
        Some(true) => ("good", "✓", "held"),
        Some(false) => ("bad", "✗", "did not hold"),
        None => ("sub", "?", "not judged"),
    };
    let _ = write!(
        html,
        "<li><span class=\"mark {class}\" title=\"{meaning}\">{mark}</span><code>{}</code>",
        Escaped(&result.expectation)
    );
    match result.passed {
        None => {
            html.push_str("<span class=\"actual\">the run ended before this could be judged</span>")
        }
        Some(_) => {
            let _ = write!(html, "<span class=\"actual\">{}</span>", Escaped(&result.actual));
        }
    }
    if let (Some(at), Some(by)) = (result.broken_at_s, &result.broken_by) {
        let _ =
            write!(html, "<span class=\"why\">broken at {} by: {}</span>", time(at), Escaped(by));
    }
    // Lines that explain the one before are indented.
    for line in &result.because {
        let depth = line.len() - line.trim_start().len();
        let _ = write!(
            html,
            "<span class=\"why\" style=\"padding-left:{depth}ch\">{}</span>",
            Escaped(line.trim_start())
        );
    }
    html.push_str("</li>\n");
}

fn delivered_chart(report: &Report, groups: &[Group], frame: Frame) -> String {
    let scale = Scale { max: 100.0, step: 25.0 };
    let percent = |tick| format!("{tick}%");
    let mut chart = Chart::new(frame, "Delivered over time", report.simulated_s, &scale, percent);
    chart.bands(&report.happenings);
    let bucket_s = report.timeline.bucket_s as f64;
    let mut ends = Vec::new();
    for (series, group) in groups.iter().enumerate() {
        let mut points = vec![(0.0, 0.0)];
        let mut sum = 0;
        for (n, count) in group.delivered.iter().enumerate() {
            sum += count;
            points.push((bucket_s * (n + 1) as f64, share(sum, group.accepted)));
        }
        points.push((report.simulated_s.max(bucket_s), share(sum, group.accepted)));
        chart.line(series, &points);
        ends.push(EndLabel { series, value: share(sum, group.accepted), name: &group.name });
    }
    if frame.has_end_labels() {
        chart.end_labels(&ends);
    }
    chart.finish()
}

fn share(part: u64, all: u64) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}

fn queue_chart(report: &Report, frame: Frame) -> String {
    let timeline = &report.timeline;
    let both = [&timeline.active, &timeline.delayed];
    let most = both.iter().flat_map(|values| values.iter().copied()).max().unwrap_or(0);
    let scale = Scale::holding(most, 5);
    let mut chart =
        Chart::new(frame, "Queue sizes over time", report.simulated_s, &scale, short_number);
    chart.bands(&report.happenings);
    let mut ends = Vec::new();
    for (series, (values, name)) in both.into_iter().zip(QUEUES).enumerate() {
        chart.steps(series, values, timeline.bucket_s as f64);
        let value = values.last().copied().unwrap_or(0) as f64;
        ends.push(EndLabel { series, value, name });
    }
    if frame.has_end_labels() {
        chart.end_labels(&ends);
    }
    chart.finish()
}

/// Names of series, with their colours.
fn legend(html: &mut String, names: &[&str], class: &str) {
    let _ = write!(html, "<ul class=\"{class}\">");
    for (series, name) in names.iter().enumerate() {
        let _ = write!(html, "<li><i class=\"f{series}\"></i>{}</li>", Escaped(name));
    }
    html.push_str("</ul>\n");
}

/// The receivers with most mail, and the others together.
fn groups(domains: &[DomainReport]) -> Vec<Group> {
    let mut by_name: BTreeMap<&str, Group> = BTreeMap::new();
    for domain in domains.iter().filter(|domain| domain.accepted > 0) {
        let name = domain.receiver.as_deref().unwrap_or(&domain.domain);
        let empty = || Group { name: name.to_owned(), accepted: 0, delivered: Vec::new() };
        by_name.entry(name).or_insert_with(empty).add(domain.accepted, &domain.timeline.delivered);
    }
    let mut groups: Vec<Group> = by_name.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.accepted));
    if groups.len() > SERIES_MAX {
        let rest = groups.split_off(SERIES_MAX - 1);
        let name = format!("{} others", rest.len());
        let mut others = Group { name, accepted: 0, delivered: Vec::new() };
        for group in rest {
            others.add(group.accepted, &group.delivered);
        }
        groups.push(others);
    }
    groups
}

impl Group {
    fn add(&mut self, accepted: u64, delivered: &[u64]) {
        self.accepted += accepted;
        if self.delivered.len() < delivered.len() {
            self.delivered.resize(delivered.len(), 0);
        }
        for (sum, count) in self.delivered.iter_mut().zip(delivered) {
            *sum += count;
        }
    }
}

/// A column of the table.
struct Column {
    name: &'static str,
    cell: fn(&DomainReport) -> String,
    /// Left out where it says nothing about any domain.
    optional: bool,
}

impl Column {
    fn is_shown(&self, domain: &DomainReport) -> bool {
        !self.optional || (self.cell)(domain) != "0"
    }
}

const fn column(name: &'static str, cell: fn(&DomainReport) -> String) -> Column {
    Column { name, cell, optional: false }
}

const fn if_any(name: &'static str, cell: fn(&DomainReport) -> String) -> Column {
    Column { name, cell, optional: true }
}

const COLUMNS: [Column; 12] = [
    column("domain", |one| one.domain.clone()),
    column("accepted", |one| grouped(one.accepted)),
    column("delivered", |one| grouped(one.delivered)),
    if_any("bounced", |one| grouped(one.bounced)),
    if_any("expired", |one| grouped(one.expired)),
    if_any("pending", |one| grouped(one.pending)),
    column("tries", |one| format!("{:.2}", one.attempts as f64 / one.accepted.max(1) as f64)),
    column("t50", |one| time_or_dash(one.t50_s)),
    column("t95", |one| time_or_dash(one.t95_s)),
    column("t99", |one| time_or_dash(one.t99_s)),
    column("t100", |one| time_or_dash(one.t100_s)),
    column("connections", |one| format!("{} of {}", one.peak_connections, one.max_connections)),
];

const STYLE: &str = include_str!("style.css");

/// Lines of one chart.
const SERIES_MAX: usize = 8;

/// Domains with charts of their own.
const DOMAINS_MAX: usize = 40;

/// Faults and events shown.
const HAPPENINGS_MAX: usize = 16;

/// What the two queues are called.
const QUEUES: [&str; 2] = ["to be sent", "waiting to retry"];

#[cfg(test)]
mod tests;
