//! The Redis server of a node: it speaks the protocol, which is in [`resp`], and asks the cluster.
//!
//! 1. [`server`]: the ports; [`shared`]: what their connections share; [`clients`]: who they are;
//!    [`pause`] lets their requests wait;
//! 2. [`session`]: one connection, over a [`client_socket`];
//! 3. [`conversation`]: what it has said so far, and the answers about it; [`facts`]: those about
//!    the node and the cluster; [`topology`]: what cluster-aware clients are told of a view;
//! 4. [`batch`]: requests about keys, which go to the nodes together; [`coalesce`]: those about one
//!    key, made one operation; [`listing`]: requests about all keys;
//! 5. [`bounds`]: how much of all this is held at once; [`translate`]: what the client library
//!    and the protocol say in different words.

pub mod batch;
pub mod bounds;
pub mod client_socket;
pub mod clients;
pub mod coalesce;
pub mod conversation;
pub mod facts;
pub mod listing;
pub mod pause;
pub mod server;
pub mod session;
pub mod shared;
pub mod topology;
pub mod translate;

#[cfg(test)]
mod tests;
