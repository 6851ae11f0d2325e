//! Everything a server session says, in one place.

use alloc::vec::Vec;
use core::fmt;

use crate::config::effective::ReceptionOptions;
use crate::ids::MessageId;
use crate::io::SpoolError;
use crate::limits::RECEIVED_HEADERS_MAX;
use crate::smtp::command::{CommandError, Verb};
use crate::smtp::data::{BodyError, BodyInfo};
use crate::smtp::reply::{EnhancedCode, Reply};

/// A reply of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u16,
    enhanced: EnhancedCode,
    text: &'static str,
}

const fn answer(code: u16, subject: u16, detail: u16, text: &'static str) -> Answer {
    Answer { code, enhanced: EnhancedCode((code / 100) as u8, subject, detail), text }
}

pub(super) const SENDER_OK: Answer = answer(250, 1, 0, "Sender OK");
pub(super) const RECIPIENT_OK: Answer = answer(250, 1, 5, "Recipient OK");
pub(super) const OK: Answer = answer(250, 0, 0, "OK");
pub(super) const CANNOT_VERIFY: Answer = answer(252, 5, 0, "Send mail and see");
pub(super) const HELP: Answer = answer(214, 0, 0, "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT");
pub(super) const GOODBYE: Answer = answer(221, 0, 0, "Goodbye");
pub(super) const TLS_GO_AHEAD: Answer = answer(220, 0, 0, "Ready to start TLS");
pub(super) const SHUTTING_DOWN: Answer = answer(421, 3, 2, "Shutting down");
pub(super) const IDLE_TOO_LONG: Answer = answer(421, 4, 2, "Idle for too long");
pub(super) const NO_MORE_MAIL: Answer = answer(421, 4, 5, "No more mail on this connection");
pub(super) const DATA_TOO_EARLY: Answer = answer(421, 5, 0, "Data sent before the go-ahead");
pub(super) const TOO_MANY_ERRORS: Answer = answer(421, 7, 0, "Too many errors");
pub(super) const NO_BINDING: Answer = answer(451, 7, 1, "No binding for this mail");
pub(super) const TOO_MANY_RECIPIENTS: Answer =
    answer(452, 5, 3, "Recipients per message limit reached");
pub(super) const TOO_MANY_RECIPIENTS_IN_ALL: Answer =
    answer(452, 5, 3, "Recipients per connection limit reached");
pub(super) const LINE_TOO_LONG: Answer = answer(500, 5, 2, "Line too long");
pub(super) const MAIL_GIVEN: Answer = answer(501, 5, 1, "MAIL FROM already given");
pub(super) const NO_MAIL: Answer = answer(503, 5, 1, "MAIL FROM needed first");
pub(super) const NO_RCPT: Answer = answer(503, 5, 1, "RCPT TO needed first");
pub(super) const TLS_IN_BETWEEN: Answer = answer(503, 5, 1, "Not between STARTTLS and TLS");
pub(super) const TLS_IN_MAIL: Answer = answer(503, 5, 1, "Not during a mail transaction");
pub(super) const TLS_HERE: Answer = answer(503, 5, 1, "TLS is active already");
pub(super) const TLS_INJECTED: Answer = answer(554, 5, 0, "Data sent behind STARTTLS");
pub(super) const NO_EHLO: Answer = answer(550, 5, 1, "EHLO or HELO needed first");
pub(super) const NO_NULL_SENDER: Answer = answer(550, 7, 1, "Null sender not accepted");
pub(super) const RELAYING_DENIED: Answer = answer(550, 7, 1, "relaying denied");
pub(super) const BLACKHOLED: Answer = answer(551, 7, 1, "recipient blackholed");
pub(super) const TOO_LARGE: Answer = answer(552, 3, 4, "Message size limit exceeded");

/// What a line that is no command gets.
pub(super) const fn to_command_error(verb: Verb, error: CommandError) -> Answer {
    match (error, verb) {
        (CommandError::Unrecognized, _) => answer(500, 5, 2, "Unrecognized command"),
        (CommandError::Characters, _) => {
            answer(500, 5, 2, "Control or non-ASCII character in command")
        }
        (CommandError::NotOffered, _) => answer(502, 5, 1, "Command not offered"),
        (CommandError::ClientName, _) => answer(501, 5, 2, "Invalid EHLO or HELO name"),
        (CommandError::Path(_), Verb::Mail) => answer(501, 5, 2, "MAIL FROM syntax error"),
        (CommandError::Path(_), _) => answer(501, 5, 2, "RCPT TO syntax error"),
        (CommandError::UnexpectedArgument, _) => answer(501, 5, 4, "No argument allowed"),
        (CommandError::ParameterValue, _) => answer(501, 5, 4, "Invalid parameter"),
        (CommandError::UnknownParameter, _) => answer(555, 5, 4, "Unknown parameter"),
    }
}

