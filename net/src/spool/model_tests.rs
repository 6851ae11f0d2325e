//! The journal against a model: whatever is done to it and whatever fails, it holds what the
//! model says it must, and nothing the model says it must not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use traject_engine::Timestamp;
use traject_engine::ids::MessageId;
use traject_engine::io::SpoolWrite;
use traject_engine::message::{RecipientState, StoredMessage, StoredRecipient};
use traject_engine::shaping::history::{ShapingHistory, ThrottleHistory, ThrottleKind};
use traject_engine::shaping::throttle::Rate;
use traject_engine::smtp::address::{Mailbox, ReversePath};

use super::index::{Index, Staged};
use super::log::{Log, Op, Options};
use super::memory_disk::{Failing, MemoryDisk, MemoryFile};
use super::read::{Body, EnvelopePlaces};
use super::recovery::{self, recover};
use super::scan::Scan;

/// Small, so that a short run has many segments.
const SEGMENT_BYTES: u32 = 2 << 10;

/// A message as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    envelope: StoredMessage,
    body: Vec<u8>,
}

/// What may be found after a crash: the state that was acknowledged, and those of later changes
/// that failed, as long as the disk has not worked again to draw a line under them.
#[derive(Clone, Debug, Default)]
struct Model {
    certain: BTreeMap<MessageId, Known>,
    possible: Vec<(MessageId, Option<Known>)>,
    /// What throttles have let pass: histories of one event, told apart by their instants.
    shaping: Option<u64>,
    possible_shaping: Vec<u64>,
}

impl Model {
    fn apply_shaping(&mut self, outcome: Outcome, at: u64) {
        match outcome {
            Outcome::Failed => {}
            Outcome::Unclear => self.possible_shaping.push(at),
            Outcome::Done => {
                self.line();
                self.shaping = Some(at);
            }
        }
    }

    /// What failed so far has not happened.
    fn line(&mut self) {
        self.possible.clear();
        self.possible_shaping.clear();
    }

    fn apply(&mut self, outcome: Outcome, message: MessageId, next: Option<Known>) {
        match outcome {
            Outcome::Failed => {}
            Outcome::Unclear => self.possible.push((message, next)),
            Outcome::Done => {
                self.line();
                match next {
                    Some(known) => self.certain.insert(message, known),
                    None => self.certain.remove(&message),
                };
            }
        }
    }

    /// Checks what a restart found, and takes it for the truth.
    fn adopt(&mut self, found: BTreeMap<MessageId, Known>, shaping: Option<u64>) {
        let excused = shaping.is_some_and(|at| self.possible_shaping.contains(&at));
        assert!(shaping == self.shaping || excused, "{shaping:?}, not {:?}", self.shaping);
        self.shaping = shaping;
        let messages = self.certain.keys().chain(found.keys());
        for message in messages.chain(self.possible.iter().map(|(message, _)| message)) {
            let actual = found.get(message);
            let expected = self.certain.get(message);
            let excused = self.possible.iter().any(|(m, k)| m == message && k.as_ref() == actual);
            assert!(actual == expected || excused, "{message}: {actual:?}, not {expected:?}");
        }
        self.certain = found;
        self.line();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// It has not happened, and will not have.
    Failed,
    /// The disk still fails: nobody can tell what is on it.
    Unclear,
}

struct Harness {
    disk: MemoryDisk,
    log: Log<MemoryDisk>,
    model: Model,
    /// Bodies on their way in.
    staged: BTreeMap<MessageId, Vec<u8>>,
    next_message: u64,
    /// What has not found all messages yet.
    scan: Option<Scan<MemoryFile>>,
}

impl Harness {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let (log, scan) = open(&disk);
        let (model, staged) = (Model::default(), BTreeMap::new());
        Self { disk, log, model, staged, next_message: 1, scan: Some(scan) }
    }

