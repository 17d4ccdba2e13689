//! The Redis server of a node: it speaks the protocol, which is in [`resp`], and acts as a client
//! of the cluster.
//!
//! 1. [`server`]: the ports; [`shared`]: the state that their connections share; [`clients`]: the
//!    list of connections; [`pause`]: makes their requests wait;
//! 2. [`session`]: one connection, over a [`client_socket`];
//! 3. [`conversation`]: the state of a connection, and the replies about it; [`facts`]: the replies
//!    about the node and the cluster; [`topology`]: a view as cluster-aware clients see it;
//! 4. [`batch`]: requests about keys, which go to the nodes together; [`coalesce`]: merges requests
//!    about one key into one operation; [`listing`]: requests about all keys;
//! 5. [`bounds`]: how much of all this is held at once; [`translate`]: between the client library's
//!    types and the protocol's.

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