/// What a body gets that was not taken; `None` for one that may be accepted or whose client is
/// gone.
pub(super) const fn to_body(result: &Result<BodyInfo, BodyError>) -> Option<Answer> {
    match result {
        Ok(info) if info.received_headers >= RECEIVED_HEADERS_MAX => {
            Some(answer(554, 4, 6, "Too many hops: mail loop"))
        }
        Ok(_) | Err(BodyError::Lost(_)) => None,
        Err(BodyError::TooLarge) => Some(TOO_LARGE),
        Err(BodyError::StrayControl) => {
            Some(answer(550, 6, 0, "Lone CR or LF, or NUL, in message"))
        }
        Err(BodyError::Spool(error)) => Some(to_spool_error(error)),
        Err(BodyError::Missing(_)) => Some(TRANSACTION_FAILED),
    }
}

/// What a message gets that could not be made durable.
pub(super) const fn to_spool_error(error: &SpoolError) -> Answer {
    match error {
        SpoolError::Full => answer(452, 3, 1, "Out of space"),
        SpoolError::Io(_) => TRANSACTION_FAILED,
    }
}

const TRANSACTION_FAILED: Answer = answer(451, 3, 0, "Transaction failed");

impl Answer {
    /// Whether the connection ends with these words.
    pub(super) const fn closes(self) -> bool {
        matches!(self.code, 221 | 421)
    }

    /// Whether it is counted as the client's mistake. What may be different next time is not, nor
    /// what only our own wish explains.
    pub(super) fn is_error(self) -> bool {
        self.code >= 500 && self != BLACKHOLED
    }

    pub(super) const fn is_refusal(self) -> bool {
        self.code >= 400
    }

    pub(super) fn reply(self) -> Reply {
        Reply::local(self.code, self.enhanced, self.text)
    }

    /// Appends the line.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let Self { code, enhanced, text } = self;
        push_line(out, format_args!("{code} {enhanced} {text}"));
    }
}

/// The first words on a connection.
pub(super) fn write_banner(options: &ReceptionOptions, out: &mut Vec<u8>) {
    match &options.static_banner {
        Some(banner) => push_line(out, format_args!("{banner}")),
        None => push_line(out, format_args!("220 {} ESMTP", options.banner_hostname)),
    }
}

pub(super) fn write_ehlo(options: &ReceptionOptions, starttls: bool, out: &mut Vec<u8>) {
    push_line(out, format_args!("250-{}", options.banner_hostname));
    push_line(out, format_args!("250-PIPELINING"));
    push_line(out, format_args!("250-SIZE {}", options.max_message_size_bytes));
    push_line(out, format_args!("250-8BITMIME"));
    if starttls {
        push_line(out, format_args!("250-STARTTLS"));
    }
    push_line(out, format_args!("250 ENHANCEDSTATUSCODES"));
}

pub(super) fn write_helo(options: &ReceptionOptions, out: &mut Vec<u8>) {
    push_line(out, format_args!("250 {}", options.banner_hostname));
}

/// DATA may begin.
pub(super) fn write_go_ahead(out: &mut Vec<u8>) {
    push_line(out, format_args!("354 End data with <CR><LF>.<CR><LF>"));
}

/// The message is ours.
pub(super) fn write_accepted(message: MessageId, out: &mut Vec<u8>) {
    push_line(out, format_args!("250 2.0.0 Accepted as {message}"));
}

fn push_line(out: &mut Vec<u8>, line: fmt::Arguments<'_>) {
    out.reserve(64);
    // Unwrap is OK because appending does not fail.
    fmt::write(&mut OneLine(out), line).unwrap();
    out.extend_from_slice(b"\r\n");
}

/// Takes text without the control characters that would make it two lines, whatever names were
/// configured.
struct OneLine<'a>(&'a mut Vec<u8>);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split(|letter: char| letter.is_ascii_control()) {
            self.0.extend_from_slice(piece.as_bytes());
        }
        Ok(())
    }
}
