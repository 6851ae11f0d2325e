//! `traject swarm --config` as a user meets it.

use std::fs;
use std::process::{Command, Output};

use insta::assert_snapshot;
use tempfile::TempDir;

/// Whoever retries once and cares for TLS at one domain.
const CONFIG: &str = r#"retry_interval = 60
domain "a.example" { max_retries = 1 }
domain "partner.example" { tls = ifavailable }
domain "/\.invalid$/" { never_retry = true }
binding "bulk" { max_outbound_connections = 3 }
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("their.conf"), CONFIG).unwrap();
    folder
}

fn traject(folder: &TempDir, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_traject"));
    command.current_dir(folder.path()).args(args).output().unwrap()
}

fn page(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn promises_that_break_have_a_row_each_and_a_world_that_shows_it() {
    let folder = folder();
    let args = ["swarm", "--config", "their.conf", "--seeds", "4", "--json", "found.json"];
    let output = traject(&folder, &args);
    assert_eq!(output.status.code(), Some(4), "{}", complaint(&output));
    // How fast it was, is another each time.
    let page = page(&output);
    let (told, speed) = page.trim_end().rsplit_once('\n').unwrap();
    assert!(speed.ends_with(" worlds a second"), "{speed}");
    assert_snapshot!(told, @r#"
    2 of 4 worlds: mail fails that nobody refused
      mail    bulk to partner.example, default to partner.example
      because 554 5.4.4 the domain could not be looked up (dns_failures_to_purge)
      set by  dns_failures_to_purge = 10 (built in)
      shown   in seed 1, after 3h14m
      replay  traject sim ./promise-1-failed-dns_failures_to_purge.toml

    1 of 4 worlds: mail goes in clear
      mail    bulk to partner.example, default to partner.example
      because STARTTLS was not offered
      set by  tls = ifavailable (their.conf:3, in domain "partner.example")
      shown   in seed 2, after 3h22m
      replay  traject sim ./promise-2-in-clear-tls.toml

    1 of 4 worlds: mail goes in clear
      mail    bulk to partner.example
      because the handshake failed
      set by  tls_ifavailable_fallback = true (built in)
      shown   in seed 2, after 5m
      replay  traject sim ./promise-2-in-clear-tls_ifavailable_fallback.toml

    1 of 4 worlds: a receiver's limit is exceeded
      mail    bulk to a.example
      because messages per connection: a.example says 421 Too many messages over this connection
      set by  max_deliveries_per_connection = 0 (built in)
      shown   in seed 3, after 8.2s
      replay  traject sim ./promise-3-limit-max_deliveries_per_connection.toml

    1 of 4 worlds: mail expires
      mail    bulk to a.example
      because after 2 attempts, 1m8s old: 421 Too many messages over this connection
      set by  max_retries = 1 (their.conf:2, in domain "a.example")
      shown   in seed 3, after 1m8s
      replay  traject sim ./promise-3-expired-max_retries.toml

    4 worlds with their.conf: 1 kept every promise, the others broke promises of 5 kinds
    9 simulated hours, 2729 messages, 11 faults and events
    "#);

    let json = fs::read_to_string(folder.path().join("found.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = json["broken"].as_array().unwrap();
    assert_eq!((json["worlds"].as_u64(), rows.is_empty()), (Some(4), false));
    for row in rows {
        let file = row["file"].as_str().unwrap();
        let replay = traject(&folder, &["sim", file]);
        assert_eq!(replay.status.code(), Some(1), "{file}: {}", self::page(&replay));
    }
}

#[test]
fn what_is_expected_of_a_configuration_is_looked_at_in_every_world() {
    let folder = folder();
    let expect = "[[expect]]\nthat = \"t50 <= 1s\"\nbinding = \"bulk\"\n";
    fs::write(folder.path().join("sla.toml"), expect).unwrap();
    let args = ["swarm", "--config", "their.conf", "--expect", "sla.toml", "--seeds", "3"];
    let output = traject(&folder, &args);
    assert_eq!(output.status.code(), Some(4), "{}", complaint(&output));
    assert!(page(&output).contains("because t50 <= 1s, binding bulk"), "{}", page(&output));
    assert!(page(&output).contains("set by  sla.toml:1"), "{}", page(&output));
}

#[test]
fn a_configuration_that_keeps_its_promises_is_well() {
    let folder = folder();
    let careful = "max_outbound_connections = 1\nmax_deliveries_per_connection = 5\n\
                   max_recipients_per_batch = 5\noutbound_throttle_messages = \"10/60\"\n\
                   outbound_throttle_connections = \"10/60\"\n";
    fs::write(folder.path().join("their.conf"), careful).unwrap();
    let well = (1..9_u64).find(|seed| {
        let start = seed.to_string();
        let args = ["swarm", "--config", "their.conf", "--seeds", "1", "--start", &start];
        let output = traject(&folder, &args);
        output.status.success() && page(&output).contains("every promise was kept")
    });
    assert!(well.is_some());
}

#[test]
fn what_cannot_be_used_is_shown_where_it_is() {
    let folder = folder();
    fs::write(folder.path().join("their.conf"), "retry_intervall = 60\n").unwrap();
    let output = traject(&folder, &["swarm", "--config", "their.conf"]);
    assert_eq!(output.status.code(), Some(3));
    assert_snapshot!(complaint(&output), @r"
    error: unknown option `retry_intervall`
     --> their.conf:1:1
      |
    1 | retry_intervall = 60
      | ^^^^^^^^^^^^^^^ not an option
      |
      = help: did you mean `retry_interval`?

    error: their.conf cannot be used
    ");

    fs::write(folder.path().join("their.conf"), CONFIG).unwrap();
    let expect = "[[expect]]\nthat = \"t50 <= 1s\"\nbinding = \"bulky\"\n";
    fs::write(folder.path().join("sla.toml"), expect).unwrap();
    let output = traject(&folder, &["swarm", "--config", "their.conf", "--expect", "sla.toml"]);
    assert_eq!(output.status.code(), Some(3));
    assert_snapshot!(complaint(&output), @r#"
    error: the configuration has no binding `bulky`
     --> sla.toml:3:11
      |
    3 | binding = "bulky"
      |           ^^^^^^^
    "#);
}

#[test]
fn the_world_of_a_seed_can_be_seen() {
    let folder = folder();
    let show = |seed| traject(&folder, &["swarm", "--config", "their.conf", "--show", seed]);
    let (one, other) = (page(&show("7")), page(&show("8")));
    assert!(one.starts_with("title = \"world 7 of their.conf\"\nseed = 7\n"), "{one}");
    assert_ne!(one, other);
    fs::write(folder.path().join("world.toml"), &one).unwrap();
    assert!(traject(&folder, &["sim", "world.toml"]).status.success());
}
