//! Random bytes for the cryptography of a simulated world.

use std::cell::Cell;
use std::marker::PhantomData;

use traject_engine::rng::{Purpose, Seed};

thread_local! {
    /// The seed of this thread's world, and how many bytes' worth of draws are gone.
    ///
    /// rustls wants its sources of randomness for all of time (`&'static`) and does not say for
    /// which connection it asks, so they cannot be a part of the world. A world lives on one
    /// thread, and the order of its handshakes is a function of its inputs: so are the draws.
    /// What is drawn shows in no record and in no length of a packet.
    static DRAWN: Cell<Option<(Seed, u64)>> = const { Cell::new(None) };
}

/// While it lives, the cryptography of this thread draws from a seed. Without one, handshakes fail.
#[derive(Debug)]
pub struct Entropy {
    before: Option<(Seed, u64)>,
    _one_thread: PhantomData<*const ()>,
}

impl Entropy {
    /// Begins.
    pub fn enter(seed: Seed) -> Self {
        Self { before: DRAWN.replace(Some((seed, 0))), _one_thread: PhantomData }
    }
}

impl Drop for Entropy {
    fn drop(&mut self) {
        DRAWN.set(self.before);
    }
}

/// Fills `buffer`; `None` when nothing is to be drawn from.
pub(super) fn draw(buffer: &mut [u8]) -> Option<()> {
    let (seed, mut drawn) = DRAWN.get()?;
    for piece in buffer.chunks_mut(8) {
        let bytes = seed.draw(Purpose::Tls, HANDSHAKES, drawn).to_le_bytes();
        piece.copy_from_slice(&bytes[..piece.len()]);
        drawn += 1;
    }
    DRAWN.set(Some((seed, drawn)));
    Some(())
}

/// Keeps these draws apart from those of keys, which are named by what they are for.
const HANDSHAKES: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_depends_on_the_seed_alone_and_ends_with_it() {
        let drawn = |seed| {
            let _entropy = Entropy::enter(Seed::from_u64(seed));
            let mut bytes = [0; 44];
            draw(&mut bytes[..13]).unwrap();
            draw(&mut bytes[13..]).unwrap();
            bytes
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert_ne!(drawn(1)[..8], drawn(1)[16..24]);
        assert_eq!(draw(&mut [0; 8]), None);
    }
}
