//! The section of one domain.

use std::fmt::Write as _;

use super::chart::{Chart, Frame};
use super::legend;
use super::markup::{Escaped, clipped, short_number, time};
use super::scale::Scale;
use crate::report::text::{cause_text, grouped, plural, sources_text, transport_text};
use crate::report::{DomainReport, FailureTimeline, ReplyReport, Report};

/// Writes it.
pub(super) fn section(html: &mut String, report: &Report, domain: &DomainReport) {
    html.push_str("<section class=\"domain\">\n");
    let receiver = match &domain.receiver {
        Some(receiver) if *receiver != domain.domain => format!(", receiver {receiver}"),
        _ => String::new(),
    };
    let _ = write!(
        html,
        "<h3>{}</h3>\n<p class=\"sub\">{} accepted, {} delivered{}</p>\n",
        Escaped(&domain.domain),
        plural(domain.accepted, "recipient"),
        grouped(domain.delivered),
        Escaped(&receiver)
    );
    waits(html, domain);
    html.push_str("<div class=\"charts\">\n");
    figure(html, "Connections", &connections_unit(domain), &connections(report, domain));
    let per = format!("recipients per {}", time(column_width(report)));
    figure(html, "Delivered", &per, &delivered(report, domain));
    figure(html, "Queues", "recipients", &queues(report, domain));
    if domain.failures.is_empty() {
        html.push_str("<p class=\"note\">No attempt failed.</p>\n");
    } else {
        let per = format!("attempts per {}", time(column_width(report)));
        figure(html, "Deferrals and bounces", &per, &failures(report, domain));
    }
    html.push_str("</div>\n");
    facts(html, domain);
    html.push_str("</section>\n");
}

/// What the mail waited for, as bars.
fn waits(html: &mut String, domain: &DomainReport) {
    let worth_it = |share: f64| share >= 0.005;
    let waits = domain.waits.iter().filter(|wait| worth_it(wait.share)).take(WAITS_SHOWN);
    html.push_str("<ul class=\"waits\" aria-label=\"What the mail waited for\">\n");
    for wait in waits {
        let _ = writeln!(
            html,
            "<li><span class=\"track\"><b style=\"width:{:.1}%\"></b></span>\
             <span class=\"share\">{:.0}%</span><span>{}, {} a recipient</span></li>",
            wait.share * 100.0,
            wait.share * 100.0,
            Escaped(&cause_text(wait)),
            time(wait.seconds_per_recipient)
        );
    }
    html.push_str("</ul>\n");
}

fn figure(html: &mut String, title: &str, unit: &str, svg: &str) {
    let unit = Escaped(unit);
    let _ = writeln!(
        html,
        "<figure><figcaption>{title} <small>{unit}</small></figcaption>{svg}</figure>"
    );
}

fn connections_unit(domain: &DomainReport) -> String {
    format!("at most {} of {} allowed", domain.peak_connections, domain.max_connections)
}

fn connections(report: &Report, domain: &DomainReport) -> String {
    let (peak, max) = (domain.peak_connections, domain.max_connections);
    // A cap far above everything would press the curve to the ground.
    let is_near = max <= peak.saturating_mul(CAP_NEAR).max(10);
    let scale = Scale::holding(if is_near { peak.max(max) } else { peak }, 5);
    let what = "Connections over time";
    let mut chart = Chart::new(Frame::SMALL, what, report.simulated_s, &scale, short_number);
    chart.bands(&report.happenings);
    chart.steps(0, &domain.timeline.connections, domain.timeline.bucket_s as f64);
    if is_near {
        let levels: Vec<(f64, f64)> =
            domain.connection_caps.iter().map(|cap| (cap.from_s, cap.max as f64)).collect();
        chart.cap(&levels);
        chart.remark("dashed: max_outbound_connections");
    }
    chart.finish()
}

fn delivered(report: &Report, domain: &DomainReport) -> String {
    let columns: Vec<Vec<u64>> =
        joined(&domain.timeline.delivered, buckets_a_column(report)).map(|sum| vec![sum]).collect();
    columns_chart(report, "Deliveries over time", &columns)
}

fn queues(report: &Report, domain: &DomainReport) -> String {
    let timeline = &domain.timeline;
    let both = [&timeline.active, &timeline.delayed];
    let most = both.iter().flat_map(|values| values.iter().copied()).max().unwrap_or(0);
    let scale = Scale::holding(most, 5);
    let mut chart =
        Chart::new(Frame::SMALL, "Queue sizes", report.simulated_s, &scale, short_number);
    chart.bands(&report.happenings);
    for (series, values) in both.into_iter().enumerate() {
        chart.steps(series, values, timeline.bucket_s as f64);
    }
    let mut svg = chart.finish();
    legend(&mut svg, &super::QUEUES, "legend row");
    svg
}

