//! Adopting a view: which records move or go, and what is logged.
//!
//! All changes that requests can see happen at one moment, under the lock of the holdings. Slow
//! steps follow after it: waiting for the disk, and freeing memory.

use std::sync::Arc;

use cluster::holdings::{Adoption, Holdings};
use cluster::membership::Report;
use cluster::text::count;
use cluster::version::Clock;
use cluster::view::{Routes, View};
use log::info;
use net_common::message::range::Cursor;

use super::Node;
use super::in_flight::InFlight;
use super::report::heartbeat_report;
use super::views::NotFollowed;
use crate::disk::folder::FolderOwner;
use crate::disk::journal::NotedView;
use crate::disk::ledger::ViewEntry;
use crate::table::{Shard, Table};

fn numbers(arcs: impl Iterator<Item = usize>) -> Vec<u16> {
    arcs.map(|arc| arc as u16).collect()
}

/// The result of adopting a view.
struct Adopted {
    adoption: Adoption,
    moved: Moved,
    /// The entry for the log, if this node is a member or has been one.
    noted: Option<NotedView>,
}

/// The records that were moved.
#[derive(Default)]
struct Moved {
    /// The number of arcs that were dropped.
    dropped: usize,
    /// The number of arcs that were set aside.
    set_aside: usize,
    /// Records that are no longer needed. They are freed when nobody waits.
    _freed: Vec<Arc<Shard>>,
    /// What is left of the recovered records, if this is the view that takes them in.
    _recovered: Option<Table>,
}

impl Node {
    /// Adopts a view, if it is newer than the present one. Waits for requests under the present
    /// one, and until the new one is in the view file. Returns whether it was adopted.
    ///
    /// # Errors
    /// [`NotFollowed`]; nothing changed.
    pub fn adopt(&self, view: View) -> Result<bool, NotFollowed> {
        self.check_follows(&view)?;
        if !view.arcs.is_empty() {
            self.in_flight.get_or_init(|| InFlight::new(view.arcs.len()));
            self.table.get_or_init(|| Table::new(view.arcs.len()));
        }
        let routes = Arc::new(Routes::new(view));
        self.payload.allow(&routes.view().limits);
        let Some(Adopted { adoption, moved, noted }) = self.change_over(&routes) else {
            return Ok(false);
        };
        self.journal.wake_writer();
        self.fold_clock(adoption.to_revive.ones());
        if let Some(noted) = noted {
            self.save_view(noted);
        }
        info!(
            "view {}: {}, {} to fetch, {} dropped, {} set aside",
            routes.epoch(),
            count(routes.view().members.len(), "member"),
            count(adoption.to_fetch.len(), "arc"),
            moved.dropped,
            moved.set_aside
        );
        self.from_disk.lock().extend(adoption.to_revive.ones());
        drop(moved);
        Ok(true)
    }

    /// Switches to a view, for all requests at once. `None`: it is not newer than the present one.
    fn change_over(&self, routes: &Arc<Routes>) -> Option<Adopted> {
        let own_clock = self.clock();
        let mut holdings = self.holdings.write();
        let before = heartbeat_report(&holdings, Report::default());
        let adoption = holdings.adopt(routes.clone())?;
        let Some(table) = self.table.get() else {
            return Some(Adopted { adoption, moved: Moved::default(), noted: None });
        };
        let moved = self.move_records(table, &holdings, &adoption, own_clock);
        // Not while the node waits to join: until then the folder describes its last incarnation
        // (H6).
        let noted =
            holdings.has_been_member().then(|| self.note(table, &holdings, &adoption, before));
        Some(Adopted { adoption, moved, noted })
    }

    /// Removes records from the table that this node may no longer show: they are dropped, or set
    /// aside as stale. Recovered records are taken in or set aside likewise.
    fn move_records(
        &self,
        table: &Table,
        holdings: &Holdings,
        adoption: &Adoption,
        own_clock: Clock,
    ) -> Moved {
        // First, so that a fetch finds the stale records as soon as the arc is missing.
        let retained = self.stale_cache.retain(&adoption.to_set_aside);
        let mut freed: Vec<Arc<Shard>> = retained.into_iter().map(|(_, shard)| shard).collect();
        let taken = adoption.to_drop.iter().map(|&arc| (arc, table.take(arc)));
        let (set_aside, dropped): (Vec<_>, Vec<_>) =
            taken.partition(|(arc, _)| adoption.to_set_aside.contains(*arc));
        let counts = (dropped.len(), set_aside.len());
        freed.extend(dropped.into_iter().map(|(_, shard)| Arc::new(shard)));
        let recovered =
            if holdings.has_been_member() { self.recovered.lock().take() } else { None };
        let rest = adoption.to_set_aside.ones();
        let rest = rest.filter_map(|arc| Some((arc, recovered.as_ref()?.take(arc))));
        for (arc, shard) in set_aside.into_iter().chain(rest) {
            if !shard.is_empty() {
                freed.extend(self.stale_cache.set_aside(arc, shard));
            }
        }
        if let (Some(held), Some(routes)) = (&recovered, holdings.routes()) {
            for arc in adoption.to_revive.ones() {
                let alone = routes.write_set(arc).len() == 1;
                table.put(arc, held.take(arc), own_clock, alone);
            }
        }
        Moved { dropped: counts.0, set_aside: counts.1, _freed: freed, _recovered: recovered }
    }

    /// Hands the view to the journal before any write under it, since the log must have the view
    /// first. `before` is what heartbeats keep reporting until the view file has the view.
    fn note(
        &self,
        table: &Table,
        holdings: &Holdings,
        adoption: &Adoption,
        before: Report,
    ) -> NotedView {
        *self.unconfirmed.lock() = Some(before);
        let view = ViewEntry {
            epoch: holdings.epoch(),
            emptied: numbers(adoption.to_drop.iter().copied()),
            // A revived arc has all that this disk ever had of it.
            synced: numbers(holdings.synced().union(holdings.revived())),
            revived: numbers(adoption.to_revive.ones()),
        };
        let cluster = holdings.routes().expect("it has adopted a view").view().cluster;
        let noted = NotedView { cluster, arcs: table.arcs(), view };
        self.journal.note(noted.clone());
        noted
    }

    /// Writes the view file and waits for the disk. From then on heartbeats acknowledge the view.
    fn save_view(&self, noted: NotedView) {
        let NotedView { cluster, arcs, view } = noted;
        let (node, incarnation) = (self.id.clone(), self.incarnation);
        self.journal.save_view(&FolderOwner { cluster, node, incarnation, arcs }, &view);
        *self.unconfirmed.lock() = None;
    }

    /// Advances the clock, so that it is never behind a version that the node holds.
    fn fold_clock(&self, arcs: impl Iterator<Item = usize>) {
        let Some(table) = self.table.get() else { return };
        let mut newest = 0;
        for arc in arcs {
            table.scan(arc, Cursor::START, usize::MAX, |record| {
                newest = newest.max(record.version.clock);
                true
            });
        }
        self.clock.lock().fold(newest);
    }
}
