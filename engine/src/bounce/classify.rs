//! Which class a reply is of: what its words say, else its enhanced status code, else its code.

use alloc::vec::Vec;

use super::{BounceClass, RULES, Rule};
use crate::smtp::reply::{EnhancedCode, Reply, Severity};
use crate::smtp::stage::Stage;

/// A class, and how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified {
    /// The class.
    pub class: BounceClass,
    /// What decided.
    pub reason: Reason,
}

/// What decided about a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The first rule whose words are in the reply.
    Rule(&'static Rule),
    /// The enhanced status code.
    EnhancedCode,
    /// The code, and how far the dialogue had come.
    Code,
}

/// Finds the class of a failure. The same reply at the same stage always has the same class.
pub fn classify(stage: Stage, reply: &Reply) -> Classified {
    if reply.local {
        let code = reply.enhanced.unwrap_or(EnhancedCode(4, 0, 0));
        return Classified { class: class_of_ours(code), reason: Reason::EnhancedCode };
    }
    let words = reply.text.to_ascii_lowercase();
    if let Some(rule) = RULES.iter().find(|rule| rule.matches(reply.code, &words)) {
        return Classified { class: rule.class, reason: Reason::Rule(rule) };
    }
    if let Some(class) = reply.enhanced.and_then(class_of_enhanced_code) {
        return Classified { class, reason: Reason::EnhancedCode };
    }
    Classified { class: class_of_code(reply, stage), reason: Reason::Code }
}

/// The class of our own words, which say what happened by their enhanced codes.
const fn class_of_ours(code: EnhancedCode) -> BounceClass {
    match (code.1, code.2) {
        (4, 3 | 4) => BounceClass::Dns,
        (4, 2 | 7) => BounceClass::Timeout,
        (3, 4) => BounceClass::TooLarge,
        (3, _) | (4, 6) => BounceClass::Admin,
        (7, 0) if code.0 == 5 => BounceClass::Admin,
        (6, _) => BounceClass::Generic,
        _ => BounceClass::Soft,
    }
}

/// The class an enhanced status code stands for (RFC 3463, and the registry it founded).
const fn class_of_enhanced_code(code: EnhancedCode) -> Option<BounceClass> {
    let transient = code.0 == 4;
    Some(match (code.1, code.2) {
        (2, 2) => BounceClass::MailboxFull,
        (2, 3) | (3, 4) => BounceClass::TooLarge,
        (1, 2 | 10) | (4, 3 | 4) => BounceClass::Dns,
        (4, 7) => BounceClass::Timeout,
        (_, _) if transient => BounceClass::Transient,
        (1, 1 | 3 | 6) | (2, 1) => BounceClass::InvalidRecipient,
        (1, 7 | 8) | (7, _) => BounceClass::Block,
        (6, _) => BounceClass::Generic,
        _ => return None,
    })
}

/// The class of a code alone.
const fn class_of_code(reply: &Reply, stage: Stage) -> BounceClass {
    match (reply.severity(), reply.code, stage) {
        (Severity::Transient, ..) => BounceClass::Transient,
        (_, 552, _) => BounceClass::MailboxFull,
        (_, 550 | 551 | 553, Stage::RcptTo) => BounceClass::InvalidRecipient,
        (_, _, Stage::Banner | Stage::Ehlo | Stage::MailFrom) => BounceClass::Block,
        (_, _, Stage::Data | Stage::Body | Stage::BodyReply) => BounceClass::Generic,
        _ => BounceClass::Undetermined,
    }
}

/// Replies that were classified a moment ago: a receiver in trouble says the same thing to every
/// message.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    recent: Vec<(Stage, Reply, BounceClass)>,
    /// Which of them is forgotten next.
    oldest: usize,
}

/// How many replies are remembered: a few receivers' worth, each found by comparing with all.
const REMEMBERED: usize = 8;

