//! A report as text: at most [`WIDTH`] columns, colour only when asked for.

use std::fmt::Write as _;
use std::time::Duration;

use traject_engine::smtp::stage::Stage;

use super::timeline::Timeline;
use super::{DomainReport, End, Limiter, LimiterKind, ReceiverReport, Report, SourceReport};
use crate::counts::Transports;
use crate::describe::short;
use crate::expect::judge::ExpectationResult;
use crate::scenario::units::show_duration;

/// How a report is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// With ANSI colours.
    pub colour: bool,
    /// How long the run took on the wall clock; shown when given.
    pub wall: Option<Duration>,
}

/// Columns of a report.
pub const WIDTH: usize = 100;

/// Renders a report.
pub fn render(report: &Report, style: Style) -> String {
    let mut page = Page { text: String::new(), colour: style.colour };
    page.heading(report);
    page.table(report);
    for domain in &report.domains {
        page.domain(domain, Duration::from_secs_f64(report.simulated_s));
    }
    page.receivers(&report.receivers);
    page.expectations(&report.expectations);
    page.footer(report, style.wall);
    page.text
}

struct Page {
    text: String,
    colour: bool,
}

#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Dim,
    Good,
    Bad,
    Accent,
}

impl Page {
    fn heading(&mut self, report: &Report) {
        let title = self.ink(Ink::Bold, &report.title);
        self.line(&title);
        let totals = &report.totals;
        let share = |part: u64| 100.0 * part as f64 / totals.accepted.max(1) as f64;
        let mut facts = vec![
            plural(totals.messages, "message"),
            plural(totals.accepted, "recipient"),
            format!("{:.2}% delivered", share(totals.delivered)),
        ];
        for (part, what) in [
            (totals.bounced, "bounced"),
            (totals.expired, "expired"),
            (totals.pending, "still pending"),
            (totals.duplicates, "delivered again"),
        ] {
            if part > 0 {
                facts.push(format!("{} {what}", grouped(part)));
            }
        }
        facts.push(plural(totals.attempts, "attempt"));
        if totals.notices.sent() > 0 {
            facts.push(format!("{} to senders", plural(totals.notices.sent(), "notice")));
        }
        let text = facts.join(" · ");
        self.line(&text);
        match report.end {
            End::Settled | End::TimeOver => {}
            End::Interrupted => {
                let note = self.ink(Ink::Bad, "interrupted: these are the numbers of a part");
                self.line(&note);
            }
            End::Failed => {
                let note = self.ink(Ink::Bad, "failed: these are the numbers up to the failure");
                self.line(&note);
            }
        }
        self.line("");
    }

