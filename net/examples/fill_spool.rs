//! Fills a spool with mail that waits, to see how a start copes with much of it:
//!
//! ```text
//! cargo run --release -p traject-net --example fill_spool -- \
//!     FOLDER MESSAGES [BYTES [DOMAINS [DUE_S]]]
//! ```
//!
//! `BYTES` of body each (1000), to one recipient each in `DOMAINS` domains (1000), due after
//! `DUE_S` seconds (3600), which have had one attempt. Then it opens the spool, writes one more
//! message as a client would hand it in, and reads all mail once. With 0 messages it does that with
//! what is there.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use traject_engine::ids::MessageId;
use traject_engine::io::SpoolWrite;
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient};
use traject_engine::smtp::address::{Mailbox, ReversePath};
use traject_net::clock::SystemClock;
use traject_net::spool::Journal;
use traject_net::world::{BodyWriter as _, Clock as _, Spool as _};

/// Messages on their way to the disk at a time: what shares a sync.
const AT_ONCE: usize = 4096;

#[derive(Clone, Copy)]
struct Plan {
    messages: u64,
    bytes: u64,
    domains: u64,
    due: Duration,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let mut number = |default: Option<u64>| match (arguments.next(), default) {
        (Some(text), _) => text.parse().map_err(|_| format!("{text} is no number")),
        (None, Some(default)) => Ok(default),
        (None, None) => Err("how many messages?".to_owned()),
    };
    let plan = Plan {
        messages: number(None)?,
        bytes: number(Some(1000))?,
        domains: number(Some(1000))?.max(1),
        due: Duration::from_secs(number(Some(3600))?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(Path::new(&folder), plan))
}

async fn fill(folder: &Path, plan: Plan) -> Result<(), Box<dyn std::error::Error>> {
    let begin = Instant::now();
    let spool = Journal::open(folder)?;
    let first = MessageId::first(SystemClock::start().now().as_micros());
    let mut writing = JoinSet::new();
    for n in 0..plan.messages {
        if writing.len() == AT_ONCE
            && let Some(written) = writing.join_next().await
        {
            written??;
        }
        writing.spawn(write(spool.clone(), message(plan, first, n)));
    }
    while let Some(written) = writing.join_next().await {
        written??;
    }
    drop(spool);
    println!("{} messages written in {:.1} s", plan.messages, begin.elapsed().as_secs_f64());
    read(folder).await
}

async fn read(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let begin = Instant::now();
    let spool = Journal::open(folder)?;
    let tell = |what: &str| println!("{what} after {:.2} s", begin.elapsed().as_secs_f64());
    tell("opened");
    let clock = SystemClock::start();
    let plan = Plan { messages: 1, bytes: 4096, domains: 1, due: Duration::from_secs(3600) };
    let first = MessageId::first(clock.now().as_micros());
    write(spool.clone(), message(plan, first, 0)).await?;
    tell("a new message is durable");
    let mut messages = 0_u64;
    while spool.recover().await.map_err(|error| format!("{error:?}"))?.is_some() {
        if messages == 0 {
            tell("all messages are known");
        }
        messages += 1;
    }
    tell(&format!("{messages} messages are read"));
    Ok(())
}

async fn write(spool: Journal, message: StoredMessage) -> Result<(), String> {
    let body = vec![b'x'; message.size_bytes as usize];
    let failed = |error| format!("{error:?}");
    let mut writer = spool.stage(message.id).await.map_err(failed)?;
    writer.append(&body).await.map_err(failed)?;
    writer.finish().await.map_err(failed)?;
    spool.write(SpoolWrite::Insert(message.into())).await.map_err(failed)
}

fn message(plan: Plan, first: u64, n: u64) -> StoredMessage {
    let now = SystemClock::start().now();
    let mailbox = |local: String, domain: String| Mailbox {
        local: local.as_str().into(),
        domain: domain.as_str().into(),
    };
    let domain = format!("d{}.example.net", n % plan.domains);
    StoredMessage {
        id: MessageId::by_driver(first + n),
        reverse_path: ReversePath(Some(mailbox("news".into(), "brand.example".into()))),
        recipients: vec![StoredRecipient {
            mailbox: mailbox(format!("user{n}"), domain),
            state: RecipientState::Pending { attempts: 1, next_attempt_at: now + plan.due },
        }],
        received_at: now,
        size_bytes: plan.bytes,
        eight_bit: false,
        binding: "default".into(),
        origin: None,
        rerouted: Vec::new(),
    }
}
