//! A large configuration: reading it, and asking it.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use traject_engine::config::Config;
use traject_engine::config::memo::OptionsMemo;
use traject_engine::record::Pair;

/// About 100,000 lines: 20,000 stanzas of domains, 500 of regular expressions, 20 bindings in 4
/// groups.
fn large() -> String {
    let mut text = String::new();
    for group in 0..4 {
        writeln!(text, "binding_group \"g{group}\" {{").unwrap();
        for binding in 0..5 {
            writeln!(text, "  binding \"b{group}{binding}\" {{").unwrap();
            writeln!(text, "    bind_address = 192.0.2.1{group}{binding}\n  }}").unwrap();
        }
        writeln!(text, "}}").unwrap();
    }
    for domain in 0..20_000 {
        writeln!(text, "domain \"d{domain}.example.net\" {{").unwrap();
        writeln!(text, "  max_outbound_connections = {}", domain % 50).unwrap();
        writeln!(text, "  max_deliveries_per_connection = 20 # as they ask for").unwrap();
        writeln!(text, "  retry_interval = \"{}\"\n}}", 600 + domain % 600).unwrap();
    }
    for pattern in 0..500 {
        writeln!(text, "domain \"/(?:^|[.])r{pattern}[.](?:com|co[.]uk)$/\" {{").unwrap();
        writeln!(text, "  max_outbound_connections = {}", pattern % 50 + 1).unwrap();
        writeln!(text, "}}").unwrap();
    }
    text
}

fn config(c: &mut Criterion) {
    let text = large();
    let mut group = c.benchmark_group("config");
    group.sample_size(10);
    group.bench_function("read 100,000 lines", |b| {
        b.iter(|| Config::from_text(black_box(&text)).unwrap());
    });
    let config = Config::from_text(&text).unwrap();
    let domains = [
        ("exact stanza", "d777.example.net"),
        ("regular expression", "mx.r499.co.uk"),
        ("no stanza", "nowhere.example.org"),
    ];
    group.sample_size(50);
    for (what, domain) in domains {
        group.bench_function(format!("options of a pair, {what}"), |b| {
            b.iter(|| config.delivery_options(black_box("b12"), black_box(domain)));
        });
    }
    let mut memo = OptionsMemo::default();
    let pair = Pair { binding: "b12".into(), domain: "mx.r499.co.uk".into() };
    group.bench_function("options of a pair, seen before", |b| {
        b.iter(|| memo.delivery_options(&config, black_box(&pair)));
    });
    group.finish();
}

criterion_group!(benches, config);
criterion_main!(benches);