    /// Stages a body of pieces and a tail.
    fn stage(&mut self, pieces: &[usize], tail: usize) {
        let message = MessageId(self.next_message);
        self.next_message += 1;
        self.log.index().staged.insert(message, Staged::default());
        let mut body = Vec::new();
        for (n, length) in pieces.iter().enumerate() {
            let bytes = vec![message.0 as u8 ^ n as u8; *length];
            body.extend_from_slice(&bytes);
            if self.turn(&[Op::Chunk { message, bytes: bytes.into() }]) != Outcome::Done {
                self.log.index().drop_staged(message);
                return;
            }
        }
        let tail = vec![message.0 as u8; tail];
        body.extend_from_slice(&tail);
        let mut index = self.log.index();
        let staged = index.staged.get_mut(&message).unwrap();
        (staged.tail, staged.finished) = (Bytes::from(tail), true);
        drop(index);
        self.staged.insert(message, body);
    }

    /// Inserts everything staged, in one turn.
    fn insert(&mut self, recipients: usize) {
        let staged = std::mem::take(&mut self.staged);
        let known: Vec<_> = staged
            .into_iter()
            .map(|(id, body)| Known { envelope: envelope(id, body.len(), recipients), body })
            .collect();
        let ops: Vec<_> = known
            .iter()
            .map(|known| Op::Change(SpoolWrite::Insert(Arc::new(known.envelope.clone()))))
            .collect();
        let results = self.log.turn(&ops);
        for (known, result) in known.into_iter().zip(results) {
            let id = known.envelope.id;
            let outcome = self.outcome(result.is_ok());
            if outcome != Outcome::Done {
                self.turn(&[Op::Change(SpoolWrite::Discard(id))]);
            }
            self.model.apply(outcome, id, Some(known));
        }
    }

    fn update(&mut self, pick: usize, position: usize, attempts: u16) {
        let Some(mut known) = self.pick(pick) else { return };
        let message = known.envelope.id;
        let position = position % known.envelope.recipients.len();
        let state = match attempts {
            0 => RecipientState::Done,
            _ => RecipientState::Pending { attempts, next_attempt_at: Timestamp(7) },
        };
        known.envelope.recipients[position].state = state;
        let recipients = vec![(position as u32, state)];
        let outcome = self.turn(&[Op::Change(SpoolWrite::Update { message, recipients })]);
        self.model.apply(outcome, message, Some(known));
    }

    fn remove(&mut self, pick: usize) {
        let Some(known) = self.pick(pick) else { return };
        let message = known.envelope.id;
        let outcome = self.turn(&[Op::Change(SpoolWrite::Remove(message))]);
        self.model.apply(outcome, message, None);
    }

    fn shape(&mut self, at: u64) {
        let outcome = self.turn(&[Op::Change(SpoolWrite::Shaping(history(at).into()))]);
        self.model.apply_shaping(outcome, at);
    }

    fn discard(&mut self) {
        if let Some((message, _)) = self.staged.pop_first() {
            // A body can be given up however the disk is.
            assert_eq!(self.turn(&[Op::Change(SpoolWrite::Discard(message))]), Outcome::Done);
        }
    }

