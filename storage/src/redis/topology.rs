//! A view as cluster-aware clients see it: which node has which slots.
//!
//! All of it follows from a view's [`Routes`] and the addresses of the nodes' Redis ports. An arc
//! is a few slots; neighbouring arcs with the same primary are reported as one range.
//!
//! A slot whose replicas have no Redis port is attributed to some node that has one. All nodes
//! attribute it to the same one, so that the reports of all nodes about their own slots and keys
//! add up to the whole.

use std::fmt::Write;

use cluster::arcs::ArcSet;
use cluster::ids::{Address, ClusterId, NodeId};
use cluster::scan::hash;
use cluster::slot::SLOTS;
use cluster::view::Routes;
use resp::topology::{Node, Range, Topology};

const _: () = assert!(SLOTS == resp::topology::SLOTS, "the protocol's slots are the ring's");

/// A view, with the Redis port of each of its members.
#[derive(Debug)]
pub struct Picture<'v> {
    routes: &'v Routes,
    /// In the order of the view's members; `None`: it has none, or it is not known.
    ports: Vec<Option<Address>>,
    /// The members with a Redis port, as indexes into the view.
    open: Vec<u16>,
    /// The replying node, as an index into the view's members.
    own: Option<u16>,
}

/// A node's id in Redis's form, 40 hexadecimal digits: derived from its name, so it stays the same
/// when the node restarts.
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
    /// The picture on the node `own`. `port` returns the Redis port of each node.
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

    /// The member that is reported as the primary of an arc: the first of its replicas with a Redis
    /// port. If none of them has one, another member.
    fn primary(&self, arc: usize) -> Option<u16> {
        let has_port = |&place: &u16| self.ports[usize::from(place)].is_some();
        let stand_in = || self.open.get(arc % self.open.len().max(1)).copied();
        self.routes.replicas(arc).iter().copied().find(has_port).or_else(stand_in)
    }

    /// The arcs that the replying node is reported as the primary of.
    pub fn own_arcs(&self) -> ArcSet {
        let Some(own) = self.own else { return ArcSet::new() };
        (0..self.routes.arcs()).filter(|&arc| self.primary(arc) == Some(own)).collect()
    }

    /// The number of slots in an arc.
    pub fn slots_of_arc(&self) -> usize {
        usize::from(SLOTS) / self.routes.arcs().max(1)
    }

    /// The topology to report.
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
        let port =
            self.ports[usize::from(place)].as_ref().expect("only members with a port are reported");
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
            let primary = self.open.binary_search(&primary).expect("replicas have a Redis port");
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
