//! The Redis server of a node: it speaks the protocol, which is in [`resp`], and asks the cluster.
//!
//! [`shared`] is the port and what its connections share, [`session`] a connection to it, over a
//! [`link`]. [`conversation`] answers what is about the connection, the node or the cluster,
//! [`batch`] carries out what is about keys that are named, [`coalesce`] makes commands about one
//! key one operation, [`listing`] has what is about all keys; [`pause`] lets requests wait.
//! [`topology`] is what cluster-aware clients are told of a view, [`translate`] has the words that
//! the client library and the protocol say differently.

pub mod batch;
pub mod coalesce;
pub mod conversation;
pub mod link;
pub mod listing;
pub mod pause;
pub mod session;
pub mod shared;
pub mod topology;
pub mod translate;

#[cfg(test)]
mod tests;
