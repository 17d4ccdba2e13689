//! A node's report to the manager.

use cluster::holdings::Holdings;
use cluster::limits::Limits;
use cluster::membership::{DiskHealth, Report};
use cluster::replica::State;
use net_common::clock;
use net_common::message::range::Cursor;

use super::Node;
use crate::fetch::stats::Transfer;
use crate::table::Size;

/// The part of a heartbeat that follows from the holdings.
pub(super) fn heartbeat_report(holdings: &Holdings, rest: Report) -> Report {
    let (synced, revived) = (holdings.synced().clone(), holdings.revived().clone());
    Report { epoch: holdings.epoch(), synced, revived, ..rest }
}

impl Node {
    /// The report for a heartbeat.
    pub fn report(&self) -> Report {
        let Size { keys, bytes } = self.size();
        let fetching = self.transfer().rate;
        let disk = match (self.disk_trouble(), self.journal.strain(bytes)) {
            (Some(trouble), _) => DiskHealth::Failing(trouble.why.to_string()),
            (None, Some(why)) => DiskHealth::Strained(why),
            (None, None) => DiskHealth::Sound,
        };
        let is_full = self.is_full();
        let rest = Report { keys, bytes, fetching, disk, is_full, ..Report::default() };
        let holdings = self.holdings.read();
        // A view is not acknowledged before the view file has it: if the process ended, its folder
        // would claim a view that the manager has left behind (H6).
        let before = self.unconfirmed.lock().clone();
        match before {
            Some(Report { epoch, synced, revived, .. }) => {
                Report { epoch, synced, revived, ..rest }
            }
            None => {
                let measured = self.measured.lock().filter(|(epoch, _)| *epoch == holdings.epoch());
                let longest = measured.map(|(_, longest)| longest);
                heartbeat_report(&holdings, Report { longest, ..rest })
            }
        }
    }

    /// If the limits are to become lower, measures the longest key and value that it holds, once
    /// for each view. Under that view nothing beyond the target limits is written any more, and the
    /// source of a fetch has measured its records as well. A committed tombstone does not count: it
    /// never has to be passed on. Returns whether it has measured.
    pub fn measure(&self) -> bool {
        let Some((table, routes)) = self.table.get().zip(self.routes()) else { return false };
        let (view, epoch) = (routes.view(), routes.epoch());
        let is_due = view.coming.as_ref().is_some_and(|to| !to.limits.covers(&view.limits))
            && self.measured.lock().is_none_or(|(before, _)| before != epoch);
        if !is_due {
            return false;
        }
        let mut longest = Limits { key_bytes: 0, value_bytes: 0 };
        for arc in 0..table.arcs() {
            table.scan(arc, Cursor::START, usize::MAX, |record| {
                let value = record.body.value();
                let is_pending = self.state(&record.version, record.state) == State::Pending;
                if value.is_some() || is_pending {
                    longest.key_bytes = longest.key_bytes.max(record.key.len());
                    longest.value_bytes = longest.value_bytes.max(value.map_or(0, <[u8]>::len));
                }
                true
            });
        }
        *self.measured.lock() = Some((epoch, longest));
        true
    }

    /// Counts a page that was received.
    pub fn count_page(&self, bytes: usize) {
        self.stats.page(clock::boot_ms(), bytes);
    }

    /// The amount and the rate of its transfers.
    pub fn transfer(&self) -> Transfer {
        self.stats.read(clock::boot_ms())
    }
}
