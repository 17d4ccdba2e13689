//! The arcs that a node still has to fetch.

use std::sync::Arc;

use cluster::ids::Epoch;
use cluster::view::Routes;

use super::Node;
use crate::fetch::arc::ArcFetch;

impl Node {
    /// The arcs that it still has to fetch, and the view that puts it into their write sets.
    pub fn missing(&self) -> Option<(Arc<Routes>, Vec<usize>)> {
        let holdings = self.holdings.read();
        let missing = holdings.missing();
        let routes = holdings.routes()?.clone();
        (!missing.is_empty()).then_some((routes, missing))
    }

    /// An arc to be fetched, with the stale records of it; or to be gathered.
    pub fn arc_fetch(&self, arc: usize) -> ArcFetch {
        if self.gathers(arc) {
            ArcFetch::to_gather(arc)
        } else {
            ArcFetch::new(arc, self.stale_cache.get(arc))
        }
    }

    /// The arcs that have come from disk since the last call, and the view in force; `None` while
    /// other nodes may not have adopted it.
    pub fn take_from_disk(&self) -> Option<(Arc<Routes>, Vec<usize>)> {
        let routes = self.routes()?;
        let arcs =
            self.is_active(routes.epoch()).then(|| std::mem::take(&mut *self.from_disk.lock()))?;
        (!arcs.is_empty()).then_some((routes, arcs))
    }

    /// Whether it has an arc from its own disk only, and has to gather the records of all other
    /// members of the write set (H6).
    pub fn gathers(&self, arc: usize) -> bool {
        self.holdings.read().revived().contains(arc)
    }

    /// Whether an arc that it gathers is complete, given the members that have answered under this
    /// view (H6).
    pub fn has_gathered(
        &self,
        epoch: Epoch,
        arc: usize,
        has_answered: impl Fn(u16) -> bool,
    ) -> bool {
        let holdings = self.holdings.read();
        holdings.epoch() == epoch && holdings.has_gathered(arc, has_answered)
    }
}
