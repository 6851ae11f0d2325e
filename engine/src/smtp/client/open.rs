//! From the connection to the first `Ready`: banner, then EHLO, HELO or LHLO. STARTTLS, which may
//! come between, is in `secure`.

use alloc::format;
use alloc::sync::Arc;

use super::end::End;
use super::secure::greeted;
use super::{State, Step};
use crate::config::effective::DeliveryMethod;
use crate::smtp::ehlo::Capabilities;
use crate::smtp::reply::{ReplyView, Severity};

/// The connection stands; the server speaks first.
#[derive(Debug)]
pub(super) struct ExpectBanner;

impl ExpectBanner {
    pub(super) fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        match reply.severity() {
            Severity::Positive => {
                say_hello(step.link.options.ehlo_hostname.clone(), step);
                after_hello(step)
            }
            Severity::Transient | Severity::Permanent => {
                State::ExpectBanner(self).end(End::Refused(reply.to_reply()), step)
            }
            Severity::Intermediate => {
                State::ExpectBanner(self).end(End::Violation("3xx as a banner"), step)
            }
        }
    }
}

/// EHLO or LHLO is sent; its reply's lines are gathered in `Link::capabilities` as they come.
#[derive(Debug)]
pub(super) struct ExpectEhlo;

impl ExpectEhlo {
    pub(super) fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        match reply.severity() {
            Severity::Positive => greeted(step),
            // A server from before ESMTP (RFC 5321 section 3.2). LMTP has no older form.
            Severity::Permanent if step.link.options.method == DeliveryMethod::Esmtp => {
                step.link.capabilities = Capabilities::default();
                let name = step.link.options.ehlo_hostname.clone();
                say("HELO", &name, step);
                State::ExpectHelo(ExpectHelo)
            }
            Severity::Transient | Severity::Permanent => {
                State::ExpectEhlo(self).end(End::Refused(reply.to_reply()), step)
            }
            Severity::Intermediate => {
                State::ExpectEhlo(self).end(End::Violation("3xx to EHLO"), step)
            }
        }
    }
}

/// HELO is sent: the server has no extensions.
#[derive(Debug)]
pub(super) struct ExpectHelo;

impl ExpectHelo {
    pub(super) fn on_reply(self, reply: ReplyView<'_>, step: &mut Step<'_>) -> State {
        match reply.severity() {
            Severity::Positive => greeted(step),
            Severity::Transient | Severity::Permanent => {
                State::ExpectHelo(self).end(End::Refused(reply.to_reply()), step)
            }
            Severity::Intermediate => {
                State::ExpectHelo(self).end(End::Violation("3xx to HELO"), step)
            }
        }
    }
}

/// The state after the method's own greeting.
pub(super) fn after_hello(step: &Step<'_>) -> State {
    match step.link.options.method {
        DeliveryMethod::Esmtp | DeliveryMethod::Lmtp => State::ExpectEhlo(ExpectEhlo),
        DeliveryMethod::Smtp => State::ExpectHelo(ExpectHelo),
    }
}

/// Greets by the method's own command.
pub(super) fn say_hello(name: Arc<str>, step: &mut Step<'_>) {
    let verb = match step.link.options.method {
        DeliveryMethod::Esmtp => "EHLO",
        DeliveryMethod::Smtp => "HELO",
        DeliveryMethod::Lmtp => "LHLO",
    };
    say(verb, &name, step);
}

fn say(verb: &str, name: &str, step: &mut Step<'_>) {
    step.write(format!("{verb} {name}\r\n"));
    step.wait(step.link.options.ehlo_timeout);
}
