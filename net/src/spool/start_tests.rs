//! Starts: what they have to read before new mail is taken, and what only after.

use std::io;
use std::task::{Context, Poll, Waker};

use super::disk::DiskFile as _;
use super::frame::{FrameKind, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::journal_tests::{body, noise, put, recovered};
use super::memory_disk::{Failing, MemoryDisk};
use super::model_tests::{envelope, history};
use super::payload::encode_insert;
use super::recovery::recover;
use super::segment::{Batch, file_name};
use super::shaping::encode_shaping;
use super::*;

const SEGMENT: u32 = 64 << 10;
const OPTIONS: Options = Options { segment_bytes: SEGMENT, salt: 9 };
const FIRST: u32 = SEGMENT_HEADER_BYTES as u32;

fn open(disk: &MemoryDisk) -> Journal<MemoryDisk> {
    Journal::open_on(disk.clone(), OPTIONS).unwrap()
}

/// A disk with so many messages of 1 KB, whose throttles have let something pass at first.
async fn filled(messages: u64) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    journal.write(SpoolWrite::Shaping(history(7).into())).await.unwrap();
    for id in 1..=messages {
        put(&journal, id, &noise(1000)).await.unwrap();
    }
    drop(journal);
    disk
}

/// Starts, takes a message, and says how many bytes had to be read for that and how many segments
/// there were.
async fn bytes_read_until_mail_is_taken(disk: &MemoryDisk) -> (u64, u64) {
    let before = disk.read_bytes();
    let journal = open(disk);
    let segments = journal.report().segments as u64;
    let shaping = journal.recover_shaping().await.unwrap();
    assert_eq!(shaping.as_deref(), Some(&history(7)), "deliveries wait for this");
    put(&journal, 1_000_000, b"new").await.unwrap();
    let read = disk.read_bytes() - before;
    assert_eq!(body(&journal, 1_000_000).await.unwrap().unwrap(), b"new");
    (read, segments)
}

#[tokio::test]
async fn new_mail_waits_for_a_header_a_segment_and_the_last_of_them() {
    for messages in [500, 4000] {
        let disk = filled(messages).await;
        let (read, segments) = bytes_read_until_mail_is_taken(&disk.kill()).await;
        let bytes = disk.bytes();
        assert!(segments > messages / 60, "{segments} segments");
        // The end of the last segment is looked for, then its root, each by walking through it.
        let bound = segments * u64::from(FIRST) + 3 * u64::from(SEGMENT);
        assert!(read < bound, "{read} of {bytes} bytes in {segments} segments");
        // All the rest is found afterwards.
        let journal = open(&disk);
        put(&journal, 1_000_000, b"new").await.unwrap();
        assert_eq!(recovered(&journal).await, (1..=messages).collect::<Vec<_>>());
        assert_eq!(journal.messages() as u64, messages + 1);
        assert_eq!(body(&journal, messages / 2).await.unwrap().unwrap(), noise(1000));
    }
}

#[tokio::test]
async fn mail_taken_before_all_is_read_is_there_after_the_next_start() {
    let disk = filled(200).await;
    let journal = open(&disk);
    let early = journal.write(SpoolWrite::Shaping(history(8).into()));
    put(&journal, 1000, b"early").await.unwrap();
    early.await.unwrap();
    // It ends without having read anything.
    drop(journal);
    let journal = open(&disk);
    put(&journal, 1001, b"later").await.unwrap();
    assert_eq!(*journal.recover_shaping().await.unwrap().unwrap(), history(8));
    let expected: Vec<_> = (1..=200).chain([1000]).collect();
    assert_eq!(recovered(&journal).await, expected);
    assert_eq!(*journal.recover_shaping().await.unwrap().unwrap(), history(8));
    assert_eq!(body(&journal, 1000).await.unwrap().unwrap(), b"early");
}

