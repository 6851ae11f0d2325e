//! Looking at a spool without changing it, beside a daemon that runs or not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use traject_engine::ids::MessageId;
use traject_engine::io::SpoolError;
use traject_engine::message::StoredMessage;

use super::OpenError;
use super::disk::{Disk, DiskFile, LOCK_NAME};
use super::frame::FrameKind;
use super::index::{Index, Needed};
use super::read::{Body, EnvelopePlaces};
use super::recovery::{Damage, RecoveryError, Report, SET_ASIDE, recover};
use super::segment::{Found, ReadError, Walk, file_name};

/// How often to begin anew when files go away meanwhile: a daemon deletes what it needs no more.
const TRIES: usize = 20;

/// A spool as it was at one moment. Its files stay open, so what a daemon deletes later can still
/// be read.
#[derive(Debug)]
pub struct Inspection {
    index: Index<ReadOnlyFile>,
    report: Report,
    set_aside: Vec<String>,
}

/// What [`Inspection::check`] looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Frames that are what was written.
    pub intact: u64,
    /// What opening found, and what reading everything found beyond that.
    pub report: Report,
}

impl Inspection {
    /// Reads the journal in a folder as a start of the daemon would, and writes nothing.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; there is none for a spool that is in use. Damage is no error.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        if !folder.join(LOCK_NAME).exists() {
            let error = format!("{} is no spool", folder.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, error).into());
        }
        let disk = ReadOnly(folder.to_owned());
        let mut set_aside: Vec<_> = disk.list()?;
        set_aside.retain(|name| name.ends_with(SET_ASIDE));
        set_aside.sort();
        let mut tries = 1..TRIES;
        loop {
            match recover(&disk) {
                Ok((index, report)) => return Ok(Self { index, report, set_aside }),
                Err(RecoveryError::Io(error))
                    if error.kind() == io::ErrorKind::NotFound && tries.next().is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What opening it found.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Damaged files that earlier starts have set aside; their mail is not in the spool.
    pub fn set_aside(&self) -> &[String] {
        &self.set_aside
    }

    /// The messages, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = MessageId> {
        self.index.messages.keys().copied()
    }

    /// A message's envelope; `None` if there is no such message.
    ///
    /// # Errors
    ///
    /// The device failed, or the envelope is damaged.
    pub fn envelope(&self, message: MessageId) -> Result<Option<StoredMessage>, SpoolError> {
        let Some(places) = EnvelopePlaces::find(&self.index, message) else { return Ok(None) };
        places.load().map(Some).map_err(|error| places.report(&error))
    }

    /// A message's body, piece by piece; empty if there is no such message. Nothing follows an
    /// error.
    pub fn body(&self, message: MessageId) -> impl Iterator<Item = Result<Bytes, SpoolError>> {
        let (mut body, mut error) = match Body::find(&self.index, message) {
            Some(Ok(body)) => (Some(body), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        std::iter::from_fn(move || {
            if let Some(error) = error.take() {
                return Some(Err(error));
            }
            let piece = body.as_mut()?.next().transpose();
            if piece.as_ref().is_none_or(Result::is_err) {
                body = None;
            }
            piece
        })
    }

    /// Reads and verifies every frame and every envelope.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn check(&self) -> io::Result<Checked> {
        let mut checked = Checked { intact: 0, report: self.report.clone() };
        for (number, segment) in &self.index.segments {
            let mut walk = Walk::new(Arc::clone(&segment.source), segment.end);
            while let Some(found) = walk.next()? {
                // Opening it has reported holes.
                let Found::Frame(header, at) = found else { continue };
                match segment.source.read(at) {
                    Ok(_) => checked.intact += 1,
                    Err(ReadError::Io(error)) => return Err(error),
                    Err(ReadError::Damaged) => {
                        let needed = self.index.needs(header.message, at);
                        // And every damaged frame of another kind.
                        if let Some(what) = damaged_chunk(header.kind, needed) {
                            checked.report.add(Damage {
                                file: file_name(*number),
                                offset: at.offset,
                                bytes: at.frame_bytes(),
                                message: Some(header.message),
                                what,
                            });
                        }
                    }
                }
            }
        }
        self.check_envelopes(&mut checked.report)?;
        Ok(checked)
    }

    /// Checksums say that bytes are those that were written, not that they make sense.
    fn check_envelopes(&self, report: &mut Report) -> io::Result<()> {
        for (message, entry) in &self.index.messages {
            let Some(places) = EnvelopePlaces::find(&self.index, *message) else { continue };
            match places.load() {
                Ok(_) => {}
                Err(ReadError::Io(error)) => return Err(error),
                Err(ReadError::Damaged) => report.add(Damage {
                    file: file_name(entry.insert.segment),
                    offset: entry.insert.offset,
                    bytes: entry.insert.frame_bytes(),
                    message: Some(*message),
                    what: "the message's envelope cannot be understood",
                }),
            }
        }
        Ok(())
    }
}

const fn damaged_chunk(kind: FrameKind, needed: Needed) -> Option<&'static str> {
    match (kind, needed) {
        (FrameKind::Chunk, Needed::ByMessage | Needed::ByStagedBody) => {
            Some("a piece of a message's body is unreadable")
        }
        (FrameKind::Chunk, Needed::No) => {
            Some("a piece of a body is unreadable, which nothing needs any more")
        }
        (FrameKind::Remove, _) => Some("the end of a message is unreadable"),
        (FrameKind::Insert | FrameKind::Update | FrameKind::Shaping, _) => None,
    }
}

