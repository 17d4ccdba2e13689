//! The records in memory.
//!
//! One hash table for each arc of the ring, each behind its own lock: two requests compete only if
//! their keys share one of thousands of arcs, and an arc, the unit of transfers, is one table.
//!
//! A record is a single allocation (`stored`), and a slot of the table is a pointer and a length.
//!
//! Invariants: a key is only ever in its own arc's table; a record's version never goes down,
//! except when a tombstone is dropped after its retention; `keys` and `bytes` count values, not
//! tombstones; each pending record has an entry in `pending`; a record keeps its slot for as long
//! as `moves` is the same.

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
use stored::TableRecord;

/// All records of one node.
pub struct Table {
    arcs: Box<[RwLock<Shard>]>,
    /// Seeded anew in every process, so that clients cannot choose keys that collide.
    hasher: foldhash::quality::RandomState,
    /// The memory of all records, with tombstones. Relaxed: nothing else depends on it.
    memory: AtomicU64,
}

/// One arc's records. Moved out as a whole when the arc is dropped.
#[derive(Default)]
pub struct Shard {
    records: HashTable<TableRecord>,
    keys: u64,
    bytes: u64,
    /// The memory of its records.
    memory: u64,
    /// The number of records that have an expiry.
    expiring: u64,
    /// Entries of pending records, oldest first, until they are checked again.
    pending: VecDeque<PendingEntry>,
    /// The number of times that records have changed their slots.
    moves: u64,
}

/// A record that was stored as pending.
struct PendingEntry {
    /// When it was stored, by the node's clock.
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

    /// An empty table to which arcs of this one can be moved.
    pub fn empty_like(&self) -> Table {
        Table { hasher: self.hasher.clone(), ..Table::new(self.arcs()) }
    }

    /// The number of its arcs.
    pub fn arcs(&self) -> usize {
        self.arcs.len()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Changes an arc under its lock, and updates the memory of the table.
    fn change<T>(&self, arc: &RwLock<Shard>, with: impl FnOnce(&mut Shard) -> T) -> T {
        let mut shard = arc.write();
        let before = shard.memory;
        let result = with(&mut shard);
        if shard.memory != before {
            // Wraps around if the memory shrinks.
            self.memory.fetch_add(shard.memory.wrapping_sub(before), Ordering::Relaxed);
        }
        result
    }

    /// Approximate memory of the records: their bytes, and for each a slot of the table and the
    /// overhead of an allocator.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Applies rule N2 to one write or swap, and returns the decision. With `alone` this node is
    /// the whole write set, and its records are committed at once (N3).
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

    /// Merges records of a page: the higher version wins, and of the same version the committed
    /// record. The arc is locked during the merge.
    pub fn merge<'r>(
        &self,
        arc: usize,
        records: impl IntoIterator<Item = Record<'r>>,
        own_clock: Clock,
    ) {
        self.merge_reporting(arc, records, own_clock, |_| {});
    }

    /// Merges records likewise, and passes those to `report` that were new here, or that met a
    /// pending record of the same version or a higher one. All others met a committed record that
    /// is as new. `report` is called while the arc is locked.
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
                let wins = |held: &TableRecord| {
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

    /// Checks records of an arc that were stored as pending about a second ago. Marks those as
    /// committed that satisfy `is_done`, and passes others to `with`, at most `most`: their writers
    /// must have died (C4). Records that stay pending are checked again a second later.
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
        // The memory of a burst is freed.
        if pending.len() * 4 < pending.capacity() {
            pending.shrink_to(pending.len() * 2);
        }
    }