#[tokio::test]
async fn an_id_that_may_be_taken_is_refused() {
    let disk = filled(200).await;
    // A process that wrote none of its own; the root still knows.
    drop(open(&disk));
    let journal = open(&disk);
    journal.write(SpoolWrite::Shaping(history(8).into())).await.unwrap();
    drop(journal);
    let journal = open(&disk);
    for (id, free) in [(1, false), (200, false), (201, true)] {
        assert_eq!(journal.stage(MessageId(id)).await.is_ok(), free, "{id}");
    }
    assert_eq!(recovered(&journal).await.len(), 200);
    journal.write(SpoolWrite::Remove(MessageId(5))).await.unwrap();
    for (id, free) in [(1, false), (5, true), (200, false)] {
        assert_eq!(journal.stage(MessageId(id)).await.is_ok(), free, "{id}, when all is known");
    }
}

#[tokio::test]
async fn nothing_is_deleted_before_it_is_known_what_is_alive() {
    let disk = filled(200).await;
    let before = disk.list().unwrap();
    let journal = open(&disk);
    for id in 1000..1500 {
        put(&journal, id, &noise(1000)).await.unwrap();
        journal.write(SpoolWrite::Remove(MessageId(id))).await.unwrap();
    }
    let names = disk.list().unwrap();
    assert!(before.iter().all(|name| names.contains(name)), "{names:?}");
    for id in recovered(&journal).await {
        journal.write(SpoolWrite::Remove(MessageId(id))).await.unwrap();
    }
    drop(journal);
    let names = disk.list().unwrap();
    assert!(!before[..3].iter().any(|name| names.contains(name)), "{names:?}");
}

/// Without anything new to write, too.
#[tokio::test]
async fn what_earlier_processes_left_dead_is_deleted_when_that_is_known() {
    let disk = MemoryDisk::default();
    drop(open(&disk));
    // It reads nothing, so it deletes nothing.
    let journal = open(&disk);
    for id in 1..200 {
        put(&journal, id, &noise(1000)).await.unwrap();
        journal.write(SpoolWrite::Remove(MessageId(id))).await.unwrap();
    }
    drop(journal);
    let names = disk.list().unwrap();
    assert!(names.len() > 5, "{names:?}");
    let (journal, mut turns) = Journal::open_in_turns(disk.clone(), OPTIONS).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut next = Box::pin(turns.next());
    assert_eq!(next.as_mut().poll(&mut context), Poll::Pending);
    assert_eq!(recovered(&journal).await, [0_u64; 0]);
    assert_eq!(next.as_mut().poll(&mut context), Poll::Ready(true));
    drop(next);
    turns.perform();
    // The newest of them has the root, and one is written to.
    let left = disk.list().unwrap();
    assert_eq!((left.len(), &left[0]), (3, &names[names.len() - 2]), "{left:?}");
}

#[tokio::test]
async fn a_spool_that_cannot_be_read_to_its_end_says_so_again_and_again() {
    let disk = filled(200).await;
    let journal = open(&disk);
    disk.fail(Failing::Once(3));
    for _ in 0..2 {
        assert!(journal.recover().await.is_err());
    }
    put(&journal, 1000, b"new").await.unwrap();
    assert_eq!(recovered(&open(&disk.kill())).await.len(), 201);
}

/// Writes a segment as they were before they began with roots.
fn write_old(disk: &MemoryDisk, header: SegmentHeader, fill: impl FnOnce(&mut Batch)) -> u32 {
    let SegmentHeader { number, salt, .. } = header;
    let mut batch = Batch::new(number, salt, FIRST, FIRST);
    fill(&mut batch);
    let file = disk.create(&file_name(number)).unwrap();
    file.write_at(0, &header.encode()).unwrap();
    file.write_at(u64::from(FIRST), &batch.bytes).unwrap();
    file.sync().unwrap();
    disk.sync_names().unwrap();
    FIRST + batch.bytes.len() as u32
}

fn push_message(batch: &mut Batch, id: u64) {
    let id = MessageId(id);
    let chunk = batch.push(FrameKind::Chunk, id, b"text");
    batch.push(FrameKind::Insert, id, &encode_insert(&envelope(id, 4, 1), &[chunk]));
}

fn push_shaping(batch: &mut Batch, at: u64) {
    batch.push(FrameKind::Shaping, MessageId(0), &encode_shaping(&history(at)));
}

