//! `traject sim --what-if`, `--set` and `--samples` as a user meets them.

use std::fs;
use std::process::{Command, Output};

use insta::assert_snapshot;
use tempfile::TempDir;

const SCENARIO: &str = r#"
title = "Two receivers, one of which greylists"
horizon = "1d"
config_text = """
domain "grey.example" { retry_interval = 900 }
binding_group "g" { binding "bulk" { } }
"""
traffic = [
    { from = "a@brand.example", to = "grey.example", messages = 100, binding = "bulk" },
    { from = "a@brand.example", to = "open.example", messages = 50, binding = "bulk" },
]
receiver = [
    { name = "grey", domains = ["grey.example"], greylist = { hold = "5m" } },
    { name = "open", domains = ["open.example"], reply = [
        { stage = "rcpt", reply = "550 5.1.1 No such user", probability = 0.2 },
    ] },
]
expect = [{ that = "t100 <= 12m" }, { that = "bounced <= 10" }]
"#;

fn sim(args: &[&str]) -> (TempDir, Output) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("scenario.toml"), SCENARIO).unwrap();
    let traject = env!("CARGO_BIN_EXE_traject");
    let mut command = Command::new(traject);
    let output = command.current_dir(folder.path()).args(["sim", "scenario.toml"]).args(args);
    let output = output.output().unwrap();
    (folder, output)
}

