//! How fast whole worlds run: engine, driver, network, fake exchanges, oracles and report.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use traject_engine::config::Config;
use traject_sim::report::End;
use traject_sim::runner::{Outcome, RunOptions, run};
use traject_sim::scenario::{Scenario, parse};

const CONFIG: &str = "max_outbound_connections = 20 max_deliveries_per_connection = 50";

/// A scenario that sends `messages` over `over` to so many receivers, 20 ms away.
fn scenario(receivers: usize, messages: u64, over: &str, more: &str) -> Scenario {
    let mut text = String::from("title = \"bench\"\nhorizon = \"2d\"\nconfig_text = \"\"\n");
    for n in 0..receivers {
        text.push_str(&format!(
            "[[receiver]]\nname = \"r{n}\"\ndomains = [\"d{n}.example\"]\nlatency = \"20ms\"\n{more}"
        ));
    }
    let domains: Vec<String> = (0..receivers).map(|n| format!("\"d{n}.example\"")).collect();
    text.push_str(&format!(
        "[[traffic]]\nfrom = \"a@brand.example\"\nto = [{}]\nmessages = {messages}\n\
         over = \"{over}\"\nsize = \"2KB\"\n",
        domains.join(", ")
    ));
    parse(Path::new("bench.toml"), &text).unwrap_or_else(|error| panic!("{error}"))
}

fn play(scenario: &Scenario, config: &Arc<Config>) -> Outcome {
    let outcome = run(scenario, Arc::clone(config), RunOptions::default());
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    assert_eq!(outcome.report.end, End::Settled);
    outcome
}

fn plain_mail(c: &mut Criterion) {
    let config = Arc::new(Config::from_text(CONFIG).expect("a configuration"));
    let mut group = c.benchmark_group("plain_mail");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    group.throughput(Throughput::Elements(MESSAGES));
    for receivers in [1, 10, 100] {
        let scenario = scenario(receivers, MESSAGES, "100s", "");
        group.bench_with_input(BenchmarkId::from_parameter(receivers), &scenario, |b, scenario| {
            b.iter(|| play(scenario, &config));
        });
    }
    group.finish();
}

/// What TLS costs: a handshake for each message, and for fifty.
fn over_tls(c: &mut Criterion) {
    let mut group = c.benchmark_group("over_tls");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements(TLS_MESSAGES));
    for (name, mode, posture) in [("clear", "no", ""), ("tls", "required", "[receiver.tls]\n")] {
        let scenario = scenario(10, TLS_MESSAGES, "100s", posture);
        for messages in [1, 50] {
            let text = format!(
                "tls = {mode} tls_verify = host max_deliveries_per_connection = {messages}",
            );
            let config = Arc::new(Config::from_text(&text).expect("a configuration"));
            group.bench_function(BenchmarkId::new(name, messages), |b| {
                b.iter(|| play(&scenario, &config));
            });
        }
    }
    group.finish();
}

fn idle(c: &mut Criterion) {
    let config = Arc::new(Config::from_text(CONFIG).expect("a configuration"));
    // The second message comes after a day.
    let scenario = scenario(1, 2, "2d", "");
    c.bench_function("idle_day", |b| b.iter(|| play(&scenario, &config)));
}

const MESSAGES: u64 = 20_000;

const TLS_MESSAGES: u64 = 2000;

criterion_group!(benches, plain_mail, over_tls, idle);
criterion_main!(benches);
