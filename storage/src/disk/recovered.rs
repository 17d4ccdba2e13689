//! What the entries of a data folder come to: the records of the node's last life, and what that
//! knew of views.
//!
//! The records are read into a table, by several threads at a time; since of two records the higher
//! version wins, their order does not matter between two entries that tell of views. What such an
//! entry tells is done as the node did it: arcs that it emptied go to the records of an earlier
//! life, arcs that it had fetched to their ends let go of these.
//!
//! A life begins with the first view that a start of the process wrote. Most of what was held
//! before is an earlier life's then; but where that view took the node for the replacement of its last
//! life (rule H6), the records go on counting. A start that has only waited outside has written
//! nothing, so it is no life.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cluster::arcs::ArcSet;
use cluster::claim::Claim;
use cluster::ids::Epoch;
use cluster::ring::arc_of_key;
use net_common::codec::DecodeError;
use parking_lot::Mutex;

use super::entry::Entry;
use super::folder::FolderOwner;
use super::ledger::Ledger;
use super::view_file::SavedView;
use crate::stale_cache::StaleCache;
use crate::table::Table;

/// The last life that a folder tells of, and what it had of those before.
pub struct Recovered {
    /// Whose it is.
    pub owner: FolderOwner,
    /// The start whose file is being read, if it has told nothing yet.
    pending_owner: Option<FolderOwner>,
    /// What the node held.
    pub records: Table,
    /// What it had of lives before, by a checkpoint.
    cached: Table,
    /// What it had of lives before.
    pub stale_cache: StaleCache,
    /// What it knew of views.
    pub ledger: Ledger,
    /// Whether all that it wrote is there.
    pub is_whole: bool,
    threads: usize,
}

impl Recovered {
    /// One of which nothing is known yet. `threads` read records at the same time.
    pub fn new(owner: FolderOwner, threads: usize) -> Recovered {
        let records = Table::new(owner.arcs);
        Recovered {
            cached: records.empty_like(),
            records,
            stale_cache: StaleCache::default(),
            ledger: Ledger::new(owner.arcs),
            owner,
            pending_owner: None,
            is_whole: true,
            threads,
        }
    }

    /// A file begins.
    pub fn begin(&mut self, owner: FolderOwner) {
        if self.owner.incarnation != owner.incarnation {
            self.pending_owner = Some(owner);
        }
    }

    /// Everything that a checkpoint has is read.
    pub fn end_checkpoint(&mut self) {
        set_aside(&self.cached, &self.stale_cache);
    }

    /// Takes in entries, each with its frame's place in the file. Returns how many records there
    /// were, and the places of what is no record.
    pub fn take(&mut self, entries: Vec<(u64, Entry<'_>)>) -> (u64, Vec<(u64, &'static str)>) {
        let (mut rows, mut count, mut bad) = (Vec::new(), 0, Vec::new());
        for (at, entry) in entries {
            if matches!(entry, Entry::Records(..) | Entry::Arc { .. }) {
                rows.push((at, entry));
                continue;
            }
            count += self.read_rows(&mut rows, &mut bad);
            self.apply(entry);
        }
        count += self.read_rows(&mut rows, &mut bad);
        (count, bad)
    }

