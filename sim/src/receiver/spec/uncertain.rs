//! Numbers that nobody outside knows for sure: a run draws them within what sources say.

use std::time::Duration;

use traject_engine::rng::{Purpose, Seed, entity};

use super::{Limit, Limited, ReceiverSpec};
use crate::scenario::units::show_duration;

/// The least and the most that a number may be. A run draws one of those between, evenly on a
/// logarithmic scale: that it is half of what somebody says is as likely as that it is double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncertain<T> {
    /// More than nothing.
    pub least: T,
    /// Not less than that.
    pub most: T,
}

impl Uncertain<f64> {
    fn pick(self, unit: f64) -> f64 {
        let (least, most) = (libm::log(self.least), libm::log(self.most));
        libm::exp(least + unit * (most - least)).clamp(self.least, self.most)
    }
}

impl Uncertain<u32> {
    /// Each whole number has its share, the last one too.
    fn pick(self, unit: f64) -> u32 {
        let (least, most) = (f64::from(self.least), f64::from(self.most) + 1.0);
        (Uncertain { least, most }.pick(unit) as u32).clamp(self.least, self.most)
    }
}

impl Uncertain<Duration> {
    fn pick(self, unit: f64) -> Duration {
        let (least, most) = (self.least.as_secs_f64(), self.most.as_secs_f64());
        let picked = Duration::from_secs_f64(Uncertain { least, most }.pick(unit));
        let whole =
            if picked.as_secs() > 0 { Duration::from_secs(picked.as_secs()) } else { picked };
        whole.clamp(self.least, self.most)
    }
}

/// Of a long reply so much is shown.
const SHOWN_BYTES_MAX: usize = 32;

/// A number that a run has drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// What it is.
    pub what: String,
    /// What it came to.
    pub value: String,
}

/// Draws the numbers of one receiver.
struct Draw {
    seed: Seed,
    /// Whose numbers they are: a profile is the same receiver under any name.
    owner: String,
    drawn: Vec<Drawn>,
}

impl Draw {
    /// A number in `[0, 1)` for what is called so.
    fn unit(&self, what: &str) -> f64 {
        let name = format!("{}: {what}", self.owner);
        self.seed.draw_unit(Purpose::Uncertain, entity(name.as_bytes()), 0)
    }

    fn note(&mut self, what: String, value: String) {
        self.drawn.push(Drawn { what, value });
    }

    fn limit(&mut self, limit: &mut Limit) {
        let name = limit.name();
        if let Some(range) = limit.range {
            limit.what = limit.what.with_max(range.pick(self.unit(&name)));
            self.note(name.clone(), limit.what.shown());
        }
        if let Some(escalation) = &mut limit.escalation
            && let Some(range) = escalation.block.range
        {
            let what = format!("block after {name}");
            escalation.block.length = range.pick(self.unit(&what));
            self.note(what, show_duration(escalation.block.length));
        }
    }
}

impl ReceiverSpec {
    /// The receiver of one run, and what was drawn for it. The same seed draws the same.
    pub fn drawn(&self, seed: Seed) -> (Self, Vec<Drawn>) {
        let mut spec = self.clone();
        let owner = spec.profile.as_ref().unwrap_or(&spec.name).to_string();
        let mut draw = Draw { seed, owner, drawn: Vec::new() };
        for limit in &mut spec.limits {
            draw.limit(limit);
        }
        if let Some(trip) = spec.unknown.as_mut().and_then(|unknown| unknown.trip.as_mut())
            && let Some(range) = trip.block.range
        {
            let what = "block after unknown recipients".to_owned();
            trip.block.length = range.pick(draw.unit(&what));
            draw.note(what, show_duration(trip.block.length));
        }
        if let Some(greylist) = &mut spec.greylist
            && let Some(range) = greylist.range
        {
            let what = "greylist hold".to_owned();
            greylist.hold = range.pick(draw.unit(&what));
            draw.note(what, show_duration(greylist.hold));
        }
        for rule in &mut spec.rules {
            let Some(range) = rule.range else { continue };
            let does = rule.response.to_string();
            let probability = range.pick(draw.unit(&does));
            rule.probability = super::Curve::constant(probability);
            let shown = &does[..does.floor_char_boundary(SHOWN_BYTES_MAX)];
            let sign = if shown.len() < does.len() { "..." } else { "" };
            draw.note(format!("{shown}{sign}"), format!("{:.3}%", 100.0 * probability));
        }
        (spec, draw.drawn)
    }
}

impl Limited {
    /// The same with another number.
    pub const fn with_max(self, max: u32) -> Self {
        match self {
            Self::Connections { .. } => Self::Connections { max },
            Self::ConnectionRate { window, .. } => Self::ConnectionRate { max, window },
            Self::MessageRate { window, .. } => Self::MessageRate { max, window },
            Self::MessagesPerConnection { .. } => Self::MessagesPerConnection { max },
            Self::RecipientsPerMessage { .. } => Self::RecipientsPerMessage { max },
        }
    }

    /// Its number, of a rate with its time: `5`, `600/h`.
    pub fn shown(self) -> String {
        match self {
            Self::Connections { max }
            | Self::MessagesPerConnection { max }
            | Self::RecipientsPerMessage { max } => max.to_string(),
            Self::ConnectionRate { max, window } | Self::MessageRate { max, window } => {
                let window = show_duration(window);
                let one = window.strip_prefix('1').filter(|unit| unit.len() == 1);
                format!("{max}/{}", one.unwrap_or(&window))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_are_within_and_the_ends_are_reached() {
        let range = Uncertain { least: 4_u32, most: 25 };
        for (unit, expected) in [(0.0, 4), (0.5, 10), (0.999_999, 25)] {
            assert_eq!(range.pick(unit), expected, "{unit}");
        }
        let fixed = Uncertain { least: 7_u32, most: 7 };
        assert_eq!([fixed.pick(0.0), fixed.pick(0.999_999)], [7, 7]);
        let hold = Uncertain { least: Duration::from_secs(60), most: Duration::from_secs(900) };
        assert_eq!(hold.pick(0.0), Duration::from_secs(60));
        assert_eq!(hold.pick(0.5), Duration::from_secs(232));
        let window = Duration::from_secs;
        for (of, shown) in [(3600, "9/h"), (60, "9/m"), (10, "9/10s"), (5400, "9/1h30m")] {
            assert_eq!(Limited::MessageRate { max: 9, window: window(of) }.shown(), shown);
        }
        let share = Uncertain { least: 0.001, most: 0.1 };
        assert!((share.pick(0.5) - 0.01).abs() < 1e-9);
    }
}
