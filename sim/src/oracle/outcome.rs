//! Outcome: 2xx is delivered, 4xx and a lost connection are delayed, 5xx is bounced; and the reply
//! in the record is the one the receiver gave.

use traject_engine::config::effective::{DeliveryMethod, DeliveryOptions};
use traject_engine::record::{Attempt, Event};
use traject_engine::smtp::reply::Severity;
use traject_engine::smtp::stage::Stage;

use super::{Finding, Law, Row, ensure};

/// Judges the result of an attempt.
pub(super) fn judge(event: &Event, row: &Row, options: &DeliveryOptions) -> Result<(), Finding> {
    let (attempt, fits) = match event {
        Event::Delivery(attempt) => {
            let fits = attempt.reply.severity() == Severity::Positive
                && attempt.stage == Stage::BodyReply
                && !attempt.reply.local;
            (attempt, fits)
        }
        Event::TransientFailure { attempt, .. } => {
            (attempt, attempt.reply.severity() == Severity::Transient)
        }
        Event::PermanentFailure(attempt) => (attempt, is_final(attempt, options)),
        Event::Expiry { attempt, last_reply, .. } => {
            let transient = |severity| severity == Severity::Transient;
            let fits = attempt.reply.severity() == Severity::Permanent
                && attempt.reply.local
                && last_reply.as_ref().is_none_or(|reply| transient(reply.severity()));
            (attempt, fits)
        }
        _ => return Ok(()),
    };
    let reply = &attempt.reply;
    ensure(LAW, fits, || format!("{} at {:?} became {}", reply, attempt.stage, kind(event)))?;
    let rewritten = options.response_transcode.is_some() && !matches!(event, Event::Delivery(_));
    // A 421 for one recipient is the last word for those after it, who have no answer of their own
    // (LMTP).
    let last_word = reply.code == 421 && options.delivery_method == DeliveryMethod::Lmtp;
    let heard = attempt.stage == Stage::BodyReply && !reply.local && !last_word;
    ensure(LAW, !heard || rewritten || reply.code == row.answered, || {
        format!("the receiver said {}, and the record {}", row.answered, reply.code)
    })
}

/// A receiver's 5xx, or our own before or instead of a dialogue; `never_retry` makes a transient
/// failure final, too, which the retry oracle knows about.
fn is_final(attempt: &Attempt, options: &DeliveryOptions) -> bool {
    match (attempt.reply.severity(), attempt.reply.local) {
        (Severity::Permanent, false) => true,
        (Severity::Permanent, true) => {
            // Nobody knows what became of a message whose connection was lost: never final, unless
            // somebody wants it so.
            options.response_transcode.is_some()
                || !matches!(attempt.stage, Stage::Connect | Stage::Body | Stage::BodyReply)
        }
        (Severity::Transient, _) => true,
        (Severity::Positive | Severity::Intermediate, _) => false,
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Delivery(_) => "a delivery",
        Event::TransientFailure { .. } => "a transient failure",
        Event::PermanentFailure(_) => "a permanent failure",
        _ => "an expiry",
    }
}

const LAW: Law = Law::Outcome;
