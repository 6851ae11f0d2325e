//! The text of a notice: a `multipart/report` for people and programs (RFC 3464, RFC 6522).
//!
//! A fixed form in three parts. All that others said is made printable ASCII here and folded, so
//! that nothing a receiver replies can add a line of its own.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use super::{End, NoticeKind, Outcome};
use crate::ids::MessageId;
use crate::io::{BodyPart, Quote};
use crate::smtp::address::Mailbox;
use crate::smtp::date::rfc5322_date;
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::time::Timestamp;

/// What a notice is made of.
pub(super) struct Facts<'a> {
    pub(super) id: MessageId,
    /// Makes the boundary one that nobody can guess.
    pub(super) mark: u64,
    pub(super) now: Timestamp,
    pub(super) hostname: &'a str,
    pub(super) kind: NoticeKind,
    pub(super) to: &'a Mailbox,
    /// `mailerdaemon`.
    pub(super) from: Option<&'a str>,
    pub(super) outcomes: &'a [Outcome],
    pub(super) arrived_at: Timestamp,
    pub(super) eight_bit: bool,
    pub(super) quote: Option<(MessageId, Quote)>,
}

impl Facts<'_> {
    /// The body, for the driver to put together.
    pub(super) fn to_parts(&self) -> Vec<BodyPart> {
        let mut text = self.header();
        text.push_str(&self.explanation());
        text.push_str(&self.status());
        let Some((message, quote)) = self.quote else {
            text.push_str(&format!("--{}--\r\n", self.boundary()));
            return vec![BodyPart::Text(text.into_bytes())];
        };
        text.push_str(&self.quote_header(quote));
        let end = format!("\r\n--{}--\r\n", self.boundary());
        vec![
            BodyPart::Text(text.into_bytes()),
            BodyPart::Quote { message, quote },
            BodyPart::Text(end.into_bytes()),
        ]
    }

    fn boundary(&self) -> String {
        format!("=_{:x}_{:016x}", self.id.0, self.mark)
    }

    fn header(&self) -> String {
        let hostname = self.hostname;
        let from = match self.from {
            Some(from) => Cow::Borrowed(from),
            None => Cow::Owned(format!("mailer-daemon@{hostname}")),
        };
        let subject = match self.kind {
            NoticeKind::Failed => "Your message could not be delivered",
            NoticeKind::Delayed => "Your message is delayed",
        };
        // What is quoted may hold bytes above 127, and so this does (RFC 2045 section 6.4).
        let encoding = if self.is_eight_bit() { EIGHT_BIT } else { "" };
        format!(
            "Message-ID: <{id}.{mark:x}@{hostname}>\r\n\
             Date: {date}\r\n\
             From: {from}\r\n\
             To: <{to}>\r\n\
             Subject: {subject}\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n \
             boundary=\"{boundary}\"\r\n\
             {encoding}\r\n\
             This is a report in several parts, in MIME format.\r\n\r\n",
            id = self.id,
            mark = self.mark & 0xffff_ffff,
            date = rfc5322_date(self.now),
            to = self.to,
            boundary = self.boundary(),
        )
    }

    fn is_eight_bit(&self) -> bool {
        self.eight_bit && self.quote.is_some()
    }

    /// The part for people.
    fn explanation(&self) -> String {
        let boundary = self.boundary();
        let mut text =
            format!("--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
        let hostname = self.hostname;
        push_wrapped(&mut text, "", &format!("This is the mail system at {hostname}."));
        text.push_str("\r\n");
        push_wrapped(
            &mut text,
            "",
            match self.kind {
                NoticeKind::Failed => {
                    "Your message could not be delivered to these recipients. They will not be \
                 tried again:"
                }
                NoticeKind::Delayed => {
                    "Your message has not been delivered to these recipients yet. They will be tried \
                 again; you need not send it once more:"
                }
            },
        );
        for outcome in self.outcomes {
            text.push_str(&format!("\r\n<{}>\r\n", outcome.mailbox));
            let story = story(outcome.end.as_ref());
            push_wrapped(&mut text, "    ", &story);
            if let Some(until) = outcome.tried_until {
                let until = rfc5322_date(until);
                push_wrapped(&mut text, "    ", &format!("It will be tried until {until}."));
            }
        }
        text.push_str("\r\n");
        text
    }

    /// The part for programs.
    fn status(&self) -> String {
        let boundary = self.boundary();
        let mut text = format!("--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n");
        text.push_str(&format!("Reporting-MTA: dns; {}\r\n", self.hostname));
        text.push_str(&format!("Arrival-Date: {}\r\n", rfc5322_date(self.arrived_at)));
        for outcome in self.outcomes {
            text.push_str(&format!("\r\nFinal-Recipient: rfc822; {}\r\n", outcome.mailbox));
            let end = outcome.end.as_ref();
            let action = match self.kind {
                NoticeKind::Failed => "failed",
                NoticeKind::Delayed => "delayed",
            };
            text.push_str(&format!("Action: {action}\r\nStatus: {}\r\n", status_code(end)));
            if let Some(end) = end {
                push_end(&mut text, end);
            }
            if let Some(until) = outcome.tried_until {
                text.push_str(&format!("Will-Retry-Until: {}\r\n", rfc5322_date(until)));
            }
        }
        text.push_str("\r\n");
        text
    }

    fn quote_header(&self, quote: Quote) -> String {
        let boundary = self.boundary();
        let kind = match quote {
            Quote::Headers => "text/rfc822-headers",
            Quote::All => "message/rfc822",
        };
        let encoding = if self.is_eight_bit() { EIGHT_BIT } else { "" };
        format!("--{boundary}\r\nContent-Type: {kind}\r\n{encoding}\r\n")
    }
}