    /// Applies rule C6 to one key: a pending tombstone replaces an expired value. `alone` is as for
    /// [`Table::write`]. Returns the version of the tombstone, if there is one.
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
            let due = |stored: &TableRecord| {
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

    /// Drops tombstones whose retention is over (N5), and marks committed ones for the next sweep.
    /// Must be called every half retention. Returns how many were dropped.
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

    /// Passes the record of a key to `with`, without copying it, while the arc is locked for
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

    /// Passes records of an arc to `with`, from a place on and in the order of memory, until `most`
    /// slots are visited or `with` returns `false`, which does not consume that record. Returns
    /// where to continue; `None` at the end of the arc. The arc is locked for writers meanwhile.
    ///
    /// A caller that continues to the end has seen every record that was there at the beginning, or
    /// a newer version of it. If the records were laid out anew meanwhile, the scan silently starts
    /// over.
    pub fn scan(
        &self,
        arc: usize,
        from: Cursor,
        most: usize,
        mut with: impl FnMut(Record<'_>) -> bool,
    ) -> Option<Cursor> {
        let shard = self.arcs[arc].read();
        let Shard { records, moves, .. } = &*shard;
        // Unique to this process and this layout.
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

    /// The number of records of an arc, with tombstones.
    pub fn records(&self, arc: usize) -> usize {
        self.arcs[arc].read().records.len()
    }

    /// Removes all records of an arc. Dropping the returned shard frees them, outside the lock.
    pub fn take(&self, arc: usize) -> Shard {
        self.change(&self.arcs[arc], |shard| {
            let moves = shard.moves + 1;
            std::mem::replace(shard, Shard { moves, ..Shard::default() })
        })
    }

    /// Replaces all records of an arc by a shard from this table, or from one that is like it. The
    /// records become pending, unless this node `alone` is the whole write set (N3).
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

    /// The number of keys in some arcs, and how many of them have an expiry. Locks one arc after
    /// the other.
    pub fn count(&self, arcs: &ArcSet) -> (u64, u64) {
        let shards = arcs.ones().filter_map(|arc| self.arcs.get(arc));
        shards.fold((0, 0), |(keys, expiring), shard| {
            let shard = shard.read();
            (keys + shard.keys, expiring + shard.expiring)
        })
    }

    /// The number and size of all records. Locks one arc after the other, so it is exact only
    /// without concurrent writes.
    pub fn size(&self) -> Size {
        self.arcs.iter().fold(Size::default(), |sum, shard| {
            let shard = shard.read();
            Size { keys: sum.keys + shard.keys, bytes: sum.bytes + shard.bytes }
        })
    }
}

impl Shard {
    /// The number of its records, with tombstones.
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

    /// Replaces an expired value of this version with a tombstone. Returns the tombstone's version.
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

    /// Stores a record, unless there is one of its key over which it does not win.
    fn keep(
        &mut self,
        hasher: &impl BuildHasher,
        hash: u64,
        record: &Record<'_>,
        own_clock: Clock,
        wins: impl FnOnce(&TableRecord) -> bool,
    ) {
        if self.records.len() == self.records.capacity() {
            // A new entry lays out the records anew.
            self.moves += 1;
        }
        let rehash = |stored: &TableRecord| hasher.hash_one(stored.key());
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
                let stored = TableRecord::new(record);
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

/// Slots that are prefetched.
const AHEAD: usize = 32;

/// The records of some slots, in their order. They are scattered in memory, and reading them one by
/// one waits for each. So some are touched ahead, which overlaps the waits. It halves the time of a
/// transfer.
fn walk(
    records: &HashTable<TableRecord>,
    slots: Range<usize>,
) -> impl Iterator<Item = (usize, &TableRecord)> {
    let Range { start, end } = slots;
    slots.filter_map(move |slot| {
        if (slot - start).is_multiple_of(AHEAD) {
            let ahead = slot..end.min(slot + AHEAD);
            let touched = ahead.filter_map(|slot| records.get_bucket(slot)).map(TableRecord::touch);
            // Otherwise the compiler would remove it.
            std::hint::black_box(touched.fold(0, u8::wrapping_add));
        }
        records.get_bucket(slot).map(|stored| (slot, stored))
    })
}

#[cfg(test)]
mod tests;
