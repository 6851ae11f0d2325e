//! Marks on rare branches: whether a run has been there. Random worlds must reach every one of
//! them, so that a branch which nobody tests is noticed.

/// A rare branch. What records and the reasons of waiting tell needs no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// A queue was moved to delayed, and some of its mail was too old for that.
    TooOldToWait,
    /// All mail of a domain failed because it could not be looked up.
    Purged,
    /// The place of a message at a throttle was given back.
    Refunded,
    /// A connection of the reserve was given to a queue.
    ReserveSwept,
    /// What was in a transaction at a reload belongs to another queue now.
    SentHome,
    /// A connection that was not needed any more ended while it was being made.
    OutdatedOnArrival,
    /// A connection's last message was one that was not attempted.
    NotAttempted,
    /// A queue in line at a limit had to ask the DNS anew, and others went before it.
    SteppedAside,
    /// A connection took longer to come up than the window of a throttle is long.
    TurnLost,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TooOldToWait,
        Self::Purged,
        Self::Refunded,
        Self::ReserveSwept,
        Self::SentHome,
        Self::OutdatedOnArrival,
        Self::NotAttempted,
        Self::SteppedAside,
        Self::TurnLost,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooOldToWait => "too old to wait",
            Self::Purged => "purged",
            Self::Refunded => "refunded",
            Self::ReserveSwept => "reserve swept",
            Self::SentHome => "sent home",
            Self::OutdatedOnArrival => "outdated on arrival",
            Self::NotAttempted => "not attempted",
            Self::SteppedAside => "stepped aside",
            Self::TurnLost => "turn lost",
        }
    }
}

/// The marks that were hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u32);

impl Marks {
    /// Notes that a branch was taken.
    pub const fn hit(&mut self, mark: Mark) {
        self.0 |= 1 << mark as u32;
    }

    /// Adds what was hit elsewhere.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether a branch was taken.
    pub const fn has(self, mark: Mark) -> bool {
        self.0 & (1 << mark as u32) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_where_a_run_has_been() {
        let mut marks = Marks::default();
        for (place, mark) in Mark::ALL.into_iter().enumerate() {
            assert_eq!(mark as usize, place, "{mark:?}");
            assert!(!marks.has(mark));
            marks.hit(mark);
            assert!(marks.has(mark));
        }
    }
}
