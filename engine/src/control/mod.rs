//! What an operator does to waiting mail: hold it, let it go, hurry it, end it, send it elsewhere.
//!
//! A [`Control`] is an input like any other, so a simulation can do what a person would. Each
//! leaves one [`Event::Control`] that says who did what and how much of it, which is also the
//! answer. What is in a transaction is never touched: it comes to its own end first.
//!
//! The original's console has the same verbs: `config set ... suspend_delivery`, `flush domain`,
//! `fail domain`, `message retry`, `reroute queue`.

mod actions;
pub(crate) mod holds;
mod sessions;
mod story;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::ids::MessageId;
use crate::record::{Event, Pair};
use crate::time::Timestamp;

pub use self::holds::Suspension;
pub use self::sessions::{ClientSession, Exchanging};
pub use self::story::{MessageStory, Place, RecipientStory};

/// What somebody wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Who, for the record.
    pub by: Arc<str>,
    /// What.
    pub action: Action,
    /// Do it to about so many recipients only; what is left is said in the answer. `None` for all.
    /// A driver that must not keep others waiting asks again and again.
    pub portion: Option<u64>,
}

/// Which mail: what meets everything that is said. Nothing said is all mail.
///
/// Binding and domain are those of the queue: mail behind a `gateway` waits in the gateway's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Selector {
    /// Mail of this binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Arc<str>>,
    /// Mail to this domain, in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Arc<str>>,
    /// This message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Action {
    /// No attempts, as with `suspend_delivery`, until somebody resumes or the time is over. It also
    /// holds for mail that comes in later, but not for the next process.
    Suspend {
        /// Whose mail; not of one message.
        #[serde(flatten)]
        of: Selector,
        /// When it ends of itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Ends what `Suspend` began for the same mail or for a part of it.
    Resume {
        /// Whose mail; not of one message.
        #[serde(flatten)]
        of: Selector,
    },
    /// Mail that waits for its next attempt is due now. The attempt counts as any other.
    Flush {
        /// Which mail.
        #[serde(flatten)]
        of: Selector,
    },
    /// Waiting mail fails for good.
    Fail {
        /// Which mail.
        #[serde(flatten)]
        of: Selector,
        /// Why, for the sender; `None` for words of our own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Box<str>>,
        /// Nobody is told, whatever `generate_bounces` says.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        quiet: bool,
    },
    /// Waiting mail goes to another queue, with its attempts and due times.
    Reroute {
        /// Which mail.
        #[serde(flatten)]
        of: Selector,
        /// The binding that sends it from now on; `None`: its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_binding: Option<Arc<str>>,
        /// The domain whose exchanges get it; `None`: its own. Addresses stay as they are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_domain: Option<Arc<str>>,
    },
}

/// How much mail an action was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reach {
    /// Queues with mail that waits and is meant.
    pub queues: u32,
    /// Messages.
    pub messages: u64,
    /// Recipients of theirs.
    pub recipients: u64,
    /// Recipients that would have been meant, but are in a transaction.
    pub in_flight: u64,
    /// Recipients that a portion left for the next.
    pub left: u64,
}

/// Why an action is refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "refused")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Refusal {
    /// There is no such binding.
    UnknownBinding {
        /// Its name.
        binding: Arc<str>,
    },
    /// The message is not, or no longer, in care.
    UnknownMessage {
        /// Its id.
        message: MessageId,
    },
    /// Single messages cannot be suspended.
    MessageSuspended,
    /// The end of a suspension has passed.
    Past,
    /// It does not say where to.
    Nowhere,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownBinding { binding } => write!(f, "there is no binding `{binding}`"),
            Self::UnknownMessage { message } => {
                write!(f, "there is no message {message} that waits")
            }
            Self::MessageSuspended => {
                f.write_str("a single message cannot be suspended, only queues")
            }
            Self::Past => f.write_str("the suspension would be over already"),
            Self::Nowhere => f.write_str("neither another binding nor another domain is named"),
        }
    }
}

impl Selector {
    /// Whether a queue may hold mail that is meant.
    pub fn may_be_in(&self, pair: &Pair) -> bool {
        self.binding.as_ref().is_none_or(|binding| *binding == pair.binding)
            && self.domain.as_ref().is_none_or(|domain| *domain == pair.domain)
    }

