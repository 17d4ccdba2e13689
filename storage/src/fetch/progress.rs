//! State from one round of fetching to the next, and the possible sources of an arc.

use cluster::ids::Epoch;
use cluster::view::Routes;
use fxhash::{FxHashMap, FxHashSet};

use super::arc::ArcFetch;
use super::refusals::Refusals;
use crate::node::Node;

/// State from one round to the next.
#[derive(Default)]
pub struct FetchProgress {
    /// The view of the last round.
    epoch: Epoch,
    /// Arcs that are partly fetched.
    pub begun: FxHashMap<usize, ArcFetch>,
    /// Arcs with sources that did not have them.
    pub refused: Refusals,
    /// Arcs with the members that have sent all that their disks had of them.
    pub gathered: FxHashSet<(usize, u16)>,
}

impl FetchProgress {
    /// Begins a round. Returns whether the view has changed since the last one: places in the
    /// member list then mean other nodes.
    pub fn begin(&mut self, routes: &Routes) -> bool {
        if routes.epoch() == self.epoch {
            return false;
        }
        self.refused.clear();
        // The members that have to answer may be others now.
        self.gathered.clear();
        self.begun.retain(|_, fetch| !fetch.gathers);
        if routes.view().before() != self.epoch {
            // An arc may have been lost and recovered since.
            self.begun.clear();
        }
        self.epoch = routes.epoch();
        true
    }

    /// After a round without progress: whether a missing arc has a source that was not asked yet.
    /// For arcs that all sources have refused, all are asked again.
    pub fn is_somebody_left(&mut self, node: &Node, routes: &Routes, missing: &[usize]) -> bool {
        let FetchProgress { refused, gathered, .. } = self;
        let is_left = |refused: &Refusals, arc| {
            let asking = Asking { node, routes, refused, gathered };
            !asking.sources(arc).is_empty()
        };
        refused.begin_anew(missing, is_left)
    }

    /// The possible sources of an arc.
    pub fn sources(&self, node: &Node, routes: &Routes, arc: usize) -> Vec<u16> {
        let FetchProgress { refused, gathered, .. } = self;
        Asking { node, routes, refused, gathered }.sources(arc)
    }
}

/// The state that determines sources.
struct Asking<'p> {
    node: &'p Node,
    routes: &'p Routes,
    refused: &'p Refusals,
    gathered: &'p FxHashSet<(usize, u16)>,
}

impl Asking<'_> {
    /// The other replicas that serve an arc, except those that have refused; if there are none, the
    /// other members of the write set, which may have fetched it already. Only a sole holder has an
    /// arc that it alone holds. For gathering: all members that have not answered yet.
    fn sources(&self, arc: usize) -> Vec<u16> {
        let routes = self.routes;
        if self.node.gathers(arc) {
            let mut others = self.among(arc, routes.write_set(arc));
            others.retain(|&place| !self.gathered.contains(&(arc, place)));
            return others;
        }
        let sole_holders = routes.replicas(arc).iter().copied();
        let sole_holders: Vec<u16> = sole_holders
            .filter(|&place| routes.view().sole_holder(place.into()).is_some())
            .collect();
        if !sole_holders.is_empty() {
            return self.among(arc, &sole_holders);
        }
        let serving = self.among(arc, routes.replicas(arc));
        if serving.is_empty() { self.among(arc, routes.write_set(arc)) } else { serving }
    }

    /// The members at some places that are other nodes, and have not refused the arc.
    fn among(&self, arc: usize, places: &[u16]) -> Vec<u16> {
        let may_have = |place: &u16| {
            self.routes.member(*place).id != *self.node.id() && self.refused.may_have(arc, *place)
        };
        places.iter().copied().filter(may_have).collect()
    }
}