    /// Takes in what tells of views.
    fn apply(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Records(..) | Entry::Arc { .. } | Entry::End(_) => {}
            Entry::Ledger(ledger) => self.ledger = ledger,
            Entry::View(view) => {
                let revived: ArcSet = view.revived.iter().map(|&arc| usize::from(arc)).collect();
                self.begin_incarnation(&revived);
                self.ledger.view(&view);
                for arc in view.emptied.into_iter().map(usize::from) {
                    let _ = self.stale_cache.set_aside(arc, self.records.take(arc));
                }
                // Where it held everything it had no use for a cache.
                view.synced.into_iter().for_each(|arc| self.stale_cache.forget(arc.into()));
            }
            Entry::Synced(epoch, arcs) => {
                if self.ledger.fetched(epoch, &arcs) {
                    arcs.into_iter().for_each(|arc| self.stale_cache.forget(arc.into()));
                }
            }
        }
    }

    /// Goes on with the life that is about to begin, if one is: with what the last one held of
    /// these arcs.
    fn begin_incarnation(&mut self, revived: &ArcSet) {
        let Some(owner) = self.pending_owner.take() else { return };
        for arc in (0..owner.arcs).filter(|&arc| !revived.contains(arc)) {
            let shard = self.records.take(arc);
            if !shard.is_empty() {
                let _ = self.stale_cache.set_aside(arc, shard);
            }
        }
        self.ledger = Ledger::new(owner.arcs);
        self.owner = owner;
        self.is_whole = true;
    }

    /// Reads rows of records into the table, and empties them.
    fn read_rows(
        &mut self,
        rows: &mut Vec<(u64, Entry<'_>)>,
        bad: &mut Vec<(u64, &'static str)>,
    ) -> u64 {
        if rows.is_empty() {
            return 0;
        }
        // Written before any view was: not as the node does it.
        self.begin_incarnation(&ArcSet::new());
        let (next, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let wrong = Mutex::new(std::mem::take(bad));
        let work = || {
            while let Some((at, entry)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.read_row(entry) {
                    Ok(records) => drop(count.fetch_add(records, Ordering::Relaxed)),
                    Err(DecodeError(why)) => wrong.lock().push((*at, why)),
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.threads.min(rows.len()) {
                scope.spawn(work);
            }
            work();
        });
        rows.clear();
        *bad = wrong.into_inner();
        count.into_inner() as u64
    }

    /// Takes a row's records. Returns how many.
    fn read_row(&self, entry: &Entry<'_>) -> Result<usize, DecodeError> {
        let table = &self.records;
        let mut count = 0;
        match entry {
            Entry::Records(epoch, records) => {
                for record in records.clone() {
                    let record = record?;
                    count += 1;
                    let arc = arc_of_key(record.key, table.arcs());
                    if self.ledger.takes(*epoch, arc) {
                        table.merge(arc, [record], 0);
                    }
                }
            }
            Entry::Arc { arc, stale, records } => {
                let table = if *stale { &self.cached } else { table };
                for record in records.clone() {
                    table.merge(usize::from(*arc), [record?], 0);
                    count += 1;
                }
            }
            _ => {}
        }
        Ok(count)
    }

    /// Takes in what the file of the newest view tells. The log may be behind it, or know nothing
    /// of that start of the process yet.
    pub fn apply_view_file(&mut self, saved: SavedView) {
        let SavedView { owner, ledger, revived } = saved;
        let is_ours = (owner.cluster, owner.arcs) == (self.owner.cluster, self.owner.arcs);
        if !is_ours || ledger.epoch() <= self.ledger.epoch() {
            return;
        }
        if owner.incarnation != self.owner.incarnation {
            self.pending_owner = Some(owner);
            self.begin_incarnation(&revived);
        }
        let before = self.ledger.since().to_vec();
        for (arc, _) in ledger.since().iter().zip(before).enumerate().filter(|(_, (a, b))| *a > b) {
            let shard = self.records.take(arc);
            if !shard.is_empty() {
                let _ = self.stale_cache.set_aside(arc, shard);
            }
        }
        ledger.synced().ones().for_each(|arc| self.stale_cache.forget(arc));
        self.ledger = ledger;
    }

    /// What the node may claim to have held, if it was a member (H6).
    pub fn claim(&self) -> Option<Claim> {
        let epoch = self.ledger.epoch();
        (epoch > Epoch::NONE).then(|| Claim {
            of: self.owner.incarnation,
            epoch,
            synced: self.ledger.synced().clone(),
            starts: Vec::new(),
            is_whole: self.is_whole,
        })
    }

    /// How many keys and tombstones there are, of all lives.
    pub fn kept(&self) -> usize {
        let held: usize = (0..self.records.arcs()).map(|arc| self.records.records(arc)).sum();
        held + self.stale_cache.records()
    }
}

fn set_aside(table: &Table, stale: &StaleCache) {
    for arc in 0..table.arcs() {
        let shard = table.take(arc);
        if !shard.is_empty() {
            let _ = stale.set_aside(arc, shard);
        }
    }
}
