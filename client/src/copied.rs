//! The arcs that are known to have the least number of synced copies of a write (`--min-copies`).
//!
//! If that number is above one, a sent write cannot be taken back when some of its replicas turn
//! out to be still fetching. So a client that has not yet seen an arc's copies checks first: the
//! write becomes a read-modify-write, whose fence counts them. Under one epoch a synced member
//! stays synced (H1), so one observation holds until the next view.

use cluster::arcs::ArcSet;
use cluster::ids::Epoch;
use cluster::view::Routes;
use parking_lot::Mutex;

/// The arcs observed under the newest epoch.
#[derive(Default)]
pub(crate) struct Copied(Mutex<Option<(Epoch, ArcSet)>>);

impl Copied {
    /// A write in this arc was done under this view.
    pub(crate) fn note(&self, routes: &Routes, arc: usize) {
        if routes.view().least_copies() < 2 {
            return;
        }
        let mut known = self.0.lock();
        let (_, arcs) = match &mut *known {
            Some((epoch, _)) if *epoch > routes.epoch() => return,
            Some(known) if known.0 == routes.epoch() => known,
            known => known.insert((routes.epoch(), ArcSet::with_capacity(routes.arcs()))),
        };
        arcs.insert(arc);
    }

    /// Whether a write of this key has enough copies for certain.
    pub(crate) fn is_sure(&self, routes: &Routes, key: &[u8]) -> bool {
        if routes.view().least_copies() < 2 {
            return true;
        }
        let known = self.0.lock();
        let arc = routes.arc_of(key);
        matches!((&*known, arc), (Some((epoch, arcs)), Some(arc)) if *epoch == routes.epoch() && arcs.contains(arc))
    }
}
