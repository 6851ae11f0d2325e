//! What waiting costs: the scheduler with many domains, much mail and one throttle for all, and
//! the memory of a recipient that waits.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use support::{Bench, live_bytes};

/// Messages of an iteration.
const MESSAGES: u64 = 10_000;

/// Mail to a hundred domains, while others wait for their next attempt.
fn others_wait(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(10);
    for (domains, waiting) in [(1, 1), (1_000, 1_000), (100_000, 100_000), (1_000, 1_000_000)] {
        let mut bench = Bench::new("idle_timeout = 60", 100);
        let before = live_bytes();
        bench.fill_delayed(domains, waiting);
        let bytes = live_bytes() - before;
        println!("{waiting} recipients wait for {domains} domains: {} bytes each", bytes / waiting);
        let name = format!("{domains} domains, {waiting} recipients waiting");
        group.bench_function(BenchmarkId::new("relay", name), |b| {
            b.iter(|| bench.relay(MESSAGES));
        });
    }
    group.finish();
}

/// One message to each of so many domains.
fn many_domains(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.sample_size(10);
    for domains in [1, 1_000, 100_000] {
        let mut bench = Bench::new("idle_timeout = 60", domains);
        let messages = MESSAGES.max(domains as u64);
        group.throughput(Throughput::Elements(messages));
        group.bench_function(BenchmarkId::new("spread over domains", domains), |b| {
            b.iter(|| bench.relay(messages));
        });
    }
    group.finish();
}

/// Mail of so many pairs through one throttle: all but the first in line wait.
fn one_throttle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(10);
    for pairs in [1, 100, 10_000] {
        let config = "idle_timeout = 1 outbound_throttle_messages = \"1000/60\"";
        let mut bench = Bench::new(config, pairs);
        group.bench_function(BenchmarkId::new("one throttle, pairs", pairs), |b| {
            b.iter(|| bench.relay(MESSAGES));
        });
    }
    group.finish();
}

criterion_group!(benches, others_wait, many_domains, one_throttle);
criterion_main!(benches);