    fn table(&mut self, report: &Report) {
        let shown: Vec<&Column> = COLUMNS
            .iter()
            .filter(|column| {
                !column.only_if_any || report.domains.iter().any(|one| column.any(one))
            })
            .collect();
        let mut rows = vec![shown.iter().map(|column| column.title.to_owned()).collect()];
        for domain in &report.domains {
            rows.push(shown.iter().map(|column| (column.cell)(domain)).collect::<Vec<String>>());
        }
        let widths: Vec<usize> = (0..shown.len())
            .map(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0))
            .collect();
        let others: usize = widths[1..].iter().map(|width| width + COLUMN_GAP).sum();
        let first = widths[0].min(WIDTH.saturating_sub(others));
        for (n, row) in rows.iter().enumerate() {
            let mut line = pad_end(&clip(&row[0], first), first);
            for (cell, width) in row[1..].iter().zip(&widths[1..]) {
                let _ = write!(line, "  {cell:>width$}");
            }
            let line = if n == 0 { self.ink(Ink::Dim, &line) } else { line };
            self.line(&line);
        }
    }

    fn domain(&mut self, domain: &DomainReport, simulated: Duration) {
        self.line("");
        let name = match &domain.receiver {
            Some(receiver) if *receiver != domain.domain => {
                format!("{} ({receiver})", domain.domain)
            }
            _ => domain.domain.clone(),
        };
        let heading = self.ink(Ink::Bold, &clip(&name, WIDTH));
        self.line(&heading);
        let timeline = Timeline::from_report(&domain.timeline);
        let spark = self.ink(Ink::Accent, &timeline.sparkline(simulated, SPARK_COLUMNS));
        self.line(&format!("  delivered   {spark}"));
        let end = show_duration(simulated);
        let gap = SPARK_COLUMNS.saturating_sub(1 + end.len());
        let axis = self.ink(Ink::Dim, &format!("  over time   0{}{end}", " ".repeat(gap)));
        self.line(&axis);
        if domain.transports.is_tls_wanted() {
            self.labelled("transport", &transport_text(&domain.transports));
        }
        if domain.sources.len() > 1 {
            self.labelled("from", &sources_text(&domain.sources));
        }
        for (n, reply) in domain.replies.iter().take(REPLIES_SHOWN).enumerate() {
            let label = if n == 0 { "replies" } else { "" };
            let stage = match reply.stage {
                None | Some(Stage::BodyReply) => String::new(),
                Some(stage) => format!("{}: ", stage.text()),
            };
            let text = format!("{:>10} × {stage}{}", grouped(reply.count), reply.reply);
            self.line(&clip(&format!("  {label:<9} {text}"), WIDTH));
        }
        if domain.replies.len() > REPLIES_SHOWN {
            let more = domain.replies.len() - REPLIES_SHOWN;
            let more = self.ink(Ink::Dim, &format!("{:>22} and {more} more kinds", ""));
            self.line(&more);
        }
        self.labelled("held up by", &limit_text(domain));
        if domain.pending > 0 {
            let why = domain.pending_because.as_deref().unwrap_or("on its way");
            let refused = match domain.deferred_now {
                0 => String::new(),
                n => format!(", {} of them refused for now", grouped(n)),
            };
            self.labelled("pending", &format!("{}{refused}: {why}", grouped(domain.pending)));
        }
    }

    fn expectations(&mut self, results: &[ExpectationResult]) {
        if results.is_empty() {
            return;
        }
        self.line("");
        let heading = self.ink(Ink::Bold, "Expectations");
        self.line(&heading);
        for result in results {
            let (sign, ink) = match result.passed {
                Some(true) => ("  ok", Ink::Good),
                Some(false) => ("FAIL", Ink::Bad),
                None => ("   ?", Ink::Dim),
            };
            let sign = self.ink(ink, sign);
            self.line(&format!("  {sign}  {}", clip(&result.expectation, WIDTH - 8)));
            match result.passed {
                Some(true) => continue,
                Some(false) => {}
                None => {
                    self.line("        the run ended before this could be judged");
                    continue;
                }
            }
            self.line(&clip(&format!("        actual: {}", result.actual), WIDTH));
            if let (Some(at), Some(by)) = (result.broken_at_s, &result.broken_by) {
                let at = show_duration(Duration::from_secs_f64(at));
                self.line(&clip(&format!("        broken at {at} by: {by}"), WIDTH));
            }
            for line in &result.because {
                self.line(&format!("          {line}"));
            }
        }
    }

    /// What the seed decided about receivers; nothing where it had nothing to decide.
    fn receivers(&mut self, receivers: &[ReceiverReport]) {
        let mut told = drawn_receivers(receivers).peekable();
        if told.peek().is_none() {
            return;
        }
        self.line("");
        let heading = self.ink(Ink::Bold, DRAWN_HEADING);
        self.line(&heading);
        for (receiver, facts) in told {
            self.labelled(receiver, &facts);
        }
    }

    fn footer(&mut self, report: &Report, wall: Option<Duration>) {
        self.line("");
        let simulated = show_duration(Duration::from_secs_f64(report.simulated_s));
        let took = match wall {
            Some(wall) => format!("simulated {simulated} in {}", show_duration(wall)),
            None => format!("simulated {simulated}"),
        };
        let why = match report.end {
            End::Settled => "everything settled",
            End::TimeOver => "the time was over",
            End::Interrupted => "interrupted",
            End::Failed => "failed",
        };
        self.line(&format!("{took} ({why}) · seed {} · trace {}", report.seed, report.trace_hash));
        let replay = self.ink(Ink::Dim, &format!("replay: {}", report.replay));
        self.line(&replay);
    }

    /// A label and a text that may take several lines.
    fn labelled(&mut self, label: &str, text: &str) {
        let mut line = format!("  {label:<10}  ");
        let indent = line.chars().count();
        for word in text.split(' ') {
            if line.chars().count() + word.chars().count() > WIDTH {
                self.line(line.trim_end());
                line = " ".repeat(indent);
            }
            line.push_str(word);
            line.push(' ');
        }
        self.line(line.trim_end());
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Good => "32",
            Ink::Bad => "1;31",
            Ink::Accent => "36",
        };
        let text = text.trim_end();
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A column of the table.
struct Column {
    title: &'static str,
    cell: fn(&DomainReport) -> String,
    /// Left out when it is zero for every domain.
    only_if_any: bool,
}

impl Column {
    fn any(&self, domain: &DomainReport) -> bool {
        (self.cell)(domain) != "0"
    }
}

const fn always(title: &'static str, cell: fn(&DomainReport) -> String) -> Column {
    Column { title, cell, only_if_any: false }
}

const fn if_any(title: &'static str, cell: fn(&DomainReport) -> String) -> Column {
    Column { title, cell, only_if_any: true }
}

const COLUMNS: [Column; 13] = [
    always("domain", |one| one.domain.clone()),
    always("accepted", |one| grouped(one.accepted)),
    always("delivered", |one| grouped(one.delivered)),
    if_any("bounced", |one| grouped(one.bounced)),
    if_any("expired", |one| grouped(one.expired)),
    if_any("pending", |one| grouped(one.pending)),
    if_any("again", |one| grouped(one.duplicates)),
    always("tries", |one| format!("{:.2}", one.attempts as f64 / one.accepted.max(1) as f64)),
    always("t50", |one| seconds(one.t50_s)),
    always("t95", |one| seconds(one.t95_s)),
    always("t99", |one| seconds(one.t99_s)),
    always("t100", |one| seconds(one.t100_s)),
    always("conns", |one| format!("{}/{}", one.peak_connections, one.max_connections)),
];

