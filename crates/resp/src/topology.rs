//! The cluster as Redis's cluster-aware clients see it: who keeps which slots, and where.
//!
//! All of it follows from a view's [`Routes`] and the addresses of the nodes' Redis ports. An arc is a few
//! slots; neighbouring arcs that the same nodes keep are told as one range.
//!
//! None of it is needed to be right: any node answers for any key, so a client with an old picture, or with
//! none, only makes one node ask another. That is why a slot whose keepers have no Redis port is
//! told to belong to some node that has. All tell the same of it, so that what each says of its own slots, and
//! of the keys there, adds up to the whole.
//!
//! What it does not do: it does not say who holds copies of a *node*. In Redis each node is a master or
//! somebody's replica; here each is the first to keep some slots, and keeps copies of others. So NODES and
//! SHARDS tell only who is first; SLOTS can tell the others too, slot by slot.

use std::fmt::Write;

use cluster::ids::{Address, ClusterId, NodeId};
use cluster::ring;
use cluster::scan::hash;
use cluster::slot::SLOTS;
use cluster::tenure::ArcSet;
use cluster::view::Routes;

use crate::reply::Replies;

/// A view, with where each of its members has its Redis port.
#[derive(Debug)]
pub struct Topology<'v> {
    routes: &'v Routes,
    /// In the order of the view's members; `None`: it has none, or is not known to.
    doors: Vec<Option<Address>>,
    /// The node that answers, as a place in the view's members.
    own: Option<u16>,
}

/// Slots in a row that the same nodes keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first slot.
    pub first: u16,
    /// The last one.
    pub last: u16,
    /// Who keeps them, the primary first, as places in the view's members. All have a Redis port.
    pub keepers: Vec<u16>,
}

/// A node's id in Redis's form, 40 hexadecimal digits: of its name, so it stays the same when the node
/// comes back.
pub fn node_id(cluster: ClusterId, node: &NodeId) -> String {
    let mut id = String::with_capacity(48);
    for part in 0u8..3 {
        let seed = [&[part][..], &cluster.0.to_be_bytes(), node.as_str().as_bytes()].concat();
        write!(id, "{:016x}", hash(&seed)).expect("a String takes every write");
    }
    id.truncate(40);
    id
}

