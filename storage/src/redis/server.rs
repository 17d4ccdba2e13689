//! The Redis ports of a node.
//!
//! There are two, because two kinds of clients expect different listings. A client that is not
//! cluster-aware asks one node for all keys; a cluster-aware one asks each node for its keys, and
//! adds up. A connection does not show which kind it is: libraries ask one node for the topology,
//! and send the others nothing but requests. So the topology names the second port, where a node
//! lists only its own keys.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use net_common::auth::Secret;
use net_common::server::{Limits, Served, Server};
use resp::error::Error;

use super::session::Session;
use super::shared::{ConnectionCount, RedisSettings, Scope, Shared};
use crate::coordinate::Coordinator;
use crate::node::Node;

/// The ports to listen on.
pub struct Listeners {
    /// For all clients.
    pub whole: TcpListener,
    /// For cluster-aware clients; `None`: they use the first port.
    pub cluster: Option<TcpListener>,
}

impl Listeners {
    /// The port in the topology that cluster-aware clients get.
    ///
    /// # Errors
    /// If the operating system cannot return the port.
    pub fn announced_port(&self) -> io::Result<u16> {
        Ok(self.cluster.as_ref().unwrap_or(&self.whole).local_addr()?.port())
    }
}

/// The running servers. They stop when dropped.
pub struct Servers {
    whole: Server,
    cluster: Option<Server>,
}

impl Servers {
    /// Starts serving.
    ///
    /// # Errors
    /// If the operating system cannot start a thread.
    pub fn start(
        listeners: Listeners,
        node: Arc<Node>,
        coordinator: Arc<Coordinator>,
        secret: Option<Secret>,
        limits: Limits,
        settings: RedisSettings,
    ) -> io::Result<Servers> {
        let name = format!("{} redis", node.id());
        let port = listeners.whole.local_addr()?.port();
        let shared = Arc::new(Shared::new(port, node, coordinator, secret, limits, settings));
        let whole = open(shared.clone(), &name, listeners.whole, Scope::Cluster)?;
        let own = |listener| open(shared.clone(), &format!("{name} cluster"), listener, Scope::Own);
        let cluster = listeners.cluster.map(own).transpose()?;
        let counts = [Some(&whole), cluster.as_ref()].into_iter().flatten();
        shared.count(
            counts.map(|server| Box::new(server.counts()) as Box<ConnectionCount>).collect(),
        );
        Ok(Servers { whole, cluster })
    }

    /// The address of the port for all clients.
    pub fn address(&self) -> SocketAddr {
        self.whole.address()
    }

    /// The address of the port for cluster-aware clients, if there is a separate one.
    pub fn cluster_address(&self) -> Option<SocketAddr> {
        self.cluster.as_ref().map(Server::address)
    }

    /// Stops both. Blocks for a few seconds at most.
    pub fn stop(&mut self) {
        self.whole.stop();
        self.cluster.iter_mut().for_each(Server::stop);
    }
}

/// Opens a port whose connections list the keys in this scope.
fn open(
    shared: Arc<Shared>,
    name: &str,
    listener: TcpListener,
    scope: Scope,
) -> io::Result<Server> {
    let busy = format!("-{}\r\n", Error::TooManyClients).into_bytes();
    let limit = shared.limits.connections;
    let serve = move |served: &Served| {
        shared.clients.with(served, |client| {
            let session = Session::new(&shared, served, client, scope);
            session.and_then(|mut session| session.run())
        })
    };
    Server::serving(name, listener, limit, busy, Box::new(serve))
}
