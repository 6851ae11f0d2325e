//! The record log: one JSON object a line, written beside the work.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use traject_engine::record::Record;

/// Takes records and has a thread write them, in order and as soon as it can. Dropping it waits
/// until all are written.
#[derive(Debug)]
pub(crate) struct RecordLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Lines that wait to be written.
    lines: Vec<u8>,
    ended: bool,
}

impl RecordLog {
    /// Appends to the file at `path`; without one, writes to standard output.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        Ok(match path {
            Some(path) => Self::start(File::options().append(true).create(true).open(path)?),
            None => Self::start(io::stdout()),
        })
    }

    fn start(out: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writing = Arc::clone(&shared);
        let thread = thread::spawn(move || writing.write_all(out));
        Self { shared, thread: Some(thread) }
    }

    /// Adds a record. Waits when the disk or the reader is far behind: records are not dropped.
    pub(crate) fn add(&self, record: &Record) {
        let mut state = self.shared.lock();
        while state.lines.len() >= WAITING_BYTES_MAX {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let was_empty = state.lines.is_empty();
        // Unwrap is OK because a record has no map with keys that are not strings, and writing to
        // a vector does not fail.
        serde_json::to_writer(&mut state.lines, record).unwrap();
        state.lines.push(b'\n');
        drop(state);
        if was_empty {
            self.shared.changed.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        while self.take(&mut lines) {
            if let Err(error) = out.write_all(&lines).and_then(|()| out.flush()) {
                tracing::error!(%error, bytes = lines.len(), "records could not be written");
            }
        }
    }

    /// Swaps an empty buffer for the lines that wait; `false` at the end. Where one line is, more
    /// are coming: waiting for them a moment saves a switch of threads for each.
    fn take(&self, lines: &mut Vec<u8>) -> bool {
        lines.clear();
        let mut state = self.lock();
        while state.lines.is_empty() && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.ended {
            drop(state);
            thread::sleep(GATHERING_TIME);
            state = self.lock();
        }
        mem::swap(&mut state.lines, lines);
        self.changed.notify_all();
        !lines.is_empty()
    }
}

impl Drop for RecordLog {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed, and there is nothing left to be written.
            let _ = thread.join();
        }
    }
}

/// How long a line may wait for others.
const GATHERING_TIME: Duration = Duration::from_millis(5);

/// Lines that may wait before those who add more have to.
const WAITING_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use traject_engine::Timestamp;
    use traject_engine::ids::MessageId;
    use traject_engine::io::SpoolError;
    use traject_engine::record::Event;

    use super::*;

    struct Sent(mpsc::Sender<Vec<u8>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record(n: u64) -> Record {
        let event = Event::SpoolFailure { message: MessageId(n), error: SpoolError::Full };
        Record { at: Timestamp(n), event }
    }

    #[test]
    fn records_come_out_in_order_one_a_line_and_none_is_left_behind() {
        let (sender, written) = mpsc::channel();
        let log = RecordLog::start(Sent(sender));
        log.add(&record(0));
        // Written although no more comes.
        let first = written.recv().unwrap();
        for n in 1..1000 {
            log.add(&record(n));
        }
        drop(log);
        let mut all = first;
        all.extend(written.iter().flatten());
        let lines: Vec<Record> = all
            .split_inclusive(|byte| *byte == b'\n')
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect();
        assert_eq!(lines, (0..1000).map(record).collect::<Vec<_>>());
    }
}
