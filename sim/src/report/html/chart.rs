//! Charts over time as SVG: grid, axes, lines, columns, bands. Text never overlaps: room for it is
//! set aside, and what does not fit is clipped.

use std::fmt::Write as _;

use super::markup::{Escaped, clipped, time};
use super::scale::{Scale, time_ticks};
use crate::report::{Happening, HappeningKind};

/// The room of a chart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Room for names at the end of lines.
    pub(super) right: f64,
}

impl Frame {
    /// As wide as the page.
    pub(super) const WIDE: Self = Self { width: 1000.0, height: 260.0, right: 170.0 };
    /// As wide as a telephone.
    pub(super) const NARROW: Self = Self { width: 370.0, height: 220.0, right: 14.0 };
    /// Half as wide as the page.
    pub(super) const SMALL: Self = Self { width: 450.0, height: 150.0, right: 14.0 };

    pub(super) const fn has_end_labels(&self) -> bool {
        self.right > 100.0
    }
}

/// A chart being drawn. Times are seconds since the start.
pub(super) struct Chart {
    svg: String,
    frame: Frame,
    top: f64,
    bottom: f64,
    end_s: f64,
    max: f64,
}

/// A line's name at its end.
pub(super) struct EndLabel<'a> {
    pub(super) series: usize,
    pub(super) value: f64,
    pub(super) name: &'a str,
}

impl Chart {
    /// An empty chart from 0 to `end_s`, with the scale's ticks as `show` writes them.
    pub(super) fn new(
        frame: Frame,
        what: &str,
        end_s: f64,
        scale: &Scale,
        show: impl Fn(f64) -> String,
    ) -> Self {
        let mut chart = Self::blank(frame, what, end_s);
        chart.max = scale.max;
        for tick in scale.ticks() {
            let (y, right) = (chart.y(tick), chart.right());
            let _ = write!(
                chart.svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                Escaped(&show(tick))
            );
        }
        chart.time_axis();
        chart
    }

