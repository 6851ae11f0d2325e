//! Random choices, each from a seed in the order they are made.

use std::ops::RangeInclusive;

use traject_engine::rng::{Purpose, Seed};

/// A stream of choices.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    seed: Seed,
    /// Which stream of the seed.
    stream: u64,
    thrown: u64,
}

impl Dice {
    pub(super) const fn new(seed: Seed, stream: u64) -> Self {
        Self { seed, stream, thrown: 0 }
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.thrown += 1;
        self.seed.draw_below(Purpose::Swarm, self.stream, self.thrown, bound)
    }

    pub(super) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True so many times in a hundred.
    pub(super) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len() as u64) as usize]
    }

    pub(super) fn pick_one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
