//! What receivers saw of TLS: what must be under it never comes in clear, and what must not be
//! under it never does.

use std::time::Duration;

use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::tls::policy::TlsMode;

use super::{Answer, Book, Finding, Law, ensure};

/// A receiver has the content of a message for one recipient, in clear or under TLS.
pub(super) fn judge_answer(
    at: Timestamp,
    message: MessageId,
    recipient: &str,
    answer: Answer,
    book: &mut Book,
) -> Result<(), Finding> {
    let pair = book.row_named(message, recipient)?.home;
    // A connection goes by what was in force when it was begun, and may outlive that.
    let begun_at = answer.connected_at - CONNECTING_MAX;
    let fits = book.tls_within(pair, begun_at, at).any(|mode| match mode {
        TlsMode::Required => answer.secured,
        TlsMode::IfAvailable => true,
        TlsMode::No => !answer.secured,
    });
    ensure(Law::Tls, fits, || {
        let how = if answer.secured { "under TLS" } else { "in clear" };
        format!("message {message} for {recipient} went {how}")
    })
}

/// Longest time before an exchange sees a connection that was begun: it may have been out of reach.
const CONNECTING_MAX: Duration = Duration::from_secs(600);
