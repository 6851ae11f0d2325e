//! The scripts in `bench/` work: mail gets through the relays there, whatever it takes.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use traject_tests::{Client, binary, free_port, wait_until, workspace};

const PATIENCE: Duration = Duration::from_secs(60);
const DOMAINS: u16 = 5;
const MESSAGES: u32 = 200;

/// Builds what sends and takes mail.
fn load(folder: &Path) -> PathBuf {
    let load = folder.join("load");
    let built = Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .args([&load, &workspace().join("bench/load.rs")])
        .status();
    assert!(built.unwrap().success());
    load
}

/// As many free ports in a row as there are domains.
fn free_ports() -> Range<u16> {
    let mut ports: Vec<u16> = Vec::new();
    while ports.len() < usize::from(DOMAINS) {
        let port = free_port();
        if ports.last().is_some_and(|last| last + 1 != port) {
            ports.clear();
        }
        ports.push(port);
    }
    ports[0]..ports[0] + DOMAINS
}

/// Ends with its test, whatever becomes of that.
struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(peer: &str, work: &Path, load: &Path, port: u16, sink: u16) -> Relay {
    let spool = work.join("spool");
    std::fs::create_dir(&spool).unwrap();
    let child = Command::new(workspace().join("bench/peers").join(peer))
        .envs([("WORK", work), ("SPOOL", &spool), ("LOAD", load), ("TRAJECT", binary())])
        .envs(
            [("PORT", port), ("SINK_PORT", sink), ("DOMAINS", DOMAINS)]
                .map(|(name, number)| (name, number.to_string())),
        )
        .env("VARIANT", "")
        .stderr(Stdio::null())
        .spawn();
    let relay = Relay(child.unwrap());
    wait_until("the relay answers", PATIENCE, || {
        Client::connect(([127, 0, 0, 1], port).into()).is_ok()
    });
    relay
}

/// Sends everything to a port; what came of it.
fn drive(load: &Path, to: u16, sink: u16, each: u32) -> Value {
    let (domains, messages) = (u32::from(DOMAINS), MESSAGES);
    let numbers = [to.into(), sink.into(), domains, messages, 4096, each];
    let driven = Command::new(load).arg("drive").args(numbers.map(|n| n.to_string())).output();
    let driven = driven.unwrap();
    assert!(driven.status.success(), "{}", String::from_utf8_lossy(&driven.stderr));
    serde_json::from_slice(&driven.stdout).unwrap()
}

fn assert_whole(result: &Value) {
    let count = |name: &str| result[name].as_u64().unwrap();
    let counts = ["accepted", "arrived", "twice", "strangers", "errors"].map(count);
    assert_eq!(counts, [MESSAGES.into(), MESSAGES.into(), 0, 0, 0], "{result}");
}

#[test]
fn mail_gets_through_every_relay_of_our_own() {
    let folder = TempDir::new().unwrap();
    let load = load(folder.path());
    let sink = free_ports();
    // Kept or not, connections make no difference.
    assert_whole(&drive(&load, sink.start, sink.start, 0));
    for (peer, each) in [("bare", 0), ("traject", 7)] {
        let work = folder.path().join(peer);
        std::fs::create_dir(&work).unwrap();
        let port = free_port();
        let _relay = start(peer, &work, &load, port, sink.start);
        assert_whole(&drive(&load, port, sink.start, each));
    }
}

#[test]
fn the_command_says_how_it_is_used() {
    let run = workspace().join("bench/run");
    let help = Command::new(&run).arg("--help").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    for case in ["4k", "50k", "fan100", "conn"] {
        assert!(text.contains(&format!("\n  {case} ")), "{text}");
    }
    let wrong = Command::new(&run).arg("no-such-relay").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}
