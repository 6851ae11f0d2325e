//! How long a simulated day takes: a million messages to twenty receivers, spread over the day.
//!
//! `cargo run --release -p traject-sim --example day [MESSAGES [SIZE]]` prints how long this
//! process used a processor, and its memory. With fewer messages it simulates a part of the day.
//! Under `perf record` it shows where the time goes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use traject_engine::config::Config;
use traject_sim::runner::{RunOptions, run};
use traject_sim::scenario::parse;

fn main() {
    let messages: u64 =
        std::env::args().nth(1).map_or(MESSAGES, |text| text.parse().expect("a number"));
    let size = std::env::args().nth(2).unwrap_or_else(|| SIZE.to_owned());
    let mut text = String::from("title = \"A day\"\nhorizon = \"2d\"\nconfig_text = \"\"\n");
    for n in 0..RECEIVERS {
        text.push_str(&format!(
            "[[receiver]]\nname = \"r{n}\"\ndomains = [\"d{n}.example\"]\nlatency = \"20ms\"\n"
        ));
    }
    let seconds = DAY_SECONDS * messages / MESSAGES;
    let domains: Vec<String> = (0..RECEIVERS).map(|n| format!("\"d{n}.example\"")).collect();
    text.push_str(&format!(
        "[[traffic]]\nfrom = \"news@brand.example\"\nto = [{}]\nmessages = {messages}\n\
         over = \"{seconds}s\"\nshape = \"poisson\"\nsize = \"{size}\"\n",
        domains.join(", ")
    ));
    let scenario = parse(Path::new("day.toml"), &text).unwrap_or_else(|error| panic!("{error}"));
    let config = Config::from_text("").expect("a configuration");
    let begun = Instant::now();
    let outcome = run(&scenario, Arc::new(config), RunOptions::default());
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    let report = outcome.report;
    println!(
        "{} messages delivered, {} connections, simulated {} s, trace {}",
        report.totals.delivered, report.totals.connections, report.simulated_s, report.trace_hash
    );
    let per_message = 1e6 * processor_time().as_secs_f64() / messages as f64;
    println!(
        "{:.1} s on the wall clock, {:.1} s on a processor ({per_message:.1} us a message), {} MiB",
        begun.elapsed().as_secs_f64(),
        processor_time().as_secs_f64(),
        status("VmHWM:") / 1024,
    );
}

/// User and system time of this process, in the hundredths of seconds that Linux counts in.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// A number of kibibytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

const MESSAGES: u64 = 1_000_000;

const SIZE: &str = "10KB";

const DAY_SECONDS: u64 = 86_400;

const RECEIVERS: usize = 20;
