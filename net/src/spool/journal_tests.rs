//! The whole journal, thread and all, on real files and on disks that fail.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::disk::DiskFile as _;
use super::memory_disk::{Failing, MemoryDisk};
use super::model_tests::envelope;
use super::*;
use tempfile::TempDir;
use traject_engine::Timestamp;
use traject_engine::message::RecipientState;

pub(super) const OPTIONS: Options = Options { segment_bytes: 1 << 20, salt: 9 };

pub(super) async fn put<D: Disk>(
    journal: &Journal<D>,
    id: u64,
    body: &[u8],
) -> Result<(), SpoolError> {
    let message = MessageId(id);
    let mut staging = journal.stage(message).await?;
    for piece in body.chunks(10_000) {
        staging.append(piece).await?;
    }
    staging.finish().await?;
    insert(journal, id, body.len()).await
}

pub(super) async fn insert<D: Disk>(
    journal: &Journal<D>,
    id: u64,
    size: usize,
) -> Result<(), SpoolError> {
    let message = envelope(MessageId(id), size, 2);
    journal.write(SpoolWrite::Insert(Arc::new(message))).await
}

pub(super) async fn body<D: Disk>(
    journal: &Journal<D>,
    id: u64,
) -> Result<Option<Vec<u8>>, SpoolError> {
    let Some(mut reading) = journal.read(MessageId(id)).await? else { return Ok(None) };
    let mut body = Vec::new();
    while let Some(piece) = reading.next().await? {
        assert!(piece.len() <= CHUNK_BYTES);
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

pub(super) async fn recovered<D: Disk>(journal: &Journal<D>) -> Vec<u64> {
    let mut ids = Vec::new();
    while let Some(message) = journal.recover().await.unwrap() {
        ids.push(message.id.0);
    }
    ids
}

pub(super) fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * n / 7) as u8).collect()
}

fn segments(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| !matches!(&**name, "lock" | "reserve"));
    names.sort();
    names
}

#[tokio::test]
async fn messages_and_bodies_survive_a_restart() {
    let folder = TempDir::new().unwrap();
    let sizes = [0, 1, 4096, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5_000_000];
    let journal = Journal::open(folder.path()).unwrap();
    for (id, size) in sizes.into_iter().enumerate() {
        put(&journal, id as u64, &noise(size)).await.unwrap();
    }
    assert_eq!(recovered(&journal).await, [0; 0], "new mail is not recovered mail");
    let state = RecipientState::Pending { attempts: 1, next_attempt_at: Timestamp(77) };
    let update = SpoolWrite::Update { message: MessageId(1), recipients: vec![(1, state)] };
    journal.write(update).await.unwrap();
    journal.write(SpoolWrite::Remove(MessageId(2))).await.unwrap();
    drop(journal);

    let journal = Journal::open(folder.path()).unwrap();
    put(&journal, 100, b"new").await.unwrap();
    let first = journal.recover().await.unwrap().unwrap();
    assert_eq!((journal.report().messages, journal.report().damage_total), (6, 0));
    assert_eq!(first, envelope(MessageId(0), 0, 2));
    let second = journal.recover().await.unwrap().unwrap();
    assert_eq!(second.recipients[1].state, state);
    assert_eq!(recovered(&journal).await, [3, 4, 5, 6]);
    for (id, size) in sizes.into_iter().enumerate() {
        let expected = (id != 2).then(|| noise(size));
        assert_eq!(body(&journal, id as u64).await.unwrap(), expected, "{size} bytes");
    }
}

#[tokio::test]
async fn a_body_can_be_read_as_soon_as_it_is_staged() {
    let journal = Journal::open_on(MemoryDisk::default(), OPTIONS).unwrap();
    let message = MessageId(1);
    let mut staging = journal.stage(message).await.unwrap();
    staging.append(&noise(CHUNK_BYTES + 5)).await.unwrap();
    assert!(journal.read(message).await.unwrap().is_none(), "it is not complete");
    staging.finish().await.unwrap();
    assert_eq!(body(&journal, 1).await.unwrap(), Some(noise(CHUNK_BYTES + 5)));
    assert!(journal.stage(message).await.is_err(), "an id is used once");
    insert(&journal, 1, CHUNK_BYTES + 5).await.unwrap();
    assert_eq!(body(&journal, 1).await.unwrap(), Some(noise(CHUNK_BYTES + 5)));
    assert!(insert(&journal, 1, CHUNK_BYTES + 5).await.is_err(), "and inserted once");
}

