//! The retry schedule: what becomes of a recipient after a transient failure.
//!
//! The wait before retry n is `retry_interval * 2^(n-1)`, at most `max_retry_interval`. Whether
//! there is a retry n at all is decided by `never_retry`, `max_retries` and
//! `message_expiration`, in this order.

use core::time::Duration;

use crate::config::effective::{DeliveryOptions, MaxRetries};
use crate::record::GiveUp;
use crate::smtp::reply::{EnhancedCode, Reply};

/// What becomes of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this wait.
    Retry(Duration),
    /// A limit was reached: report it.
    GiveUp(GiveUp),
    /// `never_retry`: the transient failure is final.
    Final,
}

/// Decides after a transient failure. `attempts` counts the attempts made, this one included, so
/// `attempts - 1` retries have been made; `age` is the time since reception.
pub fn after_transient_failure(options: &DeliveryOptions, attempts: u16, age: Duration) -> Verdict {
    if options.never_retry {
        return Verdict::Final;
    }
    match limit_reached(options, attempts, age) {
        Some(limit) => Verdict::GiveUp(limit),
        None => Verdict::Retry(wait_before_retry(options, attempts)),
    }
}

/// The limit that forbids another attempt after `attempts` of them, if any. A message that was
/// never attempted has no retries to run out of.
pub fn limit_reached(options: &DeliveryOptions, attempts: u16, age: Duration) -> Option<GiveUp> {
    let retries_made = u32::from(attempts).checked_sub(1);
    match (retries_made, retries_allowed(options)) {
        (Some(made), Some(allowed)) if made >= allowed => Some(GiveUp::MaxRetries),
        _ if is_too_old(options, age) => Some(GiveUp::MaxTime),
        _ => None,
    }
}

/// Whether a message goes no further for its age alone.
pub fn is_too_old(options: &DeliveryOptions, age: Duration) -> bool {
    age >= options.message_expiration
}

/// The wait before retry `n`, counted from 1. For a message without attempts this is also the
/// wait when its queue is moved to delayed, which is no attempt.
pub fn wait_before_retry(options: &DeliveryOptions, n: u16) -> Duration {
    let doublings = u32::from(n.saturating_sub(1)).min(63);
    let factor = 1_u64 << doublings;
    let micros = u64::try_from(options.retry_interval.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros.saturating_mul(factor)).min(options.max_retry_interval)
}

/// How many retries a message gets; `None` for no limit.
///
/// `auto` is the largest n with `retry_interval * (2^n - 1) <= message_expiration`; the ceiling
/// `max_retry_interval` is left out of it (decision D4).
pub fn retries_allowed(options: &DeliveryOptions) -> Option<u32> {
    match options.max_retries {
        MaxRetries::Unlimited => None,
        MaxRetries::Count(retries) => Some(retries),
        MaxRetries::Auto if options.retry_interval.is_zero() => None,
        MaxRetries::Auto => {
            let intervals =
                options.message_expiration.as_micros() / options.retry_interval.as_micros();
            // The largest n with 2^n <= intervals + 1.
            Some((intervals + 1).ilog2())
        }
    }
}

/// The verdict in the form of a reply, for records and bounces.
pub fn give_up_reply(why: GiveUp) -> Reply {
    let text = match why {
        GiveUp::MaxRetries => "delivery given up: all retries made (max_retries)",
        GiveUp::MaxTime => "delivery given up: message too old (message_expiration)",
    };
    Reply::local(554, EnhancedCode(5, 4, 7), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const HOUR: u64 = 3600;

    fn options(text: &str) -> DeliveryOptions {
        Config::from_text(text).unwrap().delivery_options("default", "example.com")
    }

    /// Runs the schedule against a receiver that always refuses: instants of the attempts in
    /// seconds after reception, and how it ends.
    fn schedule(text: &str) -> (alloc::vec::Vec<u64>, GiveUp) {
        let options = options(text);
        let mut at = 0;
        let mut attempts = alloc::vec::Vec::new();
        loop {
            attempts.push(at);
            let made = u16::try_from(attempts.len()).unwrap();
            match after_transient_failure(&options, made, Duration::from_secs(at)) {
                Verdict::Retry(wait) => at += wait.as_secs(),
                Verdict::GiveUp(why) => return (attempts, why),
                Verdict::Final => unreachable!("never_retry is not set"),
            }
            assert!(attempts.len() < 1000);
        }
    }

    #[test]
    fn the_schedule_is_exact() {
        let table: &[(&str, &[u64], GiveUp)] = &[
            // The defaults: 1200 doubling to 43200, a day, auto = 6 retries.
            ("", &[0, 1200, 3600, 8400, 18000, 37200, 75600], GiveUp::MaxRetries),
            // Without a limit on retries age decides, and only after an attempt: 33 hours.
            (
                "max_retries = none",
                &[0, 1200, 3600, 8400, 18000, 37200, 75600, 118_800],
                GiveUp::MaxTime,
            ),
            // The trap of auto with a low ceiling: six retries are over after two hours.
            (
                "retry_interval = 1200 max_retry_interval = 1200",
                &[0, 1200, 2400, 3600, 4800, 6000, 7200],
                GiveUp::MaxRetries,
            ),
            ("max_retries = 1", &[0, 1200], GiveUp::MaxRetries),
            ("max_retries = 2", &[0, 1200, 3600], GiveUp::MaxRetries),
            (
                "retry_interval = 60 max_retry_interval = 100 max_retries = none \
                 message_expiration = 300",
                &[0, 60, 160, 260, 360],
                GiveUp::MaxTime,
            ),
        ];
        for (text, attempts, why) in table {
            assert_eq!(schedule(text), (attempts.to_vec(), *why), "{text}");
        }
    }

    #[test]
    fn auto_counts_the_doublings_that_fit() {
        for (interval, expiration, retries) in [
            (1200, 24 * HOUR, 6),
            (1200, 1200, 1),
            (1200, 1199, 0),
            (1, 1023, 10),
            (1, 1022, 9),
            (600, 7 * 24 * HOUR, 9),
        ] {
            let text =
                alloc::format!("retry_interval = {interval} message_expiration = {expiration}");
            assert_eq!(retries_allowed(&options(&text)), Some(retries), "{text}");
        }
    }

    #[test]
    fn never_retry_makes_the_first_failure_final() {
        let mut options = options("");
        options.never_retry = true;
        assert_eq!(after_transient_failure(&options, 1, Duration::ZERO), Verdict::Final);
    }

    #[test]
    fn a_message_without_attempts_runs_out_of_time_but_not_of_retries() {
        let options = options("max_retries = 1");
        assert_eq!(limit_reached(&options, 0, Duration::ZERO), None);
        let day = Duration::from_secs(24 * HOUR);
        assert_eq!(limit_reached(&options, 0, day), Some(GiveUp::MaxTime));
    }

    #[test]
    fn waits_never_overflow() {
        let options = options("retry_interval = 4000000000 max_retry_interval = 4000000000");
        assert_eq!(wait_before_retry(&options, u16::MAX), Duration::from_secs(4_000_000_000));
    }
}
