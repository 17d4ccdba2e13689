//! What cluster-aware clients are told of a view: which node keeps which slots.
//!
//! All of it follows from a view's [`Routes`] and the addresses of the nodes' Redis ports. An arc
//! is a few slots; neighbouring arcs that the same node is the first to keep are told as one range.
//!
//! A slot whose replicas have no Redis port is told to belong to some node that has. All tell the
//! same of it, so that what each says of its own slots, and of the keys there, adds up to the
//! whole.

use std::fmt::Write;

use cluster::arcs::ArcSet;
use cluster::ids::{Address, ClusterId, NodeId};
use cluster::scan::hash;
use cluster::slot::SLOTS;
use cluster::view::Routes;
use resp::topology::{Node, Range, Topology};

const _: () = assert!(SLOTS == resp::topology::SLOTS, "the protocol's slots are the ring's");

/// A view, with where each of its members has its Redis port.
#[derive(Debug)]
pub struct Picture<'v> {
    routes: &'v Routes,
    /// In the order of the view's members; `None`: it has none, or is not known to.
    ports: Vec<Option<Address>>,
    /// The members that have one, as places in the view.
    open: Vec<u16>,
    /// The node that answers, as a place in the view's members.
    own: Option<u16>,
}

/// A node's id in Redis's form, 40 hexadecimal digits: of its name, so it stays the same when the
/// node comes back.
pub fn node_id(cluster: ClusterId, node: &NodeId) -> String {
    let mut id = String::with_capacity(48);
    for part in 0u8..3 {
        let seed = [&[part][..], &cluster.0.to_be_bytes(), node.as_str().as_bytes()].concat();
        write!(id, "{:016x}", hash(&seed)).expect("a String takes every write");
    }
    id.truncate(40);
    id
}

impl<'v> Picture<'v> {
    /// The picture that `own` gives. `port` knows where each node has its Redis port.
    pub fn new(
        routes: &'v Routes,
        own: &NodeId,
        port: impl Fn(&NodeId) -> Option<Address>,
    ) -> Picture<'v> {
        let view = routes.view();
        let ports: Vec<_> = view.members.iter().map(|member| port(&member.id)).collect();
        // There are at most MAX_MEMBERS, which fits.
        let places = 0..ports.len() as u16;
        let open = places.filter(|&place| ports[usize::from(place)].is_some()).collect();
        let own = view.place_of(own).map(|place| place as u16);
        Picture { routes, ports, open, own }
    }

    /// The member that is told to be the first to keep an arc: the first of its replicas with a
    /// Redis port. If they have none, one of the others.
    fn primary(&self, arc: usize) -> Option<u16> {
        let has_port = |&place: &u16| self.ports[usize::from(place)].is_some();
        let stand_in = || self.open.get(arc % self.open.len().max(1)).copied();
        self.routes.replicas(arc).iter().copied().find(has_port).or_else(stand_in)
    }

    /// The arcs that the node which answers is told to be the first to keep.
    pub fn own_arcs(&self) -> ArcSet {
        let Some(own) = self.own else { return ArcSet::new() };
        (0..self.routes.arcs()).filter(|&arc| self.primary(arc) == Some(own)).collect()
    }

    /// How many slots an arc has.
    pub fn slots_of_arc(&self) -> usize {
        usize::from(SLOTS) / self.routes.arcs().max(1)
    }

    /// What is told.
    pub fn topology(&self) -> Topology {
        Topology {
            nodes: self.open.iter().map(|&place| self.node(place)).collect(),
            ranges: self.ranges(),
            known_nodes: self.ports.len(),
            epoch: self.routes.epoch().0,
        }
    }

    fn node(&self, place: u16) -> Node {
        let member = self.routes.member(place);
        let port = self.ports[usize::from(place)].as_ref().expect("only who has a port is told");
        Node {
            id: node_id(self.routes.view().cluster, &member.id),
            host: port.host().to_owned(),
            port: port.port(),
            bus_port: member.address.port(),
            is_myself: Some(place) == self.own,
        }
    }

    fn ranges(&self) -> Vec<Range> {
        let width = self.slots_of_arc();
        let mut ranges: Vec<Range> = Vec::new();
        for arc in 0..self.routes.arcs() {
            let (first, last) = ((arc * width) as u16, ((arc + 1) * width - 1) as u16);
            let Some(primary) = self.primary(arc) else { continue };
            let primary = self.open.binary_search(&primary).expect("keepers have a Redis port");
            match ranges.last_mut() {
                Some(range) if range.primary == primary && range.last + 1 == first => {
                    range.last = last;
                }
                _ => ranges.push(Range { first, last, primary }),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests;