    fn blank(frame: Frame, what: &str, end_s: f64) -> Self {
        let Frame { width, height, .. } = frame;
        let svg = format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
            Escaped(what)
        );
        let (top, bottom) = (TOP, height - BOTTOM);
        Self { svg, frame, top, bottom, end_s: end_s.max(1e-3), max: 1.0 }
    }

    fn time_axis(&mut self) {
        let (bottom, right) = (self.bottom, self.right());
        let _ = write!(
            self.svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
        );
        let most = ((right - LEFT) / TICK_ROOM) as u32;
        for tick in time_ticks(self.end_s, most.max(2)) {
            let x = self.x(tick);
            let label = if tick == 0.0 { "0".to_owned() } else { time(tick) };
            let _ = write!(
                self.svg,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 17.0,
                Escaped(&label)
            );
        }
    }

    /// Shades the times of what lasted, and marks the instants of what did not.
    pub(super) fn bands(&mut self, happenings: &[Happening]) {
        let height = self.bottom - self.top;
        for one in happenings.iter().take(BANDS_MAX) {
            let x = self.x(one.from_s);
            let width = (self.x(one.to_s) - x).max(1.5);
            let _ = write!(
                self.svg,
                "<rect class=\"band {}\" x=\"{x:.1}\" y=\"{}\" width=\"{width:.1}\" \
                 height=\"{height}\"><title>{}</title></rect>",
                class(one.kind),
                self.top,
                Escaped(&one.what)
            );
        }
    }

    /// A line through points.
    pub(super) fn line(&mut self, series: usize, points: &[(f64, f64)]) {
        let path = self.path(points);
        let _ = write!(self.svg, "<path class=\"line k{series}\" d=\"{path}\"/>");
    }

    /// What lies between two lines with points at the same times.
    pub(super) fn area(&mut self, series: usize, low: &[(f64, f64)], high: &[(f64, f64)]) {
        let outline = self.path(high);
        let back: Vec<(f64, f64)> = low.iter().rev().copied().collect();
        let back = self.path(&back).replacen('M', "L", 1);
        let _ = write!(self.svg, "<path class=\"area f{series}\" d=\"{outline}{back}Z\"/>");
    }

    /// A number that keeps each value for a bucket of that length, as a filled outline.
    pub(super) fn steps(&mut self, series: usize, values: &[u64], bucket_s: f64) {
        let mut points = Vec::with_capacity(2 * values.len());
        for (n, value) in values.iter().enumerate() {
            let from = bucket_s * n as f64;
            if from > self.end_s {
                break;
            }
            points.push((from, *value as f64));
            points.push(((from + bucket_s).min(self.end_s), *value as f64));
        }
        let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return };
        let outline = self.path(&points);
        let (bottom, from, to) = (self.bottom, self.x(*first), self.x(*last));
        let _ = write!(
            self.svg,
            "<path class=\"area f{series}\" d=\"{outline}L{to:.1} {bottom}L{from:.1} {bottom}Z\"/>\
             <path class=\"line k{series}\" d=\"{outline}\"/>"
        );
    }

    /// What is allowed: a dashed line of levels, each from an instant on.
    pub(super) fn cap(&mut self, levels: &[(f64, f64)]) {
        let mut points = Vec::new();
        for (n, (from, level)) in levels.iter().enumerate() {
            let until = levels.get(n + 1).map_or(self.end_s, |(next, _)| *next);
            points.push((*from, *level));
            points.push((until, *level));
        }
        let path = self.path(&points);
        let _ = write!(self.svg, "<path class=\"cap\" d=\"{path}\"/>");
    }

    /// Columns of the same width, each a stack of one number a series from the bottom up.
    pub(super) fn columns(&mut self, columns: &[Vec<u64>], width_s: f64) {
        let gap = if columns.len() > 40 { 0.3 } else { 1.0 };
        for (n, stack) in columns.iter().enumerate() {
            let (from, to) = (width_s * n as f64, (width_s * (n + 1) as f64).min(self.end_s));
            let (x, right) = (self.x(from), self.x(to));
            let width = (right - x - gap).max(0.7);
            let mut below = 0;
            for (series, value) in stack.iter().enumerate().filter(|(_, value)| **value > 0) {
                let (top, bottom) = (self.y((below + value) as f64), self.y(below as f64));
                let height = (bottom - top).max(0.7);
                let _ = write!(
                    self.svg,
                    "<rect class=\"bar f{series}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" \
                     height=\"{height:.1}\"/>",
                    bottom - height
                );
                below += value;
            }
        }
    }

    /// Names at the ends of lines, moved apart as far as it takes.
    pub(super) fn end_labels(&mut self, labels: &[EndLabel<'_>]) {
        let mut places: Vec<(f64, &EndLabel<'_>)> =
            labels.iter().map(|label| (self.y(label.value), label)).collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted: Vec<f64> = places.iter().map(|(y, _)| *y).collect();
        let right = self.right();
        for ((y, label), place) in places.into_iter().zip(apart(&wanted, self.top, self.bottom)) {
            let _ = write!(
                self.svg,
                "<path class=\"lead k{0}\" d=\"M{right:.1} {y:.1}L{1:.1} {place:.1}\"/>\
                 <circle class=\"f{0}\" cx=\"{2:.1}\" cy=\"{place:.1}\" r=\"4\"/>\
                 <text class=\"strong\" x=\"{3:.1}\" y=\"{4:.1}\">{5}</text>",
                label.series,
                right + 12.0,
                right + 15.0,
                right + 24.0,
                place + 4.0,
                Escaped(&clipped(label.name, END_LABEL_CHARS))
            );
        }
    }

    /// A text in the upper left corner of the plot.
    pub(super) fn remark(&mut self, text: &str) {
        let _ = write!(
            self.svg,
            "<text x=\"{}\" y=\"{}\">{}</text>",
            LEFT + 6.0,
            self.top - 6.0,
            Escaped(text)
        );
    }

    pub(super) fn finish(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (n, (at, value)) in points.iter().enumerate() {
            // The middle of a level stretch says nothing.
            let level = |other: usize| points.get(other).is_some_and(|(_, it)| it == value);
            if n > 0 && level(n - 1) && level(n + 1) {
                continue;
            }
            let command = if n == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.x(*at), self.y(*value));
        }
        path
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (self.right() - LEFT) * (at / self.end_s).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * (value / self.max).clamp(0.0, 1.0)
    }

    fn right(&self) -> f64 {
        self.frame.width - self.frame.right
    }
}

