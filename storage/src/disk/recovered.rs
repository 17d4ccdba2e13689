//! The result of reading a data folder: the records of the node's last incarnation, and its ledger
//! of views.
//!
//! Several threads read the records into a table. Since the higher of two versions wins, the order
//! of records between two view entries does not matter. View entries are applied as the node did:
//! arcs that it emptied become stale records, and arcs that it had fetched completely drop theirs.
//!
//! An incarnation begins with the first view that a start of the process wrote. Most records from
//! before become stale then. But where that view took the node as the replacement of its last
//! incarnation (rule H6), the records stay valid. A start that only waited to join has written
//! nothing, and does not count.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cluster::arcs::ArcSet;
use cluster::claim::Claim;
use cluster::ids::Epoch;
use cluster::ring::arc_of_key;
use net_common::codec::DecodeError;
use parking_lot::Mutex;

use super::entry::LogEntry;
use super::folder::FolderOwner;
use super::ledger::Ledger;
use super::view_file::SavedView;
use crate::stale_cache::StaleCache;
use crate::table::Table;

/// The last incarnation in a folder, with the stale records of earlier ones.
pub struct Recovered {
    /// The owner of the folder.
    pub owner: FolderOwner,
    /// The owner of the file in progress, if no entry of that incarnation was read yet.
    pending_owner: Option<FolderOwner>,
    /// The records that the node held.
    pub records: Table,
    /// The stale records in a checkpoint.
    cached: Table,
    /// The stale records.
    pub stale_cache: StaleCache,
    /// The ledger of views.
    pub ledger: Ledger,
    /// Whether all that the incarnation wrote is there.
    pub is_whole: bool,
    threads: usize,
}

impl Recovered {
    /// An empty result. `threads` is the number of threads that read records.
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

    /// Begins a file.
    pub fn begin(&mut self, owner: FolderOwner) {
        if self.owner.incarnation != owner.incarnation {
            self.pending_owner = Some(owner);
        }
    }

    /// Ends a checkpoint.
    pub fn end_checkpoint(&mut self) {
        set_aside(&self.cached, &self.stale_cache);
    }

    /// Takes in entries, each with its frame's place in the file. Returns the number of records,
    /// and the places of malformed ones.
    pub fn take(&mut self, entries: Vec<(u64, LogEntry<'_>)>) -> (u64, Vec<(u64, &'static str)>) {
        let (mut rows, mut count, mut bad) = (Vec::new(), 0, Vec::new());
        for (at, entry) in entries {
            if matches!(entry, LogEntry::Records(..) | LogEntry::Arc { .. }) {
                rows.push((at, entry));
                continue;
            }
            count += self.read_rows(&mut rows, &mut bad);
            self.apply(entry);
        }
        count += self.read_rows(&mut rows, &mut bad);
        (count, bad)
    }

    /// Applies an entry about views.
    fn apply(&mut self, entry: LogEntry<'_>) {
        match entry {
            LogEntry::Records(..) | LogEntry::Arc { .. } | LogEntry::End(_) => {}
            LogEntry::Ledger(ledger) => self.ledger = ledger,
            LogEntry::View(view) => {
                let revived: ArcSet = view.revived.iter().map(|&arc| usize::from(arc)).collect();
                self.begin_incarnation(&revived);
                self.ledger.view(&view);
                for arc in view.emptied.into_iter().map(usize::from) {
                    let _ = self.stale_cache.set_aside(arc, self.records.take(arc));
                }
                // A synced arc needs no stale records.
                view.synced.into_iter().for_each(|arc| self.stale_cache.forget(arc.into()));
            }
            LogEntry::Synced(epoch, arcs) => {
                if self.ledger.fetched(epoch, &arcs) {
                    arcs.into_iter().for_each(|arc| self.stale_cache.forget(arc.into()));
                }
            }
        }
    }

    /// Begins the pending incarnation, if there is one. It keeps the records of the last one in the
    /// revived arcs.
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
        rows: &mut Vec<(u64, LogEntry<'_>)>,
        bad: &mut Vec<(u64, &'static str)>,
    ) -> u64 {
        if rows.is_empty() {
            return 0;
        }
        // A node writes no records before a view; recovery accepts them nevertheless.
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

    /// Reads one row into the table. Returns the number of its records.
    fn read_row(&self, entry: &LogEntry<'_>) -> Result<usize, DecodeError> {
        let table = &self.records;
        let mut count = 0;
        match entry {
            LogEntry::Records(epoch, records) => {
                for record in records.clone() {
                    let record = record?;
                    count += 1;
                    let arc = arc_of_key(record.key, table.arcs());
                    if self.ledger.takes(*epoch, arc) {
                        table.merge(arc, [record], 0);
                    }
                }
            }
            LogEntry::Arc { arc, stale, records } => {
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

    /// Applies the view file. The log may be behind it, or not contain that start of the process
    /// yet.
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

    /// The claim of the node, if it was a member (H6).
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

    /// The number of keys and tombstones, stale ones included.
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
