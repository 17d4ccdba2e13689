//! The records in memory.
//!
//! One hash table for each arc of the ring, each behind a lock of its own: two requests meet only if
//! their keys share one of thousands of arcs, and what moves between nodes, an arc, is one table here.
//!
//! A record is a single allocation: a header (flags, key length, version), the key, the value. A table's
//! slot is a pointer and a length. An update of the same length overwrites in place, so a steady
//! workload does not touch the allocator.
//!
//! Invariants: a key is only ever in its own arc's table; a record's version never goes down, except by
//! dropping a tombstone that has served its time; `keys` and `bytes` count what has a value, tombstones
//! not; each pending record has an entry in `pending`.

use cluster::replica::{self, Decision, State};
use cluster::tenure::Standing;
use cluster::version::{Clock, Op, Version};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use net_common::message::data::{Body, Record, Write};
use parking_lot::RwLock;

use std::collections::VecDeque;
use std::hash::BuildHasher;

/// All records of one node.
pub struct Table {
    arcs: Box<[RwLock<Shard>]>,
    /// Seeded anew in every process: whoever chooses keys must not choose our collisions.
    hasher: foldhash::quality::RandomState,
}

/// One arc's records. Moved out as a whole when the arc is dropped.
#[derive(Default)]
pub struct Shard {
    records: HashTable<Stored>,
    keys: u64,
    bytes: u64,
    /// What was stored as pending, oldest first, until it has been looked at again.
    pending: VecDeque<Pending>,
}

/// A record that was stored as pending.
struct Pending {
    /// When, by the node's clock.
    since: Clock,
    /// The hash of its key.
    hash: u64,
    /// The hash of its version: a newer record of the key has an entry of its own.
    version: u64,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Keys with a value.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
}

impl Table {
    /// An empty table for a ring of so many arcs.
    pub fn new(arcs: usize) -> Table {
        Table {
            arcs: (0..arcs).map(|_| RwLock::default()).collect(),
            hasher: foldhash::quality::RandomState::default(),
        }
    }

