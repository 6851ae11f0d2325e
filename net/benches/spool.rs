//! How many messages a second the spool makes durable: producers that each stage a body, insert
//! its message, wait until that is durable and have an older message removed meanwhile.
//!
//! The figures are those of the disk behind the system's folder for temporary files; set TMPDIR
//! to measure another.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::io::{SpoolError, SpoolWrite};
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient};
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_net::spool::Journal;
use traject_net::world::{BodyWriter, Spool};

const BODY_BYTES: usize = 4096;

/// Messages of each producer that are alive at any time.
const LIVE_MESSAGES: u64 = 200;

fn envelope(id: MessageId) -> StoredMessage {
    let mailbox = |local: &str| Mailbox { local: local.into(), domain: "example.com".into() };
    StoredMessage {
        id,
        reverse_path: ReversePath(Some(mailbox("sender"))),
        recipients: vec![StoredRecipient {
            mailbox: mailbox("recipient"),
            state: RecipientState::new(Timestamp(0)),
        }],
        received_at: Timestamp(0),
        size_bytes: BODY_BYTES as u64,
        eight_bit: false,
        binding: "default".into(),
        origin: None,
        rerouted: Vec::new(),
    }
}

type Removal = Box<dyn Future<Output = Result<(), SpoolError>> + Send>;

/// One producer's share of the messages.
async fn produce(journal: Journal, next: Arc<AtomicU64>, count: u64) {
    let body = vec![b'x'; BODY_BYTES];
    let mut alive = VecDeque::new();
    let mut removal: Option<Removal> = None;
    for _ in 0..count {
        let id = MessageId(next.fetch_add(1, Ordering::Relaxed));
        let mut staging = journal.stage(id).await.unwrap();
        staging.append(&body).await.unwrap();
        staging.finish().await.unwrap();
        journal.write(SpoolWrite::Insert(Arc::new(envelope(id)))).await.unwrap();
        if let Some(removal) = removal.take() {
            // It shared a commit with the insert, or had the one before.
            let removed: Result<(), SpoolError> = Pin::from(removal).await;
            removed.unwrap();
        }
        alive.push_back(id);
        if alive.len() as u64 > LIVE_MESSAGES {
            removal = alive.pop_front().map(|id| {
                let removal: Removal = Box::new(journal.write(SpoolWrite::Remove(id)));
                removal
            });
        }
    }
    for id in alive {
        journal.write(SpoolWrite::Remove(id)).await.unwrap();
    }
}

fn run(
    runtime: &Runtime,
    journal: &Journal,
    next: &Arc<AtomicU64>,
    producers: u64,
    n: u64,
) -> Duration {
    runtime.block_on(async {
        let start = Instant::now();
        let tasks: Vec<_> = (0..producers)
            .map(|_| {
                tokio::spawn(produce(journal.clone(), Arc::clone(next), n.div_ceil(producers)))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        start.elapsed()
    })
}

fn puts(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let next = Arc::new(AtomicU64::new(1));
    let mut group = criterion.benchmark_group("put 4 KiB");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for producers in [1, 8, 50] {
        group.bench_function(BenchmarkId::new("producers", producers), |bencher| {
            bencher.iter_custom(|n| run(&runtime, &journal, &next, producers, n));
        });
    }
    group.finish();
}

criterion_group!(benches, puts);
criterion_main!(benches);
