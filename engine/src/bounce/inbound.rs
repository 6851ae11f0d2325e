//! Bounces that come by mail, long after a receiver has accepted the message they are about.
//!
//! What they say is read out of the first bytes of the mail: the report for programs (RFC 3464)
//! where there is one, else the headers that other servers use, else the words meant for people.
//! A reader of lines and no reader of MIME: what it looks for stands at the start of a line in all
//! of these, and no nesting of parts can lead it astray or keep it busy.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{BounceClass, classify};
use crate::smtp::address::Mailbox;
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::smtp::stage::Stage;

/// What a bounce says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who could not be delivered to; `None` if it does not say.
    pub recipient: Option<Mailbox>,
    /// What the receiver said, or what stands for it.
    pub reply: Reply,
    /// What sort of failure it is.
    pub class: BounceClass,
}

/// Reads a bounce out of the first bytes of a mail. `never` are addresses, or domains behind an
/// `@`, that a bounce is never about (`bounce_suppress_list`).
pub fn read(head: &[u8], never: &[Box<str>]) -> Report {
    let text = String::from_utf8_lossy(head);
    let lines = unfold(&text);
    let found = Found::of(&lines);
    let recipient = found.recipient(never);
    let answer = automatic(&found);
    let reply = found.reply().or_else(|| answer.map(|(_, words)| told(words)));
    let class = match (&reply, answer) {
        (_, Some((class, _))) if !found.is_report => class,
        (Some(_), _) if recipient.is_none() => BounceClass::NoRecipient,
        (Some(reply), _) => classify(Stage::RcptTo, reply).class,
        (None, _) if recipient.is_none() => BounceClass::NoRecipient,
        (None, _) => BounceClass::Undetermined,
    };
    let reply =
        reply.unwrap_or_else(|| told(found.subject.as_deref().unwrap_or("no reason given")));
    Report { recipient, reply, class }
}

/// What stands in a mail.
#[derive(Debug, Default)]
struct Found {
    subject: Option<String>,
    /// `Auto-Submitted` is there and names a reply, or an older header of that meaning is.
    is_automatic: bool,
    /// There is a report for programs.
    is_report: bool,
    /// `Original-Recipient` or `Final-Recipient` of the first recipient that failed.
    reported: Option<Mailbox>,
    /// `X-Failed-Recipients`.
    header: Option<Mailbox>,
    /// Addresses in brackets in the words for people, in order.
    named: Vec<Mailbox>,
    status: Option<EnhancedCode>,
    diagnostic: Option<Reply>,
    /// The first line for people that looks like a reply.
    quoted: Option<Reply>,
}

/// A group of a report: what it says about one recipient.
#[derive(Debug, Default)]
struct Group {
    recipient: Option<Mailbox>,
    is_original: bool,
    has_failed: bool,
    status: Option<EnhancedCode>,
    diagnostic: Option<Reply>,
}