/// Failed attempts as columns, one colour a reply.
fn failures(report: &Report, domain: &DomainReport) -> String {
    let each = buckets_a_column(report);
    let length = domain.failures.iter().map(|one| one.counts.len().div_ceil(each)).max();
    let mut columns = vec![Vec::new(); length.unwrap_or(0)];
    for (series, failure) in domain.failures.iter().enumerate() {
        for (column, sum) in columns.iter_mut().zip(joined(&failure.counts, each)) {
            column.resize(series, 0);
            column.push(sum);
        }
    }
    let mut svg = columns_chart(report, "Deferrals and bounces over time", &columns);
    let names: Vec<String> = domain.failures.iter().map(failure_name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    legend(&mut svg, &names, "legend");
    svg
}

fn failure_name(failure: &FailureTimeline) -> String {
    let count: u64 = failure.counts.iter().sum();
    let stage = failure.stage.map(|stage| format!("{}: ", stage.text())).unwrap_or_default();
    format!("{} × {stage}{}", grouped(count), clipped(&failure.reply, REPLY_CHARS))
}

fn columns_chart(report: &Report, what: &str, columns: &[Vec<u64>]) -> String {
    let most = columns.iter().map(|stack| stack.iter().sum()).max().unwrap_or(0);
    let scale = Scale::holding(most, 5);
    let mut chart = Chart::new(Frame::SMALL, what, report.simulated_s, &scale, short_number);
    chart.bands(&report.happenings);
    chart.columns(columns, column_width(report));
    chart.finish()
}

fn facts(html: &mut String, domain: &DomainReport) {
    html.push_str("<dl>\n");
    let mut fact = |name: &str, text: &str| {
        let _ = writeln!(html, "<dt>{name}</dt><dd>{}</dd>", Escaped(text));
    };
    if domain.transports.is_tls_wanted() {
        fact("transport", &transport_text(&domain.transports));
    }
    if !domain.sources.is_empty() {
        fact("connections", &sources_text(&domain.sources));
    }
    if domain.connection_failures > 0 {
        fact("could not connect", &format!("{} times", grouped(domain.connection_failures)));
    }
    let (shown, more) = domain.replies.split_at(domain.replies.len().min(REPLIES_SHOWN));
    for (n, reply) in shown.iter().enumerate() {
        fact(if n == 0 { "replies" } else { "" }, &reply_text(reply));
    }
    if !more.is_empty() {
        fact("", &format!("and {} more kinds", more.len()));
    }
    if domain.pending > 0 {
        let why = domain.pending_because.as_deref().unwrap_or("on its way");
        fact("pending", &format!("{}: {why}", grouped(domain.pending)));
    }
    html.push_str("</dl>\n");
}

fn reply_text(reply: &ReplyReport) -> String {
    let stage = match reply.stage {
        Some(stage) if stage != traject_engine::smtp::stage::Stage::BodyReply => {
            format!("{}: ", stage.text())
        }
        _ => String::new(),
    };
    format!("{} × {stage}{}", grouped(reply.count), clipped(&reply.reply, REPLY_CHARS))
}

/// How many buckets one column takes together.
fn buckets_a_column(report: &Report) -> usize {
    let buckets = (report.simulated_s / report.timeline.bucket_s.max(1) as f64).ceil() as usize;
    buckets.div_ceil(COLUMNS_MAX).max(1)
}

/// The length of time of a column.
fn column_width(report: &Report) -> f64 {
    (report.timeline.bucket_s.max(1) * buckets_a_column(report) as u64) as f64
}

/// Sums of so many counts each.
fn joined(counts: &[u64], each: usize) -> impl Iterator<Item = u64> {
    counts.chunks(each).map(|chunk| chunk.iter().sum())
}

/// Columns of a chart.
const COLUMNS_MAX: usize = 72;
/// Replies shown for a domain.
const REPLIES_SHOWN: usize = 8;
/// Characters of a reply.
const REPLY_CHARS: usize = 160;
/// Causes of waiting shown.
const WAITS_SHOWN: usize = 5;
/// A cap up to so many times the peak is drawn.
const CAP_NEAR: u64 = 4;