/// Three segments without roots: what throttles have let pass is in the first, the highest id in
/// the second.
fn old_spool() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let header = |number, previous_end| SegmentHeader {
        number,
        previous: number - 1,
        previous_end,
        salt: u64::from(number),
    };
    let end = write_old(&disk, header(1, 0), |batch| {
        push_shaping(batch, 1);
        push_message(batch, 10);
        push_shaping(batch, 7);
    });
    let end = write_old(&disk, header(2, end), |batch| push_message(batch, 90));
    write_old(&disk, header(3, end), |batch| push_message(batch, 30));
    disk
}

#[tokio::test]
async fn a_spool_of_an_earlier_version_opens() {
    let disk = old_spool();
    for start in 0..3 {
        let journal = open(&disk);
        let shaping = journal.recover_shaping().await.unwrap();
        assert_eq!(shaping.as_deref(), Some(&history(7)), "start {start}");
        assert!(journal.stage(MessageId(90)).await.is_err());
        assert!(journal.stage(MessageId(91)).await.is_ok());
        assert_eq!(recovered(&journal).await, [10, 30, 90]);
        assert_eq!(body(&journal, 10).await.unwrap().unwrap(), b"text");
        assert_eq!(journal.report().damage_total, 0);
        // From now on there is a root.
        journal.write(SpoolWrite::Remove(MessageId(1))).await.unwrap();
    }
}

/// Whoever goes back to an earlier version writes on without roots. All that was written since the
/// last one is read then.
#[tokio::test]
async fn segments_without_roots_may_follow_some_with() {
    let disk = old_spool();
    let journal = open(&disk);
    put(&journal, 200, b"x").await.unwrap();
    drop(journal);
    let end = disk.open(&file_name(4)).unwrap().len_bytes().unwrap() as u32;
    let header = SegmentHeader { number: 5, previous: 4, previous_end: end, salt: 5 };
    write_old(&disk, header, |batch| {
        push_shaping(batch, 8);
        push_message(batch, 300);
    });
    let journal = open(&disk);
    assert_eq!(*journal.recover_shaping().await.unwrap().unwrap(), history(8));
    assert!(journal.stage(MessageId(300)).await.is_err());
    assert_eq!(recovered(&journal).await, [10, 30, 90, 200, 300]);
}

/// A root that is damaged hides nothing: what is before it is read instead, and it is reported.
#[tokio::test]
async fn a_damaged_root_is_as_good_as_none() {
    let disk = filled(200).await;
    let (index, _) = recover(&disk).unwrap();
    let (newest, segment) = index.segments.last_key_value().unwrap();
    assert!(segment.end > FIRST + 100, "there is more in it than a root");
    for offset in [4, frame::FRAME_HEADER_BYTES + 1] {
        let broken = disk.kill();
        // Sealed, so that nothing can be taken for a torn end.
        drop(open(&broken));
        broken.damage(&file_name(*newest), SEGMENT_HEADER_BYTES + offset);
        let journal = open(&broken);
        assert_eq!(*journal.recover_shaping().await.unwrap().unwrap(), history(7));
        assert!(journal.stage(MessageId(200)).await.is_err());
        assert_eq!(recovered(&journal).await.len(), 200);
        assert_eq!(journal.report().damage_total, 1, "{:?}", journal.report());
    }
}

#[tokio::test]
async fn the_device_that_fails_while_the_root_is_read_is_an_error() {
    let disk = filled(200).await;
    let all = {
        let copy = disk.kill();
        copy.fail(Failing::Never);
        drop(open(&copy));
        copy.calls()
    };
    let mut refused = 0;
    for k in 0..all {
        let copy = disk.kill();
        copy.fail(Failing::Once(k));
        match Journal::open_on(copy.clone(), OPTIONS) {
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::Other => refused += 1,
            Err(error) => panic!("{error}"),
            Ok(journal) => assert_eq!(recovered(&journal).await.len(), 200),
        }
    }
    assert!(refused > 10, "{refused} of {all}");
}
