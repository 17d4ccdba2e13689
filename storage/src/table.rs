//! The records in memory.
//!
//! One hash table for each arc of the ring, each behind a lock of its own: two requests meet only
//! if their keys share one of thousands of arcs, and what moves between nodes, an arc, is one table
//! here.
//!
//! A record is a single allocation (`stored`), and a table's slot a pointer and a length.
//!
//! Invariants: a key is only ever in its own arc's table; a record's version never goes down,
//! except by dropping a tombstone that has served its time; `keys` and `bytes` count what has a
//! value, tombstones not; each pending record has an entry in `pending`; a record keeps its slot
//! for as long as `moves` is the same.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::arcs::ArcSet;
use cluster::holdings::Standing;
use cluster::replica::{self, Decision, State};
use cluster::version::{Clock, Version};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use net_common::message::data::{Body, Record, Write};
use net_common::message::range::Cursor;
use parking_lot::RwLock;

mod stored;

pub use stored::Size;
use stored::StoredRecord;

/// All records of one node.
pub struct Table {
    arcs: Box<[RwLock<Shard>]>,
    /// Seeded anew in every process: whoever chooses keys must not choose our collisions.
    hasher: foldhash::quality::RandomState,
    /// What the records of all arcs take, tombstones too. Relaxed: nothing else hangs on it.
    memory: AtomicU64,
}

/// One arc's records. Moved out as a whole when the arc is dropped.
#[derive(Default)]
pub struct Shard {
    records: HashTable<StoredRecord>,
    keys: u64,
    bytes: u64,
    /// What its records take.
    memory: u64,
    /// Records that are to expire.
    expiring: u64,
    /// What was stored as pending, oldest first, until it has been looked at again.
    pending: VecDeque<PendingEntry>,
    /// How often records have changed their slots.
    moves: u64,
}

/// A record that was stored as pending.
struct PendingEntry {
    /// When, by the node's clock.
    since: Clock,
    /// The hash of its key.
    hash: u64,
    /// The hash of its version: a newer record of the key has an entry of its own.
    version: u64,
}

impl Table {
    /// An empty table for a ring of so many arcs.
    pub fn new(arcs: usize) -> Table {
        Table {
            arcs: (0..arcs).map(|_| RwLock::default()).collect(),
            hasher: foldhash::quality::RandomState::default(),
            memory: AtomicU64::new(0),
        }
    }

    /// An empty table that arcs of this one can be put into.
    pub fn empty_like(&self) -> Table {
        Table { hasher: self.hasher.clone(), ..Table::new(self.arcs()) }
    }

    /// How many arcs it has.
    pub fn arcs(&self) -> usize {
        self.arcs.len()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Changes an arc while it is locked, and keeps account of its memory.
    fn change<T>(&self, arc: &RwLock<Shard>, with: impl FnOnce(&mut Shard) -> T) -> T {
        let mut shard = arc.write();
        let before = shard.memory;
        let result = with(&mut shard);
        if shard.memory != before {
            // Wraps where it is less.
            self.memory.fetch_add(shard.memory.wrapping_sub(before), Ordering::Relaxed);
        }
        result
    }

    /// What the records take, about: their bytes, and for each a slot of the table and what an
    /// allocator adds.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Applies rule N2 to one write or swap and says what came of it. `alone` tells that this node
    /// is the whole write set: what it stores is committed at once (N3).
    pub fn write(
        &self,
        arc: usize,
        write: &Write<'_>,
        own_clock: Clock,
        standing: Standing,
        alone: bool,
    ) -> Decision {
        let hash = self.hash(write.key);
        self.change(&self.arcs[arc], |shard| {
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
                let record = Record { key, version, state, body };
                shard.keep(&self.hasher, hash, &record, own_clock, |_| true);
            }
            decision
        })
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

    /// Takes records of a page: the higher version wins, and of the same version what is committed.
    /// The arc is locked until all are taken.
    pub fn merge<'r>(
        &self,
        arc: usize,
        records: impl IntoIterator<Item = Record<'r>>,
        own_clock: Clock,
    ) {
        self.merge_reporting(arc, records, own_clock, |_| {});
    }

    /// The same, and tells of each record that was new here, or that met a pending one of its
    /// version or a higher one: what was there already is committed otherwise. `tell` is called
    /// while the arc is locked.
    pub fn merge_reporting<'r>(
        &self,
        arc: usize,
        records: impl IntoIterator<Item = Record<'r>>,
        own_clock: Clock,
        mut report: impl FnMut(Record<'r>),
    ) {
        self.change(&self.arcs[arc], |shard| {
            for record in records {
                let mut is_known = false;
                let wins = |held: &StoredRecord| {
                    is_known = held.version() >= record.version && held.state() == State::Committed;
                    (held.version(), held.state()) < (record.version, record.state)
                };
                shard.keep(&self.hasher, self.hash(record.key), &record, own_clock, wins);
                if !is_known {
                    report(record);
                }
            }
        });
    }