impl<'v> Topology<'v> {
    /// The picture that `own` gives. `door` knows where each node has its Redis port.
    pub fn new(
        routes: &'v Routes,
        own: &NodeId,
        door: impl Fn(&NodeId) -> Option<Address>,
    ) -> Topology<'v> {
        let view = routes.view();
        let doors = view.members.iter().map(|member| door(&member.id)).collect();
        // There are at most MAX_MEMBERS, which fits.
        let own = view.place_of(own).map(|place| place as u16);
        Topology { routes, doors, own }
    }

    fn door(&self, place: u16) -> Option<&Address> {
        self.doors[usize::from(place)].as_ref()
    }

    fn id(&self, place: u16) -> String {
        node_id(self.routes.view().cluster, &self.routes.member(place).id)
    }

    /// Who keeps which slots. With `copies` all who do, else only the first.
    pub fn ranges(&self, copies: bool) -> Vec<Range> {
        let arcs = self.routes.arcs();
        let open: Vec<u16> = self.open().collect();
        let mut ranges: Vec<Range> = Vec::new();
        for arc in 0..arcs {
            let width = usize::from(SLOTS) / arcs;
            let (first, last) = ((arc * width) as u16, ((arc + 1) * width - 1) as u16);
            debug_assert_eq!(ring::arc_of_slot(first, arcs), arc);
            let mut keepers: Vec<u16> = self.keepers(arc, &open).collect();
            keepers.truncate(if copies { keepers.len() } else { 1 });
            match ranges.last_mut() {
                Some(range) if range.keepers == keepers && range.last + 1 == first => {
                    range.last = last
                }
                _ if keepers.is_empty() => {}
                _ => ranges.push(Range { first, last, keepers }),
            }
        }
        ranges
    }

    /// Members with a Redis port.
    fn open(&self) -> impl Iterator<Item = u16> {
        (0..self.doors.len() as u16).filter(|&place| self.door(place).is_some())
    }

    /// Who keeps an arc, as it is told: of those with a Redis port, which are `open`. If its keepers have none, one of
    /// the others.
    fn keepers(&self, arc: usize, open: &[u16]) -> impl Iterator<Item = u16> {
        let replicas = self.routes.replicas(arc).iter().copied();
        let mut keepers = replicas.filter(|&place| self.door(place).is_some()).peekable();
        let stand_in = match (keepers.peek(), open.len()) {
            (None, 1..) => Some(open[arc % open.len()]),
            _ => None,
        };
        keepers.chain(stand_in)
    }

    /// The arcs that the node which answers is told to be the first to keep.
    pub fn own_arcs(&self) -> ArcSet {
        let open: Vec<u16> = self.open().collect();
        let arcs = 0..self.routes.arcs();
        arcs.filter(|&arc| self.own.is_some() && self.keepers(arc, &open).next() == self.own)
            .collect()
    }

    /// The ranges of each member in the order of their places.
    fn by_primary(&self) -> Vec<Vec<(u16, u16)>> {
        let mut owned = vec![Vec::new(); self.doors.len()];
        for range in self.ranges(false) {
            owned[usize::from(range.keepers[0])].push((range.first, range.last));
        }
        owned
    }

    /// Members with a Redis port, with the slots that they are the first to keep.
    fn nodes(&self) -> impl Iterator<Item = (u16, &Address, Vec<(u16, u16)>)> {
        let owned = self.by_primary().into_iter().enumerate();
        owned.filter_map(|(place, owned)| {
            let place = place as u16;
            self.door(place).map(|door| (place, door, owned))
        })
    }

    /// CLUSTER SLOTS.
    pub fn slots(&self, copies: bool, out: &mut Replies<'_>) {
        let ranges = self.ranges(copies);
        out.array(ranges.len());
        for range in &ranges {
            out.array(2 + range.keepers.len());
            out.integer(i64::from(range.first));
            out.integer(i64::from(range.last));
            for &keeper in &range.keepers {
                let door = self.door(keeper).expect("keepers have a Redis port");
                out.array(4);
                out.text(door.host());
                out.integer(i64::from(door.port()));
                out.text(&self.id(keeper));
                out.map(0);
            }
        }
    }

    /// CLUSTER SHARDS.
    pub fn shards(&self, out: &mut Replies<'_>) {
        let nodes: Vec<_> = self.nodes().collect();
        out.array(nodes.len());
        for (place, door, owned) in nodes {
            out.map(2);
            out.text("slots");
            out.array(2 * owned.len());
            for (first, last) in owned {
                out.integer(i64::from(first));
                out.integer(i64::from(last));
            }
            out.text("nodes");
            out.array(1);
            out.map(7);
            for (name, value) in [
                ("id", self.id(place).as_str()),
                ("ip", door.host()),
                ("endpoint", door.host()),
                ("role", "master"),
                ("health", "online"),
            ] {
                out.text(name);
                out.text(value);
            }
            out.text("port");
            out.integer(i64::from(door.port()));
            out.text("replication-offset");
            out.integer(0);
        }
    }

    /// CLUSTER NODES. Behind the `@` stands the port that nodes talk to each other on.
    pub fn nodes_text(&self) -> String {
        let mut text = String::new();
        for (place, door, owned) in self.nodes() {
            let me = if Some(place) == self.own { "myself," } else { "" };
            let port = self.routes.member(place).address.port();
            let epoch = self.routes.epoch();
            write!(
                text,
                "{} {}:{}@{port} {me}master - 0 0 {epoch} connected",
                self.id(place),
                door.host(),
                door.port(),
            )
            .expect("a String takes every write");
            for (first, last) in owned {
                let written = match last - first {
                    0 => write!(text, " {first}"),
                    _ => write!(text, " {first}-{last}"),
                };
                written.expect("a String takes every write");
            }
            text.push('\n');
        }
        text
    }

    /// CLUSTER INFO. `serving` tells whether this node can answer, as far as it knows; of the `lost` arcs nobody alive
    /// holds anything.
    pub fn info_text(&self, serving: bool, lost: &ArcSet) -> String {
        let ranges = self.ranges(false);
        let slots: u32 = ranges.iter().map(|r| u32::from(r.last - r.first) + 1).sum();
        let width = usize::from(SLOTS) / self.routes.arcs().max(1);
        let lost = (lost.count_ones(..) * width).min(slots as usize) as u32;
        let is_ok = serving && slots == u32::from(SLOTS) && lost == 0;
        let size = self.nodes().filter(|(.., owned)| !owned.is_empty()).count();
        let epoch = self.routes.epoch();
        let lines = [
            ("cluster_state", if is_ok { "ok" } else { "fail" }.to_owned()),
            ("cluster_slots_assigned", slots.to_string()),
            ("cluster_slots_ok", (slots - lost).to_string()),
            ("cluster_slots_pfail", "0".to_owned()),
            ("cluster_slots_fail", lost.to_string()),
            ("cluster_known_nodes", self.doors.len().to_string()),
            ("cluster_size", size.to_string()),
            ("cluster_current_epoch", epoch.to_string()),
            ("cluster_my_epoch", epoch.to_string()),
        ];
        lines.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect()
    }
}

#[cfg(test)]
mod tests;