#[tokio::test]
async fn a_body_with_a_hole_is_no_body() {
    let disk = MemoryDisk::default();
    let journal = Journal::open_on(disk.clone(), OPTIONS).unwrap();
    let mut staging = journal.stage(MessageId(1)).await.unwrap();
    disk.fail(Failing::Once(0));
    // The first piece fails while the second fills; only the third call hears of it.
    let result = staging.append(&noise(3 * CHUNK_BYTES)).await;
    assert_eq!(result, Err(SpoolError::Io("injected".into())));
    assert!(staging.append(&noise(CHUNK_BYTES)).await.is_err(), "nor can it be mended");
    assert!(staging.finish().await.is_err());
    assert_eq!(body(&journal, 1).await.unwrap(), None);

    let staging = journal.stage(MessageId(2)).await.unwrap();
    staging.finish().await.unwrap();
    let error = insert(&journal, 2, 1).await.unwrap_err();
    assert_eq!(error, SpoolError::Io("message 2 has a body of another size".into()));
}

#[tokio::test]
async fn a_body_never_inserted_is_gone() {
    let disk = MemoryDisk::default();
    let journal = Journal::open_on(disk.clone(), OPTIONS).unwrap();
    let mut dropped = journal.stage(MessageId(1)).await.unwrap();
    dropped.append(&noise(200_000)).await.unwrap();
    drop(dropped);
    assert!(insert(&journal, 1, 200_000).await.is_err());
    let mut discarded = journal.stage(MessageId(2)).await.unwrap();
    discarded.append(&noise(200_000)).await.unwrap();
    discarded.finish().await.unwrap();
    journal.write(SpoolWrite::Discard(MessageId(2))).await.unwrap();
    assert_eq!(body(&journal, 2).await.unwrap(), None);
    let mut waiting = journal.stage(MessageId(3)).await.unwrap();
    waiting.append(&noise(200_000)).await.unwrap();
    waiting.finish().await.unwrap();
    put(&journal, 4, b"kept").await.unwrap();

    let journal = Journal::open_on(disk.kill(), OPTIONS).unwrap();
    assert_eq!(recovered(&journal).await, [4]);
    assert_eq!(body(&journal, 3).await.unwrap(), None);
}

#[tokio::test]
async fn changes_take_effect_in_the_order_of_the_calls() {
    let journal = Journal::open_on(MemoryDisk::default(), OPTIONS).unwrap();
    journal.stage(MessageId(1)).await.unwrap().finish().await.unwrap();
    let inserted = journal.write(SpoolWrite::Insert(Arc::new(envelope(MessageId(1), 0, 2))));
    let updated = [1, 2, 3].map(|attempts| {
        let state = RecipientState::Pending { attempts, next_attempt_at: Timestamp(1) };
        let recipients = vec![(0, state)];
        journal.write(SpoolWrite::Update { message: MessageId(1), recipients })
    });
    let removed = journal.write(SpoolWrite::Remove(MessageId(1)));
    // Looked at in the other order.
    removed.await.unwrap();
    for update in updated {
        update.await.unwrap();
    }
    inserted.await.unwrap();
    assert_eq!(body(&journal, 1).await.unwrap(), None);
}

