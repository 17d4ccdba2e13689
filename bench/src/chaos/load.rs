//! Many clients on few keys, and a checker that follows them.
//!
//! A *slot* has one key at a time. After `BUDGET` operations, or a few unknown outcomes, it gets a
//! new key, so that each key's history stays short enough for the check. The finished history goes
//! to the checker's thread at once, and the first violation ends the run. Half of the slots run at
//! full speed; the others are slowed down so that their keys last through several faults.
//!
//! Slots are assigned to groups of `GROUP` threads: lone readers, a reader of all keys, writers
//! with their own client, and writers that share one. A lone reader has its own client and reads
//! slow keys only. It meets few pending records, whose write-back would make it fetch a new view,
//! so it is the most likely to notice a node that answers without a lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use client::{ClientError, Config, GTStoreClient};
use harness::history::{Histories, Kind, Outcome, Record};
use harness::linearizable::{Check, HistoryViolation};
use harness::recorder::{Recorded, Recorder};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Operations on one key. The checker takes up to 128, the reads at the end included.
const BUDGET: usize = 96;

/// A key with this many unknown outcomes is retired: each stays concurrent with everything after
/// it.
const MOST_UNKNOWN: usize = 3;

/// Slots of one group.
const SLOTS: usize = 4;

/// Threads of one group. They are the clients of a key, and the checker's work grows with them.
const GROUP: usize = 8;

/// Of these, how many only read, and only slow keys …
const LONE: usize = 2;

/// … how many only read, including those …
const READERS: usize = 3;

/// … and how many write with their own client. The rest share one.
const OWNERS: usize = 2;

/// Groups.
const GROUPS: usize = 3;

/// Least time between two operations of a slot with an even (fast) and an odd (slow) number: a slow
/// key lasts 4 s or more.
const KEY_INTERVALS: [Duration; 2] = [Duration::from_millis(3), Duration::from_millis(40)];

/// A thread with its own client replaces it after this many operations at most, as if it had
/// crashed.
const CLIENT_LIFE: u64 = 400;

/// The history of one key so far.
struct KeyLog {
    issued: usize,
    open: usize,
    unknown: usize,
    is_retired: bool,
    key: String,
    records: Vec<Record>,
}

struct KeySlot {
    number: usize,
    generation: u64,
    next: Instant,
    key_log: Arc<Mutex<KeyLog>>,
}

/// The state that all threads of the load share.
pub struct Load {
    recorder: Recorder,
    config: Config,
    seed: u64,
    slots: Vec<Mutex<KeySlot>>,
    values: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    stop: AtomicBool,
    finished: Mutex<Option<Sender<Vec<Record>>>>,
}

/// The results of the checker.
#[derive(Debug, Default)]
pub struct CheckResult {
    /// Every finished history.
    pub histories: Histories,
    /// The violations, and when each was found.
    pub violations: Vec<(HistoryViolation, Duration)>,
}

fn new_key_log(slot: usize, generation: u64) -> Arc<Mutex<KeyLog>> {
    Arc::new(Mutex::new(KeyLog {
        issued: 0,
        open: 0,
        unknown: 0,
        is_retired: false,
        key: format!("c{slot}.{generation}"),
        records: Vec::with_capacity(BUDGET),
    }))
}

impl Load {
    /// A load that is not started yet; finished histories go to `finished`.
    pub fn new(config: Config, seed: u64, finished: Sender<Vec<Record>>) -> Load {
        let next = Instant::now();
        let slot =
            |number| KeySlot { number, generation: 0, next, key_log: new_key_log(number, 0) };
        Load {
            recorder: Recorder::start(),
            config,
            seed,
            slots: (0..GROUPS * SLOTS).map(|number| Mutex::new(slot(number))).collect(),
            values: AtomicU64::new(1),
            errors: Mutex::default(),
            stop: AtomicBool::new(false),
            finished: Mutex::new(Some(finished)),
        }
    }

    /// The time on the histories' clock.
    pub fn now(&self) -> u64 {
        self.recorder.now()
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.recorder.elapsed()
    }

    /// Stops all threads after their current operation.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Errors that clients received, by kind.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// An error that no fault explains, if there was one.
    pub fn unexpected(&self) -> Option<String> {
        self.errors.lock().keys().find(|kind| kind.contains(UNEXPECTED)).cloned()
    }

    /// Closes the channel to the checker: no more histories follow.
    pub fn disconnect(&self) {
        *self.finished.lock() = None;
    }

    fn hand_over(&self, key_log: &mut KeyLog) {
        if let Some(finished) = self.finished.lock().as_ref() {
            // The checker receives until the channel is closed.
            let _ = finished.send(std::mem::take(&mut key_log.records));
        }
    }

    /// Connects all clients, before the first fault.
    ///
    /// # Errors
    /// [`ClientError`] if that fails.
    pub fn connect(&self) -> Result<Vec<Arc<GTStoreClient>>, ClientError> {
        let mut clients = Vec::new();
        for _ in 0..GROUPS {
            let shared = Arc::new(GTStoreClient::init(self.config.clone())?);
            for member in 0..GROUP {
                let own = member < READERS + OWNERS;
                clients.push(if own {
                    Arc::new(GTStoreClient::init(self.config.clone())?)
                } else {
                    shared.clone()
                });
            }
        }
        Ok(clients)
    }