impl Found {
    fn of(lines: &[Cow<'_, str>]) -> Self {
        let mut found = Self::default();
        let mut lines = lines.iter();
        for line in lines.by_ref() {
            if line.is_empty() {
                break;
            }
            found.take_header(line);
        }
        let mut group = Group::default();
        for line in lines {
            // What follows is the message itself: its headers say nothing about its failure.
            if is_start_of_original(line) {
                break;
            }
            match field(line) {
                Some((name, value)) if group.take(name, value) => {
                    found.is_report |= name.eq_ignore_ascii_case("Final-Recipient");
                }
                _ if line.is_empty() => found.take_group(core::mem::take(&mut group)),
                _ => found.take_words(line),
            }
        }
        found.take_group(group);
        found
    }

    fn take_header(&mut self, line: &str) {
        let Some((name, value)) = field(line) else { return };
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("Subject") {
            self.subject = Some(String::from(value));
        } else if is("Auto-Submitted") {
            self.is_automatic |= value.to_ascii_lowercase().starts_with("auto-replied");
        } else if is("X-Autoreply") || is("X-Autorespond") {
            self.is_automatic = true;
        } else if is("Precedence") {
            self.is_automatic |= value.eq_ignore_ascii_case("auto_reply");
        } else if is("X-Failed-Recipients") {
            self.header = value.split(',').find_map(address);
        }
    }

    /// The first recipient that failed counts.
    fn take_group(&mut self, group: Group) {
        let says_something = group.recipient.is_some() || group.diagnostic.is_some();
        if self.reported.is_some() || !group.has_failed || !says_something {
            return;
        }
        self.reported = group.recipient;
        self.status = group.status;
        self.diagnostic = group.diagnostic;
    }

    fn take_words(&mut self, line: &str) {
        if self.quoted.is_none() {
            self.quoted = reply_in(line);
        }
        let bracketed = line.split('<').skip(1).filter_map(|rest| rest.split('>').next());
        let room = NAMED_MAX - self.named.len();
        self.named.extend(bracketed.filter_map(address).take(room));
        let whole = line.trim_matches([' ', '\t', ':', ',', ';']);
        if self.named.len() < NAMED_MAX {
            self.named.extend(address(whole));
        }
    }

    fn recipient(&self, never: &[Box<str>]) -> Option<Mailbox> {
        let named = [&self.reported, &self.header].into_iter().flatten().chain(&self.named);
        let mut about = named.filter(|mailbox| !is_listed(mailbox, never));
        about.next().cloned()
    }

    fn reply(&self) -> Option<Reply> {
        let of_status = || {
            let status = self.status.filter(|status| matches!(status.0, 4 | 5))?;
            Reply::parse(&format!("{}50 {status} no reason given", status.0), false)
        };
        self.diagnostic.clone().or_else(|| self.quoted.clone()).or_else(of_status)
    }
}

impl Group {
    /// Takes a field of a report. Whether it is one.
    fn take(&mut self, name: &str, value: &str) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // `rfc822; bob@example.com`, `smtp; 550 no`: the kind does not matter.
        let typed = value.split_once(';').map_or(value, |(_, value)| value).trim();
        if is("Original-Recipient") || (is("Final-Recipient") && !self.is_original) {
            self.is_original = is("Original-Recipient");
            self.recipient = address(typed).or_else(|| self.recipient.take());
        } else if is("Action") {
            self.has_failed = value.eq_ignore_ascii_case("failed");
        } else if is("Status") {
            self.status = status(value);
        } else if is("Diagnostic-Code") {
            self.diagnostic = reply_in(typed);
        } else {
            return is("Final-Recipient");
        }
        true
    }
}

/// What a mail is that is no bounce: an answer by a program, or a wish of a person.
fn automatic(found: &Found) -> Option<(BounceClass, &'static str)> {
    let subject = found.subject.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    match &*subject {
        "unsubscribe" => return Some((BounceClass::Unsubscribe, "asks to be taken off a list")),
        "subscribe" => return Some((BounceClass::Subscribe, "asks to be put on a list")),
        _ => {}
    }
    let says = |words: &&str| subject.starts_with(words);
    let answers = found.is_automatic || AUTOMATIC.iter().any(says);
    answers.then_some((BounceClass::AutoReply, "answers by itself"))
}

/// How subjects of automatic answers begin.
const AUTOMATIC: &[&str] = &[
    "out of office",
    "automatic reply",
    "auto:",
    "autoreply",
    "auto-reply",
    "automatische antwort",
];

/// Addresses that are remembered out of the words for people.
const NAMED_MAX: usize = 16;

/// Words of ours where the mail has none in the form of a reply.
fn told(words: &str) -> Reply {
    Reply::local(550, EnhancedCode(5, 0, 0), words)
}

