//! Merging fetched pages (rules H1 and H3).
//!
//! Records are merged in runs, each under the locks of the holdings and one arc, so that requests
//! do not wait noticeably. The holdings are locked for writing only to mark arcs as synced.
//!
//! **What goes to the log.** Before arcs are synced, the log must have each record of their pages,
//! or a newer one. A record that was in the table already was stored by another thread, which may
//! not have handed it in yet. A client's record is committed only after every replica has answered,
//! so after it was handed in here. In `async`, therefore, a record is not logged again if the table
//! has a committed one that is as new. In `sync` every record is logged: another thread may have
//! fetched the present one just now, and synced arcs must be on the disk.

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

/// The result of merging one page or many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Arcs that are complete.
    pub arcs: usize,
    /// Records that were transferred.
    pub moved: usize,
    /// Stale records that were confirmed, and not transferred.
    pub kept: usize,
    /// Arcs for which one member of the write set has sent all that its disk had.
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

/// Why a page was not merged, or not completely.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Its epoch is not this node's present one (R2).
    #[error("a page of another view")]
    OtherView,
    /// It does not answer the pull.
    #[error("a page that does not answer its pull")]
    Malformed,
    /// Its records may not be on this node's disk.
    #[error("{0}")]
    NotWritten(Trouble),
}

impl Node {
    /// Merges a page that was requested with the first of `fetches`, and updates their progress.
    ///
    /// # Errors
    /// [`MergeError`]; records merged so far stay, and the fetches show which.
    pub fn merge(
        &self,
        page: &RangePage<'_>,
        fetches: &mut [ArcFetch],
    ) -> Result<Merged, MergeError> {
        let table = self.table.get().ok_or(MergeError::OtherView)?;
        let complete = page.complete as usize;
        let is_within = matches!(page.end, PageEnd::Within(_));
        // An answer without any progress is refused: it would be requested again and again.
        let is_empty = complete == 0 && page.records.is_empty() && page.same.is_empty();
        if complete + usize::from(is_within) > fetches.len()
            || is_empty && page.end == PageEnd::Between
        {
            return Err(MergeError::Malformed);
        }
        let mut merged = Merged { moved: page.records.len(), ..Merged::default() };
        for (arc, same) in &page.same {
            let fetch =
                fetches.iter_mut().find(|fetch| fetch.arc == *arc).ok_or(MergeError::Malformed)?;
            if !fetch.is_answered_by(same) {
                return Err(MergeError::Malformed);
            }
            merged.kept +=
                self.confirm(table, page.epoch, usize::from(*arc), fetch.confirmed(same))?;
            fetch.differing = Some(same.others());
        }
        self.merge_records(table, page)?;
        if let PageEnd::Within(cursor) = page.end {
            fetches[complete].from = cursor;
        }
        // A gathered arc is complete only when all other members of the write set have answered.
        let fetched = fetches[..complete].iter().filter(|fetch| !fetch.gathers);
        let arcs: Vec<usize> = fetched.map(|fetch| fetch.arc.into()).collect();
        self.complete(page.epoch, &arcs)?;
        (merged.arcs, merged.gathered) = (arcs.len(), complete - arcs.len());
        self.stats.records(merged.moved, merged.kept);
        Ok(merged)
    }

    /// Takes over stale records. Returns how many.
    fn confirm<'r>(
        &self,
        table: &Table,
        epoch: Epoch,
        arc: usize,
        mut records: impl Iterator<Item = Record<'r>>,
    ) -> Result<usize, MergeError> {
        let mut kept = 0;
        loop {
            // Collected before the lock is taken: many records may differ.
            let run: Vec<Record<'_>> = records.by_ref().take(RUN).collect();
            if run.is_empty() {
                return Ok(kept);
            }
            kept += run.len();
            self.merge_run(table, epoch, arc, run.iter().copied())?;
        }
    }

    fn merge_records(&self, table: &Table, page: &RangePage<'_>) -> Result<(), MergeError> {
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
    ) -> Result<(), MergeError> {
        let clock = self.clock();
        let mut unlogged = Vec::with_capacity(RUN);
        {
            let holdings = self.holdings.read();
            if !holdings.may_merge(epoch, arc) {
                return Err(MergeError::OtherView);
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

    /// Marks arcs as synced. Must not be called under a lock.
    ///
    /// # Errors
    /// [`MergeError`], if the view has changed, or with `sync` if the disk does not have them.
    pub fn complete(&self, epoch: Epoch, arcs: &[usize]) -> Result<(), MergeError> {
        if arcs.is_empty() {
            return Ok(());
        }
        // With `sync` only arcs on the disk are synced.
        self.journal.synced(epoch, arcs).map_err(MergeError::NotWritten)?;
        let is_synced = {
            let mut holdings = self.holdings.write();
            arcs.iter().all(|&arc| holdings.fetched(epoch, arc))
        };
        if !is_synced {
            return Err(MergeError::OtherView);
        }
        arcs.iter().for_each(|&arc| self.stale_cache.forget(arc));
        Ok(())
    }
}
