//! A journal that was written, and then torn and damaged as the bytes say: it opens, and what it
//! gives back is what was put in.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::io::SpoolWrite;
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient};
use traject_engine::smtp::address::ReversePath;
use traject_net::spool::disk::{Disk, DiskFile};
use traject_net::spool::{Journal, OpenError, Options};
use traject_net::world::{BodyReader as _, BodyWriter as _, Spool as _};

use super::source::Source;

/// Writes a journal, breaks it and reads it.
pub(crate) fn run(bytes: &[u8]) {
    let mut source = Source(bytes);
    // Unwrap is OK because a runtime without drivers needs nothing of the system.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let disk = MemoryDisk::default();
        let live = write(&disk, &mut source).await;
        let damaged = disk.damage(&mut source);
        read(&disk, &live, damaged).await;
    });
}

/// Small, so that there are many segments.
const OPTIONS: Options = Options { segment_bytes: 2 << 10, salt: 7 };

/// Messages by id: what they were, and whether they are still there.
type Known = BTreeMap<MessageId, (Vec<u8>, bool)>;

async fn write(disk: &MemoryDisk, source: &mut Source<'_>) -> Known {
    // Unwraps are OK because this disk never fails.
    let journal = Journal::open_on(disk.clone(), OPTIONS).unwrap();
    let mut known = Known::new();
    for number in 1..=1 + source.below(12) as u64 {
        let id = MessageId(number);
        let body = source.piece().to_vec();
        let mut writer = journal.stage(id).await.unwrap();
        writer.append(&body).await.unwrap();
        writer.finish().await.unwrap();
        let message = Arc::new(message(id, body.len() as u64));
        journal.write(SpoolWrite::Insert(message)).await.unwrap();
        known.insert(id, (body, true));
        let other = MessageId(1 + source.below(number as usize) as u64);
        let is_live = known.get(&other).is_some_and(|(_, live)| *live);
        match source.below(4) {
            0 if is_live => {
                journal.write(SpoolWrite::Remove(other)).await.unwrap();
                known.entry(other).and_modify(|(_, live)| *live = false);
            }
            1 if is_live => {
                let next_attempt_at = Timestamp::from_secs(9);
                let state = RecipientState::Pending { attempts: 1, next_attempt_at };
                let recipients = vec![(0, state)];
                journal.write(SpoolWrite::Update { message: other, recipients }).await.unwrap();
            }
            _ => {}
        }
    }
    known
}

async fn read(disk: &MemoryDisk, known: &Known, damaged: bool) {
    let journal = match Journal::open_on(disk.clone(), OPTIONS) {
        Ok(journal) => journal,
        Err(error) => {
            assert!(damaged && !matches!(error, OpenError::Locked(_)), "{error}");
            return;
        }
    };
    let mut found = 0;
    while let Some(message) = journal.recover().await.unwrap() {
        let (body, live) = known.get(&message.id).expect("a message that was put in");
        assert!(*live || damaged, "{} is back", message.id);
        assert_eq!(message.reverse_path, self::message(message.id, 0).reverse_path);
        found += 1;
        if let Ok(Some(mut reader)) = journal.read(message.id).await {
            let mut read = Vec::new();
            let whole = loop {
                match reader.next().await {
                    Ok(Some(piece)) => read.extend_from_slice(&piece),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            assert!(!whole || read == *body, "{} has another body", message.id);
            assert!(whole || damaged, "{} cannot be read", message.id);
        }
    }
    let live = known.values().filter(|(_, live)| *live).count();
    assert!(found == live || damaged, "{found} of {live} messages");
}

fn message(id: MessageId, size_bytes: u64) -> StoredMessage {
    let recipient = |number: u8| StoredRecipient {
        mailbox: format!("r{number}@there.example").parse().unwrap(),
        state: RecipientState::new(Timestamp(0)),
    };
    StoredMessage {
        id,
        reverse_path: ReversePath(Some(format!("s{}@us.example", id.0).parse().unwrap())),
        recipients: vec![recipient(0), recipient(1)],
        received_at: Timestamp(0),
        size_bytes,
        eight_bit: false,
        binding: "default".into(),
        origin: None,
        rerouted: Vec::new(),
    }
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
struct MemoryDisk(Arc<Mutex<BTreeMap<String, MemoryFile>>>);

#[derive(Clone, Debug, Default)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryDisk {
    /// Breaks files as the bytes say; whether anything was done to any.
    fn damage(&self, source: &mut Source<'_>) -> bool {
        let mut files = self.0.lock().unwrap();
        let names: Vec<_> = files.keys().cloned().collect();
        let mut damaged = false;
        while !source.is_empty() && !names.is_empty() {
            let name = &names[source.below(names.len())];
            let how = source.below(6);
            let at = usize::from(source.byte()) << 3 | source.below(8);
            damaged = true;
            match (how, files.get(name)) {
                (_, None) => {}
                (0, _) => drop(files.remove(name)),
                (1, Some(file)) => {
                    let copy = MemoryFile(Arc::new(Mutex::new(file.0.lock().unwrap().clone())));
                    let number = source.byte();
                    files.insert(format!("{number:08x}.journal"), copy);
                }
                (2, Some(file)) => file.0.lock().unwrap().truncate(at),
                (3, Some(file)) => file.0.lock().unwrap().extend_from_slice(source.piece()),
                (_, Some(file)) => {
                    if let Some(byte) = file.0.lock().unwrap().get_mut(at) {
                        *byte ^= source.byte() | 1;
                    }
                }
            }
        }
        damaged
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut files = self.0.lock().unwrap();
        match files.contains_key(name) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => Ok(files.entry(name.to_owned()).or_default().clone()),
        }
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let files = self.0.lock().unwrap();
        files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.0.lock().unwrap().remove(name);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let from = bytes.get(offset as usize..).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(from.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, written: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let end = offset as usize + written.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(written);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