/// What happened when, one row each, over the same axis as the other charts.
pub(super) fn happenings(frame: Frame, end_s: f64, all: &[Happening]) -> String {
    let height = ROW * all.len() as f64 + TOP + BOTTOM;
    let mut chart = Chart::blank(Frame { height, ..frame }, "Faults and events over time", end_s);
    chart.time_axis();
    let middle = f64::midpoint(LEFT, chart.right());
    for (n, one) in all.iter().enumerate() {
        let y = TOP + ROW * n as f64;
        let (from, to) = (chart.x(one.from_s), chart.x(one.to_s));
        // The text begins where the bar does, or ends where it ends, if there is room.
        let (at, anchor, room) = match (frame.has_end_labels(), from <= middle) {
            (true, true) => (from, "start", frame.width - from),
            (true, false) => (to.max(from + 3.0), "end", to),
            (false, _) => (0.0, "start", frame.width),
        };
        let when = match one.to_s > one.from_s {
            true => format!("{}, {} to {}", one.what, time(one.from_s), time(one.to_s)),
            false => format!("{}, at {}", one.what, time(one.from_s)),
        };
        let _ = write!(
            chart.svg,
            "<text class=\"strong\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\
             <rect class=\"bar {}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"7\" \
             rx=\"2\"/>",
            y + 11.0,
            Escaped(&clipped(&when, (room / CHAR) as usize)),
            class(one.kind),
            y + 16.0,
            (to - from).max(3.0)
        );
    }
    chart.finish()
}

/// Places as near as can be to those wanted (in order), a line of text apart, between two bounds.
fn apart(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut places = Vec::with_capacity(wanted.len());
    let mut free = top;
    for y in wanted {
        let place = y.max(free);
        places.push(place);
        free = place + LABEL_ROOM;
    }
    let mut limit = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - LABEL_ROOM;
    }
    places
}

const fn class(kind: HappeningKind) -> &'static str {
    match kind {
        HappeningKind::Fault => "fault",
        HappeningKind::Event => "event",
        HappeningKind::Receiver => "receiver",
    }
}

/// Room for the numbers of the axis on the left.
const LEFT: f64 = 52.0;
/// Room above the plot.
const TOP: f64 = 18.0;
/// Room for the axis of time.
const BOTTOM: f64 = 24.0;
/// Room for one tick of the axis of time.
const TICK_ROOM: f64 = 74.0;
/// Room for a name at the end of a line.
const LABEL_ROOM: f64 = 17.0;
/// Characters of a name at the end of a line.
const END_LABEL_CHARS: usize = 18;
/// Width of a character, in most fonts.
const CHAR: f64 = 7.2;
/// Height of a row of the chart of happenings.
const ROW: f64 = 32.0;
/// Bands drawn into one chart.
const BANDS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_apart_and_inside() {
        let places = apart(&[20.0, 21.0, 22.0, 100.0], 18.0, 110.0);
        assert_eq!(places, [20.0, 37.0, 54.0, 100.0]);
        let crowded = apart(&[100.0, 100.0, 105.0], 18.0, 110.0);
        assert_eq!(crowded, [76.0, 93.0, 110.0]);
    }

    #[test]
    fn level_stretches_are_two_points() {
        let chart = Chart::blank(Frame::SMALL, "x", 10.0);
        let points: Vec<(f64, f64)> = (0..=10).map(|n| (f64::from(n), 1.0)).collect();
        assert_eq!(chart.path(&points).matches('L').count(), 1);
    }
}
