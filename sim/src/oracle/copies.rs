//! Copies: what receivers took against what the engine says was delivered. A second copy is
//! allowed only when the connection died while the receiver had the first.

use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::record::{Attempt, Event};
use traject_engine::smtp::stage::Stage;

use super::{Answer, Book, Finding, Law, PairId, Row, State, ensure};

/// A receiver answered the content of a message for one recipient. Tells whose mail it is when it
/// took a copy that it or another had already.
pub(super) fn judge_answer(
    at: Timestamp,
    message: MessageId,
    recipient: &str,
    answer: Answer,
    book: &mut Book,
) -> Result<Option<PairId>, Finding> {
    let row = book.row_named(message, recipient)?;
    let who = || format!("message {message} for {recipient}");
    // A receiver may be slower than our patience: its answer to an attempt that was given up.
    let is_late = answer.connected_at <= row.lost_at;
    ensure(LAW, row.state == State::Pending || is_late, || {
        format!("{} was sent again after it was {:?}", who(), row.state)
    })?;
    ensure(Law::Retry, at >= row.due_at || is_late, || {
        format!("{} was sent before its due time {}", who(), row.due_at)
    })?;
    row.answered = answer.code.unwrap_or(0);
    row.copies += u16::from(answer.taken);
    ensure(LAW, row.copies <= row.lost + 1, || {
        format!("{} copies of {}, and {} lost connections", row.copies, who(), row.lost)
    })?;
    Ok((answer.taken && row.copies > 1).then_some(row.pair))
}

/// The engine says what became of a recipient.
pub(super) fn judge_result(event: &Event, row: &Row) -> Result<(), Finding> {
    match event {
        Event::Delivery(attempt) => ensure(LAW, row.copies > 0, || {
            format!("{} is delivered, and no receiver has it", attempt.mailbox)
        }),
        Event::PermanentFailure(attempt) | Event::Expiry { attempt, .. } => {
            let unknown = row.lost + u16::from(is_lost(attempt));
            ensure(LAW, row.copies <= unknown, || {
                format!("{} failed, and a receiver has it", attempt.mailbox)
            })
        }
        _ => Ok(()),
    }
}

/// Whether an attempt ended without our knowing whether the receiver took the message.
pub(super) fn is_lost(attempt: &Attempt) -> bool {
    attempt.reply.local && matches!(attempt.stage, Stage::Body | Stage::BodyReply)
}

const LAW: Law = Law::Copies;
