//! A disk in memory that forgets, tears and refuses: what was not synced survives a crash in part
//! or not at all, and any call can be made to fail. For tests and simulations.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// See the module. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The files by number; names point to them.
    contents: BTreeMap<usize, Content>,
    created: usize,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    calls: u64,
    read_bytes: u64,
    failing: Failing,
}

/// Which calls fail.
#[derive(Clone, Copy, Debug, Default)]
pub enum Failing {
    /// None.
    #[default]
    Never,
    /// The k-th call from now on, counted from 0.
    Once(u64),
    /// The k-th and all later ones.
    From(u64),
    /// Every write, for want of space.
    Full,
    /// Writes that make all files together longer than so many bytes; what fits is written.
    Capacity(u64),
}

/// A file: what a reader sees, and what is on the platter for sure.
#[derive(Clone, Debug, Default)]
struct Content {
    /// Whoever has the file open has this too.
    open: Arc<()>,
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Written and not synced, or lost in a failed sync: on the platter perhaps.
    loose: Vec<(u64, Vec<u8>)>,
    /// How many of them a later sync still makes durable.
    pending: usize,
}

/// An open file of a [`MemoryDisk`].
#[derive(Clone, Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    number: usize,
    _open: Arc<()>,
}

impl MemoryDisk {
    /// Sets which calls fail, and starts to count.
    pub fn fail(&self, failing: Failing) {
        let mut state = self.state();
        state.failing = failing;
        state.calls = 0;
    }

    /// Calls since [`Self::fail`].
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Bytes that were read since it came to be.
    pub fn read_bytes(&self) -> u64 {
        self.state().read_bytes
    }

    /// What a power failure leaves: everything synced; of the rest whatever `coin` says, sector
    /// by sector and name by name.
    pub fn crash(&self, coin: &mut dyn FnMut() -> bool) -> Self {
        let state = self.state();
        let mut names = state.durable_names.clone();
        for (name, number) in &state.names {
            if !names.contains_key(name) && coin() {
                names.insert(name.clone(), *number);
            }
        }
        names.retain(|name, _| state.names.contains_key(name) || coin());
        let left = state.contents.iter().filter(|(number, _)| names.values().any(|n| n == *number));
        let contents = left.map(|(number, content)| (*number, content.after_crash(coin))).collect();
        let (created, durable_names) = (state.created, names.clone());
        let state = State { contents, created, names, durable_names, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// What `kill -9` leaves: everything written.
    pub fn kill(&self) -> Self {
        let state = self.state();
        Self(Arc::new(Mutex::new(State {
            contents: state.contents.clone(),
            created: state.created,
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            ..State::default()
        })))
    }

    /// Flips a bit of a file.
    ///
    /// # Panics
    ///
    /// When there is no such file, or it is shorter.
    pub fn damage(&self, name: &str, offset: usize) {
        let mut state = self.state();
        let number = state.names[name];
        let Some(content) = state.contents.get_mut(&number) else { return };
        content.seen[offset] ^= 0x10;
        content.durable[offset] ^= 0x10;
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let state = self.state();
        state.names.values().map(|number| state.contents[number].seen.len() as u64).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one call that does not panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, state: &State, number: usize) -> MemoryFile {
        let _open = Arc::clone(&state.contents[&number].open);
        MemoryFile { disk: self.clone(), number, _open }
    }

    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let call = state.calls;
        state.calls += 1;
        let fails = match state.failing {
            Failing::Never | Failing::Full | Failing::Capacity(_) => false,
            Failing::Once(k) => call == k,
            Failing::From(k) => call >= k,
        };
        if fails { Err(io::Error::other("injected")) } else { Ok(state) }
    }
}

impl State {
    /// How many of some bytes there is room for.
    fn fits(&self, number: usize, offset: u64, bytes: usize) -> usize {
        let Failing::Capacity(capacity) = self.failing else { return bytes };
        let length = |number: &usize| self.contents[number].seen.len() as u64;
        let others = self.names.values().filter(|one| **one != number).map(length).sum::<u64>();
        let end = capacity.saturating_sub(others).max(length(&number));
        bytes.min(end.saturating_sub(offset) as usize)
    }
}

impl Content {
    fn after_crash(&self, coin: &mut dyn FnMut() -> bool) -> Self {
        let mut bytes = self.durable.clone();
        for (offset, written) in &self.loose {
            let mut at = *offset as usize;
            let mut rest = &written[..];
            while !rest.is_empty() {
                let sector_rest = SECTOR_BYTES - at % SECTOR_BYTES;
                let (piece, after) = rest.split_at(sector_rest.min(rest.len()));
                if coin() {
                    put(&mut bytes, at, piece);
                }
                at += piece.len();
                rest = after;
            }
        }
        Self { seen: bytes.clone(), durable: bytes, ..Self::default() }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if bytes.len() < at + piece.len() {
        bytes.resize(at + piece.len(), 0);
    }
    bytes[at..at + piece.len()].copy_from_slice(piece);
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.call()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut state = self.call()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.created;
        state.created += 1;
        state.contents.insert(number, Content::default());
        state.names.insert(name.to_owned(), number);
        Ok(self.file(&state, number))
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let state = self.call()?;
        let number = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(&state, number))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.call()?;
        let number = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.call()?;
        state.names.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.call()?;
        let State { contents, names, durable_names, .. } = &mut *state;
        durable_names.clone_from(names);
        // A file without a name lasts as long as somebody has it open.
        contents.retain(|number, content| {
            Arc::strong_count(&content.open) > 1 || names.values().any(|n| n == number)
        });
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.call()?.contents[&self.number].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.call()?;
        state.read_bytes += buffer.len() as u64;
        let offset = offset as usize;
        let bytes = state.contents[&self.number].seen.get(offset..offset + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Half of the frames are in the cache.
    fn read_at_once(&self, offset: u64, buffer: &mut [u8]) -> bool {
        offset.is_multiple_of(2) && self.read_at(offset, buffer).is_ok()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (bytes, failed) = match self.disk.call() {
            Ok(state) if matches!(state.failing, Failing::Full) => {
                (&bytes[..bytes.len() / 2], Err(io::ErrorKind::StorageFull.into()))
            }
            Ok(state) => {
                let fits = state.fits(self.number, offset, bytes.len());
                let full = || Err(io::ErrorKind::StorageFull.into());
                (&bytes[..fits], if fits == bytes.len() { Ok(()) } else { full() })
            }
            Err(error) => (&bytes[..bytes.len() / 2], Err(error)),
        };
        let mut state = self.disk.state();
        let content = state.contents.get_mut(&self.number).ok_or(io::ErrorKind::NotFound)?;
        put(&mut content.seen, offset as usize, bytes);
        content.loose.push((offset, bytes.to_vec()));
        content.pending += 1;
        failed
    }

    fn sync(&self) -> io::Result<()> {
        let result = self.disk.call().map(|_| ());
        let mut state = self.disk.state();
        let content = state.contents.get_mut(&self.number).ok_or(io::ErrorKind::NotFound)?;
        let pending = std::mem::take(&mut content.pending);
        if result.is_ok() {
            let first = content.loose.len() - pending;
            for (offset, bytes) in content.loose.split_off(first) {
                put(&mut content.durable, offset as usize, &bytes);
            }
        }
        result
    }
}
