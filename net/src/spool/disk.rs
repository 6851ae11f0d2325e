//! What the journal needs of a disk: a flat folder of files that grow, and two kinds of sync.
//!
//! Small enough that a simulated disk can lose, tear and refuse everything a real one may.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder of files.
pub trait Disk: Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file that does not exist yet.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to read and sync it.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Forgets a file. Who has it open can read on.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable. Without it a crash may undo any of them.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    fn len_bytes(&self) -> io::Result<u64>;

    /// Fills the buffer from `offset` on, or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Fills the buffer if that needs no waiting for the device. `false` says nothing of what
    /// [`Self::read_at`] will find; the buffer may be filled in part.
    fn read_at_once(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let _ = (offset, buffer);
        false
    }

    /// Writes all the bytes at `offset`. After a failure any part of them may be there.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable. After a failure it is unknown what is, and a later success
    /// says nothing about it: the system may have dropped the pages that did not go out.
    fn sync(&self) -> io::Result<()>;
}

/// The file that is locked while a spool is in use.
pub(super) const LOCK_NAME: &str = "lock";

/// A real folder, locked against a second user.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Open for [`Disk::sync_names`].
    names: File,
    /// The lock goes with the file.
    _lock: File,
}

impl Folder {
    /// Opens `path`, makes it when it does not exist, and locks it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when another process (or another part of this one) holds the
    /// lock; otherwise what the system says.
    pub fn lock(path: &Path) -> io::Result<Self> {
        // Mail is nobody else's to read.
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK_NAME))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_owned(), names: File::open(path)?, _lock: lock })
    }
}

impl Disk for Folder {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.path.read_dir()? {
            // A name that is not text is not one of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.names.sync_all()
    }
}

impl DiskFile for File {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    #[cfg(target_os = "linux")]
    fn read_at_once(&self, offset: u64, buffer: &mut [u8]) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        let wanted = buffer.len();
        let mut buffers = [io::IoSliceMut::new(buffer)];
        // What is not in the page cache fails or comes in part, as does all on old file systems.
        preadv2(self, &mut buffers, offset, ReadWriteFlags::NOWAIT).is_ok_and(|read| read == wanted)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: it includes the new length, and leaves out times nobody needs.
        self.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::{Disk as _, DiskFile as _, Folder};

    #[test]
    fn what_is_read_at_once_is_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = Folder::lock(folder.path()).unwrap().create("x").unwrap();
        file.write_at(0, b"0123456789").unwrap();
        let mut buffer = [0; 4];
        // Not every file system can do it.
        if file.read_at_once(3, &mut buffer) {
            assert_eq!(&buffer, b"3456");
        }
        assert!(!file.read_at_once(7, &mut buffer), "a part is not enough");
        assert!(!file.read_at_once(10, &mut buffer), "nor is nothing");
    }
}
