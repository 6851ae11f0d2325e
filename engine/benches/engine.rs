//! The engine alone: messages a second through `handle`, and allocations a message.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use support::{Bench, allocations};

fn relay(criterion: &mut Criterion) {
    const MESSAGES: u64 = 10_000;
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(MESSAGES));
    group.sample_size(10);
    for domains in [1, 100, 10_000] {
        let mut bench = Bench::new("idle_timeout = 60", domains);
        bench.relay(MESSAGES);
        let before = allocations();
        bench.relay(MESSAGES);
        let allocations = allocations() - before;
        println!("{domains} domains: {} allocations a message", allocations / MESSAGES);
        group.bench_function(BenchmarkId::new("relay", domains), |b| {
            b.iter(|| bench.relay(MESSAGES));
        });
    }
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
