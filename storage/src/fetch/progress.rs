//! What one round of fetching leaves to the next, and whom to ask for an arc because of it.

use cluster::ids::Epoch;
use cluster::view::Routes;
use fxhash::{FxHashMap, FxHashSet};

use super::arc::ArcFetch;
use super::refusals::Refusals;
use crate::node::Node;

/// What one round leaves to the next.
#[derive(Default)]
pub struct FetchProgress {
    /// The view in which it is.
    epoch: Epoch,
    /// Arcs that have begun to come.
    pub begun: FxHashMap<usize, ArcFetch>,
    /// Arcs with sources that did not have them.
    pub refused: Refusals,
    /// Arcs with those who have told all that their disks had of them.
    pub gathered: FxHashSet<(usize, u16)>,
}

impl FetchProgress {
    /// A round begins. Returns whether it is in another view than the one before: places in the
    /// member list mean other nodes then.
    pub fn begin(&mut self, routes: &Routes) -> bool {
        if routes.epoch() == self.epoch {
            return false;
        }
        self.refused.clear();
        // Who is waited for may be another by now.
        self.gathered.clear();
        self.begun.retain(|_, fetch| !fetch.gathers);
        if routes.view().before() != self.epoch {
            // An arc may have been lost and found again since.
            self.begun.clear();
        }
        self.epoch = routes.epoch();
        true
    }

    /// After a round in which nothing came: whether somebody is left to be asked for an arc that is
    /// missing. Of arcs that all have refused all are asked again.
    pub fn is_somebody_left(&mut self, node: &Node, routes: &Routes, missing: &[usize]) -> bool {
        let FetchProgress { refused, gathered, .. } = self;
        let is_left = |refused: &Refusals, arc| {
            let asking = Asking { node, routes, refused, gathered };
            !asking.sources(arc).is_empty()
        };
        refused.begin_anew(missing, is_left)
    }

    /// Who may have an arc.
    pub fn sources(&self, node: &Node, routes: &Routes, arc: usize) -> Vec<u16> {
        let FetchProgress { refused, gathered, .. } = self;
        Asking { node, routes, refused, gathered }.sources(arc)
    }
}

/// Whom to ask.
struct Asking<'p> {
    node: &'p Node,
    routes: &'p Routes,
    refused: &'p Refusals,
    gathered: &'p FxHashSet<(usize, u16)>,
}

impl Asking<'_> {
    /// The other nodes that serve an arc, but for those that have refused; else those that are to
    /// keep it, who may have fetched it already. Of what a sole holder alone holds nobody else has
    /// anything. Where it is gathered: all who have not told what they had.
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

    /// Those of some places who are others, and have not refused an arc.
    fn among(&self, arc: usize, places: &[u16]) -> Vec<u16> {
        let may_have = |place: &u16| {
            self.routes.member(*place).id != *self.node.id() && self.refused.may_have(arc, *place)
        };
        places.iter().copied().filter(may_have).collect()
    }
}
