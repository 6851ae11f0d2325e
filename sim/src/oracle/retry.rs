//! Retry: never before due, on a schedule that is exact, and never after its end.
//!
//! Computed anew from the options: wait before retry n = min(retry_interval * 2^(n-1),
//! max_retry_interval); no retry when `never_retry`, after `max_retries`, or from the age of
//! `message_expiration` on.

use std::time::Duration;

use traject_engine::config::effective::{DeliveryOptions, MaxRetries};
use traject_engine::record::{Event, GiveUp, Record};
use traject_engine::smtp::reply::Severity;
use traject_engine::smtp::stage::Stage;

use super::{Finding, Law, Row, ensure};

/// Judges the instant of a result, and what it says of the next.
pub(super) fn judge(record: &Record, row: &Row, options: &DeliveryOptions) -> Result<(), Finding> {
    match &record.event {
        Event::Delivery(attempt) => early(record, row, attempt.conn.is_some()),
        Event::PermanentFailure(attempt) => {
            early(record, row, attempt.conn.is_some())?;
            let transient = attempt.reply.severity() == Severity::Transient;
            ensure(LAW, !transient || options.never_retry, || {
                format!("{} is final without never_retry", attempt.reply)
            })
        }
        Event::TransientFailure { attempt, next_attempt_at } => {
            early(record, row, attempt.conn.is_some())?;
            let end = end(options, attempt.attempts, attempt.age);
            ensure(LAW, end.is_none(), || {
                format!("attempt {} is to be repeated after {end:?}", attempt.attempts)
            })?;
            let due = record.at + wait(options, attempt.attempts);
            ensure(LAW, *next_attempt_at == due, || {
                format!("attempt {} is due at {due}, not {next_attempt_at}", attempt.attempts + 1)
            })
        }
        Event::Expiry { attempt, why, last_reply } => {
            early(record, row, last_reply.is_some())?;
            // Where there was no attempt, none has failed: the queue was moved to delayed, where
            // age alone counts, or its turn had come.
            let is_too_old = attempt.age >= options.message_expiration;
            let expected = match attempt.stage {
                Stage::Queue if *why == GiveUp::MaxTime && is_too_old => Some(End::GiveUp(*why)),
                Stage::Queue => limit(options, attempt.attempts, attempt.age),
                _ => end(options, attempt.attempts, attempt.age),
            };
            ensure(LAW, expected == Some(End::GiveUp(*why)), || {
                format!("given up for {why:?}, where {expected:?} was expected")
            })?;
            let unattempted = last_reply.is_none();
            ensure(LAW, !unattempted || options.never_attempt_expired_messages, || {
                "expired without an attempt, and without never_attempt_expired_messages".into()
            })
        }
        _ => Ok(()),
    }
}

fn early(record: &Record, row: &Row, attempted: bool) -> Result<(), Finding> {
    ensure(LAW, !attempted || record.at >= row.due_at, || {
        format!("attempted before its due time {}", row.due_at)
    })
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NeverRetry,
    GiveUp(GiveUp),
}

/// What ends a recipient whose attempt has failed.
fn end(options: &DeliveryOptions, attempts: u16, age: Duration) -> Option<End> {
    match options.never_retry {
        true => Some(End::NeverRetry),
        false => limit(options, attempts, age),
    }
}

/// The limit that is reached.
fn limit(options: &DeliveryOptions, attempts: u16, age: Duration) -> Option<End> {
    let allowed = match options.max_retries {
        MaxRetries::Unlimited => None,
        MaxRetries::Count(count) => Some(count),
        MaxRetries::Auto => auto(options),
    };
    let retries = attempts.checked_sub(1).map(u32::from);
    if retries.zip(allowed).is_some_and(|(made, allowed)| made >= allowed) {
        Some(End::GiveUp(GiveUp::MaxRetries))
    } else if age >= options.message_expiration {
        Some(End::GiveUp(GiveUp::MaxTime))
    } else {
        None
    }
}

/// The largest n with retry_interval * (2^n - 1) <= message_expiration.
fn auto(options: &DeliveryOptions) -> Option<u32> {
    let interval = options.retry_interval.as_micros();
    let fits = |n: u32| interval * ((1_u128 << n) - 1) <= options.message_expiration.as_micros();
    (interval > 0).then(|| (0..64).take_while(|n| fits(*n)).count() as u32 - 1)
}

fn wait(options: &DeliveryOptions, attempts: u16) -> Duration {
    let mut wait = options.retry_interval;
    for _ in 1..attempts {
        if wait >= options.max_retry_interval {
            break;
        }
        wait = wait.saturating_mul(2);
    }
    wait.min(options.max_retry_interval)
}

const LAW: Law = Law::Retry;