/// A folder in which nothing is changed, whatever is asked for.
#[derive(Debug)]
struct ReadOnly(PathBuf);

#[derive(Debug)]
struct ReadOnlyFile(File);

impl Disk for ReadOnly {
    type File = ReadOnlyFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.0.read_dir()? {
            // A name that is not text is not one of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, _name: &str) -> io::Result<ReadOnlyFile> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, name: &str) -> io::Result<ReadOnlyFile> {
        File::open(self.0.join(name)).map(ReadOnlyFile)
    }

    /// A file that a start would set aside stays: to know of it is enough.
    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for ReadOnlyFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    /// A start writes again what it has read, so that it is durable. Nothing is acted upon here,
    /// so it need not be.
    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use tempfile::TempDir;
    use traject_engine::Timestamp;
    use traject_engine::io::SpoolWrite;
    use traject_engine::message::RecipientState;

    use super::super::Journal;
    use super::super::journal_tests::put;
    use super::*;
    use crate::world::Spool as _;

    /// A folder with two messages, of which the first has a changed recipient and a long body,
    /// and one that is gone; still in use.
    async fn spool() -> (TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        put(&journal, 1, &[b'a'; 100_000]).await.unwrap();
        put(&journal, 2, b"second").await.unwrap();
        put(&journal, 3, b"third").await.unwrap();
        journal
            .write(SpoolWrite::Update { message: MessageId(1), recipients: later() })
            .await
            .unwrap();
        journal.write(SpoolWrite::Remove(MessageId(3))).await.unwrap();
        (folder, journal)
    }

    fn later() -> Vec<(u32, RecipientState)> {
        vec![(1, RecipientState::Pending { attempts: 4, next_attempt_at: Timestamp(77) })]
    }

    /// Every file with its bytes.
    fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    fn journal_file(folder: &Path) -> PathBuf {
        let mut files = contents(folder);
        files.retain(|path, bytes| path.extension().is_some() && bytes.len() > 1000);
        files.into_keys().next().unwrap()
    }