    /// Whether all mail that `other` means is meant.
    pub fn covers(&self, other: &Self) -> bool {
        let within =
            |ours: &Option<Arc<str>>, theirs: &Option<Arc<str>>| ours.is_none() || ours == theirs;
        within(&self.binding, &other.binding)
            && within(&self.domain, &other.domain)
            && (self.message.is_none() || self.message == other.message)
    }
}

/// The mail in words: `everything`, `mail of red to x.test`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.message, &self.binding, &self.domain) {
            (None, None, None) => f.write_str("all mail"),
            (Some(message), _, _) => write!(f, "message {message}"),
            (None, Some(binding), None) => write!(f, "mail of {binding}"),
            (None, None, Some(domain)) => write!(f, "mail to {domain}"),
            (None, Some(binding), Some(domain)) => write!(f, "mail of {binding} to {domain}"),
        }
    }
}

impl Action {
    /// Which mail it is about.
    pub const fn of(&self) -> &Selector {
        match self {
            Self::Suspend { of, .. }
            | Self::Resume { of }
            | Self::Flush { of }
            | Self::Fail { of, .. }
            | Self::Reroute { of, .. } => of,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Suspend { .. } => "suspend",
            Self::Resume { .. } => "resume",
            Self::Flush { .. } => "flush",
            Self::Fail { .. } => "fail",
            Self::Reroute { .. } => "reroute",
        }
    }
}

impl Engine {
    /// Does what is asked, or says in its record why not.
    pub(crate) fn control(&mut self, control: Control) {
        let Control { by, action, portion } = control;
        match self.refusal(&action) {
            None => self.act(by, action, portion),
            refusal => {
                let reach = Reach::default();
                self.record(Event::Control { by, action, reach, refusal });
            }
        }
    }

    /// How much mail an action would be about now.
    ///
    /// # Errors
    ///
    /// Why it would be refused.
    pub fn measure(&self, action: &Action) -> Result<Reach, Refusal> {
        match self.refusal(action) {
            Some(refusal) => Err(refusal),
            None => Ok(self.reach(action)),
        }
    }

    fn refusal(&self, action: &Action) -> Option<Refusal> {
        let of = action.of();
        let target = match action {
            Action::Reroute { to_binding, .. } => to_binding.as_ref(),
            _ => None,
        };
        let unknown = |binding: &&Arc<str>| !self.config.has_binding(binding);
        if let Some(binding) = of.binding.iter().chain(target).find(unknown) {
            return Some(Refusal::UnknownBinding { binding: binding.clone() });
        }
        match (action, of.message) {
            (Action::Suspend { .. } | Action::Resume { .. }, Some(_)) => {
                return Some(Refusal::MessageSuspended);
            }
            (_, Some(message)) if !self.messages.contains(message) => {
                return Some(Refusal::UnknownMessage { message });
            }
            _ => {}
        }
        match action {
            Action::Suspend { until: Some(until), .. } if *until <= self.now => Some(Refusal::Past),
            Action::Reroute { to_binding: None, to_domain: None, .. } => Some(Refusal::Nowhere),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    fn select(binding: Option<&str>, domain: Option<&str>) -> Selector {
        Selector { binding: binding.map(Into::into), domain: domain.map(Into::into), message: None }
    }

    #[test]
    fn what_a_selector_means() {
        let all = select(None, None);
        let red = select(Some("red"), None);
        let x = select(None, Some("x.test"));
        let both = select(Some("red"), Some("x.test"));
        let one = Selector { message: Some(MessageId(26)), ..Selector::default() };
        for (selector, words, [red_x, red_y, blue_x]) in [
            (&all, "all mail", [true, true, true]),
            (&red, "mail of red", [true, true, false]),
            (&x, "mail to x.test", [true, false, true]),
            (&both, "mail of red to x.test", [true, false, false]),
            (&one, "message 1a", [true, true, true]),
        ] {
            let may = |binding: &str, domain: &str| {
                selector.may_be_in(&Pair { binding: binding.into(), domain: domain.into() })
            };
            let found = [may("red", "x.test"), may("red", "y.test"), may("blue", "x.test")];
            assert_eq!((selector.to_string().as_str(), found), (words, [red_x, red_y, blue_x]));
        }
        for (wide, narrow, covers) in [
            (&all, &both, true),
            (&both, &both, true),
            (&red, &both, true),
            (&red, &x, false),
            (&both, &red, false),
            (&both, &all, false),
            (&one, &all, false),
            (&all, &one, true),
        ] {
            assert_eq!(wide.covers(narrow), covers, "{wide} {narrow}");
        }
    }
}