/// Lines without their ends; one that begins with a blank goes on the line before.
fn unfold(text: &str) -> Vec<Cow<'_, str>> {
    let mut lines: Vec<Cow<'_, str>> = Vec::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match lines.last_mut() {
            Some(before) if line.starts_with([' ', '\t']) && field(before).is_some() => {
                let before = before.to_mut();
                before.push(' ');
                before.push_str(line.trim());
            }
            _ => lines.push(Cow::Borrowed(line)),
        }
    }
    lines
}

/// `Name: value`
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!name.is_empty() && name.bytes().all(is_name)).then_some((name, value.trim()))
}

/// Where the message that failed is quoted.
fn is_start_of_original(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let quotes = |words: &&str| line.contains(words);
    ["content-type: message/rfc822", "content-type: text/rfc822-headers"].iter().any(quotes)
        || ["copy of the message", "original message follows"].iter().any(quotes)
}

fn address(text: &str) -> Option<Mailbox> {
    text.trim().trim_start_matches('<').trim_end_matches('>').parse().ok()
}

fn is_listed(mailbox: &Mailbox, never: &[Box<str>]) -> bool {
    let address = format!("{mailbox}").to_ascii_lowercase();
    let ends = |entry: &str| entry.starts_with('@') && address.ends_with(entry);
    never.iter().any(|entry| address == **entry || ends(entry))
}

/// `5.1.1`, perhaps with words behind it.
fn status(value: &str) -> Option<EnhancedCode> {
    let class = value.chars().next().filter(|class| matches!(class, '2' | '4' | '5'))?;
    Reply::parse(&format!("{class}00 {value}"), false)?.enhanced
}

/// The first reply in a line: a code that says no, at the start of a word.
fn reply_in(line: &str) -> Option<Reply> {
    let starts = line.char_indices().filter(|(at, character)| {
        let fresh = line[..*at].chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric());
        matches!(character, '4' | '5') && fresh && !line[..*at].ends_with(['.', '-'])
    });
    let mut replies = starts.filter_map(|(at, _)| {
        let rest = &line[at..];
        let mut bytes = rest.bytes();
        let is_code = bytes.by_ref().take(3).all(|byte| byte.is_ascii_digit());
        let separator = bytes.next();
        if !is_code || !matches!(separator, Some(b' ' | b'-')) {
            return None;
        }
        // The first line of several is one line here.
        let plain = format!("{} {}", &rest[..3], &rest[4..]);
        Reply::parse(&plain, false)
    });
    replies.next()
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    fn summary(mail: &str) -> (String, String, BounceClass) {
        let mail = mail.trim_start().replace('\n', "\r\n");
        let never = ["never@ours.test".into(), "@bounces.ours.test".into()];
        let Report { recipient, reply, class } = read(mail.as_bytes(), &never);
        let recipient = recipient.map(|mailbox| mailbox.to_string()).unwrap_or_default();
        (recipient, reply.to_string(), class)
    }

    const REPORT: &str = "
From: MAILER-DAEMON@far.test
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"

--b
Content-Type: text/plain

<somebody@else.test>: this is for people

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; far.test

Final-Recipient: rfc822; fine@far.test
Action: delivered
Status: 2.0.0

Final-Recipient: rfc822; bob@far.test
Original-Recipient: rfc822; Robert@near.test
Action: failed
Status: 5.2.2
Diagnostic-Code: smtp; 552 5.2.2 mailbox
    is full

--b
Content-Type: message/rfc822