const EIGHT_BIT: &str = "Content-Transfer-Encoding: 8bit\r\n";

/// How it ended, in a sentence.
fn story(end: Option<&End>) -> String {
    let Some(end) = end else { return "It has not been tried yet.".into() };
    let said = |reply: &Reply| printable(&reply.to_string());
    let last = end.last_reply.as_ref().unwrap_or(&end.reply);
    let mut story = match &end.exchange {
        Some((exchange, remote)) if !last.local => {
            let (address, stage) = (remote.ip(), end.stage.text());
            format!("{exchange} [{address}] said ({stage}): {}", said(last))
        }
        _ => said(last),
    };
    if end.last_reply.is_some() {
        story.push_str(". Then: ");
        story.push_str(&said(&end.reply));
    }
    story
}

/// `Status` (RFC 3464 section 2.3.4): the enhanced code of the reply, or what its code says.
fn status_code(end: Option<&End>) -> EnhancedCode {
    let Some(reply) = end.map(|end| &end.reply) else { return EnhancedCode(4, 4, 7) };
    reply.enhanced.unwrap_or(match reply.code {
        400..=499 => EnhancedCode(4, 0, 0),
        _ => EnhancedCode(5, 0, 0),
    })
}

fn push_end(text: &mut String, end: &End) {
    let last = end.last_reply.as_ref().unwrap_or(&end.reply);
    if let Some((exchange, _)) = end.exchange.as_ref().filter(|_| !last.local) {
        text.push_str(&format!("Remote-MTA: dns; {}\r\n", printable(exchange)));
    }
    // What is not the words of an exchange is of another type (RFC 3464 section 2.1.2).
    let kind = if last.local { "X-Traject" } else { "smtp" };
    push_wrapped_after(text, &format!("Diagnostic-Code: {kind};"), &printable(&last.to_string()));
    text.push_str(&format!("Last-Attempt-Date: {}\r\n", rfc5322_date(end.at)));
}

/// Printable ASCII: anything else, control characters included, is a question mark.
fn printable(text: &str) -> String {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().map(plain).collect()
}

