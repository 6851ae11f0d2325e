//! Pumps over pipes: whatever the peer does, and however bytes are cut.

use std::future::poll_fn;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::Runtime;
use traject_engine::io::SpoolError;
use traject_engine::smtp::data::{DotWriter, StrayPolicy};

use super::*;
use crate::memory_spool::MemorySpool;
use crate::test_world::FailingSpool;

const NOW: Timestamp = Timestamp(0);
const MESSAGE: MessageId = MessageId(7);
const RULES: BodyRules = BodyRules {
    size_bytes_max: 1 << 20,
    stray: StrayPolicy::Refuse,
    take_header: None,
    head_bytes_max: 0,
};

/// A pump with its buffer.
struct Driven<P: Spool> {
    pump: Pump<DuplexStream, P>,
    buffer: Box<[u8]>,
    received: Vec<u8>,
}

impl<P: Spool> Driven<P> {
    fn new(stream: DuplexStream) -> Self {
        let buffer = vec![0; 64].into();
        Self { pump: Pump::new(stream), buffer, received: Vec::new() }
    }

    /// The next event; what is received is gathered.
    async fn next(&mut self) -> Event {
        let event = poll_fn(|cx| self.pump.poll(NOW, cx, &mut self.buffer)).await;
        if let Event::Received(len) = event {
            self.received.extend_from_slice(&self.buffer[..len]);
        }
        event
    }

    async fn body_done(&mut self) -> Result<BodyInfo, BodyError> {
        loop {
            match self.next().await {
                Event::BodyDone(result) => return result,
                Event::BodyProgress(_) => {}
                other => panic!("{other:?} during a body"),
            }
        }
    }

    /// Whether nothing happens, however long one waits.
    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_secs(600), self.next()).await.is_err()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn on_the_wire(body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut dots = DotWriter::new();
    dots.encode(body, &mut wire);
    dots.finish(&mut wire);
    wire
}

