//! A file of lines, written beside the work.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Takes lines and has a thread write them, in order and as soon as it can. Dropping it waits
/// until all are written.
///
/// A file that cannot be written stops nobody: that is said once, lines wait in memory as long as
/// there is room for them, and how many were lost is said in the end.
#[derive(Debug)]
pub(crate) struct LineLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Has a log open its file anew, from anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Reopener(Arc<Shared>);

/// What a log writes to; called again when the log is to open it anew.
pub(crate) type Open = Box<dyn FnMut() -> io::Result<Box<dyn Write + Send>> + Send>;

/// Appends a line.
pub(crate) type Push = Box<dyn FnMut(&mut Vec<u8>) + Send>;

/// Appends a line now and then, whatever happens.
pub(crate) struct Heartbeat {
    /// How long it is from one to the next.
    pub(crate) every: Duration,
    /// Appends it.
    pub(crate) push: Push,
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
    /// The file could not be written last time.
    failing: bool,
    /// Lines that found no room since.
    lost: u64,
    reopen: bool,
    ended: bool,
}

/// What a writer is to do beside writing.
#[derive(Clone, Copy, Debug)]
struct Told {
    reopen: bool,
    ended: bool,
}

impl LineLog {
    /// A log that `name` tells from others, in words for an operator.
    pub(crate) fn start(
        name: String,
        mut open: Open,
        heartbeat: Option<Heartbeat>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = LineWriter {
            shared: Arc::clone(&shared),
            name,
            out: open()?,
            open,
            heartbeat: heartbeat.map(|heartbeat| (Instant::now() + heartbeat.every, heartbeat)),
            pending: Pending::default(),
        };
        let thread = thread::spawn(move || writer.run());
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Adds what `push` appends: whole lines, or nothing. Waits when the disk or the reader is far
    /// behind; only when the file cannot be written at all are lines dropped.
    pub(crate) fn add(&self, push: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.lock();
        while state.lines.len() >= WAITING_BYTES_MAX && !state.failing {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let before = state.lines.len();
        push(&mut state.lines);
        if before >= WAITING_BYTES_MAX {
            state.lost += lines_in(&state.lines[before..]);
            state.lines.truncate(before);
        }
        let is_first = before == 0 && !state.lines.is_empty();
        drop(state);
        if is_first {
            self.shared.changed.notify_all();
        }
    }

    pub(crate) fn reopener(&self) -> Reopener {
        Reopener(Arc::clone(&self.shared))
    }
}

impl Reopener {
    /// Every line added so far goes to the old file, later ones to the new.
    pub(crate) fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.changed.notify_all();
    }
}

impl Drop for LineLog {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed, and there is nothing left to be written.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do, at most for `patience`, and fetches the lines that wait unless
    /// there are older ones. Where one line is, more are coming: waiting for them a moment saves a
    /// switch of threads for each.
    fn next(&self, pending: &mut Pending, patience: Duration) -> Told {
        let older = !pending.is_empty();
        let idle =
            |state: &mut State| (older || state.lines.is_empty()) && !state.reopen && !state.ended;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.ended && !state.reopen && !state.lines.is_empty() && !older {
            drop(state);
            thread::sleep(GATHERING_TIME);
            state = self.lock();
        }
        if !older {
            mem::swap(&mut state.lines, &mut pending.bytes);
            self.changed.notify_all();
        }
        Told { reopen: mem::take(&mut state.reopen), ended: state.ended }
    }
}

/// The thread's side.
struct LineWriter {
    shared: Arc<Shared>,
    name: String,
    open: Open,
    out: Box<dyn Write + Send>,
    /// With the instant of the next one.
    heartbeat: Option<(Instant, Heartbeat)>,
    pending: Pending,
}

impl LineWriter {
    fn run(mut self) {
        loop {
            let patience = self.patience();
            let told = self.shared.next(&mut self.pending, patience);
            self.beat();
            self.write();
            if told.reopen {
                self.reopen();
                self.write();
            }
            // What came while older lines were stuck.
            if told.ended && (!self.pending.is_empty() || self.shared.lock().lines.is_empty()) {
                break;
            }
        }
        let mut state = self.shared.lock();
        let lost = state.lost + lines_in(self.pending.rest()) + lines_in(&state.lines);
        state.lost = 0;
        if lost > 0 {
            tracing::error!(log = self.name, lost, "lines of a log were lost");
        }
    }

    fn patience(&self) -> Duration {
        if !self.pending.is_empty() {
            return RETRY_TIME;
        }
        match &self.heartbeat {
            Some((at, _)) => at.saturating_duration_since(Instant::now()),
            None => IDLE_TIME,
        }
    }

    fn beat(&mut self) {
        let Some((at, heartbeat)) = &mut self.heartbeat else { return };
        let now = Instant::now();
        if *at <= now {
            *at = now + heartbeat.every;
            (heartbeat.push)(&mut self.pending.bytes);
        }
    }