From: never@ours.test
Diagnostic-Code: smtp; 550 5.1.1 not this one
";

    #[test]
    fn a_report_says_it_all() {
        let found = summary(REPORT);
        let reply = "552 5.2.2 mailbox is full".to_string();
        assert_eq!(found, ("Robert@near.test".into(), reply, BounceClass::MailboxFull));
    }

    #[test]
    fn others_say_it_in_their_ways() {
        use BounceClass as C;
        let local = "550 5.0.0 answers by itself";
        for (mail, recipient, reply, class) in [
            (
                "X-Failed-Recipients: bob@far.test\nSubject: x\n\nA message could not be\n\
                 delivered.\n\n  bob@far.test\n    host mx.far.test [192.0.2.1]\n\
                 SMTP error after RCPT TO:<bob@far.test>: 550 5.1.1 User unknown\n",
                "bob@far.test",
                "550 5.1.1 User unknown",
                C::InvalidRecipient,
            ),
            (
                "Subject: failure notice\n\nHi. This is the program at far.test.\n\n\
                 <bob@far.test>:\n192.0.2.1 said: 550-No such user\n550 really\n",
                "bob@far.test",
                "550 No such user",
                C::InvalidRecipient,
            ),
            (
                "Subject: x\n\nFinal-Recipient: rfc822;bob@far.test\nAction: failed\n\
                 Status: 5.1.1 (gone)\n",
                "bob@far.test",
                "550 5.1.1 no reason given",
                C::InvalidRecipient,
            ),
            // A report without a code, and one about nobody.
            (
                "Subject: gone\n\nFinal-Recipient: rfc822;bob@far.test\nAction: failed\n",
                "bob@far.test",
                "550 5.0.0 gone",
                C::Undetermined,
            ),
            ("Subject: gone\n\nIt is gone.\n", "", "550 5.0.0 gone", C::NoRecipient),
            ("Subject: gone\n\n550 5.1.1 who?\n", "", "550 5.1.1 who?", C::NoRecipient),
            // A delay is no failure.
            (
                "Subject: slow\n\nFinal-Recipient: rfc822;bob@far.test\nAction: delayed\n\
                 Status: 4.4.1\n",
                "",
                "550 5.0.0 slow",
                C::NoRecipient,
            ),
            // Addresses that are never meant.
            (
                "Subject: x\n\n<Never@ours.test> <a@bounces.ours.test> <bob@far.test>\n\
                 550 5.1.1 no\n",
                "bob@far.test",
                "550 5.1.1 no",
                C::InvalidRecipient,
            ),
            ("Auto-Submitted: auto-replied\n\nAway until May 550.\n", "", local, C::AutoReply),
            ("Subject: Out of Office: x\n\n<bob@far.test>\n", "bob@far.test", local, C::AutoReply),
            (
                "Subject:  Unsubscribe\n\n",
                "",
                "550 5.0.0 asks to be taken off a list",
                C::Unsubscribe,
            ),
            ("Subject: subscribe\n\n", "", "550 5.0.0 asks to be put on a list", C::Subscribe),
            ("", "", "550 5.0.0 no reason given", C::NoRecipient),
        ] {
            assert_eq!(summary(mail), (recipient.into(), reply.into(), class), "{mail}");
        }
    }

    #[test]
    fn numbers_in_words_are_no_replies() {
        for (line, found) in [
            ("550 no", Some("550 no")),
            ("said: 421-4.7.0 later", Some("421 4.7.0 later")),
            ("host mx [192.0.2.54] said: 554 5.7.1 no", Some("554 5.7.1 no")),
            ("id 4500 and 1550 no", None),
            ("call 0-550 now", None),
            ("5.1.1 is no code", None),
            ("in 2026, 5 of them", None),
        ] {
            let reply = reply_in(line).map(|reply| reply.to_string());
            assert_eq!(reply.as_deref(), found, "{line}");
        }
    }

    proptest::proptest! {
        /// Nothing that a sender writes can do more than be wrong.
        #[test]
        fn any_bytes_are_read(head in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000)) {
            let notice = read(&head, &[]);
            proptest::prop_assert!((400..600).contains(&notice.reply.code));
        }

        #[test]
        fn any_cut_of_a_report_is_read(end in 0..REPORT.len()) {
            read(REPORT.as_bytes()[..end].as_ref(), &[]);
        }
    }
}
