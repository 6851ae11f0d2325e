//! What receivers say, and what they mean by it.
//!
//! The samples are the rule book's proof: each rule is the first that matches each of its own. They
//! are short texts in the form that receivers use; addresses and names are replaced.

use super::BounceClass;

/// Words that say which class a failure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The class.
    pub class: BounceClass,
    /// What the reply's code begins with; empty for any.
    pub code: &'static str,
    /// What the text contains, in lower case; `*` stands for anything between.
    pub words: &'static str,
    /// Replies that it matches, before any rule below it does.
    pub samples: &'static [&'static str],
}

impl Rule {
    /// Whether it matches a reply with this code and text, which is in lower case.
    pub fn matches(&self, code: u16, text: &str) -> bool {
        self.matches_code(code) && contains_in_order(text, self.words)
    }

    fn matches_code(&self, code: u16) -> bool {
        match self.code.len() {
            0 => true,
            1 => self.code.parse() == Ok(code / 100),
            2 => self.code.parse() == Ok(code / 10),
            _ => self.code.parse() == Ok(code),
        }
    }
}

/// Whether the parts between `*` are in `text`, one behind the other.
fn contains_in_order(text: &str, words: &str) -> bool {
    let mut rest = text.as_bytes();
    words.split('*').all(|part| match memchr::memmem::find(rest, part.as_bytes()) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

const fn rule(
    class: BounceClass,
    code: &'static str,
    words: &'static str,
    samples: &'static [&'static str],
) -> Rule {
    Rule { class, code, words, samples }
}

/// The rules; the first that matches decides.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    rule(BounceClass::Challenge, "5", "confirm*you are not a robot", &[
        "550 5.7.1 Please visit https://verify.example/x and confirm that you are not a robot",
    ]),
    rule(BounceClass::Challenge, "5", "challenge*response", &[
        "550 5.7.0 The recipient uses a challenge/response system",
    ]),
    rule(BounceClass::Attachment, "", "attachment", &[
        "552 5.7.0 This message was blocked because its attachment type is not allowed",
        "554 5.7.1 Prohibited attachment type",
    ]),
    rule(BounceClass::Attachment, "", "virus", &[
        "554 5.7.1 Message contains a virus: Eicar-Test",
        "550 5.7.1 Virus detected",
    ]),
    rule(BounceClass::Attachment, "", "malware", &["554 5.6.1 Malware found in the message"]),
    rule(BounceClass::Attachment, "", "potential security issue", &[
        "552 5.7.0 This message was blocked because its content presents a potential security issue. - gsmtp",
    ]),
    rule(BounceClass::Relay, "5", "relay access denied", &[
        "554 5.7.1 <a@b.example>: Relay access denied",
    ]),
    rule(BounceClass::Relay, "5", "relaying denied", &[
        "550 5.7.1 relaying denied",
        "550 5.7.1 <a@b.example>... Relaying denied. Proper authentication required.",
    ]),
    rule(BounceClass::Relay, "5", "unable to relay", &[
        "550 5.7.1 Unable to relay",
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
    ]),
    rule(BounceClass::Relay, "5", "relay not permitted", &["550 relay not permitted"]),
    rule(BounceClass::Relay, "5", "not permitted to relay", &[
        "550 5.7.1 You are not permitted to relay through this server",
    ]),
    rule(BounceClass::Relay, "5", "relaying prohibited", &["550 5.7.1 Mail relaying prohibited"]),
    rule(BounceClass::Relay, "5", "we do not relay", &["550 we do not relay a@b.example"]),
    rule(BounceClass::Relay, "5", "rcpthosts", &[
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    ]),
    rule(BounceClass::Relay, "5", "not local", &["550 5.7.1 Domain b.example is not local"]),
    rule(BounceClass::Relay, "5", "domain not found in*recipient table", &[
        "554 5.7.1 Domain not found in the recipient table",
    ]),
    rule(BounceClass::MailboxFull, "", "mailbox full", &[
        "552 5.2.2 Mailbox full",
        "452 4.2.2 Mailbox full",
    ]),
    rule(BounceClass::MailboxFull, "", "mailbox is full", &[
        "550 5.2.2 The recipient's mailbox is full",
        "452 4.2.2 The mailbox is full",
    ]),
    rule(BounceClass::MailboxFull, "", "over quota", &[
        "452 4.2.2 The email account that you tried to reach is over quota. - gsmtp",
        "552 5.2.2 user is over quota",
    ]),
    rule(BounceClass::MailboxFull, "", "overquota", &["554 5.2.2 overquota"]),
    rule(BounceClass::MailboxFull, "", "out of storage space", &[
        "452 4.2.2 The recipient's inbox is out of storage space. Please direct the recipient to - gsmtp",
    ]),
    rule(BounceClass::MailboxFull, "", "quota exceeded", &[
        "552 5.2.2 Quota exceeded (mailbox for user is full)",
        "452 4.2.2 <a@b.example> Quota exceeded",
    ]),
    rule(BounceClass::MailboxFull, "", "exceeded*quota", &[
        "552 5.2.2 The user has exceeded the storage quota",
    ]),
    rule(BounceClass::MailboxFull, "", "exceeded storage allocation", &[
        "552 5.2.2 Requested mail action aborted: exceeded storage allocation",
    ]),
    rule(BounceClass::MailboxFull, "55", "not enough space", &[
        "552 5.2.2 There is not enough space in the mailbox",
    ]),
    rule(BounceClass::MailboxFull, "", "mailbox*size limit exceeded", &[
        "550 5.2.2 Mailbox size limit exceeded",
    ]),
    rule(BounceClass::MailboxFull, "", "mailbox*too full", &[
        "452 4.2.2 The mailbox of this user is too full",
    ]),
    rule(BounceClass::TooLarge, "", "message size exceeds", &[
        "552 5.3.4 Message size exceeds fixed maximum message size",
        "523 5.2.3 The message size exceeds the limit of this recipient",
    ]),
    rule(BounceClass::TooLarge, "", "message too large", &[
        "552 5.3.4 Message too large",
        "554 Message too large",
    ]),
    rule(BounceClass::TooLarge, "", "message is too large", &[
        "552 5.2.3 Your message is too large",
    ]),
    rule(BounceClass::TooLarge, "", "message too big", &["552 5.3.4 Message too big for system"]),
    rule(BounceClass::TooLarge, "", "exceeded*message size limit", &[
        "552 5.3.4 Your message exceeded Google's message size limits. - gsmtp",
    ]),
    rule(BounceClass::TooLarge, "", "size limit", &[
        "554 5.3.4 The size limit for messages is 10 MB",
    ]),
    rule(BounceClass::Dns, "", "domain of sender address*does not resolve", &[
        "553 5.1.8 Domain of sender address a@b.example does not resolve",
        "451 4.1.8 Domain of sender address a@b.example does not resolve",
    ]),
    rule(BounceClass::Dns, "", "sender address rejected: domain not found", &[
        "450 4.1.8 <a@b.example>: Sender address rejected: Domain not found",
        "550 5.1.8 <a@b.example>: Sender address rejected: Domain not found",
    ]),
    rule(BounceClass::Dns, "", "host or domain name not found", &[
        "550 5.4.4 Host or domain name not found. Name service error",
    ]),
    rule(BounceClass::Dns, "", "recipient address rejected: domain not found", &[
        "450 4.1.2 <a@b.example>: Recipient address rejected: Domain not found",
    ]),
    rule(BounceClass::Dns, "", "unrouteable", &[
        "550 Unrouteable address",
        "550 unrouteable mail domain b.example",
    ]),
    rule(BounceClass::Dns, "", "no mx", &["550 5.1.2 b.example has no MX record"]),
    rule(BounceClass::SpamSource, "", "spamhaus", &[
        "550 5.7.1 Service unavailable; client host [192.0.2.1] blocked using Spamhaus",
        "554 5.7.1 [BL21] Connections not accepted from servers on Spamhaus PBL",
    ]),
    rule(BounceClass::SpamSource, "", "spamcop", &[
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using bl.spamcop.net",
    ]),
    rule(BounceClass::SpamSource, "", "barracuda*reputation", &[
        "554 5.7.1 Barracuda Networks reputation: client refused",
    ]),
    rule(BounceClass::SpamSource, "", "sorbs", &["554 5.7.1 192.0.2.1 is listed by SORBS"]),
    rule(BounceClass::SpamSource, "", "dnsbl", &[
        "554 5.7.1 Rejected: 192.0.2.1 listed in a DNSBL",
    ]),
    rule(BounceClass::SpamSource, "", "blacklist", &[
        "554 5.7.1 Your IP is on our blacklist",
        "550 192.0.2.1 blacklisted",
    ]),
    rule(BounceClass::SpamSource, "", "blocklist", &["550 5.7.1 192.0.2.1 is on our blocklist"]),
    rule(BounceClass::SpamSource, "", "block list", &[
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Part of their network is on our block list (S3150).",
        "554 IP address is block listed.",
    ]),
    rule(BounceClass::SpamSource, "", "is listed in", &[
        "554 5.7.1 192.0.2.1 is listed in bad.senders.example",
    ]),
    rule(BounceClass::SpamSource, "", "poor reputation", &[
        "554 5.7.1 Refused. Your domain has a poor reputation",
        "421 4.7.1 192.0.2.1 has a poor reputation",
    ]),
    rule(BounceClass::SpamSource, "", "bad reputation", &[
        "550 5.7.1 Your IP address has a bad reputation",
    ]),
    rule(BounceClass::SpamSource, "", "ip reputation", &[
        "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation (S775)",
    ]),
    rule(BounceClass::SpamSource, "", "low reputation", &[
        "550 5.7.1 Our system has detected that this message is likely suspicious due to the very low reputation of the sending domain. - gsmtp",
    ]),
    rule(BounceClass::SpamSource, "", "known spam source", &[
        "554 5.7.1 Your address is a known spam source",
    ]),
    rule(BounceClass::SpamSource, "", "spam source", &["550 refused, spam source"]),
    rule(BounceClass::SpamSource, "", "unusual rate of unsolicited mail", &[
        "421 4.7.28 Our system has detected an unusual rate of unsolicited mail originating from your IP address. - gsmtp",
        "550 5.7.28 Gmail has detected an unusual rate of unsolicited mail",
    ]),
    rule(BounceClass::SpamSource, "", "volume or user complaints", &[
        "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints",
        "421 4.7.0 [TS01] Messages temporarily deferred due to volume or user complaints",
    ]),
    rule(BounceClass::SpamSource, "", "will be permanently deferred", &[
        "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.",
    ]),
    rule(BounceClass::SpamSource, "", "user complaints", &[
        "553 5.7.2 [TSS09] All messages from 192.0.2.1 will be deferred because of user complaints",
    ]),
    rule(BounceClass::SpamSource, "", "banned sending ip", &[
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]",
    ]),
    rule(BounceClass::SpamSource, "", "abuse history", &[
        "550 Your address was refused because of its abuse history",
    ]),
    rule(BounceClass::SpamSource, "5", "hl:itc", &[
        "554 HL:ITC The count of this IP is over the limit",
    ]),
    rule(BounceClass::SpamSource, "5", "[hme1]", &[
        "554 5.7.1 [HME1] This message was blocked for security reasons",
    ]),
    rule(BounceClass::SpamContent, "", "dt:spm", &[
        "554 DT:SPM The mail was found to be spam",
        "451 DT:SPM Try later",
    ]),
    rule(BounceClass::SpamContent, "", "identified as spam", &[
        "550 5.7.1 Message identified as SPAM",
        "554 5.7.1 identified as spam by the filter",
    ]),
    rule(BounceClass::SpamContent, "", "detected as spam", &[
        "554 5.7.1 The message was detected as spam",
    ]),
    rule(BounceClass::SpamContent, "", "looks like spam", &[
        "550 5.7.1 Your message looks like SPAM or has been reported as SPAM",
    ]),
    rule(BounceClass::SpamContent, "", "considered spam", &[
        "550 5.7.1 This message is considered spam",
    ]),
    rule(BounceClass::SpamContent, "", "classified as spam", &[
        "554 5.7.0 Rejected: the message is classified as spam",
    ]),
    rule(BounceClass::SpamContent, "", "likely unsolicited", &[
        "550 5.7.1 Our system has detected that this message is likely unsolicited mail. - gsmtp",
    ]),
    rule(BounceClass::SpamContent, "", "spam message", &[
        "550 5.7.1 spam message rejected",
        "554 Spam message discarded",
    ]),
    rule(BounceClass::SpamContent, "", "message refused*spam", &[
        "554 5.7.1 message refused as possible spam",
    ]),
    rule(BounceClass::SpamContent, "", "spam content", &["554 5.7.1 spam content found"]),
    rule(BounceClass::SpamContent, "", "message content rejected", &[
        "550 5.7.1 Message content rejected",
        "554 5.7.1 Message content rejected due to a filter",
    ]),
    rule(BounceClass::SpamContent, "", "rejected*content", &[
        "554 5.7.1 This mail was rejected because of its content",
    ]),
    rule(BounceClass::SpamContent, "", "message rejected*policy", &[
        "550 5.7.1 message rejected for policy reasons",
    ]),
    rule(BounceClass::SpamContent, "", "[cs01]", &[
        "550 5.7.1 [CS01] Mail refused due to local policy.",
    ]),
    rule(BounceClass::SpamContent, "", "mi:spb", &["550 MI:SPB The mail cannot be accepted"]),
    rule(BounceClass::SpamContent, "5", "spam", &["550 5.7.1 Spam is not accepted here"]),
    rule(BounceClass::Transient, "4", "greylist", &[
        "451 4.7.1 Greylisted, please try again later",
        "450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted",
    ]),
    rule(BounceClass::Transient, "4", "graylist", &["451 4.7.1 Graylisting in action"]),
    rule(BounceClass::Transient, "4", "too many", &[
        "421 4.7.0 Too many connections from your host",
        "452 4.5.3 Too many recipients",
        "421 Too many sessions opened",
    ]),
    rule(BounceClass::Transient, "4", "too quickly", &[
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly - gsmtp",
    ]),
    rule(BounceClass::Transient, "4", "rate limit", &[
        "421 4.1.0 rate limited RL000001",
        "450 4.7.1 rate limit reached",
    ]),
    rule(BounceClass::Transient, "4", "throttl", &[
        "421 4.1.0 192.0.2.1 Throttled - please see RL000003",
    ]),
    rule(BounceClass::Transient, "4", "try again", &[
        "451 4.7.500 Server busy. Please try again later from [192.0.2.1].",
        "450 4.3.2 please try again later",
    ]),
    rule(BounceClass::Transient, "4", "temporarily", &[
        "451 4.3.2 Resources temporarily unavailable. Please try later [#4.16.1].",
        "450 4.7.1 Client host temporarily rejected",
    ]),
    rule(BounceClass::Transient, "5", "frequency limited", &[
        "550 Connection frequency limited",
        "550 Ip frequency limited",
    ]),
    rule(BounceClass::Transient, "5", "too many connections", &[
        "554 5.7.0 Too many connections from your address",
    ]),
    rule(BounceClass::Transient, "5", "receiving mail at a rate", &[
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered. - gsmtp",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "user unknown", &[
        "550 5.1.1 <a@b.example>: Recipient address rejected: User unknown in virtual mailbox table",
        "550 5.1.1 User unknown",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "unknown user", &[
        "550 5.1.1 unknown user",
        "550 unknown user <a@b.example>",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "no such user", &[
        "550 5.1.1 No such user here",
        "553 5.3.0 <a@b.example>... No such user here",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "no such mailbox", &["550 No such mailbox"]),
    rule(BounceClass::InvalidRecipient, "5", "no such recipient", &["550 5.1.1 no such recipient"]),
    rule(BounceClass::InvalidRecipient, "5", "no such address", &["550 5.1.1 No such address"]),
    rule(BounceClass::InvalidRecipient, "5", "no such account", &[
        "550 5.1.1 no such account here",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "user not found", &[
        "550 5.1.1 User not found",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; user not found",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "recipient not found", &[
        "550 5.1.10 Recipient not found by SMTP address lookup",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "recipnotfound", &[
        "550 5.1.1 RESOLVER.ADR.RecipNotFound; not found",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "mailbox not found", &["550 5.1.1 Mailbox not found"]),
    rule(BounceClass::InvalidRecipient, "5", "address not found", &["550 5.1.1 address not found"]),
    rule(BounceClass::InvalidRecipient, "5", "account not found", &["550 5.1.1 Account not found"]),
    rule(BounceClass::InvalidRecipient, "5", "that you tried to reach does not exist", &[
        "550 5.1.1 The email account that you tried to reach does not exist. - gsmtp",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "that you tried to reach is*disabled", &[
        "550 5.2.1 The email account that you tried to reach is disabled. - gsmtp",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "account*disabled", &[
        "550 5.2.1 This account has been disabled",
        "554 30 Sorry, your message cannot be delivered. This account has been disabled or discontinued",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "account*inactive", &[
        "550 5.2.1 The account is inactive",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "mailbox*disabled", &[
        "550 5.2.1 mailbox disabled, not accepting messages",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "mailbox*inactive", &[
        "550 5.2.1 mailbox is inactive",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "account*suspended", &[
        "550 5.2.1 This account is suspended",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "does not exist", &[
        "550 5.1.1 <a@b.example> does not exist",
        "550 The mailbox does not exist",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "doesn't exist", &[
        "550 5.1.1 This user doesn't exist here",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "doesn't have a", &[
        "550 5.1.1 This user doesn't have a b.example account (a@b.example) [0]",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "mailbox unavailable", &[
        "550 Requested action not taken: mailbox unavailable",
        "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "unknown recipient", &["550 5.1.1 Unknown recipient"]),
    rule(BounceClass::InvalidRecipient, "5", "recipient unknown", &["550 5.1.1 recipient unknown"]),
    rule(BounceClass::InvalidRecipient, "5", "recipient*not exist", &[
        "550 5.1.1 the recipient may not exist",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "invalid recipient", &[
        "550 5.1.1 Invalid recipient <a@b.example>",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "invalid mailbox", &["550 5.1.1 invalid mailbox"]),
    rule(BounceClass::InvalidRecipient, "5", "not a valid mailbox", &[
        "550 5.1.1 <a@b.example> is not a valid mailbox",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "not a valid user", &["550 a is not a valid user"]),
    rule(BounceClass::InvalidRecipient, "5", "no mailbox here", &[
        "550 5.1.1 sorry, no mailbox here by that name",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "unknown local part", &[
        "550 unknown local part a in <a@b.example>",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "recipient rejected", &[
        "550 5.1.1 recipient rejected",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "recipient address rejected", &[
        "550 5.1.1 <a@b.example>: Recipient address rejected: undeliverable address",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "recipient*invalid", &[
        "554 delivery error: the recipient is invalid",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "not our customer", &["550 5.1.1 Not our Customer"]),
    rule(BounceClass::InvalidRecipient, "5", "no account", &[
        "554 delivery error: dd Sorry, no account by that name here",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "no longer*accept", &[
        "550 5.2.1 The recipient no longer accepts mail here",
    ]),
    rule(BounceClass::InvalidRecipient, "5", "rp:orq", &["550 RP:ORQ The recipient is not known"]),
    rule(BounceClass::Block, "", "dmarc", &[
        "550 5.7.26 Unauthenticated email from b.example is not accepted due to domain's DMARC policy. - gsmtp",
        "554 5.7.9 Message not accepted for policy reasons: DMARC",
    ]),
    rule(BounceClass::Block, "", "spf", &[
        "550 5.7.23 The message was rejected because of Sender Policy Framework violation -> SPF fail",
        "550 SPF check failed",
    ]),
    rule(BounceClass::Block, "", "dkim", &["550 5.7.20 No passing DKIM signature found"]),
    rule(BounceClass::Block, "", "unauthenticated", &[
        "550 5.7.26 This mail has been blocked because the sender is unauthenticated. - gsmtp",
        "421 4.7.26 Your email has been delayed because it is unauthenticated. - gsmtp",
    ]),
    rule(BounceClass::Block, "5", "reverse dns", &[
        "554 5.7.1 Fix reverse DNS for 192.0.2.1",
        "550 5.7.25 The IP address has no reverse DNS entry",
    ]),
    rule(BounceClass::Block, "5", "ptr record", &[
        "550 5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record. - gsmtp",
    ]),
    rule(BounceClass::Block, "", "starttls", &["530 5.7.0 Must issue a STARTTLS command first"]),
    rule(BounceClass::Block, "5", "access denied", &[
        "550 5.7.1 Access denied, traffic not accepted from this IP",
        "554 5.7.1 <b.example>: Helo command rejected: Access denied",
    ]),
    rule(BounceClass::Block, "5", "blocked", &[
        "550 5.7.1 Message blocked",
        "554 5.7.1 Connection blocked",
    ]),
    rule(BounceClass::Block, "5", "banned", &["550 5.7.1 Your host is banned"]),
    rule(BounceClass::Block, "5", "not accepted for policy reasons", &[
        "554 5.7.9 Message not accepted for policy reasons. See https://postmaster.example",
    ]),
    rule(BounceClass::Block, "5", "policy", &[
        "550 5.7.1 Rejected by local policy",
        "554 Reject due to policy restrictions",
    ]),
    rule(BounceClass::Block, "5", "sender*rejected", &["550 5.1.0 <a@b.example> sender rejected", "553 5.7.1 <a@b.example>: Sender address rejected: not owned by user"]),
    rule(BounceClass::Block, "5", "not authorized", &[
        "550 5.7.1 You are not authorized to send mail here",
        "550 5.7.133 Sender not authorized",
    ]),
    rule(BounceClass::Block, "5", "refused", &[
        "554 5.7.1 Connection refused by administrator",
        "521 Mail from your network is refused",
    ]),
    rule(BounceClass::Timeout, "4", "timeout", &["421 4.4.2 mx.b.example Error: timeout exceeded"]),
    rule(BounceClass::Timeout, "", "timed out", &["421 4.4.2 Connection timed out"]),
    rule(BounceClass::Generic, "5", "too many hops", &["554 5.4.6 Too many hops"]),
    rule(BounceClass::Generic, "5", "loop", &[
        "554 5.4.6 Mail loop detected",
        "550 routing loop",
    ]),
    rule(BounceClass::Generic, "5", "syntax error", &[
        "501 5.5.4 Syntax error in parameters or arguments",
    ]),
];
