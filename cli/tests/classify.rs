//! `traject classify` as a user meets it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;

fn classify(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_traject")).arg("classify").args(args).output().unwrap()
}

fn page(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn replies_and_why_they_are_what_they_are() {
    let output = classify(&[
        "550 5.1.1 No such user",
        "452 4.2.2 gibberish",
        "550 gibberish",
        "421 4.7.0 [TSS04] Messages from 192.0.2.1 deferred due to unexpected volume or user complaints",
    ]);
    assert_snapshot!(page(&output), @r#"
    10 invalid recipient  hard   because it says "no such user"               550 5.1.1 No such user
    22 mailbox full       soft   because of its enhanced status code          452 4.2.2 gibberish
    10 invalid recipient  hard   because of its code and stage                550 gibberish
    51 spam source        block  because it says "volume or user complaints"  421 4.7.0 [TSS04] Messages from 192.0.2.1 deferred due to unexpected volume or user complaints
    "#);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_stage_counts_where_words_and_codes_say_nothing() {
    let output = classify(&["--stage", "banner", "--json", "550 gibberish"]);
    assert_snapshot!(page(&output), @r#"
    [
      {
        "reply": "550 gibberish",
        "class": "block",
        "number": 50,
        "kind": "block",
        "because": "of its code and stage"
      }
    ]
    "#);
}

#[test]
fn replies_come_from_standard_input_too() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_traject"))
        .args(["classify", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    input.write_all(b"552 5.2.2 over quota\n554 5.7.1 Relay access denied\n").unwrap();
    drop(input);
    assert_snapshot!(page(&program.wait_with_output().unwrap()), @r#"
    22 mailbox full  soft   because it says "over quota"           552 5.2.2 over quota
    54 relay         block  because it says "relay access denied"  554 5.7.1 Relay access denied
    "#);
}

#[test]
fn what_is_no_reply_is_an_error() {
    let output = classify(&["No such user"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("does not begin with three digits"), "{said}");
}