    /// Changes the journal's file and says what a check finds: damage, torn bytes, messages.
    fn found(folder: &Path, change: impl FnOnce(&mut Vec<u8>)) -> (Vec<String>, u64, usize) {
        let path = journal_file(folder);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let before = contents(folder);
        let report = Inspection::open(folder).unwrap().check().unwrap().report;
        assert_eq!(contents(folder), before, "nothing is changed");
        assert_eq!(report.damage.len() as u64, report.damage_total);
        let damage = report.damage.iter().map(|damage| {
            let message = damage.message.map_or(String::new(), |message| format!("{message}: "));
            format!("{message}{}", damage.what)
        });
        (damage.collect(), report.torn_bytes, report.messages)
    }

    fn position(bytes: &[u8], of: &[u8]) -> usize {
        bytes.windows(of.len()).position(|window| window == of).unwrap()
    }

    #[tokio::test]
    async fn a_spool_in_use_can_be_read() {
        let (folder, journal) = spool().await;
        let inspection = Inspection::open(folder.path()).unwrap();
        let ids: Vec<_> = inspection.messages().collect();
        assert_eq!(ids, [MessageId(1), MessageId(2)]);
        let envelope = inspection.envelope(MessageId(1)).unwrap().unwrap();
        assert_eq!(envelope.recipients[1].state, later()[0].1);
        // What the daemon does now changes nothing of what was seen.
        journal.write(SpoolWrite::Remove(MessageId(1))).await.unwrap();
        let body: Vec<u8> = inspection.body(MessageId(1)).flat_map(Result::unwrap).collect();
        assert_eq!(body, [b'a'; 100_000]);
        assert_eq!(inspection.envelope(MessageId(3)), Ok(None));
        assert!(inspection.body(MessageId(3)).next().is_none());
        let checked = inspection.check().unwrap();
        assert_eq!((checked.report.damage_total, checked.report.torn_bytes), (0, 0));
        // The root, two pieces and one each, three envelopes, a change, an end.
        assert_eq!(checked.intact, 10);
        let now = Inspection::open(folder.path()).unwrap();
        assert_eq!(now.messages().collect::<Vec<_>>(), [MessageId(2)]);
    }

    #[tokio::test]
    async fn every_sort_of_damage_is_found_and_nothing_is_changed() {
        let flip = |what: &'static [u8]| {
            move |bytes: &mut Vec<u8>| {
                let at = position(bytes, what);
                bytes[at] ^= 1;
            }
        };
        let body = "a piece of a message's body is unreadable";
        let gone = "a piece of a body is unreadable, which nothing needs any more";
        let header = "the segment's header is unreadable, the file is set aside";
        for (change, damage, messages) in [
            (flip(b"aaaaaaaa"), format!("1: {body}"), 2),
            (flip(b"second"), format!("2: {body}"), 2),
            (flip(b"third"), format!("3: {gone}"), 2),
            (flip(b"trajectj"), header.to_owned(), 0),
        ] {
            let (folder, journal) = spool().await;
            drop(journal);
            assert_eq!(found(folder.path(), change), (vec![damage], 0, messages));
        }
    }

    #[tokio::test]
    async fn what_a_crash_tore_is_told_from_damage() {
        let (folder, journal) = spool().await;
        drop(journal);
        let torn = b"half a frame".len();
        let append = |bytes: &mut Vec<u8>| bytes.extend_from_slice(b"half a frame");
        let (damage, torn_bytes, messages) = found(folder.path(), append);
        assert_eq!((damage, torn_bytes, messages), (vec![], torn as u64, 2));
        let report = Inspection::open(folder.path()).unwrap().report;
        let path = journal_file(folder.path());
        let end = fs::metadata(&path).unwrap().len() as usize - torn;
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(report.torn_at, Some((name, end as u32)));
    }

    #[test]
    fn a_folder_that_is_no_spool_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let OpenError::Io(error) = Inspection::open(folder.path()).unwrap_err() else {
            panic!("there is something");
        };
        assert!(error.to_string().ends_with("is no spool"), "{error}");
        assert!(contents(folder.path()).is_empty());
    }
}
