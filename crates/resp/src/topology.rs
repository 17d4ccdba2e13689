//! The cluster as Redis's cluster-aware clients see it: which node has which slots, and its
//! address.
//!
//! Nothing here needs to be accurate: any node answers for any key, so a client with an outdated
//! map, or with none, only makes one node forward to another.
//!
//! Not included: replicas of a *node*. In Redis each node is a master or a replica of another node;
//! here each is the primary of some slots, and a replica of others. So only primaries are reported.

use std::fmt::Write;

use crate::reply::Replies;

/// The number of slots in a Redis Cluster.
pub const SLOTS: u16 = 16_384;

/// The cluster's topology, as plain facts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// The nodes that speak the Redis protocol.
    pub nodes: Vec<Node>,
    /// The slots of each node, in the order of slots. Slots without a primary are in no range.
    pub ranges: Vec<Range>,
    /// The number of all nodes, with or without the Redis protocol.
    pub known_nodes: usize,
    /// The view's epoch.
    pub epoch: u64,
}

/// A node that speaks the Redis protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id, 40 hexadecimal digits.
    pub id: String,
    /// The host of its Redis port.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The port for traffic between nodes.
    pub bus_port: u16,
    /// Whether it is the node that replies.
    pub is_myself: bool,
}

/// A run of slots with the same primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first slot.
    pub first: u16,
    /// The last one.
    pub last: u16,
    /// The primary, as an index into [`Topology::nodes`].
    pub primary: usize,
}

/// The cluster's health, as far as the replying node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterHealth {
    /// Whether the node serves.
    pub serves: bool,
    /// The number of slots of which no live node holds any data.
    pub lost_slots: usize,
}

impl Topology {
    /// The nodes, each with the ranges that it is the primary of.
    fn each_node(&self) -> impl Iterator<Item = (&Node, Vec<&Range>)> {
        let mut kept = vec![Vec::new(); self.nodes.len()];
        for range in &self.ranges {
            kept[range.primary].push(range);
        }
        self.nodes.iter().zip(kept)
    }

    /// CLUSTER SLOTS.
    pub fn slots(&self, out: &mut Replies<'_>) {
        out.array(self.ranges.len());
        for Range { first, last, primary } in &self.ranges {
            let node = &self.nodes[*primary];
            out.array(3);
            out.integer(i64::from(*first));
            out.integer(i64::from(*last));
            out.array(4);
            out.text(&node.host);
            out.integer(i64::from(node.port));
            out.text(&node.id);
            out.map(0);
        }
    }

    /// CLUSTER SHARDS.
    pub fn shards(&self, out: &mut Replies<'_>) {
        out.array(self.nodes.len());
        for (node, ranges) in self.each_node() {
            out.map(2);
            out.text("slots");
            out.array(2 * ranges.len());
            for range in ranges {
                out.integer(i64::from(range.first));
                out.integer(i64::from(range.last));
            }
            out.text("nodes");
            out.array(1);
            out.map(7);
            for (name, value) in [
                ("id", node.id.as_str()),
                ("ip", &node.host),
                ("endpoint", &node.host),
                ("role", "master"),
                ("health", "online"),
            ] {
                out.text(name);
                out.text(value);
            }
            out.text("port");
            out.integer(i64::from(node.port));
            out.text("replication-offset");
            out.integer(0);
        }
    }

    /// CLUSTER NODES. The port after the `@` is the one for traffic between nodes.
    pub fn nodes_text(&self) -> String {
        let mut text = String::new();
        for (node, ranges) in self.each_node() {
            let Node { id, host, port, bus_port, is_myself } = node;
            let me = if *is_myself { "myself," } else { "" };
            let epoch = self.epoch;
            text += &format!("{id} {host}:{port}@{bus_port} {me}master - 0 0 {epoch} connected");
            for Range { first, last, .. } in ranges {
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

    /// CLUSTER INFO.
    pub fn info_text(&self, health: ClusterHealth) -> String {
        let slots: usize = self.ranges.iter().map(|r| usize::from(r.last - r.first) + 1).sum();
        let lost = health.lost_slots.min(slots);
        let is_ok = health.serves && slots == usize::from(SLOTS) && lost == 0;
        let size = self.each_node().filter(|(_, ranges)| !ranges.is_empty()).count();
        let lines = [
            ("cluster_state", if is_ok { "ok" } else { "fail" }.to_owned()),
            ("cluster_slots_assigned", slots.to_string()),
            ("cluster_slots_ok", (slots - lost).to_string()),
            ("cluster_slots_pfail", "0".to_owned()),
            ("cluster_slots_fail", lost.to_string()),
            ("cluster_known_nodes", self.known_nodes.to_string()),
            ("cluster_size", size.to_string()),
            ("cluster_current_epoch", self.epoch.to_string()),
            ("cluster_my_epoch", self.epoch.to_string()),
        ];
        lines.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect()
    }
}

#[cfg(test)]
mod tests;