    /// Runs all clients until stopped, then hands over the unfinished histories.
    pub fn run(&self, clients: Vec<Arc<GTStoreClient>>) {
        thread::scope(|scope| {
            for (number, client) in clients.into_iter().enumerate() {
                scope.spawn(move || self.work(number, client));
            }
        });
        for slot in &self.slots {
            let key_log = slot.lock().key_log.clone();
            self.hand_over(&mut key_log.lock());
        }
    }

    fn work(&self, number: usize, mut client: Arc<GTStoreClient>) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ (number as u64 + 1) << 32);
        let (group, member) = (number / GROUP, number % GROUP);
        let is_own = member < READERS + OWNERS;
        let mut operations_left = rng.random_range(1..CLIENT_LIFE);
        while !self.is_stopped() {
            let mut slot = group * SLOTS + rng.random_range(0..SLOTS);
            if member < LONE {
                slot |= 1;
            }
            let slot = &self.slots[slot];
            if let Some(key_log) = self.take(slot) {
                let kind = match rng.random_range(0..100) {
                    _ if member < READERS => Kind::Get(None),
                    0..30 => Kind::Put(self.values.fetch_add(1, Ordering::Relaxed)),
                    30..45 => Kind::Update(self.values.fetch_add(1, Ordering::Relaxed), None),
                    45..55 => Kind::Delete,
                    _ => Kind::Get(None),
                };
                let key = key_log.lock().key.clone();
                let record = self.operate(&client, number as u32, &key, kind);
                self.finish(&key_log, record);
                operations_left -= 1;
            }
            if operations_left == 0 {
                operations_left = CLIENT_LIFE;
                // Without a manager the old client stays in use.
                if is_own && let Ok(new) = GTStoreClient::init(self.config.clone()) {
                    client = Arc::new(new);
                }
            }
            thread::sleep(Duration::from_micros(rng.random_range(0..6_000)));
        }
    }

    /// Takes a turn on a slot's key, unless it is too early.
    fn take(&self, slot: &Mutex<KeySlot>) -> Option<Arc<Mutex<KeyLog>>> {
        let now = Instant::now();
        let mut slot = slot.lock();
        if slot.next > now {
            return None;
        }
        slot.next = now + KEY_INTERVALS[slot.number % KEY_INTERVALS.len()];
        let is_full = {
            let mut key_log = slot.key_log.lock();
            key_log.is_retired = key_log.issued >= BUDGET || key_log.unknown >= MOST_UNKNOWN;
            if key_log.is_retired && key_log.open == 0 {
                self.hand_over(&mut key_log);
            }
            key_log.is_retired
        };
        if is_full {
            slot.generation += 1;
            slot.key_log = new_key_log(slot.number, slot.generation);
        }
        let key_log = slot.key_log.clone();
        {
            let mut key_log = key_log.lock();
            key_log.issued += 1;
            key_log.open += 1;
        }
        Some(key_log)
    }

    fn finish(&self, key_log: &Mutex<KeyLog>, record: Record) {
        let mut key_log = key_log.lock();
        key_log.open -= 1;
        key_log.unknown += usize::from(record.outcome == Outcome::Unknown);
        key_log.records.push(record);
        if key_log.is_retired && key_log.open == 0 {
            self.hand_over(&mut key_log);
        }
    }

    /// Runs one operation and records it.
    pub fn operate(&self, client: &GTStoreClient, number: u32, key: &str, kind: Kind) -> Record {
        let Recorded { record, error } = self.recorder.run(client, number, key, kind);
        if let Some(error) = error {
            let of = if matches!(kind, Kind::Get(_)) { "read" } else { "write" };
            *self.errors.lock().entry(format!("{of} {}", name_of(&error))).or_default() += 1;
        }
        record
    }
}

/// Marks errors that no fault explains.
const UNEXPECTED: &str = "UNEXPECTED";

fn name_of(error: &ClientError) -> String {
    match error {
        ClientError::Unknown { .. } => "outcome unknown".into(),
        ClientError::NotEnoughReplicas { .. } => "failed: not enough replicas".into(),
        ClientError::Contended { .. } => "failed: contended".into(),
        ClientError::NoManager { .. } => "failed: no manager".into(),
        other => format!("{UNEXPECTED}: {other}"),
    }
}

/// Checks histories as they arrive; stops the load at the first violation.
pub fn check(load: &Load, finished: Receiver<Vec<Record>>) -> CheckResult {
    let mut checked = CheckResult::default();
    for history in finished {
        let Some(first) = history.first() else { continue };
        let key = first.key.clone();
        if let Err(violation) = Check::best().key(&history) {
            checked.violations.push((violation, load.elapsed()));
            load.stop();
        }
        checked.histories.insert(key, history);
    }
    checked
}
