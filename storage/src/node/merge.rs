//! What a node does with the pages that it fetches (rules H1 and H3).
//!
//! Records are merged in runs, each under the holdings and one arc's lock, so that requests do not
//! wait noticeably. The holdings is taken for writing only to note arcs as synced.
//!
//! **What goes to the log.** Before arcs are synced, the log has to have each record of their
//! pages, or a newer one. What was there already some other thread has stored, and hands in; but it
//! may not have come so far. A record that a client wrote is committed only after every replica has
//! answered, so after it was handed in here: so in `async` a record need not be written that meets
//! a committed one which is as new. In `sync` it is all the same, as another thread may have
//! fetched that just now, and what is synced must be on the disk.

use cluster::ids::Epoch;
use cluster::ring::arc_of_key;
use net_common::message::data::Record;
use net_common::message::range::{PageEnd, RangePage};

use super::Node;
use crate::disk::journal::Trouble;
use crate::fetch::arc::ArcFetch;
use crate::table::Table;

/// Records merged under one lock: some tens of microseconds' worth.
const RUN: usize = 128;

/// What came of a page, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Arcs that are complete.
    pub arcs: usize,
    /// Records that came.
    pub moved: usize,
    /// Records of an earlier life that need not come.
    pub kept: usize,
    /// Arcs of which one of those who keep them has told all that its disk had.
    pub gathered: usize,
}

impl Merged {
    /// Adds another page's.
    pub fn add(&mut self, other: Merged) {
        self.arcs += other.arcs;
        self.moved += other.moved;
        self.kept += other.kept;
        self.gathered += other.gathered;
    }
}

/// Why a page does not count, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmerged {
    /// It is of another epoch than this node is in by now (R2).
    #[error("a page of another view")]
    OtherView,
    /// It answers what was not asked.
    #[error("a page that does not answer its pull")]
    Nonsense,
    /// Its records may not be on this node's disk.
    #[error("{0}")]
    Unwritten(Trouble),
}

impl Node {
    /// Merges a page that was asked for with the first of `fetches`, and notes in them how far they
    /// have come.
    ///
    /// # Errors
    /// [`Unmerged`]; what was merged before stays, and the fetches tell.
    pub fn merge(
        &self,
        page: &RangePage<'_>,
        fetches: &mut [ArcFetch],
    ) -> Result<Merged, Unmerged> {
        let table = self.table.get().ok_or(Unmerged::OtherView)?;
        let complete = page.complete as usize;
        let is_within = matches!(page.end, PageEnd::Within(_));
        // An answer that brings nothing is no answer: it would be asked for again and again.
        let is_empty = complete == 0 && page.records.is_empty() && page.same.is_empty();
        if complete + usize::from(is_within) > fetches.len()
            || is_empty && page.end == PageEnd::Between
        {
            return Err(Unmerged::Nonsense);
        }
        let mut merged = Merged { moved: page.records.len(), ..Merged::default() };
        for (arc, same) in &page.same {
            let fetch =
                fetches.iter_mut().find(|fetch| fetch.arc == *arc).ok_or(Unmerged::Nonsense)?;
            if !fetch.is_answered_by(same) {
                return Err(Unmerged::Nonsense);
            }
            merged.kept +=
                self.confirm(table, page.epoch, usize::from(*arc), fetch.confirmed(same))?;
            fetch.differing = Some(same.others());
        }
        self.merge_records(table, page)?;
        if let PageEnd::Within(cursor) = page.end {
            fetches[complete].from = cursor;
        }
        // What is gathered is complete when all who keep it have told.
        let fetched = fetches[..complete].iter().filter(|fetch| !fetch.gathers);
        let arcs: Vec<usize> = fetched.map(|fetch| fetch.arc.into()).collect();
        self.complete(page.epoch, &arcs)?;
        (merged.arcs, merged.gathered) = (arcs.len(), complete - arcs.len());
        self.stats.records(merged.moved, merged.kept);
        Ok(merged)
    }

    /// Takes over records of an earlier life. Returns how many.
    fn confirm<'r>(
        &self,
        table: &Table,
        epoch: Epoch,
        arc: usize,
        mut records: impl Iterator<Item = Record<'r>>,
    ) -> Result<usize, Unmerged> {
        let mut kept = 0;
        loop {
            // Found first and taken under the lock then: those that are not the same may be many.
            let run: Vec<Record<'_>> = records.by_ref().take(RUN).collect();
            if run.is_empty() {
                return Ok(kept);
            }
            kept += run.len();
            self.merge_run(table, epoch, arc, run.iter().copied())?;
        }
    }

    fn merge_records(&self, table: &Table, page: &RangePage<'_>) -> Result<(), Unmerged> {
        let arc_of = |record: &Record<'_>| arc_of_key(record.key, table.arcs());
        let mut rest = &page.records[..];
        while let Some(first) = rest.first() {
            let arc = arc_of(first);
            let run = rest.iter().take(RUN).take_while(|record| arc_of(record) == arc).count();
            self.merge_run(table, page.epoch, arc, rest[..run].iter().copied())?;
            rest = &rest[run..];
        }
        Ok(())
    }

    fn merge_run<'r>(
        &self,
        table: &Table,
        epoch: Epoch,
        arc: usize,
        records: impl Iterator<Item = Record<'r>> + Clone,
    ) -> Result<(), Unmerged> {
        let clock = self.clock();
        let mut unlogged = Vec::with_capacity(RUN);
        {
            let holdings = self.holdings.read();
            if !holdings.may_merge(epoch, arc) {
                return Err(Unmerged::OtherView);
            }
            table.merge_reporting(arc, records.clone(), clock, |record| unlogged.push(record));
        }
        if self.journal.is_sync() {
            self.journal.fetched(epoch, records)
        } else {
            self.journal.fetched(epoch, unlogged)
        }
        Ok(())
    }

    /// Notes arcs as synced. Not to be called under a lock.
    ///
    /// # Errors
    /// [`Unmerged`], where the view has changed, or the disk of `sync` does not have them.
    pub fn complete(&self, epoch: Epoch, arcs: &[usize]) -> Result<(), Unmerged> {
        if arcs.is_empty() {
            return Ok(());
        }
        // With `sync`, synced is what is on the disk.
        self.journal.synced(epoch, arcs).map_err(Unmerged::Unwritten)?;
        let is_synced = {
            let mut holdings = self.holdings.write();
            arcs.iter().all(|&arc| holdings.fetched(epoch, arc))
        };
        if !is_synced {
            return Err(Unmerged::OtherView);
        }
        arcs.iter().for_each(|&arc| self.stale_cache.forget(arc));
        Ok(())
    }
}
