//! Of which arcs it is known that writes have as many synced copies as the cluster asks for
//! (`--min-copies`).
//!
//! Where that is more than one, a write that has been sent cannot be taken back when it turns out
//! that some of its replicas are still fetching. So whoever has not seen yet that an arc has its
//! copies asks first: the write goes as a read-modify-write, whose fence counts them. Under one
//! epoch a member that is synced stays so (H1): what was seen once holds until the next view.

use cluster::arcs::ArcSet;
use cluster::ids::Epoch;
use cluster::view::Routes;
use parking_lot::Mutex;

/// What has been seen under the newest epoch.
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