    fn maintain(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.log.needs_maintenance() {
                self.log.maintain();
            }
        }
    }

    /// Goes on with what `disk` holds, as a new process. It knows of no message before it has
    /// [read](Self::read); what it will find, a copy of the disk tells.
    fn restart(&mut self, disk: MemoryDisk) {
        let (truth, report) = recover(&disk.kill()).unwrap();
        assert_eq!(report.damage, []);
        self.model.adopt(read_all(&truth), read_shaping(&truth));
        self.disk = disk;
        let (log, scan) = open(&self.disk);
        (self.log, self.scan) = (log, Some(scan));
        self.staged.clear();
        assert_eq!(read_shaping(&self.log.index()), self.model.shaping, "known at once");
    }

    /// Reads some segments of earlier processes, and ends the process when that fails.
    fn read(&mut self, segments: usize) {
        for _ in 0..segments {
            let Some(mut scan) = self.scan.take() else { return };
            match scan.step() {
                Ok(true) => self.scan = Some(scan),
                Ok(false) => {
                    let (found, report) = scan.finish();
                    assert_eq!(report.damage, []);
                    self.log.index().absorb(found);
                }
                Err(_) => return self.restart(self.disk.kill()),
            }
        }
    }

    fn crash(&mut self, seed: u64) {
        let mut state = seed;
        let mut coin = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 63 == 1
        };
        let disk = self.disk.crash(&mut coin);
        self.restart(disk);
    }

    fn check(&mut self) {
        self.log.index().check();
        self.disk.fail(Failing::Never);
        self.read(usize::MAX);
        self.log.index().check();
        assert_eq!(read_all(&self.log.index()), self.model.certain);
        assert_eq!(read_shaping(&self.log.index()), self.model.shaping);
    }

    fn turn(&mut self, ops: &[Op]) -> Outcome {
        match &self.log.turn(ops)[..] {
            [result] => self.outcome(result.is_ok()),
            other => panic!("{} answers to one operation", other.len()),
        }
    }

    fn outcome(&mut self, success: bool) -> Outcome {
        match (success, self.log.active_number()) {
            (true, _) => Outcome::Done,
            (false, None) => Outcome::Unclear,
            (false, Some(_)) => {
                // A segment was begun since, and its header says what counts.
                self.model.line();
                Outcome::Failed
            }
        }
    }

    /// One of the messages the process knows of.
    fn pick(&self, pick: usize) -> Option<Known> {
        let index = self.log.index();
        let known = || self.model.certain.iter().filter(|(id, _)| index.messages.contains_key(id));
        let count = known().count().max(1);
        known().nth(pick % count).map(|(_, known)| known.clone())
    }
}

fn read_all(index: &Index<MemoryFile>) -> BTreeMap<MessageId, Known> {
    let read = |message: &MessageId| {
        let envelope = EnvelopePlaces::find(index, *message).unwrap().load().unwrap();
        let mut reader = Body::find(index, *message).unwrap().unwrap();
        let mut body = Vec::new();
        while let Some(piece) = reader.next().unwrap() {
            body.extend_from_slice(&piece);
        }
        (*message, Known { envelope, body })
    };
    index.messages.keys().map(read).collect()
}

fn read_shaping(index: &Index<MemoryFile>) -> Option<u64> {
    let history = index.shaping_history().unwrap()?;
    // An empty one is as good as none.
    Some(history.throttles.first()?.passed[0].0.as_micros())
}

fn open(disk: &MemoryDisk) -> (Log<MemoryDisk>, Scan<MemoryFile>) {
    let (opened, scan) = recovery::open(disk).unwrap();
    assert_eq!(scan.report().damage, []);
    let options = Options { segment_bytes: SEGMENT_BYTES, salt: 3 };
    (Log::start(disk.clone(), options, opened).unwrap(), scan)
}

/// What throttles have let pass: one event.
pub(super) fn history(at: u64) -> ShapingHistory {
    let throttle = ThrottleHistory {
        kind: ThrottleKind::Messages,
        scope: "domain example.com".into(),
        rate: Rate { events: 600, per: Duration::from_secs(60) },
        passed: vec![(Timestamp(at), 1)],
    };
    ShapingHistory { throttles: vec![throttle] }
}