fn page(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_table_over_the_values_of_an_option() {
    let (folder, output) = sim(&["--what-if", "retry_interval=310,600", "--json", "out.json"]);
    assert_snapshot!(page(&output), @r"
    Two receivers, one of which greylists
    what if retry_interval = 310, 600

    all domains
      retry_interval  delivered  bounced  tries    t50    t95    t99   t100  conns  4xx  expectations
                 310        138       12   1.67  5m10s  5m10s  5m10s  5m10s     32  100  1 of 2 FAILED
                 600        138       12   1.67    10m    10m    10m    10m     32  100  1 of 2 FAILED

    grey.example (grey)
      retry_interval  delivered  tries    t50    t95    t99   t100  conns  4xx  held up by
                 310        100   2.00  5m10s  5m10s  5m10s  5m10s     20  100  100% retry after reply 451 4.7.1 Greylisted, ple...
                 600        100   2.00    10m    10m    10m    10m     20  100  100% retry after reply 451 4.7.1 Greylisted, ple...

    The same with each value: open.example
    ");
    assert_eq!(output.status.code(), Some(0));
    let json = fs::read_to_string(folder.path().join("out.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let run = &json["runs"][1];
    assert_eq!(run["settings"][0], serde_json::json!(["retry_interval", "600"]));
    assert_eq!(run["report"]["totals"]["accepted"], 150);
    // The report of a row is that of the run by itself.
    let (_folder, alone) = sim(&["--set", "retry_interval=600", "--json", "-"]);
    let mut alone: serde_json::Value = serde_json::from_str(&page(&alone)).unwrap();
    assert_eq!(alone["replay"], "traject sim scenario.toml --set retry_interval=600 --seed 1");
    alone["replay"] = run["report"]["replay"].clone();
    assert_eq!(alone, run["report"]);
}

#[test]
fn every_combination_of_two_options() {
    let (_folder, output) = sim(&[
        "--what-if",
        "domain grey.example/retry_interval=310,600",
        "--what-if",
        "binding bulk/max_outbound_connections=1,20",
    ]);
    assert_snapshot!(page(&output), @r"
    Two receivers, one of which greylists
    what if domain grey.example/retry_interval = 310, 600
        and binding bulk/max_outbound_connections = 1, 20

    all domains
      retry_interval  max_outbound_connections  delivered  bounced  tries    t50    t95    t99   t100  conns  4xx  expectations
                 310                         1        138       12   1.67  5m12s  5m17s  5m18s  5m18s      2  100  1 of 2 FAILED
                 310                        20        138       12   1.67  5m10s  5m11s  5m11s  5m11s     27  100  1 of 2 FAILED
                 600                         1        138       12   1.67  10m2s  10m7s  10m8s  10m8s      2  100  1 of 2 FAILED
                 600                        20        138       12   1.67    10m  10m1s  10m1s  10m1s     27  100  1 of 2 FAILED

    grey.example (grey)
      retry_interval  max_outbound_connections  delivered  tries    t50    t95    t99   t100  conns  4xx  held up by
                 310                         1        100   2.00  5m14s  5m17s  5m18s  5m18s      1  100  99% retry after reply 451 4.7.1 Greylisted, plea...
                 310                        20        100   2.00  5m10s  5m11s  5m11s  5m11s     16  100  100% retry after reply 451 4.7.1 Greylisted, ple...
                 600                         1        100   2.00  10m4s  10m7s  10m8s  10m8s      1  100  99% retry after reply 451 4.7.1 Greylisted, plea...
                 600                        20        100   2.00    10m  10m1s  10m1s  10m1s     16  100  100% retry after reply 451 4.7.1 Greylisted, ple...

    open.example (open)
      retry_interval  max_outbound_connections  delivered  bounced  tries    t50    t95    t99   t100  conns  4xx  held up by
                 310                         1         38       12   1.00     2s     4s     4s     4s      1    0  94% connection cap max_outbound_connections = 1
                 310                        20         38       12   1.00  370ms  530ms  530ms  530ms     11    0  97% dialogue
                 600                         1         38       12   1.00     2s     4s     4s     4s      1    0  94% connection cap max_outbound_connections = 1
                 600                        20         38       12   1.00  370ms  530ms  530ms  530ms     11    0  97% dialogue
    ");
}

#[test]
fn that_an_option_changes_nothing_is_said() {
    let (_folder, output) = sim(&["--what-if", "retry_interval=310,600", "--set", "x"]);
    assert_eq!(output.status.code(), Some(3), "{}", page(&output));
    let (_folder, output) = sim(&["--what-if", "domain other.example/retry_interval=310,600"]);
    assert!(page(&output).contains("with each of these values the run is the same"));
}

#[test]
fn a_wrong_value_is_shown_on_the_command_line() {
    let (_folder, output) = sim(&["--what-if", "retry_interval=310,often"]);
    assert_eq!(output.status.code(), Some(3));
    assert_snapshot!(complaint(&output), @r"
    error: `retry_interval` needs a whole number from 1 to 4294967295
     --> --what-if:1:16
      |
    1 | retry_interval=often
      |                ^^^^^
      |
      = help: for example `retry_interval = 1200`

    error: scenario.toml cannot be run so
    ");
    let (_folder, output) = sim(&["--what-if", "retry_interval"]);
    assert_eq!(output.status.code(), Some(2));
    let three = ["--what-if", "a=1", "--what-if", "b=1", "--what-if", "c=1"];
    let (_folder, output) = sim(&three);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn samples_show_how_far_numbers_spread() {
    let (folder, output) = sim(&["--samples", "20", "--json", "out.json"]);
    assert_snapshot!(page(&output), @r"
    Two receivers, one of which greylists
    20 samples, seeds 1 to 20

    all domains
                          5%  median   95%
      delivered          135     139   142
      bounced              7      11    15
      tries             1.67    1.67  1.67
      t50                15m     15m   15m
      t95                15m     15m   15m
      t99                15m     15m   15m
      t100               15m     15m   15m
      peak_connections    32      32    32

    grey.example (grey)
                          5%  median   95%
      delivered          100     100   100
      tries             2.00    2.00  2.00
      t50                15m     15m   15m
      t95                15m     15m   15m
      t99                15m     15m   15m
      t100               15m     15m   15m
      peak_connections    20      20    20

    open.example (open)
                           5%  median    95%
      delivered            35      39     42
      bounced               7      11     15
      tries              1.00    1.00   1.00
      t50               290ms   370ms  370ms
      t95               450ms   450ms  530ms
      t99               530ms   530ms  530ms
      t100              530ms   530ms  530ms
      peak_connections     12      12     12

    Expectations
         kept
      0 of 20  t100 <= 12m    broken with seed 1
      9 of 20  bounced <= 10  broken with seed 1
    ");
    assert_snapshot!(complaint(&output), @r"
    hint: a sample that broke one: traject sim scenario.toml --seed 1
    ");
    assert_eq!(output.status.code(), Some(1));
    let json = fs::read_to_string(folder.path().join("out.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["parts"][2]["domain"], "open.example");
    // A median of whole numbers of one run each is one of them.
    let bounced = &json["parts"][2]["numbers"]["bounced"];
    assert!(bounced["p5"].as_f64() < bounced["p95"].as_f64(), "{bounced}");
    // Whatever ran beside it, the outcome is the same.
    let (_folder, again) = sim(&["--samples", "20", "--jobs", "1"]);
    assert_eq!(page(&output), page(&again));
}

#[test]
fn samples_draw_from_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let certain = "greylist = { hold = \"5m\" }";
    let uncertain = "greylist = { hold = { min = \"1m\", max = \"1h\" } }";
    fs::write(folder.path().join("certain.toml"), SCENARIO).unwrap();
    fs::write(folder.path().join("uncertain.toml"), SCENARIO.replace(certain, uncertain)).unwrap();
    let band = |file: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_traject"));
        command.current_dir(folder.path()).args(["sim", file, "--samples", "20", "--json", "-"]);
        let output = command.output().unwrap();
        let json: serde_json::Value = serde_json::from_str(&page(&output)).unwrap();
        assert_eq!(json["parts"][1]["domain"], "grey.example");
        let band = &json["parts"][1]["numbers"]["t95"];
        (band["p5"].as_f64().unwrap(), band["p95"].as_f64().unwrap())
    };
    let (early, late) = band("certain.toml");
    assert_eq!(early, late);
    let (early, late) = band("uncertain.toml");
    assert!(early < late, "{early} {late}");
}