    fn write(&mut self) {
        let written = self.pending.write_to(&mut self.out);
        let mut state = self.shared.lock();
        match written {
            Ok(()) if state.failing => {
                let lost = mem::take(&mut state.lost);
                state.failing = false;
                tracing::warn!(log = self.name, lost, "a log can be written again");
            }
            Err(error) if !state.failing => {
                state.failing = true;
                // Whoever waits for room need not any more.
                self.shared.changed.notify_all();
                tracing::error!(log = self.name, %error, "a log cannot be written, mail goes on");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn reopen(&mut self) {
        match (self.open)() {
            Ok(out) => {
                self.out = out;
                self.pending.rewind();
            }
            Err(error) => {
                let log = &self.name;
                tracing::error!(log, %error, "a log cannot be opened anew, the old file stays");
            }
        }
    }
}

/// Lines under way to the file.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// How many bytes of them are written.
    written: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Goes on after the last byte that was taken: a disk that was full for a while has no line
    /// twice and none in half.
    fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        while self.written < self.bytes.len() {
            match out.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        out.flush()?;
        self.bytes.clear();
        self.written = 0;
        Ok(())
    }

    /// Back to the start of a line that was written in part: another file gets the whole of it.
    fn rewind(&mut self) {
        let before = &self.bytes[..self.written];
        self.written = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    }
}

fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("every", &self.every).finish_non_exhaustive()
    }
}

/// How long a line may wait for others.
const GATHERING_TIME: Duration = Duration::from_millis(5);

/// How long after a failure it is tried again.
const RETRY_TIME: Duration = Duration::from_secs(1);

/// How long to wait for lines at once; nothing happens then.
const IDLE_TIME: Duration = Duration::from_secs(3600);

/// Lines that may wait before those who add more have to.
const WAITING_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::mpsc;

    use super::*;

    /// What became of a log's file.
    #[derive(Debug, PartialEq, Eq)]
    enum Did {
        Open,
        Write(String),
        Refuse,
    }

    /// A file that takes as many bytes of each write as the script says, 0 for a refusal, and all
    /// when the script has ended.
    struct Scripted {
        script: Arc<Mutex<VecDeque<usize>>>,
        did: mpsc::Sender<Did>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let takes = self.script.lock().unwrap().pop_front().unwrap_or(usize::MAX);
            let taken = takes.min(bytes.len());
            let _ = self.did.send(match taken {
                0 => Did::Refuse,
                _ => Did::Write(String::from_utf8(bytes[..taken].to_vec()).unwrap()),
            });
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted(script: &[usize], heartbeat: Option<Heartbeat>) -> (LineLog, mpsc::Receiver<Did>) {
        let (did, seen) = mpsc::channel();
        let script = Arc::new(Mutex::new(VecDeque::from(script.to_vec())));
        let open = move || {
            let _ = did.send(Did::Open);
            let file = Scripted { script: Arc::clone(&script), did: did.clone() };
            Ok(Box::new(file) as Box<dyn Write + Send>)
        };
        let log = LineLog::start("test".to_owned(), Box::new(open), heartbeat).unwrap();
        assert_eq!(seen.recv().unwrap(), Did::Open);
        (log, seen)
    }

    fn add(log: &LineLog, text: &str) {
        log.add(|lines| lines.extend_from_slice(text.as_bytes()));
    }

    fn write(text: &str) -> Did {
        Did::Write(text.to_owned())
    }

    #[test]
    fn lines_come_out_in_order_and_none_is_left_behind() {
        let (log, seen) = scripted(&[], None);
        add(&log, "0\n");
        // Written although no more comes.
        assert_eq!(seen.recv().unwrap(), write("0\n"));
        for n in 1..1000 {
            add(&log, &format!("{n}\n"));
        }
        drop(log);
        let mut all = String::new();
        for did in seen {
            let Did::Write(text) = did else { panic!("{did:?}") };
            all += &text;
        }
        assert_eq!(all, (1..1000).map(|n| format!("{n}\n")).collect::<String>());
    }

    #[test]
    fn a_full_disk_costs_no_line_once_there_is_room_again() {
        let (log, seen) = scripted(&[2, 0], None);
        add(&log, "one\n");
        assert_eq!([seen.recv().unwrap(), seen.recv().unwrap()], [write("on"), Did::Refuse]);
        add(&log, "two\n");
        drop(log);
        assert_eq!(seen.iter().collect::<Vec<_>>(), [write("e\n"), write("two\n")]);
    }

    #[test]
    fn a_new_file_begins_with_the_line_that_the_old_one_has_in_half() {
        let (log, seen) = scripted(&[6, 0, 0], None);
        add(&log, "one\ntwo\n");
        assert_eq!([seen.recv().unwrap(), seen.recv().unwrap()], [write("one\ntw"), Did::Refuse]);
        log.reopener().reopen();
        // The old file has another chance first.
        assert_eq!([seen.recv().unwrap(), seen.recv().unwrap()], [Did::Refuse, Did::Open]);
        assert_eq!(seen.recv().unwrap(), write("two\n"));
    }

    #[test]
    fn a_file_that_cannot_be_written_keeps_nobody_waiting() {
        let (log, seen) = scripted(&[0; 1000], None);
        let line = "x".repeat(1 << 20) + "\n";
        // More than may wait: with a file that is only slow this would not come to an end.
        add(&log, &line);
        assert_eq!(seen.recv().unwrap(), Did::Refuse);
        for _ in 0..10 {
            add(&log, &line);
        }
        let state = log.shared.lock();
        assert!(state.failing);
        assert_eq!((lines_in(&state.lines), state.lost), (4, 6));
    }

    #[test]
    fn reopening_divides_the_lines_between_the_files() {
        let (log, seen) = scripted(&[], None);
        add(&log, "old\n");
        log.reopener().reopen();
        assert_eq!([seen.recv().unwrap(), seen.recv().unwrap()], [write("old\n"), Did::Open]);
        add(&log, "new\n");
        assert_eq!(seen.recv().unwrap(), write("new\n"));
    }

    #[test]
    fn a_silent_log_still_beats() {
        let push = Box::new(|lines: &mut Vec<u8>| lines.extend_from_slice(b"M\n"));
        let heartbeat = Heartbeat { every: Duration::from_millis(1), push };
        let (_log, seen) = scripted(&[], Some(heartbeat));
        assert_eq!([seen.recv().unwrap(), seen.recv().unwrap()], [write("M\n"), write("M\n")]);
    }
}
