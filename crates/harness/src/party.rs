//! The parties of a cluster: manager, nodes and clients. Nodes are numbered from 0 here, and named
//! from `node1`.

use std::fmt;

/// An endpoint of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The manager.
    Manager,
    /// A node, from 0.
    Node(usize),
    /// Any client.
    Client,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Manager => f.write_str("manager"),
            Party::Node(node) => f.write_str(&node_name(*node)),
            Party::Client => f.write_str("clients"),
        }
    }
}

/// The name of a node.
pub fn node_name(node: usize) -> String {
    format!("node{}", node + 1)
}