    /// How many arcs it has.
    pub fn arcs(&self) -> usize {
        self.arcs.len()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Applies rule N2 to one write or swap and says what came of it. `alone` tells that this node is the whole
    /// write set: what it stores is committed at once (N3).
    pub fn write(
        &self,
        arc: usize,
        write: &Write<'_>,
        own_clock: Clock,
        standing: Standing,
        alone: bool,
    ) -> Decision {
        let hash = self.hash(write.key);
        let mut shard = self.arcs[arc].write();
        let found = shard.records.find(hash, |stored| stored.key() == write.key);
        let (held, same) = match found {
            None => (Version::ABSENT, false),
            Some(stored) => (stored.version(), stored.body() == write.body),
        };
        let Write { version, born, expected, .. } = *write;
        let decision = match expected {
            None => replica::write(held, version, same, born, own_clock, standing),
            Some(expected) => replica::swap(held, expected, version, same, born, own_clock),
        };
        if decision.keep {
            let state = replica::state_when_stored(alone);
            let Write { key, version, body, .. } = *write;
            shard.keep(&self.hasher, hash, &Record { key, version, state, body }, own_clock);
        }
        decision
    }

    /// Applies rule N3: marks a record committed, if it is of this version.
    pub fn commit(&self, arc: usize, key: &[u8], version: Version) {
        let hash = self.hash(key);
        let mut shard = self.arcs[arc].write();
        if let Some(stored) = shard.records.find_mut(hash, |stored| stored.key() == key)
            && replica::commit(stored.version(), stored.state(), version) == State::Committed
        {
            stored.commit();
        }
    }

    /// Takes a record of a page: the higher version wins, and of the same version what is committed.
    pub fn merge(&self, arc: usize, record: &Record<'_>, own_clock: Clock) {
        let hash = self.hash(record.key);
        let mut shard = self.arcs[arc].write();
        let held = shard.records.find(hash, |stored| stored.key() == record.key);
        let (version, state) = held
            .map_or((Version::ABSENT, State::Pending), |stored| (stored.version(), stored.state()));
        if (version, state) < (record.version, record.state) {
            shard.keep(&self.hasher, hash, record, own_clock);
        }
    }

    /// Looks again at what was stored as pending in an arc about a second ago: notes it as committed if
    /// `is_done` says so, and otherwise hands it out, at most `most` records: their writers must have died
    /// (C4). What is still pending then is looked at again a second later.
    pub fn settle(
        &self,
        arc: usize,
        own_clock: Clock,
        is_done: impl Fn(&Version) -> bool,
        mut most: usize,
        mut with: impl FnMut(Record<'_>),
    ) {
        if self.arcs[arc].read().pending.is_empty() {
            return;
        }
        let mut shard = self.arcs[arc].write();
        let Shard { records, pending, .. } = &mut *shard;
        for _ in 0..pending.len() {
            let is_due = |entry: &Pending| replica::is_abandoned(entry.since, own_clock);
            if !pending.front().is_some_and(is_due) {
                break;
            }
            let Some(entry) = pending.pop_front() else { break };
            let mut is_left = false;
            for stored in records.iter_hash_mut(entry.hash) {
                let version = stored.version();
                if stored.state() == State::Committed
                    || self.hasher.hash_one(version) != entry.version
                {
                    continue;
                }
                if is_done(&version) {
                    stored.commit();
                    continue;
                }
                is_left = true;
                if most > 0 {
                    most -= 1;
                    with(stored.record());
                }
            }
            if is_left {
                pending.push_back(Pending { since: own_clock, ..entry });
            }
        }
        // A burst must not hold its memory for good.
        if pending.len() * 4 < pending.capacity() {
            pending.shrink_to(pending.len() * 2);
        }
    }

    /// Drops tombstones that have served their time (N5), and marks those that are committed for the
    /// next sweep. To be called every half retention. Returns how many were dropped.
    pub fn sweep(&self, own_clock: Clock) -> usize {
        let sweep = |shard: &RwLock<Shard>| {
            let mut shard = shard.write();
            let before = shard.records.len();
            shard.records.retain(|stored| {
                if stored.body() != Body::Tombstone || stored.state() == State::Pending {
                    return true;
                }
                let drop =
                    replica::may_drop_tombstone(stored.version(), stored.is_marked(), own_clock);
                stored.mark();
                !drop
            });
            before - shard.records.len()
        };
        self.arcs.iter().map(sweep).sum()
    }

    /// Looks a key up and hands what there is to `with`, without copying it, while the arc is locked for
    /// writers.
    pub fn read<T>(
        &self,
        arc: usize,
        key: &[u8],
        with: impl FnOnce(Option<(Version, State, Body<'_>)>) -> T,
    ) -> T {
        let shard = self.arcs[arc].read();
        let found = shard.records.find(self.hash(key), |stored| stored.key() == key);
        with(found.map(|stored| (stored.version(), stored.state(), stored.body())))
    }

    /// Hands the records of an arc with keys above `after` (all, if that is empty) to `with`, in the
    /// order of their keys, until that returns `false`. Returns whether all were handed out.
    pub fn page(&self, arc: usize, after: &[u8], mut with: impl FnMut(Record<'_>) -> bool) -> bool {
        let shard = self.arcs[arc].read();
        let mut records: Vec<&Stored> = shard
            .records
            .iter()
            .filter(|stored| after.is_empty() || stored.key() > after)
            .collect();
        records.sort_unstable_by_key(|stored| stored.key());
        records.into_iter().all(|stored| with(stored.record()))
    }

    /// Takes all records of an arc away. They are freed where the returned shard is dropped, which need
    /// not be under a lock.
    pub fn take(&self, arc: usize) -> Shard {
        std::mem::take(&mut *self.arcs[arc].write())
    }

    /// How much there is. Locks one arc after the other, so it is exact only while nobody writes.
    pub fn size(&self) -> Size {
        self.arcs.iter().fold(Size::default(), |sum, shard| {
            let shard = shard.read();
            Size { keys: sum.keys + shard.keys, bytes: sum.bytes + shard.bytes }
        })
    }
}

impl Shard {
    fn keep(
        &mut self,
        hasher: &impl BuildHasher,
        hash: u64,
        record: &Record<'_>,
        own_clock: Clock,
    ) {
        let rehash = |stored: &Stored| hasher.hash_one(stored.key());
        match self.records.entry(hash, |stored| stored.key() == record.key, rehash) {
            Entry::Occupied(mut slot) => {
                let stored = slot.get_mut();
                let before = stored.size();
                stored.replace(record);
                let after = stored.size();
                self.keys = self.keys - before.keys + after.keys;
                self.bytes = self.bytes - before.bytes + after.bytes;
            }
            Entry::Vacant(slot) => {
                let stored = Stored::new(record);
                let size = stored.size();
                slot.insert(stored);
                self.keys += size.keys;
                self.bytes += size.bytes;
            }
        }
        if record.state == State::Pending {
            let version = hasher.hash_one(record.version);
            self.pending.push_back(Pending { since: own_clock, hash, version });
        }
    }
}

/// One record: flags (1 byte), key length (2), clock (8), writer (8), for read-modify-writes step and
/// op (24), then key and value. Numbers are in the machine's own order; they never leave the process.
struct Stored(Box<[u8]>);

const TOMBSTONE: u8 = 0b0001;
const STEPPED: u8 = 0b0010;
const PENDING: u8 = 0b0100;
/// A tombstone that the last sweep found committed.
const MARKED: u8 = 0b1000;
const CLOCK: usize = 3;
const WRITER: usize = 11;
const STEP: usize = 19;
const OP_WRITER: usize = 27;
const OP_COUNT: usize = 35;
const PLAIN_HEADER: usize = 19;
const STEPPED_HEADER: usize = 43;

impl Stored {
    fn new(record: &Record<'_>) -> Stored {
        let mut bytes = vec![0; encoded_len(record)].into_boxed_slice();
        encode(record, &mut bytes);
        Stored(bytes)
    }

    /// Becomes another version of the same key.
    fn replace(&mut self, record: &Record<'_>) {
        if self.0.len() == encoded_len(record) {
            encode(record, &mut self.0);
        } else {
            *self = Stored::new(record);
        }
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn header(&self) -> usize {
        if self.0[0] & STEPPED == 0 { PLAIN_HEADER } else { STEPPED_HEADER }
    }

    fn key_len(&self) -> usize {
        usize::from(u16::from_ne_bytes([self.0[1], self.0[2]]))
    }

    fn key(&self) -> &[u8] {
        let header = self.header();
        &self.0[header..header + self.key_len()]
    }

    fn version(&self) -> Version {
        let version = Version::plain(self.number(CLOCK), self.number(WRITER));
        if self.0[0] & STEPPED == 0 {
            return version;
        }
        let op = Op { writer: self.number(OP_WRITER), count: self.number(OP_COUNT) };
        Version { step: self.number(STEP), op, ..version }
    }

    fn body(&self) -> Body<'_> {
        match self.0[0] & TOMBSTONE {
            0 => Body::Value(&self.0[self.header() + self.key_len()..]),
            _ => Body::Tombstone,
        }
    }

    fn state(&self) -> State {
        if self.0[0] & PENDING == 0 { State::Committed } else { State::Pending }
    }

    fn commit(&mut self) {
        self.0[0] &= !PENDING;
    }

    fn is_marked(&self) -> bool {
        self.0[0] & MARKED != 0
    }

    fn mark(&mut self) {
        self.0[0] |= MARKED;
    }

    fn record(&self) -> Record<'_> {
        Record { key: self.key(), version: self.version(), state: self.state(), body: self.body() }
    }

    fn size(&self) -> Size {
        match self.body() {
            Body::Value(value) => Size { keys: 1, bytes: (self.key_len() + value.len()) as u64 },
            Body::Tombstone => Size::default(),
        }
    }
}

fn encoded_len(record: &Record<'_>) -> usize {
    let header = if record.version.is_plain() { PLAIN_HEADER } else { STEPPED_HEADER };
    let value = match record.body {
        Body::Value(value) => value.len(),
        Body::Tombstone => 0,
    };
    header + record.key.len() + value
}

fn encode(record: &Record<'_>, into: &mut [u8]) {
    let Record { key, version, state, body } = record;
    let mut flags = match state {
        State::Pending => PENDING,
        State::Committed => 0,
    };
    into[CLOCK..CLOCK + 8].copy_from_slice(&version.clock.to_ne_bytes());
    into[WRITER..WRITER + 8].copy_from_slice(&version.writer.to_ne_bytes());
    let header = if version.is_plain() {
        PLAIN_HEADER
    } else {
        flags |= STEPPED;
        into[STEP..STEP + 8].copy_from_slice(&version.step.to_ne_bytes());
        into[OP_WRITER..OP_WRITER + 8].copy_from_slice(&version.op.writer.to_ne_bytes());
        into[OP_COUNT..OP_COUNT + 8].copy_from_slice(&version.op.count.to_ne_bytes());
        STEPPED_HEADER
    };
    let key_len = u16::try_from(key.len()).expect("keys are below 64 KiB");
    into[1..3].copy_from_slice(&key_len.to_ne_bytes());
    into[header..header + key.len()].copy_from_slice(key);
    match body {
        Body::Value(value) => into[header + key.len()..].copy_from_slice(value),
        Body::Tombstone => flags |= TOMBSTONE,
    }
    into[0] = flags;
}

#[cfg(test)]
mod tests;