#[tokio::test]
async fn a_reader_goes_on_when_its_message_is_removed() {
    let folder = TempDir::new().unwrap();
    let disk = Folder::lock(folder.path()).unwrap();
    let journal = Journal::open_on(disk, OPTIONS).unwrap();
    put(&journal, 1, &noise(600_000)).await.unwrap();
    let mut reading = journal.read(MessageId(1)).await.unwrap().unwrap();
    journal.write(SpoolWrite::Remove(MessageId(1))).await.unwrap();
    for id in 2..9 {
        put(&journal, id, &noise(900_000)).await.unwrap();
        journal.write(SpoolWrite::Remove(MessageId(id))).await.unwrap();
    }
    let mut whole = Vec::new();
    while let Some(piece) = reading.next().await.unwrap() {
        whole.extend_from_slice(&piece);
    }
    assert_eq!(whole, noise(600_000));
    drop(journal);
    assert!(!segments(folder.path()).contains(&"00000001.journal".to_owned()));
}

#[tokio::test]
async fn two_processes_cannot_share_a_spool() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let second = Journal::open(folder.path()).unwrap_err();
    assert!(matches!(second, OpenError::Locked(_)), "{second}");
    drop(journal);
    Journal::open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_failing_disk_is_an_answer_and_not_an_end() {
    let disk = MemoryDisk::default();
    let journal = Journal::open_on(disk.clone(), OPTIONS).unwrap();
    put(&journal, 1, b"before").await.unwrap();
    disk.fail(Failing::Full);
    assert_eq!(put(&journal, 2, b"during").await, Err(SpoolError::Full));
    assert_eq!(put(&journal, 3, &noise(200_000)).await, Err(SpoolError::Full));
    disk.fail(Failing::From(0));
    let error = put(&journal, 4, b"during").await.unwrap_err();
    assert_eq!(error, SpoolError::Io("injected".into()));
    disk.fail(Failing::Never);
    put(&journal, 5, b"after").await.unwrap();
    assert_eq!(body(&journal, 1).await.unwrap().unwrap(), b"before");

    let journal = Journal::open_on(disk.kill(), OPTIONS).unwrap();
    assert_eq!(recovered(&journal).await, [1, 5]);
}

