//! Room for notes on a disk that is full.
//!
//! On a full disk it could not even be noted that mail was delivered, which is what makes room
//! again. So a file holds some: it is given up when the disk is full, and until it is there again
//! only notes about mail are written, and no new mail.

use std::io;

use super::disk::{Disk, DiskFile};

/// The name of the file.
const NAME: &str = "reserve";

/// A segment is so many times as long: its messages can be noted to be done, unless they are tiny.
const SEGMENT_SHARE: u32 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Reserve {
    bytes: usize,
    held: bool,
}

impl Reserve {
    pub(super) const fn new(segment_bytes: u32) -> Self {
        Self { bytes: (segment_bytes / SEGMENT_SHARE) as usize, held: false }
    }

    /// Whether there is room enough that new mail may be written.
    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// Takes the room, unless it is taken. A disk that has none is left as it was.
    pub(super) fn hold<D: Disk>(&mut self, disk: &D) {
        if self.held {
            return;
        }
        match self.make(disk) {
            Ok(()) => self.held = true,
            Err(_) => {
                let _ = disk.remove(NAME);
            }
        }
    }

    fn make<D: Disk>(&self, disk: &D) -> io::Result<()> {
        let file = match disk.create(NAME) {
            // An earlier process may have made it, or have died over it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = disk.open(NAME)?;
                if file.len_bytes()? >= self.bytes as u64 {
                    return Ok(());
                }
                file
            }
            other => other?,
        };
        file.write_at(0, &vec![0; self.bytes])?;
        file.sync()
    }

    /// Gives the room to what has to be written. False when there is none to give.
    pub(super) fn give_up<D: Disk>(&mut self, disk: &D) -> bool {
        self.held = false;
        disk.remove(NAME).is_ok()
    }
}