/// Lines that like to begin with dots.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let line = "[.]{0,3}[a-z.\u{e9}]{0,80}\r\n";
    proptest::collection::vec(line, 0..40).prop_map(|lines| lines.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_received_body_and_what_follows_are_whole_however_they_are_cut(
        body in body(),
        pipe_bytes in 1_usize..300,
        cuts in proptest::collection::vec(1_usize..200, 1..20),
    ) {
        runtime().block_on(async {
            let (ours, theirs) = duplex(pipe_bytes);
            let spool = MemorySpool::default();
            let mut driven = Driven::new(ours);
            driven.pump.receive_body(spool.clone(), MESSAGE, b"P: x\r\n".to_vec(), RULES, NOW);
            let mut wire = on_the_wire(&body);
            wire.extend_from_slice(b"NEXT\r\n");
            let (mut replies, mut theirs) = tokio::io::split(theirs);
            let said = tokio::spawn(async move {
                let mut said = vec![0; 5];
                replies.read_exact(&mut said).await.unwrap();
                said
            });
            let peer = tokio::spawn(async move {
                let mut rest = &wire[..];
                for cut in cuts.iter().cycle() {
                    let (part, later) = rest.split_at(rest.len().min(*cut));
                    theirs.write_all(part).await.unwrap();
                    rest = later;
                    if rest.is_empty() {
                        break;
                    }
                }
                theirs
            });
            let info = driven.body_done().await.unwrap();
            assert_eq!(info.size_bytes, body.len() as u64 + 6);
            assert_eq!(info.eight_bit, !body.is_ascii());
            assert_eq!(spool.body(MESSAGE).unwrap(), [b"P: x\r\n", &body[..]].concat());
            assert!(driven.is_silent().await, "nothing before the reply");
            driven.pump.write(b"250\r\n".to_vec());
            while driven.received != b"NEXT\r\n" {
                assert!(matches!(driven.next().await, Event::Received(1..)));
            }
            assert_eq!(said.await.unwrap(), b"250\r\n");
            drop(peer.await.unwrap());
        });
    }

    #[test]
    fn a_sent_body_is_whole_however_the_peer_reads(
        body in body(),
        pipe_bytes in 1_usize..300,
        reads in proptest::collection::vec(1_usize..200, 1..20),
    ) {
        runtime().block_on(async {
            let (ours, mut theirs) = duplex(pipe_bytes);
            let spool = MemorySpool::default();
            spool.stage_bytes(MESSAGE, body.clone().into());
            let mut driven = Driven::new(ours);
            driven.pump.write(b"FIRST\r\n".to_vec());
            driven.pump.send_body(spool, MESSAGE, NOW);
            let peer = tokio::spawn(async move {
                let mut wire = Vec::new();
                for size in reads.iter().cycle() {
                    let mut part = vec![0; *size];
                    let len = theirs.read(&mut part).await.unwrap();
                    wire.extend_from_slice(&part[..len]);
                    if wire.ends_with(b"\n.\r\n") {
                        break;
                    }
                }
                theirs.write_all(b"250\r\n").await.unwrap();
                wire
            });
            let info = driven.body_done().await.unwrap();
            assert_eq!(info.size_bytes, body.len() as u64);
            while driven.received != b"250\r\n" {
                assert!(matches!(driven.next().await, Event::Received(1..)));
            }
            assert_eq!(peer.await.unwrap(), [b"FIRST\r\n", &on_the_wire(&body)[..]].concat());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_fails_does_not_stop_the_reading_of_the_body() {
    for failing in [FailingSpool::Stage, FailingSpool::Append, FailingSpool::Finish] {
        let (ours, mut theirs) = duplex(1000);
        let mut driven = Driven::new(ours);
        driven.pump.receive_body(failing, MESSAGE, Vec::new(), RULES, NOW);
        let peer = tokio::spawn(async move {
            // More than the spool is handed at once.
            theirs.write_all(&b"a line\r\n".repeat(30_000)).await.unwrap();
            theirs.write_all(b".\r\nQUIT\r\n").await.unwrap();
            theirs
        });
        let result = driven.body_done().await;
        assert_eq!(result, Err(BodyError::Spool(SpoolError::Full)), "{failing:?}");
        driven.pump.write(b"452\r\n".to_vec());
        assert!(matches!(driven.next().await, Event::Received(_)), "{failing:?}");
        assert!(b"QUIT\r\n".starts_with(&driven.received), "{:?}", driven.received);
        drop(peer.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_read_to_its_end_never_gets_its_final_dot() {
    for failing in [FailingSpool::Read, FailingSpool::FirstPiece, FailingSpool::SecondPiece] {
        let (ours, mut theirs) = duplex(1000);
        let mut driven = Driven::new(ours);
        driven.pump.send_body(failing, MESSAGE, NOW);
        let result = driven.body_done().await;
        assert_eq!(result, Err(BodyError::Spool(SpoolError::Full)), "{failing:?}");
        assert!(driven.is_silent().await, "{failing:?}");
        driven.pump.close(true);
        assert!(matches!(driven.next().await, Event::Closed(None)), "{failing:?}");
        let Ending::Abort(stream) = driven.pump.into_ending() else { panic!("{failing:?}") };
        drop(stream);
        let mut sent = String::new();
        theirs.read_to_string(&mut sent).await.unwrap();
        assert!(!sent.contains(".\r\n"), "{failing:?}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_during_our_body_is_lost_once_and_closed_once() {
    let (ours, theirs) = duplex(1000);
    let spool = MemorySpool::default();
    spool.stage_bytes(MESSAGE, vec![b'x'; 5000].into());
    let mut driven = Driven::new(ours);
    driven.pump.send_body(spool, MESSAGE, NOW);
    drop(theirs);
    let reset = Some(NetError::Reset);
    assert_eq!(driven.body_done().await, Err(BodyError::Lost(reset)));
    assert!(matches!(driven.next().await, Event::Closed(Some(NetError::Reset))));
    assert!(matches!(driven.pump.into_ending(), Ending::Drop));
}

#[tokio::test(start_paused = true)]
async fn closing_sends_what_was_written_and_says_nothing_more_of_the_peer() {
    let (ours, mut theirs) = duplex(4);
    let mut driven = Driven::<MemorySpool>::new(ours);
    theirs.write_all(b"more").await.unwrap();
    driven.pump.write(b"421 we are closing\r\n".to_vec());
    driven.pump.close(false);
    let peer = tokio::spawn(async move {
        let mut said = String::new();
        theirs.read_to_string(&mut said).await.unwrap();
        said
    });
    assert!(matches!(driven.next().await, Event::Closed(None)));
    assert_eq!(driven.received, b"");
    assert!(matches!(driven.pump.into_ending(), Ending::Linger(_)));
    assert_eq!(peer.await.unwrap(), "421 we are closing\r\n");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_is_told_once_and_the_last_word_is_ours() {
    let (ours, mut theirs) = duplex(100);
    let mut driven = Driven::<MemorySpool>::new(ours);
    theirs.write_all(b"QUIT\r\n").await.unwrap();
    theirs.shutdown().await.unwrap();
    assert!(matches!(driven.next().await, Event::Received(6)));
    assert!(matches!(driven.next().await, Event::Received(0)));
    assert!(driven.is_silent().await);
    driven.pump.write(b"221\r\n".to_vec());
    driven.pump.close(false);
    assert!(matches!(driven.next().await, Event::Closed(None)));
    // The peer has nothing left to say that would have to be waited for.
    assert!(matches!(driven.pump.into_ending(), Ending::Drop));
    let mut said = String::new();
    theirs.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "221\r\n");
}

#[test]
fn a_header_for_us_is_not_stored() {
    runtime().block_on(async {
        let (near, mut far) = duplex(1 << 16);
        let spool = MemorySpool::default();
        let mut driven = Driven::new(near);
        let rules = BodyRules { take_header: Some("X-Binding"), ..RULES };
        driven.pump.receive_body(spool.clone(), MESSAGE, b"Received: x\r\n".to_vec(), rules, NOW);
        let body = b"a: b\r\nX-Binding: red\r\n\r\ntext\r\n";
        far.write_all(&on_the_wire(body)).await.unwrap();
        let info = driven.body_done().await.unwrap();
        let stored = b"Received: x\r\na: b\r\n\r\ntext\r\n";
        assert_eq!(info.header.as_deref(), Some("red"));
        assert_eq!(info.size_bytes, stored.len() as u64);
        assert_eq!(spool.body(MESSAGE).unwrap(), stored[..]);
    });
}