pub(super) fn envelope(id: MessageId, size: usize, recipients: usize) -> StoredMessage {
    let mailbox = |local: String| Mailbox { local: local.into(), domain: "example.com".into() };
    StoredMessage {
        id,
        reverse_path: ReversePath(Some(mailbox("sender".to_owned()))),
        recipients: (0..recipients.max(1))
            .map(|n| StoredRecipient {
                mailbox: mailbox(format!("recipient{n}")),
                state: RecipientState::new(Timestamp(5)),
            })
            .collect(),
        received_at: Timestamp(5),
        size_bytes: size as u64,
        eight_bit: false,
        binding: "default".into(),
        origin: None,
        rerouted: Vec::new(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Stage(Vec<usize>, usize),
    Insert(usize),
    Update(usize, usize, u16),
    Remove(usize),
    Discard,
    Shape(u64),
    Maintain(usize),
    Read(usize),
    Fail(Failing),
    Crash(u64),
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let failing = prop_oneof![
        4 => Just(Failing::Never),
        2 => (0..6_u64).prop_map(Failing::Once),
        1 => (0..6_u64).prop_map(Failing::From),
        1 => Just(Failing::Full),
    ];
    prop_oneof![
        6 => (vec(0..900_usize, 0..3), 0..400_usize).prop_map(|(p, t)| Step::Stage(p, t)),
        6 => (1..6_usize).prop_map(Step::Insert),
        8 => (any::<usize>(), any::<usize>(), 0..9_u16).prop_map(|(m, r, a)| Step::Update(m, r, a)),
        6 => any::<usize>().prop_map(Step::Remove),
        1 => Just(Step::Discard),
        3 => any::<u64>().prop_map(Step::Shape),
        4 => (1..4_usize).prop_map(Step::Maintain),
        5 => (1..5_usize).prop_map(Step::Read),
        2 => failing.prop_map(Step::Fail),
        1 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::Kill),
    ]
}

impl Harness {
    fn perform(&mut self, step: Step) {
        match step {
            Step::Stage(pieces, tail) => self.stage(&pieces, tail),
            Step::Insert(recipients) => self.insert(recipients),
            Step::Update(pick, position, attempts) => self.update(pick, position, attempts),
            Step::Remove(pick) => self.remove(pick),
            Step::Discard => self.discard(),
            // As with updates, whose messages are in: a body on its way in is another test's.
            Step::Shape(at) if self.staged.is_empty() => self.shape(at),
            Step::Shape(_) => {}
            Step::Maintain(steps) => self.maintain(steps),
            Step::Read(segments) => self.read(segments),
            Step::Fail(failing) => self.disk.fail(failing),
            Step::Crash(seed) => self.crash(seed),
            Step::Kill => self.restart(self.disk.kill()),
        }
        self.log.index().check();
    }
}

proptest! {
    #[test]
    fn the_journal_holds_what_it_promised(steps in vec(step(), 1..120), seed: u64) {
        let mut harness = Harness::new();
        for step in steps {
            harness.perform(step);
        }
        harness.check();
        harness.crash(seed);
        // Whatever has been done to it: it still works, and gives its space back.
        harness.read(usize::MAX);
        harness.stage(&[700], 10);
        harness.insert(2);
        harness.check();
        while !harness.model.certain.is_empty() {
            harness.remove(0);
        }
        harness.maintain(1000);
        // What throttles have let pass stays, and with it the segment it is in.
        prop_assert!(harness.disk.bytes() < 4 * u64::from(SEGMENT_BYTES));
    }
}

/// A run that goes through every path: bodies across segments, folded updates, copied segments.
fn workload(harness: &mut Harness) {
    harness.stage(&[], 5);
    harness.insert(1);
    harness.shape(1);
    for round in 0..30 {
        if round > 20 {
            harness.shape(round as u64);
        }
        harness.stage(&[300, 800], round);
        harness.stage(&[], 100);
        harness.insert(3);
        for attempts in 0..7 {
            harness.update(0, round, attempts);
        }
        harness.stage(&[40], 40);
        harness.remove(1 + round);
        harness.remove(2);
        if round % 5 == 4 {
            harness.discard();
        }
        harness.maintain(2);
    }
}

#[test]
fn a_failure_of_any_single_call_costs_no_acknowledged_message() {
    for k in 0.. {
        let mut harness = Harness::new();
        harness.disk.fail(Failing::Once(k));
        workload(&mut harness);
        let calls = harness.disk.calls();
        harness.check();
        harness.crash(k);
        harness.check();
        if calls <= k {
            assert!(k > 300, "the workload is too small to prove anything: {k} calls");
            break;
        }
    }
}

#[test]
fn a_crash_at_any_call_costs_no_acknowledged_message() {
    for k in 0.. {
        let mut harness = Harness::new();
        harness.disk.fail(Failing::From(k));
        workload(&mut harness);
        let calls = harness.disk.calls();
        harness.crash(k);
        // A kill soon after the restart, a power failure soon after that.
        harness.stage(&[300], 3);
        harness.insert(1);
        harness.read(if k % 2 == 0 { 2 } else { usize::MAX });
        harness.maintain(3);
        harness.restart(harness.disk.kill());
        harness.crash(!k);
        harness.check();
        if calls <= k {
            break;
        }
    }
}

/// What a process does that has not read all of its spool.
fn early_workload(harness: &mut Harness) {
    for round in 0..8 {
        harness.stage(&[300, 800], round);
        harness.insert(3);
        harness.shape(100 + round as u64);
        harness.read(1 + round);
        for attempts in 0..4 {
            harness.update(round, round, attempts);
        }
        harness.remove(round);
        harness.maintain(2);
    }
}

#[test]
fn a_crash_at_any_call_of_a_start_costs_no_acknowledged_message() {
    let mut before = Harness::new();
    workload(&mut before);
    let segments = before.log.index().segments.len();
    for k in 0.. {
        let mut harness = Harness::new();
        (harness.model, harness.next_message) = (before.model.clone(), before.next_message);
        harness.restart(before.disk.kill());
        harness.disk.fail(Failing::From(k));
        early_workload(&mut harness);
        let calls = harness.disk.calls();
        harness.crash(k);
        harness.check();
        if calls <= k {
            assert!(k > 100 && segments > 8, "proves little: {k} calls, {segments} segments");
            break;
        }
    }
}

#[test]
fn a_failed_change_does_not_come_true_later() {
    // The write reaches the platter; only its sync fails.
    let mut harness = Harness::new();
    harness.stage(&[], 9);
    harness.insert(1);
    harness.disk.fail(Failing::Once(1));
    harness.update(0, 0, 5);
    harness.stage(&[], 9);
    harness.insert(1);
    assert_eq!(harness.model.certain.len(), 2, "the disk works again");
    harness.disk.fail(Failing::Once(1));
    harness.stage(&[], 9);
    harness.insert(1);
    assert!(harness.model.possible.is_empty(), "the failure has been sealed off");
    // Nothing can be written any more; the seal stays.
    harness.disk.fail(Failing::Full);
    harness.update(0, 0, 6);
    harness.restart(harness.disk.kill());
    assert_eq!(harness.model.certain.len(), 2);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let mut harness = Harness::new();
    workload(&mut harness);
    let before = harness.model.certain.len();
    harness.disk.fail(Failing::Full);
    let full_bytes = harness.disk.bytes();
    for _ in 0..50 {
        harness.stage(&[100], 5);
        harness.stage(&[], 5);
        harness.insert(1);
    }
    assert_eq!(harness.model.certain.len(), before);
    assert!(harness.disk.bytes() < full_bytes + 4096, "refusals take no space");
    harness.disk.fail(Failing::Never);
    harness.stage(&[100], 5);
    harness.insert(1);
    assert_eq!(harness.model.certain.len(), before + 1);
    harness.restart(harness.disk.kill());
}

#[test]
fn updates_are_folded_into_the_envelope() {
    let mut harness = Harness::new();
    harness.stage(&[], 9);
    harness.insert(2);
    for attempts in 1..100 {
        harness.update(0, 1, attempts);
        harness.maintain(1);
        let updates = harness.log.index().messages[&MessageId(1)].updates.len();
        assert!(updates < 40, "{updates} updates wait to be folded in");
    }
    harness.crash(1);
    assert_eq!(harness.model.certain.len(), 1);
}

#[test]
fn what_stays_does_not_pin_what_was_written_after_it() {
    let mut harness = Harness::new();
    harness.stage(&[200], 20);
    harness.insert(2);
    // A body that takes its time to arrive.
    harness.stage(&[300, 300], 5);
    let slow = std::mem::take(&mut harness.staged);
    for round in 0..500 {
        harness.stage(&[200], 20);
        harness.insert(1);
        harness.update(0, 0, round);
        harness.remove(1);
        harness.maintain(1);
        harness.log.index().check();
    }
    harness.staged = slow;
    harness.insert(1);
    harness.check();
    let segments = harness.log.index().segments.len();
    let bytes = harness.disk.bytes();
    assert!(bytes < 6 * u64::from(SEGMENT_BYTES), "{bytes} bytes in {segments} segments");
    harness.crash(1);
    assert_eq!(harness.model.certain.len(), 2);
}
