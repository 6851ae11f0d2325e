//! The connection goal: how many connections a queue of a given length wants.

/// Connections wanted in all by a pair with `waiting` recipients in its active queue, when
/// `max_outbound_connections` is `max` and `connection_allocation_aggressiveness` is
/// `aggressiveness`: `ceil(max * (1 - exp(-aggressiveness * waiting / max)))` (decision D9).
/// Nothing for an empty queue, at least one for any other, never more than `max`.
pub(crate) fn connection_goal(max: u32, aggressiveness: f64, waiting: u64) -> u32 {
    if max == 0 || waiting == 0 {
        return 0;
    }
    let ceiling = f64::from(max);
    let wanted = ceiling * -libm::expm1(-aggressiveness * waiting as f64 / ceiling);
    // A float cast saturates; a nonsensical aggressiveness (negative, NaN) gives 0 here.
    (libm::ceil(wanted) as u32).clamp(1, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_of_the_manual() {
        // (max, aggressiveness, waiting, goal); the two curves for 32 are read off a graph at
        // 25, 100 and 395 messages: 6.7, 19.5, 31.2 (normal) and 14.2, 28.9, 32.0 (high).
        for (max, aggressiveness, waiting, goal) in [
            (32, 0.3, 0, 0),
            (32, 0.3, 1, 1),
            (32, 0.3, 4, 2),
            (32, 0.3, 25, 7),
            (32, 0.3, 100, 20),
            (32, 0.3, 395, 32),
            (32, 0.75, 1, 1),
            (32, 0.75, 25, 15),
            (32, 0.75, 100, 29),
            (32, 0.75, 395, 32),
            (1, 0.3, 1_000_000, 1),
            (0, 0.3, 10, 0),
            (u32::MAX, 0.3, 10, 3),
            (32, f64::NAN, 10, 1),
        ] {
            let got = connection_goal(max, aggressiveness, waiting);
            assert_eq!(got, goal, "max {max}, a {aggressiveness}, waiting {waiting}");
        }
    }

    #[test]
    fn never_over_the_cap_and_never_falling() {
        for max in [1, 2, 5, 32, 500] {
            let mut last = 0;
            for waiting in 0..5000 {
                let goal = connection_goal(max, 0.3, waiting);
                assert!(goal <= max && goal >= last);
                last = goal;
            }
        }
    }
}