/// Appends a paragraph in lines of a readable length, each behind `indent`.
fn push_wrapped(text: &mut String, indent: &str, paragraph: &str) {
    let mut column = 0;
    for word in words(paragraph) {
        if column > 0 && column + 1 + word.len() > LINE_CHARS {
            text.push_str("\r\n");
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        text.push_str(before);
        text.push_str(word);
        column += before.len() + word.len();
    }
    text.push_str("\r\n");
}

/// Appends a field, folded (RFC 5322 section 2.2.3).
fn push_wrapped_after(text: &mut String, name: &str, value: &str) {
    let mut column = name.len();
    text.push_str(name);
    for word in words(value) {
        if column + 1 + word.len() > LINE_CHARS && column > 1 {
            text.push_str("\r\n");
            column = 0;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    text.push_str("\r\n");
}

/// Words, longer ones cut: a line of mail may have 998 characters (RFC 5322 section 2.1.1).
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty()).flat_map(|word| {
        // Only ASCII comes here: each byte is a character.
        (0..word.len())
            .step_by(WORD_CHARS_MAX)
            .map(move |at| &word[at..(at + WORD_CHARS_MAX).min(word.len())])
    })
}

const LINE_CHARS: usize = 76;

const WORD_CHARS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::smtp::stage::Stage;

    fn end(reply: &str, local: bool) -> End {
        let exchange: (Arc<str>, _) = ("mx.isp.test".into(), "192.0.2.1:25".parse().unwrap());
        End {
            reply: Reply::parse(reply, local).unwrap(),
            last_reply: None,
            stage: Stage::RcptTo,
            exchange: Some(exchange),
            at: Timestamp::from_secs(1_767_225_660),
        }
    }

    fn outcome(mailbox: &str, end: Option<End>) -> Outcome {
        Outcome { recipient: 0, mailbox: mailbox.parse().unwrap(), end, tried_until: None }
    }

    fn text(kind: NoticeKind, outcomes: &[Outcome], quote: Option<Quote>) -> String {
        let facts = Facts {
            id: MessageId(0x5f),
            mark: 0xabc,
            now: Timestamp::from_secs(1_767_225_700),
            hostname: "out.brand.test",
            kind,
            to: &"news@brand.test".parse().unwrap(),
            from: None,
            outcomes,
            arrived_at: Timestamp::from_secs(1_767_225_600),
            eight_bit: quote == Some(Quote::All),
            quote: quote.map(|quote| (MessageId(7), quote)),
        };
        let mut text = String::new();
        for part in facts.to_parts() {
            match part {
                BodyPart::Text(bytes) => text.push_str(str::from_utf8(&bytes).unwrap()),
                BodyPart::Quote { message, quote } => {
                    text.push_str(&format!("[{quote:?} of {message}]"));
                }
            }
        }
        assert!(text.is_ascii());
        for line in text.split("\r\n") {
            assert!(!line.contains(['\r', '\n']) && line.len() <= 998, "{line:?}");
        }
        text.replace("\r\n", "\n")
    }

    #[test]
    fn a_bounce() {
        let given_up = End {
            last_reply: Some(Reply::parse("451 greylisted", false).unwrap()),
            ..end("554 5.4.7 delivery given up: message too old", true)
        };
        let outcomes = [
            outcome("nobody@isp.test", Some(end("550 5.1.1 no such user", false))),
            outcome("slow@isp.test", Some(given_up)),
            outcome("none@isp.test", Some(end("556 5.1.10 no mail exchange", true))),
        ];
        insta::assert_snapshot!(text(NoticeKind::Failed, &outcomes, Some(Quote::Headers)));
    }

    #[test]
    fn a_delay() {
        let until = Some(Timestamp::from_secs(1_767_484_800));
        let late =
            Outcome { tried_until: until, ..outcome("a@isp.test", Some(end("421 busy", false))) };
        let untried = Outcome { tried_until: until, ..outcome("b@isp.test", None) };
        insta::assert_snapshot!(text(NoticeKind::Delayed, &[late, untried], Some(Quote::All)));
    }

    #[test]
    fn what_others_said_cannot_break_out() {
        let hostile = Reply {
            code: 550,
            enhanced: None,
            text: format!("a\rb\nc\0d\u{e9} --=_5f_0000000000000abc-- {}", "x".repeat(2000)).into(),
            local: false,
        };
        let outcomes =
            [outcome("\"a b\"@isp.test", Some(End { reply: hostile, ..end("550 x", false) }))];
        let text = text(NoticeKind::Failed, &outcomes, None);
        assert!(text.contains("\nDiagnostic-Code: smtp; 550 a?b?c?d? --=_5f_"), "{text}");
        let boundary = "--=_5f_0000000000000abc";
        let starts = text.lines().filter(|line| line.starts_with(boundary)).count();
        assert_eq!(starts, 3, "{text}");
        assert!(text.contains("\nStatus: 5.0.0\n"));
    }
}
