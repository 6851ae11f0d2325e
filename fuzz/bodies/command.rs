//! Any bytes as commands of a client: an address that is understood is understood again as it is
//! written.

use traject_engine::smtp::address::{ForwardPath, Mailbox};
use traject_engine::smtp::command::{Command, parse};
use traject_engine::smtp::line::{Framed, LineFramer};

/// Reads the bytes as lines and each of them as a command.
pub(crate) fn run(bytes: &[u8]) {
    let mut framer = LineFramer::new(1024);
    let mut rest = bytes;
    while let Some(framed) = framer.next(&mut rest) {
        if let Framed::Line(line) = framed {
            command(line);
        }
    }
    command(bytes);
}

fn command(line: &[u8]) {
    match parse(line) {
        Ok(Command::Mail(mail)) => {
            if let Some(sender) = mail.reverse_path.0 {
                reads_again(&sender);
            }
        }
        Ok(Command::Rcpt(ForwardPath::Mailbox(recipient))) => reads_again(&recipient),
        Ok(_) | Err(_) => {}
    }
}

fn reads_again(mailbox: &Mailbox) {
    let line = format!("RCPT TO:<{mailbox}>");
    match parse(line.as_bytes()) {
        Ok(Command::Rcpt(ForwardPath::Mailbox(again))) => assert_eq!(again, *mailbox, "{line}"),
        other => panic!("{line}: {other:?}"),
    }
}
