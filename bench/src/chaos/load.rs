//! Many clients on few keys, and a checker that follows them.
//!
//! A *slot* has one key at a time. After `BUDGET` operations, or a few unknown outcomes, it goes on
//! with a new key, so that each key's history stays short enough to be checked; the finished
//! history goes to the checker's thread at once, and the first violation ends the run. Half of the
//! slots run as fast as their clients, the others are slowed down so that their keys live through
//! several faults.
//!
//! Slots are dealt to groups of `GROUP` threads: lone readers, which with a client of their own
//! read slow keys only (so they meet few pending records, whose write-back would tell them of a new
//! view: they are the ones who would notice a node that answers without a lease), a reader of all
//! keys, writers with a client of their own, and writers that share one.

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

/// A key with so many unknown outcomes is left: each stays concurrent with all that follows.
const MOST_UNKNOWN: usize = 3;

/// Slots of one group.
const SLOTS: usize = 4;

/// Threads of one group: the clients of a key, which the checker's work grows with.
const GROUP: usize = 8;

/// Of these, how many only read, and only slow keys …
const LONE: usize = 2;

/// … how many only read, those included …
const READERS: usize = 3;

/// … and how many write with a client of their own. The rest share one.
const OWNERS: usize = 2;

/// Groups.
const GROUPS: usize = 3;

/// Least time between two operations of a slot, an even (fast) and an odd (slow) one: a slow key
/// lives 4 s or more.
const KEY_INTERVALS: [Duration; 2] = [Duration::from_millis(3), Duration::from_millis(40)];

/// A thread that has its own client takes a new one after so many operations, as if it had crashed.
const CLIENT_LIFE: u64 = 400;

/// One key's story.
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

/// What all threads of the load share.
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

/// What the checker has seen.
#[derive(Debug, Default)]
pub struct CheckResult {
    /// Every finished history.
    pub histories: Histories,
    /// The wrong ones, and when each was found.
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
    /// A load that has not begun; finished histories go to `finished`.
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

    /// The same as a duration.
    pub fn elapsed(&self) -> Duration {
        self.recorder.elapsed()
    }

    /// Lets all threads end after their operation.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Errors that clients were told, by kind.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// An error that no fault explains, if there was one.
    pub fn unexpected(&self) -> Option<String> {
        self.errors.lock().keys().find(|kind| kind.contains(UNEXPECTED)).cloned()
    }

    /// Says that no more histories come.
    pub fn disconnect(&self) {
        *self.finished.lock() = None;
    }

    fn hand_over(&self, key_log: &mut KeyLog) {
        if let Some(finished) = self.finished.lock().as_ref() {
            // The checker listens until we hang up.
            let _ = finished.send(std::mem::take(&mut key_log.records));
        }
    }

    /// Connects all clients: before anything goes wrong.
    ///
    /// # Errors
    /// [`ClientError`] where that fails.
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

    /// Runs all clients until stopped, then hands over what is unfinished.
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
                // Without a manager the old one goes on.
                if is_own && let Ok(new) = GTStoreClient::init(self.config.clone()) {
                    client = Arc::new(new);
                }
            }
            thread::sleep(Duration::from_micros(rng.random_range(0..6_000)));
        }
    }

    /// A turn on a slot's key, unless it is too early for one.
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

    /// Runs one operation and notes what came of it.
    pub fn operate(&self, client: &GTStoreClient, number: u32, key: &str, kind: Kind) -> Record {
        let Recorded { record, error } = self.recorder.run(client, number, key, kind);
        if let Some(error) = error {
            let of = if matches!(kind, Kind::Get(_)) { "read" } else { "write" };
            *self.errors.lock().entry(format!("{of} {}", name_of(&error))).or_default() += 1;
        }
        record
    }
}

/// What has this in it is an error that no fault explains.
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

/// Checks histories as they come; stops the load at the first that is wrong.
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
