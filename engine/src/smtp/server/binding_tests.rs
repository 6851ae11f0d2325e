//! Mail that names its binding, has none, or whose recipients are refused for no fault of theirs.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::tests::{Dialogue, describe, options};
use super::*;
use crate::config::effective::RelayPolicy;

/// A client that may relay.
fn trusted(binding: BindingSource) -> ReceptionOptions {
    let relay = RelayPolicy { client_may_relay: true, ..RelayPolicy::default() };
    ReceptionOptions { relay, binding, ..options() }
}

/// Says these commands; what comes back at last.
fn say(dialogue: &mut Dialogue, commands: &str) -> String {
    let said = dialogue.input(ServerInput::Received(commands.as_bytes()));
    said.into_iter().next_back().unwrap_or_default()
}

/// Hands in a message with that header: whether the header was to be taken out, and what comes of
/// the message.
fn hand_in(options: ReceptionOptions, header: Option<&str>) -> (bool, Vec<String>) {
    let mut dialogue = Dialogue::new(options);
    let mut out = vec![];
    let mut ids = || MessageId(7);
    let commands = b"EHLO c.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@ours.example>\r\nDATA\r\n";
    dialogue.session.handle(dialogue.now, ServerInput::Received(commands), &mut ids, &mut out);
    let taken = match out.pop() {
        Some(ServerOutput::ReceiveBody { rules, .. }) => rules.take_header == Some("X-Binding"),
        other => panic!("no body asked for: {other:?}"),
    };
    out.clear();
    let header = header.map(Into::into);
    let info =
        BodyInfo { size_bytes: 99, eight_bit: false, received_headers: 0, header, head: None };
    dialogue.session.handle(dialogue.now, ServerInput::BodyDone(Ok(info)), &mut ids, &mut out);
    let told = out.iter().flat_map(|output| match output {
        ServerOutput::Accept(message) => vec![String::from("by ") + &message.binding],
        other => describe(other),
    });
    (taken, told.collect())
}

#[test]
fn trusted_clients_may_name_the_binding() {
    let acl = BindingSource::Binding("blue".into());
    let unknown = "= violation: X-Binding names no binding";
    let refused = ["= discard 7", "= rejected data 451", "S: 451 4.7.1 No binding for this mail"];
    for (options, header, taken, expected) in [
        (trusted(BindingSource::Default), None, true, &["by default"][..]),
        (trusted(BindingSource::Default), Some("red"), true, &["by red"]),
        (trusted(BindingSource::Default), Some("no"), true, &[unknown, "by no"]),
        (trusted(acl.clone()), Some("red"), true, &["by blue"]),
        (trusted(acl), Some("no"), true, &["by blue"]),
        (trusted(BindingSource::Refuse), Some("red"), true, &["by red"]),
        (trusted(BindingSource::Refuse), None, true, &refused),
        // Whoever may only send to our own domains is not asked.
        (options(), None, false, &["by default"]),
        (
            ReceptionOptions {
                relay: RelayPolicy {
                    sending_domains: vec!["b".into()].into(),
                    ..RelayPolicy::default()
                },
                ..options()
            },
            Some("red"),
            true,
            &["by red"],
        ),
    ] {
        let source = options.binding.clone();
        let got = hand_in(options, header);
        assert_eq!(
            got,
            (taken, expected.iter().map(|line| (*line).into()).collect()),
            "{source:?}"
        );
    }
}

#[test]
fn mail_that_cannot_have_a_binding_is_refused_at_mail() {
    let mail = "MAIL FROM:<a@b>\r\n";
    let mut stranger =
        Dialogue::new(ReceptionOptions { binding: BindingSource::Refuse, ..options() });
    assert_eq!(say(&mut stranger, mail), "S: 451 4.7.1 No binding for this mail");
    let mut trusted = Dialogue::new(trusted(BindingSource::Refuse));
    assert_eq!(say(&mut trusted, mail), "S: 250 2.1.0 Sender OK");
}

#[test]
fn refusing_what_is_discarded_does_not_count_as_an_error() {
    let mut dialogue = Dialogue::new(trusted(BindingSource::Default));
    say(&mut dialogue, "MAIL FROM:<a@b>\r\n");
    for _ in 0..COMMAND_ERRORS_MAX + 5 {
        let said = say(&mut dialogue, "RCPT TO:<a@void.ours.example>\r\n");
        assert_eq!(said, "S: 551 5.7.1 recipient blackholed");
    }
    let said = say(&mut dialogue, "RCPT TO:<a@ours.example>\r\n");
    assert_eq!(said, "S: 250 2.1.5 Recipient OK");
}