/// Blanks between two columns.
const COLUMN_GAP: usize = 2;

fn seconds(time: Option<f64>) -> String {
    short(time.map(Duration::from_secs_f64))
}

/// The mix of what protected deliveries, as shares.
pub(super) fn transport_text(mix: &Transports) -> String {
    let all = mix.tls13 + mix.tls12 + mix.clear();
    let share = |part: u64| format!("{:.1}%", 100.0 * part as f64 / all.max(1) as f64);
    let parts = [
        (mix.tls13, "TLSv1.3"),
        (mix.tls12, "TLSv1.2"),
        (mix.clear_not_offered, "in clear, STARTTLS not offered"),
        (mix.clear_after_failure, "in clear after TLS failed"),
        (mix.clear_not_wanted, "in clear, TLS not wanted"),
    ];
    let shown = parts.iter().filter(|(part, _)| *part > 0);
    let mut text: Vec<_> = shown.map(|(part, what)| format!("{} {what}", share(*part))).collect();
    if mix.verified > 0 {
        text.push(format!("{} to a verified host", share(mix.verified)));
    }
    text.join(" · ")
}

/// The receivers that have a profile or numbers that the seed drew, and these.
pub(super) fn drawn_receivers(
    receivers: &[ReceiverReport],
) -> impl Iterator<Item = (&str, String)> {
    let told = receivers.iter().filter(|one| one.profile.is_some() || !one.drawn.is_empty());
    told.map(|one| {
        let profile = one.profile.iter().map(|name| format!("profile {name}"));
        let drawn = one.drawn.iter().map(|drawn| format!("{} {}", drawn.what, drawn.value));
        let facts: Vec<String> = profile.chain(drawn).collect();
        (one.receiver.as_str(), facts.join(" · "))
    })
}

/// The peaks of our addresses, the highest first.
pub(super) fn sources_text(sources: &[SourceReport]) -> String {
    let mut sources: Vec<&SourceReport> = sources.iter().collect();
    sources.sort_by_key(|one| std::cmp::Reverse(one.peak_connections));
    let shown = sources.iter().take(SOURCES_SHOWN);
    let shown = shown.map(|one| format!("{} from {}", one.peak_connections, one.address));
    let mut text = format!("at most {}", shown.collect::<Vec<_>>().join(", "));
    if sources.len() > SOURCES_SHOWN {
        text.push_str(&format!(" and {} more addresses", sources.len() - SOURCES_SHOWN));
    }
    text
}

fn limit_text(domain: &DomainReport) -> String {
    let Some(limiter) = &domain.limited_by else {
        return "nothing: no mail had to wait".to_owned();
    };
    let per_recipient = show_duration(Duration::from_secs_f64(limiter.seconds_per_recipient));
    if limiter.kind == LimiterKind::Dialogue {
        return format!(
            "nothing much: {per_recipient} a recipient in dialogues and for a turn on a connection"
        );
    }
    let share = limiter.share * 100.0;
    format!("{} ({share:.0}% of all waiting, {per_recipient} a recipient)", cause_text(limiter))
}

/// What mail waited for, in words.
pub(super) fn cause_text(limiter: &Limiter) -> String {
    let detail = &limiter.detail;
    match limiter.kind {
        LimiterKind::RetryAfterReply => format!("the retry schedule after \"{detail}\""),
        LimiterKind::RetryAfterTrouble => {
            format!("the retry schedule after broken connections: {detail}")
        }
        LimiterKind::Tls => format!("TLS that does not come about: {detail}"),
        LimiterKind::Throttle => format!("the throttle {detail}"),
        LimiterKind::ConnectionCap => format!("the connection cap, {detail}, all in use"),
        LimiterKind::SharedConnectionCap => format!("a cap shared with other mail, {detail}"),
        LimiterKind::LookupLimit => format!("the line for look-ups in the DNS, {detail}"),
        LimiterKind::Dns => "the DNS, which took its time to answer".to_owned(),
        LimiterKind::Unreachable => format!("no exchange could be reached: {detail}"),
        LimiterKind::Operator => "an operator, who suspended it".to_owned(),
        LimiterKind::Suspended => format!("the configuration, which holds it: {detail}"),
        LimiterKind::Spool => "the spool, which could not keep up".to_owned(),
        LimiterKind::NoProcess => format!("the server itself: {detail}"),
        LimiterKind::Dialogue => "dialogues, and turns on the open connections".to_owned(),
    }
}

pub(super) fn plural(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", grouped(number))
}

/// `12,345`.
/// A number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn pad_end(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}

/// Columns of a timeline.
const SPARK_COLUMNS: usize = 72;

/// What stands above [`drawn_receivers`].
pub(super) const DRAWN_HEADING: &str = "Receivers, as this seed drew them";

/// Our addresses shown for a domain.
const SOURCES_SHOWN: usize = 4;

/// Replies shown for a domain.
const REPLIES_SHOWN: usize = 4;

#[cfg(test)]
pub(super) mod tests;
