//! Retry schedules that surprise.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::super::diagnostic::Diagnostic;
use super::super::effective::{DeliveryOptions, MaxRetries};
use super::super::options::{OptionId, id};
use super::{AUTO_WITH_CAP, Context, HASTY, INTERVAL_ABOVE_MAX, OUTLIVES, View, warn};
use crate::queue::retry;
use crate::record::GiveUp;

const INTERVAL: OptionId = id("retry_interval");
const LONGEST: OptionId = id("max_retry_interval");
const RETRIES: OptionId = id("max_retries");
const EXPIRATION: OptionId = id("message_expiration");

/// How long common greylists hold a message back.
const GREYLIST: Duration = Duration::from_secs(300);

pub(super) fn check(view: &View<'_>, found: &mut Vec<Diagnostic>) {
    for context in view.contexts() {
        let Some(own) = context.own(&[LONGEST, EXPIRATION, INTERVAL, RETRIES]) else { continue };
        let options = context.delivery();
        if options.never_retry {
            // Every schedule is without effect, of which another lint tells.
            continue;
        }
        found.extend(hasty(&context, &options));
        found.extend(interval_above_max(&context, &options));
        let (age, limit) = last_attempt(&options);
        let (age_s, expiration_s) = (age.as_secs(), options.message_expiration.as_secs());
        match limit {
            GiveUp::MaxRetries
                if options.max_retries == MaxRetries::Auto && age_s * 2 < expiration_s =>
            {
                let message = format!(
                    "a message fails after {age_s} s, not after {expiration_s} s, because its \
                     retries are over"
                );
                let help = "set `max_retries = none`, or a number";
                found.push(warn(AUTO_WITH_CAP, own, message).help(help));
            }
            GiveUp::MaxTime if age_s > expiration_s + expiration_s / 10 => {
                let message = format!(
                    "a message fails after {age_s} s, although it expires after {expiration_s} s"
                );
                let help = "the age is looked at after a failed attempt; lower \
                            `max_retry_interval` if that is too late";
                found.push(warn(OUTLIVES, own, message).help(help));
            }
            GiveUp::MaxRetries | GiveUp::MaxTime => {}
        }
    }
}

fn hasty(context: &Context<'_>, options: &DeliveryOptions) -> Option<Diagnostic> {
    let own = context.own(&[INTERVAL])?;
    let early = options.retry_interval < GREYLIST;
    early.then(|| {
        let message = format!("the first retry comes after {} s", options.retry_interval.as_secs());
        let help = "common greylists hold a message back for 300 s";
        warn(HASTY, own, message).help(help)
    })
}

fn interval_above_max(context: &Context<'_>, options: &DeliveryOptions) -> Option<Diagnostic> {
    let own = context.own(&[INTERVAL, LONGEST])?;
    (options.retry_interval > options.max_retry_interval).then(|| {
        let seconds = options.max_retry_interval.as_secs();
        warn(INTERVAL_ABOVE_MAX, own, format!("every wait is {seconds} s"))
            .help("`retry_interval` is above `max_retry_interval`")
    })
}

/// The age at which a message that is always refused is attempted for the last time, and the limit
/// that ends it.
fn last_attempt(options: &DeliveryOptions) -> (Duration, GiveUp) {
    let mut age = Duration::ZERO;
    let mut attempts = 1;
    loop {
        if let Some(limit) = retry::limit_reached(options, attempts, age) {
            return (age, limit);
        }
        let wait = retry::wait_before_retry(options, attempts);
        if wait == options.max_retry_interval {
            return last_attempt_at_even_waits(options, attempts, age, wait);
        }
        age += wait;
        attempts += 1;
    }
}

/// The same from where all waits are the longest.
fn last_attempt_at_even_waits(
    options: &DeliveryOptions,
    attempts: u16,
    age: Duration,
    wait: Duration,
) -> (Duration, GiveUp) {
    let left = options.message_expiration.saturating_sub(age);
    // The options' ranges keep waits above zero and all times within 32 bits of seconds.
    let by_time = left.as_secs().div_ceil(wait.as_secs().max(1)) as u32;
    let made = u32::from(attempts) - 1;
    match retry::retries_allowed(options) {
        Some(allowed) if allowed.saturating_sub(made) <= by_time => {
            (age + wait * allowed.saturating_sub(made), GiveUp::MaxRetries)
        }
        _ => (age + wait * by_time, GiveUp::MaxTime),
    }
}