impl Memo {
    /// The class of a reply, as [`classify`] says.
    pub fn class(&mut self, stage: Stage, reply: &Reply) -> BounceClass {
        let known = self.recent.iter().find(|known| known.0 == stage && known.1 == *reply);
        if let Some((_, _, class)) = known {
            return *class;
        }
        let class = classify(stage, reply).class;
        let entry = (stage, reply.clone(), class);
        if self.recent.len() < REMEMBERED {
            self.recent.push(entry);
        } else {
            self.recent[self.oldest] = entry;
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
        class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> Reply {
        Reply::parse(line, false).unwrap()
    }

    #[test]
    fn every_rule_is_the_first_to_match_its_samples() {
        for rule in RULES {
            assert!(!rule.samples.is_empty(), "{rule:?} has no sample");
            for sample in rule.samples {
                let found = classify(Stage::BodyReply, &reply(sample));
                assert_eq!(found.reason, Reason::Rule(rule), "{sample}");
            }
        }
    }

    #[test]
    fn rules_are_written_as_they_are_compared() {
        for rule in RULES {
            assert_eq!(rule.words, rule.words.to_ascii_lowercase(), "{rule:?}");
            assert!(rule.words.split('*').all(|part| part.len() > 1), "{rule:?}");
            let digits = rule.code.bytes().all(|byte| byte.is_ascii_digit());
            assert!(digits && rule.code.len() <= 3, "{rule:?}");
        }
    }

    #[test]
    fn codes_decide_where_words_do_not() {
        use BounceClass as C;
        let table = [
            ("550 5.1.1 gibberish", Stage::RcptTo, C::InvalidRecipient),
            ("550 5.2.1 gibberish", Stage::RcptTo, C::InvalidRecipient),
            ("452 4.2.2 gibberish", Stage::RcptTo, C::MailboxFull),
            ("552 5.2.2 gibberish", Stage::RcptTo, C::MailboxFull),
            ("552 5.3.4 gibberish", Stage::MailFrom, C::TooLarge),
            ("552 5.2.3 gibberish", Stage::BodyReply, C::TooLarge),
            ("451 4.3.3 gibberish", Stage::BodyReply, C::Transient),
            ("550 5.2.4 gibberish", Stage::RcptTo, C::InvalidRecipient),
            ("556 5.1.10 gibberish", Stage::RcptTo, C::Dns),
            ("451 4.4.4 gibberish", Stage::RcptTo, C::Dns),
            ("550 5.4.7 gibberish", Stage::RcptTo, C::Timeout),
            ("421 4.7.0 gibberish", Stage::Banner, C::Transient),
            ("550 5.7.1 gibberish", Stage::MailFrom, C::Block),
            ("550 5.6.0 gibberish", Stage::BodyReply, C::Generic),
            ("550 gibberish", Stage::RcptTo, C::InvalidRecipient),
            ("550 gibberish", Stage::MailFrom, C::Block),
            ("550 gibberish", Stage::BodyReply, C::Generic),
            ("552 gibberish", Stage::RcptTo, C::MailboxFull),
            ("554 gibberish", Stage::Banner, C::Block),
            ("554 gibberish", Stage::RcptTo, C::Undetermined),
            ("450 gibberish", Stage::RcptTo, C::Transient),
        ];
        for (line, stage, class) in table {
            assert_eq!(classify(stage, &reply(line)).class, class, "{line}");
        }
    }

    #[test]
    fn our_own_words_have_classes_too() {
        use BounceClass as C;
        let table = [
            (Reply::local(451, EnhancedCode(4, 4, 1), "connection refused"), C::Soft),
            (Reply::local(451, EnhancedCode(4, 4, 2), "no banner"), C::Timeout),
            (Reply::local(451, EnhancedCode(4, 4, 3), "domain look-up failed"), C::Dns),
            (Reply::local(554, EnhancedCode(5, 4, 4), "no such domain"), C::Dns),
            (Reply::local(551, EnhancedCode(5, 4, 6), "a prohibited host"), C::Admin),
            (Reply::local(554, EnhancedCode(5, 4, 7), "message too old"), C::Timeout),
            (Reply::local(552, EnhancedCode(5, 3, 4), "larger than allowed"), C::TooLarge),
            (Reply::local(550, EnhancedCode(5, 3, 0), "message body missing"), C::Admin),
            (Reply::local(554, EnhancedCode(5, 6, 3), "no 8-bit content"), C::Generic),
            (Reply::local(554, EnhancedCode(5, 7, 0), "Blackholed"), C::Admin),
            (Reply::local(454, EnhancedCode(4, 7, 5), "certificate has expired"), C::Soft),
        ];
        for (reply, class) in table {
            assert_eq!(classify(Stage::Queue, &reply).class, class, "{reply}");
        }
    }

    #[test]
    fn what_is_remembered_is_what_would_be_found() {
        let mut memo = Memo::default();
        for round in 0..3 {
            for rule in RULES {
                for sample in rule.samples {
                    let class = memo.class(Stage::RcptTo, &reply(sample));
                    assert_eq!(class, rule.class, "{sample} in round {round}");
                    assert_eq!(memo.class(Stage::RcptTo, &reply(sample)), class);
                }
            }
        }
        assert_eq!(memo.recent.len(), REMEMBERED);
    }
}
