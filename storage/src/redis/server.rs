//! The Redis ports of a node.
//!
//! There are two, so that both kinds of clients are told what they expect. A client that knows of
//! no cluster asks one node for all keys; a cluster-aware one asks each node for its keys, and adds
//! up. On a connection they cannot be told apart: libraries ask one node who keeps which slots, and
//! send the others nothing but requests. So this answer names the second port, where a node lists
//! what is told to be its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use net_common::auth::Secret;
use net_common::server::{Limits, Served, Server};
use resp::error::Error;

use super::session::Session;
use super::shared::{Count, RedisSettings, Scope, Shared};
use crate::coordinate::Coordinator;
use crate::node::Node;

/// Where to listen.
pub struct Listeners {
    /// For everybody.
    pub whole: TcpListener,
    /// For cluster-aware clients; `None`: they are sent to the same port.
    pub cluster: Option<TcpListener>,
}

impl Listeners {
    /// The port that cluster-aware clients are told.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn announced_port(&self) -> io::Result<u16> {
        Ok(self.cluster.as_ref().unwrap_or(&self.whole).local_addr()?.port())
    }
}

/// The running ports. They stop when dropped.
pub struct Servers {
    whole: Server,
    cluster: Option<Server>,
}

impl Servers {
    /// Starts serving.
    ///
    /// # Errors
    /// If the operating system has no threads to give.
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
        shared.count(counts.map(|server| Box::new(server.counts()) as Box<Count>).collect());
        Ok(Servers { whole, cluster })
    }

    /// Where everybody is served.
    pub fn address(&self) -> SocketAddr {
        self.whole.address()
    }

    /// Where cluster-aware clients are, if they have a port of their own.
    pub fn cluster_address(&self) -> Option<SocketAddr> {
        self.cluster.as_ref().map(Server::address)
    }

    /// Stops both. Blocks for a few seconds at most.
    pub fn stop(&mut self) {
        self.whole.stop();
        self.cluster.iter_mut().for_each(Server::stop);
    }
}

/// Opens a port, whose connections list what is in this scope.
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