    /// Looks again at what was stored as pending in an arc about a second ago: notes it as
    /// committed if `is_done` says so, and otherwise hands it out, at most `most` records: their
    /// writers must have died (C4). What is still pending then is looked at again a second later.
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
            let is_due = |entry: &PendingEntry| replica::is_abandoned(entry.since, own_clock);
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
                pending.push_back(PendingEntry { since: own_clock, ..entry });
            }
        }
        // A burst must not hold its memory for good.
        if pending.len() * 4 < pending.capacity() {
            pending.shrink_to(pending.len() * 2);
        }
    }

    /// Applies rule C6 to one key: if its time has passed, a pending tombstone takes its place.
    /// `alone` is as for [`Table::write`]. Returns the tombstone's version, if it did.
    pub fn expire_key(
        &self,
        arc: usize,
        key: &[u8],
        own_clock: Clock,
        alone: bool,
    ) -> Option<Version> {
        let hash = self.hash(key);
        self.change(&self.arcs[arc], |shard| {
            let found = shard.records.find(hash, |stored| stored.key() == key);
            let version = found.and_then(|stored| stored.version_if_due(own_clock))?;
            Some(shard.expire(&self.hasher, hash, key, version, own_clock, alone))
        })
    }

    /// Applies rule C6 to all records of an arc. Returns the keys that have expired, and their
    /// tombstones' versions.
    pub fn expire(&self, arc: usize, own_clock: Clock, alone: bool) -> Vec<(Vec<u8>, Version)> {
        if self.arcs[arc].read().expiring == 0 {
            return Vec::new();
        }
        self.change(&self.arcs[arc], |shard| {
            let due = |stored: &StoredRecord| {
                Some((stored.key().to_vec(), stored.version_if_due(own_clock)?))
            };
            let mut due: Vec<(Vec<u8>, Version)> = shard.records.iter().filter_map(due).collect();
            for (key, version) in &mut due {
                let hash = self.hash(key);
                *version = shard.expire(&self.hasher, hash, key, *version, own_clock, alone);
            }
            due
        })
    }

    /// Drops tombstones that have served their time (N5), and marks those that are committed for
    /// the next sweep. To be called every half retention. Returns how many were dropped.
    pub fn sweep(&self, own_clock: Clock) -> usize {
        let sweep = |shard: &mut Shard| {
            let before = shard.records.len();
            let memory = &mut shard.memory;
            shard.records.retain(|stored| {
                if stored.body() != Body::Tombstone || stored.state() == State::Pending {
                    return true;
                }
                let drop =
                    replica::may_drop_tombstone(stored.version(), stored.is_marked(), own_clock);
                stored.mark();
                *memory -= if drop { stored.memory() } else { 0 };
                !drop
            });
            before - shard.records.len()
        };
        self.arcs.iter().map(|arc| self.change(arc, sweep)).sum()
    }

    /// Looks a key up and hands what there is to `with`, without copying it, while the arc is
    /// locked for writers.
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

    /// Hands records of an arc to `with`, from a place on, as they lie in memory, until it has
    /// looked at `most` slots or `with` returns `false`: that record is not taken. Returns where to
    /// go on; `None` where the arc is at its end. The arc is locked for writers meanwhile.
    ///
    /// Whoever goes on until the end has seen every record that was there when he began, or a newer
    /// version of it. Where records have been laid out anew since, he begins anew, without being
    /// told.
    pub fn scan(
        &self,
        arc: usize,
        from: Cursor,
        most: usize,
        mut with: impl FnMut(Record<'_>) -> bool,
    ) -> Option<Cursor> {
        let shard = self.arcs[arc].read();
        let Shard { records, moves, .. } = &*shard;
        // No other process names a layout so, nor this one another.
        let layout = self.hasher.hash_one((arc, moves));
        let begin = if from.layout == layout { from.slot as usize } else { 0 };
        let slots = records.num_buckets();
        let next = begin.saturating_add(most);
        for (slot, stored) in walk(records, begin..slots.min(next)) {
            if !with(stored.record()) {
                return Some(Cursor { layout, slot: slot as u64 });
            }
        }
        (next < slots).then_some(Cursor { layout, slot: next as u64 })
    }

    /// How many records an arc has, tombstones too.
    pub fn records(&self, arc: usize) -> usize {
        self.arcs[arc].read().records.len()
    }

    /// Takes all records of an arc away. They are freed where the returned shard is dropped, which
    /// need not be under a lock.
    pub fn take(&self, arc: usize) -> Shard {
        self.change(&self.arcs[arc], |shard| {
            let moves = shard.moves + 1;
            std::mem::replace(shard, Shard { moves, ..Shard::default() })
        })
    }

    /// Puts all records of an arc in place of what is there: taken from this table, or from one
    /// that is like it. They are pending, unless this node is `alone` the whole write set (N3).
    pub fn put(&self, arc: usize, mut shard: Shard, own_clock: Clock, alone: bool) {
        shard.pending.clear();
        for stored in &mut shard.records {
            if alone {
                stored.commit();
                continue;
            }
            stored.renew();
            let version = self.hasher.hash_one(stored.version());
            let hash = self.hash(stored.key());
            shard.pending.push_back(PendingEntry { since: own_clock, hash, version });
        }
        self.change(&self.arcs[arc], |there| {
            shard.moves = shard.moves.max(there.moves) + 1;
            *there = shard;
        });
    }

    /// How many keys there are in some arcs, and how many of them are to expire. Locks one arc
    /// after the other.
    pub fn count(&self, arcs: &ArcSet) -> (u64, u64) {
        let shards = arcs.ones().filter_map(|arc| self.arcs.get(arc));
        shards.fold((0, 0), |(keys, expiring), shard| {
            let shard = shard.read();
            (keys + shard.keys, expiring + shard.expiring)
        })
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
    /// How many records it has, tombstones too.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Its records, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        walk(&self.records, 0..self.records.num_buckets()).map(|(_, stored)| stored.record())
    }

    /// Puts a tombstone in place of a value of this version whose time has passed. Returns its
    /// version.
    fn expire(
        &mut self,
        hasher: &impl BuildHasher,
        hash: u64,
        key: &[u8],
        version: Version,
        own_clock: Clock,
        alone: bool,
    ) -> Version {
        let (version, state) = replica::expire(version, alone);
        let record = Record { key, version, state, body: Body::Tombstone };
        self.keep(hasher, hash, &record, own_clock, |_| true);
        version
    }

    /// Keeps a record, if there is none of its key, or it `wins` over that.
    fn keep(
        &mut self,
        hasher: &impl BuildHasher,
        hash: u64,
        record: &Record<'_>,
        own_clock: Clock,
        wins: impl FnOnce(&StoredRecord) -> bool,
    ) {
        if self.records.len() == self.records.capacity() {
            // To make an entry it now lays out its records anew.
            self.moves += 1;
        }
        let rehash = |stored: &StoredRecord| hasher.hash_one(stored.key());
        match self.records.entry(hash, |stored| stored.key() == record.key, rehash) {
            Entry::Occupied(slot) if !wins(slot.get()) => return,
            Entry::Occupied(mut slot) => {
                let stored = slot.get_mut();
                let (before, expired) = (stored.size(), stored.body().expiry().is_some());
                self.memory -= stored.memory();
                stored.replace(record);
                self.memory += stored.memory();
                let after = stored.size();
                self.expiring -= u64::from(expired);
                self.keys = self.keys - before.keys + after.keys;
                self.bytes = self.bytes - before.bytes + after.bytes;
            }
            Entry::Vacant(slot) => {
                let stored = StoredRecord::new(record);
                let size = stored.size();
                self.memory += stored.memory();
                slot.insert(stored);
                self.keys += size.keys;
                self.bytes += size.bytes;
            }
        }
        self.expiring += u64::from(record.body.expiry().is_some());
        if record.state == State::Pending {
            let version = hasher.hash_one(record.version);
            self.pending.push_back(PendingEntry { since: own_clock, hash, version });
        }
    }
}

/// Slots that are looked at ahead.
const AHEAD: usize = 32;

/// The records of some slots, in their order. They lie anywhere in memory, and whoever takes them
/// one by one waits for each; so some are touched ahead, for which a processor waits all at once.
/// It halves the time that a transfer takes.
fn walk(
    records: &HashTable<StoredRecord>,
    slots: Range<usize>,
) -> impl Iterator<Item = (usize, &StoredRecord)> {
    let Range { start, end } = slots;
    slots.filter_map(move |slot| {
        if (slot - start).is_multiple_of(AHEAD) {
            let ahead = slot..end.min(slot + AHEAD);
            let touched =
                ahead.filter_map(|slot| records.get_bucket(slot)).map(StoredRecord::touch);
            // Else the compiler would leave it out.
            std::hint::black_box(touched.fold(0, u8::wrapping_add));
        }
        records.get_bucket(slot).map(|stored| (slot, stored))
    })
}

#[cfg(test)]
mod tests;
