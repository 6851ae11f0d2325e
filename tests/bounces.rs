//! Bounces of the built daemon, read by somebody else's parser.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use traject_net::spool::Inspection;
use traject_tests::{Client, Delivery, Mail, Sink, Site, find_tool, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

const TRUSTED: &str = "relay_hosts = (\"127.0.0.1\")\nhostname = \"out.example.org\"";

/// Prints what Python's email package makes of a message: its parts, and every defect it finds.
const PARSER: &str = r#"
import email, email.policy, json, sys
message = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
parts = list(message.walk())
report = {
    "headers": {name: str(message[name]) for name in ("From", "To", "Subject", "Auto-Submitted")},
    "report_type": message.get_param("report-type"),
    "types": [part.get_content_type() for part in parts],
    "defects": [repr(defect) for part in parts for defect in part.defects],
    "text": parts[1].get_content(),
    "status": [
        {name.lower(): str(value) for name, value in block.items()}
        for part in parts
        if part.get_content_type() == "message/delivery-status"
        for block in part.get_payload()
    ],
    "quoted": parts[-1].get_payload() if not parts[-1].is_multipart() else None,
}
json.dump(report, sys.stdout)
"#;

fn parse(python: &Path, body: &[u8]) -> Value {
    let mut parser = Command::new(python)
        .args(["-c", PARSER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    parser.stdin.take().unwrap().write_all(body).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(body));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Hands in a message and waits for what comes to its sender.
fn bounce_of(site: &Site, sink: &Sink, mail: &Mail) -> Delivery {
    let mut client = Client::connect(site.address()).unwrap();
    client.command("EHLO client.example.org").unwrap();
    assert_eq!(client.deliver(mail).unwrap().code, 250);
    let to_sender = |delivery: &Delivery| delivery.recipients == [mail.sender.clone()];
    wait_until("the sender hears", PATIENCE, || sink.deliveries().iter().any(to_sender));
    let mut found: Vec<_> = sink.deliveries().into_iter().filter(to_sender).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn mail(number: u32, recipients: &[&str], body: &str) -> Mail {
    let mut mail = Mail::new(number, body);
    // Of the next hop, too, so that bounces get there.
    mail.sender = format!("sender{number}@d9.example.net");
    mail.recipients = recipients.iter().map(ToString::to_string).collect();
    mail
}

#[test]
fn a_bounce_is_what_rfc_3464_says() {
    let python = match find_tool("python3", "python3") {
        Ok(python) => python,
        Err(missing) => return missing.skip(),
    };
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    let daemon = site.start();
    let recipients =
        ["refused.one@d0.example.net", "fine@d0.example.net", "refused@d0.example.net"];
    let bounce = bounce_of(&site, &sink, &mail(1, &recipients, "Subject: a\r\n b\r\n\r\ntext\r\n"));
    assert_eq!(bounce.sender, "");
    let report = parse(&python, &bounce.body);
    assert_eq!(report["defects"], json!([]));
    assert_eq!(report["report_type"], "delivery-status");
    let found = report["types"].as_array().unwrap();
    let types = ["multipart/report", "text/plain", "message/delivery-status"];
    assert_eq!(found[..3], types, "{found:?}");
    assert_eq!(found.last().unwrap(), "text/rfc822-headers");
    let headers = &report["headers"];
    assert_eq!(headers["From"], "mailer-daemon@out.example.org");
    assert_eq!(headers["Auto-Submitted"], "auto-replied");
    let status = report["status"].as_array().unwrap();
    assert_eq!(status.len(), 3, "one for the message, one for each recipient that failed");
    assert_eq!(status[0]["reporting-mta"], "dns; out.example.org");
    for (block, recipient) in status[1..].iter().zip(["refused.one", "refused"]) {
        assert_eq!(block["final-recipient"], format!("rfc822; {recipient}@d0.example.net"));
        assert_eq!(block["action"], "failed");
        assert_eq!(block["status"], "5.1.1");
        assert_eq!(block["diagnostic-code"], "smtp; 550 5.1.1 nobody of that name");
    }
    let quoted = report["quoted"].as_str().unwrap();
    assert!(quoted.contains("Subject: a\r\n b") || quoted.contains("Subject: a\n b"), "{quoted}");
    assert!(!quoted.contains("text"), "{quoted}");
    assert!(daemon.terminate().success());
    sink.assert_no_violations();
    assert_eq!(Inspection::open(&site.spool()).unwrap().report().messages, 0);
}

#[test]
fn a_bounce_can_quote_all_of_an_8_bit_message() {
    let python = match find_tool("python3", "python3") {
        Ok(python) => python,
        Err(missing) => return missing.skip(),
    };
    let sink = Sink::start();
    let config = format!("{TRUSTED}\nbounces_inline_original = all\nmailerdaemon = \"md@x.org\"");
    let site = Site::new(sink.address(), &config);
    let daemon = site.start();
    let text = "Subject: s\r\nContent-Type: text/plain; charset=utf-8\r\n\
                Content-Transfer-Encoding: 8bit\r\n\r\n.\r\nM\u{fc}ller\r\n";
    let bounce = bounce_of(&site, &sink, &mail(1, &["refused@d0.example.net"], text));
    let report = parse(&python, &bounce.body);
    assert_eq!(report["defects"], json!([]));
    assert_eq!(report["headers"]["From"], "md@x.org");
    assert!(report["types"].as_array().unwrap().contains(&json!("message/rfc822")), "{report}");
    let whole = String::from_utf8(bounce.body).unwrap();
    assert!(whole.contains(".\r\nM\u{fc}ller\r\n"), "{whole}");
    assert!(daemon.terminate().success());
    sink.assert_no_violations();
}

#[test]
fn a_bounce_survives_the_process() {
    let sink = Sink::start();
    let site = Site::new(sink.address(), TRUSTED);
    for round in 0..10 {
        let daemon = site.start();
        let mail = mail(round, &["refused@d0.example.net"], "Subject: s\r\n\r\ntext\r\n");
        let mut client = Client::connect(site.address()).unwrap();
        client.command("EHLO client.example.org").unwrap();
        assert_eq!(client.deliver(&mail).unwrap().code, 250);
        daemon.kill();
        let daemon = site.start();
        let heard = |delivery: &Delivery| delivery.recipients == [mail.sender.clone()];
        wait_until("the sender hears", PATIENCE, || sink.deliveries().iter().any(heard));
        assert!(daemon.terminate().success());
    }
    sink.assert_no_violations();
    assert_eq!(Inspection::open(&site.spool()).unwrap().report().messages, 0);
}