/// Three messages in one segment; returns the disk and where the second one's body starts.
/// What was delivered can be noted on a full disk, and that makes room.
#[tokio::test]
async fn a_full_disk_lets_go_of_mail_and_then_takes_it_again() {
    let disk = MemoryDisk::default();
    let journal = Journal::open_on(disk.clone(), OPTIONS).unwrap();
    disk.fail(Failing::Capacity(600_000));
    let mut last = 0;
    let refusal = loop {
        match put(&journal, last + 1, &noise(10_000)).await {
            Ok(()) => last += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((refusal, last > 40), (SpoolError::Full, true), "{last} messages");
    // Nor is a small one taken: what room there is, is for notes.
    assert_eq!(put(&journal, 1000, b"x").await, Err(SpoolError::Full));
    let update =
        SpoolWrite::Update { message: MessageId(1), recipients: vec![(0, RecipientState::Done)] };
    journal.write(update).await.unwrap();
    drop(journal);
    let journal = Journal::open_on(disk.clone(), OPTIONS).unwrap();
    assert_eq!(recovered(&journal).await, (1..=last).collect::<Vec<_>>());
    assert_eq!(put(&journal, 1000, b"x").await, Err(SpoolError::Full));
    for id in 1..=last {
        journal.write(SpoolWrite::Remove(MessageId(id))).await.unwrap();
    }
    put(&journal, 1001, &noise(10_000)).await.unwrap();
    drop(journal);
    let journal = Journal::open_on(disk, OPTIONS).unwrap();
    assert_eq!(recovered(&journal).await, [1001]);
    assert_eq!(journal.report().damage_total, 0);
}

async fn three_messages() -> (MemoryDisk, usize) {
    let disk = MemoryDisk::default();
    let journal = Journal::open_on(disk.clone(), OPTIONS).unwrap();
    put(&journal, 1, b"the first body").await.unwrap();
    let first = disk.open("00000001.journal").unwrap();
    let second = first.len_bytes().unwrap() as usize;
    put(&journal, 2, b"the second body").await.unwrap();
    put(&journal, 3, b"the third body").await.unwrap();
    (disk.kill(), second)
}

#[tokio::test]
async fn a_damaged_body_is_reported_when_it_is_read() {
    let (disk, second) = three_messages().await;
    // Sealed, so that nothing can be taken for a torn end.
    drop(Journal::open_on(disk.clone(), OPTIONS).unwrap());
    disk.damage("00000001.journal", second + frame::FRAME_HEADER_BYTES + 3);
    let journal = Journal::open_on(disk, OPTIONS).unwrap();
    assert_eq!(recovered(&journal).await, [1, 2, 3]);
    let error = body(&journal, 2).await.unwrap_err();
    assert_eq!(error, SpoolError::Io("message 2 is damaged in the spool".into()));
    assert_eq!(body(&journal, 3).await.unwrap().unwrap(), b"the third body");
}

#[tokio::test]
async fn a_damaged_envelope_is_reported_and_its_segment_set_aside() {
    let (disk, second) = three_messages().await;
    let envelope = second + frame::FRAME_HEADER_BYTES + b"the second body".len();
    disk.damage("00000001.journal", envelope + frame::FRAME_HEADER_BYTES + 4);
    let journal = Journal::open_on(disk.clone(), OPTIONS).unwrap();
    assert_eq!(recovered(&journal).await, [1, 3]);
    let [damage] = &journal.report().damage[..] else { panic!("{:?}", journal.report()) };
    assert_eq!((damage.message, damage.offset as usize), (Some(MessageId(2)), envelope));
    for id in [1, 3] {
        journal.write(SpoolWrite::Remove(MessageId(id))).await.unwrap();
    }
    drop(journal);
    let names = disk.list().unwrap();
    assert_eq!(names, ["00000001.journal.damaged", "00000002.journal", "reserve"]);
}

#[tokio::test]
async fn a_damaged_frame_header_costs_its_frame_and_is_reported() {
    let (disk, second) = three_messages().await;
    disk.damage("00000001.journal", second);
    let journal = Journal::open_on(disk, OPTIONS).unwrap();
    // The body is gone, and that is found when it is looked for.
    assert_eq!(recovered(&journal).await, [1, 2, 3]);
    let [damage] = &journal.report().damage[..] else { panic!("{:?}", journal.report()) };
    assert_eq!((damage.message, damage.offset as usize, damage.bytes), (None, second, 43));
    assert!(body(&journal, 2).await.is_err());
}

#[tokio::test]
async fn a_torn_end_is_told_from_damage() {
    let (disk, _) = three_messages().await;
    let third_end = disk.open("00000001.journal").unwrap().len_bytes().unwrap() as usize;
    disk.damage("00000001.journal", third_end - 1);
    let journal = Journal::open_on(disk, OPTIONS).unwrap();
    assert!(journal.report().torn_bytes > 0);
    assert_eq!(recovered(&journal).await, [1, 2]);
    assert_eq!(journal.report().damage_total, 0);
}

#[tokio::test]
async fn files_that_are_not_ours_to_judge_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    put(&journal, 1, b"body").await.unwrap();
    drop(journal);
    // A header from the future, and a file that was begun and never finished.
    let later = folder.path().join("00000009.journal");
    let mut bytes = fs::read(folder.path().join("00000001.journal")).unwrap();
    bytes[8] = 2;
    let check = crc32c::crc32c(&bytes[..32]);
    bytes[32..36].copy_from_slice(&check.to_le_bytes());
    fs::write(&later, &bytes).unwrap();
    let error = Journal::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Version { version: 2, .. }), "{error}");
    fs::write(&later, b"traj").unwrap();
    fs::write(folder.path().join("notes"), b"mine").unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(recovered(&journal).await, [1]);
    drop(journal);
    assert_eq!(segments(folder.path()), ["00000001.journal", "0000000a.journal", "notes"]);
}

#[tokio::test]
async fn mail_is_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("new").join("spool");
    let journal = Journal::open(&folder).unwrap();
    put(&journal, 1, b"body").await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in segments(&folder) {
        assert_eq!(mode(&folder.join(&name)), 0o600, "{name}");
    }
}
