//! Keyed randomness.
//!
//! There is no stream of random numbers to take the next one from: a draw is a function of
//! (seed, purpose, entity, n). One draw more or less in one place therefore never shifts the
//! draws of another, and two runs that differ in one option can be compared message by message.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a draw is for. Each purpose is a separate family of draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Order of exchanges of equal preference (RFC 5321 section 5.1).
    MxOrder = 1,
    /// Order of the addresses of one exchange.
    AddressOrder = 2,
    /// Spread of due times in bulk moves from the active to the delayed queue.
    DelayedFuzz = 3,
    /// Choice of a binding inside a binding group.
    BindingChoice = 4,
    /// Latency and jitter of simulated links.
    Latency = 5,
    /// Replies of simulated receivers.
    Receiver = 6,
    /// Simulated traffic: arrival times, recipients, sizes.
    Traffic = 7,
    /// Bytes of simulated message bodies.
    Body = 8,
    /// Simulated DNS: latency and failures.
    Dns = 9,
    /// Simulated TLS: keys, and what hellos are filled with.
    Tls = 10,
    /// Numbers of simulated receivers that nobody outside knows for sure.
    Uncertain = 11,
    /// Boundaries between the parts of notices.
    NoticeBoundary = 13,
    /// Random worlds.
    Swarm = 12,
    /// What a simulated power cut leaves of what was not synced.
    Disk = 14,
}

/// The root of all randomness of one engine or one simulated world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// Spreads a small number, as a person types it, over a whole seed.
    pub fn from_u64(seed: u64) -> Self {
        let mut bytes = [0; 32];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The `n`-th draw for `purpose` on behalf of `entity`, uniform over all of `u64`.
    pub fn draw(&self, purpose: Purpose, entity: u64, n: u64) -> u64 {
        let mut key = self.0;
        for (at, word) in [(0, purpose as u64), (8, entity), (16, n)] {
            for (byte, mixed) in key[at..at + 8].iter_mut().zip(word.to_le_bytes()) {
                *byte ^= mixed;
            }
        }
        ChaCha8Rng::from_seed(key).next_u64()
    }

    /// A draw in `0..bound` (0 when `bound` is 0). The bias of the multiplication method is below
    /// `bound / 2^64`.
    pub fn draw_below(&self, purpose: Purpose, entity: u64, n: u64, bound: u64) -> u64 {
        let wide = u128::from(self.draw(purpose, entity, n)) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A draw in `[0, 1)` with 53 random bits.
    pub fn draw_unit(&self, purpose: Purpose, entity: u64, n: u64) -> f64 {
        (self.draw(purpose, entity, n) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A stable 64-bit name for an entity that is known by its bytes (FNV-1a), to key draws with.
pub fn entity(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_every_part_of_the_key() {
        let seed = Seed::from_u64(7);
        let draw = seed.draw(Purpose::MxOrder, 1, 1);
        assert_eq!(draw, seed.draw(Purpose::MxOrder, 1, 1));
        assert_ne!(draw, seed.draw(Purpose::AddressOrder, 1, 1));
        assert_ne!(draw, seed.draw(Purpose::MxOrder, 2, 1));
        assert_ne!(draw, seed.draw(Purpose::MxOrder, 1, 2));
        assert_ne!(draw, Seed::from_u64(8).draw(Purpose::MxOrder, 1, 1));
    }

    /// The values themselves are part of the promise "same commit, same seed, same trace":
    /// a dependency that changes them must be noticed.
    #[test]
    fn draws_are_pinned() {
        let seed = Seed::from_u64(42);
        let drawn: alloc::vec::Vec<u64> =
            (0..4).map(|n| seed.draw_below(Purpose::Latency, 3, n, 1000)).collect();
        assert_eq!(drawn, [453, 609, 202, 261]);
    }

    #[test]
    fn below_is_below_and_about_uniform() {
        let seed = Seed::from_u64(1);
        let mut counts = [0_u32; 4];
        for n in 0..4000 {
            counts[seed.draw_below(Purpose::MxOrder, 9, n, 4) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(seed.draw_below(Purpose::MxOrder, 9, 0, 0), 0);
    }
}
