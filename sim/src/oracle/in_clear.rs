//! What receivers saw of TLS: what must be under it never comes in clear, and what must not be
//! under it never does.

use traject_engine::ids::MessageId;
use traject_engine::tls::policy::TlsMode;

use super::{Answer, Book, Finding, ensure};

/// A receiver has the content of a message for one recipient, in clear or under TLS.
pub(super) fn judge_answer(
    message: MessageId,
    recipient: &str,
    answer: Answer,
    book: &mut Book,
) -> Result<(), Finding> {
    let pair = book.row_named(message, recipient)?.pair;
    let fits = match book.options(pair).tls.mode {
        TlsMode::Required => answer.secured,
        TlsMode::IfAvailable => true,
        TlsMode::No => !answer.secured,
    };
    ensure("tls", fits, || {
        let how = if answer.secured { "under TLS" } else { "in clear" };
        format!("message {message} for {recipient} went {how}")
    })
}
